"""Keeps secrets out of whatever is logged, whoever logs it."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType

_SHORTEST = 6  # shorter ones would blank out ordinary words
_SHOWN = "***"
_AWS_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)

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


class RedactSecrets(logging.Filter):
    """On a handler: replaces secrets in messages and tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not _secrets:
            return True
        record.msg, record.args = redacted(record.getMessage()), None
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
    logging.getLogger(__name__).critical("uncaught %s", kind.__name__, exc_info=(kind, error, trace))
