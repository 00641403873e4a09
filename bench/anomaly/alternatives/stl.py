"""STL: trend and weekly season by loess, fitted once a week and carried on for the days after it."""

from __future__ import annotations

import numpy as np
from statsmodels.tsa.seasonal import STL

from bench.anomaly.alternative import Alternative, Measured, steps
from bench.anomaly.organization import Organization
from bench.anomaly.world import DAYS, HISTORY_DAYS, Values

_DAYS = 84


def _filled(row: Values) -> Values:
    """Days that are not known by a straight line between their neighbours."""
    known = np.flatnonzero(~np.isnan(row))
    return np.interp(np.arange(len(row)), known, row[known]) if len(known) else np.zeros(len(row))


def _fit(row: Values, robust: bool) -> tuple[Values, float]:
    """The next seven days and the robust standard deviation of what is left."""
    if not row.any():
        return np.zeros(7), 0.0
    fitted = STL(row, period=7, seasonal=7, robust=robust).fit(inner_iter=2, outer_iter=3 if robust else 0)
    slope = (fitted.trend[-1] - fitted.trend[-15]) / 14
    ahead = fitted.trend[-1] + slope * np.arange(1, 8) + fitted.seasonal[-7:]
    left = fitted.resid
    return ahead, float(1.4826 * np.median(abs(left - np.median(left))))


def _measure(organization: Organization, variant: float) -> Measured:
    shape = (len(organization.usage), DAYS - HISTORY_DAYS)
    scores, expected, values = np.empty(shape), np.empty(shape), np.empty(shape)
    for assessed in range(HISTORY_DAYS, DAYS):
        usage = organization.seen(assessed).usage
        column = assessed - HISTORY_DAYS
        if column % 7 == 0:
            fits = [_fit(_filled(row), bool(variant)) for row in usage[:, -1 - _DAYS : -1]]
            ahead, scale = np.stack([fit[0] for fit in fits]), np.array([fit[1] for fit in fits])
        values[:, column] = usage[:, -1]
        expected[:, column] = ahead[:, column % 7]
        off = usage[:, -1] - expected[:, column]
        scores[:, column] = off / np.maximum(scale, 0.005 * abs(expected[:, column]) + 1e-9)
    return Measured(scores, expected, values)


ALTERNATIVE = Alternative(
    "STL", 5, "Robust deviations of the remainder of 12 weeks, fitted weekly.", _measure, (0,), steps(2, 400)
)
