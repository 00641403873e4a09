"""What a day should have cost, and how far off it is: pure functions on arrays of series by days.

Nothing of the tested day is in its own expectation. Each series has

- a weekday rhythm: the median over eight weeks of each weekday's share of its week;
- a level: the median of the last fourteen days without that rhythm, so that a lasting change is learnt
  once it is older than a week;
- a deviation: the median distance of single days from the week around them, which neither a spike nor a
  change of level widens. Where three earlier weeks had a day that went further, that is how the series
  is: its deviation to that side is widened;
- charges that recur at the ends of months: of what the day would cost by its rhythm and what it cost at
  the same place of earlier months, the nearer one is expected.

A day that was not read is NaN and says nothing: missing is never a drop.
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.expectation.limits import Limits

Values = NDArray[np.float64]
"""Series by days, oldest first; NaN where a day is not known."""

Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]

WEEKS = 8
LEVEL_DAYS = 14
FEWEST_DAYS = 14
"""With fewer known days of the eight weeks nothing is expected."""
NEWS_DAYS = 7
"""A new or stopped service is news for so many days; by then the level has learnt it."""
_AT_A_TIME = 1000  # series whose arrays stay in the processor's cache
_FEWEST_OWN_DAYS = 14  # since a series began
_RHYTHM_KNOWN_DAYS = 28
_STEEPEST = 0.02  # growth a day
_TWIN_MONTHS = 3
_TWIN_DAYS = 4  # at either end of a month
_TWIN_DEVIATION = 0.05  # of what an earlier month's day gives
_HABIT_WEEKS = 3
_HABIT_DEVIATIONS = 3.0
_HABIT_FROM = 7  # days before the tested one that are no habit yet
_LEAST_DEVIATION = 0.03  # of what is expected: no cost is more regular than that for good
_MAD = 1.4826
_FACTORS_AT = 4.0  # deviations at which a factor and an amount say the same
_SHORT_DAYS = 12  # days that have neighbours, for these alone to tell the deviation
_LONG_AGAINST_SHORT = 2.0
_RESTATED = 2.0  # times the ratio that a difference takes which a restatement can explain
_STOPPED_SHARE = 0.01
_STOPPED_AFTER = 2


@dataclass(frozen=True, slots=True)
class Baseline:
    """The tested day by series; NaN where nothing can be expected.

    `deviation` is the one to the side on which the value lies, `lower` and `upper` are the ends of what
    is usual at the asked score. `twin` is True where an earlier month's day gives the expectation.
    """

    value: Values
    expected: Values
    deviation: Values
    score: Values
    lower: Values
    upper: Values
    twin: Flags
    low_before: Flags
    """The last known day before was low too; without it a low day may be late data."""
    new: Flags
    stopped: Flags
    may_be_restated: Flags
    """The difference began with the month, while the bill of the month before is not final."""
    usual: Values
    """What a day cost before a series stopped; its expectation elsewhere."""


def input_days(tested: date) -> list[date]:
    """The days that `assess` makes use of, oldest first, the tested one last."""
    days = {tested - timedelta(days=back) for back in range(WEEKS * 7 + 1)}
    return sorted(days | set(_twin_days(tested)))


def _twin_days(tested: date) -> list[date]:
    """The same place in earlier months, counted from the end of the month that is near."""
    length = calendar.monthrange(tested.year, tested.month)[1]
    found = []
    for back in range(1, _TWIN_MONTHS + 1):
        index = tested.year * 12 + tested.month - 1 - back
        year, month = index // 12, index % 12 + 1
        if tested.day <= _TWIN_DAYS:
            found.append(date(year, month, tested.day))
        elif length - tested.day < _TWIN_DAYS:
            found.append(date(year, month, calendar.monthrange(year, month)[1] - (length - tested.day)))
    return found


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
        _assess(values[start : start + _AT_A_TIME], days, limits, last_month_is_open)
        for start in range(0, max(len(values), 1), _AT_A_TIME)
    ]
    return Baseline(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Baseline)
        }
    )


def _assess(values: Values, days: Sequence[date], limits: Limits, last_month_is_open: bool) -> Baseline:
    tested, value = days[-1], values[:, -1].copy()
    before = _eight_weeks(values, days)
    width = before.shape[1]
    enough = (~np.isnan(before)).sum(axis=1) >= FEWEST_DAYS
    began = _began(before)
    # A series that did not exist yet did not cost zero.
    before[np.arange(width)[None, :] < began[:, None]] = np.nan
    own = (~np.isnan(before)).sum(axis=1)

    rhythm = _rhythm(before)
    # Column 0 of the rhythm is the weekday of the oldest column, which is the tested day's.
    weekday = rhythm[:, 0]
    flat = _flattened(before, rhythm)
    level = _level(flat)
    around = _around(flat)
    noise = _relative_deviation(flat, around)

    expected = level * weekday
    deviation = np.maximum(_factor(value, expected, noise) * abs(expected), limits.least)
    expected, twin = _as_in_earlier_months(values, days, expected, deviation, level, rhythm, limits)
    # Until the rhythm of a young series is known, the same weekday of the last two weeks may tell it.
    for same_weekday in (before[:, -7], before[:, -14]):
        taken = (own < _RHYTHM_KNOWN_DAYS) & (abs(value - same_weekday) < abs(value - expected))
        expected = np.where(taken, same_weekday, expected)
    deviation = np.maximum(deviation, np.where(twin, _TWIN_DEVIATION, _LEAST_DEVIATION) * abs(expected))

    near_end = _near_month_end(tested)
    low, high = _habit(np.where(near_end, np.nan, flat))
    bursty = _bursty(flat, around, noise, near_end, limits)
    # Bursts keep to no weekday.
    high = np.fmax(high * weekday, np.where(bursty, _habit(before)[1], np.nan))
    up = np.fmax(deviation, (high - expected) / _HABIT_DEVIATIONS)
    down = np.fmax(deviation, (expected - low * weekday) / _HABIT_DEVIATIONS)
    side = np.where(value >= expected, up, down)

    assessed = enough & (own >= _FEWEST_OWN_DAYS) & ~np.isnan(value)
    stopped, usual = _stopped(before, value, rhythm, limits)
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
        twin=twin & assessed,
        low_before=_low_before(before, level, rhythm, limits),
        # Most of the eight weeks are known to have cost nothing.
        new=enough & (began > width - NEWS_DAYS) & (value >= limits.new_amount),
        stopped=stopped,
        may_be_restated=_began_with_month(before, value, expected, level, rhythm, tested)
        if last_month_is_open
        else np.zeros(len(values), dtype=bool),
        usual=where_assessed(np.where(stopped, usual, expected)),
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


def drops(baseline: Baseline, limits: Limits) -> Flags:
    """Less than expected by score, by ratio and by amount, for the second day at least."""
    off = baseline.expected - baseline.value
    return np.asarray(
        (baseline.score <= -limits.score)
        & (off >= _ratio(baseline, limits) * np.maximum(abs(baseline.expected), limits.least))
        & (off >= limits.amount)
        & baseline.low_before
        & ~baseline.stopped
    )


# Parts


def _ratio(baseline: Baseline, limits: Limits) -> Values:
    """The least difference of each series as a share of its expectation."""
    return np.where(baseline.may_be_restated, _RESTATED, 1.0) * limits.ratio


def _began_with_month(
    before: Values, value: Values, expected: Values, level: Values, rhythm: Values, tested: date
) -> Flags:
    """Whether each known day since the first was off as the tested one is: at least half as far, to its side.

    AWS reports the bill of a month as a whole a little too high or too low until it is final. Where two months err
    to different sides, the first days of the later one look like a step.
    """
    off = _off(value, expected)
    began = np.ones(len(value), dtype=bool)
    for back in range(1, tested.day):
        earlier = _off(before[:, -back], level * rhythm[:, -back % 7])
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
    return np.array([bool(_twin_days(day)) for day in days])


def _eight_weeks(values: Values, days: Sequence[date]) -> Values:
    """The eight weeks before the tested day as whole columns, the newest last; NaN where a day is missing."""
    place = {day: number for number, day in enumerate(days)}
    width = WEEKS * 7
    before = np.full((len(values), width), np.nan)
    for back in range(1, width + 1):
        number = place.get(days[-1] - timedelta(days=back))
        if number is not None:
            before[:, width - back] = values[:, number]
    return before


def _level(flat: Values) -> Values:
    """What a day costs without its weekday; 0 for a series of which nothing is known."""
    level = _median(flat[:, -LEVEL_DAYS:])
    level = np.where(np.isnan(level), _median(flat), level)
    return np.where(np.isnan(level), 0.0, level) + _trend(flat)


def _factor(value: Values, expected: Values, noise: Values) -> Values:
    """One deviation to the side of the value, as a share of the expectation.

    Cost varies by factors: as far up as down is a larger amount.
    """
    upwards = np.expm1(_FACTORS_AT * noise) / _FACTORS_AT
    downwards = -np.expm1(-_FACTORS_AT * noise) / _FACTORS_AT
    return np.where((value >= expected) == (expected >= 0), upwards, downwards)


def _as_in_earlier_months(
    values: Values,
    days: Sequence[date],
    expected: Values,
    deviation: Values,
    level: Values,
    rhythm: Values,
    limits: Limits,
) -> tuple[Values, Flags]:
    """The expectation with what recurs at this place of months, and the series for which it does."""
    tested, value = days[-1], values[:, -1]
    twin = np.zeros(len(values), dtype=bool)
    for day in [day for day in _twin_days(tested) if day in days]:
        candidate = values[:, days.index(day)]
        by_rhythm = level * rhythm[:, (day - tested).days % 7]
        # Only what stood out there recurs; an ordinary day of another month says nothing.
        stood_out = abs(candidate - by_rhythm) > np.maximum(3 * deviation, limits.ratio * abs(by_rhythm))
        taken = stood_out & (abs(value - candidate) < abs(value - expected))
        expected = np.where(taken, candidate, expected)
        twin |= taken
    return expected, twin


def _began(recent: Values) -> Numbers:
    """The column of the first day with cost; the number of columns where there is none."""
    some = (recent != 0) & ~np.isnan(recent)
    return np.asarray(np.where(some.any(axis=1), some.argmax(axis=1), recent.shape[1]))


def _median(values: Values) -> Values:
    """The median of what is known along the last axis; NaN where nothing is."""
    ordered = np.sort(values, axis=-1)  # NaN last
    count = (~np.isnan(ordered)).sum(axis=-1)
    low = np.maximum((count - 1) // 2, 0)[..., None]
    high = np.minimum(count // 2, values.shape[-1] - 1)[..., None]
    middle = (np.take_along_axis(ordered, low, -1) + np.take_along_axis(ordered, high, -1)) / 2
    return np.asarray(np.where(count > 0, middle[..., 0], np.nan))


def _weeks(values: NDArray[Any]) -> NDArray[Any]:
    return values.reshape(len(values), WEEKS, 7)


def _rhythm(before: Values) -> Values:
    """Each weekday's share of its week, with a mean of 1; series by place in the week of the oldest column."""
    weeks = _weeks(before)
    count = (~np.isnan(weeks)).sum(axis=2)
    total = np.where(np.isnan(weeks), 0.0, weeks).sum(axis=2)
    size = np.where(np.isnan(weeks), 0.0, abs(weeks)).sum(axis=2)
    # A week with gaps has no shares; nor one of charges and credits that cancel out.
    whole = (count >= 6) & (abs(total) > 0.2 * size) & (size > 0)
    mean = np.divide(total, count, out=np.ones_like(total), where=whole)
    share = np.where(whole[:, :, None], weeks / mean[:, :, None], np.nan)
    shares = np.swapaxes(share, 1, 2)
    typical = _median(shares)
    seen = whole.sum(axis=1)
    covered = typical.mean(axis=1)
    # Where most of the cost is on other weekdays each week, the medians miss it: that is no rhythm.
    use = (seen >= 2) & ~np.isnan(covered) & (covered >= 0.7)
    typical = np.where(use[:, None], typical / np.where(use, covered, 1.0)[:, None], 1.0)
    distance = _MAD * _median(abs(shares - typical[:, :, None]))
    noise = np.where(np.isnan(distance), 0.0, distance**2).mean(axis=1) / np.maximum(seen, 1)
    spread = np.maximum(((typical - 1) ** 2).mean(axis=1), 1e-12)
    kept = np.clip(1 - noise / spread, 0, 1)
    return np.asarray(1 + kept[:, None] * (typical - 1))


