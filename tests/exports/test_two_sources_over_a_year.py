"""One bill read from Cost Explorer and from an export: all that follows is the same, before and after it is restated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from drawn_bills import drawn_bill
from export_reader import DAY, METRICS, Reader, reading

from exporter.app.dated_history import DATED_FAMILIES
from exporter.collectors import cost, cost_breakdowns
from exporter.core.amounts import AMOUNTS
from exporter.core.metric import Sample
from exporter.core.moments import month_start
from exporter.core.money import to_usd
from exporter.cost.dated_sums import DatedSums
from exporter.cube.answering import answer
from exporter.cube.dated import DatedDimensions
from exporter.cube.dimensions import DAILY_BY
from exporter.cube.question import Question
from exporter.cube.settings import CostBreakdownsSettings
from exporter.cube.untagged import DatedUntagged
from exporter.declarations.collector import Collector
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.ledger.daily_values import totals
from simulated_aws import ExplicitCost, OrganizationSpec, SimulatedAws

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

NOW = datetime(2026, 5, 29, 12, tzinfo=UTC)  # the next days are of another month
KEPT = CostBreakdownsSettings(
    by=("region", "charge_type", "usage_type", "operation", "billing_entity"),
    tags=("team", "environment"),
    cost_categories=("CostCenter",),
    services=True,
    untagged=True,
    values=10_000,
)
_HALF_A_CENT = 0.005
WINDOW = timedelta(days=430)
AGES = (2, 9, 33, 370)
"""Days back: in this month, in the last, and in one of a year ago."""


class Both:
    """Two installations over one bill: the one asks Cost Explorer, the other reads an export."""

    def __init__(self, aws: SimulatedAws, asking: Reader, exported: Reader, rows: list[ExplicitCost]) -> None:
        self.aws = aws
        self.asking = asking
        self.exported = exported
        self.rows = rows
        for reader in self.readers:
            reader.kept = KEPT

    @property
    def readers(self) -> tuple[Reader, Reader]:
        return self.asking, self.exported

    @property
    def now(self) -> datetime:
        return self.aws.clock.now()

    @property
    def first(self) -> date:
        return month_start(self.now.date(), 13)

    @property
    def end(self) -> date:
        return self.now.date() + DAY

    def ask(self) -> None:
        """Read from Cost Explorer what is due."""
        self.asking.read_cost_explorer()
        self.asking.read_breakdowns()

    def deliver(self) -> None:
        """A delivery of this moment is read."""
        self.aws.exports.deliver(force=True)
        self.exported.read()

    def derive(self) -> None:
        """Bring the dated values of both up to date."""
        for reader in self.readers:
            history_months = reader.cost_settings.history_months
            clock = self.aws.clock.now
            for derived in (
                DatedSums(reader.ledger, "unblended", WINDOW, history_months, clock),
                DatedDimensions(reader.ledger, "unblended", 20_000, WINDOW, history_months, clock),
                DatedUntagged(reader.ledger, WINDOW, history_months, clock),
            ):
                while derived.update():
                    pass

    def restate(self, changed: dict[int, tuple[ExplicitCost, ...]]) -> None:
        """From now on, AWS holds other rows in the place of some."""
        rows = []
        for number, row in enumerate(self.rows):
            if number in changed:
                rows.append(replace(row, visible_until=self.now))
                rows += [replace(new, visible_from=self.now) for new in changed[number]]
            else:
                rows.append(row)
        self.rows = rows
        self.aws.set_costs(rows)


@contextmanager
def made(folder: Path, patch: pytest.MonkeyPatch, seed: int) -> Iterator[Both]:
    """Both installations over a drawn bill; nothing is read yet."""
    spec = OrganizationSpec(seed=seed, accounts=3, now=NOW, groups_per_page=2_000)
    with ExitStack() as stack:
        aws = stack.enter_context(SimulatedAws(spec, costs=()))
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        ids = [account.id for account in aws.accounts]
        rows = [*drawn_bill(ids, month_start(NOW.date(), 14), NOW.date() + 30 * DAY, seed)]
        aws.set_costs(rows)
        aws.exports.create(manual_discounts=True, hourly=False, months=13)
        aws.exports.hold()
        readers = []
        for name, source in (("asking", "cost_explorer"), ("exported", "data_export")):
            (folder / name).mkdir()
            readers.append(
                stack.enter_context(
                    reading(aws, folder / name, cost_settings={"source": source, "history_months": 13})
                )
            )
        yield Both(aws, readers[0], readers[1], rows)


def check(both: Both) -> None:
    """Everything that is known of both is the same; cost by day, account and service also that of the bill."""
    check_ledgers(both)
    check_values(both)
    check_questions(both)
    check_dated(both)
    check_views(both)


def check_ledgers(both: Both) -> None:
    asked, exported = (
        {
            (row.day.isoformat(), row.account_id, row.service, str(row.charge_class)): row.amounts
            for row in reader.ledger.cost.rows(both.first, both.end)
            if any(getattr(row.amounts, cost_type) for cost_type in AMOUNTS)
        }
        for reader in both.readers
    )
    assert asked == exported
    assert {charge_class for *_, charge_class in asked} == {"usage", "other"}
    by = ("day", "account", "service")
    for cost_type in AMOUNTS:
        truth = both.aws.truth.totals(both.first, both.end, both.now, by, METRICS[cost_type])
        found: defaultdict[tuple[str, ...], Decimal] = defaultdict(Decimal)
        for (*key, _), amounts in exported.items():
            found[tuple(key)] += getattr(amounts, cost_type)
        assert {key: usd for key, usd in found.items() if usd} == {
            key: usd for key, usd in truth.items() if usd
        }, cost_type


def values_of(reader: Reader, both: Both) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The five cost types of each day by each dimension, beside account and service; by those that both read."""
    read = {(each.dimension.name, each.beside) for each in KEPT.readings()}
    columns = ", ".join(AMOUNTS)
    with reader.ledger.connection() as db:
        # In one pass: to ask for each dimension and cost type takes longer than all that is tested.
        rows = db.execute(
            f"SELECT dimension, account_id, service, value, day, {columns} FROM cube_values"  # noqa: S608 # known columns
            " JOIN cube_keys ON id = key WHERE day >= ? AND day < ?",
            (both.first.toordinal(), both.end.toordinal()),
        ).fetchall()
    return {
        (name, account_id, service, value, str(date.fromordinal(day))): tuple(units)
        for name, account_id, service, value, day, *units in rows
        if (name, "account" if account_id else "service") in read
    }


