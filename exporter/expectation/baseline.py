"""What a day should have cost, and how far off it is: pure functions on arrays of series by days.

Nothing of the tested day is in its own expectation. Each series has

- a weekday rhythm: the median over eight weeks of each weekday's share of its week;
- a level: the median of the last fourteen days without that rhythm, so that a lasting change is learnt
  once it is older than a week;
- a deviation: the median distance of single days from the week around them, which neither a spike nor a
  change of level widens. Where three earlier weeks had a day that went further, that is how the series
  is: its deviation to that side is widened;
- calendars: what recurred on the days of a calendar is expected on its next day (recurrence.py);
- silences: where days without cost are usual, the sizes of the others tell how large one may be.

A day that was not read is NaN and says nothing: missing is never a drop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta

import numpy as np

from exporter.expectation import lifetimes, noise, recurrence, rhythm
from exporter.expectation.arrays import Flags, Values
from exporter.expectation.calendars import DAYS_BACK
from exporter.expectation.limits import Limits
from exporter.expectation.rhythm import WEEKS

FEWEST_DAYS = 14
"""With fewer known days of the eight weeks nothing is expected."""
LIFE_DAYS = 182
"""So far back it is looked how often a series is silent, and for how long."""
_AT_A_TIME = 1000  # series whose arrays stay in the processor's cache
_FEWEST_OWN_DAYS = 14  # since a series began
_RHYTHM_KNOWN_DAYS = 28
_MONTH_END_DAYS = 4  # at either end of a month
_RESTATED = 2.0  # times the ratio that a difference takes which a restatement can explain
_SIZE_DEVIATIONS = 0.8  # deviations of the logarithm that count as one of the score
_LOOKED_UP = 2.0  # deviations from which on calendars are asked
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The tested day by series; NaN where nothing can be expected.

    `deviation` is the one to the side on which the value lies, `lower` and `upper` are the ends of what
    is usual at the asked score. `recurs` is True where an earlier day of a calendar gives the expectation.
    """

    value: Values
    expected: Values
    deviation: Values
    score: Values
    lower: Values
    upper: Values
    recurs: Flags
    low_before: Flags
    """The last known day before was low too; without it a low day may be late data."""
    often_silent: Flags
    """Days without cost are usual: a low day says nothing."""
    new: Flags
    stopped: Flags
    may_be_restated: Flags
    """The difference began with the month, while the bill of the month before is not final."""
    usual: Values
    """What a day cost before a series stopped; its expectation elsewhere."""


def input_days(tested: date) -> list[date]:
    """The days that `assess` makes use of, oldest first, the tested one last."""
    return [tested - back * _DAY for back in range(DAYS_BACK, -1, -1)]


def assess(
    values: Values, days: Sequence[date], limits: Limits, *, last_month_is_open: bool = False
) -> Baseline:
    """The last of `days` against those before it.

    `values` are series by `days`; days may be missing. What is not known, or not complete, is NaN.
    `last_month_is_open` says that the bill of the month before the tested day's is not final.
    ValueError if the days are not in order or there are none.
    """
    if not days or list(days) != sorted(set(days)) or values.shape[1] != len(days):
        raise ValueError("days in order, one for each column")
    parts = [
        _assess(_whole(values[start : start + _AT_A_TIME], days), days[-1], limits, last_month_is_open)
        for start in range(0, max(len(values), 1), _AT_A_TIME)
    ]
    return Baseline(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Baseline)
        }
    )


def spikes(baseline: Baseline, limits: Limits) -> Flags:
    """More than expected by score, by ratio and by amount."""
    off = baseline.value - baseline.expected
    return np.asarray(
        (baseline.score >= limits.score)
        & (off >= _ratio(baseline, limits) * np.maximum(abs(baseline.expected), limits.least))
        & (off >= limits.amount)
        & ~baseline.new
    )


def is_low(baseline: Baseline, limits: Limits) -> Flags:
    """Less than expected by score, by ratio and by amount, where that says something."""
    off = baseline.expected - baseline.value
    return np.asarray(
        (baseline.score <= -limits.score)
        & (off >= _ratio(baseline, limits) * np.maximum(abs(baseline.expected), limits.least))
        & (off >= limits.amount)
        & ~baseline.often_silent
    )


