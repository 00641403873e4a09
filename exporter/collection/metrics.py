"""Self metrics of the runs."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from exporter.aws.errors import Kind


class RunnerMetrics:
    """What is counted and timed of the runs; a reload goes on counting."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """`registry` is the one that is scraped."""
        self.duration = Histogram(
            "aws_spend_exporter_collector_duration_seconds",
            "Duration of a run of the collector over all its accounts and regions.",
            ("collector",),
            buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
            registry=registry,
        )
        self.errors = Counter(
            "aws_spend_exporter_collector_errors_total",
            "Failed collections of one account and region, by kind.",
            ("collector", "kind"),
            registry=registry,
        )
        self.accounts = Gauge(
            "aws_spend_exporter_accounts", "Accounts that are collected.", registry=registry
        )

    def expect_errors(self, unit: str, kinds: Iterable[Kind]) -> None:
        """Count from 0, so that `increase()` sees the first failure of each kind."""
        for kind in kinds:
            self.errors.labels(unit, kind)