def check_values(both: Both) -> None:
    asked, exported = (values_of(reader, both) for reader in both.readers)
    assert {name for name, *_ in asked} == {each.dimension.name for each in KEPT.readings()}
    assert asked == exported
    # What consumers ask for.
    by = ("day", "account", "tag:team")
    truth = both.aws.truth.totals(both.first, both.end, both.now, by, METRICS["amortized"])
    for reader in both.readers:
        found = reader.values("tag:team", "account", both.first, both.end, "amortized")
        assert found == {key: usd for key, usd in truth.items() if usd}


QUESTIONS: tuple[tuple[tuple[str, ...], dict[str, frozenset[str]]], ...] = (
    (("account", "service", "day"), {}),
    (("month",), {}),
    (("region", "account", "month"), {}),
    (("usage_type", "service"), {}),
    (("tag:team", "month"), {}),
    (("cost_category:CostCenter", "account"), {"cost_category:CostCenter": frozenset({"Shop", ""})}),
    (("charge_type", "day"), {"charge_type": frozenset({"Tax", "Credit", "SavingsPlanRecurringFee"})}),
    (("billing_entity",), {}),
)


def check_questions(both: Both) -> None:
    for by, where in QUESTIONS:
        for cost_type in ("unblended", "net_amortized"):
            question = Question(both.first, both.end, by, where, cost_type)
            asked, exported = (answer(reader.ledger, question) for reader in both.readers)
            assert (asked.cannot, asked.gaps, asked.missing) == (None, [], []), by
            assert (exported.cannot, exported.gaps, exported.missing) == (None, [], []), by
            assert asked.days == exported.days
            found = {key: to_usd(units) for key, units in asked.costs.items() if units}
            assert found == {key: to_usd(units) for key, units in exported.costs.items() if units}, by
            assert found


def dated(reader: Reader, both: Both) -> dict[tuple[date, str, str, str], float]:
    """Dated values without zeros; Cost Explorer has none by resource."""
    families = [family.name for family in DATED_FAMILIES if family != DAILY_BY["resource"]]
    found = totals(reader.ledger, both.first, both.end, families)
    return {tuple(key): value for *key, value in found if value}  # type: ignore[misc]


