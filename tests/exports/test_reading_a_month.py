"""A month is read whole or not at all, even if its files change meanwhile; until then, what was read before stays."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from export_reader import DAY, Reader, create, reading, refused, truth
from organizations import MakeAws

from exporter.aws.errors import Kind
from exporter.cube import values
from exporter.cube.dimensions import parse_dimension
from exporter.cube.months import LINES
from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
FEBRUARY = date(2026, 2, 1)
NOON = datetime(2026, 3, 17, 12, tzinfo=UTC)


def served(reader: Reader) -> dict[tuple[str, ...], Decimal]:
    return reader.cost(MARCH, APRIL, "unblended")


def held_by_aws(aws: SimulatedAws) -> dict[tuple[str, ...], Decimal]:
    return truth(aws, MARCH, APRIL, "unblended", "day", "account", "service")


def success(reader: Reader) -> dict[str, float]:
    return {
        sample.values[0]: sample.value
        for sample in reader.samples()
        if sample.family.name == "aws_spend_exporter_export_month_success"
    }


def left_behind(folder: Path) -> list[str]:
    """What lies below a data folder beside the ledger and the files of months."""
    return sorted(
        path.name for path in (*(folder / "spill").glob("*"), *(folder / "cube").glob("*unfinished"))
    )


def test_an_unchanged_manifest_costs_one_request_and_a_new_one_replaces_the_month(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON)
    create(aws)
    with reading(aws, tmp_path) as reader:
        reader.read()
        first, commits = served(reader), reader.commits
        assert first == held_by_aws(aws)
        assert reader.wait() == timedelta(hours=1)
        aws.requests.clear()
        aws.exports.hold()
        aws.clock.set(NOON + timedelta(hours=1))
        reader.read()
        # The current month is looked at each hour, and so is last month for two weeks; the others once a day.
        assert [entry.operation for entry in aws.requests.entries() if entry.service == "s3"] == [
            "HeadObject"
        ]
        aws.exports.hold(False)
        aws.clock.set(NOON + timedelta(hours=13))
        reader.read()
        second = served(reader)
        assert second == held_by_aws(aws) != first
        assert reader.commits > commits
        assert len(list((tmp_path / "cube").iterdir())) == 1
        assert left_behind(tmp_path) == []


def test_each_known_month_is_looked_at_daily_and_a_correction_of_an_old_one_is_taken(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON, days=100)
    create(aws, months=2)
    with reading(aws, tmp_path) as reader:
        reader.read()
        assert {month for month in (MARCH, FEBRUARY, date(2026, 1, 1)) if reader.month(month)} == {
            MARCH, FEBRUARY, date(2026, 1, 1),
        }  # fmt: skip
        before = reader.cost(date(2026, 1, 1), FEBRUARY, "unblended")
        account = aws.accounts[1].id
        aws.inject_service(account, "AWS Lambda", Decimal("12.34"), since=date(2026, 1, 20))
        aws.clock.set(NOON + timedelta(hours=2))
        aws.exports.deliver(force=True)
        reader.read()
        assert reader.cost(date(2026, 1, 1), FEBRUARY, "unblended") == before
        aws.clock.set(NOON + timedelta(hours=25))
        aws.exports.deliver(force=True)
        reader.read()
        after = reader.cost(date(2026, 1, 1), FEBRUARY, "unblended")
        assert after == truth(aws, date(2026, 1, 1), FEBRUARY, "unblended", "day", "account", "service")
        assert after != before


def test_a_tag_is_unknown_before_its_activation_until_a_backfill_rewrites_these_months(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON, days=80)
    aws.cost_allocation.activate_tag("team", MARCH)
    create(aws, months=1)
    team = parse_dimension("tag:team")
    with reading(aws, tmp_path) as reader:
        reader.read()
        before = reader.cost(FEBRUARY, MARCH, "unblended")
        assert values.states(reader.ledger, team, "account", FEBRUARY, MARCH) == {}
        assert len(values.states(reader.ledger, team, "account", MARCH, APRIL)) == NOON.day
        aws.clock.set(NOON + timedelta(hours=20))
        aws.cost_allocation.request_backfill(FEBRUARY)
        aws.exports.deliver(force=True)
        aws.clock.set(NOON + timedelta(hours=25))
        reader.read()
        assert reader.cost(FEBRUARY, MARCH, "unblended") == before
        assert reader.values("tag:team", "account", FEBRUARY, MARCH, "unblended") == truth(
            aws, FEBRUARY, MARCH, "unblended", "day", "account", "tag:team"
        )


@pytest.mark.fault("files of an export that are replaced while they are read", "no half of a month is served")
@pytest.mark.parametrize("overwrite", [True, False])
def test_files_that_are_replaced_while_they_are_read_make_no_mixture(
    make_aws: MakeAws, tmp_path: Path, overwrite: bool
) -> None:
    aws = make_aws(now=NOON)
    export = create(aws, lines_per_file=100, overwrite=overwrite)
    with reading(aws, tmp_path) as reader:
        aws.exports.deliver()
        files = len(aws.exports.buckets.list(export.bucket, export.folder("data", MARCH)))
        assert files > 3
        aws.clock.set(NOON + timedelta(hours=3))
        aws.exports.hold()
        export.deliver_after_gets = 2  # the delivery comes between the second file and the third
        reader.read()
        assert export.deliver_after_gets == 0
        assert served(reader) == held_by_aws(aws)
        assert left_behind(tmp_path) == []


@pytest.mark.fault(
    "a manifest that comes later than its files", "the last good month is served, and the failure is"
)
def test_a_manifest_that_is_older_than_its_files_is_a_failure_and_the_last_good_month_stays(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON)
    export = create(aws)
    with reading(aws, tmp_path) as reader:
        reader.read()
        good = served(reader)
        export.manifest_delay = timedelta(hours=2)
        aws.clock.set(NOON + timedelta(hours=12))
        aws.exports.hold()
        aws.exports.deliver(force=True)
        # Tags that are kept beside make the month be read again, from files that the manifest is not of.
        reader.settings = reader.settings.model_copy(update={"resources": 7})
        refused(reader, Kind.EXPORT, "2026-03: ", "newer than the manifest")
        assert served(reader) == good
        assert success(reader) == {"2026-03": 0}
        aws.exports.release("cost")
        aws.clock.set(NOON + timedelta(hours=15))
        reader.read()
        assert served(reader) == held_by_aws(aws) != good
        assert success(reader) == {"2026-03": 1}


@pytest.mark.fault("a file of an export that is missing", "the last good month is served, and the failure is")
def test_a_manifest_that_names_what_is_not_there_is_a_failure(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON)
    export = create(aws, overwrite=False, data_delay=timedelta(hours=1))
    with reading(aws, tmp_path) as reader:
        refused(reader, Kind.EXPORT, "names a file that is not there", "/data/BILLING_PERIOD=2026-03/")
        assert served(reader) == {}
        assert success(reader) == {"2026-03": 0}
        export.data_delay = timedelta(0)
        aws.clock.set(NOON + timedelta(hours=12))
        reader.read()
        assert served(reader) == held_by_aws(aws)
        assert left_behind(tmp_path) == []


@pytest.mark.fault("half a Parquet file in an export", "the last good month is served, and the failure is")
def test_a_file_that_cannot_be_read_is_a_failure_of_its_month_alone(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON, days=80)
    export = create(aws, months=1)
    with reading(aws, tmp_path) as reader:
        reader.read()
        good = served(reader)
        aws.inject_service(aws.accounts[1].id, "AWS Lambda", Decimal("7.5"), since=date(2026, 2, 20))
        aws.clock.set(NOON + timedelta(hours=25))
        export.truncated = 1  # the first that is written: of February
        aws.exports.deliver(force=True)
        aws.exports.hold()
        february = reader.cost(FEBRUARY, MARCH, "unblended")
        reason = refused(reader, Kind.EXPORT, "2026-02: ", ".snappy.parquet")
        assert "2026-03" not in reason
        assert reader.cost(FEBRUARY, MARCH, "unblended") == february
        assert served(reader) == held_by_aws(aws) != good
        assert success(reader) == {"2026-02": 0, "2026-03": 1}
        aws.exports.deliver(force=True)
        reader.read()
        assert reader.cost(FEBRUARY, MARCH, "unblended") != february
        assert success(reader) == {"2026-02": 1, "2026-03": 1}


def test_a_manifest_that_is_gone_or_broken_is_a_failure_and_the_month_stays(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON)
    export = create(aws)
    key = f"{export.folder('metadata', MARCH)}cost-Manifest.json"
    with reading(aws, tmp_path) as reader:
        reader.read()
        good = served(reader)
        aws.exports.hold()
        _, body = aws.exports.buckets.read(export.bucket, key)
        for number, (broken, text) in enumerate(
            (
                (b"", "not JSON"),
                (b"[]", "not a JSON object"),
                (b'{"dataFiles": []}', "names no data files"),
                (json.dumps({**json.loads(body), "dataFiles": ["elsewhere/file.parquet"]}).encode(), "outside of"),
                (json.dumps({**json.loads(body), "dataFiles": ["s3://other/exports/x.parquet"]}).encode(), "another bucket"),
                (json.dumps({**json.loads(body), "billingPeriod": {"start": "2026-02-01T00:00:00Z"}}).encode(), "billing period"),
            ),
            start=1,
        ):  # fmt: skip
            aws.clock.set(NOON + timedelta(hours=number))
            aws.exports.buckets.put(export.bucket, key, broken)
            refused(reader, Kind.EXPORT, "2026-03", text)
            assert served(reader) == good
        aws.exports.buckets.delete(export.bucket, key)
        refused(reader, Kind.EXPORT, "2026-03", "the manifest is gone")
        assert served(reader) == good
        month = reader.month(MARCH)
        assert month is not None
        assert month.file(LINES) is not None


def test_manifests_of_deliveries_are_found_where_none_is_beside_them(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON)
    create(aws, overwrite=False, hides_latest_manifest=True)
    with reading(aws, tmp_path) as reader:
        reader.read()
        first = served(reader)
        aws.clock.set(NOON + timedelta(hours=13))
        reader.read()
        assert served(reader) == held_by_aws(aws) != first


def test_another_choice_of_keys_reads_the_month_again(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON)
    create(aws)
    with reading(aws, tmp_path) as reader:
        aws.exports.hold()
        aws.exports.deliver()
        reader.read()
        month = reader.month(MARCH)
        aws.clock.set(NOON + timedelta(hours=1))
        reader.settings = reader.settings.model_copy(update={"resources": 3})
        reader.read()
        again = reader.month(MARCH)
        assert month is not None
        assert again is not None
        assert month.version != again.version
        assert month.folder != again.folder
        assert not (month.folder or tmp_path).exists()


def test_months_of_a_former_export_are_kept_without_a_failure(make_aws: MakeAws, tmp_path: Path) -> None:
    """A new export begins with its own month: what the one before delivered is not missing from it."""
    aws = make_aws(now=NOON)
    create(aws, months=1)
    with reading(aws, tmp_path) as reader:
        reader.read()
        february = reader.cost(FEBRUARY, MARCH, "unblended")
    aws.clock.set(NOON + DAY)
    create(aws, name="second", months=0)
    with reading(aws, tmp_path, export="second") as reader:
        reader.read()
        assert reader.cost(FEBRUARY, MARCH, "unblended") == february
        assert success(reader) == {"2026-02": 1, "2026-03": 1}
        held = [reader.month(month) for month in (FEBRUARY, MARCH)]
        assert [month and month.details["export"] for month in held] == ["cost", "second"]


def test_a_month_whose_files_are_gone_is_read_again(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON)
    create(aws)
    with reading(aws, tmp_path) as reader:
        reader.read()
        from exporter.cube.months import CubeMonths

        months = CubeMonths(reader.ledger)
        months.forget(MARCH)
        months.remove_superseded()
        reader.read()
        assert reader.month(MARCH) is not None


def test_names_of_the_bill_are_those_of_accounts_that_discovery_does_not_find(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON)
    create(aws)
    with reading(aws, tmp_path) as reader:
        reader.read()
        names = reader.ledger.accounts.names()
        assert {account.id: account.name for account in aws.accounts if account.id in names} == names
        assert len(names) > 2


def test_days_are_known_up_to_the_delivery(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON)
    create(aws)
    with reading(aws, tmp_path) as reader:
        reader.read()
        states = reader.ledger.reads.day_states(MARCH, APRIL)
        delivered = aws.exports.refreshed("cost")
        assert delivered is not None
        last = delivered.date()
        assert min(states) == MARCH
        assert max(states) == last <= NOON.date()
        assert {state.read_at for state in states.values()} == {delivered.replace(microsecond=0)}
        assert {state.source for state in states.values()} == {"data_export"}
        assert DAY * len(states) == last - MARCH + DAY
