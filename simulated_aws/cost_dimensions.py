"""What a charge is under the dimensions that it does not hold itself: operation, billing entity, cost categories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from simulated_aws.service_catalog import operation_of

COST_CATEGORIES: Mapping[str, Mapping[str, str]] = {
    "CostCenter": {"checkout": "Shop", "data": "Analytics", "research": "Analytics", "platform": "Overhead"}
}
"""Each category's values by the value of the tag `team`."""


class _Tagged(Protocol):
    @property
    def tags(self) -> tuple[tuple[str, str], ...]: ...


class _Used(Protocol):
    @property
    def usage_type(self) -> str: ...


def operation(key: _Used) -> str:
    """What Cost Explorer reports as the operation of a charge."""
    return operation_of(key.usage_type)


def tag(name: str, key: _Tagged) -> str:
    """The value of a tag, empty where the charge has none."""
    return dict(key.tags).get(name, "")


def cost_category(name: str, key: _Tagged) -> str:
    """The value of a cost category, empty where no rule fits."""
    return COST_CATEGORIES.get(name, {}).get(tag("team", key), "")
