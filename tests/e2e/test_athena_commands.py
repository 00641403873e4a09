"""What a user sees of `engine: athena` before it runs: `check --aws` says whether it can, and `plan` what it costs."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from export_commands import START, command, configuration, export_of
from running_exporter import MakeAws

from simulated_aws import SimulatedAws
from simulated_aws.athena import WorkGroup

pytestmark = pytest.mark.stack

CUTOFF = 100 * 10**9
MOST = "$0.50"  # of a query that scans all of it, at $5 a terabyte


@pytest.fixture
def aws(make_aws: MakeAws) -> SimulatedAws:
    """An export of two months, a bucket for results, and a workgroup with a limit."""
    aws = make_aws(now=START, accounts=3, services=4, days=40, varied_charges=True)
    export_of(aws, months=1)
    aws.exports.buckets.create("results", aws.payer_id)
    aws.athena.workgroups["costs"] = WorkGroup("costs", cutoff=CUTOFF, output="s3://results/athena/")
    return aws


def with_athena(aws: SimulatedAws, ceiling: dict[str, Any] | None = None, **athena: Any) -> dict[str, Any]:
    found = configuration(aws)
    found["collectors"]["cost_export"] |= {
        "engine": "athena",
        "athena": {"database": "billing", "table": "cost", "workgroup": "costs", **athena},
    }
    return found | ({"ceilings": {"athena": ceiling}} if ceiling is not None else {})


def check(aws: SimulatedAws, tmp_path: Path, config: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """The exit code, and what is found of the data export."""
    done = command(tmp_path, aws, config, "check", "--aws", "--json")
    return done.returncode, [each for each in json.loads(done.stdout) if each["subject"] == "data export"]


def test_check_says_what_a_query_may_cost(aws: SimulatedAws, tmp_path: Path) -> None:
    code, found = check(aws, tmp_path, with_athena(aws))
    assert code == 0, found
    results = [each["result"] for each in found]
    assert results[3] == (
        f"Athena's workgroup costs lets a query scan {CUTOFF:,} bytes, {MOST}; results go to s3://results/athena/"
    )
    assert results[4].startswith("2 months from ")
    assert not aws.athena._executions  # a check pays for nothing
    table = command(tmp_path, aws, with_athena(aws), "check", "--aws").stdout
    assert f"bytes, {MOST}; results go to" in " ".join(table.replace("│", " ").split())


@pytest.mark.parametrize(
    ("changed", "athena", "text"),
    [
        ({"cutoff": None}, {}, "no limit for the bytes that a query scans: set BytesScannedCutoffPerQuery"),
        ({"enabled": False}, {}, "the workgroup costs of Athena is disabled"),
        ({"output": ""}, {}, "no query result location: set one there, or `athena.results`"),
        ({"managed_results": True}, {}, "manages query results: set a query result location in S3 instead"),
        ({}, {"workgroup": "others"}, "WorkGroup others is not found"),
    ],
    ids=["no limit", "disabled", "no results", "managed results", "none"],
)
def test_check_refuses_a_workgroup_with_what_to_do_and_hides_nothing_else(
    aws: SimulatedAws, tmp_path: Path, changed: dict[str, Any], athena: dict[str, Any], text: str
) -> None:
    aws.athena.workgroups["costs"] = WorkGroup(
        "costs", **{"cutoff": CUTOFF, "output": "s3://results/athena/", **changed}
    )
    code, found = check(aws, tmp_path, with_athena(aws, **athena))
    assert code == 1
    (failed,) = (each for each in found if each["error"])
    assert text in failed["result"]
    assert failed["advice"]
    # The export's months are looked at nevertheless.
    assert found[-1]["result"].startswith("2 months from ")
    assert not aws.athena._executions


def test_check_refuses_a_ceiling_below_the_price_of_one_query(aws: SimulatedAws, tmp_path: Path) -> None:
    code, found = check(aws, tmp_path, with_athena(aws, {"day": "0.49", "month": 30}))
    assert code == 1
    (failed,) = (each for each in found if each["error"])
    assert failed["error"] == "ceiling_reached"
    assert f"bytes, {MOST}" in failed["result"]
    assert "no query would be sent, because ceilings.athena is $0.49" in failed["result"]


def test_a_role_that_may_not_read_the_workgroup_is_a_denial(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.faults.add("access_denied", service="athena", operation="GetWorkGroup")
    code, found = check(aws, tmp_path, with_athena(aws))
    assert code == 1
    (failed,) = (each for each in found if each["error"])
    assert failed["error"] == "access_denied"
    assert "GetWorkGroup" in failed["result"]


def plan(
    aws: SimulatedAws, tmp_path: Path, config: dict[str, Any], *given: str
) -> tuple[int, dict[str, Any]]:
    done = command(tmp_path, aws, config, "plan", "--json", *given)
    return done.returncode, json.loads(done.stdout)


def prices(planned: dict[str, Any]) -> dict[tuple[str, str, str], tuple[float, Decimal]]:
    """Requests and dollars a month of what reading the export costs."""
    return {
        (line["service"], line["operation"], line["purpose"]): (
            line["requests_per_month"], Decimal(line["usd_per_month"]),
        )
        for line in planned["lines"]
        if line["collector"] == "cost_export" and Decimal(line["usd_per_month"])
    }  # fmt: skip


def test_the_plan_prices_athena_and_what_it_asks_of_s3_and_kms(aws: SimulatedAws, tmp_path: Path) -> None:
    code, planned = plan(aws, tmp_path, with_athena(aws), "--accounts", "1000")
    assert code == 0
    # 20 million lines of 125 bytes in 40 files, delivered three times a day, summed by seven queries that scan them thrice.
    by_kms = "by S3, only where a key of KMS encrypts the bucket; less with an S3 bucket key"
    assert prices(planned) == {
        ("athena", "StartQueryExecution", "queries, of about 1.1 GB scanned each"): (630, Decimal("3.38")),
        ("s3", "GetObject", "manifests, and results of queries"): (18_990, Decimal("0.01")),
        ("s3", "GetObject", "the export's files, by Athena"): (75_600, Decimal("0.03")),
        ("s3", "PutObject", "results of queries, by Athena"): (18_900, Decimal("0.09")),
        ("kms", "Decrypt", by_kms): (75_600, Decimal("0.23")),
    }
    ours = sum(
        line["requests_per_month"]
        for line in planned["lines"]
        if line["purpose"] not in ("the export's files, by Athena", "results of queries, by Athena", by_kms)
    )
    assert planned["requests_per_month"] == ours
    _, expensive = plan(aws, tmp_path, with_athena(aws, usd_per_terabyte=50), "--accounts", "1000")
    assert next(iter(prices(expensive).values())) == (630, Decimal("33.76"))
    assert aws.requests.count("athena") == 0


def test_the_plan_prices_s3_and_kms_where_this_machine_sums(aws: SimulatedAws, tmp_path: Path) -> None:
    code, planned = plan(aws, tmp_path, configuration(aws), "--accounts", "50000")
    assert code == 0
    found = prices(planned)
    assert {key[:2]: value for key, value in found.items()} == {
        ("s3", "HeadObject"): (181_200, Decimal("0.07")),
        ("s3", "GetObject"): (180_090, Decimal("0.07")),
        ("kms", "Decrypt"): (180_090, Decimal("0.54")),
    }


def test_a_plan_over_the_ceiling_of_athena_says_so_and_names_the_key(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    config = with_athena(aws, {"day": None, "month": 2})
    code, planned = plan(aws, tmp_path, config, "--accounts", "1000")
    assert code == 1
    assert planned["over_ceiling"] == [
        "ceilings.athena.month: found $2, expected at least $3.38 for the plan"
    ]
    text = command(tmp_path, aws, config, "plan", "--accounts", "1000").stdout
    assert "Over its ceiling: ceilings.athena.month: found $2, expected at least $3.38 for the plan" in text
    assert "athena:StartQueryExecution" in text
