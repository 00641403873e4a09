"""Deliveries: when months are written, and everything that goes wrong with real ones."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from export_files import month_files, totals
from simulated_calls import Client

from simulated_aws import ExplicitCost, OrganizationSpec, SimulatedAws

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
JANUARY, FEBRUARY, MARCH, APRIL = (date(2026, month, 1) for month in (1, 2, 3, 4))
BY = ("day", "account", "service", "record_type")


@pytest.fixture
def aws() -> Iterator[SimulatedAws]:
    """A small organisation over fourteen months."""
    with SimulatedAws(OrganizationSpec(seed=5, accounts=3, services=3, now=NOW, days=430)) as aws:
        yield aws


def create(aws: SimulatedAws, **definition: Any) -> None:
    """A daily export of three months, delivered."""
    aws.exports.create(**{"hourly": False, "months": 2, **definition})
    aws.exports.deliver()


def etags(aws: SimulatedAws, name: str = "cost") -> dict[str, str]:
    """The tags of all objects by the last two parts of their keys."""
    bucket = aws.exports.find(name).bucket
    return {"/".join(key.split("/")[-2:]): stored.etag for key, stored in aws.exports.buckets.list(bucket)}


def manifest(aws: SimulatedAws, month: date = MARCH, name: str = "cost") -> dict[str, Any]:
    """The manifest of a month."""
    export = aws.exports.find(name)
    _, body = aws.exports.buckets.read(
        export.bucket, f"{export.folder('metadata', month)}{name}-Manifest.json"
    )
    return dict(json.loads(body))


def named_files(aws: SimulatedAws, month: date = MARCH, name: str = "cost") -> list[Path]:
    """The files that a month's manifest names; KeyError where one does not exist."""
    bucket = aws.exports.find(name).bucket
    objects = dict(aws.exports.buckets.list(bucket))
    return [
        objects[uri.removeprefix(f"s3://{bucket}/")].path for uri in manifest(aws, month, name)["dataFiles"]
    ]


def truth(
    aws: SimulatedAws, month: date, end: date, at: datetime | None = None
) -> dict[tuple[str, ...], Decimal]:
    """What Cost Explorer reports about a month, without zeros."""
    found = aws.truth.totals(month, end, at, BY)
    return {
        keys: amount
        for keys, amount in found.items()
        if amount and keys[2] != _PLAN and keys[3] not in _PLAN_FEES
    }


def read(files: list[Path]) -> dict[tuple[str, ...], Decimal]:
    """What files hold, but for the fees that the plain organisation has under another service than AWS."""
    return {
        keys: amount
        for keys, amount in totals(files, BY, "UnblendedCost").items()
        if keys[3] not in _PLAN_FEES
    }


_PLAN = "Savings Plans for AWS Compute usage"
_PLAN_FEES = {"SavingsPlanRecurringFee"}


# -- when ------------------------------------------------------------------------------------------


def test_an_export_begins_with_the_month_of_its_creation(aws: SimulatedAws) -> None:
    create(aws, months=0)
    assert {key.split("/")[0] for key in etags(aws)} == {"BILLING_PERIOD=2026-03"}
    aws.clock.set(datetime(2026, 4, 2, 13, tzinfo=UTC))
    aws.exports.deliver()
    assert {key.split("/")[0] for key in etags(aws)} == {"BILLING_PERIOD=2026-03", "BILLING_PERIOD=2026-04"}


def test_a_backfilled_export_has_the_months_before(aws: SimulatedAws) -> None:
    create(aws, months=12)
    assert aws.exports.find("cost").first_month == date(2025, 3, 1)
    for month, end in ((date(2025, 5, 1), date(2025, 6, 1)), (FEBRUARY, MARCH), (MARCH, APRIL)):
        assert read(named_files(aws, month)) == truth(aws, month, end) != {}


def test_there_are_up_to_three_refreshes_a_day(aws: SimulatedAws) -> None:
    create(aws)
    for minute in range(0, 48 * 60, 15):
        aws.clock.set(NOW + timedelta(minutes=minute))
        aws.exports.deliver()
    executions = aws.exports.executions("cost")
    days = [execution.at.date() for execution in executions]
    assert days.count(date(2026, 3, 18)) == 3
    assert len({execution.id for execution in executions}) == len(executions)


