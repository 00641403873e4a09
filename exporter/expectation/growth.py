"""Steady growth: the daily factor of a series, told from a change of level, from noise and from growth that ended."""

from __future__ import annotations

import numpy as np

from exporter.expectation.arrays import MAD, Values, median, ratio

_FORTNIGHT = 14
_WINDOW = 3 * _FORTNIGHT
_FEWEST = 28
_STEEPEST = 0.03  # of the logarithm, a day
_CLIPPED = 3.0
_DRAWN_BY = 3.0  # standard errors of the slope, by which it is drawn towards none
_AGREE = 0.25  # the one of two fortnights' growths to the other, at least
_SHORTEST_STEP = 5
_MOST_ZEROS = 3  # days
_HELD_DAYS = (6, 8, 10, 12, 14, 17, 20, 24, 28)  # growth that ended is looked for so many days back
_ENDED = 0.9  # the share of a line's distances that is left where growth has ended


def growth(flat: Values) -> tuple[Values, Values]:
    """The growth a day of each series' logarithm, and what the last day costs by it; zero and NaN where none is.

    `flat` holds the last days without their rhythm, the newest last. A line has to fit them better than any single
    change of level does, over three fortnights of which both steps go the same way. Where a line that became a level
    fits better still, the growth is zero and the level is that one. Credits grow as cost does;
    of a series with both signs nothing is said. A few days without cost are taken for unknown.
    """
    last = flat[:, -_WINDOW:]
    slope, level = np.zeros(len(flat)), np.full(len(flat), np.nan)
    if last.shape[1] < _WINDOW:
        return slope, level
    cost, credit = (last > 0).sum(axis=1), (last < 0).sum(axis=1)
    one_sign = (cost == 0) | (credit == 0)
    usable = one_sign & (cost + credit >= _FEWEST) & ((last == 0).sum(axis=1) <= _MOST_ZEROS)
    logs = np.log(np.where(last == 0, np.nan, abs(last)))
    known = (~np.isnan(logs)).reshape(len(logs), _WINDOW // _FORTNIGHT, _FORTNIGHT).sum(axis=2)
    rows = np.flatnonzero(usable & (known.min(axis=1) > 0))
    if len(rows):
        slope[rows], level[rows] = _fitted(logs[rows])
    return slope, np.where(credit > 0, -level, level)


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
    now = middle - grown * x[_WINDOW // 2]
    held, since = _held(logs, level[:, None] + slope[:, None] * x + np.clip(off, -reach, reach))
    ended = kept & (held < _ENDED * _distance(off))
    return np.where(ended, 0.0, grown), np.where(kept, np.exp(np.where(ended, since, now)), np.nan)


def _held(logs: Values, clipped: Values) -> tuple[Values, Values]:
    """The distance that is left by the line that became a level, on the day that leaves the least; and that level."""
    x = np.arange(logs.shape[1]) - (logs.shape[1] - 1.0)
    best, level = np.full(len(logs), np.inf), np.zeros(len(logs))
    for days in _HELD_DAYS:
        bent = np.minimum(x, -days)
        slope, zero = _line(bent, clipped)
        distance = _distance(logs - (zero[:, None] + slope[:, None] * bent))
        level = np.where(distance < best, zero - slope * days, level)
        best = np.fmin(best, distance)
    return best, level


def _line(x: Values, logs: Values) -> tuple[Values, Values]:
    """Slope and value at zero of the line through what is known of each row; level where all of it is at one x."""
    known = ~np.isnan(logs)
    count = known.sum(axis=1)
    filled = np.where(known, logs, 0.0)
    mean_x = (known * x).sum(axis=1) / count
    mean = filled.sum(axis=1) / count
    spread = (known * (x - mean_x[:, None]) ** 2).sum(axis=1)
    rise = (np.where(known, logs - mean[:, None], 0.0) * (x - mean_x[:, None])).sum(axis=1)
    slope = np.nan_to_num(ratio(rise, spread))
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