def drops(baseline: Baseline, limits: Limits) -> Flags:
    """Low for the second day at least, without having ended."""
    return np.asarray(is_low(baseline, limits) & baseline.low_before & ~baseline.stopped)


# One part of the series


def _assess(history: Values, tested: date, limits: Limits, last_month_is_open: bool) -> Baseline:
    """`history` has a column for each of `DAYS_BACK` days and the tested one."""
    value = history[:, -1].copy()
    before = history[:, -WEEKS * 7 - 1 : -1].copy()
    width = before.shape[1]
    enough = (~np.isnan(before)).sum(axis=1) >= FEWEST_DAYS
    began = rhythm.began(before)
    # A series that did not exist yet did not cost zero.
    before[np.arange(width)[None, :] < began[:, None]] = np.nan
    own = (~np.isnan(before)).sum(axis=1)

    shares = rhythm.rhythm(before)
    # Column 0 of the rhythm is the weekday of the oldest column, which is the tested day's.
    weekday = shares[:, 0]
    flat = rhythm.flattened(before, shares)
    level = rhythm.level(flat)
    near = rhythm.around(flat)
    relative = noise.relative_deviation(flat, near)

    expected = level * weekday
    deviation = np.maximum(noise.factor(value, expected, relative) * abs(expected), limits.least)
    # Until the rhythm of a young series is known, the same weekday of the last two weeks may tell it.
    for same_weekday in (before[:, -7], before[:, -14]):
        taken = (own < _RHYTHM_KNOWN_DAYS) & (abs(value - same_weekday) < abs(value - expected))
        expected = np.where(taken, same_weekday, expected)
    deviation = np.maximum(deviation, noise.LEAST_DEVIATION * abs(expected))

    near_end = _near_month_end(tested)
    low, high = noise.habit(np.where(near_end, np.nan, flat))
    bursty = noise.bursty(flat, near, relative, near_end, limits)
    # Bursts keep to no weekday.
    high = np.fmax(high * weekday, np.where(bursty, noise.habit(before)[1], np.nan))
    life = history[:, -LIFE_DAYS - 1 :]
    often_silent = lifetimes.is_often_silent(*lifetimes.silences(life[:, :-1], shares, limits))
    up = np.fmax(deviation, (high - expected) / noise.HABIT_DEVIATIONS)
    up = np.where(often_silent, np.fmax(up, _by_size(life[:, :-1], expected, limits)), up)
    down = np.fmax(deviation, (expected - low * weekday) / noise.HABIT_DEVIATIONS)

    side = np.where(value >= expected, up, down)
    expected, side, recurs = _with_calendars(history, expected, side, relative, tested, limits)
    up, down = np.where(value >= expected, side, up), np.where(value >= expected, down, side)

    assessed = enough & (own >= _FEWEST_OWN_DAYS) & ~np.isnan(value)
    stopped, usual = lifetimes.stopped(life, np.roll(shares, -1, axis=1), limits)
    stopped &= assessed

    def where_assessed(numbers: Values) -> Values:
        return np.where(assessed, numbers, np.nan)

    return Baseline(
        value=value,
        expected=where_assessed(expected),
        deviation=where_assessed(side),
        score=where_assessed((value - expected) / side),
        lower=where_assessed(expected - limits.score * down),
        upper=where_assessed(expected + limits.score * up),
        recurs=recurs & assessed,
        low_before=_low_before(before, level, shares, limits),
        often_silent=often_silent,
        # Most of the eight weeks are known to have cost nothing.
        new=enough & (began > width - lifetimes.NEWS_DAYS) & (value >= limits.new_amount),
        stopped=stopped,
        may_be_restated=_began_with_month(before, value, expected, level, shares, tested)
        if last_month_is_open
        else np.zeros(len(value), dtype=bool),
        usual=where_assessed(np.where(stopped, usual, expected)),
    )


