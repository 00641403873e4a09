"""How large the ledger gets, and how long it takes to fill it, to refresh it and to render its views.

python -m bench.ledger --accounts 1000 --services 20 --days 450
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import click
from rich.console import Console
from rich.table import Table

from exporter.anomalies.history import AssessedHistory
from exporter.anomalies.settings import AnomalySettings
from exporter.collectors import cost
from exporter.core.amounts import Amounts
from exporter.core.moments import start_of_day
from exporter.cost.refresh_plan import next_query
from exporter.cost.settings import CostSettings
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostKey, CostRead

LAST = date(2026, 6, 15)
NOW = start_of_day(LAST) + timedelta(hours=12)


def timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def month_of_costs(days: list[date], accounts: int, services: int, random: Random) -> dict[CostKey, Amounts]:
    """Amounts with the ten decimals that Cost Explorer reports."""
    costs = {}
    for day in days:
        for account in range(accounts):
            for service in range(services):
                usd = Decimal(random.randrange(10**12)).scaleb(-10)
                costs[day, f"{account:012}", f"Amazon Service {service}"] = Amounts(usd, usd, usd, usd, usd)
    return costs


def chunks(days: int) -> Iterator[list[date]]:
    """Newest first, thirty days at a time, as the first fill reads them."""
    all_days = [LAST - timedelta(days=number) for number in range(days)]
    for start in range(0, days, 30):
        yield all_days[start : start + 30]


@click.command()
@click.option("--accounts", default=1000, show_default=True)
@click.option("--services", default=20, show_default=True)
@click.option("--days", default=450, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(accounts: int, services: int, days: int, as_json: bool) -> None:
    """Fill a ledger and measure it."""
    random = Random(1)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")

        def commit(part: list[date], at: datetime) -> float:
            costs = month_of_costs(part, accounts, services, random)
            return timed(lambda: ledger.reads.commit(CostRead(at, dict.fromkeys(part, True), costs)))

        fill = sum(commit(part, NOW) for part in chunks(days))
        settings = CostSettings()
        view = ViewContext(ledger=ledger, now=NOW, settings=settings, names={}, sections=Sections(settings))
        figures = {
            "rows": ledger.cost.row_count(),
            "mebibytes": round(ledger.size_bytes() / 2**20, 1),
            "fill_seconds": round(fill, 1),
            "refresh_of_two_days_seconds": round(commit([LAST - timedelta(days=1), LAST], NOW), 2),
            "plan_a_query_seconds": round(timed(lambda: next_query(ledger, settings, NOW)), 3),
            "render_views_seconds": round(timed(lambda: list(cost.render(view))), 2),
        }
        for part in chunks(days):
            ledger.reads.commit_non_usage(CostRead(NOW, dict.fromkeys(part, True), {}))
        assessed = AssessedHistory(ledger, AnomalySettings(), timedelta(days=450), 13, lambda: NOW)

        def assess() -> None:
            while assessed.update():
                pass

        figures["assess_the_past_seconds"] = round(timed(assess), 1)
        figures["mebibytes_with_assessed_days"] = round(ledger.size_bytes() / 2**20, 1)
        settled = LAST - timedelta(days=3)
        commit([settled], NOW + timedelta(hours=1))
        ledger.reads.commit_non_usage(CostRead(NOW, {settled: True}, {}))
        figures["assess_a_restated_day_seconds"] = round(timed(assess), 2)
        ledger.close()
        figures["open_seconds"] = round(timed(lambda: Ledger(Path(folder) / "ledger.sqlite").close()), 3)
    if as_json:
        click.echo(json.dumps(figures))
        return
    table = Table(title=f"{accounts} accounts x {services} services x {days} days")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    Console().print(table)


if __name__ == "__main__":
    main()