def test_a_refresh_is_as_of_its_moment(aws: SimulatedAws) -> None:
    """What the truth moves on after it is not in the files."""
    create(aws)
    aws.clock.advance(timedelta(hours=22))
    aws.exports.deliver()
    at = aws.exports.refreshed("cost")
    assert at is not None
    assert NOW < at < aws.clock.now()
    aws.inject_spike("prod", "EC2", 5)
    aws.exports.deliver()
    assert aws.exports.delivered("cost", MARCH) == aws.exports.refreshed("cost") == at
    aws.clear_injected()
    assert read(named_files(aws)) == truth(aws, MARCH, APRIL, at)


def test_a_month_grows(aws: SimulatedAws) -> None:
    create(aws, lines_per_file=400)
    before = len(manifest(aws)["dataFiles"])
    aws.clock.advance(timedelta(days=9))
    aws.exports.deliver(force=True)
    assert len(manifest(aws)["dataFiles"]) > before > 1
    assert read(named_files(aws)) == truth(aws, MARCH, APRIL)


def test_an_export_that_became_hourly_has_days_in_the_months_before(aws: SimulatedAws) -> None:
    create(aws, hourly=True, hourly_from=MARCH, months=1)
    hours = "SELECT count(DISTINCT hour(line_item_usage_start_date)) FROM read_parquet(?)"
    counts = [
        duckdb.execute(hours, [[str(path) for path in named_files(aws, month)]]).fetchall()
        for month in (FEBRUARY, MARCH)
    ]
    assert counts == [[(1,)], [(24,)]]
    at = aws.exports.refreshed("cost")
    assert read(named_files(aws, FEBRUARY)) == truth(aws, FEBRUARY, MARCH, at)
    assert read(named_files(aws)) == truth(aws, MARCH, APRIL, at)


def test_only_months_that_change_are_written(aws: SimulatedAws) -> None:
    create(aws)
    before = etags(aws)
    aws.clock.advance(timedelta(hours=9))
    aws.exports.deliver()
    changed = {key.split("/")[0] for key, etag in etags(aws).items() if before[key] != etag}
    assert changed == {"BILLING_PERIOD=2026-03"}


def test_a_correction_of_a_month_that_is_a_year_old(aws: SimulatedAws) -> None:
    create(aws, months=12)
    before, day = etags(aws), date(2025, 4, 9)
    aws.restate("prod", "EC2", day, Decimal("1.5"))
    aws.clock.advance(timedelta(hours=9))
    aws.exports.deliver()
    changed = {key.split("/")[0] for key, etag in etags(aws).items() if before[key] != etag}
    assert changed == {"BILLING_PERIOD=2026-03", "BILLING_PERIOD=2025-04"}
    april = date(2025, 4, 1)
    assert read(named_files(aws, april)) == truth(aws, april, date(2025, 5, 1))


def test_costs_that_are_set_anew_are_delivered_anew(aws: SimulatedAws) -> None:
    create(aws)
    for amount in (Decimal("1.25"), Decimal("2.5")):
        row = ExplicitCost(JANUARY, aws.payer_id, "AWS Lambda", {"UnblendedCost": amount})
        aws.set_costs([row])
        aws.exports.deliver(force=True)
        assert totals(named_files(aws, JANUARY), (), "UnblendedCost") == {(): amount}


# -- layouts ---------------------------------------------------------------------------------------


def test_new_folders_keep_what_was_delivered_before(aws: SimulatedAws) -> None:
    create(aws, overwrite=False)
    first = manifest(aws)
    aws.clock.advance(timedelta(days=1))
    aws.exports.deliver(force=True)
    second = manifest(aws)
    assert first["executionId"] != second["executionId"]
    export = aws.exports.find("cost")
    keys = [key for key, _ in aws.exports.buckets.list(export.bucket, export.folder("data", MARCH))]
    names = [uri.removeprefix("s3://cost-exports/") for each in (first, second) for uri in each["dataFiles"]]
    assert sorted(keys) == sorted(names)
    assert all(second["executionId"] in uri for uri in second["dataFiles"])
    # Whoever reads the folder counts the month twice.
    whole, once = (
        totals(files, (), "UsageQuantity")[()] for files in (month_files(aws, MARCH), named_files(aws))
    )
    assert whole > Decimal("1.9") * once


