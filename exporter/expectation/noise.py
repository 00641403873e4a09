"""How far the days of a series are from what is expected of them as a rule, and how far they went at times."""

from __future__ import annotations

import numpy as np

from exporter.expectation.arrays import MAD, Numbers, Values, median, ratio
from exporter.expectation.excursions import Excursions
from exporter.expectation.rhythm import LEVEL_DAYS, weeks

LEAST_DEVIATION = 0.03  # of what is expected: no cost is more regular than that for good
HABIT_DEVIATIONS = 3.0
"""What single days went several times is so many deviations."""
LEVEL_DEVIATIONS = 4.0
"""What a series was for several weeks is so many."""
_LEVEL_WEEKS = 3
_HABIT_FROM = 7  # days before the tested one that are no habit yet
_HABIT_BLOCK = 7  # days of which the furthest counts
_HABITS = ((17, 3), (56, 5))
"""In so many of the newest blocks, so many went as far: that is how a series is."""
_FACTORS_AT = 4.0  # deviations at which a factor and an amount say the same
_LARGEST = 50.0  # of the exponential function, far beyond any noise
_SHORT_DAYS = 12  # days that have neighbours, for these alone to tell the deviation
_LONG_AGAINST_SHORT = 2.0


def relative_deviation(flat: Values, near: Values) -> Values:
    """The robust distance of a day from the days around it (`near`), relative to them.

    What varies over weeks counts too, up to twice that: a change of level is no noise.
    """
    short, count = _spread(flat, near)
    # Four weeks, or all of it where few days of a week have cost.
    rare = (~np.isnan(flat[:, -2 * LEVEL_DAYS :])).sum(axis=1) < _SHORT_DAYS
    newest = flat.copy()
    newest[~rare, : -2 * LEVEL_DAYS] = np.nan
    long, _ = _spread(newest, median(newest)[:, None])
    short = np.maximum(short, LEAST_DEVIATION)
    several = np.fmax(short, np.fmin(long, _LONG_AGAINST_SHORT * short))
    return np.asarray(np.where(count >= _SHORT_DAYS, several, np.fmax(long, short)))


def factor(value: Values, expected: Values, noise: Values) -> Values:
    """One deviation to the side of the value, as a share of the expectation.

    Cost varies by factors: as far up as down is a larger amount.
    """
    size = np.minimum(_FACTORS_AT * noise, _LARGEST)
    upwards, downwards = np.expm1(size) / _FACTORS_AT, -np.expm1(-size) / _FACTORS_AT
    return np.where((value >= expected) == (expected >= 0), upwards, downwards)


def usual_levels(values: Values) -> tuple[Values, Values]:
    """How low and how high three of the weeks before the last one went; NaN where there are too few.

    What a series returns to after a change is nothing new.
    """
    by_week = weeks(values)[:, :-1, :]
    empty = np.isnan(by_week).all(axis=2)
    highest = np.where(np.isnan(by_week), -np.inf, by_week).max(axis=2)
    lowest = np.where(np.isnan(by_week), np.inf, by_week).min(axis=2)
    few = (~empty).sum(axis=1) < _LEVEL_WEEKS
    high, low = np.sort(highest, axis=1)[:, -_LEVEL_WEEKS], np.sort(lowest, axis=1)[:, _LEVEL_WEEKS - 1]
    return np.where(few, np.nan, low), np.where(few, np.nan, high)


def habit(past: Excursions) -> tuple[Values, Values]:
    """How far down and up single days went several times, as a share of what was normal; 0 where they did not.

    What recurs on a calendar is expected on its days, and no excuse for others.
    """
    share = np.where(past.recurred | ~past.stood, 0.0, np.nan_to_num(past.share))
    share = share[:, share.shape[1] % _HABIT_BLOCK : -_HABIT_FROM or None]
    share = share[:, share.shape[1] % _HABIT_BLOCK :]
    blocks = share.reshape(len(share), -1, _HABIT_BLOCK)
    return -_often(-blocks.min(axis=2)), _often(blocks.max(axis=2))


def _often(furthest: Values) -> Values:
    """What was reached in several of the newest blocks."""
    reached = np.zeros(len(furthest))
    for blocks, times in _HABITS:
        newest = np.sort(furthest[:, -blocks:], axis=1)
        if newest.shape[1] >= times:
            reached = np.maximum(reached, newest[:, -times])
    return reached


def _spread(flat: Values, middle: Values) -> tuple[Values, Numbers]:
    """The median distance from the middle, relative to it, as a standard deviation; and of how many days."""
    distance = ratio(abs(flat - middle), abs(middle))
    count = (~np.isnan(distance)).sum(axis=1)
    # Few days tell less than there is.
    deviation = MAD * median(distance) * (1 + 2 / np.maximum(count, 1))
    return np.where(np.isnan(deviation), 0.0, deviation), count
