"""When a series began, how often it is zero, and whether it has ended."""

from __future__ import annotations

import numpy as np

from exporter.expectation.arrays import MAD, Flags, Numbers, Values, median
from exporter.expectation.limits import Limits
from exporter.expectation.rhythm import is_due

NEWS_DAYS = 7
"""A new or stopped service is news for so many days; by then the level has learnt it."""
_STOPPED_SHARE = 0.01
_STOPPED_AFTER = 2
_CHANCE = 1e-4  # of a silence by itself, for it to be an end
_LONGER_THAN_EVER = 1.5
_OFTEN = 0.12
_OFTEN_TIMES = 4
_FEWEST_SIZES = 4
_UNKNOWN_SPREAD = 0.5
_LEAST_SPREAD = 0.06
_REACHED_TIMES = 3
_BEYOND_REACHED = 1.2
_BUSY = 0.85
_IDLE = 0.2  # of a busy day
_HALF_DAY = 0.4  # of a mean day: a weekday that costs less is no busy one


def silences(history: Values, shares: Values, limits: Limits) -> tuple[Values, Numbers]:
    """Of the days that should have some cost, the share without; and how many times such days began.

    Between the first and the last cost. `history` ends before the tested day; `shares` are those of the weekdays of
    its last seven columns.
    """
    some, none, due = _days(history, shares, limits)
    started = np.maximum.accumulate(some, axis=1)
    ended = np.maximum.accumulate(some[:, ::-1], axis=1)[:, ::-1]
    counted = started & ended & due
    silent = none & counted
    times = (silent[:, 1:] & ~silent[:, :-1]).sum(axis=1)
    share = silent.sum(axis=1) / np.maximum(((some | none) & counted).sum(axis=1), 1)
    return np.asarray(share), np.asarray(times)


def is_often_silent(share: Values, times: Numbers) -> Flags:
    """Whether days without cost are how a series is."""
    return np.asarray((share >= _OFTEN) & (times >= _OFTEN_TIMES))


def is_often_idle(history: Values, shares: Values, limits: Limits) -> Flags:
    """Whether days that cost next to nothing, against the others, are how a series is; `history` as of `silences`."""
    busy = np.quantile(np.where(np.isnan(history), 0.0, history), _BUSY, axis=1)
    idle = np.where(history < _IDLE * busy[:, None], 0.0, history)
    return is_often_silent(*silences(idle, np.where(shares < _HALF_DAY, 0.0, shares), limits))


def largest_usual(history: Values, deviations: float, limits: Limits) -> Values:
    """What a day may cost by the days that were not idle: so many deviations of the logarithm, or a little more
    than what was reached three times; infinite where there were none.
    """
    known = np.where(np.isnan(history), 0.0, history)
    busy = np.quantile(known, _BUSY, axis=1)[:, None]
    counted = (known > _IDLE * busy) & (known > _STOPPED_SHARE * limits.least)
    sizes = np.log(np.where(counted, known, np.nan))
    middle = median(sizes)
    spread = MAD * median(abs(sizes - middle[:, None]))
    few = counted.sum(axis=1) < _FEWEST_SIZES
    spread = np.maximum(spread, np.where(few, _UNKNOWN_SPREAD, _LEAST_SPREAD))
    reached = np.sort(known, axis=1)[:, -_REACHED_TIMES]
    by_size = np.exp(np.minimum(middle + deviations * spread, 100))
    return np.asarray(np.where(np.isnan(middle), np.inf, np.fmax(by_size, _BEYOND_REACHED * reached)))


def stopped(history: Values, shares: Values, limits: Limits) -> tuple[Flags, Values]:
    """No cost for longer than can be by chance, and longer than ever before; and what a day cost until then.

    `history` ends with the tested day. Two days at least; where days without cost are usual, as many as do not
    come by chance. Days that are not known neither lengthen nor end a silence.
    """
    share, times = silences(history[:, :-1], np.roll(shares, 1, axis=1), limits)
    often = is_often_silent(share, times)
    by_chance = np.ceil(np.log(_CHANCE) / np.log(np.clip(share, 1e-9, 0.999)))
    needed = np.where(often, np.maximum(by_chance, _STOPPED_AFTER), _STOPPED_AFTER)
    some, none, due = _days(history, shares, limits)
    # Days since the last cost, and the longest such time before it, in known days.
    run = np.zeros(len(history), dtype=np.int64)
    missed = run.copy()
    longest = run.copy()
    for column in range(history.shape[1]):
        longest = np.where(some[:, column], np.maximum(longest, run), longest)
        run = np.where(some[:, column], 0, run + none[:, column])
        missed = np.where(some[:, column], 0, missed + (none & due)[:, column])
    width = history.shape[1]
    last = width - 1 - some[:, ::-1].argmax(axis=1)
    ends = np.arange(width)[None, :]
    inside = (ends <= last[:, None]) & (ends > (last - 7)[:, None]) & ~np.isnan(history)
    mean = np.where(inside, history, 0.0).sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
    return (
        some.any(axis=1)
        & ~np.isnan(history[:, -1])
        & (missed >= needed)
        & (run > np.where(often, _LONGER_THAN_EVER * longest, longest))
        & (missed < needed + NEWS_DAYS)
        & (mean >= limits.amount)
    ), mean


def _days(history: Values, shares: Values, limits: Limits) -> tuple[Flags, Flags, Flags]:
    """Days with cost, known days without, and days that should have some; `shares` end with the last column's."""
    known = ~np.isnan(history)
    some = known & (abs(history) > _STOPPED_SHARE * limits.least)
    whole = -(-history.shape[1] // 7)
    due = np.tile(is_due(shares), (1, whole))[:, -history.shape[1] :]
    return some, known & ~some, due
