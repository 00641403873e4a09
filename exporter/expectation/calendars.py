"""Dates on which something recurs: which calendars a day lies on, and what its earlier days there let expect.

A calendar is a rule that names days: the 15th, or the working day after it where it falls on a weekend, the last
day but two, the first Monday, the third working day, every other Wednesday, the end of a quarter, every tenth day.
None of them is configured. A day lies on some twenty of them; each is believed only where the last two of its days
stood out from the days around them, or three of the last four. What recurs is expected with the size that it had.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache

DAYS_BACK = 400
"""Thirteen months."""
REMEMBERED = 4
"""So many earlier days of a calendar are looked at."""
_DAY = timedelta(days=1)
_WEEKS = ((14, 2), (28, 2))
_INTERVALS = tuple(days for days in range(3, 46) if days % 7)
_FEWEST_OF_INTERVAL = 3
_NAMED_FROM_END = 7
_FOUR_WEEKS_AHEAD = 14
_WORKING_DAYS = 10
_WORKING_DAYS_FROM_END = 5


@dataclass(frozen=True, slots=True)
class Calendar:
    """One rule on which the tested day lies: its earlier days, newest first.

    It is believed where the newest `fewest` of them stood out.
    """

    name: str
    days: tuple[date, ...]
    fewest: int = 2
    is_monthly: bool = False


_Place = Callable[[int, int], date | None]
"""Year and month to the day that a rule names there; None where it names none."""


@lru_cache(maxsize=512)
def calendars(tested: date) -> tuple[Calendar, ...]:
    """The calendars that a day lies on, each with the days of the thirteen months before it."""
    oldest = tested - timedelta(days=DAYS_BACK)
    found: dict[tuple[date, ...], Calendar] = {}
    for each in _all(tested):
        days = tuple(day for day in each.days if day >= oldest)
        if len(days) >= each.fewest:
            found.setdefault(days, replace(each, days=days))
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of months: the newest of its days that are known, newest first, and those that come.

    It takes `fewest` days to be told from chance: some twenty rules name any two days that are a month apart.
    """

    name: str
    past: tuple[date, ...]
    coming: tuple[date, ...]
    fewest: int


@lru_cache(maxsize=16)
def rules(oldest: date, newest: date, until: date, most: int = REMEMBERED) -> tuple[Rule, ...]:
    """All rules that name days of [oldest, newest], with their days after it up to `until`; simpler ones first.

    Of the past, the newest `most` days of each.
    """
    found: dict[tuple[tuple[date, ...], tuple[date, ...]], Rule] = {}
    first, last = (day.year * 12 + day.month - 1 for day in (oldest, until))
    months = [_of_month(month) for month in range(first - 1, last + 2)]
    for number, name in enumerate(_PLACES):
        days = [day for named in months if (day := named[number])]
        past = tuple(sorted((day for day in days if oldest <= day <= newest), reverse=True)[:most])
        coming = tuple(day for day in days if newest < day <= until)
        if len(past) > 1:
            found.setdefault((past, coming), Rule(name, past, coming, 2 if name in _PLAIN else 3))
    for back in range(28):
        known = [newest - (back + 28 * number) * _DAY for number in range(most)]
        days = [newest + (28 * number - back) * _DAY for number in range(1, _FOUR_WEEKS_AHEAD)]
        coming = tuple(day for day in days if day <= until)
        past = tuple(day for day in known if day >= oldest)[:most]
        if len(past) > 1:
            found.setdefault((past, coming), Rule("every 28 days", past, coming, 3))
    return tuple(found.values())


def _all(tested: date) -> Iterator[Calendar]:
    for length, fewest in _WEEKS:
        yield Calendar(f"every {length} days", _back(tested, length), fewest)
    here = tested.year * 12 + tested.month - 1
    for number, name in enumerate(_PLACES):
        for month in (here - 1, here, here + 1):
            if _of_month(month)[number] != tested:
                continue
            for step, prefix in ((1, ""), (3, "quarterly, ")):
                days = [_of_month(month - step * back)[number] for back in range(1, REMEMBERED + 1)]
                if all(days):
                    yield Calendar(prefix + name, tuple(day for day in days if day), is_monthly=step == 1)
            break
    for length in _INTERVALS:
        yield Calendar(f"every {length} days", _back(tested, length), _FEWEST_OF_INTERVAL)


def _back(tested: date, length: int) -> tuple[date, ...]:
    return tuple(tested - timedelta(days=length * number) for number in range(1, REMEMBERED + 1))


@lru_cache(maxsize=256)
def _of_month(month: int) -> tuple[date | None, ...]:
    """What each rule names in a month, which is counted from the year 0."""
    return tuple(place(month // 12, month % 12 + 1) for place in _PLACES.values())


# What a month names


def _length(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _next_working_day(day: date) -> date:
    return day + max(0, 7 - day.weekday()) * _DAY if day.weekday() >= 5 else day


def _working_day_before(day: date) -> date:
    return day - max(0, day.weekday() - 4) * _DAY


_SHIFTS: dict[str, Callable[[date], date]] = {
    "": lambda day: day,
    ", or the working day after": _next_working_day,
    ", or the working day before": _working_day_before,
}


def _numbered(number: int, shift: Callable[[date], date]) -> _Place:
    return lambda year, month: shift(date(year, month, min(number, _length(year, month))))


def _from_end(number: int, shift: Callable[[date], date]) -> _Place:
    return lambda year, month: shift(date(year, month, _length(year, month) - number))


def _weekday(weekday: int, number: int) -> _Place:
    def place(year: int, month: int) -> date | None:
        day = 1 + (weekday - date(year, month, 1).weekday()) % 7 + 7 * (number - 1)
        return date(year, month, day) if day <= _length(year, month) else None

    return place


def _last_weekday(weekday: int) -> _Place:
    def place(year: int, month: int) -> date:
        last = date(year, month, _length(year, month))
        return last - ((last.weekday() - weekday) % 7) * _DAY

    return place


def _working_day(number: int) -> _Place:
    """The so manieth working day from the first, or from the last (-1) back."""

    def place(year: int, month: int) -> date:
        all_ = [date(year, month, day) for day in range(1, _length(year, month) + 1)]
        working = [day for day in all_ if day.weekday() < 5]
        return working[number - 1] if number > 0 else working[number]

    return place


def _places() -> dict[str, _Place]:
    found: dict[str, _Place] = {}
    for suffix, shift in _SHIFTS.items():
        for number in range(1, 32):
            found[f"day {number}{suffix}"] = _numbered(number, shift)
        for number in range(_NAMED_FROM_END):
            found[f"{number} days before the last{suffix}"] = _from_end(number, shift)
    for weekday, name in enumerate(calendar.day_name):
        for number in range(1, 5):
            found[f"{name} {number}"] = _weekday(weekday, number)
        found[f"last {name}"] = _last_weekday(weekday)
    for number in range(1, _WORKING_DAYS + 1):
        found[f"working day {number}"] = _working_day(number)
    for number in range(1, _WORKING_DAYS_FROM_END + 1):
        found[f"working day {-number}"] = _working_day(-number)
    return found


_PLACES = _places()
_PLAIN = {f"day {number}" for number in range(1, 32)} | {
    f"{number} days before the last" for number in range(_NAMED_FROM_END)
}
