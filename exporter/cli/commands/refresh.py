"""`aws-spend-exporter refresh`."""

from __future__ import annotations

import json
import time
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exporter.cli.commands import examples
from exporter.cli.options import (
    agree,
    ask_or_fail,
    config_option,
    day_option,
    json_option,
    load,
    url_option,
)
from exporter.cli.output import note

if TYPE_CHECKING:
    from exporter.config.model import Config

_POLL_SECONDS = 2.0
_MOST_SECONDS = 3600.0


@click.command("refresh", epilog=examples("refresh --from 2026-01-01 --to 2026-01-31"))
@config_option
@url_option
@day_option("--from", "start", "First UTC day to read again.", required=True)
@day_option("--to", "end", "Last UTC day, included.", required=True)
@click.option("--yes", is_flag=True, help="Pay without being asked.")
@json_option
def command(
    config_path: Path | None, url: str | None, start: date, end: date, yes: bool, as_json: bool
) -> None:
    """Read days of cost again, also those that have not changed.

    Shows the price and asks. The running exporter reads them, within its ceilings; without one, this command does.
    """
    from exporter.cli.ask import AskError
    from exporter.cli.live import refresh
    from exporter.cli.tables import waiting
    from exporter.cost.rereads import Reread

    config = load(config_path)
    asked = {"start": start.isoformat(), "end": end.isoformat()}
    answer = ask_or_fail(config, "reread", asked, url)
    price = answer.data
    if price["over_ceiling"] is not None:
        raise click.ClickException(price["over_ceiling"])
    if not yes:
        agree(
            f"Reading {price['days']} days again costs about ${price['usd']} ({price['requests']} requests)."
        )
    try:
        with waiting("Asking AWS"):
            done = refresh(config, "cost", url, Reread(start, end + timedelta(days=1)))
            if done["days_left"] and done["goes_on"]:
                _wait(config, url, {**asked, "since": price["now"]}, done)
    except AskError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        if answer.where != str(config.ledger_path):
            note(f"The exporter at {answer.where} goes on reading these days.")
        raise
    if as_json:
        found = {**asked, "usd": price["usd"], "days": done["days"], "days_left": done["days_left"]}
        click.echo(json.dumps(found, indent=2))
    else:
        read = done["days"] - done["days_left"]
        click.echo(f"{read} day was read again." if read == 1 else f"{read} days were read again.")
    if done["days_left"]:
        raise click.ClickException(
            f"{done['days_left']} days have not been read; the log, or /-/ready, says why"
        )


def _wait(config: Config, url: str | None, asked: dict[str, Any], done: dict[str, Any]) -> None:
    """Wait until the exporter has read the rest, or has given it up."""
    end = time.monotonic() + _MOST_SECONDS
    while time.monotonic() < end:
        state = ask_or_fail(config, "reread", asked, url).data
        done["days_left"] = done["days"] - state["days_read"]
        if not state["days_left"]:
            return
        time.sleep(_POLL_SECONDS)
