"""What a format of exports says of a line, as SQL over one of its files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from exporter.exports.line_columns import LineColumns

COST_TYPES = ("unblended", "blended", "amortized", "net_unblended", "net_amortized")
AMOUNTS = (*COST_TYPES, "list_cost")
"""The columns of money in a month's files, in units of 1e-10 USD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSql:
    """SQL expressions over a file; keys may be NULL on a line, amounts are NULL where the format has no such cost type."""

    start: str
    period_start: str
    currency: str
    line_type: str
    """The line type of CUR, also where the format has another word for it."""
    account_id: str
    product_code: str
    product_name: str
    region: str
    usage_type: str
    operation: str
    billing_entity: str
    resource: str
    usage: str
    amounts: Mapping[str, str]
    """By the names of AMOUNTS."""
    split: str = "FALSE"
    """Whether the line only divides the cost of others (EKS, ECS): no part of any total."""
    arn: str
    """The Savings Plan or reservation of the line; NULL or empty without one."""
    end_time: str
    splits: Mapping[str, str]
    """By the names of the columns of split.parquet; empty where the format has no split cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFormat:
    """One kind of export."""

    title: str
    needed: Mapping[str, str]
    """Every column that is read, in lower case, with the type that the text of a CSV gets (MAP for JSON)."""
    required: Collection[str]
    refusal: Callable[[LineColumns], str | None]
    """Why a file is of another kind, and what to do; None if it is not known to be one."""
    names_of: Callable[[str], tuple[tuple[str, tuple[str, ...]], ...]]
    """The maps that may hold `tag:<key>` or `cost_category:<name>`, with its names there."""
    sql: Callable[[LineColumns], LineSql]
    unavailable: Callable[[LineColumns, Collection[str]], frozenset[str]]
    """The names of AMOUNTS that a file with these line types has no columns for."""


def first_of(*expressions: str) -> str:
    """COALESCE."""
    return f"coalesce({', '.join(expressions)})"


def or_zero(*expressions: str) -> str:
    """The first that is not NULL, else 0."""
    return first_of(*expressions, "0")
