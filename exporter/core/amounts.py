"""Amounts of cost, by cost type and charge class."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal, NamedTuple


class Amounts(NamedTuple):
    """The five cost types of Cost Explorer for one key, in USD, as exact decimals."""

    unblended: Decimal = Decimal(0)
    blended: Decimal = Decimal(0)
    amortized: Decimal = Decimal(0)
    net_unblended: Decimal = Decimal(0)
    net_amortized: Decimal = Decimal(0)


class Units(NamedTuple):
    """The five cost types as integers of 1e-10 USD: what large answers are kept as."""

    unblended: int = 0
    blended: int = 0
    amortized: int = 0
    net_unblended: int = 0
    net_amortized: int = 0


AMOUNTS = Amounts._fields
"""The cost types, in the order of the ledger's columns."""

NET_COST_TYPES = ("net_unblended", "net_amortized")
"""The cost types that every source has: FOCUS has no others."""

CostSource = Literal["cost_explorer", "data_export"]
"""Where cost is from."""


class CostTypeNotAvailableError(ValueError):
    """Cost was asked for in a cost type that the source of a day does not have."""


class ChargeClass(StrEnum):
    """Whether a charge follows usage, or is tax, credit, refund, support or a fee."""

    USAGE = "usage"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class CostRow:
    """Cost of one service in one linked account on one UTC day, as AWS reported it at `observed_at`."""

    day: date
    account_id: str
    service: str
    charge_class: ChargeClass
    amounts: Amounts
    estimated: bool
    observed_at: datetime
