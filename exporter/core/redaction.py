"""Keeps secrets out of everything that is logged, by us or by a library."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable, Mapping
from math import isfinite
from types import TracebackType

_SHORTEST = 6  # shorter ones would blank out ordinary words
_SHOWN = "***"
_AWS_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)
# A record has its text, its time and, since Python 3.12, the name of a task as well.
_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_lock = threading.Lock()
_secrets: tuple[str, ...] = ()


def keep_secret(texts: Iterable[str]) -> None:
    """From now on none of these texts is written to a log of this process."""
    global _secrets
    with _lock:
        found = {*_secrets, *(text for text in texts if len(text) >= _SHORTEST)}
        # The longest first, so that a URL goes as a whole.
        _secrets = tuple(sorted(found, key=lambda text: (-len(text), text)))


def keep_environment_secret(environment: Mapping[str, str]) -> None:
    """Keep the credentials secret that an AWS tool finds in its environment."""
    keep_secret(environment.get(name, "") for name in _AWS_VARIABLES)


def redacted(text: str) -> str:
    """The text without the secrets."""
    for secret in _secrets:
        text = text.replace(secret, _SHOWN)
    return text


def fields_of(record: logging.LogRecord) -> dict[str, str | int | float | bool | list[str] | None]:
    """What a log line holds beside its event, in the order of `extra`: values that JSON has, else their text."""
    return {name: _shown(value) for name, value in vars(record).items() if name not in _ATTRIBUTES}


def _shown(value: object) -> str | int | float | bool | list[str] | None:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [str(item) for item in value]
    return str(value)


class RedactSecrets(logging.Filter):
    """On a handler: replaces secrets in messages, fields and tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not _secrets:
            return True
        record.msg, record.args = redacted(record.getMessage()), None
        for name, value in fields_of(record).items():
            if isinstance(value, str):
                setattr(record, name, redacted(value))
            elif isinstance(value, list):
                setattr(record, name, [redacted(item) for item in value])
        if record.exc_info:
            # A formatter that finds the text does not make it again.
            record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))
        if record.stack_info:
            record.stack_info = redacted(record.stack_info)
        return True


def install() -> None:
    """Redact on every handler of the root logger, and log what would end on standard error past it."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(found, RedactSecrets) for found in handler.filters):
            handler.addFilter(RedactSecrets())
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(__name__).critical(
        "uncaught exception", extra={"error": kind.__name__}, exc_info=(kind, error, trace)
    )
