"""Which Cost Explorer query is worth its price now, and how many a month that makes.

Cost is restated for weeks, and reading all of it again at each refresh would cost dollars. Today
and yesterday always move: each refresh reads them. Every fourth refresh first finds the older
days that moved, by totals over the restatable window, and re-reads just those: once a day at most, and
every third day where they are older than a few days, and then of the accounts or services alone that
moved. These scans go by account and by service in turn: at the price of one, they also find cost
that moved between the services of an account. Where the whole window fits on as few pages as
that, it is read whole. Non-usage charges (tax, credits, fees) are read about once a day. Older months
are the subject of `exporter.cost.older_months`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from exporter.aws.meter import FIRST_FILL
from exporter.core.moments import days_between, month_start, start_of_day
from exporter.cost.settings import CostSettings
from exporter.cost.unavailable import first_available, is_asked_again
from exporter.declarations.calls import Scale
from exporter.ledger.file import Ledger
from exporter.ledger.reads import DayState

ASSUMED_GROUPS_PER_PAGE = 2000
ASSUMED_SERVICES = 20
PAGE_SIZE_FACT = "cost_explorer_groups_per_page"
PAGE_MILLISECONDS_FACT = "cost_explorer_page_milliseconds"
_SLICE_PAGES = 20
_SLICE_SECONDS = 30
FIRST_SLICE_DAYS = 2
"""Days of the first slice, before anything is known: a whole day and today."""
_ABANDONED_AFTER = timedelta(hours=1)
_ONCE_A_DAY = timedelta(hours=20)  # at any hour of the refreshes
_EVERY_THIRD_DAY = timedelta(hours=68)
SETTLED_AFTER_DAYS = 3  # what moves later moves for weeks, a little of it in some account each day
_REFRESHES_PER_SCAN = 4
_PERCENT_THAT_MOVES = 3  # of the accounts, on older days, between two scans by account
NON_USAGE_LINES_A_MONTH = 4  # of an account
BILL_IS_FINAL_ON = 11  # bills are finalised from the 1st to the 7th


class CostPart(StrEnum):
    """What a query is for."""

    COSTS = "costs"  # account x service, everything
    OTHER = "other"  # account x service, non-usage charges
    SCAN_ACCOUNTS = "scan_accounts"  # totals by account: which days moved
    SCAN_SERVICES = "scan_services"  # totals by service: which days moved, within an account too
    MONTHS = "months"  # months by account x service: which of them moved
    MONTHS_OTHER = "months_other"  # the same of non-usage charges
    REREAD = "reread"  # account x service, everything, of days that refreshes do not read any more

    @property
    def is_monthly(self) -> bool:
        """Whether the answer has a sum for each month instead of each day."""
        return self in (CostPart.MONTHS, CostPart.MONTHS_OTHER)


GROUPS_A_DAY = "cost_explorer_groups_a_day_"
GROUPS_A_DAY_FACTS = {part: f"{GROUPS_A_DAY}{part}" for part in CostPart}
"""The facts of how many groups a day of each kind of query had last."""

PURPOSES = {
    CostPart.COSTS: "cost by account and service: the days that moved, or the whole window",
    CostPart.OTHER: "non-usage charges: tax, credits, refunds, support, fees",
    CostPart.SCAN_ACCOUNTS: "which days moved, by account",
    CostPart.SCAN_SERVICES: "which days moved, by service",
    CostPart.MONTHS: "which months moved, by account and service",
    CostPart.MONTHS_OTHER: "which months moved, non-usage charges",
    CostPart.REREAD: "days older than last month: those of months that moved, and each in its turn",
}


@dataclass(frozen=True, slots=True)
class Subjects:
    """Some accounts, or some services."""

    kind: Literal["account", "service"]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CostQuery:
    """One Cost Explorer query over [start, end) that is worth its price now."""

    part: CostPart
    start: date
    end: date
    budget: str = "cost"
    ends_refresh: bool = False
    """Whether its commit completes a refresh of the restatable window."""
    only: Subjects | None = None
    """The accounts or services that it is about; None: all."""
    began_at: datetime | None = None
    """When the first slice of it was read, where this is what is left of it."""
    pending: int | None = None
    """Its number among the ledger's pending reads."""
    is_turn: bool = False
    """Whether it is the turn of old days, which are read again although nothing shows that they moved."""


