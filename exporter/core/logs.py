"""Log lines on standard error: text for people, JSON for collectors of logs."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from exporter.core.fields import (
    StrictModel,
)
from exporter.core.redaction import install, keep_environment_secret


class LogSettings(StrictModel):
    """How the exporter logs."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level.")
    format: Literal["text", "json"] = Field(default="text", description="A line of text, or of JSON.")


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
        return json.dumps(line, ensure_ascii=False)


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 # logging's name
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    def format(self, record: logging.LogRecord) -> str:
        # What AWS says ends up in messages: one record stays one line.
        text = super().format(record)
        return text if record.exc_info else text.replace("\r", r"\r").replace("\n", r"\n")


def configure_logging(settings: LogSettings) -> None:
    """Set the root logger; botocore's debug log holds credentials and stays off at any level."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if settings.format == "json" else _TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    keep_environment_secret(os.environ)
    install()
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
