"""Which days of cost by a dimension are worth their price now, from Cost Explorer, and how many pages a month that makes.

Each dimension beside the account, or beside the service, is a separate query. Today and yesterday always move: they
are read each interval. An older day is read again where the ledger's cost of it has changed since and no longer
equals the sum of the keys: once a day at most, and of the accounts alone that differ where that is fewer pages. What moves
between keys at an equal sum is found once the bill is final: then its month is read once more. A tag backfill or a
changed cost category rewrites months at equal sums; `exporter.cube.rewrites` finds these.

`next_read` decides for the collector, for when it is due, and for the price.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from functools import lru_cache

from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from exporter.aws.meter import FIRST_FILL
from exporter.core.moments import days_between, month_start, start_of_day, times_a_month
from exporter.cost.refresh_plan import (
    FIRST_SLICE_DAYS,
    GROUPS_A_DAY,
    MOST_VALUES_OF_A_FILTER,
    SETTLED_AFTER_DAYS,
    CostScale,
    known_scale,
    last_final_bill,
    newest_run,
    restatable_from,
)
from exporter.cost.unavailable import first_available
from exporter.cube import compared, values
from exporter.cube.dimensions import Dimension
from exporter.cube.rewrites import Rewrite
from exporter.cube.values import Beside, ReadState
from exporter.declarations.calls import Scale
from exporter.ledger.file import Ledger

_DAY = timedelta(days=1)
_ONCE_A_DAY = timedelta(hours=20)  # at any hour of the refreshes
_AT_NOON = timedelta(hours=12)  # AWS reports nothing of a month in its first hours
_SESSION = timedelta(hours=1)  # after a refresh: older days that moved are read together with it
_NOTICED_EVERY = (
    2  # days: of cost that is not read whole, a scan by account shows which older days have moved
)
_PERCENT_THAT_MOVES = 5  # of the accounts, on one older day, in a day

ASSUMED_VALUES: Mapping[str, int] = {
    "region": 6,
    "charge_type": 5,
    "usage_type": 60,
    "operation": 40,
    "billing_entity": 1,
    "untagged": 1,
}
"""Keys of an account on a day, until a read has shown how many there are."""
_ASSUMED_TAG_VALUES = 10
_SIMULATED_INTERVAL = timedelta(hours=12)
"""The shortest that is simulated: a price is asked for at each start, and more refreshes a day cost more time only."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One kind of query: a dimension beside account or service."""

    dimension: Dimension
    beside: Beside = "account"

    @property
    def name(self) -> str:
        """Its name in facts, prices and logs."""
        return f"{self.dimension.name} by {self.beside}"

    @property
    def subject(self) -> str:
        """What Cost Explorer calls account or service."""
        return "LINKED_ACCOUNT" if self.beside == "account" else "SERVICE"

    @property
    def group_by(self) -> tuple[str | tuple[str, str], ...]:
        """How Cost Explorer is to group."""
        key = self.dimension.cost_explorer
        return (self.subject,) if key is None else (self.subject, key)

    def record_filter(self, only: frozenset[str] | None) -> Mapping[str, object] | None:
        """The filter for Cost Explorer; None for all cost. `only` are account ids or services."""
        parts: list[Mapping[str, object]] = []
        if self.dimension.kind == "untagged":
            parts += [
                {"Dimensions": {"Key": "RECORD_TYPE", "Values": list(USAGE_RECORD_TYPES)}},
                {"Tags": {"Key": self.dimension.key, "MatchOptions": ["ABSENT"]}},
            ]
        if only is not None:
            parts.append({"Dimensions": {"Key": self.subject, "Values": sorted(only)}})
        return {"And": parts} if len(parts) > 1 else parts[0] if parts else None

    @property
    def is_whole(self) -> bool:
        """Whether its keys add up to all cost."""
        return self.dimension.kind != "untagged"

    @property
    def fact(self) -> str:
        """The fact of how many groups a day had last."""
        return GROUPS_A_DAY + self.name


