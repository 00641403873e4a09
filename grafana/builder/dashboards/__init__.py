"""One module a dashboard, each with a `build()`; a new file is a new dashboard."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from grafana_foundation_sdk.models.dashboard import Dashboard


def all_dashboards() -> Iterator[tuple[str, Dashboard]]:
    """Every dashboard with the name of its module, which is also the name of its JSON file."""
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        yield module.name, importlib.import_module(f"{__name__}.{module.name}").build()
