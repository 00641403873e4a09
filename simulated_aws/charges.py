"""A charge: what it is for, and its amounts as integers in units of 1e-10 USD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

METRICS = (
    "UnblendedCost",
    "BlendedCost",
    "AmortizedCost",
    "NetUnblendedCost",
    "NetAmortizedCost",
    "UsageQuantity",
)
LIST_COST = "ListCost"
UNIT = 10**10

Amounts = tuple[int, int, int, int, int, int]
"""The amounts of a charge in the order of METRICS."""


@dataclass(frozen=True, slots=True, eq=False)
class CostKey:
    """What a charge is for; compared by identity, because one object exists per distinct charge."""

    account_id: str
    service: str
    record_type: str
    region: str
    usage_type: str
    tags: tuple[tuple[str, str], ...] = ()
    billing_entity: str = "AWS"


def plain(value: int, quantity: int) -> Amounts:
    """The amounts of what no commitment covers, with the discount that the organisation has on everything."""
    net = value * 97 // 100
    return (value, value, value, net, net, value * quantity)


def list_cost(record_type: str, amounts: Sequence[int]) -> int:
    """What usage would have cost at list prices, in units; 0 for what is no usage."""
    if record_type in ("Usage", "SavingsPlanCoveredUsage"):
        return amounts[0]
    if record_type == "DiscountedUsage":
        return amounts[2] * 100 // 64
    return 0
