"""An exporter of cost and of cost by dimensions over a simulated AWS whose rows are drawn, stepped by a moved clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from installation import UNLIMITED, Installation

from exporter.aws.settings import CeilingSettings
from exporter.collectors import cost, cost_breakdowns
from exporter.core.amounts import AMOUNTS
from exporter.core.moments import days_between, month_start
from exporter.core.places import Target
from exporter.cube import values
from exporter.cube.reading import Reading
from exporter.cube.settings import CostBreakdownsSettings
from exporter.declarations.context import Context
from exporter.declarations.sections import Sections
from simulated_aws import ExplicitCost, OrganizationSpec, SimulatedAws
from simulated_aws.cost_dimensions import Allocation, operation
from simulated_aws.cost_truth import METRICS, CostKey

DAY = timedelta(days=1)
SERVICES = ("AWS Lambda", "Amazon DynamoDB", "Amazon Simple Storage Service")
REGIONS = ("us-east-1", "eu-central-1", "global")
TEAMS = ("checkout", "data", "")

Costs = dict[tuple[date, str, str], tuple[int, ...]]
"""The five cost types in units of 1e-10 USD, by day, account id or service, and key; without zeros."""

USAGE = ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation")


@dataclass
class World(Installation):
    """One installation that reads cost by dimensions."""

    settings: CostBreakdownsSettings
    cost_settings: cost.CostSettings
    ceilings: CeilingSettings = UNLIMITED
    committed: Callable[[], None] = lambda: None
    needed_usd: Callable[[], Decimal] | None = None

    def restart(self) -> None:
        """As after a kill: what is not in the ledger's file is lost."""
        self.close()
        self.open()

    @property
    def first(self) -> date:
        """The first day of the history."""
        return month_start(self.now.date(), self.settings.history_months or self.cost_settings.history_months)

    @property
    def account_ids(self) -> tuple[str, ...]:
        return tuple(account.id for account in self.simulator.accounts)

    def _context(self, settings: Any) -> tuple[Context[Any], Target]:
        return self.context(
            settings,
            committed=self.committed,
            sections=Sections(self.cost_settings, self.settings),
            needed_usd=self.needed_usd,
        )

    def collect_cost(self) -> None:
        cost.collect(*self._context(self.cost_settings))

    def collect(self) -> None:
        cost_breakdowns.collect(*self._context(self.settings))

    def due(self) -> datetime:
        return cost_breakdowns.due(*self._context(self.settings))

    def cost_due(self) -> datetime:
        return cost.due(*self._context(self.cost_settings))

    def run(self, until: datetime) -> None:
        """Collect both whenever either is due, as the exporter would."""
        while self.now <= until:
            if self.cost_due() <= self.now:
                self.collect_cost()
            if self.due() <= self.now:
                self.collect()
            self.simulator.clock.set(max(min(self.due(), self.cost_due()), self.now + timedelta(minutes=1)))
        self.simulator.clock.set(until)

    def truth(self, reading: Reading, start: date | None = None) -> Costs:
        """What AWS holds now, from `start` or the first day of the history on."""
        truth = self.simulator.truth
        found: defaultdict[tuple[date, str, str], list[int]] = defaultdict(lambda: [0] * len(AMOUNTS))
        for day in days_between(start or self.first, self.now.date() + DAY):
            allocation = truth.allocate(day, self.now)
            for key, amounts in truth.source.charges(day, self.now):
                value = value_of(reading, key, allocation)
                if value is None:
                    continue
                subject = key.account_id if reading.beside == "account" else key.service
                sums = found[day, subject, value]
                for position in range(len(AMOUNTS)):
                    sums[position] += amounts[position]
        assert METRICS[: len(AMOUNTS)] == (
            "UnblendedCost",
            "BlendedCost",
            "AmortizedCost",
            "NetUnblendedCost",
            "NetAmortizedCost",
        )
        return {key: tuple(sums) for key, sums in found.items() if any(sums)}

    def held(self, reading: Reading, start: date | None = None) -> Costs:
        """What the ledger has, as consumers read it."""
        found: defaultdict[tuple[date, str, str], list[int]] = defaultdict(lambda: [0] * len(AMOUNTS))
        for position, cost_type in enumerate(AMOUNTS):
            sums = values.sums(
                self.ledger,
                reading.dimension,
                reading.beside,
                start or self.first,
                self.now.date() + DAY,
                cost_type,
                by_day=True,
            )
            for (day, subject, value), units in sums.items():
                assert day is not None
                assert units is not None
                found[day, subject, value][position] = units
        return {key: tuple(sums) for key, sums in found.items() if any(sums)}

    def requests(self, **like: Any) -> int:
        """Requests of Cost Explorer so far whose parameters have these values."""
        return sum(
            all(entry.params.get(name) == value for name, value in like.items())
            for entry in self.simulator.requests.entries()
            if entry.service == "ce" and entry.params is not None
        )

    def requests_of(self, reading: Reading, start: int = 0) -> int:
        """Requests, pages included, of one reading, from the `start`th entry of the log on."""
        key = reading.dimension.cost_explorer
        wanted = [{"Type": "DIMENSION", "Key": reading.subject}]
        if key is not None:
            kind, name = ("DIMENSION", key) if isinstance(key, str) else key
            wanted.append({"Type": kind, "Key": name})
        return sum(
            entry.operation == "GetCostAndUsage"
            and entry.params["GroupBy"] == wanted
            and ("ABSENT" in str(entry.params.get("Filter"))) == (reading.dimension.kind == "untagged")
            for entry in self.simulator.requests.entries()[start:]
            if entry.service == "ce"
        )