def _flattened(before: Values, rhythm: Values) -> Values:
    """The values without their rhythm; NaN on weekdays that hardly cost anything."""
    shares = np.tile(rhythm, (1, WEEKS))
    usable = shares >= 0.05
    return np.asarray(np.divide(before, shares, out=np.full_like(before, np.nan), where=usable))


def _around(flat: Values) -> Values:
    """The median of the three days on either side of each."""
    width = flat.shape[1]
    padded = np.pad(flat, ((0, 0), (3, 3)), constant_values=np.nan)
    return _median(np.stack([padded[:, 3 + by : 3 + by + width] for by in (-3, -2, -1, 1, 2, 3)], axis=2))


def _bursty(flat: Values, around: Values, noise: Values, near_end: Flags, limits: Limits) -> Flags:
    """Whether single days of three different weeks stood out, of two weeks away from the ends of months."""
    reach = np.maximum(np.maximum(limits.score * noise[:, None], limits.ratio) * abs(around), limits.least)
    out = flat - around > reach  # False where either is not known
    away = _weeks(out & ~near_end).any(axis=2).sum(axis=1)
    return np.asarray((_weeks(out).any(axis=2).sum(axis=1) >= _HABIT_WEEKS) & (away >= _HABIT_WEEKS - 1))


def _relative_deviation(flat: Values, around: Values) -> Values:
    """The robust distance of a day from the days around it, relative to them.

    What varies over weeks counts too, up to twice that: a change of level is no noise.
    """
    short, count = _spread(flat, around)
    # Four weeks, or all of it where few days of a week have cost.
    rare = (~np.isnan(flat[:, -2 * LEVEL_DAYS :])).sum(axis=1) < _SHORT_DAYS
    newest = flat.copy()
    newest[~rare, : -2 * LEVEL_DAYS] = np.nan
    long, _ = _spread(newest, _median(newest)[:, None])
    short = np.maximum(short, _LEAST_DEVIATION)
    several = np.fmax(short, np.fmin(long, _LONG_AGAINST_SHORT * short))
    return np.asarray(np.where(count >= _SHORT_DAYS, several, np.fmax(long, short)))