def restatable_from(today: date) -> date:
    """The first day that AWS still restates as a matter of course.

    Until the previous bill is final all of its month may move; after that, the last days of it.
    """
    if today.day < BILL_IS_FINAL_ON:
        return month_start(today, 1)
    return month_start(today) - timedelta(days=3)


def next_query(ledger: Ledger, settings: CostSettings, now: datetime) -> CostQuery | None:
    """The next query to pay for, or None when nothing is due."""
    today = now.date()
    tomorrow = today + timedelta(days=1)
    states = ledger.reads.day_states(month_start(today, settings.history_months), tomorrow)
    read = {day for day, state in states.items() if state.read_at is not None}
    first = date.min if is_asked_again(ledger, now) else first_available(ledger)

    # What the views of this and the last month lack; an unread today alone waits for a refresh.
    for months_back in (0, 1):
        month, next_month = month_start(today, months_back), month_start(today, months_back - 1)
        days = set(days_between(max(month, first), min(next_month, tomorrow))) - read
        if days - {today} or (days and not read):
            run = newest_run(days)
            budget = "cost" if ledger.reads.scanned_at("refresh") else FIRST_FILL
            return CostQuery(CostPart.COSTS, run[0], run[-1] + timedelta(days=1), budget)

    if (rest := _rest_of_refresh(ledger, settings, now)) is not None:
        return rest
    refreshed = refreshed_at(ledger, now)
    if refreshed is None or now >= refreshed + settings.interval:
        return _refresh(ledger, settings, states, now)

    if moved := _moved(states, now) - _wait_for_accounts(ledger, states, now):
        scale = known_scale(ledger, now)
        if (query := _subjects_that_moved(ledger, states, scale, now)) is not None:
            return query
        run = newest_run(moved, join=scale.days_per_page)
        return CostQuery(CostPart.COSTS, run[0], run[-1] + timedelta(days=1))

    recent = month_start(today, 1)
    newer = {day: state for day, state in states.items() if day >= recent}
    if run := newest_run(_other_moved(newer, now), join=31):
        budget = "cost" if ledger.reads.scanned_at("refresh") else FIRST_FILL
        return CostQuery(CostPart.OTHER, run[0], run[-1] + timedelta(days=1), budget)

    for months_back in range(2, settings.history_months + 1):
        month, next_month = month_start(today, months_back), month_start(today, months_back - 1)
        if missing := newest_run(set(days_between(max(month, first), next_month)) - read):
            return CostQuery(CostPart.COSTS, missing[0], missing[-1] + timedelta(days=1), FIRST_FILL)
    # Few groups a day: the whole history is one query.
    if run := newest_run(_other_moved(states, now), join=31):
        is_new = any(states[day].other_read_at is None for day in run)
        budget = FIRST_FILL if is_new else "cost"
        return CostQuery(CostPart.OTHER, run[0], run[-1] + timedelta(days=1), budget)
    return None


def history_query(ledger: Ledger, settings: CostSettings, now: datetime) -> CostQuery | None:
    """What is missing of the months before the first day of an export, newest first; None while that is not known."""
    oldest = max(month_start(now.date(), settings.history_months), first_available(ledger))
    states = ledger.reads.day_states(oldest, now.date())
    end = min((day for day, state in states.items() if state.source == "data_export"), default=oldest)
    before = {day: state for day, state in states.items() if day < end and state.read_at is not None}
    if missing := newest_run(set(days_between(oldest, end)) - before.keys()):
        newest = [day for day in missing if month_start(day) == month_start(missing[-1])]
        return CostQuery(CostPart.COSTS, newest[0], newest[-1] + timedelta(days=1), FIRST_FILL)
    unknown = {day for day, state in before.items() if state.other_read_at is None}
    if run := newest_run(unknown, join=31):
        return CostQuery(CostPart.OTHER, run[0], run[-1] + timedelta(days=1), FIRST_FILL)
    return None