def _whole(values: Values, days: Sequence[date]) -> Values:
    """The thirteen months up to the tested day as whole columns; NaN where a day is missing."""
    whole = np.full((len(values), DAYS_BACK + 1), np.nan)
    for number, day in enumerate(days):
        back = (days[-1] - day).days
        if back <= DAYS_BACK:
            whole[:, DAYS_BACK - back] = values[:, number]
    return whole


def _by_size(past: Values, expected: Values, limits: Limits) -> Values:
    """One deviation upwards of a series that is often silent, from the sizes of the days that are not."""
    middle, spread = lifetimes.usual_size(past, limits)
    highest = np.exp(np.minimum(middle + _SIZE_DEVIATIONS * limits.score * spread, 100))
    return np.asarray((highest - expected) / limits.score)


def _with_calendars(
    history: Values, expected: Values, deviation: Values, relative: Values, tested: date, limits: Limits
) -> tuple[Values, Values, Flags]:
    """Expectation and deviation with what recurs today, and the series for which something does.

    Only where the day is off: what costs as it always does needs no calendar. Between the base and what recurs all
    is usual, as when a part of a charge is due.
    """
    off = history[:, -1] - expected
    rows = np.flatnonzero(abs(off) > np.maximum(_LOOKED_UP * deviation, limits.least))
    recurs = np.zeros(len(history), dtype=bool)
    if not len(rows):
        return expected, deviation, recurs
    found = recurrence.recurring(history[rows], expected[rows], relative[rows], tested, limits)
    known = ~np.isnan(found.size)
    rows, size, spread = rows[known], found.size[known], found.deviation[known]
    expected, deviation = expected.copy(), deviation.copy()
    within = abs(off[rows]) <= abs(size)
    wide = np.maximum(deviation[rows], abs(size) / (2 * limits.score) * 1.01)
    nearer = abs(off[rows] - size) < abs(off[rows])
    deviation[rows] = np.where(within, wide, np.maximum(spread, deviation[rows]))
    expected[rows] += np.where(nearer | ~within, size, 0.0)
    recurs[rows] = nearer | ~within
    return expected, deviation, recurs


# Parts


def _ratio(baseline: Baseline, limits: Limits) -> Values:
    """The least difference of each series as a share of its expectation."""
    return np.where(baseline.may_be_restated, _RESTATED, 1.0) * limits.ratio


def _began_with_month(
    before: Values, value: Values, expected: Values, level: Values, shares: Values, tested: date
) -> Flags:
    """Whether each known day since the first was off as the tested one is: at least half as far, to its side.

    AWS reports the bill of a month as a whole a little too high or too low until it is final. Where two months err
    to different sides, the first days of the later one look like a step.
    """
    off = _off(value, expected)
    began = np.ones(len(value), dtype=bool)
    for back in range(1, tested.day):
        earlier = _off(before[:, -back], level * shares[:, -back % 7])
        began &= np.isnan(earlier) | (earlier * np.sign(off) >= abs(off) / 2)
    return began


def _off(value: Values, expected: Values) -> Values:
    """The difference as a share of what was expected; NaN where that is nothing or the value is not known."""
    return np.divide(
        value - expected, abs(expected), out=np.full_like(expected, np.nan), where=abs(expected) > 1e-9
    )


def _near_month_end(tested: date) -> Flags:
    """Which of the eight weeks' days lie at an end of a month, where the same place of earlier months tells more."""
    days = [tested - timedelta(days=back) for back in range(WEEKS * 7, 0, -1)]
    return np.array(
        [day.day <= _MONTH_END_DAYS or (day + _MONTH_END_DAYS * _DAY).day <= _MONTH_END_DAYS for day in days]
    )


def _low_before(before: Values, level: Values, shares: Values, limits: Limits) -> Flags:
    """Whether the newest known day of the last three was low by ratio and amount, too."""
    low = np.zeros(len(before), dtype=bool)
    open_ = np.ones(len(before), dtype=bool)
    for back in range(1, 4):
        value, usual = before[:, -back], level * shares[:, -back % 7]
        known = ~np.isnan(value) & (usual > 0)
        off = usual - value
        low |= open_ & known & (off >= limits.ratio * usual) & (off >= limits.amount / 2)
        open_ &= ~known
    return low
