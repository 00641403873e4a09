"""What recurs on the tested day's calendars: whether their earlier days stood out, and how far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from exporter.expectation.arrays import MAD, Flags, Values, median
from exporter.expectation.calendars import DAYS_BACK, REMEMBERED, calendars
from exporter.expectation.excursions import Excursions
from exporter.expectation.limits import Limits
from exporter.expectation.rhythm import is_due

_THREE_OF_FOUR = 3
_LEAST_SPREAD = 0.05  # of what recurs
_MOST_SPREAD = 0.35
_SAME_LEVEL = 0.25
_WEEKS_SUM = 0.15  # by which a week may differ from others that cost the same
_USUAL_WEEKS = 8


@dataclass(frozen=True, slots=True)
class Recurrence:
    """By series: what recurs today beyond the base, in the unit of the values, and its deviation; NaN where nothing."""

    size: Values
    deviation: Values


def recurring(
    history: Values, base: Values, shares: Values, past: Excursions, tested: date, limits: Limits
) -> Recurrence:
    """The calendar that explains each series' tested day best.

    `history` holds `DAYS_BACK` + 1 columns, the tested day last; `base` is what is expected without calendars,
    `shares` the rhythm that it has, the tested day's first, and `past` what stood out before.
    """
    off = history[:, -1] - base
    stood = past.stood & (past.out * np.sign(off)[:, None] > 0)
    share = past.share
    size = np.full(len(history), np.nan)
    deviation = size.copy()
    reach = np.maximum(limits.ratio * abs(base), limits.least)[:, None]
    for each in calendars(tested):
        columns = _columns(each.days, tested)
        if each.is_monthly:
            # Also what stays for some days of each month, as until a tier of price is reached.
            there = _on_this_weekday(history, columns, shares)
            size, deviation = _level_there(size, deviation, off, there - base[:, None], reach)
        held = stood[:, columns]
        believed = np.asarray(held[:, : each.fewest].all(axis=1), dtype=np.bool_)
        if len(columns) == REMEMBERED:
            believed |= held.sum(axis=1) >= _THREE_OF_FOUR
        if not believed.any():
            continue
        for sizes in (past.out[:, columns], share[:, columns] * base[:, None]):
            size, deviation = _better(size, deviation, off, np.where(held, sizes, np.nan), believed)
    # A rhythm is learnt in a month; until then the same weekday of the last two weeks tells of a new one.
    size, deviation = _level_there(size, deviation, off, history[:, [-8, -15]] - base[:, None], reach)
    moved = np.asarray(stood[:, -7] & _same_sum(history), dtype=np.bool_)
    return Recurrence(*_better(size, deviation, off, past.out[:, -7:-6], moved))


def _on_this_weekday(history: Values, columns: Sequence[int], shares: Values) -> Values:
    """What some earlier days would have cost on the tested day's weekday; NaN where theirs hardly costs anything."""
    theirs = shares[:, [(column - DAYS_BACK) % 7 for column in columns]]
    ratio = np.divide(shares[:, :1], theirs, out=np.full_like(theirs, np.nan), where=is_due(theirs))
    return np.asarray(history[:, columns] * ratio)


def _level_there(
    size: Values, deviation: Values, off: Values, sizes: Values, reach: Values
) -> tuple[Values, Values]:
    """With the newest two of some earlier days, where both were as far from what is expected today."""
    newest = sizes[:, :2]
    both = (newest * np.sign(off)[:, None] > reach).all(axis=1)
    # A level is as high as it was: what is less or more is no part of it.
    same = (abs(off[:, None] - newest) <= _SAME_LEVEL * abs(newest)).all(axis=1)
    return _better(size, deviation, off, newest, np.asarray(both & same, dtype=np.bool_))


def _columns(days: Sequence[date], tested: date) -> list[int]:
    return [DAYS_BACK - (tested - day).days for day in days]


def _better(
    size: Values, deviation: Values, off: Values, sizes: Values, believed: Flags
) -> tuple[Values, Values]:
    """What explains the difference best: what is known already, or the middle of some sizes."""
    middle = median(sizes)
    spread = np.clip(
        MAD * median(abs(sizes - middle[:, None])), _LEAST_SPREAD * abs(middle), _MOST_SPREAD * abs(middle)
    )
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


def _same_sum(history: Values) -> Flags:
    """Whether the seven days up to the tested one cost what other weeks did: something has moved within the week."""
    newest = history[:, -7 * (_USUAL_WEEKS + 1) :].reshape(len(history), _USUAL_WEEKS + 1, 7).sum(axis=2)
    usual = median(newest[:, :-1])
    return np.asarray(abs(newest[:, -1] - usual) <= _WEEKS_SUM * abs(usual))
