"""What cost is to be expected of the coming days: pure functions on arrays of series by days.

Each series is split into a level, a weekday rhythm and charges of the month's first days:

- What recurs on the 1st to 3rd of months (tax, support, fees, credits) is predicted from the same
  weekday a week later, and expected on those days only.
- What recurs on other calendars (the 15th, the first Monday, the last working day) is expected on their days
  (coming.py).
- The rhythm is the median over whole weeks of each weekday's share, drawn towards none the more
  it is lost in noise; or that of two weeks, where every other week is different.
- Steady growth is carried on (growth.py).
- The level is a mean of the last four weeks, newer days weighing more and outliers clipped, or of
  the days since the level shifted. What came once is not continued, what stopped is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from exporter.expectation.arrays import MAD, Flags, Given, Numbers, median, nearer_to_zero
from exporter.expectation.coming import recurring
from exporter.expectation.growth import growth
from exporter.expectation.rhythm import began as first_cost
from exporter.expectation.rhythm import is_due

Costs = NDArray[np.float64]
"""Series by days, in USD."""


MONTH_START_DAYS = 3
FEWEST_DAYS = 7  # a whole week: below it there is no rhythm, and no projection
_RECENT_DAYS = 42
_CALENDAR_DAYS = 165
_AT_A_TIME = 500  # series: some 30 MB
_RHYTHM_WEEKS = 5
_LEAST_COVERED = 0.7
_FORTNIGHTS = 3
_FORTNIGHT_EXPLAINS = 0.6  # the share of the distances that is left where every other week is different
_LEVEL_DAYS = 28
_MONTH_STARTS = 3
_SHIFTS = (3, 4, 5, 7, 10, 14)  # a level shift is looked for so many days back
_SHIFT_EXPLAINS = 0.4  # the share of the distances to the median that a shift has to explain
_HALF_LIFE_DAYS = 7.0
_CLIPPED_DEVIATIONS = 3.0
_FEWEST_BURSTS = 3
_CENT = 0.01
_NOTHING = 1e-12


def input_days(today: date) -> list[date]:
    """The days before `today` that `expect` makes use of: five months, so that a calendar's last four days are there."""
    return [today - timedelta(days=back) for back in range(_CALENDAR_DAYS, 0, -1)]


def expect(history: Given, days: Sequence[date], reported: Costs, ahead: Sequence[date]) -> Costs:
    """The expected cost of each series on the days `ahead`.

    `history` holds complete days, oldest first, gaps allowed; a zero is a day without cost.
    `reported` holds what is known so far of days after them that are over but incomplete, oldest
    first: a sign of life, but no amount. Any sign of cost is handled, credits too.
    ValueError with fewer than FEWEST_DAYS days of the last six weeks.
    """
    known = {day: number for number, day in enumerate(days)}
    recent = [number for number, day in enumerate(days) if (days[-1] - day).days < _RECENT_DAYS]
    if len(recent) < FEWEST_DAYS:
        raise ValueError(f"{len(recent)} days are too few to expect anything from")
    parts = [
        _expect(history[rows].astype(np.float64), days, recent, known, reported[rows], ahead)
        for start in range(0, max(len(history), 1), _AT_A_TIME)
        for rows in [slice(start, start + _AT_A_TIME)]
    ]
    return np.concatenate(parts)


def _expect(
    history: Costs,
    days: Sequence[date],
    recent: Sequence[int],
    known: dict[date, int],
    reported: Costs,
    ahead: Sequence[date],
) -> Costs:
    monthly = _month_start_charges(history, days, known)
    plain = _without(history, monthly, known)
    recent_days = [days[number] for number in recent]
    rhythm = _rhythm(plain[:, recent], recent_days, first_cost(plain[:, recent]))
    fortnight = _fortnightly(plain[:, recent], recent_days, rhythm)

    def shares(wanted: Sequence[date]) -> Costs:
        return np.asarray(
            rhythm[:, [day.weekday() for day in wanted]]
            * fortnight[:, [day.toordinal() % 14 for day in wanted]]
        )

    recurs = recurring(plain, days, shares(days), ahead)
    plain = (plain - recurs.covered)[:, recent]
    began = first_cost(plain)
    level = _level(plain, recent_days, began, shares(recent_days))
    gone = _came_once(plain, reported) | _stopped(plain, reported, began)
    level[gone] = 0
    slope, grown = _growth(plain, recent_days, shares(recent_days))
    growing = ~np.isnan(grown) & ~gone
    level = np.where(growing, grown, level)
    distance = np.array([(day - days[-1]).days for day in ahead])
    grown_by = np.exp(np.where(growing, slope, 0.0)[:, None] * distance)
    usual = level[:, None] * grown_by * shares(ahead)
    out = np.where(gone[:, None], 0.0, usual * (1 + recurs.share)) + recurs.amount
    for number, day in enumerate(ahead):
        if day.day <= MONTH_START_DAYS:
            out[:, number] += monthly[:, day.day - 1]
    # Where a month began with less than usual, the difference is not to turn the sign.
    out[(history >= 0).all(axis=1)] = out[(history >= 0).all(axis=1)].clip(min=0)
    out[(history <= 0).all(axis=1)] = out[(history <= 0).all(axis=1)].clip(max=0)
    return out