class Rank(IntEnum):
    """What is read first."""

    RECENT = 0
    """Days of this and the last month that were never read."""
    REFRESH = 1
    MOVED = 2
    """Older days whose cost has moved, or whose keys were rewritten."""
    HISTORY = 3


@dataclass(frozen=True, slots=True)
class Read:
    """A read of [start, end) that is worth its price now; it is cut into slices, newest first."""

    rank: Rank
    start: date
    end: date
    budget: str = "cost"
    only: frozenset[str] | None = None
    may_wait: bool = False
    """Whether it waits while the ceilings leave no more than the refreshes of cost need."""


@dataclass(frozen=True, slots=True)
class Known:
    """What decides about one reading."""

    first: date
    """The first day of the history."""
    reads: Mapping[date, ReadState]
    differing: Mapping[date, frozenset[str] | None]
    """The accounts or services of each older day that differ from its cost and were not read today; None: not known."""
    scale: CostScale
    """Its `keys` are the groups of a day of this reading; 0 while they are not known."""
    beside: Beside = "account"
    rewrites: Sequence[Rewrite] = ()


def next_read(known: Known, interval: timedelta, now: datetime) -> Read | None:
    """The next read to pay for, or None when nothing is due."""
    today, reads = now.date(), known.reads
    tomorrow, recent = today + _DAY, month_start(today, 1)
    missing = set(days_between(known.first, tomorrow)) - reads.keys()
    if not reads:
        run = newest_run(missing)
        return Read(Rank.RECENT, run[0], tomorrow, FIRST_FILL) if run else None

    due = refresh_due(known, interval, now)
    yesterday = reads.get(today - _DAY)
    is_session = now >= due or (yesterday is not None and now < yesterday.whole_at + _SESSION)
    whole, some = _stale(known, now, known.differing if is_session else {})
    oldest = min(reads)
    gaps = {day for day in missing if day > oldest}
    join = known.scale.days_per_page
    if now >= due:
        run = newest_run({max(today - _DAY, known.first), today} | gaps | whole, join)
        return Read(Rank.REFRESH, run[0], tomorrow)
    # An unread today alone waits for the refresh.
    if run := newest_run(gaps - {today}):
        return Read(Rank.RECENT, run[0], run[-1] + _DAY)
    history = newest_run(missing - gaps)
    if history and history[-1] >= recent:
        return Read(Rank.RECENT, history[0], history[-1] + _DAY, FIRST_FILL)
    if some and (read := _of_subjects(known, some, recent)) is not None:
        return read
    if run := newest_run(whole | some.keys(), join):
        return Read(Rank.MOVED, run[0], run[-1] + _DAY, may_wait=run[-1] < recent)
    if history:
        return Read(Rank.HISTORY, history[0], history[-1] + _DAY, FIRST_FILL)
    return None


def refresh_due(known: Known, interval: timedelta, now: datetime) -> datetime:
    """When to read today and yesterday next; an interval of a day waits for noon on the 1st of a month."""
    yesterday = now.date() - _DAY
    state = known.reads.get(yesterday) or known.reads.get(now.date())
    due = state.whole_at + interval if state is not None else now
    day = max(due, now).date()
    if day.day == 1 and day not in known.reads:
        # Otherwise, what AWS has in the first hours would be all that is known for a day.
        due = max(due, start_of_day(day) + min(interval, _AT_NOON))
    return due


def _stale(
    known: Known, now: datetime, differing: Mapping[date, frozenset[str] | None]
) -> tuple[set[date], dict[date, frozenset[str]]]:
    """The days before yesterday to read again: those of all subjects, and those of some."""
    today = now.date()
    final_from, final_until, final = last_final_bill(today)
    whole: set[date] = set()
    some: dict[date, frozenset[str]] = {}
    for day, state in known.reads.items():
        if day >= today - _DAY or day < known.first:
            continue
        if (
            state.whole_at.date() <= day
            or (final_from <= day < final_until and state.whole_at < final)
            or (
                known.rewrites and any(rewrite.is_due(day, state.whole_at, now) for rewrite in known.rewrites)
            )
        ):
            whole.add(day)
        elif day in differing:
            subjects = differing[day]
            if subjects is None or (today - day).days <= SETTLED_AFTER_DAYS:  # moves in most accounts
                whole.add(day)
            else:
                some[day] = subjects
    return whole, some