def _rest_of_refresh(ledger: Ledger, settings: CostSettings, now: datetime) -> CostQuery | None:
    """What a refresh that is read in slices has left, unless it began so long ago that the next one is due."""
    rest = ledger.reads.rest()
    if rest is None or now >= rest.began_at + max(settings.interval, _ABANDONED_AFTER):
        return None
    return CostQuery(CostPart(rest.part), rest.start, rest.end, ends_refresh=True, began_at=rest.began_at)


def missing_days(ledger: Ledger, settings: CostSettings, now: datetime) -> tuple[int, int]:
    """How many days of the history have not been read yet, and how many it has in all."""
    start, end = month_start(now.date(), settings.history_months), now.date()
    start = max(start, first_available(ledger))  # before it there is nothing to be read
    states = ledger.reads.day_states(start, end)
    if settings.source == "data_export" and not settings.history_from_cost_explorer:
        # An export begins with the month that it was made in.
        start = min((day for day, state in states.items() if state.read_at is not None), default=end)
    read = sum(state.read_at is not None for state in states.values())
    return (end - start).days - read, (end - start).days


def refreshed_at(ledger: Ledger, now: datetime) -> datetime | None:
    """When the restatable window was last brought up to date: by a refresh, or by having been read whole."""
    today = now.date()
    # Today is left out: just after midnight it has not been read, and that alone is no reason to.
    start = max(restatable_from(today), first_available(ledger))
    whole = _read_whole_at(ledger, start, today - timedelta(days=1))
    times = [ledger.reads.scanned_at("refresh"), whole]
    return max((time for time in times if time is not None), default=None)


def _read_whole_at(ledger: Ledger, start: date, last: date) -> datetime | None:
    end = last + timedelta(days=1)
    read = [
        state.read_at for state in ledger.reads.day_states(start, end).values() if state.read_at is not None
    ]
    return min(read) if read and len(read) == (end - start).days else None


def _refresh(
    ledger: Ledger, settings: CostSettings, states: Mapping[date, DayState], now: datetime
) -> CostQuery:
    today = now.date()
    tomorrow = today + timedelta(days=1)
    first = first_available(ledger)
    recent = max(month_start(today, 1), first)
    whole = CostQuery(CostPart.COSTS, recent, tomorrow, ends_refresh=True)
    if settings.refresh == "full" or (
        settings.refresh == "auto" and known_scale(ledger, now).reads_whole(today)
    ):
        return whole
    by_account, by_service = ledger.reads.scanned_at("account"), ledger.reads.scanned_at("service")
    scanned = max((at for at in (by_account, by_service) if at is not None), default=None)
    scan_is_due = scanned is None or now >= scanned + (_REFRESHES_PER_SCAN - 0.5) * settings.interval
    if not scan_is_due or _not_read_since_the_bill_is_final(states, now):
        scale = known_scale(ledger, now)
        moving = {today - timedelta(days=1), today} | _moved(states, now)
        moving -= _wait_for_accounts(ledger, states, now)
        if (older := _subjects_that_moved(ledger, states, scale, now)) is not None:
            # They are read by themselves, and need not be read with all that did not move.
            moving -= set(days_between(older.start, older.end))
        run = newest_run(moving, join=scale.days_per_page)
        return CostQuery(CostPart.COSTS, run[0], tomorrow, ends_refresh=True)
    if by_service is None or (by_account is not None and by_account > by_service):
        # Few groups a day: both months fit where the accounts' window does.
        return CostQuery(CostPart.SCAN_SERVICES, recent, tomorrow, ends_refresh=True)
    return CostQuery(CostPart.SCAN_ACCOUNTS, max(restatable_from(today), first), tomorrow, ends_refresh=True)


