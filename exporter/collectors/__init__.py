"""Every module here declares one `COLLECTOR`; being in this folder is being registered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from exporter.core.declared import declared_in
from exporter.declarations.collector import Collector


@cache
def all_collectors() -> tuple[Collector, ...]:
    """Every declared collector, by name."""
    return tuple(sorted(declared_in(__name__, "COLLECTOR"), key=lambda collector: collector.name))


def without_replaced(enabled: Sequence[Collector]) -> list[Collector]:
    """Those of the enabled collectors that run: not those whose families another one serves too."""
    replaced = {name for collector in enabled for name in collector.replaces}
    return [collector for collector in enabled if collector.name not in replaced]