def complete(reported: Costs, expected: Costs) -> Costs:
    """What days will have cost in the end, of which `reported` is known so far.

    Charges come in late: of two amounts of one sign the larger holds. Amounts of opposite signs
    are different charges, e.g. a refund beside usage, and add up.
    """
    larger = np.where(abs(reported) >= abs(expected), reported, expected)
    opposite = (reported < 0) & (expected > 0) | (reported > 0) & (expected < 0)
    return np.where(opposite, reported + expected, larger)


# Month starts


def _month_start_charges(history: Costs, days: Sequence[date], known: dict[date, int]) -> Costs:
    """Charges that recur on the first days of months: series by day of the month, zero where none does."""
    found: list[tuple[date, Costs]] = []
    for first in sorted({day.replace(day=1) for day in days}):
        # Seven days after it, so that each weekday is among them.
        after = [first + timedelta(days=MONTH_START_DAYS + number) for number in range(7)]
        start = [first + timedelta(days=number) for number in range(MONTH_START_DAYS)]
        if not all(day in known for day in (*start, *after)):
            continue
        week = history[:, [known[day] for day in after]]
        high, low = week.max(axis=1), week.min(axis=1)
        slack = (high - low) / 2 + 0.05 * np.maximum(abs(high), abs(low)) + _CENT
        charges = np.zeros((len(history), MONTH_START_DAYS))
        for number, day in enumerate(start):
            cost = history[:, known[day]]
            beyond = (cost > high + slack) | (cost < low - slack)
            charges[:, number] = np.where(beyond, cost - history[:, known[day + timedelta(days=7)]], 0.0)
        found.append((first, charges))
    if not found:
        return np.zeros((len(history), MONTH_START_DAYS))

    seen_from = first_cost(history)
    found = found[-_MONTH_STARTS:]
    newest = found[-1][1]
    if len(found) == 1:
        return newest
    starts = np.stack([charges for _, charges in found])
    # A month before the series began says nothing about it.
    began = [np.asarray(seen_from <= known[first + timedelta(days=2)]) for first, _ in found]
    two = nearer_to_zero(starts[-2], newest)
    recurring = two if len(found) == 2 else np.where(began[-3][:, None], np.median(starts, axis=0), two)
    recurring = np.where(began[-2][:, None], recurring, newest)
    return np.where(newest != 0, recurring, 0.0)


def _without(history: Costs, monthly: Costs, known: dict[date, int]) -> Costs:
    """The history without what recurs at month starts: such a day is as the same weekday of a week nearby."""
    plain = history.copy()
    for day, number in known.items():
        if day.day > MONTH_START_DAYS:
            continue
        recurs = monthly[:, day.day - 1] != 0
        week = timedelta(days=7)
        other = next((known[near] for near in (day + week, day - week) if near in known), None)
        if other is None:
            plain[recurs, number] -= monthly[recurs, day.day - 1]
        else:
            plain[recurs, number] = history[recurs, other]
    return plain


# Rhythm


