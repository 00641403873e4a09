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
from exporter.collectors import cost, forecast
from exporter.config.read import load_config
from exporter.core.moments import month_start
from exporter.core.places import Account, Target
from exporter.declarations.context import Context
from exporter.ledger.file import Ledger
from simulated_aws import OrganizationSpec, SimulatedAws

UNLIMITED = CeilingSettings(cost=Ceiling(day=None, month=None), first_fill=None)
START = datetime(2026, 4, 1, 1, tzinfo=UTC)


class Installation:
    """What runs by default and is paid for: cost and the forecast, their ledger and the simulated AWS that they ask."""

    def __init__(self, simulator: SimulatedAws, ledger: Ledger) -> None:
        self.simulator = simulator
        self.ledger = ledger
        meter = Meter(ledger.charges, UNLIMITED, simulator.clock.now, CollectorRegistry())
        self.aws = Aws(meter, endpoint_url=simulator.url, simulated=True, read_timeout=120)

    def refresh(self, now: datetime) -> None:
        self.simulator.clock.set(now)
        payer = Account(self.simulator.payer_id, "payer")
        target = Target(payer.id, payer.name, "us-east-1")
        surroundings: dict[str, Any] = {
            "aws": self.aws,
            "ledger": self.ledger,
            "clock": self.simulator.clock.now,
            "accounts": {payer.id: payer},
        }
        cost.collect(Context(settings=cost.CostSettings(), **surroundings), target)
        forecast.collect(Context(settings=forecast.ForecastSettings(), **surroundings), target)

    def requests(self) -> int:
        return self.simulator.requests.count(service="ce")


@contextmanager
def installation(
    accounts: int,
    services: int,
    groups_per_page: int,
    folder: Path,
    patch: pytest.MonkeyPatch,
    seed: int = 11,
    start: datetime = START,
) -> Iterator[Installation]:
    spec = OrganizationSpec(
        seed=seed, accounts=accounts, services=services, groups_per_page=groups_per_page, now=start, days=430
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


def month_of_requests(made: Installation, days: int, start: datetime = START) -> int:
    """Requests of refreshes every six hours over so many days, the first fill left out."""
    made.refresh(start - timedelta(hours=6))
    before = made.requests()
    for number in range(days * 4):
        made.refresh(start + number * timedelta(hours=6))
    return made.requests() - before


def planned(made: Installation, patch: pytest.MonkeyPatch, folder: Path) -> Decimal:
    """The plan's dollars for a month of 30 days, with what the ledger has seen."""
    patch.chdir(folder)
    config = load_config(None, {})
    scale, sources = scale_for(config, made.ledger, made.simulator.clock.now())
    plan = make_plan(config, scale, sources, made.simulator.clock.now())
    return plan.usd


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


MONTHS = (
    # The first two were looked at while the rules were made; the others only judge them.
    (11, datetime(2026, 4, 1, 1, tzinfo=UTC)),
    (5, datetime(2026, 2, 1, 1, tzinfo=UTC)),
    (8, datetime(2026, 5, 1, 7, tzinfo=UTC)),
    (23, datetime(2026, 6, 1, 4, tzinfo=UTC)),
    (42, datetime(2026, 9, 1, 2, tzinfo=UTC)),
    (77, datetime(2026, 10, 1, 5, tzinfo=UTC)),
    (104, datetime(2026, 12, 1, 0, tzinfo=UTC)),
)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("seed", "start"), MONTHS, ids=lambda value: str(value)[:7])
def test_a_hundred_accounts_of_twenty_services_cost_less_than_four_dollars_a_month(
    seed: int, start: datetime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cost and forecast, and no more than a tenth from the plan."""
    days = (month_start(start.date(), -1) - start.date()).days
    with installation(100, 20, 5000, tmp_path, monkeypatch, seed, start) as made:
        paid = month_of_requests(made, days, start) * COST_EXPLORER_REQUEST_USD
        plan = planned(made, monkeypatch, tmp_path)
        before = made.requests()
        made.refresh(made.simulator.clock.now())  # as after a restart
        print(f"seed {seed}, {start:%Y-%m}, {days} days: planned ${plan:.2f} of 30 days, paid ${paid:.2f}")
        assert paid <= Decimal("3.90")
        assert abs(plan - paid * 30 / days) <= paid * 30 / days / 10
        assert made.requests() == before


def test_ten_days_take_a_third_of_what_was_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short form: so few groups a page that the scans pay, and the 11th is not reached."""
    with installation(8, 8, 150, tmp_path, monkeypatch) as made:
        paid = month_of_requests(made, 10) * COST_EXPLORER_REQUEST_USD * 3
        plan = planned(made, monkeypatch, tmp_path)
        assert abs(plan - paid) <= paid / 4
