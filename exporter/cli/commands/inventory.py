"""`aws-spend-exporter inventory`."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from exporter.cli.commands import examples
from exporter.cli.options import (
    account_named,
    ask_or_fail,
    asking_options,
    live_options,
    load,
    refresh_if_live,
)
from exporter.cli.output import Column, Format, account_id_column, dollars, emit, money, note
from exporter.core.moments import utc_now


def _an_age(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    from exporter.core.fields import parse_duration

    try:
        parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"found {value!r}, expected {error}", ctx, parameter) from None
    return value


def _age(created: str | None) -> str:
    return "–" if created is None else f"{(utc_now() - datetime.fromisoformat(created)).days} d"


@click.command(
    "inventory", epilog=examples("inventory --unused", "inventory --service ec2 --older-than 90d --top 20")
)
@asking_options
@live_options
@click.option("--service", help="Only this service, e.g. ec2, rds or s3.")
@click.option("--type", "kind", help="Only this type, e.g. ec2:volume.")
@click.option("--account", help="Only this account, by id or name.")
@click.option("--region", help="Only this region; `global` for what has none.")
@click.option("--unused", is_flag=True, help="Only what is unused.")
@click.option("--untagged", is_flag=True, help="Only what lacks a required tag, or has none.")
@click.option("--older-than", metavar="AGE", callback=_an_age, help="Only what is older, e.g. 90d.")
@click.option("--top", default=50, show_default=True, type=click.IntRange(1, 100_000), help="Most rows.")
def command(
    config_path: Path | None,
    url: str | None,
    output: str,
    live: bool,
    yes: bool,
    service: str | None,
    kind: str | None,
    account: str | None,
    region: str | None,
    unused: bool,
    untagged: bool,
    older_than: str | None,
    top: int,
) -> None:
    """What runs where, and for how much at list price.

    Since when, too; the most expensive first. It is known while an exporter runs.
    """
    config = load(config_path)
    refresh_if_live(config, "inventory", url, live=live, yes=yes)
    parameters = {
        "service": service.casefold() if service else None,
        "type": kind,
        "account_id": account_named(config, url, account),
        "region": region,
        "unused": unused or None,
        "untagged": untagged or None,
        "older_than": older_than,
        "limit": top,
    }
    found = ask_or_fail(config, "inventory", parameters, url)
    data = found.data
    if found.where == str(config.ledger_path):
        raise click.ClickException(
            "the inventory is known while an exporter runs: start `aws-spend-exporter run`, or name one with --url"
        )
    if data["rows"] or output != Format.TABLE:
        emit(output, data, data["rows"], _columns(unused=unused, untagged=untagged))
    if output == Format.TABLE:
        note(
            "No resource is like that."
            if found.read_at and not data["count"]
            else f"{data['count']} resources, {dollars(data['estimated_monthly_usd'])} a month at list price"
            f" for the {data['priced']} whose price is known. An estimate, not the bill."
        )
        note(f"Inventory {found.age(utc_now())}.")
        if found.read_at is None:
            note("Is collectors.inventory enabled (docs/inventory.md)?")
    _note_unreadable(data)


def _columns(*, unused: bool, untagged: bool) -> list[Column]:
    columns = [
        Column("type", "Type"),
        Column("id", "Id"),
        Column("name", "Name"),
        Column("account", "Account"),
        account_id_column(for_programs=True),
        Column("region", "Region"),
        Column("state", "State"),
        Column("created", "Age", _age, right=True),
        money("estimated_monthly_usd", "List price a month"),
    ]
    if unused:
        columns += [Column("unused_reason", "Unused because"), money("unused_monthly_usd", "Wasted a month")]
    if untagged:
        columns.append(Column("missing_tags", "Missing tags", lambda tags: ", ".join(tags or ())))
    return columns


def _note_unreadable(data: dict[str, Any]) -> None:
    unreadable: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for failing in data["failing"]:
        unreadable[failing["account_id"], failing["kind"]].add(failing["unit"].removeprefix("inventory_"))
    for (account_id, reason), units in unreadable.items():
        note(f"Not readable now: {', '.join(sorted(units))} of {account_id} ({reason}).")
