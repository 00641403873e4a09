"""One attempt at a unit of collection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from exporter.declarations.collector import AnyCollector
from exporter.declarations.context import Context


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a unit is read with."""

    collector: AnyCollector
    context: Context[Any]
    interval: timedelta
    """How long samples are good for; that of the context is shorter when the attempt is early."""
    is_early: bool = False
    """Whether what is due is taken for due already."""
