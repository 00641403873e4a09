"""`aws-spend-exporter backfill`."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import click

from exporter.cli.commands import examples
from exporter.cli.options import config_option, day_option, load


@click.command(
    "backfill",
    epilog=examples(
        "backfill --remote-write http://localhost:9090/api/v1/write",
        "backfill --openmetrics history.txt --from 2026-01-01",
    ),
)
@config_option
@click.option("--remote-write", "url", metavar="URL", help="Write to this endpoint; `history` says how.")
@click.option(
    "--openmetrics",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a file for `promtool tsdb create-blocks-from openmetrics`.",
)
@day_option("--from", "start", "First day; the oldest by default.")
@day_option("--to", "end", "Last day; yesterday by default.")
def command(
    config_path: Path | None, url: str | None, file: Path | None, start: date | None, end: date | None
) -> None:
    """Write the dated history of the ledger again.

    All of it, or some days; asks AWS nothing.
    """
    if (url is None) == (file is None):
        raise click.UsageError("give exactly one of --remote-write and --openmetrics")
    if start and end and start > end:
        raise click.UsageError(f"--from: found {start}, expected a day that is not after {end}")
    from exporter.cli.backfill import run_backfill

    config = load(config_path)
    sys.exit(run_backfill(config, url, file, start, end))
