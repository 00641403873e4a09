"""Holt-Winters: level, slope and seven weekdays, additive, filtered over the weeks before each day.

The smoothing factors of each series are the best of a grid by squared error over its history; statsmodels'
optimiser finds about the same and takes a hundred times as long.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from bench.anomaly.alternative import Alternative, Measured, steps
from bench.anomaly.organization import Organization
from bench.anomaly.world import DAYS, HISTORY_DAYS, Values

_GRID = np.array(list(itertools.product((0.05, 0.2, 0.5), (0.0, 0.02), (0.05, 0.2, 0.5))))
_START = 28
_WEEKS = 20


@dataclass(slots=True)
class _Filtered:
    """One-step forecasts and errors of each day after the start."""

    forecasts: Values
    errors: Values


def _filter(usage: Values, factors: Values) -> _Filtered:
    """`factors` (level, slope, season) by series; a day that is not known leaves the state."""
    alpha, beta, gamma = factors.T
    weeks = usage[:, :_START].reshape(len(usage), -1, 7)
    level = np.nanmean(usage[:, :_START], axis=1)
    season = np.nan_to_num(np.nanmean(weeks, axis=1) - level[:, None])
    slope = np.zeros(len(usage))
    level = np.nan_to_num(level)
    forecasts = np.empty((len(usage), usage.shape[1] - _START))
    for day in range(_START, usage.shape[1]):
        place = day % 7
        forecast = level + slope + season[:, place]
        error = np.nan_to_num(usage[:, day] - forecast)
        # As the error-correction form of the three smoothing equations.
        level = level + slope + alpha * error
        slope = slope + alpha * beta * error
        season[:, place] += gamma * (1 - alpha) * error
        forecasts[:, day - _START] = forecast
    return _Filtered(forecasts, usage[:, _START:] - forecasts)


def _best(usage: Values) -> Values:
    """The factors of the grid with the least squared error of each series over its last weeks."""
    losses = []
    for factors in _GRID:
        errors = _filter(usage, np.tile(factors, (len(usage), 1))).errors
        losses.append(
            np.nanmean(np.minimum(errors**2, np.nanquantile(errors**2, 0.98, axis=1)[:, None]), axis=1)
        )
    return np.asarray(_GRID[np.argmin(np.nan_to_num(np.stack(losses), nan=np.inf), axis=0)])


def _measure(organization: Organization, variant: float) -> Measured:
    days = 7 * _WEEKS
    first = organization.seen(HISTORY_DAYS).usage[:, -days - 1 : -1]
    factors = _best(first)
    values, expected, scores = [], [], []
    for assessed in range(HISTORY_DAYS, DAYS):
        usage = organization.seen(assessed).usage[:, -days - 1 :]
        done = _filter(usage, factors)
        scale = np.nanstd(done.errors[:, -1 - int(variant) : -1], axis=1)
        values.append(usage[:, -1])
        expected.append(done.forecasts[:, -1])
        scores.append(done.errors[:, -1] / np.maximum(scale, 1e-9))
    return Measured(np.stack(scores, axis=1), np.stack(expected, axis=1), np.stack(values, axis=1))


ALTERNATIVE = Alternative(
    "Holt-Winters",
    6,
    "Standard deviations of the forecast errors of 30 or 90 days.",
    _measure,
    (30, 90),
    steps(1.5, 60),
)
