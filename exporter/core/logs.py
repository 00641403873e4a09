"""Log lines on standard error: text for people, JSON for collectors of logs.

A line is a constant event with fields, so that it can be searched for, counted and compared:

    log.warning("collection failed", extra={"collector": "cost", "account_id": "111111111111"})

As text that ends in `collection failed collector=cost account_id=111111111111`; as JSON each field is a key.
The name of a field is none of `time`, `level`, `logger`, `message` and `exception`, which every line has.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

from pydantic import Field

from exporter.core.fields import StrictModel
from exporter.core.redaction import fields_of, install, keep_environment_secret


class LogSettings(StrictModel):
    """How the exporter logs."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level.")
    format: Literal["text", "json"] = Field(default="text", description="A line of text, or of JSON.")


_PLAIN = re.compile(r"""[^\s"'=\\\x00-\x1f\x7f-\x9f]+""")
_QUIET = ("apscheduler", "boto3", "botocore", "httpx", "urllib3", "uvicorn")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = record.exc_text or self.formatException(record.exc_info)
        # A library may call a field of its record as it likes: the line's keys win.
        fields = {name: value for name, value in fields_of(record).items() if name not in line}
        return json.dumps({**line, **fields}, ensure_ascii=False)


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 # logging's name
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 # logging's name
        # What AWS says ends up in messages: one record stays one line, before its traceback.
        text = super().formatMessage(record).replace("\r", r"\r").replace("\n", r"\n")
        return " ".join([text, *(f"{name}={_as_text(value)}" for name, value in fields_of(record).items())])


def _as_text(value: object) -> str:
    """The value of a field, in quotes where a reader could not see its end."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def log_handler(settings: LogSettings, stream: TextIO) -> logging.Handler:
    """Write lines to `stream` in the configured format."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonFormatter() if settings.format == "json" else _TextFormatter())
    return handler


def configure_logging(settings: LogSettings) -> None:
    """Set the root logger; botocore's debug log holds credentials and stays off at any level."""
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(log_handler(settings, sys.stderr))
    root.setLevel(settings.level.upper())
    keep_environment_secret(os.environ)
    install()
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
