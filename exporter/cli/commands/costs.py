"""`aws-spend-exporter costs`."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporter.cli.commands import examples
from exporter.cli.options import (
    account_named,
    ask_or_fail,
    asking_options,
    day_option,
    live_options,
    load,
    refresh_if_live,
    service_named,
)
from exporter.cli.output import Column, Format, account_id_column, dollars, emit, money, note
from exporter.core.amounts import AMOUNTS
from exporter.core.moments import utc_now

if TYPE_CHECKING:
    from exporter.cli.ask import CommandAnswer
    from exporter.config.model import Config

_HEADINGS = {"account": "Account", "service": "Service", "day": "Day"}


@click.command(
    "costs",
    epilog=examples(
        "costs --by-service --top 5",
        "costs --from 2026-01-01 --to 2026-01-31 --by-account",
        "costs --service ec2 --by-day --csv > ec2.csv",
        "costs --by region",
    ),
)
@asking_options
@live_options
@click.option("--days", type=click.IntRange(1, 450), help="The last complete UTC days; 30 by default.")
@click.option("--hours", type=click.IntRange(1, 450 * 24), help="The UTC days that the last hours touch.")
@day_option("--from", "start", "First UTC day.")
@day_option("--to", "end", "Last UTC day; yesterday by default.")
@click.option("--by-account", is_flag=True, help="A row an account.")
@click.option("--by-service", is_flag=True, help="A row a service.")
@click.option("--by-day", is_flag=True, help="A row a day.")
@click.option(
    "--by",
    "key",
    metavar="KEY",
    help="The month to date by region, charge-type, usage-type, tag:<key> or cost_category:<name>,"
    " where collected.",
)
@click.option("--account", help="Only this account, by id or name.")
@click.option("--service", help="Only this service, e.g. ec2.")
@click.option("--cost-type", type=click.Choice(AMOUNTS), help="Another than the configured cost type.")
@click.option("--top", type=click.IntRange(1), help="Only the most expensive rows.")
def command(
    config_path: Path | None,
    url: str | None,
    output: str,
    live: bool,
    yes: bool,
    days: int | None,
    hours: int | None,
    start: date | None,
    end: date | None,
    by_account: bool,
    by_service: bool,
    by_day: bool,
    key: str | None,
    account: str | None,
    service: str | None,
    cost_type: str | None,
    top: int | None,
) -> None:
    """What was spent, by account and service.

    From the running exporter or its ledger, at no cost.
    """
    config = load(config_path)
    refresh_if_live(config, "cost", url, live=live, yes=yes)
    if key is not None:
        if any((days, hours, start, end, by_service, by_day, service, cost_type)):
            raise click.UsageError(
                "--by goes with --by-account, --account and --top: it is of the month to date"
            )
        _breakdown(config, url, output, key, by_account, account, top)
        return
    first, last = _range(utc_now(), days, hours, start, end)
    flags = {"account": by_account, "service": by_service, "day": by_day}
    by = [key for key, chosen in flags.items() if chosen] or ["account", "service"]
    found = ask_or_fail(
        config,
        "costs",
        {
            "start": first.isoformat(),
            "end": last.isoformat(),
            "by": by,
            "account_id": account_named(config, url, account),
            "service": service_named(config, url, service),
            "cost_type": cost_type,
        },
        url,
    )
    _print(found, output, by, top)
    if output == Format.TABLE:
        if hours:
            note("Cost is known by UTC day: whole days are shown, and the newest may be partial.")
        note(f"Total {dollars(found.data['total_usd'])}, {found.age(utc_now())}.")


def _print(found: CommandAnswer, output: str, by: list[str], top: int | None) -> None:
    data = found.data
    rows = sorted(data["rows"], key=lambda row: row["day"]) if by == ["day"] else data["rows"]
    shown = rows[:top] if top else rows
    columns = [Column(key, _HEADINGS[key]) for key in by]
    if "account" in by:
        columns.insert(by.index("account") + 1, account_id_column())
    total = {by[0]: "Total", "usd": data["total_usd"]}
    emit(
        output,
        {**data, "rows": shown},
        shown,
        [*columns, money("usd", "Cost")],
        title=f"{data['cost_type'].capitalize()} cost, {data['start']} to {data['end']} UTC",
        footer=total,
    )
    if output == Format.TABLE and top and len(rows) > top:
        note(f"{len(rows) - top} more rows; the total is of all of them.")
    if data["missing_days"]:
        missing = data["missing_days"]
        note(f"{len(missing)} days have not been read and are not in the sums, e.g. {missing[0]}.")


def _breakdown(
    config: Config,
    url: str | None,
    output: str,
    key: str,
    by_account: bool,
    account: str | None,
    top: int | None,
) -> None:
    kind, colon, name = key.partition(":")
    parameters = {
        "key": kind.replace("-", "_") + colon + name,
        "by_account": by_account,
        "account_id": account_named(config, url, account),
    }
    found = ask_or_fail(config, "breakdowns", parameters, url)
    rows = found.data["rows"][:top] if top else found.data["rows"]
    columns = [Column("value", key.capitalize(), lambda value: value or "(none)"), money("usd", "Cost")]
    if by_account:
        columns[:0] = [Column("account", "Account"), account_id_column()]
    total = {columns[0].key: "Total", "usd": found.data["total_usd"]}
    title = f"{found.data['cost_type'].capitalize()} cost since {found.data['month']} UTC"
    emit(output, {**found.data, "rows": rows}, rows, columns, title=title, footer=total)
    if output == Format.TABLE:
        note(f"Total {dollars(found.data['total_usd'])}, {found.age(utc_now())}.")


def _range(
    now: datetime, days: int | None, hours: int | None, start: date | None, end: date | None
) -> tuple[date, date]:
    """The first and the last day that are asked for; UsageError for options that contradict each other."""
    if sum(option is not None for option in (days, hours, start)) > 1 or (hours and end):
        raise click.UsageError("give one of --days, --hours, and --from with --to")
    if hours:
        return (now - timedelta(hours=hours)).date(), now.date()
    last = end or now.date() - timedelta(days=1)
    first = start or last - timedelta(days=min(days or 30, last.toordinal()) - 1)
    if first > last:
        raise click.UsageError(f"--from: found {first}, expected a day that is not after {last}")
    return first, last
