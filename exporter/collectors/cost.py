"""Cost by linked account and service, from Cost Explorer into the ledger, and the views of it.

Every page is paid, so the ledger decides what is asked: `next_query` names the one query that is
most worth its price now, `collect` reads the newest slice of it, commits that and asks again. Killed
or cut off anywhere, at most one slice is paid twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import Any

from exporter.anomalies import families as anomaly_families
from exporter.anomalies import usage_families
from exporter.anomalies.named_services import named_services
from exporter.aws.cost_explorer import NON_USAGE_FILTER, DailyCosts
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import COST_EXPLORER_REQUEST_USD
from exporter.core.amounts import Units
from exporter.core.folding import fold_unnamed
from exporter.core.metric import Family, Folded, Sample
from exporter.core.moments import days_between, month_start, start_of_day
from exporter.core.places import Scope, Target
from exporter.cost import day_sums, older_months, projection_families, unit_costs, windows
from exporter.cost.pace import leaves_enough
from exporter.cost.queries import answered_days, ask_costs
from exporter.cost.refresh_plan import (
    PURPOSES,
    CostPart,
    CostQuery,
    assumed_scale,
    first_fill_pages,
    history_query,
    known_scale,
    missing_days,
    month_of_pages,
    next_query,
    refreshed_at,
)
from exporter.cost.settings import CostSettings, cost_is_exported
from exporter.cost.slices import Slice, newest_slice, remember_pages
from exporter.cost.unavailable import first_available, remember_available, remember_unavailable
from exporter.declarations.calls import PaidCall, Scale
from exporter.declarations.collector import Collector
from exporter.declarations.context import Context
from exporter.declarations.sections import Sections
from exporter.declarations.view import View, ViewContext
from exporter.exports.giving_up import give_up_export
from exporter.ledger.file import Ledger
from exporter.ledger.pending import Origin
from exporter.ledger.reads import CostRead, RefreshRest

log = logging.getLogger(__name__)

_ANNOUNCED_DAYS = 31
_NEW_DAYS = 62


# Asking


def collect(ctx: Context[CostSettings], target: Target) -> Iterable[Sample]:
    """Bring the ledger up to date, one committed slice at a time; the views make the samples.

    Return between two slices once the attempt's deadline has passed; `due` is now then.
    """
    if ctx.settings.source == "data_export":
        _read_all(ctx, target, lambda now: history_query(ctx.ledger, ctx.settings, now))
        return ()
    if given_up := give_up_export(ctx.ledger, ctx.clock()):
        log.info("months of the data export are read from Cost Explorer again", extra={"months": given_up})
    missing, days = missing_days(ctx.ledger, ctx.settings, ctx.clock())
    if missing > _ANNOUNCED_DAYS:
        scale = assumed_scale(len(ctx.accounts))
        pages = first_fill_pages(ctx.settings, scale, ctx.clock().date())
        log.info(
            "the history of cost is read, newest day first",
            extra={
                "missing_days": missing,
                "days": days,
                "expected_usd": pages * COST_EXPLORER_REQUEST_USD,
                "accounts": scale.accounts,
                "assumed_services": scale.services,
            },
        )
    if older_months.requested_query(ctx.ledger, ctx.settings, ctx.clock()) is not None:
        # Who waits for certain days has agreed to their price, and to no more: what else is due follows.
        try:
            _read_all(ctx, target, lambda now: older_months.requested_query(ctx.ledger, ctx.settings, now))
        except AwsError as error:
            if error.kind is not Kind.STOPPED:
                # The answer is that they were not read; nothing else waits behind them.
                ctx.ledger.pending.drop(Origin.REQUEST)
            raise
        return ()
    _read_all(ctx, target, lambda now: _next_query(ctx, now, explain=True))
    return ()


def _read_all(
    ctx: Context[CostSettings], target: Target, find: Callable[[datetime], CostQuery | None]
) -> None:
    without_data: set[CostQuery] = set()  # a question without an answer is paid for once an attempt
    while ctx.deadline is None or ctx.deadline.remaining() > 0:
        now = ctx.clock()
        query = find(now)
        if query is None:
            break
        part = newest_slice(ctx.ledger, query, now)
        try:
            if query.part.is_monthly:
                _compare_months(ctx, target, part)
            else:
                _read_days(ctx, target, part)
        except AwsError as error:
            # Who waits for certain days gets the reason; else it is no failure that there is nothing.
            if error.kind is not Kind.DATA_UNAVAILABLE or query.pending is not None or query in without_data:
                raise
            without_data.add(query)
            if not remember_unavailable(ctx.ledger, part.start, part.end, now):
                raise
            log.info(
                "Cost Explorer has no data before this day yet", extra={"day": first_available(ctx.ledger)}
            )


def _next_query(ctx: Context[CostSettings], now: datetime, *, explain: bool = False) -> CostQuery | None:
    """What is worth its price now: what somebody waits for, then the refreshes, then what they leave alone."""
    requested = older_months.requested_query(ctx.ledger, ctx.settings, now)
    if (query := requested or next_query(ctx.ledger, ctx.settings, now)) is not None:
        return query
    older = older_months.next_query(ctx.ledger, _paced(ctx, now), now)
    if older is None or leaves_enough(ctx.aws.meter, _needed_usd(ctx, now), now):
        return older
    if explain:
        log.warning(
            "old days wait: the ceilings of cost leave no more than the refreshes need",
            extra={"part": older.part, "first_day": older.start, "last_day": older.end - timedelta(days=1)},
        )
    return None


def _paced(ctx: Context[CostSettings], now: datetime) -> CostSettings:
    """The settings with intervals of old days that the ceilings have room for."""
    limits = ctx.aws.meter.ceilings.limits("cost")
    return older_months.within_ceilings(
        ctx.settings, known_scale(ctx.ledger, now).as_scale(), limits, _needed_usd(ctx, now)
    )


def _needed_usd(ctx: Context[CostSettings], now: datetime) -> Decimal:
    """Dollars a month that the ceilings of cost keep for what must not wait."""
    if ctx.needed_usd is not None:
        return ctx.needed_usd()
    pages = month_of_pages(ctx.settings, known_scale(ctx.ledger, now).as_scale())
    return sum(pages.values(), Decimal(0)) * COST_EXPLORER_REQUEST_USD


_GROUP_BY: Mapping[CostPart, Sequence[str]] = {
    CostPart.COSTS: ("LINKED_ACCOUNT", "SERVICE"),
    CostPart.OTHER: ("LINKED_ACCOUNT", "SERVICE"),
    CostPart.SCAN_ACCOUNTS: ("LINKED_ACCOUNT",),
    CostPart.SCAN_SERVICES: ("SERVICE",),
    CostPart.MONTHS: ("LINKED_ACCOUNT", "SERVICE"),
    CostPart.MONTHS_OTHER: ("LINKED_ACCOUNT", "SERVICE"),
    CostPart.REREAD: ("LINKED_ACCOUNT", "SERVICE"),
}


def _ask(ctx: Context[CostSettings], target: Target, part: Slice) -> DailyCosts:
    query = part.query
    return ask_costs(
        ctx,
        target,
        part.start,
        part.end,
        _GROUP_BY[query.part],
        granularity="MONTHLY" if query.part.is_monthly else "DAILY",
        record_filter=_filter_of(query),
        budget=query.budget,
        # The deadline ends an attempt between slices: what is paid for is taken.
        deadline=None,
    )


def _compare_months(ctx: Context[CostSettings], target: Target, part: Slice) -> None:
    """Ask for the sums of months, and remember which of them have to be read again."""
    observed_at = ctx.clock()
    answer = _ask(ctx, target, part)
    asked = [start for start, _ in older_months.periods(part.start, part.end)]
    first = min(answer.estimated, default=part.end)
    # Before the organisation's first bill Cost Explorer may leave months out.
    if missing := [month for month in asked if month not in answer.estimated and month >= first]:
        raise AwsError(Kind.MALFORMED_RESPONSE, f"Cost Explorer's answer lacks the month from {missing[0]}")
    with ctx.ledger.transaction():
        moved = older_months.commit_comparison(
            ctx.ledger, part.query, part.start, part.end, answer.units, observed_at
        )
        remember_pages(ctx.ledger, part.query, asked, answer.units, answer)
    _log_read(part, answer, {"moved_months": [month.isoformat()[:7] for month in moved]})


def _read_days(ctx: Context[CostSettings], target: Target, part: Slice) -> None:
    """Ask for a slice and commit it; nothing of it is kept if a page fails for good."""
    observed_at = ctx.clock()
    query = part.query
    answer = _ask(ctx, target, part)
    days = answered_days(part.start, part.end, answer.estimated, observed_at.date())
    costs: Mapping[Any, Units] = answer.units
    if not answer.estimated.keys() <= days.keys():
        costs = {key: units for key, units in costs.items() if key[0] in days}
    ledger = ctx.ledger
    with ledger.transaction():
        _commit(ledger, part, observed_at, days, costs)
        # A name given by hand or found by discovery wins: it is the one on every other family.
        names = {
            account_id: name
            for account_id, name in answer.descriptions.items()
            if account_id not in ctx.names
        }
        ledger.accounts.name(names, observed_at.date())
        remember_pages(ledger, query, days, costs, answer)
        remember_available(ledger, part.start)
    ctx.committed()
    _log_read(part, answer)


def _log_read(part: Slice, answer: DailyCosts, more: Mapping[str, Any] = MappingProxyType({})) -> None:
    log.info(
        "cost is read",
        extra={
            "part": part.query.part,
            "first_day": part.start,
            "last_day": part.end - timedelta(days=1),
            "keys": len(answer.units),
            "pages": answer.pages,
            "seconds": round(answer.seconds, 1),
            "usd": answer.pages * COST_EXPLORER_REQUEST_USD,
            **more,
        },
    )


_DIMENSIONS = {"account": "LINKED_ACCOUNT", "service": "SERVICE"}


def _filter_of(query: CostQuery) -> Mapping[str, Any] | None:
    if query.only is not None:
        return {"Dimensions": {"Key": _DIMENSIONS[query.only.kind], "Values": list(query.only.names)}}
    return NON_USAGE_FILTER if query.part in (CostPart.OTHER, CostPart.MONTHS_OTHER) else None


def _commit(
    ledger: Ledger, part: Slice, observed_at: datetime, days: Mapping[date, bool], costs: Mapping[Any, Units]
) -> None:
    """Commit what was read; a scan, and a refresh, are done with their last slice only."""
    match part.query.part:
        case CostPart.COSTS | CostPart.REREAD if (only := part.query.only) is not None:
            ledger.reads.commit_subjects(CostRead(observed_at, days, costs), only.kind, only.names)
        case CostPart.COSTS | CostPart.REREAD:
            ledger.reads.commit(CostRead(observed_at, days, costs))
        case CostPart.OTHER:
            ledger.reads.commit_non_usage(CostRead(observed_at, days, costs))
        case CostPart.SCAN_SERVICES:
            ledger.reads.commit_scan("service", observed_at, days, costs, complete=part.is_last)
        case CostPart.SCAN_ACCOUNTS:
            ledger.reads.commit_scan("account", observed_at, days, costs, complete=part.is_last)
    if part.query.pending is not None:
        ledger.pending.shorten(part.query.pending, part.start)
    if part.query.is_turn:
        ledger.reads.mark_scan(older_months.turn_kind(part.query.part), observed_at)
    if not part.query.ends_refresh:
        return
    if part.is_last:
        ledger.reads.mark_scan("refresh", observed_at)
        ledger.reads.keep_rest(None)
    else:
        began_at = part.query.began_at or observed_at
        ledger.reads.keep_rest(RefreshRest(part.query.part, part.query.start, part.start, began_at))


def due(ctx: Context[CostSettings], target: Target) -> datetime:
    """Now while anything is missing; otherwise an interval after the last refresh, or when old days have their turn."""
    now = ctx.clock()
    if ctx.settings.source == "data_export":
        waiting = history_query(ctx.ledger, ctx.settings, now) is not None
        return now if waiting else now + ctx.settings.interval
    if _next_query(ctx, now) is not None:
        return now
    refreshed = refreshed_at(ctx.ledger, now)
    if refreshed is None:
        return now
    refresh = refreshed + ctx.settings.interval
    older = older_months.due_at(ctx.ledger, _paced(ctx, now), now)
    # What is due already and has to wait for the ceilings waits for the next refresh.
    return min(refresh, older) if older is not None and older > now else refresh


def paid_calls(settings: CostSettings, scale: Scale) -> Iterable[PaidCall]:
    """Requests of a 30-day month, as the refresh plan would make them; with an export only a first fill is paid."""
    if settings.source == "data_export":
        return
    refreshes, older = month_of_pages(settings, scale), older_months.month_of_pages(settings, scale)
    purposes = {**PURPOSES, CostPart.OTHER: older_months.OTHER_PURPOSE}
    for pages, notes, may_wait in ((refreshes, PURPOSES, False), (older, purposes, True)):
        for part in CostPart:
            if number := pages.get(part, Decimal(0)):
                yield PaidCall(
                    service="ce",
                    operation="GetCostAndUsage",
                    per_month=number,
                    note=notes[part],
                    may_wait=may_wait,
                )


# Views

_BY_SERVICE = ("account_id", "account", "service")
TODAY = Family(
    "aws_cost_today_usd", "Cost of the current UTC day as AWS reports it now; partial.", _BY_SERVICE
)
YESTERDAY = Family(
    "aws_cost_yesterday_usd",
    "Cost of the previous UTC day as AWS reports it now; may still be partial.",
    _BY_SERVICE,
)
DAY_BEFORE_YESTERDAY = Family(
    "aws_cost_day_before_yesterday_usd",
    "Cost of the UTC day before yesterday as AWS reports it now.",
    _BY_SERVICE,
)
ASSESSED_DAY = Family(
    "aws_cost_assessed_day_usd",
    "Cost of the newest settled UTC day; its date is aws_cost_assessed_day_timestamp_seconds.",
    _BY_SERVICE,
)
ASSESSED_DAY_TIMESTAMP = Family(
    "aws_cost_assessed_day_timestamp_seconds", "Start of the newest settled UTC day."
)
MONTH_TO_DATE = Family(
    "aws_cost_month_to_date_usd", "Cost of the current calendar month, UTC, today included.", _BY_SERVICE
)
LAST_MONTH = Family("aws_cost_last_month_usd", "Cost of the previous calendar month, UTC.", _BY_SERVICE)
FIRST_SEEN = Family(
    "aws_cost_first_seen_timestamp_seconds",
    "Start of the first day with cost in the ledger, of services that began in the last 62 days.",
    _BY_SERVICE,
    is_summable=False,
)
COST_TYPE = Family(
    "aws_cost_type_info",
    "The cost type of each family of cost whose name or help does not name another; alerts show it.",
    ("cost_type",),
    is_summable=False,
)
MISSING_DAYS = Family(
    "aws_spend_exporter_ledger_missing_dates",
    "Days of the configured history that have not been read yet; the first fill brings it to 0.",
)
DATA_THROUGH = Family(
    "aws_cost_data_through_timestamp_seconds", "End of the newest complete UTC day with cost."
)


def render(view: ViewContext[CostSettings]) -> Iterable[Sample]:
    """Every cost family that the ledger can answer for; what has not been read is absent."""
    yield from render_days(view)
    yield from render_months(view)
    yield from render_first_seen(view)


def render_days(view: ViewContext[CostSettings]) -> Iterable[Sample]:
    """The newest days, and how far the ledger reaches: what is looked at first, and quickest to read."""
    today = view.now.date()
    tomorrow = today + timedelta(days=1)
    yesterday = today - timedelta(days=1)
    day_before = today - timedelta(days=2)
    read = _days_read(view, day_before)

    if today in read:
        yield from _by_service(view, TODAY, today, tomorrow)
    if yesterday in read:
        yield from _by_service(view, YESTERDAY, yesterday, today)
    if day_before in read:
        yield from _by_service(view, DAY_BEFORE_YESTERDAY, day_before, yesterday)

    if (assessed := view.ledger.cost.assessed_day(view.now)) is not None:
        yield from _by_service(view, ASSESSED_DAY, assessed, assessed + timedelta(days=1))
        yield ASSESSED_DAY_TIMESTAMP(start_of_day(assessed).timestamp())
    if (through := view.ledger.cost.data_through(view.now)) is not None:
        yield DATA_THROUGH(start_of_day(through + timedelta(days=1)).timestamp())

    yield COST_TYPE(1, cost_type=view.settings.cost_type)
    yield MISSING_DAYS(missing_days(view.ledger, view.settings, view.now)[0])


def _days_read(view: ViewContext[CostSettings], start: date) -> set[date]:
    states = view.ledger.reads.day_states(start, view.now.date() + timedelta(days=1))
    return {day for day, state in states.items() if state.read_at is not None}


def render_months(view: ViewContext[CostSettings]) -> Iterable[Sample]:
    """The current and the last calendar month."""
    today = view.now.date()
    tomorrow = today + timedelta(days=1)
    this_month, last_month = month_start(today), month_start(today, 1)
    read = _days_read(view, last_month)
    # Today may be unread just after midnight; a gap before it would make a sum too small.
    if read & set(days_between(this_month, tomorrow)) and set(days_between(this_month, today)) <= read:
        yield from _by_service(view, MONTH_TO_DATE, this_month, tomorrow)
    if set(days_between(last_month, this_month)) <= read:
        yield from _by_service(view, LAST_MONTH, last_month, this_month)


def render_first_seen(view: ViewContext[CostSettings]) -> Iterable[Sample]:
    """Since when each service has had cost."""
    names = view.ledger.accounts.names()
    today = view.now.date()
    for (account_id, service), day in sorted(view.ledger.cost.first_seen().items()):
        if (today - day).days > _NEW_DAYS:
            continue
        yield FIRST_SEEN(
            start_of_day(day).timestamp(),
            account_id=account_id,
            account=view.account(account_id, names),
            service=service,
        )


def _by_service(view: ViewContext[CostSettings], family: Family, start: date, end: date) -> Iterable[Sample]:
    names = view.ledger.accounts.names(on=end - timedelta(days=1))
    costs = view.ledger.cost.sums(start, end, view.settings.cost_type)
    for (account_id, service), usd in sorted(costs.items()):
        yield family(usd, account_id=account_id, account=view.account(account_id, names), service=service)


def _render_named(
    render: Callable[[ViewContext[CostSettings]], Iterable[Sample]], view: ViewContext[CostSettings]
) -> Iterable[Sample | Folded]:
    """What is rendered, with the services that an account has no room for as `other`."""
    return fold_unnamed(render(view), "service", named_services(view))


# numpy is imported with the first rendering: the relay and most commands read this declaration only.


def _render_projection(view: ViewContext[CostSettings]) -> Iterable[Sample | Folded]:
    from exporter.cost import projection_view

    return fold_unnamed(projection_view.render(view), "service", named_services(view))


def _until_next_month(view: ViewContext[CostSettings]) -> datetime:
    """A month's projection is wrong once the month is over."""
    return start_of_day(month_start(view.now.date(), -1))