def _spread(flat: Values, middle: Values) -> tuple[Values, Numbers]:
    """The median distance from the middle, relative to it, as a standard deviation; and of how many days."""
    ratio = np.divide(
        abs(flat - middle), abs(middle), out=np.full_like(flat, np.nan), where=abs(middle) > 1e-9
    )
    count = (~np.isnan(ratio)).sum(axis=1)
    # Few days tell less than there is.
    deviation = _MAD * _median(ratio) * (1 + 2 / np.maximum(count, 1))
    return np.where(np.isnan(deviation), 0.0, deviation), count


def _trend(flat: Values) -> Values:
    """What a steady growth has added since the middle of the level's days; zero unless two fortnights agree."""
    newest, middle, oldest = (
        _median(flat[:, -LEVEL_DAYS * (back + 1) : flat.shape[1] - LEVEL_DAYS * back]) for back in range(3)
    )
    late, early = newest - middle, middle - oldest
    # The nearer to zero: one change of level shows in one of the two only.
    steady = np.where(late * early > 0, np.where(abs(late) < abs(early), late, early), 0.0)
    limit = _STEEPEST * LEVEL_DAYS * abs(newest)
    grown = np.where(np.isnan(steady), 0.0, np.clip(steady, -limit, limit))
    return np.asarray(grown * (LEVEL_DAYS + 1) / 2 / LEVEL_DAYS)


