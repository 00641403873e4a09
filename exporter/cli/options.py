"""Options that several commands share, and how they read the configuration.

Each command imports this module, also for `--help`: what reads and asks is imported where it is used.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from exporter.cli.output import note, output_options, printable, printable_lines
from exporter.config import CONFIG_VARIABLE
from exporter.core.service_names import find_service

if TYPE_CHECKING:
    from exporter.cli.ask import CommandAnswer
    from exporter.config.model import Config

F = TypeVar("F", bound=Callable[..., Any])

_SHOWN_NAMES = 10
_LEAST_SHOWN_USD = Decimal("0.01")


def config_option(function: F) -> F:
    """`--config FILE`, passed as `config_path`."""
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        envvar=CONFIG_VARIABLE,
        help="Configuration file; config.yaml if it exists, defaults otherwise.",
    )(function)


def json_option(function: F) -> F:
    """`--json`, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def load(config_path: Path | None) -> Config:
    """The configuration; ends the process with exit code 2 and one message where it cannot be used."""
    from exporter.config.read import ConfigError, load_config

    try:
        return load_config(config_path)
    except ConfigError as error:
        click.echo(f"Error: {printable_lines(str(error))}", err=True)
        sys.exit(2)


def asking_options(function: F) -> F:
    """`--config`, `--url`, `--json` and `--csv`, for commands that show what an exporter or its ledger knows."""
    return config_option(url_option(output_options(function)))


def url_option(function: F) -> F:
    """`--url`, the exporter to ask."""
    return click.option(
        "--url",
        metavar="URL",
        callback=_a_url,
        help="The exporter to ask; by default client.url, else the one on this machine, and its ledger if none runs.",
    )(function)


def _a_url(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"https?://[^\s/]+\S*", value):
        raise click.BadParameter("expected a URL such as http://127.0.0.1:9998", ctx, parameter)
    return value


def _a_day(ctx: click.Context, parameter: click.Parameter, value: str | None) -> date | None:
    try:
        return None if value is None else date.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"found {value!r}, expected a day such as 2026-01-31", ctx, parameter
        ) from None


def day_option(flag: str, name: str, text: str, *, required: bool = False) -> Callable[[F], F]:
    """A UTC day, passed as a date."""
    return click.option(flag, name, callback=_a_day, metavar="YYYY-MM-DD", help=text, required=required)


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
    from exporter.cli.ask import AskError
    from exporter.cli.live import price, refresh
    from exporter.cli.tables import waiting

    usd = price(config, collector)
    if usd and not yes:
        agree(f"Asking AWS costs about ${max(usd, _LEAST_SHOWN_USD):.2f}.")
    try:
        with waiting("Asking AWS"):
            done = refresh(config, collector, url)
    except AskError as error:
        raise click.ClickException(printable_lines(str(error))) from None
    for line in done["text"]:
        note(line)


def agree(price: str) -> None:
    """Ask whether to pay; ends the process with exit code 2 where there is no one to ask."""
    if not sys.stdin.isatty():
        raise _NotAgreedError(f"{price} There is no terminal to ask on: add --yes")
    click.confirm(f"{price} Go on?", abort=True, err=True)


class _NotAgreedError(click.ClickException):
    """A price that no one can be asked about; the command line is right, so that its usage is not shown."""

    exit_code = 2


def known_services(config: Config, url: str | None) -> list[str]:
    """Every service that has had cost in the last thirteen months."""
    found = ask_or_fail(config, "services", {}, url)
    return [str(row["service"]) for row in found.data["rows"]]


def service_named(config: Config, url: str | None, text: str | None) -> str | None:
    """The service that a person means; ends the process with exit code 2 where that is not clear."""
    if text is None:
        return None
    try:
        return find_service(text, known_services(config, url))
    except ValueError as error:
        raise click.UsageError(printable_lines(str(error))) from None


def account_named(config: Config, url: str | None, text: str | None) -> str | None:
    """The id of the account that a person names by id or name; exit code 2 where that is not clear."""
    if text is None:
        return None
    rows = ask_or_fail(config, "accounts", {}, url).data["rows"]
    found = [row for row in rows if text in (row["account_id"], row["account"])]
    if not found:
        found = [row for row in rows if text.casefold() in str(row["account"]).casefold()]
    if len(found) == 1:
        return str(found[0]["account_id"])
    names = [f"{row['account']} ({row['account_id']})" for row in found or rows]
    if not names:
        raise click.UsageError(f"account: found {text!r}, and no account is known yet")
    more = ", ..." if len(names) > _SHOWN_NAMES else ""
    near = [] if found else difflib.get_close_matches(text, [str(row["account"]) for row in rows], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    shown = ", ".join(names[:_SHOWN_NAMES])
    raise click.UsageError(printable(f"account: found {text!r}, expected one of {shown}{more}{hint}"))


def ask_or_fail(config: Config, name: str, parameters: dict[str, Any], url: str | None) -> CommandAnswer:
    """The answer of an endpoint; ends the process with exit code 1 and a message where there is none."""
    from exporter.cli.ask import AskError, ask

    try:
        answer = ask(config, name, parameters, url=url)
    except AskError as error:
        raise click.ClickException(printable_lines(str(error))) from None
    if answer.warning is not None:
        _warn(answer.warning)
    return answer


@cache
def _warn(text: str) -> None:
    """Once, however many questions a command asks."""
    note(f"Warning: {text}")
