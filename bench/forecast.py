"""How far month-end forecasts are off: ours, Cost Explorer's and a naive one, against what the month cost.

Simulated organisations with launches, stops, level shifts and one-day purchases are read as the
exporter reads AWS, on the 5th, 10th and 20th of months. The truth is each month's bill 45 days
after its end. Seeds are drawn at run time and printed; nothing is tuned to one.

    python -m bench.forecast --seeds 10 --months 4
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws
from exporter.aws.meter import Meter
from exporter.aws.settings import Ceiling, CeilingSettings
from exporter.collectors import cost, forecast
from exporter.core.moments import month_start, start_of_day, utc_now
from exporter.core.places import Account, Target
from exporter.cost.projection_view import project
from exporter.cost.settings import CostSettings
from exporter.declarations.context import Context
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.ledger.file import Ledger
from simulated_aws import OrganizationSpec, SimulatedAws

FIRST_MONTH = date(2025, 9, 1)
ASKED_ON = (5, 10, 20)
OURS, THEIRS, NAIVE = "ours", "Cost Explorer", "naive"
METHODS = (OURS, THEIRS, NAIVE)
SMALLEST_USD = 1.0  # a percentage of less says nothing
ONE_DAY = timedelta(days=1)
_NOT_GENERATED = ("Tax", "AWS Support", "New service")  # the simulator changes what it generates


@dataclass(frozen=True)
class Error:
    """One forecast and what the month cost in the end, in USD; `key` is empty for the organisation."""

    seed: int
    month: str
    day: int
    method: str
    key: tuple[str, str] | None
    forecast: float
    truth: float

    @property
    def percentage(self) -> float:
        """The absolute percentage error."""
        return abs(self.forecast - self.truth) / abs(self.truth) * 100


def forecasts(seed: int, months: int, accounts: int, services: int, events: int) -> Iterator[Error]:
    """Every forecast of one organisation."""
    rng = random.Random(f"{seed}:bench")
    spec = OrganizationSpec(
        seed=seed, accounts=accounts, services=services, days=200, now=start_of_day(FIRST_MONTH)
    )
    with SimulatedAws(spec) as simulator, tempfile.TemporaryDirectory() as folder:
        os.environ.update(simulator.environment())
        unlimited = CeilingSettings(cost=Ceiling(day=None, month=None), first_fill=None)
        meter = Meter(MemoryCharges(), unlimited, utc_now, CollectorRegistry())
        aws = Aws(meter, endpoint_url=simulator.url, simulated=True)
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        try:
            for number in range(months):
                first = month_start(FIRST_MONTH, -number)
                yield from _month(simulator, aws, ledger, first, rng, events)
        finally:
            ledger.close()
            aws.close()


def _month(
    simulator: SimulatedAws, aws: Aws, ledger: Ledger, first: date, rng: random.Random, events: int
) -> Iterator[Error]:
    moments = {datetime(first.year, first.month, day, rng.randrange(24), tzinfo=UTC): day for day in ASKED_ON}
    changes = [
        # Never at the moment of a forecast.
        start_of_day(first) + timedelta(hours=rng.randrange(24 * 28) + 0.5)
        for _ in range(events)
    ]
    asked = []
    for now in sorted([*moments, *changes]):
        simulator.clock.set(now)
        if now in moments:
            asked.append((moments[now], *_read(simulator, aws, ledger, now)))
        else:
            _happen(simulator, now.date(), rng)

    next_month = month_start(first, -1)
    bill = simulator.truth.totals(first, next_month, start_of_day(next_month) + timedelta(days=45))
    truth = {(key[0], key[1]): float(usd) for key, usd in bill.items()}
    for day, ours, theirs, naive in asked:
        at: dict[str, Any] = {"seed": simulator.spec.seed, "month": f"{first:%Y-%m}", "day": day}
        whole = sum(truth.values())
        for method, usd in ((OURS, sum(ours.values())), (THEIRS, theirs), (NAIVE, sum(naive.values()))):
            yield Error(**at, method=method, key=None, forecast=usd, truth=whole)
        for key, usd in truth.items():
            if abs(usd) >= SMALLEST_USD:
                yield Error(**at, method=OURS, key=key, forecast=ours.get(key, 0.0), truth=usd)
                yield Error(**at, method=NAIVE, key=key, forecast=naive.get(key, 0.0), truth=usd)


def _happen(simulator: SimulatedAws, today: date, rng: random.Random) -> None:
    """One of the things that no rhythm tells."""
    account = rng.choice(simulator.accounts)
    names = {key[1] for key in simulator.truth.totals(today - ONE_DAY, today)}
    service = rng.choice(sorted(name for name in names if not name.startswith(_NOT_GENERATED)))
    daily = round(account.daily_usd * rng.uniform(0.02, 0.3) + 1, 2)
    match rng.choice(("launch", "stop", "shift", "purchase")):
        case "launch":
            simulator.inject_service(account.id, f"New service {rng.randrange(10**6)}", daily, since=today)
        case "stop":
            simulator.stop_service(account.id, service, since=today)
        case "shift":
            simulator.inject_spike(account.id, service, round(rng.choice((0.3, 0.6, 1.5, 3)), 2), since=today)
        case "purchase":
            simulator.inject_service(account.id, service, daily * 10, since=today, days=1)


def _read(
    simulator: SimulatedAws, aws: Aws, ledger: Ledger, now: datetime
) -> tuple[dict[tuple[str, str], float], float, dict[tuple[str, str], float]]:
    payer = Account(simulator.payer_id, "payer")
    target = Target(payer.id, payer.name, "us-east-1")
    settings = CostSettings(history_months=4)
    clock = simulator.clock.now
    known = {payer.id: payer}
    cost.collect(Context(aws=aws, ledger=ledger, clock=clock, accounts=known, settings=settings), target)
    asked = forecast.ForecastSettings()
    forecast.collect(
        Context(
            aws=aws, ledger=ledger, clock=clock, accounts=known, settings=asked, sections=Sections(settings)
        ),
        target,
    )

    projected = project(ledger, now, settings.cost_type)
    assert projected is not None
    (theirs, *_) = forecast.render(
        ViewContext(ledger=ledger, now=now, settings=asked, names={}, sections=Sections(settings))
    )
    first, today = month_start(now.date()), now.date()
    past = ledger.cost.sums(first, today, settings.cost_type)
    share = (month_start(today, -1) - first).days / (today - first).days
    return projected.month, theirs.value, {key: float(usd) * share for key, usd in past.items()}


def summary(errors: list[Error]) -> list[dict[str, Any]]:
    """Median and 90th percentile of the absolute percentage errors, and how the median differs by seed."""
    groups: dict[tuple[str, int, str], list[Error]] = defaultdict(list)
    for error in errors:
        scope = "organisation" if error.key is None else "account and service"
        groups[scope, error.day, error.method].append(error)
    rows = []
    for (scope, day, method), found in sorted(
        groups.items(), key=lambda item: (item[0][0] != "organisation", item[0][1], METHODS.index(item[0][2]))
    ):
        percentages = [error.percentage for error in found]
        by_seed: dict[int, list[float]] = defaultdict(list)
        for error in found:
            by_seed[error.seed].append(error.percentage)
        medians = [statistics.median(values) for values in by_seed.values()]
        rows.append(
            {
                "scope": scope,
                "day": day,
                "method": method,
                "forecasts": len(found),
                "median": statistics.median(percentages),
                "p90": sorted(percentages)[math.ceil(len(percentages) * 0.9) - 1],
                "weighted": sum(abs(e.forecast - e.truth) for e in found)
                / sum(abs(e.truth) for e in found)
                * 100,
                "best_seed": min(medians),
                "worst_seed": max(medians),
            }
        )
    return rows


@click.command()
@click.option("--seeds", default=8, show_default=True, help="Organisations.")
@click.option("--seed", "chosen", multiple=True, type=int, help="Exactly these seeds instead.")
@click.option("--months", default=4, show_default=True, help="Months of each.")
@click.option("--accounts", default=8, show_default=True)
@click.option("--services", default=12, show_default=True)
@click.option("--events", default=6, show_default=True, help="Launches, stops, shifts, purchases a month.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every forecast.")
def main(
    seeds: int,
    chosen: tuple[int, ...],
    months: int,
    accounts: int,
    services: int,
    events: int,
    as_json: bool,
) -> None:
    """Compare month-end forecasts with what the simulated months cost."""
    drawn = chosen or tuple(random.SystemRandom().randrange(1, 10**6) for _ in range(seeds))
    progress = Console(file=sys.stderr)
    errors: list[Error] = []
    for number, seed in enumerate(drawn, start=1):
        progress.print(f"seed {seed} ({number} of {len(drawn)})")
        errors += forecasts(seed, months, accounts, services, events)
    rows = summary(errors)
    if as_json:
        click.echo(json.dumps({"seeds": drawn, "summary": rows, "forecasts": [asdict(e) for e in errors]}))
        return
    table = Table(
        "scope",
        "asked on day",
        "method",
        "forecasts",
        "median %",
        "p90 %",
        "weighted %",
        "median by seed %",
        title=f"Absolute percentage errors of month-end forecasts, {months} months of {len(drawn)} organisations"
        f" ({accounts} accounts x {services} services, {events} events a month)",
        caption=f"Seeds {' '.join(map(str, drawn))}. Keys of less than ${SMALLEST_USD:g} a month are left out.",
    )
    for row in rows:
        table.add_row(
            row["scope"],
            str(row["day"]),
            row["method"],
            str(row["forecasts"]),
            f"{row['median']:.2f}",
            f"{row['p90']:.2f}",
            f"{row['weighted']:.2f}",
            f"{row['best_seed']:.2f} to {row['worst_seed']:.2f}",
            end_section=row["method"] == NAIVE,
        )
    Console(width=None if sys.stdout.isatty() else 130).print(table)


if __name__ == "__main__":
    main()