def _habit(flat: Values) -> tuple[Values, Values]:
    """How low and how high three different weeks went, the last one aside; NaN where there are too few weeks."""
    weeks = _weeks(flat)[:, : WEEKS - _HABIT_FROM // 7, :]
    empty = np.isnan(weeks).all(axis=2)
    highest = np.where(np.isnan(weeks), -np.inf, weeks).max(axis=2)
    lowest = np.where(np.isnan(weeks), np.inf, weeks).min(axis=2)
    high = np.sort(highest, axis=1)[:, -_HABIT_WEEKS]
    low = np.sort(lowest, axis=1)[:, _HABIT_WEEKS - 1]
    few = (~empty).sum(axis=1) < _HABIT_WEEKS
    return np.where(few, np.nan, low), np.where(few, np.nan, high)


def _low_before(before: Values, level: Values, rhythm: Values, limits: Limits) -> Flags:
    """Whether the newest known day of the last three was low by ratio and amount, too."""
    low = np.zeros(len(before), dtype=bool)
    open_ = np.ones(len(before), dtype=bool)
    for back in range(1, 4):
        value, usual = before[:, -back], level * rhythm[:, -back % 7]
        known = ~np.isnan(value) & (usual > 0)
        off = usual - value
        low |= open_ & known & (off >= limits.ratio * usual) & (off >= limits.amount / 2)
        open_ &= ~known
    return low


def _stopped(before: Values, value: Values, rhythm: Values, limits: Limits) -> tuple[Flags, Values]:
    """No cost for two days on which there should have been some, and longer than ever before; and the cost until then.

    Days that are not known neither lengthen nor end a silence.
    """
    width = before.shape[1]
    row = np.concatenate([before, value[:, None]], axis=1)
    known = ~np.isnan(row)
    shares = np.concatenate([np.tile(rhythm, (1, WEEKS)), rhythm[:, :1]], axis=1)
    some = known & (abs(row) > _STOPPED_SHARE * limits.least)
    none = known & ~some
    # Days since the last cost, and the longest such time before it, in known days.
    run = np.zeros(len(row), dtype=np.int64)
    due = run.copy()
    longest = run.copy()
    for column in range(width + 1):
        longest = np.where(some[:, column], np.maximum(longest, run), longest)
        run = np.where(some[:, column], 0, run + none[:, column])
        due = np.where(some[:, column], 0, due + (none[:, column] & (shares[:, column] >= 0.05)))
    last = width - some[:, ::-1].argmax(axis=1)
    ends = np.arange(width + 1)[None, :]
    inside = (ends <= last[:, None]) & (ends > (last - 7)[:, None]) & known
    mean = np.where(inside, row, 0.0).sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
    stopped = (
        some.any(axis=1)
        & ~np.isnan(value)
        & (due >= _STOPPED_AFTER)
        & (run > longest)
        & (width - last <= NEWS_DAYS)
        & (mean >= limits.amount)
    )
    return stopped, mean
