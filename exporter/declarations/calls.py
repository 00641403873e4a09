"""The requests that a collector makes, for pricing a configuration before it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from exporter.core.places import Target


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of an installation, for pricing a configuration before it runs."""

    accounts: int
    services: int
    keys: int
    """Pairs of account and service with cost on a day."""
    regions: int
    groups_per_page: int
    usage_metrics: int = 0
    """CloudWatch metrics that a poll of usage asks for."""
    daily_usage_metrics: int = 0
    """Those that are published once a day."""
    groups: tuple[tuple[str, int], ...] = ()
    """Groups a day of queries of Cost Explorer, by their names, as far as any was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckCall:
    """A free request of a unit that shows whether it may be read; `check --aws` sends it."""

    service: str
    operation: str
    params: Callable[[Target], Mapping[str, Any]] = lambda target: {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidCall:
    """A priced request that a collector makes, with the number of what is priced in a 30-day month.

    That is requests, and metrics for GetMetricData.
    """

    service: str
    operation: str
    per_month: Decimal
    note: str
    may_wait: bool = False
    """Whether it is sent only as far as the ceilings leave room beside all that is not."""
    is_request: bool = True
    """False of what AWS bills beside requests: it is priced, and held against no ceiling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeCall:
    """A request that no ceiling counts, with its expected number in a 30-day month; each is an event in CloudTrail."""

    service: str
    operation: str
    per_month: Decimal
    note: str
    usd_each: Decimal = Decimal(0)
    """What AWS charges for one, where that is too little for a ceiling (S3), or shows only afterwards (Athena)."""
    is_request: bool = True
    """False of what AWS services send to each other and bill to the account: it is priced, and no request of ours."""
