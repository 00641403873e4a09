"""Every module here declares one `COLLECTOR`; being in this folder is being registered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from exporter.core.declared import declared_in
from exporter.declarations.collector import AnyCollector


@cache
def all_collectors() -> tuple[AnyCollector, ...]:
    """Every declared collector, by name."""
    return tuple(sorted(declared_in(__name__, "COLLECTOR"), key=lambda collector: collector.name))


def collector_named(name: str) -> AnyCollector:
    """The declared collector of this name; StopIteration is a bug of ours."""
    return next(collector for collector in all_collectors() if collector.name == name)


def without_replaced(enabled: Sequence[AnyCollector]) -> list[AnyCollector]:
    """Those of the enabled collectors that run: not those whose families another one serves too."""
    replaced = {name for collector in enabled for name in collector.replaces}
    return [collector for collector in enabled if collector.name not in replaced]
