"""Environment variables other than `AWS_SPEND_EXPORTER_*`: those that AWS tools and the first version of this exporter read.

They are defaults: what config.yaml or an `AWS_SPEND_EXPORTER_*` variable says wins. botocore itself reads
AWS_PROFILE, AWS_REGION and the like.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from exporter.anomalies.settings import MOST_PERCENTAGE, THRESHOLD_VARIABLE
from exporter.core.fields import format_duration, parse_duration
from exporter.declarations.collector import AnyCollector

_CHANGES_RARELY = timedelta(hours=1)
_LEVELS = {
    "debug": "debug", "info": "info", "warn": "warning", "warning": "warning",
    "error": "error", "critical": "error", "fatal": "error",
}  # fmt: skip


def apply_plain_variables(
    data: dict[str, Any], environment: Mapping[str, str], collectors: tuple[AnyCollector, ...]
) -> None:
    """Fill in what `data`, the content of config.yaml, leaves open; ValueError names a variable that is wrong."""
    given = {name: value.strip() for name, value in environment.items() if value.strip()}
    # With a token file the two belong together, and botocore assumes that role itself.
    if "AWS_WEB_IDENTITY_TOKEN_FILE" not in given:
        _fill(data, "aws", "role_arn", given.get("AWS_ROLE_ARN"))
    _fill(data, "accounts", "role_name", given.get("CROSS_ACCOUNT_ROLE_NAME"))
    _fill(data, "accounts", "external_id", given.get("EXTERNAL_ID"))
    if isinstance(data.get("aws"), dict) and data["aws"].get("role_arn"):
        _fill(data, "aws", "external_id", given.get("EXTERNAL_ID"))
    if level := given.get("LOG_LEVEL"):
        if level.lower() not in _LEVELS:
            raise ValueError(f"LOG_LEVEL: found {level!r}, expected DEBUG, INFO, WARNING or ERROR")
        _fill(data, "log", "level", _LEVELS[level.lower()])
    if threshold := given.get(THRESHOLD_VARIABLE):
        try:
            percentage = float(threshold.removesuffix("%"))
        except ValueError:
            message = f"{THRESHOLD_VARIABLE}: found {threshold!r}, expected a percentage such as 20"
            raise ValueError(message) from None
        _fill(data, "anomalies", "percentage", min(percentage, MOST_PERCENTAGE))
    if interval := given.get("DATA_REFRESH_INTERVAL"):
        _fill_intervals(data, interval, collectors)


def _fill_intervals(data: dict[str, Any], interval: str, collectors: tuple[AnyCollector, ...]) -> None:
    try:
        every = parse_duration(f"{interval}s" if interval.isdigit() else interval)
    except ValueError:
        message = f"DATA_REFRESH_INTERVAL: found {interval!r}, expected seconds such as 300"
        raise ValueError(message) from None
    for collector in collectors:
        # What is paid keeps to its plan, and what changes rarely, such as prices, to its day.
        if collector.is_free and collector.settings().interval <= _CHANGES_RARELY:
            _fill(data, "collectors", collector.name, {})
            # One number for all: a collector that has to look more often does.
            longest = collector.settings.longest_interval
            shorter = every if longest is None else min(every, longest)
            _fill(data["collectors"], collector.name, "interval", format_duration(shorter))


def _fill(data: Any, section: str, key: str, value: Any) -> None:
    """Set `section.key` unless it is set, or the section is something else than a mapping."""
    if value is None or not isinstance(data, dict):
        return
    inner = data.setdefault(section, {})
    if isinstance(inner, dict):
        inner.setdefault(key, value)