def test_manifests_may_lie_in_the_folders_of_executions_only(aws: SimulatedAws) -> None:
    create(aws, overwrite=False, hides_latest_manifest=True, months=0)
    export = aws.exports.find("cost")
    ((key, _),) = aws.exports.buckets.list(export.bucket, export.folder("metadata", MARCH))
    assert key == f"{export.folder('metadata', MARCH)}{export.execution_folder(NOW)}cost-Manifest.json"


def test_the_bill_has_a_number_once_it_is_final(aws: SimulatedAws) -> None:
    create(aws)
    numbers = "SELECT DISTINCT bill_invoice_id FROM read_parquet(?)"
    for month, is_final in ((FEBRUARY, True), (MARCH, False)):
        ((found,),) = duckdb.execute(numbers, [[str(path) for path in named_files(aws, month)]]).fetchall()
        assert (found is not None) is is_final


def test_a_legacy_report_has_its_own_names(aws: SimulatedAws) -> None:
    create(aws, name="old", table="legacy", format="csv")
    export = aws.exports.find("old")
    _, body = aws.exports.buckets.read(export.bucket, f"{export.folder('', MARCH)}old-Manifest.json")
    (key,) = json.loads(body)["reportKeys"]
    _, lines = aws.exports.buckets.read(export.bucket, key)
    header = gzip.decompress(lines).decode().splitlines()[0].split(",")
    assert {"lineItem/UnblendedCost", "bill/PayerAccountId", "lineItem/UsageStartDate"} <= set(header)


# -- what goes wrong -------------------------------------------------------------------------------


def test_files_are_replaced_while_they_are_read(aws: SimulatedAws, client: Client) -> None:
    """A delivery comes after so many data files have been read, with fewer files: the rest is left behind."""
    create(aws, lines_per_file=300)
    old = manifest(aws)
    s3, bucket = client("s3"), "cost-exports"
    keys = [uri.removeprefix(f"s3://{bucket}/") for uri in old["dataFiles"]]
    assert len(keys) > 2
    tags = [s3.head_object(Bucket=bucket, Key=key)["ETag"] for key in keys]
    aws.clock.advance(timedelta(minutes=1))
    aws.exports.change("cost", deliver_after_gets=1, lines_per_file=100_000)
    s3.get_object(Bucket=bucket, Key=keys[0], IfMatch=tags[0])["Body"].read()
    with pytest.raises(s3.exceptions.ClientError, match="PreconditionFailed"):
        s3.get_object(Bucket=bucket, Key=keys[0], IfMatch=tags[0])
    assert manifest(aws)["executionId"] != old["executionId"]
    assert len(manifest(aws)["dataFiles"]) == 1
    assert len(month_files(aws, MARCH)) == len(keys)  # orphans
    assert read(named_files(aws)) == truth(aws, MARCH, APRIL) != read(month_files(aws, MARCH))


def test_orphans_may_be_removed(aws: SimulatedAws) -> None:
    create(aws, lines_per_file=300, keeps_orphans=False)
    aws.clock.advance(timedelta(minutes=1))
    aws.exports.change("cost", lines_per_file=100_000)
    aws.exports.deliver(force=True)
    assert len(month_files(aws, MARCH)) == 1


def test_a_manifest_comes_late(aws: SimulatedAws) -> None:
    """The data is new already, the manifest is the old one until it arrives."""
    create(aws)
    old, tags = manifest(aws), etags(aws)
    aws.exports.change("cost", manifest_delay=timedelta(hours=2))
    aws.clock.advance(timedelta(hours=1))
    aws.exports.deliver(force=True)
    assert manifest(aws) == old
    data = "BILLING_PERIOD=2026-03/cost-00001.snappy.parquet"
    assert etags(aws)[data] != tags[data]
    aws.clock.advance(timedelta(hours=2))
    aws.exports.deliver()
    assert manifest(aws)["executionId"] != old["executionId"]


def test_data_comes_after_its_manifest(aws: SimulatedAws) -> None:
    create(aws, data_delay=timedelta(days=1), months=0)
    with pytest.raises(KeyError):
        named_files(aws)
    aws.exports.release("cost")
    assert read(named_files(aws)) == truth(aws, MARCH, APRIL)


