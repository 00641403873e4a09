"""Series with a rhythm of days of the week."""

from __future__ import annotations

import numpy as np

from bench.anomaly.draft import Draft, Draw
from bench.anomaly.registry import SPIKES, cost_class
from bench.anomaly.world import DAYS, HISTORY_DAYS, Flags

_NO_DIPS = {"spike": 6.0, "shift": 1.0}


def _add_runs(draw: Draw, draft: Draft, days: list[int], times: float) -> None:
    """Cost `times` as much more on these days, with a little noise."""
    for day in days:
        draft.usage[day] *= 1 + times * float(np.exp(draw.rng.normal(0, 0.04)))
    draft.runs[days] = True


@cost_class("workdays")
def workdays(draw: Draw) -> Draft:
    """Far less on weekends and on public holidays; a holiday counts neither way."""
    draft = draw.plain(draw.level(20), week=False)
    rest = draw.between(0.02, 0.5)
    quiet: Flags = draw.world.weekday >= 5
    off = draw.world.holiday & ~quiet if draw.chance(0.5) else np.zeros(DAYS, dtype=np.bool_)
    draft.usage[quiet | off] *= rest
    for day in np.flatnonzero(off):
        draft.neutral_day(-1, int(day))
    return draft


@cost_class("some weekdays only", events=SPIKES)
def some_weekdays(draw: Draw) -> Draft:
    """Nothing at all but on weekends, on one weekday, or on two."""
    draft = draw.plain(draw.level(20), week=False)
    chosen = [int(day) for day in draw.rng.choice(7, draw.whole(1, 2), replace=False)]
    runs = [5, 6] if draw.chance(0.35) else chosen
    on = np.isin(draw.world.weekday, runs)
    draft.peak = draft.usage.copy()
    draft.usage[~on] = 0
    draft.runs |= on
    return draft


@cost_class("weekly job")
def weekly_job(draw: Draw) -> Draft:
    """One weekday costs 1.4 to 6 times as much as others."""
    draft = draw.plain(draw.level(20), week=draw.chance(0.5))
    since, weekday = draw.since(), draw.whole(0, 6)
    days = [int(day) for day in np.flatnonzero(draw.world.weekday == weekday) if day >= since]
    _add_runs(draw, draft, days, draw.log_between(0.4, 5))
    return draft


@cost_class("weekly job that moves", events=_NO_DIPS)
def moving_job(draw: Draw) -> Draft:
    """A weekly job that moves to another weekday, before or among the judged days."""
    draft = draw.plain(draw.level(20), week=False)
    before, after = (int(day) for day in draw.rng.choice(7, 2, replace=False))
    moved = draw.whole(HISTORY_DAYS - 60, DAYS - 20)
    times = draw.log_between(0.5, 4)
    weekday = draw.world.weekday
    old = [int(day) for day in np.flatnonzero(weekday == before) if day < moved]
    new = [int(day) for day in np.flatnonzero(weekday == after) if day >= moved]
    _add_runs(draw, draft, old + new, times)
    draft.recurrence(new)
    missing = [int(day) for day in np.flatnonzero(weekday == before) if day >= moved]
    for day in missing[:2]:
        draft.neutral_day(-1, day)
    return draft


@cost_class("every other week")
def every_other_week(draw: Draw) -> Draft:
    """A job in every second week, on one weekday or over several days."""
    draft = draw.plain(draw.level(20), week=draw.chance(0.4))
    since, offset, width = draw.since(), draw.whole(0, 13), draw.whole(1, 3)
    number = np.arange(DAYS)
    days = [int(day) for day in np.flatnonzero((number - offset) % 14 < width) if day >= since]
    _add_runs(draw, draft, days, draw.log_between(0.5, 5))
    return draft


@cost_class("weekly job around holidays")
def job_around_holidays(draw: Draw) -> Draft:
    """A weekly job that waits for the day after a public holiday; such a week counts neither way."""
    draft = draw.plain(draw.level(20), week=draw.chance(0.5))
    weekday, times = draw.whole(0, 4), draw.log_between(0.5, 4)
    days: list[int] = []
    for day in np.flatnonzero(draw.world.weekday == weekday):
        held = bool(draw.world.holiday[day]) and day + 1 < DAYS
        days.append(int(day) + int(held))
        if held:
            draft.neutral_day(-1, int(day))
            draft.neutral_day(1, int(day) + 1)
    _add_runs(draw, draft, days, times)
    return draft


@cost_class("year-end freeze")
def freeze(draw: Draw) -> Draft:
    """Nearly idle from 22 December to 2 January, and less in the middle of August; both count neither way."""
    draft = draw.plain(draw.level(20))
    august = np.array([day.month == 8 and 8 <= day.day <= 21 for day in draw.world.dates])
    quiet = draw.world.freeze | (august if draw.chance(0.4) else False)
    draft.usage[quiet] *= draw.between(0.1, 0.7)
    for day in np.flatnonzero(quiet):
        draft.neutral_day(-1, int(day))
    return draft
