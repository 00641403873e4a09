"""Days of thirteen months that stood out from the days around them, and which of these recurred on a calendar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import numpy as np

from exporter.expectation.arrays import Flags, Values, median, nearer_to_zero, ratio
from exporter.expectation.calendars import rules
from exporter.expectation.limits import Limits

_AROUND_WEEKS = (-21, -14, -7, 7, 14, 21)
_AROUND_DAYS = tuple(by for by in range(-7, 8) if by)
_NEXT_DAYS = (-3, -2, -1, 1, 2, 3)
_STOOD_OUT_DEVIATIONS = 4.0
_NEIGHBOURS = 2  # days of a rule on either side
_RECURRED = 2  # of these that stood out, too
_FORTNIGHT = 14
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Excursions:
    """Series by days of the past, oldest first.

    `normal` is what the days around each let expect of it, `out` how far it was off, `stood` whether that is far, and
    `recurred` whether other days of a calendar were as far off, to the same side.
    """

    normal: Values
    out: Values
    stood: Flags
    recurred: Flags

    @property
    def share(self) -> Values:
        """How far each day was off as a share of what was normal; NaN where that is next to nothing."""
        return ratio(self.out, self.normal)


def excursions(past: Values, noise: Values, usual: Values, newest: date, limits: Limits) -> Excursions:
    """Those of each series.

    `noise` is one deviation of a day as a share of its expectation, `usual` what a day may cost anyway (0 where the days
    around it say it all), `newest` the last day.
    """
    normal = _normal(past)
    out = _off(past, normal)
    reach = np.maximum(
        np.maximum(_STOOD_OUT_DEVIATIONS * noise[:, None], limits.ratio) * abs(normal), limits.least
    )
    stood = (abs(out) > reach) & (past > usual[:, None])  # False where it is not known
    recurred = np.zeros(stood.shape, dtype=bool)
    for side in (stood & (out > 0), stood & (out < 0)):
        recurred |= _recurred(side, newest)
    return Excursions(normal, out, stood, recurred)


def _shifted(padded: Values, by: Sequence[int], width: int) -> Values:
    margin = (padded.shape[1] - width) // 2
    return np.stack([padded[:, margin + each : margin + each + width] for each in by], axis=2)


def _normal(past: Values) -> Values:
    """The middle of the same weekday of the three weeks on either side; of two middles the farther from the day.

    So that of weeks that differ in turn the more frequent ones count, where one is missing.
    """
    padded = np.pad(past, ((0, 0), (21, 21)), constant_values=np.nan)
    ordered = np.sort(_shifted(padded, _AROUND_WEEKS, past.shape[1]), axis=2)  # NaN last
    count = (~np.isnan(ordered)).sum(axis=2)[:, :, None]
    low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0), 2)[:, :, 0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, ordered.shape[2] - 1), 2)[:, :, 0]
    middle = (low + high) / 2
    return np.where(past > high, low, np.where(past < low, high, middle))


def _off(past: Values, normal: Values) -> Values:
    """How far each day is from the same weekday of other weeks and from the days around it, whichever is nearer.

    After a change of level all days are far from other weeks, but none from the days around it.
    """
    padded = np.pad(ratio(past, normal), ((0, 0), (7, 7)), constant_values=np.nan)
    near = median(_shifted(padded, _AROUND_DAYS, past.shape[1]))
    off = nearer_to_zero(past - normal, past - normal * near)
    # Where every other week has more, the weeks between have no less than the days around them.
    padded = np.pad(past, ((0, 0), (3, 3)), constant_values=np.nan)
    below = past - median(_shifted(padded, _NEXT_DAYS, past.shape[1]))
    return np.where(off < 0, nearer_to_zero(off, below), off)


def _recurred(stood: Flags, newest: date) -> Flags:
    """Days that stood out as others of one calendar did: two of the two before and the two after."""
    found = np.zeros(stood.shape, dtype=bool)
    rows = np.flatnonzero(stood.sum(axis=1) > _RECURRED)
    if not len(rows):
        return found
    some = stood[rows]
    for columns in _sequences(newest, stood.shape[1]):
        hits = some[:, columns]
        padded = np.pad(hits, ((0, 0), (_NEIGHBOURS, _NEIGHBOURS)))
        others = sum(
            padded[:, _NEIGHBOURS + by : _NEIGHBOURS + by + hits.shape[1]].astype(np.int8)
            for by in range(-_NEIGHBOURS, _NEIGHBOURS + 1)
            if by
        )
        found[rows[:, None], columns] |= hits & (others >= _RECURRED)
    return found


@lru_cache(maxsize=16)
def _sequences(newest: date, width: int) -> tuple[list[int], ...]:
    """The columns of each rule's days, and of each day of the fortnight."""
    oldest = newest - (width - 1) * _DAY
    found = {
        tuple(width - 1 - (newest - day).days for day in reversed(rule.past))
        for rule in rules(oldest, newest, newest, width)
    }
    found |= {tuple(range(phase, width, _FORTNIGHT)) for phase in range(_FORTNIGHT)}
    return tuple(list(columns) for columns in sorted(found) if len(columns) > _RECURRED)
