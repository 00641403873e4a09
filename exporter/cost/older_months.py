"""What finds and repairs changes that refreshes do not see: of days older than last month, and moves that cancel out.

Once a week, AWS's sums of whole months by account and service are compared with those of the ledger, of all
charges and of non-usage charges. Where they differ, the days of these accounts or services are read again. What a
month's sums cannot show, cost that moved between its days, is found within a quarter: each day is read again in
its turn, a few pages at a time, so that no day pays for all.

In months whose bill is open, days move all the time, and the refreshes' scans by account find them. There, only
accounts are read in which cost has moved between services, and perhaps back in another account: their total may
not show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from exporter.aws.meter import COST_EXPLORER_REQUEST_USD
from exporter.core.amounts import Units
from exporter.core.moments import month_start
from exporter.cost.refresh_plan import (
    BILL_IS_FINAL_ON,
    GROUPS_A_DAY_FACTS,
    MOST_VALUES_OF_A_FILTER,
    SETTLED_AFTER_DAYS,
    CostPart,
    CostQuery,
    CostScale,
    Subjects,
    days_a_slice,
    groups_a_month,
    known_scale,
    non_usage_groups_a_day,
)
from exporter.cost.settings import CostSettings
from exporter.cost.unavailable import first_available
from exporter.declarations.calls import Scale
from exporter.ledger.file import Ledger
from exporter.ledger.months import Key, MonthDifferences
from exporter.ledger.pending import Origin, PendingRead
from exporter.ledger.reads import DayState

_DAY = timedelta(days=1)
_MOST_DAYS_A_TURN = {CostPart.REREAD: 31, CostPart.OTHER: 366}
_MOST_PAGES_A_TURN = 6
_READ_TOGETHER = timedelta(days=7)  # days that were read within so long have their turn one after another
_TIMES_A_MONTH = {"day": 30, "month": 1}
_ASSUMED_PAGES_A_COMPARISON = Decimal("0.5")  # of months that moved: most weeks have none

OTHER_PURPOSE = "non-usage charges of days older than last month, each in its turn"

KEPT_FREE = Decimal("1.1")
"""How many times its plan is kept free for what must not wait: by a tenth, a plan may be wrong."""

SCANS = {CostPart.MONTHS: "months", CostPart.MONTHS_OTHER: "months_other"}
"""The kinds of comparisons, by which the ledger remembers when they were done."""

READ_BY = {CostPart.MONTHS: CostPart.REREAD, CostPart.MONTHS_OTHER: CostPart.OTHER}
"""What reads the days of a month that a comparison finds different."""

LEDGER_PARTS = {CostPart.MONTHS: "total", CostPart.MONTHS_OTHER: "other"}
"""The columns of the ledger that a comparison is about."""


def history_start(settings: CostSettings, today: date) -> date:
    """The first day that is kept up to date."""
    return month_start(today, settings.history_months)


def requested_query(ledger: Ledger, settings: CostSettings, now: datetime) -> CostQuery | None:
    """What somebody waits for, who has agreed to its price."""
    return _first_pending(ledger, Origin.REQUEST, history_start(settings, now.date()))


def next_query(ledger: Ledger, settings: CostSettings, now: datetime) -> CostQuery | None:
    """The next read of what refreshes leave alone, or None; to be asked once a refresh and the first fill are done."""
    found, moment = _next(ledger, settings, now)
    return found if moment is None or now >= moment else None


def due_at(ledger: Ledger, settings: CostSettings, now: datetime) -> datetime | None:
    """When `next_query` has something the next time; None if it never will."""
    found, moment = _next(ledger, settings, now)
    return (moment or now) if found is not None else None


def _next(ledger: Ledger, settings: CostSettings, now: datetime) -> tuple[CostQuery | None, datetime | None]:
    """The next query and when it is due, None for now."""
    first = max(history_start(settings, now.date()), first_available(ledger))
    if (found := _first_pending(ledger, Origin.MONTHS, first)) is not None:
        return found, None
    states = ledger.reads.day_states(first, now.date())
    candidates: list[tuple[datetime, CostQuery]] = []
    for part in SCANS:
        if settings.compare_months is not None:
            candidates += _comparison(ledger, settings.compare_months, states, part, first, now)
    for part in _MOST_DAYS_A_TURN:
        if settings.reread_days is not None:
            candidates += _turn(ledger, settings.reread_days, states, part, first, now)
    moment, query = min(candidates, key=lambda item: item[0], default=(None, None))
    return query, moment


def _first_pending(ledger: Ledger, origin: Origin, first: date) -> CostQuery | None:
    for read in ledger.pending.of(origin):
        # What has left the history meanwhile is not answered any more.
        if read.end > first:
            return _query_of(read, first)
    return None


def _query_of(read: PendingRead, first: date) -> CostQuery:
    only = None
    if read.kind is not None:
        only = Subjects("account" if read.kind == "account" else "service", read.names)
    return CostQuery(
        CostPart(read.part),
        max(read.start, first),
        read.end,
        only=only,
        began_at=read.began_at,
        pending=read.number,
    )


# Months compared


def _comparison(
    ledger: Ledger,
    interval: timedelta,
    states: Mapping[date, DayState],
    part: CostPart,
    first: date,
    now: datetime,
) -> Sequence[tuple[datetime, CostQuery]]:
    for rest in ledger.pending.of(Origin.SCAN):
        if rest.part == part and now < rest.began_at + interval and rest.end > first:
            return [(now, _query_of(rest, first))]
    end = now.date() - SETTLED_AFTER_DAYS * _DAY
    read = [_read_at(state, READ_BY[part]) for day, state in states.items() if day < end]
    times = [at for at in read if at is not None]
    if not times:
        return []
    # What has just been read for the first time is as good as compared.
    done = max(min(times), ledger.reads.scanned_at(SCANS[part]) or min(times))
    return [(done + interval, CostQuery(part, first, end))]


def commit_comparison(
    ledger: Ledger,
    query: CostQuery,
    start: date,
    end: date,
    seen: Mapping[tuple[date, str, str], Units],
    observed_at: datetime,
) -> tuple[date, ...]:
    """Compare the months of [start, end) with what is held, and queue what has to be read again; returns these months.

    `seen` are AWS's sums by first day of the period, account and service. Months of which a day was not read yet
    are left alone.
    """
    by_month: dict[date, dict[Key, Units]] = {}
    for (month, account_id, service), units in seen.items():
        by_month.setdefault(month, {})[account_id, service] = units
    part, reader = LEDGER_PARTS[query.part], READ_BY[query.part]
    moved: list[tuple[MonthDifferences, set[Key]]] = []
    waiting = [read for read in ledger.pending.of(Origin.MONTHS) if read.part == reader]
    with ledger.transaction():
        ledger.pending.drop_within(Origin.MONTHS, [reader], date.min, query.start)
        for first, until in periods(start, end):
            if not ledger.months.is_whole(first, until, part):
                continue
            sums = by_month.get(first, {})
            found = ledger.months.differences(part, first, until, sums)
            keys = {
                key
                for key in found.keys
                if part == "other" or first < _open_from(observed_at.date()) or key[0] not in found.one_way
            }
            is_read = not any(read.start < until and first < read.end for read in waiting)
            ledger.pending.drop_within(Origin.MONTHS, [reader], first, until)
            if keys := ledger.months.take(part, first, keys, sums, read=is_read):
                moved.append((found, keys))
        scale = known_scale(ledger, observed_at)
        ledger.pending.add(Origin.MONTHS, _reads(ledger, scale, reader, moved, observed_at))
        _remember_rest(ledger, query, start, observed_at)
    return tuple(found.start for found, _ in moved)


def _remember_rest(ledger: Ledger, query: CostQuery, start: date, observed_at: datetime) -> None:
    """A comparison is done with its last slice only."""
    began_at = query.began_at or observed_at
    if query.pending is not None:
        ledger.pending.shorten(query.pending, start)
    else:
        ledger.pending.drop(Origin.SCAN, query.part)
        if start > query.start:
            ledger.pending.add(Origin.SCAN, [PendingRead(query.part, query.start, start, began_at)])
    if start <= query.start:
        ledger.reads.mark_scan(SCANS[query.part], began_at)


def periods(start: date, end: date) -> list[tuple[date, date]]:
    """The months of [start, end), the first and the last perhaps not whole, oldest first."""
    found = []
    while start < end:
        following = min(month_start(start, -1), end)
        found.append((start, following))
        start = following
    return found


def _open_from(today: date) -> date:
    """The first day of the months in which days still move as a matter of course."""
    return month_start(today, 0 if today.day >= BILL_IS_FINAL_ON else 1)


def _reads(
    ledger: Ledger,
    scale: CostScale,
    reader: CostPart,
    moved: Sequence[tuple[MonthDifferences, set[Key]]],
    at: datetime,
) -> list[PendingRead]:
    """What reads the months that moved on the fewest pages, newest month first."""
    reads: list[tuple[PendingRead, int]] = []
    for found, keys in reversed(moved):
        read, pages = _read_of(ledger, scale, reader, found, keys, at)
        if reads and reads[-1][0].start == read.end:
            joined, together = _joined(ledger, scale, reads[-1][0], read)
            if joined is not None and together <= reads[-1][1] + pages:
                reads[-1] = (joined, together)
                continue
        reads.append((read, pages))
    return [read for read, _ in reads]


def _read_of(
    ledger: Ledger,
    scale: CostScale,
    reader: CostPart,
    found: MonthDifferences,
    keys: set[Key],
    at: datetime,
) -> tuple[PendingRead, int]:
    whole = PendingRead(reader, found.start, found.end, at)
    best = (whole, _pages(ledger, scale, whole))
    if reader is CostPart.OTHER:
        return best
    for position, kind in enumerate(("account", "service")):
        names = tuple(sorted({key[position] for key in keys}))
        if len(names) <= MOST_VALUES_OF_A_FILTER:
            some = PendingRead(reader, found.start, found.end, at, kind, names)
            pages = _pages(ledger, scale, some)
            if pages < best[1] or (pages == best[1] and best[0].kind is None):
                best = (some, pages)
    return best


def _joined(
    ledger: Ledger, scale: CostScale, newer: PendingRead, older: PendingRead
) -> tuple[PendingRead | None, int]:
    """Both as one read, if they are of the same kind."""
    names = tuple(sorted({*newer.names, *older.names}))
    if newer.kind != older.kind or len(names) > MOST_VALUES_OF_A_FILTER:
        return None, 0
    read = PendingRead(newer.part, older.start, newer.end, newer.began_at, newer.kind, names)
    return read, _pages(ledger, scale, read)


def _pages(ledger: Ledger, scale: CostScale, read: PendingRead) -> int:
    if read.part == CostPart.OTHER:
        groups = non_usage_groups_a_day(scale.accounts) * (read.end - read.start).days
    else:
        groups = ledger.months.groups(read.start, read.end, read.kind, read.names)
    return scale.pages(groups)


# Every day in its turn


def _turn(
    ledger: Ledger,
    interval: timedelta,
    states: Mapping[date, DayState],
    part: CostPart,
    first: date,
    now: datetime,
) -> Sequence[tuple[datetime, CostQuery]]:
    """The days that were read whole longest ago, and when their turn is: all have one within an interval."""
    end = month_start(now.date(), 1)
    read = {
        day: at for day in states if day < end and (at := _read_at(states[day], part, whole=True)) is not None
    }
    if not read:
        return []
    scale = known_scale(ledger, now)
    groups = ledger.facts.get(GROUPS_A_DAY_FACTS[part]) or 0
    if part is CostPart.OTHER:
        groups = max(groups, non_usage_groups_a_day(scale.accounts))
    else:
        groups = max(groups, scale.keys)
    most = days_a_turn(part, groups, scale.groups_per_page)
    most = min(most, days_a_slice(groups, scale.groups_per_page, scale.pages_a_slice))
    oldest = min(read.values())
    last = max(day for day, at in read.items() if at <= oldest + _READ_TOGETHER)
    start = last
    while (
        (last - start).days + 1 < most
        and (day := start - _DAY) in read
        # Of non-usage charges a page has many days: all of them are read.
        and (part is CostPart.OTHER or read[day] <= oldest + interval / 4)
    ):
        start = day
    wait = interval * ((last - start).days + 1) / len(read)
    since = ledger.reads.scanned_at(turn_kind(part)) or oldest
    return [(since + wait, CostQuery(part, start, last + _DAY, is_turn=True))]


def turn_kind(part: CostPart) -> str:
    """The kind under which the ledger remembers the last turn."""
    return f"turn_{part}"


def days_a_turn(part: CostPart, groups_a_day: int, groups_per_page: int) -> int:
    """Days that are read together in a turn: those that fill their pages best."""
    best, filled = 1, 0.0
    for pages in range(1, _MOST_PAGES_A_TURN + 1):
        days = min(_MOST_DAYS_A_TURN[part], pages * groups_per_page // max(1, groups_a_day))
        if days / pages > filled:
            best, filled = days, days / pages
    return best


def _read_at(state: DayState, part: CostPart, *, whole: bool = False) -> datetime | None:
    if part is CostPart.OTHER:
        return state.other_read_at
    return state.whole_at if whole else state.read_at


# Prices


def month_of_pages(settings: CostSettings, scale: Scale) -> Mapping[CostPart, Decimal]:
    """Pages that a month of 30 days takes, by the same decisions as `next_query`."""
    cost = CostScale(scale.accounts, scale.services, scale.keys, scale.groups_per_page)
    lines = non_usage_groups_a_day(scale.accounts)
    totals: dict[CostPart, Decimal] = {}
    month = timedelta(days=30)
    if settings.compare_months is not None:
        times = Decimal(month / settings.compare_months)
        for part in SCANS:
            groups = groups_a_month(part, scale.keys, scale.accounts)
            totals[part] = times * cost.pages_of(settings.history_months + 1, groups)
        totals[CostPart.REREAD] = times * _ASSUMED_PAGES_A_COMPARISON
    days = 30 * (settings.history_months - 1)
    if settings.reread_days is not None and days:
        times = Decimal(month / settings.reread_days)
        for part, groups in ((CostPart.REREAD, scale.keys), (CostPart.OTHER, lines)):
            size = days_a_turn(part, groups, scale.groups_per_page)
            pages = times * cost.pages(size * groups) * days / min(size, days)
            totals[part] = totals.get(part, Decimal(0)) + pages
    return totals


def usd_a_month(settings: CostSettings, scale: Scale) -> Decimal:
    """The price of `month_of_pages`."""
    return sum(month_of_pages(settings, scale).values(), Decimal(0)) * COST_EXPLORER_REQUEST_USD


def within_ceilings(
    settings: CostSettings, scale: Scale, limits: Mapping[str, Decimal | None], needed_usd: Decimal
) -> CostSettings:
    """The settings with `compare_months` and `reread_days` as long as the ceilings require; None: not at all.

    `limits` are those of a day and of a month; `needed_usd` is what all else needs in a month. Comparisons
    come first: they find all but moves between the days of one month.
    """
    if (ceiling := tightest(limits)) is None:
        return settings
    room = ceiling[1] - needed_usd if ceiling[1] >= needed_usd * KEPT_FREE else Decimal(0)
    comparisons = usd_a_month(settings.model_copy(update={"reread_days": None}), scale)
    turns = usd_a_month(settings.model_copy(update={"compare_months": None}), scale)
    longest = timedelta(days=30 * settings.history_months)
    return settings.model_copy(
        update={
            "compare_months": _stretched(settings.compare_months, comparisons, room, longest),
            "reread_days": _stretched(settings.reread_days, turns, room - comparisons, longest),
        }
    )


def tightest(limits: Mapping[str, Decimal | None]) -> tuple[str, Decimal] | None:
    """The period, `day` or `month`, whose limit allows least in a month of 30 days, and how many dollars."""
    a_month = [
        (limit * _TIMES_A_MONTH[period], period) for period, limit in limits.items() if limit is not None
    ]
    usd, period = min(a_month, default=(None, ""))
    return (period, usd) if usd is not None else None


def _stretched(
    interval: timedelta | None, usd: Decimal, room: Decimal, longest: timedelta
) -> timedelta | None:
    """The interval at which what takes `usd` a month takes at most `room`; None if days leave the history before."""
    if interval is None or usd <= room:
        return interval
    if room <= 0 or usd / room > Decimal(longest / interval):
        return None
    return interval * float(usd / room)
