"""Cost by hour of the last fourteen days from Cost Explorer, for organizations that have hourly granularity on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal

from pydantic import Field

from exporter.aws.meter import COST_EXPLORER_REQUEST_USD, HOURLY_USAGE_RECORD
from exporter.core.fields import CollectorSettings, Duration
from exporter.core.metric import Sample
from exporter.core.moments import start_of_day
from exporter.core.places import Scope, Target
from exporter.cost.queries import ask_costs
from exporter.cost.settings import cost_is_exported
from exporter.cost.slices import remember_page, slice_start
from exporter.cube import hours
from exporter.cube.hour_reading import (
    HOURS_A_DAY,
    KnownHours,
    answered_hours,
    hours_between,
    hours_taken,
    hours_to_read,
    month_of_pages,
)
from exporter.cube.hours import HOURS_KEPT, WHOLE_ORGANIZATION
from exporter.declarations.calls import PaidCall, Scale
from exporter.declarations.collector import Collector
from exporter.declarations.context import Context

log = logging.getLogger(__name__)

_DAY = timedelta(days=1)
_ASSUMED_RECORDS = 5  # line items of a service in an account and hour
_GROUPS_FACT = "cost_hours_groups_a_day"
_BY_ACCOUNT_FACT = "cost_hours_by_account"


class CostHoursSettings(CollectorSettings):
    """Cost by hour, where AWS hosts it: an option of Cost Explorer that AWS bills by usage record."""

    interval: Duration = Field(
        default=timedelta(hours=6),
        description="Time between two reads of the newest days; older ones are read again where their cost changed.",
    )
    accounts: bool = Field(
        default=False,
        description="By account and service; otherwise by service of the whole organization, which is fewer pages.",
    )
    usage_records: int | None = Field(
        default=None,
        ge=0,
        description="Hourly usage records of 14 days, as AWS estimates them in Cost Management preferences; for `plan`.",
    )


Ctx = Context[CostHoursSettings]


def collect(ctx: Ctx, target: Target) -> Iterable[Sample]:
    """Read what is due, one committed slice at a time, the newest days first."""
    while ctx.deadline is None or ctx.deadline.remaining() > 0:
        now = ctx.clock()
        found = _known(ctx, now).next_days(now, ctx.settings.interval)
        if found is None:
            break
        start, end = found
        start = slice_start(ctx.ledger, ctx.ledger.facts.get(_GROUPS_FACT) or 0, start, end)
        _read(ctx, target, start, end, now)
    return ()


def due(ctx: Ctx, target: Target) -> datetime:
    """When the first of the days has to be read."""
    now = ctx.clock()
    moments = [at for _, at in _known(ctx, now).due(now, ctx.settings.interval)]
    return max(now, min(moments, default=now + ctx.settings.interval))


def _known(ctx: Ctx, now: datetime) -> KnownHours:
    first, end = hours_to_read(now)
    states = ctx.ledger.reads.day_states(first.date(), now.date() + _DAY)
    changes = {day: state.changes for day, state in states.items()}
    if ctx.ledger.facts.get(_BY_ACCOUNT_FACT) != int(ctx.settings.accounts):
        return KnownHours({}, changes)
    return KnownHours(hours.read_hours(ctx.ledger, first, end), changes)


def _read(ctx: Ctx, target: Target, first: date, end: date, now: datetime) -> None:
    """Ask for the hours of days that are over and still there, and commit those that AWS answers for."""
    oldest, newest = hours_to_read(now)
    start, stop = max(start_of_day(first), oldest), min(start_of_day(end), newest)
    # As they are before the request: what changes meanwhile is looked at again.
    states = ctx.ledger.reads.day_states(first, end)
    answer = ask_costs(
        ctx,
        target,
        start,
        stop,
        ("LINKED_ACCOUNT", "SERVICE") if ctx.settings.accounts else ("SERVICE",),
        granularity="HOURLY",
        # The deadline ends an attempt between slices: what is paid for is taken.
        deadline=None,
    )
    answered = answered_hours(start, stop, answer.estimated)
    known = hours.read_hours(ctx.ledger, start, stop)
    taken = hours_taken(hours_between(start, stop), answered, known.keys())
    costs = {
        (hour, account[0] if account else WHOLE_ORGANIZATION, service): units
        for (hour, *account, service), units in answer.units.items()
        if hour in answered
    }
    per_day = Counter(hour.date() for hour, _, _ in costs)
    changes = {day: state.changes for day, state in states.items()}
    with ctx.ledger.transaction():
        hours.commit(ctx.ledger, "cost_explorer", now, taken, costs, cost_changes=changes)
        ctx.ledger.facts.remember(_GROUPS_FACT, max(per_day.values(), default=0))
        ctx.ledger.facts.remember(_BY_ACCOUNT_FACT, int(ctx.settings.accounts))
        remember_page(ctx.ledger, answer)
    ctx.committed()
    log.info(
        "cost is read by hour",
        extra={
            "first_hour": start,
            "hours": len(answered),
            "keys": len(costs),
            "pages": answer.pages,
            "seconds": round(answer.seconds, 1),
            "usd": answer.pages * COST_EXPLORER_REQUEST_USD,
        },
    )


def paid_calls(settings: CostHoursSettings, scale: Scale) -> Iterable[PaidCall]:
    """The pages of a 30-day month, and what AWS bills for the hours that it hosts."""
    yield PaidCall(
        service="ce",
        operation="GetCostAndUsage",
        per_month=month_of_pages(settings.accounts, scale, settings.interval),
        note="cost of each hour by account and service"
        if settings.accounts
        else "cost of each hour by service",
    )
    given = settings.usage_records
    records = (
        given if given is not None else scale.keys * HOURS_A_DAY * (HOURS_KEPT // _DAY) * _ASSUMED_RECORDS
    )
    yield PaidCall(
        service="ce",
        operation=HOURLY_USAGE_RECORD,
        per_month=Decimal(records),
        note="billed by AWS by usage record while hourly granularity is on, with or without requests"
        + ("" if given is not None else "; assumed"),
        is_request=False,
    )


COLLECTOR = Collector(
    name="cost_hours",
    help="Cost by hour of the last 14 days; needs hourly granularity, which AWS bills by usage record.",
    scope=Scope.PAYER,
    settings=CostHoursSettings,
    families=(),
    iam_actions=("ce:GetCostAndUsage",),
    collect=collect,
    paid_calls=paid_calls,
    due=due,
    rests=cost_is_exported,
)