def _rhythm(plain: Costs, days: Sequence[date], began: Numbers) -> Costs:
    """Each weekday's cost relative to the mean of its week: series by weekday, with a mean of 1."""
    known = {day: number for number, day in enumerate(days)}
    shares = []
    for back in range(_RHYTHM_WEEKS):
        week = [days[-1] - timedelta(days=7 * back + number) for number in range(7)]
        if not all(day in known for day in week):
            continue
        columns = [known[day] for day in sorted(week, key=date.weekday)]
        cost = plain[:, columns]
        mean = cost.mean(axis=1)
        # A week of charges and credits that cancel out has no shares; nor has one before the first cost.
        valid = (abs(mean) > 0.2 * abs(cost).mean(axis=1)) & (min(columns) >= began)
        share = np.divide(cost, mean[:, None], out=np.ones_like(cost), where=valid[:, None])
        shares.append(np.where(valid[:, None], share.clip(0, 7), np.nan))
    flat = np.ones((len(plain), 7))
    if len(shares) < 2:
        return flat
    weeks = np.stack(shares)
    count = (~np.isnan(weeks[:, :, 0])).sum(axis=0)
    some = count >= 2
    if not some.any():
        return flat
    weeks = weeks[:, some, :]
    typical = np.nanmedian(weeks, axis=0)
    # Where most of the cost is on other weekdays each week, the medians miss it: that is no rhythm.
    covered = typical.mean(axis=1)
    typical /= np.maximum(covered, 1e-9)[:, None]
    # Of a week in which the level shifted, no share is right: it must not count as noise.
    deviation = MAD * np.nanmedian(abs(weeks - typical), axis=0)
    noise = (deviation**2).mean(axis=1) / count[some]
    spread = np.maximum(((typical - 1) ** 2).mean(axis=1), 1e-12)
    kept = np.where(covered >= _LEAST_COVERED, np.clip(1 - noise / spread, 0, 1), 0)[:, None]
    flat[some] = 1 + kept * (typical - 1)
    return flat


def _fortnightly(plain: Costs, days: Sequence[date], rhythm: Costs) -> Costs:
    """What every other week is different by: series by day of the fortnight, 1 where two weeks say no more than one.

    Each cycle is predicted from the others, with and without.
    """
    known = {day: number for number, day in enumerate(days)}
    spans = [
        sorted(
            (days[-1] - timedelta(days=14 * back + number) for number in range(14)),
            key=lambda day: day.toordinal() % 14,
        )
        for back in range(_FORTNIGHTS)
    ]
    cycles = [
        (plain[:, [known[day] for day in span]], rhythm[:, [day.weekday() for day in span]], span)
        for span in spans
        if all(day in known for day in span)
    ]
    flat = np.ones((len(plain), 14))
    if len(cycles) < _FORTNIGHTS:
        return flat
    means = [cost.mean(axis=1) for cost, _, _ in cycles]
    # What grows is more at the end of each fortnight: that is no rhythm.
    some = np.minimum(abs(means[0]), abs(means[-1])) > _NOTHING
    same_sign = np.sign(means[0]) == np.sign(means[-1])
    grown = np.divide(means[0], means[-1], out=np.ones_like(means[0]), where=some & same_sign)
    slope = np.log(grown) / (14 * (_FORTNIGHTS - 1))
    held = np.full((_FORTNIGHTS, len(plain), 14), np.nan)
    for number, (cost, share, span) in enumerate(cycles):
        place = np.array([(day - days[-1]).days + 14 * number + 6.5 for day in span])
        usual = means[number][:, None] * share * np.exp(slope[:, None] * place)
        usable = (share >= 0.02) & (abs(means[number]) > 0.2 * abs(cost).mean(axis=1))[:, None]
        usable &= abs(usual) > _NOTHING
        np.divide(cost, usual, out=held[number], where=usable)
    with_, without = np.zeros(len(plain)), np.zeros(len(plain))
    weekday = np.array([(number + 7) % 14 for number in range(14)])
    for left in range(_FORTNIGHTS):
        others = np.delete(held, left, axis=0)
        alternating = median(np.moveaxis(others, 0, -1))
        weekly = median(np.moveaxis(np.concatenate([others, others[:, :, weekday]]), 0, -1))
        with_ += np.nansum(abs(held[left] - alternating), axis=1)
        without += np.nansum(abs(held[left] - weekly), axis=1)
    typical = median(np.moveaxis(held, 0, -1))
    typical = np.where(np.isnan(typical), 1.0, typical)
    better = with_ < _FORTNIGHT_EXPLAINS * without
    return np.where(better[:, None], typical, flat)


# Level


def _growth(plain: Costs, days: Sequence[date], shares: Costs) -> tuple[Costs, Costs]:
    """The growth a day of the logarithm, and what the last day costs without its rhythm."""
    whole = np.full((len(plain), _RECENT_DAYS), np.nan)
    for number, day in enumerate(days):
        back = (days[-1] - day).days
        if back < _RECENT_DAYS:
            usable = is_due(shares[:, number])
            whole[usable, -1 - back] = plain[usable, number] / shares[usable, number]
    return growth(whole)


