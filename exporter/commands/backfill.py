"""`aws-spend-exporter backfill`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from exporter.backfill import run_backfill
from exporter.command_options import config_option, load


@click.command("backfill")
@config_option
@click.option("--remote-write", "url", metavar="URL", help="Write to this endpoint; `history` says how.")
@click.option(
    "--openmetrics",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a file for `promtool tsdb create-blocks-from openmetrics`.",
)
@click.option("--from", "start", type=click.DateTime(["%Y-%m-%d"]), help="First day; the oldest by default.")
@click.option("--to", "end", type=click.DateTime(["%Y-%m-%d"]), help="Last day; yesterday by default.")
def command(
    config_path: Path | None, url: str | None, file: Path | None, start: datetime | None, end: datetime | None
) -> None:
    """Write the whole dated history of the ledger again; asks AWS nothing."""
    if (url is None) == (file is None):
        raise click.UsageError("give exactly one of --remote-write and --openmetrics")
    config = load(config_path)

    sys.exit(run_backfill(config, url, file, start and start.date(), end and end.date()))
