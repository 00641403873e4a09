"""What a charge is under the dimensions that it does not hold itself: operation, and tags and cost categories as they
were applied at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from simulated_aws.service_catalog import operation_of

COST_CATEGORIES: Mapping[str, Mapping[str, str]] = {
    "CostCenter": {"checkout": "Shop", "data": "Analytics", "research": "Analytics", "platform": "Overhead"}
}
"""Each category's values by the value of the tag `team`, before anybody changes them."""


class _Tagged(Protocol):
    @property
    def tags(self) -> tuple[tuple[str, str], ...]: ...


class _Used(Protocol):
    @property
    def usage_type(self) -> str: ...


def operation(key: _Used) -> str:
    """What Cost Explorer reports as the operation of a charge."""
    return operation_of(key.usage_type)


@dataclass(frozen=True, slots=True)
class Rules:
    """A cost category: the values by the value of the tag `team`, and the one of all others."""

    values: tuple[tuple[str, str], ...]
    default: str = ""


@dataclass(frozen=True, slots=True)
class Allocation:
    """Which tags and cost categories the cost of a day has; `inactive` are the tag keys that it has not yet."""

    inactive: frozenset[str] = frozenset()
    categories: tuple[tuple[str, Rules], ...] = tuple(
        (name, Rules(tuple(values.items()))) for name, values in COST_CATEGORIES.items()
    )

    def tags(self, key: _Tagged) -> dict[str, str]:
        """The tags of a charge."""
        return {name: value for name, value in key.tags if name not in self.inactive}

    def tag(self, name: str, key: _Tagged) -> str:
        """The value of a tag, empty where the charge has none."""
        return self.tags(key).get(name, "")

    def category(self, name: str, key: _Tagged) -> str:
        """The value of a cost category, empty where no rule fits; they see tags that are not active, too."""
        rules = dict(self.categories).get(name)
        return dict(rules.values).get(dict(key.tags).get("team", ""), rules.default) if rules else ""


Allocate = Callable[[date, datetime], Allocation]
"""The allocation of a day's cost as AWS has applied it at a moment."""

_ALWAYS = Allocation()


def unchanged(day: date, at: datetime) -> Allocation:
    """The allocation where no tag was activated lately and no category changed."""
    return _ALWAYS
