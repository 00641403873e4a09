"""The simulated Athena sums an export in the simulated S3 to what Cost Explorer reports, and sees more than its manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import requests
from simulated_calls import client_of

from simulated_aws import OrganizationSpec, SimulatedAws
from simulated_aws.athena import WorkGroup

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
MONTH = (date(2026, 3, 1), date(2026, 4, 1))
UNBLENDED = "sum(CAST(line_item_unblended_cost AS decimal(28, 10)))"


@pytest.fixture(scope="module")
def aws() -> Iterator[SimulatedAws]:
    """An organisation with a daily export, a bucket for results, and a workgroup with a limit."""
    with SimulatedAws(OrganizationSpec(seed=12, accounts=4, services=6, now=NOW, days=60)) as aws:
        aws.exports.create("cost-daily", hourly=False, months=1, created=NOW)
        aws.exports.buckets.create("results", aws.payer_id)
        aws.athena.workgroups["costs"] = WorkGroup("costs", cutoff=10**9, output="s3://results/q/")
        yield aws


@pytest.fixture
def athena(aws: SimulatedAws) -> Iterator[Any]:
    made = client_of(aws, "athena")
    yield made
    made.close()


def _run(athena: Any, sql: str) -> dict[str, Any]:
    started = athena.start_query_execution(
        QueryString=sql, WorkGroup="costs", QueryExecutionContext={"Database": "billing"}
    )
    for _ in range(5000):
        found = athena.get_query_execution(QueryExecutionId=started["QueryExecutionId"])["QueryExecution"]
        if found["Status"]["State"] not in ("QUEUED", "RUNNING"):
            assert found["Status"]["State"] == "SUCCEEDED", found["Status"]
            return dict(found)
    raise AssertionError("the query does not end")


def _rows(athena: Any, sql: str) -> list[list[str | None]]:
    identifier = _run(athena, sql)["QueryExecutionId"]
    rows = athena.get_query_results(QueryExecutionId=identifier)["ResultSet"]["Rows"]
    return [[cell.get("VarCharValue") for cell in row["Data"]] for row in rows[1:]]


def test_sums_by_account_and_tag_are_the_truth(aws: SimulatedAws, athena: Any) -> None:
    sql = (
        f"SELECT line_item_usage_account_id, coalesce(element_at(resource_tags, 'user_team'), ''), {UNBLENDED}"  # noqa: S608
        " FROM cost_daily WHERE billing_period = '2026-03' GROUP BY 1, 2"
    )
    at = aws.exports.refreshed("cost-daily")
    truth = aws.truth.totals(*MONTH, at, ("account", "tag:team"), "UnblendedCost")
    assert {(account, team): Decimal(str(cost)) for account, team, cost in _rows(athena, sql)} == truth
    assert len(truth) > 4


@pytest.fixture
def orphan(aws: SimulatedAws) -> Iterator[int]:
    """A second file in the folder of March, as an older delivery may have left it; the size of both."""
    buckets = aws.exports.buckets
    aws.exports.deliver()
    ((key, stored),) = [
        (key, stored)
        for key, stored in buckets.list("cost-exports", "exports/cost-daily/data/")
        if "2026-03" in key
    ]
    left = key.replace("00001", "00002")
    buckets.put("cost-exports", left, buckets.read("cost-exports", key)[1])
    yield stored.size
    buckets.delete("cost-exports", left)


def test_files_that_no_manifest_names_are_read_unless_the_path_is_asked_for(
    aws: SimulatedAws, athena: Any, orphan: int
) -> None:
    at = aws.exports.refreshed("cost-daily")
    (truth,) = aws.truth.totals(*MONTH, at, (), "UnblendedCost").values()
    manifest = "exports/cost-daily/metadata/BILLING_PERIOD=2026-03/cost-daily-Manifest.json"
    named = json.loads(aws.exports.buckets.read("cost-exports", manifest)[1])["dataFiles"]
    of_month = f"SELECT {UNBLENDED} AS cost FROM cost_daily WHERE billing_period = '2026-03'"  # noqa: S608
    paths = ", ".join(f"'{path}'" for path in named)

    assert _rows(athena, of_month) == [[f"{2 * truth:f}"]]
    done = _run(athena, f'{of_month} AND "$path" IN ({paths})')
    assert done["Statistics"]["DataScannedInBytes"] == orphan
    assert _rows(athena, f'{of_month} AND "$path" IN ({paths})') == [[f"{truth:f}"]]
    assert _rows(athena, 'SELECT count(DISTINCT "$path") FROM cost_daily') == [["3"]]
    star = athena.get_query_results(
        QueryExecutionId=_run(athena, "SELECT * FROM cost_daily LIMIT 1")["QueryExecutionId"]
    )
    names = [each["Name"] for each in star["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]]
    assert "$path" not in names
    assert "billing_period" in names


def test_results_are_objects_of_a_bucket(aws: SimulatedAws, athena: Any) -> None:
    s3 = client_of(aws, "s3")
    done = _run(athena, "SELECT 1 AS one")
    key = done["ResultConfiguration"]["OutputLocation"].removeprefix("s3://results/")
    assert s3.get_object(Bucket="results", Key=key)["Body"].read() == b'"one"\n"1"\n'
    unload = "UNLOAD (SELECT 1 AS one) TO 's3://results/unloaded/' WITH (format = 'PARQUET')"
    _run(athena, unload)
    listed = s3.list_objects_v2(Bucket="results", Prefix="unloaded/")
    assert listed["KeyCount"] == 1
    body = s3.get_object(Bucket="results", Key=listed["Contents"][0]["Key"])["Body"].read()
    assert body[:4] == b"PAR1"
    s3.close()
    started = athena.start_query_execution(QueryString=unload, WorkGroup="costs")["QueryExecutionId"]
    for _ in range(5000):
        status = athena.get_query_execution(QueryExecutionId=started)["QueryExecution"]["Status"]
        if status["State"] not in ("QUEUED", "RUNNING"):
            break
    assert status["StateChangeReason"].startswith("HIVE_PATH_ALREADY_EXISTS")


AMORTIZED = """
SELECT line_item_usage_account_id, sum(CASE
    WHEN line_item_line_item_type = 'SavingsPlanCoveredUsage' THEN CAST(savings_plan_savings_plan_effective_cost AS decimal(28, 10))
    WHEN line_item_line_item_type = 'SavingsPlanRecurringFee' THEN
        CAST(savings_plan_total_commitment_to_date AS decimal(28, 10)) - CAST(savings_plan_used_commitment AS decimal(28, 10))
    WHEN line_item_line_item_type IN ('SavingsPlanNegation', 'SavingsPlanUpfrontFee') THEN CAST(0 AS decimal(28, 10))
    WHEN line_item_line_item_type = 'DiscountedUsage' THEN CAST(reservation_effective_cost AS decimal(28, 10))
    WHEN line_item_line_item_type = 'RIFee' THEN
        CAST(reservation_unused_amortized_upfront_fee_for_billing_period AS decimal(28, 10))
        + CAST(reservation_unused_recurring_fee AS decimal(28, 10))
    WHEN line_item_line_item_type = 'Fee' AND reservation_reservation_a_r_n <> '' THEN CAST(0 AS decimal(28, 10))
    ELSE CAST(line_item_unblended_cost AS decimal(28, 10))
END) AS amortized
FROM cost_daily
WHERE billing_period = '2026-03'
GROUP BY line_item_usage_account_id
"""


def test_amortized_cost_by_the_published_formula_is_the_truth(aws: SimulatedAws, athena: Any) -> None:
    at = aws.exports.refreshed("cost-daily")
    truth = aws.truth.totals(*MONTH, at, ("account",), "AmortizedCost")
    unblended = aws.truth.totals(*MONTH, at, ("account",), "UnblendedCost")
    assert (
        {(account,): Decimal(str(cost)) for account, cost in _rows(athena, AMORTIZED)} == truth != unblended
    )


def test_a_workgroup_can_be_made_over_http(aws: SimulatedAws, athena: Any) -> None:
    control = f"{aws.url}/_simulator/athena/workgroups"
    members = {"name": "made", "cutoff": 20_000_000, "managed_results": True}
    assert requests.post(control, json=members, timeout=10).status_code == 200
    made = athena.get_work_group(WorkGroup="made")["WorkGroup"]["Configuration"]
    assert made["BytesScannedCutoffPerQuery"] == 20_000_000
    assert {each["name"] for each in requests.get(control, timeout=10).json()} >= {"primary", "costs", "made"}
    assert requests.post(control, json={"cutoff": 1}, timeout=10).status_code == 400
