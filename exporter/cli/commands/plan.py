"""`aws-spend-exporter plan`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from exporter.cli.commands import examples
from exporter.cli.options import config_option, json_option, load
from exporter.cli.tables import plan_table
from exporter.core.moments import utc_now


@click.command("plan", epilog=examples("plan", "plan --accounts 60 --services 25"))
@config_option
@click.option("--accounts", type=click.IntRange(1), help="Linked accounts; otherwise what was seen.")
@click.option("--services", type=click.IntRange(1), help="Services that each account uses.")
@click.option("--regions", type=click.IntRange(1), help="Regions of regional collectors.")
@click.option("--groups-per-page", type=click.IntRange(1), help="Groups on a page of Cost Explorer.")
@json_option
def command(
    config_path: Path | None,
    accounts: int | None,
    services: int | None,
    regions: int | None,
    groups_per_page: int | None,
    as_json: bool,
) -> None:
    """Price the configuration, before it runs.

    Requests and dollars a month. Asks AWS nothing; exit code 1 if over a ceiling.
    """
    import sqlite3

    from exporter.collection.plan import plan_at_rest, plan_json

    config = load(config_path)
    try:
        priced = plan_at_rest(
            config,
            utc_now(),
            accounts=accounts,
            services=services,
            regions=regions,
            groups_per_page=groups_per_page,
        )
    except sqlite3.Error as error:
        raise click.ClickException(f"{config.ledger_path} cannot be read: {error}") from None
    if as_json:
        click.echo(json.dumps(plan_json(priced), indent=2))
    else:
        plan_table(priced)
    sys.exit(1 if priced.over else 0)