def _level(plain: Costs, days: Sequence[date], began: Numbers, shares: Costs) -> Costs:
    """What an average day costs now."""
    first = next(number for number, day in enumerate(days) if (days[-1] - day).days < _LEVEL_DAYS)
    cost = plain[:, first:]
    weight = shares[:, first:].copy()
    columns = np.arange(first, len(days))
    weight[columns[None, :] < began[:, None]] = 0
    weight[weight < 0.02] = 0
    value = np.divide(cost, weight, out=np.zeros_like(cost), where=weight > 0)
    weight = _since_shift(value, weight)

    middle = _weighted_median(value, weight)
    deviation = MAD * _weighted_median(abs(value - middle[:, None]), weight)
    reach = (_CLIPPED_DEVIATIONS * deviation)[:, None]
    clipped = value.clip(middle[:, None] - reach, middle[:, None] + reach)
    # More days without cost than with it: the median says nothing about the bursts.
    bursts = np.where(weight > 0, value, 0.0)
    counted = np.sort(abs(bursts), axis=1)
    limit = counted[:, -2:-1] if counted.shape[1] > 1 else counted
    recurring = (bursts != 0).sum(axis=1) >= _FEWEST_BURSTS
    bursty = (middle == 0) & recurring
    clipped[bursty] = bursts[bursty].clip(-limit[bursty], limit[bursty])

    age = np.array([(days[-1] - day).days for day in days[first:]])
    weight = weight * 0.5 ** (age / _HALF_LIFE_DAYS)
    total = weight.sum(axis=1)
    level = np.zeros(len(plain))
    np.divide((weight * clipped).sum(axis=1), total, out=level, where=total > 0)
    return level


def _since_shift(value: Costs, weight: Costs) -> Costs:
    """The weights, zero before the level last shifted for good."""
    width = value.shape[1]
    whole = _distance(value, weight)
    best, since = (1 - _SHIFT_EXPLAINS) * whole, np.zeros(len(value), dtype=np.int64)
    for back in _SHIFTS:
        if back + 3 > width:
            break
        cut = width - back
        enough = (weight[:, :cut] > 0).sum(axis=1) >= 3
        apart = _distance(value[:, :cut], weight[:, :cut]) + _distance(value[:, cut:], weight[:, cut:])
        better = enough & (apart < best) & (whole > _CENT)
        best = np.where(better, apart, best)
        since = np.where(better, cut, since)
    return np.where(np.arange(width)[None, :] >= since[:, None], weight, 0.0)


def _distance(value: Costs, weight: Costs) -> Costs:
    middle = _weighted_median(value, weight)
    return np.asarray((weight * abs(value - middle[:, None])).sum(axis=1))


def _weighted_median(value: Costs, weight: Costs) -> Costs:
    """The lower weighted median of each row; 0 where all weights are."""
    order = value.argsort(axis=1)
    summed = np.take_along_axis(weight, order, axis=1).cumsum(axis=1)
    place = (summed >= summed[:, -1:] / 2).argmax(axis=1)
    middle = np.take_along_axis(value, np.take_along_axis(order, place[:, None], axis=1), axis=1)[:, 0]
    return np.where(summed[:, -1] > 0, middle, 0.0)


# Life and death


def _came_once(plain: Costs, reported: Costs) -> Flags:
    """One day with cost: a purchase, or a beginning of which too little is known."""
    return np.asarray((plain != 0).sum(axis=1) + (reported != 0).sum(axis=1) < 2)


def _stopped(plain: Costs, reported: Costs, began: Numbers) -> Flags:
    """No cost for longer than ever between two costs, for two days at least."""
    columns = plain.shape[1]
    some = plain != 0
    last = columns - 1 - some[:, ::-1].argmax(axis=1)
    run = np.zeros(len(plain), dtype=np.int64)
    longest = run.copy()
    for column in range(columns):
        inside = (column > began) & (column < last)
        run = np.where(inside & ~some[:, column], run + 1, 0)
        longest = np.maximum(longest, run)
    silent = columns - 1 - last
    silent = np.where(silent > 0, silent + reported.shape[1], 0)
    return np.asarray((silent >= 2) & (silent > longest) & ~(reported != 0).any(axis=1))
