"""Into which slices of days a query is cut, so that little is paid twice if it does not come to its end.

A slice is read and committed as a whole. It is expected to take no more than 20 pages and 30 seconds, from
what the last pages took; both are remembered in the ledger. It holds at least one day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from exporter.aws.cost_explorer import DailyCosts
from exporter.core.moments import month_start
from exporter.cost.refresh_plan import (
    ASSUMED_GROUPS_PER_PAGE,
    FIRST_SLICE_DAYS,
    GROUPS_A_DAY_FACTS,
    PAGE_MILLISECONDS_FACT,
    PAGE_SIZE_FACT,
    CostPart,
    CostQuery,
    days_a_slice,
    groups_a_month,
    known_scale,
    non_usage_groups_a_day,
    pages_a_slice,
)
from exporter.ledger.file import Ledger

_MOST_MONTHS = 14  # that Cost Explorer answers for


@dataclass(frozen=True, slots=True)
class Slice:
    """The newest days of a query that are read together, [start, end)."""

    query: CostQuery
    start: date

    @property
    def end(self) -> date:
        """The day after its last."""
        return self.query.end

    @property
    def is_last(self) -> bool:
        """Whether nothing of the query is left after it."""
        return self.start == self.query.start


def newest_slice(ledger: Ledger, query: CostQuery, now: datetime) -> Slice:
    """The part of `query` to read now; the rest of it is found again by `next_query`."""
    if query.part.is_monthly:
        return Slice(query, max(query.start, _first_month(ledger, query, now)))
    if query.only is not None:
        groups = known_scale(ledger, now).groups_of(query.only.kind, len(query.only.names))
    else:
        groups = _groups_a_day(ledger, query.part, now)
    return Slice(query, slice_start(ledger, groups, query.start, query.end))


def slice_start(ledger: Ledger, groups_a_day: int, start: date, end: date) -> date:
    """The first of the newest days of [start, end) that are read together; `groups_a_day` is 0 while that is not known."""
    if groups_a_day:
        size = ledger.facts.get(PAGE_SIZE_FACT) or ASSUMED_GROUPS_PER_PAGE
        days = days_a_slice(groups_a_day, size, pages_a_slice(ledger))
    else:
        days = FIRST_SLICE_DAYS
    return max(start, end - timedelta(days=days))


def _first_month(ledger: Ledger, query: CostQuery, now: datetime) -> date:
    """The first day of the oldest month that is compared together with the newest of a query."""
    scale = known_scale(ledger, now)
    groups = ledger.facts.get(GROUPS_A_DAY_FACTS[query.part]) or groups_a_month(
        query.part, scale.keys, scale.accounts
    )
    months = min(_MOST_MONTHS, days_a_slice(groups, scale.groups_per_page, scale.pages_a_slice))
    return month_start(query.end - timedelta(days=1), months - 1)


def _groups_a_day(ledger: Ledger, part: CostPart, now: datetime) -> int:
    """How many groups a day of a query has at most; 0 while that is not known."""
    seen = ledger.facts.get(GROUPS_A_DAY_FACTS[part]) or 0
    scale = known_scale(ledger, now)
    match part:
        case CostPart.COSTS | CostPart.REREAD:
            return max(seen, scale.keys)
        case CostPart.SCAN_ACCOUNTS:
            return max(seen, scale.accounts)
        case CostPart.SCAN_SERVICES:
            return max(seen, scale.services)
        case CostPart.OTHER:
            # Days differ: most of these charges come on the first of a month.
            return max(seen, non_usage_groups_a_day(scale.accounts))
        case CostPart.MONTHS | CostPart.MONTHS_OTHER:
            raise ValueError(f"{part} has groups by month")


def remember_pages(
    ledger: Ledger,
    query: CostQuery,
    days: Collection[date],
    keys: Iterable[tuple[Any, ...]],
    answer: DailyCosts,
) -> None:
    """Learn from the answer to a slice of days, or of months; `keys` are those of its groups, each beginning with its day."""
    if query.only is None:
        counts = Counter(key[0] for key in keys)
        mean, most = -(-counts.total() // len(days)), max(counts.values(), default=0)
        groups = mean if query.part is CostPart.OTHER else most
        ledger.facts.remember(GROUPS_A_DAY_FACTS[query.part], groups)
    remember_page(ledger, answer)


def remember_page(ledger: Ledger, answer: DailyCosts) -> None:
    """Learn from an answer how many groups a page has, and how long one takes."""
    if answer.full_page_groups:
        ledger.facts.remember(PAGE_SIZE_FACT, answer.full_page_groups)
    milliseconds = round(answer.seconds * 1000 / answer.pages)
    before = ledger.facts.get(PAGE_MILLISECONDS_FACT)
    # One page that hung must not make every following slice a short one.
    ledger.facts.remember(
        PAGE_MILLISECONDS_FACT, milliseconds if before is None else (before + milliseconds) // 2
    )
