"""Metric families and samples."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

_METRIC_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family; calling it makes a `Sample` and checks the labels."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    type: Literal["gauge", "counter", "histogram"] = "gauge"
    is_summable: bool = True
    """Whether values of several series have a meaning as one: not of timestamps, scores, ratios and infos."""

    def __post_init__(self) -> None:
        """Refuse names that Prometheus' conventions reject."""
        if not _METRIC_NAME.fullmatch(self.name) or self.name.endswith("_total") != (self.type == "counter"):
            raise ValueError(f"{self.name} is not a conventional name for a {self.type}")

    def __hash__(self) -> int:
        """By the name alone: families are keys of every table of samples."""
        return hash(self.name)

    def __call__(self, value: float | Decimal, /, **labels: str) -> Sample:
        """A sample of this family; raises TypeError unless exactly the declared labels are given."""
        if len(labels) != len(self.labels) or not all(name in labels for name in self.labels):
            raise TypeError(f"{self.name} has the labels {self.labels}, not {tuple(labels)}")
        return Sample(self, tuple(labels[name] for name in self.labels), float(value))


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one series; `values` are in the order of the family's labels."""

    family: Family
    values: tuple[str, ...]
    value: float


def info_label(key: str) -> str:
    """The label of a tag key, e.g. `tag_cost_center` of `cost-center`."""
    return "tag_" + re.sub(r"[^a-zA-Z0-9_]", "_", key)


@dataclass(frozen=True, slots=True)
class Folded:
    """How many series were summed up as `other`, or left out, to be yielded beside samples."""

    series: int
