"""Gauges of the process's state."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily

from exporter.aws.clients import Aws
from exporter.aws.meter import Meter
from exporter.core.metric import Family
from exporter.cube.dated import named_keys
from exporter.ledger.file import Ledger

CEILING_REMAINING = Family(
    "aws_spend_exporter_request_ceiling_remaining_usd",
    "Dollars that the exporter may still spend on AWS requests, by ceiling and period.",
    ("ceiling", "period"),
)
LEDGER_ROWS = Family("aws_spend_exporter_ledger_rows", "Cost rows in the ledger.")
LEDGER_BYTES = Family("aws_spend_exporter_ledger_bytes", "Size of the ledger's file and write-ahead log.")
AWS_CLIENTS = Family("aws_spend_exporter_aws_clients", "AWS clients made, one a service and region.")
COLLECTION_LAG = Family(
    "aws_spend_exporter_collection_lag_seconds",
    "How long the unit of the collector that has waited longest is overdue; 0 while collection keeps up.",
    ("collector",),
)
DIMENSION_KEYS = Family(
    "aws_spend_exporter_history_dimension_keys",
    "Keys an account that aws_cost_daily_by_<dimension>_usd names, at most: 20, of resources 50, and fewer where"
    " history.dimension_series is the bound.",
    ("dimension",),
)
RELOADED = Family(
    "aws_spend_exporter_config_last_reload_successful",
    "1 if the last reload of the configuration succeeded.",
)
RELOADED_AT = Family(
    "aws_spend_exporter_config_last_reload_success_timestamp_seconds",
    "When the configuration in force was read.",
)
BUILD_INFO = Family("aws_spend_exporter_build_info", "1, with the version.", ("version",))
STATE_FAMILIES = (
    CEILING_REMAINING,
    LEDGER_ROWS,
    LEDGER_BYTES,
    AWS_CLIENTS,
    COLLECTION_LAG,
    DIMENSION_KEYS,
    RELOADED,
    RELOADED_AT,
    BUILD_INFO,
)


class _StateMetrics:
    """Gauges that are read when they are scraped: the budget that remains, the ledger's size, what waits."""

    def __init__(
        self,
        meter: Meter,
        ledger: Ledger,
        aws: Callable[[], Aws],
        seconds_late: Callable[[], Mapping[str, float]],
    ) -> None:
        self._seconds_late = seconds_late
        self._meter = meter
        self._ledger = ledger
        self._aws = aws

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called by the registry; what the ledger has is left out while it cannot be read."""
        of_ledger: Mapping[Family, Callable[[], Mapping[tuple[str, ...], float]]] = {
            CEILING_REMAINING: lambda: {key: float(usd) for key, usd in self._meter.remaining().items()},
            LEDGER_ROWS: lambda: {(): self._ledger.cost.row_count()},
            LEDGER_BYTES: lambda: {(): self._ledger.size_bytes()},
            DIMENSION_KEYS: lambda: {(kind,): keys for kind, keys in named_keys(self._ledger).items()},
        }
        for family, read in of_ledger.items():
            try:
                values = read()
            except (sqlite3.Error, OSError):  # /-/ready reports it
                continue
            yield _gauge(family, values)
        yield _gauge(AWS_CLIENTS, {(): self._aws().clients_created})
        yield _gauge(COLLECTION_LAG, {(name,): late for name, late in self._seconds_late().items()})


def _gauge(family: Family, values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value in values.items():
        gauge.add_metric(labels, value)
    return gauge
