"""Every module here declares one `COLLECTOR`; being in this folder is being registered."""

from __future__ import annotations

from functools import cache

from exporter.declared import declared_in
from exporter.model import Collector


@cache
def all_collectors() -> tuple[Collector, ...]:
    """Every declared collector, by name."""
    return tuple(sorted(declared_in(__name__, "COLLECTOR"), key=lambda collector: collector.name))
