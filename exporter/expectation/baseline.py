"""What a day should have cost, and how far off it is: pure functions on arrays of series by days.

Nothing of the tested day is in its own expectation. Each series has

- a weekday rhythm: the median over eight weeks of each weekday's share of its week;
- a level: the median of the last fourteen days without that rhythm, so that a lasting change is learnt
  once it is older than a week;
- a deviation: the median distance of single days from the week around them, which neither a spike nor a
  change of level widens. Where several earlier weeks had a day that went further, that is how the series
  is: its deviation to that side is widened;
- calendars: what recurred on the days of a calendar is expected on its next day (recurrence.py), and
  on no other (excursions.py);
- silences: where days without cost are usual, the sizes of the others tell how large one may be.

A day that was not read is NaN and says nothing: missing is never a drop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta

import numpy as np

from exporter.expectation import lifetimes, noise, recurrence, rhythm
from exporter.expectation.arrays import Flags, Given, Numbers, Values, ratio
from exporter.expectation.calendars import DAYS_BACK
from exporter.expectation.excursions import Excursions, excursions
from exporter.expectation.limits import Limits
from exporter.expectation.rhythm import WEEKS

FEWEST_DAYS = 14
"""With fewer known days of the eight weeks nothing is expected."""
LIFE_DAYS = 182
"""So far back it is looked how often a series is silent, and for how long."""
_AT_A_TIME = 1000  # series whose arrays stay in the processor's cache
_FEWEST_OWN_DAYS = 14  # since a series began
_RHYTHM_KNOWN_DAYS = 28
_RESTATED = 2.0  # times the ratio that a difference takes which a restatement can explain
_SIZE_DEVIATIONS = 0.7  # deviations of the logarithm that count as one of the score
_LOOKED_UP = 2.0  # deviations from which on calendars are asked
_LOOKED_BACK = 8  # days: some have cost once a week only
_LOW_DAYS = 3
_AS_LOW = 0.5
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
    low_days: Numbers
    """How many known days before it were low, too, three at most; without one a low day may be late data."""
    often_idle: Flags
    """Days that cost next to nothing are usual: a low day says nothing."""
    new: Flags
    """No cost before the last week, as far as is known: thirteen months at most."""
    back: Flags
    """No cost in the weeks before the last one, but before these: there is nothing to compare it with."""
    stopped: Flags
    may_be_restated: Flags
    """The difference began with the month, while the bill of the month before is not final."""
    usual: Values
    """What a day cost before a series stopped; its expectation elsewhere."""


def input_days(tested: date) -> list[date]:
    """The days that `assess` makes use of, oldest first, the tested one last."""
    return [tested - back * _DAY for back in range(DAYS_BACK, -1, -1)]


def assess(
    values: Given, days: Sequence[date], limits: Limits, *, last_month_is_open: bool = False
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
        | baseline.back
    )


def is_low(baseline: Baseline, limits: Limits) -> Flags:
    """Less than expected by score, by ratio and by amount, where that says something."""
    off = baseline.expected - baseline.value
    return np.asarray(
        (baseline.score <= -limits.score)
        & (off >= _ratio(baseline, limits) * np.maximum(abs(baseline.expected), limits.least))
        & (off >= limits.amount)
        & ~baseline.often_idle
    )


def drops(baseline: Baseline, limits: Limits) -> Flags:
    """Low for the second day at least, without having ended."""
    return np.asarray(is_low(baseline, limits) & (baseline.low_days >= 1) & ~baseline.stopped)


# One part of the series


@dataclass(frozen=True, slots=True)
class _Base:
    """What rhythm and level let expect of the tested day; `noise` is one deviation of a day as a share of it."""

    before: Values
    shares: Values
    flat: Values
    level: Values
    noise: Values
    own: Numbers
    expected: Values

    @classmethod
    def of(cls, before: Values, value: Values) -> _Base:
        """From the eight weeks before, NaN where a day is not known."""
        before = before.copy()
        # A series that did not exist yet did not cost zero.
        before[np.arange(before.shape[1])[None, :] < rhythm.began(before)[:, None]] = np.nan
        own = (~np.isnan(before)).sum(axis=1)
        shares = rhythm.rhythm(before)
        flat = rhythm.flattened(before, shares)
        level = rhythm.level(flat)
        # Column 0 of the rhythm is the weekday of the oldest column, which is the tested day's.
        expected = level * shares[:, 0]
        # Until the rhythm of a young series is known, the same weekday of the last two weeks may tell it.
        for same_weekday in (before[:, -7], before[:, -14]):
            taken = (own < _RHYTHM_KNOWN_DAYS) & (abs(value - same_weekday) < abs(value - expected))
            expected = np.where(taken, same_weekday, expected)
        noise_ = noise.relative_deviation(flat, rhythm.around(flat))
        return cls(before, shares, flat, level, noise_, own, expected)

    def deviation(self, value: Values, limits: Limits) -> Values:
        """To the side of a value."""
        expected = abs(self.expected)
        deviation = np.maximum(noise.factor(value, self.expected, self.noise) * expected, limits.least)
        return np.maximum(deviation, noise.LEAST_DEVIATION * expected)


def _assess(history: Values, tested: date, limits: Limits, last_month_is_open: bool) -> Baseline:
    """`history` has a column for each of `DAYS_BACK` days and the tested one."""
    value = history[:, -1].copy()
    before = history[:, -WEEKS * 7 - 1 : -1]
    enough = (~np.isnan(before)).sum(axis=1) >= FEWEST_DAYS
    # Most of the eight weeks are known to have cost nothing.
    appeared = enough & (rhythm.began(before) > before.shape[1] - lifetimes.NEWS_DAYS)
    earlier = (np.nan_to_num(history[:, : -WEEKS * 7 - 1]) != 0).any(axis=1)

    base = _Base.of(before, value)
    life = history[:, -LIFE_DAYS - 1 :]
    often_idle = lifetimes.is_often_idle(life[:, :-1], base.shares, limits)
    usual = _Usual(
        base.expected.copy(),
        _either_side(base, limits, down=True),
        _either_side(base, limits, down=False),
        np.zeros(len(value), dtype=bool),
    )
    # What costs as it always does needs no closer look.
    off = abs(value - base.expected) > np.maximum(_LOOKED_UP * base.deviation(value, limits), limits.least)
    rows = np.flatnonzero(off | often_idle)
    if len(rows):
        usual.put(rows, _looked_at(history[rows], often_idle[rows], base.noise[rows], tested, limits))

    assessed = enough & (base.own >= _FEWEST_OWN_DAYS) & ~np.isnan(value)
    stopped, cost_before = lifetimes.stopped(life, np.roll(base.shares, -1, axis=1), limits)
    stopped &= assessed

    def where_assessed(numbers: Values) -> Values:
        return np.where(assessed, numbers, np.nan)

    side = np.where(value >= usual.expected, usual.up, usual.down)
    return Baseline(
        value=value,
        expected=where_assessed(usual.expected),
        deviation=where_assessed(side),
        score=where_assessed((value - usual.expected) / side),
        lower=where_assessed(usual.expected - limits.score * usual.down),
        upper=where_assessed(usual.expected + limits.score * usual.up),
        recurs=usual.recurs & assessed,
        low_days=_low_days(base, value, usual.expected),
        often_idle=often_idle,
        new=appeared & ~earlier & (value >= limits.new_amount),
        back=appeared & earlier & (value >= limits.amount),
        stopped=stopped,
        may_be_restated=_began_with_month(base.before, value, usual.expected, base.level, base.shares, tested)
        if last_month_is_open
        else np.zeros(len(value), dtype=bool),
        usual=where_assessed(np.where(stopped, cost_before, usual.expected)),
    )


def _either_side(base: _Base, limits: Limits, *, down: bool) -> Values:
    return base.deviation(base.expected - 1 if down else base.expected + 1, limits)


@dataclass(frozen=True, slots=True)
class _Usual:
    """The expectation, one deviation to either side, and whether something recurs today; by series."""

    expected: Values
    down: Values
    up: Values
    recurs: Flags

    def put(self, rows: Numbers, other: _Usual) -> None:
        """Replace some series."""
        self.expected[rows], self.down[rows], self.up[rows] = other.expected, other.down, other.up
        self.recurs[rows] = other.recurs


def _looked_at(history: Values, often_idle: Flags, noise_: Values, tested: date, limits: Limits) -> _Usual:
    """A closer look over thirteen months: without what recurs, with what went as far before, and on calendars."""
    value, past = history[:, -1], history[:, :-1]
    largest = lifetimes.largest_usual(past[:, -LIFE_DAYS:], _SIZE_DEVIATIONS * limits.score, limits)
    found = excursions(past, noise_, np.where(often_idle, largest, -np.inf), tested - _DAY, limits)
    plain = np.where(found.recurred, found.normal, past)
    base = _Base.of(plain[:, -WEEKS * 7 :], value)
    reach_down, reach_up = _reached(base, found)
    down = np.fmax(_either_side(base, limits, down=True), reach_down)
    up = np.fmax(_either_side(base, limits, down=False), reach_up)
    by_size = np.maximum(
        (largest - base.expected) / limits.score,
        noise.LEAST_DEVIATION * abs(base.expected) + limits.least,
    )
    up = np.where(often_idle, by_size, up)
    usual = _Usual(base.expected, down, up, np.zeros(len(value), dtype=bool))
    # Days on and off by chance look like a rhythm.
    shares = np.where(often_idle[:, None], 1.0, base.shares)
    return _with_calendars(usual, history, shares, found, tested, limits)


def _whole(values: Given, days: Sequence[date]) -> Values:
    """The thirteen months up to the tested day as whole columns; NaN where a day is missing."""
    whole = np.full((len(values), DAYS_BACK + 1), np.nan)
    for number, day in enumerate(days):
        back = (days[-1] - day).days
        if back <= DAYS_BACK:
            whole[:, DAYS_BACK - back] = values[:, number]
    return whole


def _reached(base: _Base, past: Excursions) -> tuple[Values, Values]:
    """One deviation down and up by how far the series has been: on several days, or for several weeks."""
    weekday, expected = base.shares[:, 0], base.expected
    low, high = (ends * weekday for ends in noise.usual_levels(base.flat))
    # A rhythm that is none moves days beyond where any has been.
    lowest, highest = noise.usual_levels(base.before)
    low, high = np.fmax(low, np.fmin(lowest, expected)), np.fmin(high, np.fmax(highest, expected))
    below, above = (ends * abs(expected) / noise.HABIT_DEVIATIONS for ends in noise.habit(past))
    return (
        np.fmax((expected - low) / noise.LEVEL_DEVIATIONS, -below),
        np.fmax((high - expected) / noise.LEVEL_DEVIATIONS, above),
    )


def _with_calendars(
    usual: _Usual, history: Values, shares: Values, past: Excursions, tested: date, limits: Limits
) -> _Usual:
    """With what recurs today. Between the base and what recurs all is usual, as when a part of a charge is due."""
    value = history[:, -1]
    found = recurrence.recurring(history, usual.expected, shares, past, tested, limits)
    known = ~np.isnan(found.size)
    size = np.where(known, found.size, 0.0)
    off = value - usual.expected
    within = abs(off) <= abs(size)
    taken = known & (~within | (abs(off - size) < abs(off)))
    wide = abs(size) / (2 * limits.score) * 1.01
    least = np.where(within, wide, np.where(known, found.deviation, 0.0))
    return _Usual(
        np.where(taken, usual.expected + size, usual.expected),
        np.fmax(usual.down, least),
        np.fmax(usual.up, least),
        taken,
    )


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
    return ratio(value - expected, abs(expected))


def _low_days(base: _Base, value: Values, expected: Values) -> Numbers:
    """How many known days before the tested one were low in a row, at least half as far as it is; three at most.

    Weekdays that hardly cost anything say nothing.
    """
    found = np.zeros(len(value), dtype=np.int64)
    open_ = np.ones(len(value), dtype=bool)
    today = _off(value, expected)
    for back in range(1, _LOOKED_BACK + 1):
        shares = base.shares[:, -back % 7]
        earlier = _off(base.before[:, -back], base.level * shares)
        known = ~np.isnan(earlier) & rhythm.is_due(shares)
        low = known & (earlier <= _AS_LOW * today)
        found += open_ & low
        open_ &= low | ~known
    return np.minimum(found, _LOW_DAYS)
