"""Answers for commands: from a running exporter's JSON API, or from the ledger's file, read-only."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import requests
from pydantic import ValidationError

from exporter.api.endpoints import all_endpoints
from exporter.api.source import Source
from exporter.cli.clients import exporter_client
from exporter.collection.plan import scale_for
from exporter.config.model import Config
from exporter.core.moments import Clock, utc_now
from exporter.ledger.file import Ledger
from exporter.web.client import NoAnswerError, RefusedError

_READ_SECONDS = 60.0


class AskError(Exception):
    """There is no answer; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """What was asked for, where it is from, and when AWS was read for it."""

    data: dict[str, Any]
    where: str
    read_at: datetime | None
    warning: str | None = None
    """Why it is not the answer of an exporter that runs."""

    def age(self, now: datetime) -> str:
        """E.g. `from http://127.0.0.1:9998, AWS read 2 h 5 min ago`."""
        if self.read_at is None:
            return f"from {self.where}, AWS has not been read yet"
        minutes = max(0, int((now - self.read_at).total_seconds() // 60))
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        parts = [f"{count} {unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if count]
        return f"from {self.where}, AWS read {' '.join(parts[:2]) or 'less than a minute'} ago"


def ask(
    config: Config,
    name: str,
    parameters: dict[str, Any],
    *,
    url: str | None = None,
    clock: Clock = utc_now,
) -> CommandAnswer:
    """The answer of the endpoint `name`; AskError if there is none.

    `url` names an exporter; without it and without `client.url`, the one that this configuration would run,
    and if none answers there, the ledger's file.
    """
    parameters = {key: value for key, value in parameters.items() if value is not None}
    try:
        client = exporter_client(config, url)
        reply = client.get_when_free(f"api/v1/{name}", parameters, seconds=_READ_SECONDS)
        if reply.headers.get("content-type", "").startswith("application/json"):
            body = json_object(reply)
            if reply.ok and body is not None:
                return _answer(body, client.shown)
            if body is not None and reply.status_code in (400, 422, 503):
                raise AskError(_reasons(body))
        # Something else may listen at the default port.
        raise RefusedError(f"{client.shown} answered {reply.status_code}: is it an exporter of this version?")
    except NoAnswerError as error:
        if url is not None or config.client.url is not None:
            raise AskError(str(error)) from None
        return _from_ledger(config, name, parameters, clock, error)


def json_object(reply: requests.Response) -> dict[str, Any] | None:
    """The object that the body is; None if it is none, or nested deeper than Python reads."""
    try:
        body = reply.json()
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _reasons(body: Any) -> str:
    detail = body.get("detail") if isinstance(body, dict) else body
    if isinstance(detail, list):
        return "; ".join(str(problem.get("msg", problem)).removeprefix("Value error, ") for problem in detail)
    return str(detail)


def _answer(data: dict[str, Any], where: str, warning: str | None = None) -> CommandAnswer:
    read_at = data.get("read_at")
    return CommandAnswer(data, where, datetime.fromisoformat(read_at) if read_at else None, warning)


def _from_ledger(
    config: Config, name: str, parameters: dict[str, Any], clock: Clock, why: NoAnswerError
) -> CommandAnswer:
    (endpoint,) = (endpoint for endpoint in all_endpoints() if endpoint.name == name)
    path = config.ledger_path
    if not path.exists():
        raise AskError(
            f"{why}, and there is no ledger at {path}:"
            " start `aws-spend-exporter run`, or name an exporter with --url"
        )
    try:
        query = endpoint.query.model_validate(parameters)
    except ValidationError as error:
        raise AskError(_reasons({"detail": error.errors()})) from None
    try:
        ledger = Ledger(path, read_only=True)
    except sqlite3.Error as error:
        raise AskError(f"{path} cannot be read: {error}") from None
    try:
        # Names are read once: an answer asks for one a row.
        now = clock()
        source = Source(
            ledger=ledger,
            config=config,
            now=now,
            names=ledger.accounts.names(),
            scale=lambda: scale_for(config, ledger, now)[0],
        )
        warning = f"{why}; this is from {path}" if isinstance(why, RefusedError) else None
        return _answer(endpoint.reply(source, query), str(path), warning)
    except ValueError as error:
        raise AskError(str(error)) from None
    except sqlite3.Error as error:
        raise AskError(f"{path} cannot be read: {error}") from None
    finally:
        ledger.close()
