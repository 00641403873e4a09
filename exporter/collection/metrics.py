"""Self metrics of collection."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from exporter.aws.errors import Kind
from exporter.core.fields import CollectorSettings
from exporter.core.places import Scope
from exporter.declarations.collector import AnyCollector

COUNTED = frozenset(Kind) - {Kind.STOPPED, Kind.PLAN_OVER_CEILING, Kind.REGION_DENIED}
"""Kinds of failures of an attempt: one that was stopped is none, one that the plan forbids is not made, and a region
that a service control policy denies is a state."""

_OF_PAID_REQUESTS = {Kind.CEILING_REACHED}
_OF_THE_PAYER = {
    Kind.CURRENCY,
    Kind.DATA_UNAVAILABLE,
    Kind.EXPORT,
    Kind.NOT_OFFERED,
}  # what only billing answers


def kinds_of(collector: AnyCollector, scope: Scope) -> frozenset[Kind]:
    """The kinds with which a unit can fail."""
    kinds = COUNTED
    if scope is not Scope.PAYER:
        kinds -= _OF_THE_PAYER
    if collector.is_free:
        kinds -= _OF_PAID_REQUESTS
    return kinds


class RunnerMetrics:
    """What is counted and timed of the attempts; a reload goes on counting what is still collected."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """`registry` is the one that is scraped."""
        self.duration = Histogram(
            "aws_spend_exporter_collector_duration_seconds",
            "Duration of one attempt at a unit of the collector: one account, and region where it has regions.",
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
        self._counted: set[str] = set()

    def expect(self, collector: AnyCollector, settings: CollectorSettings) -> None:
        """Count from 0 what can fail, so that `increase()` sees the first failure of each kind.

        Makes 15 to 18 series a unit: about 50 with the default configuration, 500 with every collector.
        """
        for part in collector.units(settings):
            self.expect_errors(part.name, kinds_of(collector, part.scope))
        # Under its own name the regions of an account are listed, and views fail.
        self.expect_errors(collector.name, kinds_of(collector, collector.scope))
        self.duration.labels(collector.name)

    def expect_errors(self, unit: str, kinds: Iterable[Kind]) -> None:
        """Count the failures of one unit from 0."""
        self._counted.add(unit)
        for kind in kinds:
            self.errors.labels(unit, kind)

    def forget_others(self, units: Collection[str]) -> None:
        """Serve nothing more of what a reload has switched off: dashboards see by the counters what is on."""
        for unit in self._counted.difference(units):
            self.errors.remove_by_labels({"collector": unit})
            self.duration.remove_by_labels({"collector": unit})
        self._counted.intersection_update(units)
