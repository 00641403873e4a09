"""Which hours Cost Explorer is asked for next: the newest, and those of days whose cost has changed since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import ceil

from exporter.aws.errors import AwsError, Kind
from exporter.core.moments import start_of_day, times_a_month
from exporter.cube.hours import HOURS_KEPT, HourState
from exporter.declarations.calls import Scale

HOURS_A_DAY = 24
SETTLED_AFTER = timedelta(days=2)
"""How long after its end the hours of a day are read at each interval; later only when its cost changed."""
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_OLD_AGAIN = timedelta(days=1)
_MARGIN = timedelta(hours=1)  # a request that is sent late must not begin too early
_DAYS_AT_ONCE = SETTLED_AFTER // _DAY + 1


def hours_to_read(now: datetime) -> tuple[datetime, datetime]:
    """The hours that are over and that Cost Explorer still has: [first, end)."""
    end = now.replace(minute=0, second=0, microsecond=0)
    return end - HOURS_KEPT + _MARGIN, end


def hours_between(start: datetime, end: datetime) -> set[datetime]:
    """The hours of [start, end)."""
    return {start + number * _HOUR for number in range((end - start) // _HOUR)}


def answered_hours(start: datetime, end: datetime, estimated: Mapping[date, bool]) -> set[datetime]:
    """The hours of [start, end), which were asked for, that AWS answers for.

    The newest may be missing, because AWS has none of their cost yet. Any other gap is an AwsError.
    """
    found = {hour for hour in estimated if isinstance(hour, datetime)}
    if (
        found != hours_between(start, max(found, default=start - _HOUR) + _HOUR)
        or max(found, default=start) >= end
    ):
        raise AwsError(Kind.MALFORMED_RESPONSE, "Cost Explorer's answer lacks hours")
    return found


def hours_taken(asked: set[datetime], answered: set[datetime], known: Set[datetime]) -> set[datetime]:
    """The hours that an answer replaces: of those without an answer only what is not `known`.

    They were asked for, and are not asked for again before their time; no cost is known of them.
    """
    return answered | (asked - known)


@dataclass(frozen=True, slots=True)
class KnownHours:
    """What is known of the hours that may be read."""

    hours: Mapping[datetime, HourState]
    changes: Mapping[date, int]
    """How often the ledger's cost of a day has changed."""

    def due(self, now: datetime, interval: timedelta) -> Iterator[tuple[date, datetime]]:
        """The days to read, the newest first, and when."""
        first, end = hours_to_read(now)
        read: dict[date, HourState] = {}
        for hour, state in self.hours.items():
            if hour.date() not in read or state.read_at > read[hour.date()].read_at:
                read[hour.date()] = state
        newest = (end - _HOUR).date()
        for number in range((newest - first.date()).days + 1):
            day = newest - number * _DAY
            if day not in read:
                yield day, now
            elif read[day].read_at < start_of_day(day + _DAY) + SETTLED_AFTER:
                yield day, read[day].read_at + interval
            elif self.changes.get(day, 0) != read[day].cost_changes:
                yield day, read[day].read_at + _OLD_AGAIN

    def next_days(self, now: datetime, interval: timedelta) -> tuple[date, date] | None:
        """The newest days next to each other that are due, [first, end); None if there are none."""
        days = [day for day, at in self.due(now, interval) if at <= now]
        if not days:
            return None
        first = days[0]
        while first - _DAY in days:
            first -= _DAY
        return first, days[0] + _DAY


def month_of_pages(by_account: bool, scale: Scale, interval: timedelta) -> Decimal:
    """Pages of a 30-day month: the days that have not settled each interval, and once a day the older ones, at most."""
    groups_a_day = HOURS_A_DAY * (scale.keys if by_account else scale.services)

    def pages(days: int) -> int:
        return ceil(days * groups_a_day / scale.groups_per_page)

    older = HOURS_KEPT // _DAY - _DAYS_AT_ONCE
    return pages(_DAYS_AT_ONCE) * times_a_month(interval) + pages(older) * times_a_month(_OLD_AGAIN)
