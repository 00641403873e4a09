"""`aws-spend-exporter plan`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from exporter.command_options import config_option, json_option, load
from exporter.ledger import Ledger
from exporter.model import utc_now
from exporter.plan import make_plan, plan_json, scale_for
from exporter.tables import plan_table


@click.command("plan")
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
    """Price the configuration: requests and dollars a month. Asks AWS nothing; exit code 1 if over a ceiling."""
    config = load(config_path)

    ledger = Ledger(config.ledger_path, read_only=True) if config.ledger_path.exists() else None
    scale, sources = scale_for(
        config,
        ledger,
        utc_now(),
        accounts=accounts,
        services=services,
        regions=regions,
        groups_per_page=groups_per_page,
    )
    priced = make_plan(config, scale, sources, utc_now())
    if as_json:
        click.echo(json.dumps(plan_json(priced), indent=2))
    else:
        plan_table(priced)
    sys.exit(1 if priced.over else 0)
