"""Series with a rhythm of days of the month."""

from __future__ import annotations

import numpy as np

from bench.anomaly.draft import Draft, Draw
from bench.anomaly.registry import cost_class
from bench.anomaly.world import DAYS, Flags, Values

_RUNS = {"spike": 6.0, "dip": 1.0, "drop": 1.0, "shift": 1.0}


def _charge(draw: Draw, draft: Draft, where: Flags, *, calendars: int = 1) -> Draft:
    """Add a charge on these days, of about the same size each time; the first two of a new habit are neutral."""
    since = draw.since()
    days = [int(day) for day in np.flatnonzero(where) if day >= since]
    size = float(draft.usage.mean()) * draw.log_between(0.5, 8) + draw.between(0, 60)
    spread = draw.between(0, 0.06)
    for day in days:
        draft.usage[day] += size * float(np.exp(draw.rng.normal(0, spread)))
    draft.recurrence(days, neutral=2 * calendars if since else 0)
    return draft


def _base(draw: Draw) -> Draft:
    """What runs beside: a service, or nothing but small change."""
    if draw.chance(0.2):
        return draw.plain(draw.log_between(0.1, 5), draw.between(0.01, 0.1))
    return draw.plain(draw.level(10))


@cost_class("charge on a day of the month", events=_RUNS)
def day_of_month(draw: Draw) -> Draft:
    """A charge on the same day of each month, the 1st to the 28th."""
    return _charge(draw, _base(draw), draw.world.day == draw.whole(1, 28))


@cost_class("twice a month", events=_RUNS)
def twice_a_month(draw: Draw) -> Draft:
    """A run on two days of each month, such as the 1st and the 15th."""
    first = draw.whole(1, 13)
    where = np.isin(draw.world.day, (first, first + draw.whole(10, 15)))
    return _charge(draw, _base(draw), where, calendars=2)


@cost_class("last days of the month", events=_RUNS)
def last_days(draw: Draw) -> Draft:
    """A closing run on the last day, or the last two or three."""
    return _charge(draw, _base(draw), draw.world.from_end < draw.whole(1, 3))


@cost_class("first days of the month", events=_RUNS)
def first_days(draw: Draw) -> Draft:
    """A billing run over the first two to five days."""
    return _charge(draw, _base(draw), draw.world.day <= draw.whole(2, 5))


@cost_class("nth weekday of the month", events=_RUNS)
def nth_weekday(draw: Draw) -> Draft:
    """A job on the first Monday, the third Thursday, the last Friday, ..."""
    world, weekday = draw.world, draw.whole(0, 6)
    nth = (world.day - 1) // 7
    place = draw.whole(0, 4)
    where = (world.from_end < 7) if place == 4 else (nth == place)
    return _charge(draw, _base(draw), (world.weekday == weekday) & where)


@cost_class("charge moved off weekends", events=_RUNS)
def off_weekends(draw: Draw) -> Draft:
    """A charge on a day of the month that a weekend moves to the working day before, or after."""
    world, wanted, forward = draw.world, draw.whole(1, 28), draw.chance(0.5)
    where = np.zeros(DAYS, dtype=np.bool_)
    for day in np.flatnonzero(world.day == wanted):
        over = int(world.weekday[day]) - 4  # 1 on a Saturday, 2 on a Sunday
        moved = int(day) + ((3 - over) if forward else -over) * (over > 0)
        if 0 <= moved < DAYS:
            where[moved] = True
    return _charge(draw, _base(draw), where)


@cost_class("last working day", events=_RUNS)
def last_working_day(draw: Draw) -> Draft:
    """A run on the last Monday-to-Friday of the month, or on the first."""
    world = draw.world
    working = world.weekday < 5
    where = np.zeros(DAYS, dtype=np.bool_)
    last = draw.chance(0.6)
    for month in np.unique(world.month):
        days = np.flatnonzero((world.month == month) & working)
        edge = world.from_end if last else world.day - 1
        if len(days) and edge[days[-1 if last else 0]] < 4:
            where[days[-1 if last else 0]] = True
    return _charge(draw, _base(draw), where)


@cost_class("quarterly", events=_RUNS)
def quarterly(draw: Draw) -> Draft:
    """A charge on one day of every third month; thirteen months show four or five."""
    world = draw.world
    where = (world.day == draw.whole(1, 28)) & (world.month % 3 == draw.whole(0, 2))
    draft = _base(draw)
    size = float(draft.usage.mean()) * draw.log_between(0.5, 6) + draw.between(0, 60)
    days = [int(day) for day in np.flatnonzero(where)]
    draft.usage[days] += size * np.exp(draw.rng.normal(0, 0.03, len(days)))
    draft.recurrence(days)
    return draft


def _within_month(draw: Draw, usage: Values) -> Values:
    """What the month has used before each day."""
    before = np.zeros(DAYS)
    for month in np.unique(draw.world.month):
        days = np.flatnonzero(draw.world.month == month)
        before[days] = np.concatenate([[0.0], np.cumsum(usage[days])[:-1]])
    return before


@cost_class("free tier", events={"spike": 1})
def free_tier(draw: Draw) -> Draft:
    """Nothing until the month has used what is free, about the middle of the month."""
    draft = draw.plain(draw.level(20, 2000), draw.log_between(0.01, 0.06))
    daily = float(np.median(draft.usage))
    free = daily * draw.between(7, 20)
    before = _within_month(draw, draft.usage)
    draft.peak = draft.usage.copy()
    draft.usage = np.clip(before + draft.usage - free, 0, draft.usage)
    # The first column is within a month whose beginning is not known.
    return draft


@cost_class("tiers of price")
def tiers(draw: Draw) -> Draft:
    """The price falls within the month as more is used, and is back on the 1st."""
    draft = draw.plain(draw.level(20), draw.log_between(0.005, 0.06))
    daily = float(np.median(draft.usage))
    before = _within_month(draw, draft.usage)
    times, at = draw.between(0.45, 0.85), draw.between(6, 22) * daily
    draft.usage = np.where(before > at, draft.usage * times, draft.usage)
    return draft


@cost_class("several habits", events=_RUNS)
def several_habits(draw: Draw) -> Draft:
    """A weekly job, a charge on a day of the month and a run at its end, in one service."""
    draft, world = draw.plain(draw.level(30), draw.log_between(0.005, 0.06)), draw.world
    level = float(np.median(draft.usage))
    where = (
        world.weekday == draw.whole(0, 6),
        world.day == draw.whole(1, 25),
        world.from_end < draw.whole(1, 2),
    )
    for days in where:
        size = level * draw.log_between(0.4, 3)
        draft.usage[days] += size * np.exp(draw.rng.normal(0, 0.04, int(days.sum())))
        draft.runs |= days
    return draft
