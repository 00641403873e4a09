"""The state of spend in one answer, for the digest: cost, budget, projection, movers and waste."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import Field

from exporter.anomalies import messages
from exporter.api.source import Endpoint, Source
from exporter.collectors.cost import COLLECTOR as COST
from exporter.core.fields import StrictModel
from exporter.core.moments import days_between, month_start
from exporter.core.summary import Listed, Mover, Movers, Span, Summary, Waste
from exporter.cost.projection_view import project
from exporter.cost.refresh_plan import refreshed_at
from exporter.ledger.file import Ledger

_DAY = timedelta(days=1)
_WEEK = timedelta(days=7)
_LISTED_FOR = timedelta(days=14)  # a weekly digest that is late, or one that had no answer, still finds them
_CENT = Decimal("0.01")
_UNUSED = "aws_resources_unused_estimated_monthly_cost_usd"
_UNUSED_COUNT = "aws_resources_unused"

Costs = Mapping[tuple[str, str], Decimal]
"""USD by account id and service."""


class Query(StrictModel):
    """How much of it."""

    movers: int = Field(default=5, ge=0, le=50, description="How many of the biggest movers.")


def answer(source: Source, query: Query) -> dict[str, Any]:
    """The summary at `source.now`."""
    return summarize(source, query.movers).model_dump(mode="json")


def summarize(source: Source, movers: int) -> Summary:
    """What is known at `source.now`, without asking AWS."""
    ledger, today = source.ledger, source.now.date()
    yesterday = today - _DAY
    cost_type = source.config.settings(COST).cost_type
    assessed = ledger.cost.assessed_day(source.now)
    complete = ledger.cost.complete_day(source.now) or yesterday - _DAY
    first = min(month_start(today), complete - 3 * _WEEK, today - 3 * _WEEK)
    states = ledger.reads.day_states(first, today + _DAY)
    read = {day for day, state in states.items() if state.read_at is not None}

    def span(start: date, end: date) -> Span:
        known = set(days_between(start, end + _DAY)) <= read
        usd = sum(_costs(ledger, start, end, cost_type).values(), Decimal(0)) if known else None
        return Span(start=start, end=end, usd=usd, settled=assessed is not None and end <= assessed)

    projected = project(ledger, source.now, cost_type)
    budget = source.config.thresholds.organization
    waste = _waste(source)
    return Summary(
        now=source.now,
        read_at=refreshed_at(ledger, source.now),
        cost_type=cost_type,
        yesterday=span(yesterday, yesterday),
        last_7_days=span(complete - _WEEK + _DAY, complete),
        previous_7_days=span(complete - 2 * _WEEK + _DAY, complete - _WEEK),
        month_to_date=_month_to_date(span, today, read),
        budget_day_usd=budget.day,
        budget_month_usd=budget.month,
        projected_month_usd=_cents(sum(projected.month.values())) if projected else None,
        settled_days=tuple(span(day, day) for day in days_between(assessed - _WEEK + _DAY, assessed + _DAY))
        if assessed
        else (),
        movers_day=_movers(source, assessed, _DAY, read, cost_type, movers),
        movers_week=_movers(source, assessed, _WEEK, read, cost_type, movers),
        waste_usd=sum((part.usd for part in waste), Decimal(0)) if waste is not None else None,
        waste=tuple(waste[:movers]) if waste is not None else (),
        listed=_listed(source, source.now - _LISTED_FOR),
    )


def _month_to_date(span: Callable[[date, date], Span], today: date, read: set[date]) -> Span:
    # Today is not read yet just after midnight: the month to date is then that of yesterday.
    first = month_start(today)
    return span(first, today if today in read or today == first else today - _DAY)


def _costs(ledger: Ledger, start: date, end: date, cost_type: str) -> Costs:
    return ledger.cost.sums(start, end + _DAY, cost_type)


def _movers(
    source: Source, assessed: date | None, length: timedelta, read: set[date], cost_type: str, count: int
) -> Movers | None:
    if assessed is None:
        return None
    start = assessed - length + _DAY
    before_start, before_end = start - length, start - _DAY
    if not set(days_between(before_start, assessed + _DAY)) <= read:
        return None
    now = _costs(source.ledger, start, assessed, cost_type)
    before = _costs(source.ledger, before_start, before_end, cost_type)
    changes = {key: now.get(key, Decimal(0)) - before.get(key, Decimal(0)) for key in {*now, *before}}
    # What moved by less than a cent would be shown as having moved by nothing.
    biggest = sorted(
        (key for key, change in changes.items() if abs(change) >= _CENT),
        key=lambda key: (-abs(changes[key]), key),
    )
    return Movers(
        start=start,
        end=assessed,
        before_start=before_start,
        before_end=before_end,
        top=tuple(
            Mover(
                account_id=account_id,
                account=source.account(account_id),
                service=service,
                usd=now.get((account_id, service), Decimal(0)),
                change_usd=changes[account_id, service],
            )
            for account_id, service in biggest[:count]
        ),
    )


def _listed(source: Source, since: datetime) -> tuple[Listed, ...]:
    if not source.config.anomalies.enabled:
        return ()
    return tuple(
        Listed(
            day=each.day,
            account_id=each.account_id,
            account=source.account(each.account_id),
            service=each.service,
            kind=each.kind,
            usd=_cents(each.usd),
            decided_at=each.decided_at,
        )
        for each in messages.listed(source.ledger, since)
    )


def _waste(source: Source) -> Sequence[Waste] | None:
    """Unused resources by account, type and reason; None where the inventory is off."""
    sums: defaultdict[tuple[str, str, str, str], float] = defaultdict(float)
    found = False
    for sample in source.samples:
        # Counts are served without a price, and zeros where nothing is unused.
        found = found or sample.family.name in (_UNUSED, _UNUSED_COUNT)
        if sample.family.name == _UNUSED:
            labels = dict(zip(sample.family.labels, sample.values, strict=True))
            key = (labels["account_id"], labels["account"], labels["resource_type"], labels["reason"])
            sums[key] += sample.value
    if not found:
        return None
    parts = [
        Waste(account_id=account_id, account=account, resource_type=kind, reason=reason, usd=_cents(usd))
        for (account_id, account, kind, reason), usd in sums.items()
    ]
    return sorted(parts, key=lambda part: (-part.usd, part.account_id, part.resource_type, part.reason))


def _cents(usd: float) -> Decimal:
    return Decimal(repr(float(usd))).quantize(_CENT)


ENDPOINT = Endpoint(
    name="summary",
    help="Spend against budget and projection, its movers, and waste",
    query=Query,
    answer=answer,
    families=(_UNUSED, _UNUSED_COUNT),
    is_cached=lambda query: False,  # it holds the moment
)
