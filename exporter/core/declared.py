"""Finds what the modules of a package declare: being in the folder is being registered."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any


def declared_in(package: str, attribute: str) -> Iterator[Any]:
    """The `attribute` of each module of `package`, in the order of the modules' names."""
    path = importlib.import_module(package).__path__
    for name in sorted(module.name for module in pkgutil.iter_modules(path)):
        yield getattr(importlib.import_module(f"{package}.{name}"), attribute)