def _of_subjects(known: Known, some: Mapping[date, frozenset[str]], recent: date) -> Read | None:
    """The days that differ, of the accounts or services that do; None where whole days are no more pages."""
    names = frozenset[str]().union(*some.values())
    if len(names) > MOST_VALUES_OF_A_FILTER:
        return None
    scale, start, end = known.scale, min(some), max(some) + _DAY
    runs, left = 0, set(some)
    while run := newest_run(left, scale.days_per_page):
        runs += scale.pages_of(len(run), scale.keys)
        left -= set(run)
    if scale.pages_of((end - start).days, scale.groups_of(known.beside, len(names))) > runs:
        return None
    return Read(Rank.MOVED, start, end, only=names, may_wait=end <= recent)


def followed_changes(ledger: Ledger, reading: Reading, start: date, end: date) -> dict[date, int]:
    """How often each day of [start, end) has changed in what a reading follows: cost, or the tag for untagged usage."""
    if reading.is_whole:
        return {day: state.changes for day, state in ledger.reads.day_states(start, end).items()}
    tag = Dimension("tag", reading.dimension.key)
    return {
        day: state.changes for day, state in values.reads(ledger, tag, reading.beside, start, end).items()
    }


def known_of(
    ledger: Ledger,
    reading: Reading,
    first: date,
    rewrites: Iterable[Rewrite],
    now: datetime,
    *,
    confirm: bool = False,
) -> Known:
    """What the ledger knows of a reading; nothing is asked of AWS.

    With `confirm`, days that still add up to their cost are remembered, so that they are compared once.
    """
    today = now.date()
    first = max(first, first_available(ledger))
    reads = values.reads(ledger, reading.dimension, reading.beside, first, today + _DAY)
    counts = followed_changes(ledger, reading, first, today - _DAY)
    changed = {
        day
        for day, state in reads.items()
        if day in counts
        and state.cost_changes != counts[day]
        # A tag that was read for the first time after what has none of it.
        and (reading.is_whole or (state.cost_changes, counts[day]) != (0, 1))
        and now >= state.read_at + _ONCE_A_DAY
    }
    differing: Mapping[date, frozenset[str] | None]
    if reading.is_whole:
        differing = compared.differences(ledger, reading.dimension, reading.beside, changed)
        if confirm:
            equal = {day: counts[day] for day in changed - differing.keys()}
            compared.confirm(ledger, reading.dimension, reading.beside, equal)
    else:
        differing = dict.fromkeys(changed)
    scale = replace(known_scale(ledger, now), keys=ledger.facts.get(reading.fact) or 0)
    kind = "tag" if reading.dimension.kind == "untagged" else reading.dimension.kind
    return Known(
        first,
        reads,
        differing,
        scale,
        reading.beside,
        tuple(each for each in rewrites if each.kind == kind and each.key in ("", reading.dimension.key)),
    )


# Prices


def assumed_groups(reading: Reading, scale: Scale) -> int:
    """Groups of a day: as the ledger has seen them, else an assumption."""
    seen = dict(scale.groups).get(reading.name)
    if seen:
        return seen
    subjects = scale.accounts if reading.beside == "account" else scale.services
    return subjects * ASSUMED_VALUES.get(reading.dimension.kind, _ASSUMED_TAG_VALUES)