def test_a_file_is_cut_short_until_the_next_refresh(aws: SimulatedAws) -> None:
    create(aws, truncated=1, months=1)
    with pytest.raises(duckdb.Error):
        read(named_files(aws, FEBRUARY))
    aws.clock.advance(timedelta(minutes=1))
    aws.exports.deliver(force=True)
    assert read(named_files(aws, FEBRUARY)) == truth(aws, FEBRUARY, MARCH)


def test_refreshes_can_be_held(aws: SimulatedAws, client: Client) -> None:
    create(aws)
    before = etags(aws)
    aws.exports.hold()
    aws.clock.advance(timedelta(days=2))
    client("s3").list_objects_v2(Bucket="cost-exports")
    assert etags(aws) == before
    aws.exports.hold(held=False)
    client("s3").list_objects_v2(Bucket="cost-exports")
    assert etags(aws) != before


def test_a_closed_month_is_written_again_for_two_weeks(aws: SimulatedAws) -> None:
    create(aws, touches_closed_months=True)
    march = "BILLING_PERIOD=2026-03/cost-00001.snappy.parquet"
    seen: list[str] = []
    for day in (10, 13, 15, 20):
        aws.clock.set(datetime(2026, 4, day, 23, 55, tzinfo=UTC))
        aws.exports.deliver()
        seen.append(etags(aws)[march])
    assert len({*seen[:2]}) == 2
    assert len({*seen[2:]}) == 1
    assert read(named_files(aws, MARCH)) == truth(aws, MARCH, APRIL)


def test_columns_appear_in_a_later_month(aws: SimulatedAws) -> None:
    create(aws, columns_from={"discount": MARCH, "line_item_net_unblended_cost": MARCH})
    for month, has in ((FEBRUARY, False), (MARCH, True)):
        names = {column["name"] for column in manifest(aws, month)["columns"]}
        found = duckdb.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(named_files(aws, month)[0])])
        assert names == {name for name, *_ in found.fetchall()}
        assert ({"discount", "line_item_net_unblended_cost"} <= names) is has


def test_a_manifest_names_the_columns_of_its_query(aws: SimulatedAws) -> None:
    create(
        aws,
        months=0,
        query="SELECT line_item_usage_account_id AS who, resource_tags FROM COST_AND_USAGE_REPORT",
    )
    assert manifest(aws)["columns"] == [
        {"name": "who", "type": "STRING"},
        {"name": "resource_tags", "type": "MAP<STRING, STRING>"},
    ]


def test_a_month_that_could_not_be_written_is_written_later(aws: SimulatedAws) -> None:
    """Although nothing of it has changed since."""
    row = ExplicitCost(
        JANUARY, aws.payer_id, "AWS Lambda", {"UnblendedCost": Decimal(3)}, "Private Rate Card Discount"
    )
    aws.set_costs([row])
    with pytest.raises(ValueError, match="MANUAL_DISCOUNT"):
        create(aws)
    with pytest.raises(ValueError, match="MANUAL_DISCOUNT"):
        aws.exports.deliver()
    aws.exports.change("cost", query="", manual_discounts=True)
    aws.exports.deliver()
    assert totals(named_files(aws, JANUARY), (), "UnblendedCost") == {(): Decimal(3)}


def test_a_tag_backfill_writes_months_anew_at_the_same_cost(aws: SimulatedAws) -> None:
    """A key is absent before the month of its activation, and there after its backfill."""
    aws.cost_allocation.activate_tag("team", MARCH)
    create(aws)
    by = ("tag:team", "tag:environment")
    cost = read(named_files(aws, FEBRUARY))
    assert {team for team, _ in totals(named_files(aws, FEBRUARY), by, "UnblendedCost")} == {""}
    assert {team for team, _ in totals(named_files(aws, MARCH), by, "UnblendedCost")} > {"", "checkout"}
    before = etags(aws)
    aws.cost_allocation.request_backfill(FEBRUARY)
    aws.clock.advance(timedelta(minutes=1))
    aws.exports.deliver(force=True)
    changed = {key.split("/")[0] for key, etag in etags(aws).items() if before[key] != etag}
    assert changed == {"BILLING_PERIOD=2026-02", "BILLING_PERIOD=2026-03"}  # January is further back
    assert read(named_files(aws, FEBRUARY)) == cost
    expected = aws.truth.totals(FEBRUARY, MARCH, by=by)
    assert totals(named_files(aws, FEBRUARY), by, "UnblendedCost") == expected