def value_of(reading: Reading, key: CostKey, allocation: Allocation) -> str | None:
    """The key of a charge in one dimension; None where the reading leaves it out."""
    name = reading.dimension.key
    match reading.dimension.kind:
        case "region":
            return key.region
        case "charge_type":
            return key.record_type
        case "usage_type":
            return key.usage_type
        case "operation":
            return operation(key)
        case "billing_entity":
            return key.billing_entity
        case "tag":
            return allocation.tag(name, key)
        case "cost_category":
            return allocation.category(name, key)
        case "untagged":
            return "" if key.record_type in USAGE and not allocation.tag(name, key) else None
    raise ValueError(reading.name)


def drawn_rows(
    account_ids: tuple[str, ...], first: date, end: date, seed: int = 1, *, tagged_from: date = date.min
) -> list[ExplicitCost]:
    """A few charges a day in each account, and tax on the 1st of each month; tags show from `tagged_from` on."""
    rng = Random(seed)
    rows = []
    for day in days_between(first, end):
        at = datetime(day.year, day.month, day.day, tzinfo=UTC)
        for number, account_id in enumerate(account_ids):
            for service in SERVICES:
                if rng.random() < 0.3:
                    continue
                base = Decimal(rng.randrange(1, 10**13)).scaleb(-10)
                amounts = {
                    name: base * (position + 1) if rng.random() < 0.5 else base
                    for position, name in enumerate(METRICS[:5])
                }
                team = rng.choice(TEAMS)
                rows.append(
                    ExplicitCost(
                        day,
                        account_id,
                        service,
                        amounts,
                        record_type=rng.choice(("Usage", "Usage", "DiscountedUsage", "Credit")),
                        region=rng.choice(REGIONS),
                        usage_type=f"{rng.choice(REGIONS)}-{rng.choice(('Requests', 'Bytes', 'Hours'))}",
                        visible_from=at + timedelta(hours=rng.choice((3, 9, 20, 30)), minutes=number),
                        tags=(("team", team),) if team and day >= tagged_from else (),
                    )
                )
            if day.day == 1:
                rows.append(
                    ExplicitCost(
                        day,
                        account_id,
                        "Tax",
                        {"UnblendedCost": Decimal(33)},
                        record_type="Tax",
                        visible_from=at,
                    )
                )
    return rows


def moved(row: ExplicitCost, at: datetime, **changes: Any) -> list[ExplicitCost]:
    """The row until a moment, and what it is from then on."""
    return [replace(row, visible_until=at), replace(row, visible_from=at, **changes)]


@contextmanager
def world(
    folder: Path,
    patch: pytest.MonkeyPatch,
    now: datetime,
    settings: Mapping[str, Any],
    *,
    accounts: int = 3,
    groups_per_page: int = 50,
    rows: Callable[[tuple[str, ...]], list[ExplicitCost]] | None = None,
    cost_settings: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Iterator[World]:
    """An installation that has read nothing yet; without `rows`, AWS holds what the organization's seed draws."""
    made = OrganizationSpec(seed=3, accounts=accounts, groups_per_page=groups_per_page, now=now, **spec)
    with SimulatedAws(made, **({} if rows is None else {"costs": ()})) as simulator:
        for name, value in simulator.environment().items():
            patch.setenv(name, value)
        if rows is not None:
            simulator.set_costs(rows(tuple(account.id for account in simulator.accounts)))
        found = World(
            simulator,
            folder / "ledger.sqlite",
            CostBreakdownsSettings.model_validate({"enabled": True, "values": 10_000, **settings}),
            cost.CostSettings.model_validate(cost_settings or {}),
        )
        try:
            yield found
        finally:
            found.close()
