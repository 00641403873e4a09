"""Drawn bills, delivered and imported, are those of Cost Explorer in every figure; and the comparison sees what goes wrong."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from bill_differences import differences
from drawn_bills import ALL_TYPES, charge, drawn_bill
from export_reader import DAY, METRICS, reading
from fold_in_process import InProcessFold
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from exporter.aws.errors import AwsError
from exporter.core.amounts import AMOUNTS, NET_COST_TYPES
from exporter.cube.months import CubeMonths
from exporter.exports import charge_types, cur2, importing, month_commit
from simulated_aws import ExplicitCost, OrganizationSpec, SimulatedAws
from simulated_aws.exports.definition import Export

pytestmark = pytest.mark.stack

NOW = datetime(2026, 3, 17, 12, tzinfo=UTC)
MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedAws]:
    with SimulatedAws(OrganizationSpec(seed=7, accounts=3, now=NOW), costs=()) as simulator:
        for name, value in simulator.environment().items():
            monkeypatch.setenv(name, value)
        simulator.exports.hold()
        yield simulator


# -- drawn ------------------------------------------------------------------------------------------


@st.composite
def bills(draw: st.DrawFn) -> list[tuple[str, date, int, int]]:
    """Kind, day, number of the account and seed of each charge."""
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from(ALL_TYPES),
                st.dates(MARCH, NOW.date()),
                st.integers(0, 2),
                st.integers(0, 2**16),
            ),
            min_size=1,
            max_size=40,
        )
    )


DEFINITIONS = st.fixed_dictionaries(
    {
        "lines_per_file": st.sampled_from((200, 400_000)),
        "format": st.sampled_from(("parquet", "csv")),
        "overwrite": st.booleans(),
        "hourly": st.booleans(),
        "split_costs": st.booleans(),
    }
)


def rows_of(aws: SimulatedAws, bill: list[tuple[str, date, int, int]]) -> list[ExplicitCost]:
    """The charges, and one that has every tag: of a key that no line of a month has, an export does not say that it is active."""
    ids = [account.id for account in aws.accounts]
    tags = (("environment", "prod"), ("team", "checkout"))
    return [
        ExplicitCost(MARCH, ids[0], "AWS Lambda", {"UnblendedCost": Decimal(1)}, tags=tags),
        *(charge(kind, day, ids[number], Random(seed), hours=0) for kind, day, number, seed in bill),
    ]


def judge(aws: SimulatedAws, first: Any, second: Any, definition: dict[str, Any]) -> None:
    """A bill is delivered and read, then another in its place: each time all of it is there, and nothing else."""
    aws.exports.close()
    aws.clock.set(NOW)
    aws.exports.create(manual_discounts=True, **definition)
    with tempfile.TemporaryDirectory() as folder, reading(aws, Path(folder)) as reader:
        for moment, bill in ((NOW, first), (NOW + timedelta(hours=2), second)):
            aws.clock.set(moment)
            aws.set_costs(rows_of(aws, bill))
            aws.exports.deliver(force=True)
            reader.read()
            assert differences(reader, moment) == []


# Each example starts with an empty account; how long it takes says how busy the machine is.
CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # an example takes seconds, and to shrink one minutes


@settings(max_examples=4, suppress_health_check=CHECKS, phases=PHASES)
@given(first=bills(), second=bills(), definition=DEFINITIONS)
def test_a_drawn_bill_is_in_the_ledger_and_the_cube_to_the_unit(
    aws: SimulatedAws, monkeypatch: pytest.MonkeyPatch, first: Any, second: Any, definition: dict[str, Any]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(importing, "MonthFold", InProcessFold)  # a process takes a second to start
        judge(aws, first, second, definition)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=100, suppress_health_check=CHECKS, phases=PHASES)
@given(first=bills(), second=bills(), definition=DEFINITIONS)
def test_many_drawn_bills_through_the_process_of_the_fold(
    aws: SimulatedAws, first: Any, second: Any, definition: dict[str, Any]
) -> None:
    judge(aws, first, second, definition)


@pytest.mark.parametrize("table", ["FOCUS_1_0_AWS", "FOCUS_1_2_AWS"])
def test_focus_has_the_net_cost_of_a_bill_by_account_and_region(
    aws: SimulatedAws, tmp_path: Path, table: str
) -> None:
    aws.set_costs(drawn_bill([account.id for account in aws.accounts], MARCH, NOW.date() + DAY))
    aws.exports.create(table=table, hourly=False)
    aws.exports.deliver(force=True)
    with reading(aws, tmp_path, cost_settings={"cost_type": "net_amortized"}) as reader:
        reader.read()
        for cost_type in NET_COST_TYPES:
            for name in ("region", "tag:team"):
                found = reader.values(name, "account", MARCH, APRIL, cost_type)
                truth = aws.truth.totals(MARCH, APRIL, NOW, ("day", "account", name), METRICS[cost_type])
                assert found == {key: usd for key, usd in truth.items() if usd} != {}


# -- what the comparison sees -------------------------------------------------------------------------


@pytest.fixture
def export(aws: SimulatedAws) -> Export:
    """An export in several files of a bill that has lines of every type."""
    ids = [account.id for account in aws.accounts]
    aws.set_costs(drawn_bill(ids, MARCH, NOW.date() + DAY))
    made = aws.exports.create(manual_discounts=True, hourly=False, lines_per_file=100)
    aws.exports.deliver(force=True)
    return made


def rewrite_manifest(
    aws: SimulatedAws, export: Export, change: Callable[[list[str]], list[str]]
) -> list[str]:
    """Have the manifest name other files than AWS did; returns what it named."""
    key = f"{export.folder('metadata', MARCH)}{export.name}-Manifest.json"
    _, body = aws.exports.buckets.read(export.bucket, key)
    manifest = json.loads(body)
    files: list[str] = manifest["dataFiles"]
    aws.exports.buckets.put(
        export.bucket, key, json.dumps({**manifest, "dataFiles": change(files)}).encode(), aws.clock.now()
    )
    return files


def test_the_comparison_finds_nothing_where_nothing_is_wrong(
    aws: SimulatedAws, export: Export, tmp_path: Path
) -> None:
    with reading(aws, tmp_path) as reader:
        reader.read()
        month = reader.month(MARCH)
        assert month is not None
        assert month.details["files"] > 2
        assert differences(reader, NOW) == []


@pytest.mark.parametrize("position", [0, 1, -1])
def test_the_comparison_sees_a_dropped_file(
    aws: SimulatedAws, export: Export, tmp_path: Path, position: int
) -> None:
    def drop(files: list[str]) -> list[str]:
        return [name for name in files if name != files[position]]

    assert len(rewrite_manifest(aws, export, drop)) > 2
    with reading(aws, tmp_path) as reader:
        reader.read()
        assert {f"{cost_type} of lines" for cost_type in AMOUNTS} <= {*differences(reader, NOW)}


def test_the_comparison_sees_a_file_that_is_read_twice(
    aws: SimulatedAws, export: Export, tmp_path: Path
) -> None:
    def copy(files: list[str]) -> list[str]:
        key = files[0].removeprefix(f"s3://{export.bucket}/")
        again = key.replace("-00001", "-00001-again")
        assert again != key
        _, body = aws.exports.buckets.read(export.bucket, key)
        aws.exports.buckets.put(export.bucket, again, body, aws.clock.now())
        return [*files, f"s3://{export.bucket}/{again}"]

    rewrite_manifest(aws, export, copy)
    with reading(aws, tmp_path) as reader:
        reader.read()
        assert {f"{cost_type} of lines" for cost_type in AMOUNTS} <= {*differences(reader, NOW)}


def test_a_manifest_that_names_a_file_twice_is_refused(
    aws: SimulatedAws, export: Export, tmp_path: Path
) -> None:
    rewrite_manifest(aws, export, lambda files: [*files, files[0]])
    with reading(aws, tmp_path) as reader:
        with pytest.raises(AwsError, match="names a file twice"):
            reader.read()
        assert reader.month(MARCH) is None


@pytest.mark.parametrize(
    "line_type",
    [
        "SavingsPlanCoveredUsage", "SavingsPlanRecurringFee", "SavingsPlanNegation", "SavingsPlanUpfrontFee",
        "DiscountedUsage", "RIFee", "Fee", "Refund",
    ],
)  # fmt: skip
def test_the_comparison_sees_a_line_type_in_the_wrong_cost_type(
    aws: SimulatedAws, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line_type: str
) -> None:
    """Amortized cost of a line type by the rule of all others, which is what it costs when it is paid."""
    right = cur2._amortized

    def wrong(*args: Any, **kwargs: Any) -> str:
        sql = right(*args, **kwargs)
        assert f"WHEN '{line_type}' THEN" in sql
        return sql.replace(f"WHEN '{line_type}' THEN", "WHEN 'another' THEN")

    monkeypatch.setattr(cur2, "_amortized", wrong)
    monkeypatch.setattr(importing, "MonthFold", InProcessFold)
    with reading(aws, tmp_path) as reader:
        reader.read()
        found = differences(reader, NOW)
    assert {"amortized by service", "net_amortized by service", "amortized of lines"} <= {*found}
    assert not [each for each in found if each.startswith(("unblended", "blended", "net_unblended"))]


def test_the_comparison_sees_a_line_type_under_the_wrong_charge_type(
    aws: SimulatedAws, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(charge_types._RECORD_TYPES, "Credit", "Usage")
    monkeypatch.setattr(importing, "MonthFold", InProcessFold)
    with reading(aws, tmp_path) as reader:
        reader.read()
        found = differences(reader, NOW)
    assert {"unblended by account and charge_type", "unblended that is no usage"} <= {*found}
    assert "unblended by service" not in found


def half_of_the_days(patch: pytest.MonkeyPatch) -> None:
    """The other half stays as it was."""
    whole = month_commit._days

    def half(*args: Any) -> dict[date, bool]:
        days = whole(*args)
        return dict([*days.items()][: len(days) // 2])

    patch.setattr(month_commit, "_days", half)


def all_but_the_values(patch: pytest.MonkeyPatch) -> None:
    """Cost by each dimension stays as it was."""
    patch.setattr(month_commit, "_commit_values", lambda *_: None)


def all_but_the_lines(patch: pytest.MonkeyPatch) -> None:
    """The month keeps the files that it had."""
    whole = CubeMonths.commit

    def commit(self: CubeMonths, month: date, source: Any, version: str, folder: Path, *rest: Any) -> None:
        held = self.all()[month].folder
        assert held is not None
        whole(self, month, source, version, None, *rest)
        with self._ledger.transaction() as db:
            db.execute("UPDATE cube_months SET folder = ?", (held.name,))

    patch.setattr(CubeMonths, "commit", commit)


@pytest.mark.parametrize(
    ("swap", "seen", "unseen"),
    [
        (half_of_the_days, ("by service", "by account and region", "of lines"), ()),
        (
            all_but_the_values,
            ("by account and region", "by service and tag:team"),
            ("by service", "of lines"),
        ),
        (all_but_the_lines, ("of lines",), ("by service", "by account and region")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_comparison_sees_a_month_half_swapped(
    aws: SimulatedAws,
    export: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    swap: Callable[[pytest.MonkeyPatch], None],
    seen: tuple[str, ...],
    unseen: tuple[str, ...],
) -> None:
    """Of a new delivery a part is committed, the rest stays as it was; the next delivery puts it right."""
    ids = [account.id for account in aws.accounts]
    later = NOW + timedelta(hours=2)
    with reading(aws, tmp_path) as reader:
        reader.read()
        aws.clock.set(later)
        aws.set_costs(drawn_bill(ids, MARCH, NOW.date() + DAY, seed=2))
        aws.exports.deliver(force=True)
        with monkeypatch.context() as patch:
            swap(patch)
            reader.read()
        found = {*differences(reader, later)}
        for cost_type in AMOUNTS:
            assert {f"{cost_type} {each}" for each in seen} <= found
            assert not {f"{cost_type} {each}" for each in unseen} & found
        aws.clock.advance(timedelta(hours=2))
        aws.exports.deliver(force=True)
        reader.read()
        assert differences(reader, aws.clock.now()) == []
