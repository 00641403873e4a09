"""Cost Explorer's pages into exact amounts; whole queries or nothing.

There is no botocore paginator for GetCostAndUsage: the token is followed here. One page may
hold a part of a day, and pages may be empty.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from exporter.aws.clients import Aws, Deadline
from exporter.aws.cost_pages import Page, page_of
from exporter.aws.errors import AwsError, Kind, reading
from exporter.aws.partitions import billing_region
from exporter.core.amounts import Amounts, Units
from exporter.core.money import to_usd
from exporter.core.places import Account

METRICS = {
    "unblended": "UnblendedCost",
    "blended": "BlendedCost",
    "amortized": "AmortizedCost",
    "net_unblended": "NetUnblendedCost",
    "net_amortized": "NetAmortizedCost",
}
"""Cost types by their field of `Amounts`; all five cost the same one request."""

USAGE_RECORD_TYPES = ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation")
"""Record types that follow usage; every other one is a tax, credit, refund, support charge or fee."""

NON_USAGE_FILTER: Mapping[str, Any] = {
    "Not": {"Dimensions": {"Key": "RECORD_TYPE", "Values": list(USAGE_RECORD_TYPES)}}
}
"""A filter that leaves only what does not follow usage."""


_RESTARTS = 2
_MOST_PAGES = 100_000


Granularity = Literal["HOURLY", "DAILY", "MONTHLY"]


@dataclass(frozen=True, slots=True)
class DailyCosts:
    """A finished query over [start, end).

    `units` are by (day, key...), keys in the order of the group-by; `estimated` has each day
    that AWS answered for; `descriptions` are names by linked account id.
    """

    units: Mapping[tuple[Any, ...], Units]
    estimated: Mapping[date, bool]
    descriptions: Mapping[str, str]
    pages: int
    full_page_groups: int | None
    """Groups on the fullest page that was followed by another; None if there was one page."""
    seconds: float
    """From the first request to the last answer."""

    @property
    def amounts(self) -> dict[tuple[Any, ...], Amounts]:
        """The same as `units`, in USD."""
        return {key: Amounts(*map(to_usd, units)) for key, units in self.units.items()}


@dataclass(slots=True)
class _Collected:
    units: dict[tuple[Any, ...], Units] = field(default_factory=dict)
    estimated: dict[date, bool] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """Each key once: a month of 1,000 accounts names every account 600 times."""
    pages: int = 0
    full_page_groups: int | None = None


def daily_costs(
    aws: Aws,
    payer: Account | None,
    start: date,
    end: date,
    group_by: Sequence[str | tuple[str, str]],
    *,
    granularity: Granularity = "DAILY",
    partition: str = "aws",
    record_filter: Mapping[str, Any] | None = None,
    billing_view_arn: str | None = None,
    budget: str | None = None,
    deadline: Deadline | None = None,
) -> DailyCosts:
    """Cost over [start, end) by up to two keys, all pages and cost types; by month, its day is the first asked for.

    By hour, `start`, `end` and the days of the answer are moments on the hour (a `datetime` is a `date`).

    A key is a dimension, or a pair such as ("TAG", "team"), whose values come back as `team$platform`.
    Every page is a paid request. AwsError on any failure; nothing of a failed query is returned.
    """
    region = billing_region("ce", partition)
    params: dict[str, Any] = {
        "TimePeriod": {"Start": _text(start), "End": _text(end)},
        "Granularity": granularity,
        "Metrics": list(METRICS.values()),
        "GroupBy": [
            {"Type": kind, "Key": key}
            for kind, key in (("DIMENSION", key) if isinstance(key, str) else key for key in group_by)
        ],
    }
    if record_filter:
        params["Filter"] = record_filter
    if billing_view_arn:
        params["BillingViewArn"] = billing_view_arn

    for restart in range(_RESTARTS + 1):
        try:
            return _all_pages(aws, payer, params, region, len(group_by), budget, deadline)
        except AwsError as error:
            # The data moved while paging: the token is void, and so is what was read under it.
            if error.code != "RequestChangedException" or restart == _RESTARTS:
                raise
    raise AssertionError("unreachable")


def _text(at: date) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if isinstance(at, datetime) else at.isoformat()


def _all_pages(
    aws: Aws,
    payer: Account | None,
    params: Mapping[str, Any],
    region: str,
    keys: int,
    budget: str | None,
    deadline: Deadline | None,
) -> DailyCosts:
    collected = _Collected()
    token: str | None = None
    seen: set[str] = set()
    began = time.monotonic()
    while True:
        asked = dict(params, NextPageToken=token) if token else params
        answer = aws.call(payer, "ce", "GetCostAndUsage", region, asked, budget=budget, deadline=deadline)
        page = page_of(answer)
        groups = _add_page(collected, page, keys)
        collected.pages += 1
        token = page.next_page_token
        if not token:
            return DailyCosts(
                collected.units,
                collected.estimated,
                collected.descriptions,
                collected.pages,
                collected.full_page_groups,
                time.monotonic() - began,
            )
        collected.full_page_groups = max(collected.full_page_groups or 0, groups)
        if token in seen or collected.pages >= _MOST_PAGES:
            raise AwsError(Kind.MALFORMED_RESPONSE, "Cost Explorer repeats a page token")
        seen.add(token)


def _add_page(collected: _Collected, page: Page, keys: int) -> int:
    """Add a page and return its number of groups."""
    count = 0
    units, texts = collected.units, collected.texts
    with reading("Cost Explorer's answer"):
        for period in page.results_by_time:
            day = period.first
            collected.estimated[day] = collected.estimated.get(day, False) or period.estimated
            for group in period.groups:
                if len(group.keys) != keys:
                    raise ValueError(f"a group has {len(group.keys)} keys, not {keys}")
                key = (day, *[texts.setdefault(text, text) for text in group.keys])
                if key in units:
                    raise ValueError(f"the key {key} came twice")
                units[key] = group.metrics.units()
            count += len(period.groups)
        collected.descriptions.update(page.descriptions())
    return count
