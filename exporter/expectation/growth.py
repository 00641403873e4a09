"""Steady growth: the daily factor of a series, told from a change of level and from noise."""

from __future__ import annotations

import numpy as np

from exporter.expectation.arrays import MAD, Values, median

_FORTNIGHT = 14
_WINDOW = 3 * _FORTNIGHT
_FEWEST = 28
_STEEPEST = 0.03  # of the logarithm, a day
_CLIPPED = 3.0
_DRAWN_BY = 3.0  # standard errors of the slope, by which it is drawn towards none
_AGREE = 0.25  # the one of two fortnights' growths to the other, at least
_SHORTEST_STEP = 5


def growth(flat: Values) -> tuple[Values, Values]:
    """The growth a day of each series' logarithm, and what the last day costs by it; zero and NaN where none is steady.

    `flat` holds the last days without their rhythm, the newest last. A line has to fit them better than any single
    change of level does, over three fortnights of which both steps go the same way.
    """
    last = flat[:, -_WINDOW:]
    usable = (last > 0).sum(axis=1) >= _FEWEST
    usable &= (np.isnan(last) | (last > 0)).all(axis=1)
    rows = np.flatnonzero(usable & ~np.isnan(last[:, :_FORTNIGHT]).all(axis=1))
    slope, level = np.zeros(len(flat)), np.full(len(flat), np.nan)
    if len(rows) and last.shape[1] == _WINDOW:
        slope[rows], level[rows] = _fitted(np.log(last[rows]))
    return slope, np.where(slope == 0, np.nan, level)


def _fitted(logs: Values) -> tuple[Values, Values]:
    x = np.arange(logs.shape[1]) - (logs.shape[1] - 1)
    thirds = [median(logs[:, start : start + _FORTNIGHT]) for start in range(0, _WINDOW, _FORTNIGHT)]
    early, late = thirds[1] - thirds[0], thirds[2] - thirds[1]
    steady = (early * late > 0) & (
        np.minimum(abs(early), abs(late)) >= _AGREE * np.maximum(abs(early), abs(late))
    )
    slope = (thirds[2] - thirds[0]) / (2 * _FORTNIGHT)
    level = thirds[1] - slope * x[_WINDOW // 2]
    for _ in range(2):
        off = logs - (level[:, None] + slope[:, None] * x)
        reach = _CLIPPED * MAD * median(abs(off))[:, None] + 1e-9
        slope, level = _line(x, logs - off + np.clip(off, -reach, reach))
    off = logs - (level[:, None] + slope[:, None] * x)
    deviation = np.sqrt(np.nanmean(np.clip(off, -reach, reach) ** 2, axis=1))
    error = deviation / (_WINDOW**1.5 / 12**0.5) + 1e-12
    drawn = np.clip(1 - (_DRAWN_BY * error / np.maximum(abs(slope), 1e-12)) ** 2, 0, 1)
    kept = steady & (_distance(off) < _of_best_step(logs)) & ~np.isnan(slope)
    grown = np.where(kept, np.clip(slope * drawn, -_STEEPEST, _STEEPEST), 0.0)
    # Drawn towards none around the middle of the days, which are known best.
    middle = level + slope * x[_WINDOW // 2]
    return grown, np.exp(middle - grown * x[_WINDOW // 2])


def _line(x: Values, logs: Values) -> tuple[Values, Values]:
    """Slope and value at zero of the line through what is known of each row."""
    known = ~np.isnan(logs)
    count = known.sum(axis=1)
    filled = np.where(known, logs, 0.0)
    mean_x = (known * x).sum(axis=1) / count
    mean = filled.sum(axis=1) / count
    spread = (known * (x - mean_x[:, None]) ** 2).sum(axis=1)
    slope = (np.where(known, logs - mean[:, None], 0.0) * (x - mean_x[:, None])).sum(axis=1) / spread
    return slope, mean - slope * mean_x


def _distance(off: Values) -> Values:
    """The mean distance, each counted up to a few deviations."""
    reach = _CLIPPED * MAD * median(abs(off))[:, None]
    return np.asarray(np.nanmean(np.minimum(abs(off), reach + 1e-9), axis=1))


def _of_best_step(logs: Values) -> Values:
    """The distance that is left by the one change of level that leaves the least."""
    best = np.full(len(logs), np.inf)
    for cut in range(_SHORTEST_STEP, logs.shape[1] - _SHORTEST_STEP + 1):
        before, after = logs[:, :cut], logs[:, cut:]
        off = np.concatenate([before - median(before)[:, None], after - median(after)[:, None]], axis=1)
        best = np.fmin(best, _distance(off))
    return best
