"""Where one of several guards stands alone: versions of objects, one transaction, days before an export, denied listings."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from export_reader import DAY, KEPT, create, reading, truth
from organizations import MakeAws

from exporter.aws.errors import AwsError, Kind
from exporter.collectors.cost_export import free_calls
from exporter.core.money import to_usd
from exporter.cost.dated_sums import DatedSums
from exporter.cost.settings import CostSettings
from exporter.cube import values
from exporter.cube.dimensions import Dimension, untagged
from exporter.declarations.calls import Scale
from exporter.exports.delivery.bucket import ChangedError, ExportBucket, MissingError
from exporter.exports.settings import CostExportSettings
from exporter.history.sample_timestamps import Stamps
from simulated_aws.wire import AwsError as Refusal

pytestmark = pytest.mark.stack

MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
FEBRUARY = date(2026, 2, 1)
NOON = datetime(2026, 3, 17, 12, tzinfo=UTC)


def test_an_object_is_fetched_in_the_version_that_was_looked_at_or_not_at_all(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON)
    export = create(aws)
    with reading(aws, tmp_path) as reader:
        bucket = ExportBucket(reader.client, reader.payer, export.bucket, "us-east-1", None)
        aws.exports.buckets.put(export.bucket, "exports/cost/a", b"one")
        stored = bucket.look("exports/cost/a")
        assert stored.size == 3
        target = tmp_path / "a"
        bucket.fetch(stored, target)
        assert target.read_bytes() == b"one"
        assert bucket.read(stored, 10) == b"one"
        aws.exports.buckets.put(export.bucket, "exports/cost/a", b"two")
        with pytest.raises(ChangedError):
            bucket.fetch(stored, target)
        with pytest.raises(ChangedError):
            bucket.read(stored, 10)
        with pytest.raises(AwsError, match="has 3 bytes"):
            bucket.read(bucket.look("exports/cost/a"), 2)
        aws.exports.buckets.delete(export.bucket, "exports/cost/a")
        with pytest.raises(MissingError):
            bucket.fetch(stored, target)
        with pytest.raises(MissingError):
            bucket.look("exports/cost/a")


@pytest.mark.fault("a ledger that fails in the middle of a month's commit", "nothing of the month is changed")
def test_a_commit_that_fails_at_its_end_changes_nothing(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON)
    create(aws)
    region = Dimension("region")
    with reading(aws, tmp_path) as reader:
        reader.read()
        before = reader.cost(MARCH, APRIL, "unblended")
        month, states = reader.month(MARCH), values.states(reader.ledger, region, "account", MARCH, APRIL)
        aws.clock.set(NOON + timedelta(hours=13))
        # The last statement of the transaction fails.
        with reader.ledger.transaction() as db:
            db.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON cube_months BEGIN SELECT RAISE(ABORT, 'broken'); END"
            )
        with pytest.raises(sqlite3.DatabaseError, match="broken"):
            reader.read()
        assert reader.cost(MARCH, APRIL, "unblended") == before
        assert reader.month(MARCH) == month
        assert values.states(reader.ledger, region, "account", MARCH, APRIL) == states
        with reader.ledger.transaction() as db:
            db.execute("DROP TRIGGER broken")
        reader.read()
        assert reader.cost(MARCH, APRIL, "unblended") != before
        assert len(list((tmp_path / "cube").iterdir())) == 1


def test_days_before_a_new_exports_first_line_stay_as_cost_explorer_has_them(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON)
    with reading(aws, tmp_path) as reader:
        reader.cost_settings = CostSettings(history_months=1)
        reader.read_cost_explorer()
        before = reader.cost(MARCH, date(2026, 3, 10), "net_amortized")
        create(
            aws, query="SELECT * FROM COST_AND_USAGE_REPORT WHERE line_item_usage_start_date >= '2026-03-10'"
        )
        reader.cost_settings = CostSettings(source="data_export", history_months=1)
        reader.settings = reader.settings.model_copy(update={"accept_filtered": True})
        for hours in (0, 13):
            aws.clock.set(NOON + timedelta(hours=hours))
            reader.read()
            assert reader.cost(MARCH, date(2026, 3, 10), "net_amortized") == before
            assert reader.cost(date(2026, 3, 10), APRIL, "net_amortized") == truth(
                aws, date(2026, 3, 10), APRIL, "net_amortized", "day", "account", "service"
            )
        month = reader.month(MARCH)
        assert month is not None
        assert month.details["first_day"] == "2026-03-10"
        states = reader.ledger.reads.day_states(MARCH, APRIL)
        assert {day for day, state in states.items() if state.source == "cost_explorer"} == {
            MARCH + number * DAY for number in range(9)
        }


def test_without_the_right_to_list_months_before_the_export_are_no_failure(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    """S3 denies what is not there then."""
    aws = make_aws(now=NOON)
    export = create(aws)
    whole = aws.exports.before_get

    def deny_what_is_missing(bucket: str, key: str, operation: str) -> None:
        whole(bucket, key, operation)
        if key not in {known for known, _ in aws.exports.buckets.list(export.bucket)}:
            raise Refusal("AccessDenied", "Access Denied", 403)

    aws.exports.before_get = deny_what_is_missing  # type: ignore[method-assign] # the other end of the wire
    with reading(aws, tmp_path) as reader:
        reader.read()
        assert reader.month(MARCH) is not None
        aws.exports.hold()
        aws.exports.buckets.delete(export.bucket, f"{export.folder('metadata', MARCH)}cost-Manifest.json")
        aws.clock.set(NOON + timedelta(hours=1))
        with pytest.raises(AwsError) as caught:
            reader.read()
        assert caught.value.kind is Kind.ACCESS_DENIED


def test_the_dated_history_leaves_days_alone_that_do_not_have_the_cost_type(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON)
    create(aws, table="FOCUS_1_2_AWS", manual_discounts=False)
    with reading(aws, tmp_path, cost_settings={"cost_type": "net_amortized"}) as reader:
        reader.read()
        day = date(2026, 3, 12)
        stamps = Stamps(reader.ledger)
        assert stamps.changes(day, "net_amortized")
        assert stamps.changes(day, "unblended") == []
        for cost_type, count in (("unblended", 0), ("net_amortized", 16)):
            sums = DatedSums(reader.ledger, cost_type, timedelta(days=400), 13, aws.clock.now)
            while sums.update():
                pass
            with reader.ledger.connection() as db:
                (found,) = db.execute(
                    "SELECT COUNT(DISTINCT day) FROM dated_values JOIN dated_series ON id = series"
                    " WHERE family = 'aws_cost_daily_by_account_usd' AND day >= ?",
                    (MARCH.toordinal(),),
                ).fetchone()
            assert found == count, cost_type


def test_values_beyond_the_limit_are_other_and_their_sum_stays(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON)
    create(aws)
    with reading(aws, tmp_path) as reader:
        reader.kept = KEPT.model_copy(update={"values": 2})
        reader.read()
        found = reader.values("usage_type", "account", MARCH, APRIL, "unblended")
        keys: dict[tuple[str, str], set[str]] = {}
        sums: dict[tuple[str, str], Decimal] = {}
        for (day, account, value), usd in found.items():
            keys.setdefault((day, account), set()).add(value)
            sums[day, account] = sums.get((day, account), Decimal(0)) + usd
        assert max(map(len, keys.values())) == 3
        assert "other" in set().union(*keys.values())
        assert sums == truth(aws, MARCH, APRIL, "unblended", "day", "account")


def test_usage_without_a_tag_is_kept_beside_it(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON)
    create(aws)
    usage = {"Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation"}
    with reading(aws, tmp_path) as reader:
        reader.read()
        expected: dict[tuple[str, str], Decimal] = {}
        for (day, account, record_type, tag), usd in truth(
            aws, MARCH, APRIL, "amortized", "day", "account", "record_type", "tag:team"
        ).items():
            if record_type in usage and not tag:
                expected[day, account] = expected.get((day, account), Decimal(0)) + usd
        found = values.sums(
            reader.ledger, untagged("team"), "account", MARCH, APRIL, "amortized", by_day=True
        )
        assert (
            {
                (day.isoformat(), account): to_usd(units)
                for (day, account, _), units in found.items()
                if units and day is not None
            }
            == {key: usd for key, usd in expected.items() if usd}
            != {}
        )
        assert {value for _, _, value in found} == {""}


def test_a_gzipped_csv_that_makes_a_new_folder_each_time_is_read_the_same(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON)
    create(aws, format="csv", overwrite=False)
    with reading(aws, tmp_path) as reader:
        reader.read()
        for cost_type in ("unblended", "net_amortized"):
            assert reader.cost(MARCH, APRIL, cost_type) == truth(
                aws, MARCH, APRIL, cost_type, "day", "account", "service"
            )


@pytest.mark.parametrize("bucket", [None, "bills"])
def test_the_requests_of_a_month_are_few_and_cost_next_to_nothing(bucket: str | None) -> None:
    settings = CostExportSettings(export="cost", bucket=bucket)
    calls = {call.operation: call for call in free_calls(settings, Scale(100, 20, 2000, 5, 2000))}
    assert set(calls) == {"HeadObject", "GetObject", "Decrypt"} | (
        {"ListExports", "GetExport"} if bucket is None else set()
    )
    assert 1_000 < calls["HeadObject"].per_month < 3_000
    assert calls["Decrypt"].per_month == calls["GetObject"].per_month
    assert not calls["Decrypt"].is_request  # S3 sends it
    assert Decimal(0) < sum(call.per_month * call.usd_each for call in calls.values()) < Decimal("0.01")
