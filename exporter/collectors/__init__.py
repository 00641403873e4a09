"""Every module here declares one `COLLECTOR`; being in this folder is being registered."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from exporter.model import Collector


@cache
def all_collectors() -> tuple[Collector, ...]:
    """Every declared collector, by name."""
    modules = (
        importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)
    )
    found = {module.COLLECTOR.name: module.COLLECTOR for module in modules}
    return tuple(found[name] for name in sorted(found))