def test_a_changed_cost_category_writes_its_months_anew(aws: SimulatedAws) -> None:
    create(aws)
    by = ("cost_category:CostCenter",)
    cost, before = read(named_files(aws, FEBRUARY)), etags(aws)
    teams = {"checkout": "Retail", "platform": "Overhead"}
    aws.cost_allocation.change_category(
        "CostCenter", teams, effective_start=FEBRUARY, takes=timedelta(hours=3)
    )
    for hours, expected_change in ((1, {"03"}), (3, {"02", "03"})):
        aws.clock.advance(timedelta(hours=hours))
        aws.exports.deliver(force=True)
        changed = {key for key, etag in etags(aws).items() if before[key] != etag and key.endswith("parquet")}
        assert changed == {
            f"BILLING_PERIOD=2026-{month}/cost-00001.snappy.parquet" for month in expected_change
        }
    assert read(named_files(aws, FEBRUARY)) == cost
    found = totals(named_files(aws, FEBRUARY), by, "UnblendedCost")
    assert {name for (name,) in found} == {"", "Overhead", "Retail"}
    assert found == aws.truth.totals(FEBRUARY, MARCH, by=by)


def test_cost_explorer_has_the_tags_of_the_export(aws: SimulatedAws, client: Client) -> None:
    """From the day of the activation on, and from the month of a backfill on."""
    aws.cost_allocation.activate_tag("team", date(2026, 3, 5))
    by = ("day", "tag:team")

    def grouped() -> dict[tuple[str, ...], Decimal]:
        answer = client("ce").get_cost_and_usage(
            TimePeriod={"Start": "2026-02-01", "End": "2026-03-17"},
            Granularity="DAILY",
            Metrics=["UnblendedCost"],
            GroupBy=[{"Type": "TAG", "Key": "team"}],
        )
        return {
            (line["TimePeriod"]["Start"], group["Keys"][0].removeprefix("team$")): Decimal(
                group["Metrics"]["UnblendedCost"]["Amount"]
            )
            for line in answer["ResultsByTime"]
            for group in line["Groups"]
        }

    found = grouped()
    assert min(day for day, team in found if team) == "2026-03-05"
    create(aws)
    exported = totals([*named_files(aws, FEBRUARY), *named_files(aws)], by, "UnblendedCost")
    assert exported == {
        keys: amount for keys, amount in aws.truth.totals(FEBRUARY, APRIL, by=by).items() if amount
    }
    assert found == {keys: exported[keys] for keys in found}
    aws.cost_allocation.request_backfill(FEBRUARY)
    assert min(day for day, team in grouped() if team) == "2026-02-01"


def test_controls_over_http(aws: SimulatedAws) -> None:
    import urllib.request

    def ask(method: str, path: str, **members: Any) -> Any:
        request = urllib.request.Request(  # noqa: S310 - http on the loopback
            f"{aws.url}/_simulator/{path}", json.dumps(members).encode() if members else None, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    made = ask(
        "POST",
        "exports",
        name="cost",
        hourly=False,
        months=1,
        manifest_delay=60,
        columns_from={"discount": "2026-03-01"},
    )
    assert (made["refreshed"], made["manifest_delay"]) == (None, 60)
    assert aws.exports.find("cost").columns_from == {"discount": MARCH}
    (listed,) = ask("POST", "exports/deliver", force=True)
    assert listed["refreshed"] == NOW.isoformat()
    ask("POST", "exports/release", name="cost")
    keys = [each["key"] for each in ask("GET", "exports/objects?name=cost")]
    assert len(keys) == 4
    ask("POST", "exports/change", name="cost", truncated=2, data_delay=1.5)
    export = aws.exports.find("cost")
    assert (export.truncated, export.data_delay) == (2, timedelta(seconds=1.5))
    ask("POST", "tag-activation", key="team", first="2026-03-05")
    assert aws.cost_allocation.activations == {"team": date(2026, 3, 5)}
    ask("POST", "exports/hold", held=True)
    aws.clock.advance(timedelta(days=2))
    aws.exports.deliver_lazily()
    assert aws.exports.refreshed("cost") == NOW
