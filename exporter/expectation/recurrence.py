"""What recurs on the tested day's calendars: whether their earlier days stood out, and how far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from exporter.expectation.arrays import MAD, Flags, Values, median, nearer_to_zero
from exporter.expectation.calendars import DAYS_BACK, REMEMBERED, calendars
from exporter.expectation.limits import Limits

_AROUND_WEEKS = (-21, -14, -7, 7, 14, 21)
_AROUND_DAYS = tuple(by for by in range(-7, 8) if by)
_STOOD_OUT_DEVIATIONS = 4.0
_THREE_OF_FOUR = 3
_LEAST_SPREAD = 0.05  # of what recurs
_WEEKS_SUM = 0.15  # by which a week may differ from others that cost the same
_USUAL_WEEKS = 8


@dataclass(frozen=True, slots=True)
class Recurrence:
    """By series: what recurs today beyond the base, in the unit of the values, and its deviation; NaN where nothing."""

    size: Values
    deviation: Values


def recurring(history: Values, base: Values, noise: Values, tested: date, limits: Limits) -> Recurrence:
    """The calendar that explains each series' tested day best.

    `history` holds `DAYS_BACK` + 1 columns, the tested day last; `base` is what is expected without calendars,
    `noise` one deviation of a day as a share of it.
    """
    value, past = history[:, -1], history[:, :-1]
    normal = _normal(past)
    out = _excursions(past, normal)
    reach = np.maximum(
        np.maximum(_STOOD_OUT_DEVIATIONS * noise[:, None], limits.ratio) * abs(normal), limits.least
    )
    off = value - base
    side = np.sign(off)[:, None]
    stood = (out * side > reach) & ~np.isnan(out)
    share = np.divide(out, normal, out=np.full_like(out, np.nan), where=abs(normal) > limits.least)

    size = np.full(len(history), np.nan)
    deviation = size.copy()
    for each in calendars(tested):
        columns = _columns(each.days, tested)
        held = stood[:, columns]
        believed = held[:, : each.fewest].all(axis=1)
        if len(columns) == REMEMBERED:
            believed |= held.sum(axis=1) >= _THREE_OF_FOUR
        for sizes in (out[:, columns], share[:, columns] * base[:, None]):
            size, deviation = _better(size, deviation, off, np.where(held, sizes, np.nan), believed)
    moved = np.asarray(stood[:, -7] & _same_sum(history))
    return Recurrence(*_better(size, deviation, off, out[:, -7:-6], moved))


def _columns(days: Sequence[date], tested: date) -> list[int]:
    return [DAYS_BACK - (tested - day).days for day in days]


def _better(
    size: Values, deviation: Values, off: Values, sizes: Values, believed: Flags
) -> tuple[Values, Values]:
    """What explains the difference best: what is known already, or the middle of some sizes."""
    middle = median(sizes)
    spread = np.maximum(MAD * median(abs(sizes - middle[:, None])), _LEAST_SPREAD * abs(middle))
    better = (
        believed
        & ~np.isnan(middle)
        & (np.isnan(size) | (_unexplained(off, middle, spread) < _unexplained(off, size, deviation)))
    )
    return np.where(better, middle, size), np.where(better, spread, deviation)


def _unexplained(off: Values, size: Values, deviation: Values) -> Values:
    """How far beyond what recurs a difference is; nothing up to there."""
    beyond = np.maximum(abs(off) - abs(size), 0.0)
    return np.asarray(beyond / np.maximum(deviation, 1e-9))


def _shifted(padded: Values, by: Sequence[int], width: int) -> Values:
    margin = (padded.shape[1] - width) // 2
    return np.stack([padded[:, margin + each : margin + each + width] for each in by], axis=2)


def _normal(past: Values) -> Values:
    """The median of the same weekday of the three weeks on either side."""
    padded = np.pad(past, ((0, 0), (21, 21)), constant_values=np.nan)
    return median(_shifted(padded, _AROUND_WEEKS, past.shape[1]))


def _excursions(past: Values, normal: Values) -> Values:
    """How far each day is from the same weekday of other weeks and from the days around it, whichever is nearer.

    After a change of level all days are far from other weeks, but none from the days around it.
    """
    ratio = np.divide(past, normal, out=np.full_like(past, np.nan), where=abs(normal) > 1e-9)
    padded = np.pad(ratio, ((0, 0), (7, 7)), constant_values=np.nan)
    near = median(_shifted(padded, _AROUND_DAYS, past.shape[1]))
    return nearer_to_zero(past - normal, past - normal * near)


def _same_sum(history: Values) -> Flags:
    """Whether the seven days up to the tested one cost what other weeks did: something has moved within the week."""
    newest = history[:, -7 * (_USUAL_WEEKS + 1) :].reshape(len(history), _USUAL_WEEKS + 1, 7).sum(axis=2)
    usual = median(newest[:, :-1])
    return np.asarray(abs(newest[:, -1] - usual) <= _WEEKS_SUM * abs(usual))
