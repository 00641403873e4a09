"""`aws-spend-exporter costs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

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
from exporter.core.moments import utc_now
from exporter.cube.question import COST_TYPES, LIST

if TYPE_CHECKING:
    from exporter.cli.ask import CommandAnswer
    from exporter.config.model import Config

F = TypeVar("F", bound=Callable[..., object])

_MOST_ROWS = 100_000
_KEYS = (
    "account, service, hour, day, month, region, usage-type, operation, charge-type, billing-entity, resource,"
    " tag:<key>, cost_category:<name>; of split cost cluster, namespace, pod, kind"
)
_MISSING = {"list": "cost at list prices", "split_cost": "split cost"}
_WITHOUT = {"resource": "(no resource id)", "region": "(no region)"}
_TIMES = {"hour", "day", "month"}
_FILTERS = ("region", "usage-type", "charge-type")


def _filter_options(function: F) -> F:
    """Options that each give a filter; all may be repeated: any of the values of one key has to match."""
    options = [
        click.option("--account", "accounts", multiple=True, help="Only this account, by id or name."),
        click.option("--service", "services", multiple=True, help="Only this service, e.g. ec2."),
        *(
            click.option(f"--{name}", name.replace("-", "_"), multiple=True, help=f"Only this {name}.")
            for name in _FILTERS
        ),
        click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only cost with this tag."),
        click.option(
            "--where",
            multiple=True,
            metavar="KEY=VALUE",
            help="Only cost of this value of a key of --by; an empty value is cost that has none.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command(
    "costs",
    epilog=examples(
        "costs --by-service --top 5",
        "costs --from 2026-01-01 --to 2026-01-31 --by-account",
        "costs --service ec2 --by-day --csv > ec2.csv",
        "costs --by region,month --account prod --from 2026-08-01 --to 2026-10-31",
        "costs --by usage-type --tag team=web",
        "costs --by namespace --where cluster=prod --cost-type net_amortized",
        "costs --by service --cost-type list",
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
    "keys",
    multiple=True,
    metavar="KEY[,KEY]",
    help=f"What to group by: {_KEYS}. For a combination that is not stored, it says what to switch on.",
)
@_filter_options
@click.option(
    "--cost-type",
    type=click.Choice(COST_TYPES),
    help="Another than the configured cost type; list is usage at list prices.",
)
@click.option("--top", type=click.IntRange(1, _MOST_ROWS), help="Only the most expensive rows.")
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
    keys: tuple[str, ...],
    accounts: tuple[str, ...],
    services: tuple[str, ...],
    region: tuple[str, ...],
    usage_type: tuple[str, ...],
    charge_type: tuple[str, ...],
    tags: tuple[str, ...],
    where: tuple[str, ...],
    cost_type: str | None,
    top: int | None,
) -> None:
    """What was spent, by account, service, tag and more.

    From the running exporter or its ledger, at no cost.
    """
    for text in tags:
        if "=" not in text:
            raise click.UsageError(f"--tag: found {text!r}, expected a key and a value, e.g. {text}=web")
    config = load(config_path)
    refresh_if_live(config, "cost", url, live=live, yes=yes)
    first, last = _range(utc_now(), days, hours, start, end)
    flags = {"account": by_account, "service": by_service, "day": by_day}
    by = [key for key, chosen in flags.items() if chosen] + [key for text in keys for key in text.split(",")]
    filters = [
        *_named(config, url, accounts, services, where),
        *(f"region={value}" for value in region),
        *(f"usage_type={value}" for value in usage_type),
        *(f"charge_type={value}" for value in charge_type),
        *(f"tag:{text}" for text in tags),
    ]
    found = ask_or_fail(
        config,
        "costs",
        {
            "start": first.isoformat(),
            "end": last.isoformat(),
            "by": by or None,
            "where": filters,
            "cost_type": cost_type,
            "limit": top or (None if output == Format.TABLE else _MOST_ROWS),
        },
        url,
    )
    _print(found, output, top)
    if output == Format.TABLE:
        if hours and "hour" not in found.data["by"]:
            note("Cost is known by UTC day: whole days are shown, and the newest may be partial.")
        note(f"Total {dollars(found.data['total_usd'])}, {found.age(utc_now())}.")


def _named(
    config: Config, url: str | None, accounts: Sequence[str], services: Sequence[str], where: Sequence[str]
) -> list[str]:
    """Filters with accounts and services as the exporter names them; exit code 2 where that is not clear."""
    found = []
    wanted = {"account": list(accounts), "service": list(services)}
    for text in where:
        key, _, value = text.partition("=")
        if key.strip().lower() in wanted:
            wanted[key.strip().lower()].append(value)
        else:
            found.append(text)
    found += [f"account={account_named(config, url, name)}" for name in wanted["account"]]
    return found + [f"service={service_named(config, url, name)}" for name in wanted["service"]]


def _print(found: CommandAnswer, output: str, top: int | None) -> None:
    data = found.data
    by = list(data["by"])
    rows = data["rows"]
    if set(by) <= _TIMES:
        rows = sorted(rows, key=lambda row: [row[key] for key in by])
    columns = [_column(key) for key in by]
    if "account" in by:
        columns.insert(by.index("account") + 1, account_id_column())
    columns.append(money("usd", "Cost"))
    is_split = data["total_unused_usd"] is not None
    if is_split:
        columns.append(money("unused_usd", "Unused"))
    emit(
        output,
        {**data, "rows": rows},
        rows,
        columns,
        title=f"{_amounts(data['cost_type'], is_split=is_split)}, {data['start']} to {data['end']} UTC",
        footer={by[0]: "Total", "usd": data["total_usd"], "unused_usd": data["total_unused_usd"]},
    )
    if (more := data["rows_left_out"]) and (output == Format.TABLE or top is None):
        narrow = "" if top else " Filters, fewer days or fewer keys show all."
        note(f"{more} more rows; the total is of all of them.{narrow}")
    if data["missing_days"]:
        missing = data["missing_days"]
        note(f"{len(missing)} days have not been read and are not in the sums, e.g. {missing[0]}.")
    if data["missing_hours"]:
        missing = data["missing_hours"]
        note(f"{len(missing)} hours of other days have not been read, e.g. {missing[0]}.")
    for gap in data["not_available"]:
        missing = _MISSING.get(gap["missing"], gap["missing"])
        note(f"{gap['month']} is not in the sums: {missing} is not in its data export.")
    if data["usd_in_other"] is not None:
        note(
            f"{dollars(data['usd_in_other'])} of smaller values, kept as `other`, may match the filters too."
        )


def _amounts(cost_type: str, *, is_split: bool) -> str:
    if cost_type == LIST:
        return "Usage at list prices"
    return f"{cost_type.replace('_', ' ').capitalize()} {'split cost' if is_split else 'cost'}"


def _column(key: str) -> Column:
    kind, _, name = key.partition(":")
    heading = name or kind.replace("_", " ").capitalize()
    without = _WITHOUT.get(key, "(none)")
    return Column(key, heading, lambda value: str(value) or without)


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
