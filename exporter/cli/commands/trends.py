"""`aws-spend-exporter trends`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from exporter.cli.commands import examples
from exporter.cli.options import account_named, ask_or_fail, asking_options, load, service_named
from exporter.cli.output import Column, Format, console, dollars, emit, money, note, printable, sparkline
from exporter.core.moments import utc_now


@click.command("trends", epilog=examples("trends --days 60", "trends --service ec2 --account prod"))
@asking_options
@click.option(
    "--days", default=30, show_default=True, type=click.IntRange(2, 450), help="Complete UTC days to show."
)
@click.option("--account", help="Only this account, by id or name.")
@click.option("--service", help="Only this service, e.g. ec2.")
def command(
    config_path: Path | None,
    url: str | None,
    output: str,
    days: int,
    account: str | None,
    service: str | None,
) -> None:
    """How cost moves, and what is expected of it.

    Day by day, with the coming week and the end of the month.
    """
    config = load(config_path)
    account_id = account_named(config, url, account)
    full_service = service_named(config, url, service)
    found = ask_or_fail(
        config, "trends", {"days": days, "account_id": account_id, "service": full_service}, url
    )
    data = found.data
    columns = [Column("day", "Day"), money("usd", "Cost"), money("average_7d_usd", "7-day average")]
    emit(output, data, data["days"], columns)
    if output == Format.TABLE:
        subject = " of ".join(filter(None, (full_service, account))) or "the organization"
        for line in _summary(data, subject):
            console().print(printable(line))
        note(f"{data['cost_type'].capitalize()} cost, {found.age(utc_now())}.")


def _summary(data: dict[str, Any], subject: str) -> list[str]:
    values = [float(day["usd"]) if day["usd"] is not None else None for day in data["days"]]
    lines = [f"{sparkline(values)}  {subject}"]
    direction = "direction unknown" if data["direction"] is None else str(data["direction"])
    if data["change_ratio"] is not None:
        direction += f" ({data['change_ratio']:+.1%} from week to week, to {data['complete_through']})"
    lines.append(
        f"Total {dollars(data['total_usd'])}, {dollars(data['mean_usd'])} a day"
        f" ± {dollars(data['deviation_usd'])}, {direction}."
    )
    forecast = data["forecast"]
    if forecast is None:
        return [*lines, "Too little is known for a forecast."]
    days = ", ".join(f"{day['day'][5:]} {dollars(day['usd'])}" for day in forecast["days"])
    return [*lines, f"Expected: {days}.", f"This month is expected to cost {dollars(forecast['month_usd'])}."]