def check_dated(both: Both) -> None:
    both.derive()
    asked, exported = (dated(reader, both) for reader in both.readers)
    assert {family for _, family, _, _ in asked} >= {
        "aws_cost_daily_by_region_usd",
        "aws_cost_daily_by_usage_type_usd",
        "aws_cost_daily_by_charge_type_usd",
        "aws_cost_daily_by_tag_usd",
        "aws_cost_daily_by_cost_category_usd",
        "aws_cost_daily_by_account_usd",
        "aws_cost_daily_by_service_usd",
        "aws_cost_daily_non_usage_usd",
        "aws_cost_daily_untagged_usd",
        "aws_cost_daily_taggable_usd",
        "aws_cost_monthly_usd",
    }
    # What changes by less than a hundredth of a cent is not written again.
    assert unequal(asked, exported) == {}


def samples(reader: Reader, both: Both) -> dict[tuple[str, ...], float]:
    """What the views of cost and of its breakdowns serve in dollars: sums, projections, expected cost, findings."""
    found: dict[tuple[str, ...], float] = {}
    collectors: tuple[tuple[Collector, Any], ...] = (
        (cost.COLLECTOR, reader.cost_settings),
        (cost_breakdowns.COLLECTOR, reader.kept),
    )
    for collector, settings in collectors:
        for view in collector.views:
            context = ViewContext(
                ledger=reader.ledger,
                now=both.now,
                settings=settings,
                names={account.id: account.name for account in both.aws.accounts},
                sections=Sections(reader.cost_settings, reader.kept),
            )
            for sample in view.render(context):
                if isinstance(sample, Sample) and sample.family.name.endswith("_usd"):
                    found[sample.family.name, *sample.values] = float(sample.value)
    return found


def check_views(both: Both) -> None:
    asked, exported = (samples(reader, both) for reader in both.readers)
    assert len({name for name, *_ in asked}) > 10
    assert unequal(asked, exported) == {}


def unequal(
    asked: Mapping[Any, float], exported: Mapping[Any, float]
) -> dict[Any, tuple[float | None, float | None]]:
    """What is not the same to the cent, with half a cent for what is rounded; what is missing is zero."""
    return {
        key: (asked.get(key), exported.get(key))
        for key in asked.keys() | exported.keys()
        if not abs(asked.get(key, 0.0) - exported.get(key, 0.0)) < _HALF_A_CENT
    }


def restatement(rows: list[ExplicitCost], today: date) -> dict[int, tuple[ExplicitCost, ...]]:
    """Of a day of each age a charge that grows, one that moves to another service, region and team, and one that vanishes."""
    of_age: defaultdict[int, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if row.record_type == "Usage" and row.billing_entity == "AWS":
            of_age[(today - row.day).days].append(number)
    changed: dict[int, tuple[ExplicitCost, ...]] = {}
    for age in AGES:
        spike, moved, gone = of_age[age][:3]
        amounts = {name: 20 * usd for name, usd in rows[spike].amounts.items()}
        changed[spike] = (replace(rows[spike], amounts=amounts),)
        elsewhere: dict[str, Any] = {
            "service": "AWS Key Management Service",
            "usage_type": "KMS-Keys",
            "region": "ap-south-1",
            "tags": (("team", "new"),),
            "amounts": {name: usd + Decimal("0.01") for name, usd in rows[moved].amounts.items()},
        }
        changed[moved] = (replace(rows[moved], **elsewhere),)
        changed[gone] = ()
    return changed


def judge(both: Both, hours: Sequence[int]) -> None:
    """Both are read, the bill is restated, and both are read so many hours later; the last time the month is over."""
    both.ask()
    both.deliver()
    check(both)
    before = ledger_of(both.exported, both)
    both.restate(restatement(both.rows, NOW.date()))
    for later in hours:
        both.aws.clock.set(NOW + timedelta(hours=later))
        both.ask()
        both.deliver()
    assert both.now.month != NOW.month
    check(both)
    days = {day for (day, *_), _ in before ^ ledger_of(both.exported, both)}
    assert {(NOW.date() - age * DAY).isoformat() for age in AGES} <= days


def ledger_of(reader: Reader, both: Both) -> set[tuple[tuple[str, ...], Decimal]]:
    return {*reader.cost(both.first, both.end, "unblended").items()}


def test_everything_is_the_same_from_both_sources_and_stays_so_when_the_bill_is_restated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with made(tmp_path, monkeypatch, seed=1) as both:
        # Cost Explorer's months are compared once a week, and what is by dimensions follows a day later.
        judge(both, (24, 72, 24 * 7 + 6, 24 * 8 + 8, 24 * 9 + 10))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 7))
def test_it_is_so_of_many_bills_that_are_read_each_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    with made(tmp_path, monkeypatch, seed=seed) as both:
        judge(both, range(24, 24 * 11, 24))
