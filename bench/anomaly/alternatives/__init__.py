"""Other ways to find anomalies, a file for each; a file is found by being there."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from bench.anomaly.alternative import Alternative


def alternatives() -> Mapping[str, Alternative]:
    """Every alternative by name."""
    modules = [
        importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
    ]
    found = [module.ALTERNATIVE for module in modules]
    return MappingProxyType({each.name: each for each in sorted(found, key=lambda each: each.order)})
