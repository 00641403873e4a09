"""`--live`, for commands whose answer AWS can be asked for first."""

from __future__ import annotations

import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

import click

from exporter.cli.ask import AskError
from exporter.cli.live import price, refresh
from exporter.cli.tables import waiting
from exporter.config.model import Config

F = TypeVar("F", bound=Callable[..., Any])

_LEAST_SHOWN_USD = Decimal("0.01")


def live_options(function: F) -> F:
    """`--live` and `--yes`, for commands whose answer AWS can be asked for."""
    options = (
        click.option("--live", is_flag=True, help="Ask AWS first; the price is shown before."),
        click.option("--yes", is_flag=True, help="With --live: pay without being asked."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def refresh_if_live(config: Config, collector: str, url: str | None, *, live: bool, yes: bool) -> None:
    """Read AWS for a collector where `--live` says so, once the price is agreed to."""
    if not live:
        return
    usd = price(config, collector)
    if usd and not yes:
        question = f"Asking AWS costs about ${max(usd, _LEAST_SHOWN_USD):.2f}. Go on?"
        if not sys.stdin.isatty():
            raise click.UsageError(f"{question} There is nobody to ask: add --yes")
        click.confirm(question, abort=True, err=True)
    try:
        with waiting("Asking AWS"):
            refresh(config, collector, url)
    except AskError as error:
        raise click.ClickException(str(error)) from None
