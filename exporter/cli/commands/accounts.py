"""`aws-spend-exporter accounts`."""

from __future__ import annotations

from pathlib import Path

import click

from exporter.cli.commands import examples
from exporter.cli.options import ask_or_fail, asking_options, load
from exporter.cli.output import Column, Format, account_id_column, emit, money, note
from exporter.core.moments import utc_now


def _groups(value: dict[str, str] | None) -> str:
    return ", ".join(f"{name}={text}" for name, text in (value or {}).items())


@click.command("accounts", epilog=examples("accounts", "accounts --csv > accounts.csv"))
@asking_options
def command(config_path: Path | None, url: str | None, output: str) -> None:
    """The accounts of the organization, with what they cost."""
    found = ask_or_fail(load(config_path), "accounts", {}, url)
    columns = [
        Column("account", "Account"),
        account_id_column(),
        Column("ou", "OU"),
        Column("state", "State"),
        Column("groups", "Groups", _groups),
        money("yesterday_usd", "Yesterday"),
        money("month_to_date_usd", "Month to date"),
        money("projection_usd", "Month projected"),
        money("last_month_usd", "Last month"),
    ]
    emit(output, found.data, found.data["rows"], columns)
    if output == Format.TABLE:
        note(f"{found.data['cost_type'].capitalize()} cost, {found.age(utc_now())}.")