def _render_anomalies(view: ViewContext[CostSettings]) -> Iterable[Sample | Folded]:
    from exporter.anomalies import cost

    return fold_unnamed(cost.render(view), "service", named_services(view))


def _render_usage_anomalies(view: ViewContext[CostSettings]) -> Iterable[Sample]:
    from exporter.anomalies import usage

    return usage.render(view)


def rests(sections: Sections) -> bool:
    """With an export nothing is asked, unless the months before it are wanted."""
    return cost_is_exported(sections) and not sections.of(CostSettings).history_from_cost_explorer


COLLECTOR = Collector(
    name="cost",
    help="Cost by linked account and service from Cost Explorer.",
    scope=Scope.PAYER,
    settings=CostSettings,
    families=(),
    iam_actions=("ce:GetCostAndUsage",),
    collect=collect,
    views=(
        # Each is served as soon as it is rendered: the quickest first.
        View(
            name="cost",
            families=(
                TODAY,
                YESTERDAY,
                DAY_BEFORE_YESTERDAY,
                ASSESSED_DAY,
                ASSESSED_DAY_TIMESTAMP,
                DATA_THROUGH,
                COST_TYPE,
                MISSING_DAYS,
            ),
            render=partial(_render_named, render_days),
            read_at=lambda view: refreshed_at(view.ledger, view.now),
        ),
        View(
            name="cost_day_sums",
            families=day_sums.SUM_FAMILIES,
            render=day_sums.render_sums,
            read_at=lambda view: refreshed_at(view.ledger, view.now),
        ),
        View(
            name="cost_non_usage",
            families=day_sums.NON_USAGE_FAMILIES,
            render=partial(_render_named, day_sums.render_non_usage),
            read_at=lambda view: refreshed_at(view.ledger, view.now),
        ),
        View(
            name="cost_months",
            families=(
                MONTH_TO_DATE,
                LAST_MONTH,
            ),
            render=partial(_render_named, render_months),
            read_at=lambda view: refreshed_at(view.ledger, view.now),
        ),
        View(
            # Sums by account, and by service: nothing of it is folded.
            name="cost_windows",
            families=windows.FAMILIES,
            render=windows.render,
            read_at=lambda view: refreshed_at(view.ledger, view.now),
        ),
        View(
            name="unit_costs",
            families=unit_costs.FAMILIES,
            render=unit_costs.render,
            read_at=lambda view: refreshed_at(view.ledger, view.now),
        ),
        View(
            name="cost_first_seen",
            families=(FIRST_SEEN,),
            render=partial(_render_named, render_first_seen),
            read_at=lambda view: refreshed_at(view.ledger, view.now),
        ),
        View(
            name="projection",
            families=projection_families.FAMILIES,
            render=_render_projection,
            read_at=lambda view: refreshed_at(view.ledger, view.now),
            valid_until=_until_next_month,
        ),
        View(
            name="anomalies",
            families=anomaly_families.FAMILIES,
            render=_render_anomalies,
            read_at=lambda view: refreshed_at(view.ledger, view.now),
        ),
        View(
            name="usage_anomalies",
            families=usage_families.FAMILIES,
            render=_render_usage_anomalies,
            read_at=lambda view: refreshed_at(view.ledger, view.now),
        ),
    ),
    series_weight=8,
    paid_calls=paid_calls,
    due=due,
    # Its views show what an export wrote: when that was is when cost was read.
    follows=("cost_export",),
    rests=rests,
)
