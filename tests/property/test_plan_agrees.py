"""What `plan` promises is what the simulated AWS is asked for: over a simulated month, within a tenth."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.aws.clients import Aws
from exporter.aws.meter import COST_EXPLORER_REQUEST_USD, Meter
from exporter.aws.settings import Ceiling, CeilingSettings
from exporter.collection.plan import make_plan, scale_for
from exporter.collectors import cost
from exporter.config.read import load_config
from exporter.core.places import Account, Target
from exporter.declarations.context import Context
from exporter.ledger.file import Ledger
from simulated_aws import OrganizationSpec, SimulatedAws

UNLIMITED = CeilingSettings(cost=Ceiling(day=None, month=None), first_fill=None)
START = datetime(2026, 4, 1, 1, tzinfo=UTC)


class Installation:
    """A cost collector, its ledger and the simulated AWS that it asks."""

    def __init__(self, simulator: SimulatedAws, ledger: Ledger) -> None:
        self.simulator = simulator
        self.ledger = ledger
        meter = Meter(ledger.charges, UNLIMITED, simulator.clock.now, CollectorRegistry())
        self.aws = Aws(meter, endpoint_url=simulator.url, simulated=True)
        self.settings = cost.CostSettings(history_months=1)

    def refresh(self, now: datetime) -> None:
        self.simulator.clock.set(now)
        payer = Account(self.simulator.payer_id, "payer")
        context: Context[Any] = Context(
            aws=self.aws,
            ledger=self.ledger,
            clock=self.simulator.clock.now,
            accounts={payer.id: payer},
            settings=self.settings,
        )
        cost.collect(context, Target(payer.id, payer.name, "us-east-1"))

    def requests(self) -> int:
        return self.simulator.requests.count(service="ce")


@contextmanager
def installation(
    accounts: int, services: int, groups_per_page: int, folder: Path, patch: pytest.MonkeyPatch
) -> Iterator[Installation]:
    spec = OrganizationSpec(
        seed=11, accounts=accounts, services=services, groups_per_page=groups_per_page, now=START, days=120
    )
    with SimulatedAws(spec) as simulator:
        for name, value in simulator.environment().items():
            patch.setenv(name, value)
        ledger = Ledger(folder / "ledger.sqlite")
        made = Installation(simulator, ledger)
        try:
            yield made
        finally:
            made.aws.close()
            ledger.close()


def month_of_requests(made: Installation, days: int) -> int:
    """Requests of refreshes every six hours over so many days, the first fill left out."""
    made.refresh(START - timedelta(hours=6))
    before = made.requests()
    for number in range(days * 4):
        made.refresh(START + number * timedelta(hours=6))
    return made.requests() - before


def planned(made: Installation, patch: pytest.MonkeyPatch, folder: Path) -> Decimal:
    """The plan's dollars a month for cost, with what the ledger has seen."""
    patch.chdir(folder)
    config = load_config(None, {})
    scale, sources = scale_for(config, made.ledger, made.simulator.clock.now())
    plan = make_plan(config, scale, sources, made.simulator.clock.now())
    return sum((line.usd for line in plan.lines if line.collector == "cost"), Decimal(0))


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("groups_per_page", [500, 2000, 10000])
def test_a_month_takes_what_was_planned(
    groups_per_page: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installation(30, 12, groups_per_page, tmp_path, monkeypatch) as made:
        paid = month_of_requests(made, 30) * COST_EXPLORER_REQUEST_USD
        plan = planned(made, monkeypatch, tmp_path)
        print(f"{groups_per_page} groups a page: planned ${plan:.2f}, paid ${paid:.2f}")
        assert abs(plan - paid) <= paid / 10


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_accounts_of_twenty_services_cost_at_most_three_dollars_a_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installation(100, 20, 5000, tmp_path, monkeypatch) as made:
        paid = month_of_requests(made, 30) * COST_EXPLORER_REQUEST_USD
        before = made.requests()
        made.refresh(made.simulator.clock.now())  # as after a restart
        print(f"100 accounts x 20 services at 5,000 groups a page: ${paid:.2f} a month")
        assert paid <= 3
        assert made.requests() == before


def test_ten_days_take_a_third_of_what_was_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short form: so few groups a page that the scans pay, and the 11th is not reached."""
    with installation(8, 8, 150, tmp_path, monkeypatch) as made:
        paid = month_of_requests(made, 10) * COST_EXPLORER_REQUEST_USD * 3
        plan = planned(made, monkeypatch, tmp_path)
        assert abs(plan - paid) <= paid / 4
