"""One bill read from Cost Explorer and from an export: all that follows is the same, before and after it is restated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
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
from exporter.core.moments import month_start
from exporter.core.money import to_usd
from exporter.cost.dated_sums import DatedSums
from exporter.cost.settings import CostSettings
from exporter.cube import values
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
CENT = Decimal("0.01")
WINDOW = timedelta(days=430)
_ONE_TO_ONE = 10**10

Costs = dict[tuple[str, ...], Decimal]


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


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    yield from made(tmp_path, monkeypatch, seed=1)


def made(folder: Path, patch: pytest.MonkeyPatch, seed: int) -> Iterator[Both]:
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
    for cost_type in AMOUNTS:
        found = both.aws.truth.totals(
            both.first, both.end, both.now, ("day", "account", "service"), METRICS[cost_type]
        )
        expected = {key: usd for key, usd in found.items() if usd}
        for reader in both.readers:
            assert reader.cost(both.first, both.end, cost_type) == expected, cost_type
    asked, exported = (
        {
            (row.day, row.account_id, row.service, row.charge_class): row.amounts
            for row in reader.ledger.cost.rows(both.first, both.end)
            if any(getattr(row.amounts, cost_type) for cost_type in AMOUNTS)
        }
        for reader in both.readers
    )
    assert asked == exported
    assert {charge_class for *_, charge_class in asked} == {"usage", "other"}


def check_values(both: Both) -> None:
    for each in KEPT.readings():
        for cost_type in AMOUNTS:
            asked, exported = (
                {
                    key: units
                    for key, units in values.sums(
                        reader.ledger,
                        each.dimension,
                        each.beside,
                        both.first,
                        both.end,
                        cost_type,
                        by_day=True,
                    ).items()
                    if units
                }
                for reader in both.readers
            )
            assert asked, each.name
            assert asked == exported, (each.name, cost_type)


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
    differing = {
        key: (asked.get(key), exported.get(key))
        for key in asked.keys() | exported.keys()
        if abs(asked.get(key, 0.0) - exported.get(key, 0.0)) >= float(CENT) / 10
    }
    assert differing == {}


def samples(reader: Reader, both: Both) -> dict[tuple[str, ...], Decimal]:
    """What the views of cost and of its breakdowns serve in dollars."""
    found: dict[tuple[str, ...], Decimal] = {}
    collectors: tuple[tuple[Collector, Any], ...] = (
        (cost.COLLECTOR, reader.cost_settings),
        (cost_breakdowns.COLLECTOR, reader.kept),
    )
    for collector, settings in collectors:
        for view in collector.views:
            if view.name in ("anomalies", "usage_anomalies", "projection"):
                continue  # they also depend on when cost was read
            context = ViewContext(
                ledger=reader.ledger,
                now=both.now,
                settings=settings,
                names={account.id: account.name for account in both.aws.accounts},
                sections=Sections(reader.cost_settings, reader.kept),
            )
            for sample in view.render(context):
                if sample.family.name.endswith("_usd") and sample.value:
                    found[sample.family.name, *sample.values] = Decimal(str(sample.value))
    return found


def check_views(both: Both) -> None:
    asked, exported = (samples(reader, both) for reader in both.readers)
    assert len({name for name, *_ in asked}) > 10
    assert asked == exported


def test_everything_is_the_same_from_both_sources_and_stays_so_when_the_bill_is_restated(both: Both) -> None:
    both.ask()
    both.deliver()
    check(both)

    today, rows = NOW.date(), both.rows
    of_age: defaultdict[int, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if row.record_type == "Usage" and row.billing_entity == "AWS":
            of_age[(today - row.day).days].append(number)
    changed: dict[int, tuple[ExplicitCost, ...]] = {}
    for age in (2, 9, 33, 370):  # this month, the last, and the one of a year ago
        spike, moved, gone = of_age[age][:3]
        changed[spike] = (
            replace(rows[spike], amounts={name: 20 * usd for name, usd in rows[spike].amounts.items()}),
        )
        elsewhere = {
            "service": "AWS Key Management Service",
            "usage_type": "KMS-Keys",
            "region": "ap-south-1",
            "tags": (("team", "new"),),
            "amounts": {name: usd + Decimal("0.01") for name, usd in rows[moved].amounts.items()},
        }
        changed[moved] = (replace(rows[moved], **elsewhere),)
        changed[gone] = ()
    both.restate(changed)
    before = {reader: reader.cost(both.first, both.end, "unblended") for reader in both.readers}
    for _ in range(10):  # Cost Explorer's old months are compared once a week
        both.aws.clock.advance(DAY)
        both.ask()
        both.deliver()
    assert both.now.month == 6
    check(both)
    for reader in both.readers:
        after = reader.cost(both.first, both.end, "unblended")
        days = {day for (day, *_), _ in before[reader].items() ^ after.items()}
        assert {(today - age * DAY).isoformat() for age in (2, 9, 33, 370)} <= days
    assert both.exported.aws.requests.count("s3") > 14