def _moved(states: Mapping[date, DayState], now: datetime) -> set[date]:
    """The days that a scan found to have moved, and that are to be read again now.

    The day before yesterday still settles for half a day: for it, once a day is enough. So is a day that
    was only read before its end, which happens where nothing was read on the next day.
    """
    today = now.date()

    def is_partial(day: date, state: DayState) -> bool:
        return (today - day).days > 1 and state.whole_at is not None and not _was_over(day, state)

    def due(day: date, state: DayState) -> bool:
        age = (today - day).days
        # A scan that found a day unchanged has not read its accounts and services.
        read_at = state.read_at if _was_over(day, state) else state.whole_at
        if age <= 1 or read_at is None:
            return True
        return now >= read_at + (_ONCE_A_DAY if age <= SETTLED_AFTER_DAYS else _EVERY_THIRD_DAY)

    moved = {
        day for day, state in states.items() if (state.moved or is_partial(day, state)) and due(day, state)
    }
    return moved | _not_read_since_the_bill_is_final(states, now)


def _subjects_that_moved(
    ledger: Ledger, states: Mapping[date, DayState], scale: CostScale, now: datetime
) -> CostQuery | None:
    """The older days that moved, of the accounts or services that did: where that needs fewer pages.

    None while such a day has to be read whole. What is not due yet comes along: it costs no page.
    """
    if _not_read_since_the_bill_is_final(states, now):
        return None
    due = _moved(states, now) - _wait_for_accounts(ledger, states, now)
    older = {day for day, state in states.items() if state.moved and _is_settled(day, state, now)}
    if not older & due:
        return None
    for kind, in_all in _KINDS:
        most = max(1, in_all(scale) // 4)
        moved = ledger.reads.moved_subjects(kind, min(older), max(older) + timedelta(days=1))
        days = {day: names for day, names in moved.items() if day in older and len(names) <= most}
        names = frozenset[str]().union(*days.values())
        if not days.keys() & due or len(names) > MOST_VALUES_OF_A_FILTER:
            continue
        start, end = min(days), max(days) + timedelta(days=1)
        groups = scale.groups_of(kind, len(names))
        runs, left = 0, days.keys() & due
        while run := newest_run(left, join=scale.days_per_page):
            runs += scale.pages_of(len(run), scale.keys)
            left -= set(run)
        if scale.pages_of((end - start).days, groups) <= runs:
            return CostQuery(CostPart.COSTS, start, end, only=Subjects(kind, tuple(sorted(names))))
    return None


def _wait_for_accounts(ledger: Ledger, states: Mapping[date, DayState], now: datetime) -> set[date]:
    """Older days of which the services are known that moved, and the next scan will show the accounts.

    The accounts are the fewer pages: a service is used by most accounts, an account moves by itself.
    """
    by_account, by_service = ledger.reads.scanned_at("account"), ledger.reads.scanned_at("service")
    if by_service is None or (by_account is not None and by_account > by_service):
        return set()
    start, end = restatable_from(now.date()), now.date()
    moved = ledger.reads.moved_subjects("service", start, end).keys()
    known = ledger.reads.moved_subjects("account", start, end).keys()
    return {day for day in moved - known if day in states and _is_settled(day, states[day], now)}


def _is_settled(day: date, state: DayState, now: datetime) -> bool:
    """Whether a day is old enough that little of it moves, and was read after its end."""
    return (now.date() - day).days > SETTLED_AFTER_DAYS and _was_over(day, state)


def _was_over(day: date, state: DayState) -> bool:
    """Whether a day was over when all of it was read."""
    return state.whole_at is not None and state.whole_at >= start_of_day(day + timedelta(days=1))


def _not_read_since_the_bill_is_final(states: Mapping[date, DayState], now: datetime) -> set[date]:
    """The days of both months that are read again, regardless of the scans, once the previous bill is final."""
    # Those of the current month have their turn when its own bill is final.
    start, end, final = last_final_bill(now.date())
    return {
        day
        for day, state in states.items()
        if start <= day < end and state.read_at is not None and state.read_at < final
    }


def last_final_bill(today: date) -> tuple[date, date, datetime]:
    """The newest month whose bill is final, [start, end), and since when."""
    months_back = 0 if today.day >= BILL_IS_FINAL_ON else 1
    start, end = month_start(today, months_back + 1), month_start(today, months_back)
    return start, end, start_of_day(end + timedelta(days=BILL_IS_FINAL_ON - 1))


def _other_moved(states: Mapping[date, DayState], now: datetime) -> set[date]:
    """The days whose part that is not usage may have moved, once a complete one is due: a page serves all."""
    moved = {day: state for day, state in states.items() if state.read_at is not None and state.other_moved}
    complete = [state.other_read_at for day, state in moved.items() if day < now.date()]
    if None in complete:
        return set(moved)
    last = max((state.other_read_at for state in states.values() if state.other_read_at), default=now)
    return set(moved) if complete and now >= last + _ONCE_A_DAY else set()


def newest_run(days: Set[date], join: int = 0) -> list[date]:
    """The newest run of consecutive days, oldest first; gaps of up to `join` days are filled."""
    run: list[date] = []
    for day in sorted(days, reverse=True):
        if run and (run[-1] - day).days > join + 1:
            break
        run.append(day)
    return run[::-1]


# Prices


@dataclass(frozen=True, slots=True)
class CostScale:
    """What decides how many pages a query has."""

    accounts: int
    services: int
    keys: int
    """Pairs of account and service with cost on a day."""
    groups_per_page: int
    pages_a_slice: int = _SLICE_PAGES

    def as_scale(self) -> Scale:
        """The same for pricing what is asked of Cost Explorer, which has no regions."""
        return Scale(self.accounts, self.services, self.keys, 1, self.groups_per_page)

    def pages_of(self, days: int, groups_a_day: int) -> int:
        """Pages of a query over so many days, cut into slices as it is read."""
        size = days_a_slice(groups_a_day, self.groups_per_page, self.pages_a_slice)
        slices, rest = divmod(days, size)
        return slices * self.pages(size * groups_a_day) + (self.pages(rest * groups_a_day) if rest else 0)

    def pages(self, groups: int) -> int:
        """Pages of a query that returns so many groups; an empty answer is a page too."""
        return max(1, -(-groups // self.groups_per_page))

    @property
    def days_per_page(self) -> int:
        """Days that may lie between two that are read together before the gap costs a page."""
        return min(31, self.groups_per_page // max(1, self.keys))

    def groups_of(self, kind: Literal["account", "service"], names: int) -> int:
        """Groups a day of so many accounts or services."""
        return -(-self.keys * names // max(1, self.accounts if kind == "account" else self.services))

    def reads_whole(self, today: date) -> bool:
        """Whether re-reading both months needs no more pages than the days that always move, and the scans."""
        full_days = (today - month_start(today, 1)).days + 1
        scan_days = (today - restatable_from(today)).days + 1
        scan = self.pages_of(scan_days, self.accounts)
        moving = self.pages_of(2, self.keys)
        return self.pages_of(full_days, self.keys) <= moving + scan / _REFRESHES_PER_SCAN


_KINDS: tuple[tuple[Literal["account", "service"], Callable[[CostScale], int]], ...] = (
    ("account", lambda scale: scale.accounts),
    ("service", lambda scale: scale.services),
)
MOST_VALUES_OF_A_FILTER = 100


def days_a_slice(groups_a_day: int, groups_per_page: int, pages: int) -> int:
    """Days that are read and committed together: as many as fit on so many pages, at least one."""
    return max(1, pages * groups_per_page // max(1, groups_a_day))


def pages_a_slice(ledger: Ledger) -> int:
    """Pages of a slice, from how long the last ones took."""
    milliseconds = ledger.facts.get(PAGE_MILLISECONDS_FACT)
    return max(1, min(_SLICE_PAGES, _SLICE_SECONDS * 1000 // milliseconds)) if milliseconds else _SLICE_PAGES


def non_usage_groups_a_day(accounts: int) -> int:
    """Non-usage charges of a day in the mean: a few lines an account and month."""
    return -(-NON_USAGE_LINES_A_MONTH * accounts // 30)


def groups_a_month(part: CostPart, keys: int, accounts: int) -> int:
    """Groups of one month in a comparison of months; `keys` are those of a day."""
    return max(1, keys if part is CostPart.MONTHS else NON_USAGE_LINES_A_MONTH * accounts)


def assumed_scale(accounts: int) -> Scale:
    """A scale to plan with before anything was read."""
    count = max(1, accounts)
    return Scale(count, ASSUMED_SERVICES, count * ASSUMED_SERVICES, 1, ASSUMED_GROUPS_PER_PAGE)


def known_scale(ledger: Ledger, now: datetime) -> CostScale:
    """The scale that the ledger has seen over the last complete week."""
    end = now.date()
    start = end - timedelta(days=7)
    accounts, services = ledger.cost.accounts_and_services(start, end)
    return CostScale(
        accounts=accounts,
        services=services,
        keys=ledger.cost.keys_per_day(start, end),
        groups_per_page=ledger.facts.get(PAGE_SIZE_FACT) or ASSUMED_GROUPS_PER_PAGE,
        pages_a_slice=pages_a_slice(ledger),
    )


def seen_groups(ledger: Ledger) -> tuple[tuple[str, int], ...]:
    """Groups a day of each query of Cost Explorer that was answered, by its name."""
    return tuple(sorted(ledger.facts.of(GROUPS_A_DAY).items()))


def month_of_pages(settings: CostSettings, scale: Scale) -> Mapping[CostPart, Decimal]:
    """Pages that a month of 30 days takes, by the same decisions as `next_query`.

    Assumed to move are today and yesterday at each refresh, once a day the day before, and between
    two scans some accounts on older days.
    """
    cost = CostScale(scale.accounts, scale.services, scale.keys, scale.groups_per_page)
    a_day = timedelta(days=1) / settings.interval
    totals = dict.fromkeys(CostPart, Decimal(0))
    first = date(2026, 4, 1)  # a month of 30 days after one of 31
    for number in range(30):
        today = first + timedelta(days=number)
        full_days = (today - month_start(today, 1)).days + 1
        refreshes = Decimal(str(a_day))
        if settings.refresh == "full" or (settings.refresh == "auto" and cost.reads_whole(today)):
            totals[CostPart.COSTS] += refreshes * cost.pages_of(full_days, cost.keys)
        else:
            if today.day == BILL_IS_FINAL_ON:
                days = (month_start(today) - month_start(today, 1)).days
                totals[CostPart.COSTS] += cost.pages_of(days, cost.keys)
            scan_days = (today - restatable_from(today)).days + 1
            scans = refreshes / _REFRESHES_PER_SCAN / 2
            totals[CostPart.SCAN_ACCOUNTS] += scans * cost.pages_of(scan_days, cost.accounts)
            totals[CostPart.SCAN_SERVICES] += scans * cost.pages_of(full_days, cost.services)
            once = min(Decimal(1), refreshes)
            # What moved of older days, after each scan by account; with many accounts, some of it is not
            # due yet, and follows.
            reads = scans * (1 + Decimal(min(100, cost.accounts)) / 100)
            moved = cost.groups_of("account", -(-cost.accounts * _PERCENT_THAT_MOVES // 100))
            older = min(cost.pages_of(scan_days, moved), 3 * cost.pages(cost.keys))
            totals[CostPart.COSTS] += reads * older
            totals[CostPart.COSTS] += (refreshes - once) * cost.pages_of(2, cost.keys)
            totals[CostPart.COSTS] += once * cost.pages_of(3, cost.keys)
        totals[CostPart.OTHER] += min(Decimal(1), refreshes) * cost.pages(3 * cost.accounts)
    return {part: pages for part, pages in totals.items() if pages}


def first_fill_pages(settings: CostSettings, scale: Scale, today: date) -> int:
    """Pages that the first read of the history takes."""
    cost = CostScale(scale.accounts, scale.services, scale.keys, scale.groups_per_page)
    pages = 0
    for months_back in range(settings.history_months + 1):
        month = month_start(today, months_back)
        end = min(month_start(today, months_back - 1), today + timedelta(days=1))
        days = (end - month).days
        if months_back == 0 and days > FIRST_SLICE_DAYS:
            pages += cost.pages(FIRST_SLICE_DAYS * cost.keys)
            days -= FIRST_SLICE_DAYS
        pages += cost.pages_of(days, cost.keys)
    # Non-usage charges: the two newest months, then all others.
    lines = non_usage_groups_a_day(scale.accounts)
    older = 30 * (settings.history_months - 1)
    return pages + cost.pages_of(60, lines) + (cost.pages_of(older, lines) if older else 0)
