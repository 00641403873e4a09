"""Hours equal what Cost Explorer holds, over months' ends, restated, killed, and switched to accounts; `plan` prices them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from installation import Installation

from exporter.aws.errors import AwsError
from exporter.collection.plan import declared_requests, make_plan, needed_usd
from exporter.collectors import cost, cost_hours
from exporter.config.model import Config
from exporter.core.amounts import AMOUNTS
from exporter.core.places import Target
from exporter.cube import hours
from exporter.cube.hour_reading import answered_hours, hours_between, hours_to_read
from exporter.declarations.calls import Scale
from exporter.declarations.context import Context
from exporter.declarations.sections import Sections
from simulated_aws import OrganizationSpec, SimulatedAws

START = datetime(2026, 3, 1, 5, 40, tzinfo=UTC)  # two weeks reach into the month before
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
METRICS = ("UnblendedCost", "BlendedCost", "AmortizedCost", "NetUnblendedCost", "NetAmortizedCost")

Hours = Mapping[tuple[str, ...], Decimal]
"""USD by hour, account id where there are some, and service; without zeros."""


@dataclass
class World(Installation):
    """One installation over a simulated organization with hourly granularity."""

    settings: cost_hours.CostHoursSettings

    def _context(self, settings: Any) -> tuple[Context[Any], Target]:
        return self.context(settings, sections=Sections(COST))

    def collect(self) -> None:
        cost_hours.collect(*self._context(self.settings))

    def due(self) -> datetime:
        return cost_hours.due(*self._context(self.settings))

    def run(self, days: int) -> None:
        """Collect cost and hours whenever they are due, as the exporter would."""
        until = self.simulator.clock.now() + days * DAY
        while (now := self.simulator.clock.now()) < until:
            cost_context = self._context(COST)
            if cost.due(*cost_context) <= now:
                cost.collect(*cost_context)
            if self.due() <= now:
                self.collect()
            step = min(self.due(), cost.due(*cost_context))
            self.simulator.clock.set(min(max(step, now + timedelta(minutes=1)), until))

    def requests(self) -> int:
        return sum(
            entry.params["Granularity"] == "HOURLY"
            for entry in self.simulator.requests.entries()
            if entry.service == "ce" and entry.params is not None and "Granularity" in entry.params
        )

    def held(self, cost_type: str) -> Hours:
        first, end = hours_to_read(self.simulator.clock.now())
        found = hours.sums(self.ledger, first, end, cost_type)
        return {
            (f"{hour:%Y-%m-%dT%H:%M:%SZ}", *filter(None, (account_id,)), service): Decimal(units).scaleb(-10)
            for (hour, account_id, service), units in found.items()
            if units
        }

    def truth(self, cost_type: str) -> Hours:
        now = self.simulator.clock.now()
        first, end = hours_to_read(now)
        by = ("hour", "account", "service") if self.settings.accounts else ("hour", "service")
        metric = METRICS[AMOUNTS.index(cost_type)]
        totals = self.simulator.truth.totals(first.date(), end.date() + DAY, at=now, by=by, metric=metric)
        return {
            keys: usd
            for keys, usd in totals.items()
            if usd and f"{first:%Y-%m-%dT%H}" <= keys[0] < f"{end:%Y-%m-%dT%H}"
        }

    def check(self) -> None:
        for cost_type in AMOUNTS:
            held = self.held(cost_type)
            assert held == self.truth(cost_type)
            assert len(held) > 200


COST = cost.CostSettings(history_months=1, refresh="full", compare_months=None, reread_days=None)


@contextmanager
def world(folder: Path, patch: pytest.MonkeyPatch, pages_of: int = 400, **settings: Any) -> Iterator[World]:
    spec = OrganizationSpec(seed=3, accounts=3, services=4, now=START, days=40, groups_per_page=pages_of)
    with SimulatedAws(spec) as simulator:
        for name, value in simulator.environment().items():
            patch.setenv(name, value)
        simulator.cost_explorer.settings.hourly = True
        made = World(
            simulator, folder / "ledger.sqlite", cost_hours.CostHoursSettings(enabled=True, **settings)
        )
        try:
            yield made
        finally:
            made.close()


@pytest.mark.parametrize("accounts", [False, True])
def test_hours_follow_what_cost_explorer_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accounts: bool
) -> None:
    with world(tmp_path, monkeypatch, accounts=accounts) as made:
        made.collect()
        made.check()
        assert made.due() == made.simulator.clock.now() + made.settings.interval
        made.run(days=4)
        # Nothing waits for its turn any more.
        made.simulator.clock.set(made.simulator.clock.now() + DAY)
        cost.collect(*made._context(COST))
        made.collect()
        made.check()
        first, end = hours_to_read(made.simulator.clock.now())
        cost_of = made.ledger.reads.day_states(first.date(), end.date() + DAY)
        read = hours.read_hours(made.ledger, first, end)
        assert {hour: state.cost_changes for hour, state in read.items()} == {
            hour: cost_of[hour.date()].changes for hour in hours_between(first, end)
        }


def test_a_failing_page_costs_one_slice_and_a_restart_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path, monkeypatch, pages_of=40) as made:
        made.collect()
        once = made.requests()
        made.close()
        made.open()
        made.collect()
        assert made.requests() == once
    (tmp_path / "other").mkdir()
    with world(tmp_path / "other", monkeypatch, pages_of=40) as made:
        fault = made.simulator.faults.add("last_page_fails", service="ce")
        with pytest.raises(AwsError):
            made.collect()
        made.simulator.faults.clear(fault)
        assert made.due() == made.simulator.clock.now()
        made.collect()
        made.check()
        assert made.requests() > once


def test_accounts_take_the_place_of_the_organization_once_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path, monkeypatch) as made:
        made.collect()
        made.settings = cost_hours.CostHoursSettings(enabled=True, accounts=True)
        assert made.due() == made.simulator.clock.now()
        made.collect()
        made.check()


def test_an_organization_without_hours_is_a_failure_that_names_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path, monkeypatch) as made:
        made.simulator.cost_explorer.settings.hourly = False
        with pytest.raises(AwsError, match=r"GetCostAndUsage.*[Hh]ourly"):
            made.collect()


@pytest.mark.parametrize(
    ("answered", "found"),
    [
        ({0, 1, 2, 3}, 4),
        ({0, 1}, 2),  # the newest are not booked yet
        (set(), 0),
        ({0, 2, 3}, None),
        ({1, 2, 3}, None),
        ({0, 1, 2, 3, 4}, None),
    ],
)
def test_an_answer_may_lack_the_newest_hours_and_no_others(answered: set[int], found: int | None) -> None:
    estimated = {START.replace(minute=0) + number * HOUR: False for number in answered}
    asked = START.replace(minute=0), START.replace(minute=0) + 4 * HOUR
    if found is None:
        with pytest.raises(AwsError, match="lacks hours"):
            answered_hours(*asked, estimated)
    else:
        assert len(answered_hours(*asked, estimated)) == found


def test_plan_prices_the_requests_of_a_month_and_what_aws_bills_by_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path, monkeypatch, pages_of=40) as made:
        made.collect()
        before = made.requests()
        made.run(days=6)
        asked = Decimal(made.requests() - before) * 5
    scale = Scale(accounts=3, services=4, keys=12, regions=1, groups_per_page=40)

    def configured(usage_records: int) -> Config:
        chosen = {
            "cost": {"enabled": False},
            "forecast": {"enabled": False},
            "cost_hours": {"enabled": True, "usage_records": usage_records},
        }
        return Config.model_validate({"collectors": chosen, "ceilings": {"cost": {"month": 20}}})

    plan = make_plan(configured(250_000), scale, {}, START)
    requests, records = (line for line in plan.lines if line.collector == "cost_hours")
    assert asked <= requests.requests <= asked * 2
    assert (records.usd, records.is_request) == (Decimal("2.50"), False)
    assert plan.requests == sum(line.requests for line in plan.lines if line.is_request)
    # What AWS bills beside requests is no request, and no ceiling stops it.
    assert ("ce", "HourlyUsageRecord") not in declared_requests(configured(1))
    expensive = configured(10**9)
    assert make_plan(expensive, scale, {}, START).over == ()
    assert needed_usd(expensive, scale) == needed_usd(configured(0), scale) == requests.usd


def test_hours_of_cost_explorer_rest_while_cost_is_exported() -> None:
    exported = {
        "cost": {"source": "data_export"},
        "cost_export": {"export": "cost"},
        "cost_hours": {"enabled": True},
    }
    scale = Scale(accounts=3, services=4, keys=12, regions=1, groups_per_page=40)
    plan = make_plan(Config.model_validate({"collectors": exported}), scale, {}, START)
    assert not [line for line in plan.lines if line.collector == "cost_hours"]