@dataclass(slots=True)
class _Month:
    """A simulated month of one reading."""

    known: Known
    reads: dict[date, ReadState]
    differing: dict[date, frozenset[str] | None] = field(default_factory=dict)
    pages: Decimal = Decimal(0)

    def read_all(self, interval: timedelta, now: datetime) -> None:
        scale, groups = self.known.scale, self.known.scale.keys
        while (read := next_read(self.known, interval, now)) is not None:
            days = list(days_between(read.start, read.end))
            if read.only is not None:
                groups = scale.groups_of(self.known.beside, len(read.only))
            self.pages += scale.pages_of(len(days), groups)
            for day in days:
                whole_at = now if read.only is None else self.reads[day].whole_at
                self.reads[day] = ReadState(now, "cost_explorer", 0, 0, whole_at)
                self.differing.pop(day, None)
            groups = scale.keys


def month_of_pages(reading: Reading, scale: Scale, interval: timedelta) -> Decimal:
    """Pages that a month of 30 days takes, by the decisions of `next_read`.

    A shorter interval than `_SIMULATED_INTERVAL` reads today and yesterday more often, and nothing else.
    """
    simulated = max(interval, _SIMULATED_INTERVAL)
    whole = CostScale(scale.accounts, scale.services, scale.keys, scale.groups_per_page)
    cost = replace(whole, keys=assumed_groups(reading, scale))
    more = times_a_month(interval) - times_a_month(simulated)
    simulation = _simulated_month(reading.beside, reading.is_whole, cost, whole, simulated)
    return simulation + more * cost.pages_of(2, cost.keys)


@lru_cache(maxsize=256)
def _simulated_month(
    beside: Beside, is_whole: bool, cost: CostScale, whole: CostScale, interval: timedelta
) -> Decimal:
    """Pages of a month in which each decision is made; `cost` has the groups of a day as its keys, `whole` those of cost.

    Assumed to change are, each day, the cost of the days that have not settled, and that of some accounts on one older
    day each.
    """
    first = date(2026, 4, 1)  # a month of 30 days after one of 31
    moment = began = start_of_day(first) + timedelta(hours=1)
    start = month_start(first, 2)
    subjects = cost.accounts if beside == "account" else cost.services
    reads = {
        day: ReadState(moment - interval, "cost_explorer", 0, 0, moment - interval)
        for day in days_between(start, first)
    }
    month = _Month(Known(start, reads, {}, cost, beside), reads)
    month.known = replace(month.known, differing=month.differing)
    moving = number_of_days = 0
    while moment < start_of_day(first) + timedelta(days=30):
        today = moment.date()
        before = reads.get(today - 2 * _DAY)
        if before is None or before.read_at + _ONCE_A_DAY <= moment:
            settled = today - SETTLED_AFTER_DAYS * _DAY
            month.differing |= dict.fromkeys(days_between(settled, today - _DAY))
            # One subject each, of days that are spread over those that AWS restates.
            older = list(days_between(restatable_from(today), settled))
            moving += subjects * _PERCENT_THAT_MOVES
            count = 0
            if number_of_days % (1 if whole.reads_whole(today) else _NOTICED_EVERY) == 0:
                count, moving = divmod(moving, 100)
            number_of_days += 1
            days = min(count, len(older))
            for number in range(days):
                day = older[(2 * number + 1) * len(older) // (2 * days)]
                names = frozenset(str(name) for name in range(number, count, days))
                month.differing[day] = names if is_whole else None
        month.read_all(interval, moment)
        moment += interval
    # Intervals need not divide the month.
    return month.pages * Decimal(30 * _DAY / (moment - began))


def first_fill_pages(reading: Reading, scale: Scale, first: date, today: date) -> int:
    """Pages that the first read of all days from `first` on takes."""
    keys = assumed_groups(reading, scale)
    cost = CostScale(scale.accounts, scale.services, keys, scale.groups_per_page)
    days = (today - first).days + 1
    if days <= FIRST_SLICE_DAYS:
        return cost.pages_of(days, keys)
    return cost.pages(FIRST_SLICE_DAYS * keys) + cost.pages_of(days - FIRST_SLICE_DAYS, keys)
