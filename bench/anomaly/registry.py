"""Classes of cost series, registered by their functions."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bench.anomaly.draft import Draft, Draw

Drawn = Callable[[Draw], Draft]
Mix = Mapping[str, float]

EVERYDAY: Mix = MappingProxyType({"spike": 6, "dip": 1.5, "drop": 1.5, "shift": 1.5, "ramp": 0.5})
"""How often each kind of event is tried where a class says nothing else."""
SPIKES: Mix = MappingProxyType({"spike": 1})
"""Where cost is often zero or low by itself, only more is news."""


@dataclass(frozen=True, slots=True)
class CostClass:
    """A kind of everyday series; `events` weighs the kinds that are put into it.

    `own_events` says that the class labels an event that it draws itself.
    """

    name: str
    subject: str
    text: str
    draw: Drawn
    events: Mix
    own_events: bool


_CLASSES: dict[str, CostClass] = {}


def cost_class(name: str, *, events: Mix = EVERYDAY, own_events: bool = False) -> Callable[[Drawn], Drawn]:
    """Register a class under this name; its text is the docstring, its subject the file."""

    def register(draw: Drawn) -> Drawn:
        if name in _CLASSES:
            raise ValueError(f"two classes are called {name!r}")
        subject = draw.__module__.rpartition(".")[2]
        _CLASSES[name] = CostClass(name, subject, (draw.__doc__ or "").strip(), draw, events, own_events)
        return draw

    return register


def classes() -> Mapping[str, CostClass]:
    """Every class by name, in the order of files and of functions in them."""
    package = importlib.import_module("bench.anomaly.classes")
    for module in sorted(found.name for found in pkgutil.iter_modules(package.__path__)):
        importlib.import_module(f"{package.__name__}.{module}")
    return MappingProxyType(dict(sorted(_CLASSES.items(), key=lambda item: item[1].subject)))
