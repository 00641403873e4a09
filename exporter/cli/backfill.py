"""What the command `backfill` does: it writes the dated history of the ledger again."""

from __future__ import annotations

import sqlite3
from datetime import date, timedelta
from pathlib import Path

import click
from pydantic import ValidationError

from exporter.app.dated_history import SOURCES, derivations
from exporter.cli.tables import progress as show_progress
from exporter.collectors.cost import COLLECTOR as COST
from exporter.config.model import Config
from exporter.core.moments import utc_now
from exporter.history.backfill import Backfill, BackfillError, write_openmetrics
from exporter.history.endpoint import EndpointError
from exporter.history.settings import HistorySettings


def run_backfill(
    config: Config, url: str | None, file: Path | None, start: date | None, last: date | None
) -> int:
    """The command `backfill`: exactly one of `url` and `file` is given; returns the exit code."""
    try:
        backfill = Backfill(
            config.ledger_path,
            config.settings(COST).cost_type,
            config.history.window,
            utc_now,
            SOURCES,
            lambda ledger: derivations(ledger, config, utc_now),
            start,
            last + timedelta(days=1) if last else None,
        )
    except (BackfillError, OSError, sqlite3.Error) as error:
        return _fail(error)
    try:
        with show_progress("Writing days", enabled=True) as advance:
            if file is not None:
                samples = write_openmetrics(backfill, file, advance)
                message = f"{samples} samples are in {file}"
            else:
                settings = HistorySettings.model_validate({**config.history.model_dump(), "write_url": url})
                taken, refused = backfill.remote_write(settings, advance)
                message = f"{taken} samples were taken, {refused} refused"
    except ValidationError as error:
        return _fail(f"--remote-write: expected {error.errors()[0]['msg'].removeprefix('Value error, ')}")
    except (EndpointError, OSError, sqlite3.Error) as error:
        return _fail(error)
    finally:
        backfill.close()
    click.echo(message)
    return 0


def _fail(error: object) -> int:
    click.echo(f"Error: {error}", err=True)
    return 1
