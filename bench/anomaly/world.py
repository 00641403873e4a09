"""The days of one organization, and what moves many of its series at once."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from dateutil.easter import easter
from numpy.typing import NDArray

Values = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

HISTORY_DAYS = 395
"""Days that are known before the first one is judged: thirteen months."""
JUDGED_DAYS = 90
DAYS = HISTORY_DAYS + JUDGED_DAYS


@dataclass(frozen=True, slots=True)
class World:
    """What every series of an organization shares; arrays are by day, `DAYS` long."""

    dates: tuple[date, ...]
    weekday: Numbers  # Monday is 0
    day: Numbers  # of the month
    from_end: Numbers  # 0 on the last day of the month
    month: Numbers  # months since the year 0
    holiday: Flags
    freeze: Flags  # 22 December to 2 January
    sale: Flags  # the week of Black Friday, Monday to Monday
    clock: Numbers  # hours that the day has by local time: 24, 23 or 25
    trend: Values  # how the organization grows and shrinks over weeks, around 1
    traffic: Values  # what its users do: trend, weekdays, the week of Black Friday
    final_on: Numbers  # the column of the day on which the bill of that day's month becomes final
    unread: Flags  # days that are not read when they are assessed, for any account

    def at(self, day: date) -> int:
        """The column of a date, which may lie outside."""
        return (day - self.dates[0]).days


def _holidays(year: int) -> set[date]:
    thursday = date(year, 11, 1) + timedelta(days=(3 - date(year, 11, 1).weekday()) % 7 + 21)
    fixed = {date(year, *day) for day in ((1, 1), (5, 1), (7, 4), (12, 25), (12, 26))}
    return fixed | {thursday, easter(year) - timedelta(days=2), easter(year) + timedelta(days=1)}


def _last_sunday(year: int, month: int) -> date:
    last = date(year, month, calendar.monthrange(year, month)[1])
    return last - timedelta(days=(last.weekday() + 1) % 7)


def draw_world(rng: np.random.Generator) -> World:
    """Days that begin anywhere in six years, so that years' ends and a leap day occur."""
    first = date(2021, 1, 1) + timedelta(days=int(rng.integers(0, 2190)))
    dates = tuple(first + timedelta(days=number) for number in range(DAYS))
    years = range(first.year, dates[-1].year + 1)
    holidays = set().union(*(_holidays(year) for year in years))
    fridays = {day + timedelta(days=1) for day in holidays if day.month == 11}
    sale = {day + timedelta(days=by) for day in fridays for by in range(-4, 4)}
    clock = {_last_sunday(year, 3): 23 for year in years} | {_last_sunday(year, 10): 25 for year in years}
    weekday = np.array([day.weekday() for day in dates])
    week = np.array([1.0, 1.02, 1.03, 1.02, 1.0, rng.uniform(0.6, 1.1), rng.uniform(0.6, 1.15)])
    walk = np.cumsum(rng.normal(rng.uniform(-0.0005, 0.0015), 0.008, DAYS))
    trend = np.exp(walk - walk[HISTORY_DAYS])
    traffic = week[weekday] * trend * np.exp(rng.normal(0, 0.02, DAYS))
    in_sale = np.array([day in sale for day in dates])
    traffic[in_sale] *= rng.uniform(1.0, 2.0)
    return World(
        dates,
        weekday,
        np.array([day.day for day in dates]),
        np.array([calendar.monthrange(day.year, day.month)[1] - day.day for day in dates]),
        np.array([day.year * 12 + day.month - 1 for day in dates]),
        np.array([day in holidays for day in dates]),
        np.array([(day.month, day.day) >= (12, 22) or (day.month, day.day) <= (1, 2) for day in dates]),
        in_sale,
        np.array([clock.get(day, 24) for day in dates]),
        trend,
        traffic,
        _final_on(rng, first, dates),
        rng.random(DAYS) < 0.01,
    )


def _final_on(rng: np.random.Generator, first: date, dates: tuple[date, ...]) -> Numbers:
    final: dict[tuple[int, int], int] = {}
    for day in dates:
        after = date(day.year + day.month // 12, day.month % 12 + 1, 1)
        if (day.year, day.month) not in final:
            final[day.year, day.month] = (after - first).days + int(rng.integers(4, 7))
    return np.array([final[day.year, day.month] for day in dates])
