"""STL: trend and weekly season by loess, fitted once a week and carried on for the days after it."""

from __future__ import annotations

import numpy as np
from statsmodels.tsa.seasonal import STL

from bench.anomaly.alternative import Alternative, Measured, steps
from bench.anomaly.organization import Organization
from bench.anomaly.world import DAYS, HISTORY_DAYS, Values


def _filled(row: Values) -> Values:
    """Days that are not known by a straight line between their neighbours."""
    known = np.flatnonzero(~np.isnan(row))
    return np.interp(np.arange(len(row)), known, row[known]) if len(known) else np.zeros(len(row))


def _fit(row: Values) -> tuple[Values, float]:
    """The next seven days, and the standard deviation of what is left."""
    if not row.any():
        return np.zeros(7), 0.0
    fitted = STL(row, period=7, seasonal=13, robust=True).fit(inner_iter=2, outer_iter=3)
    return np.asarray(fitted.trend[-1] + fitted.seasonal[-7:]), float(np.std(fitted.resid))


def _measure(organization: Organization, variant: float) -> Measured:
    shape = (len(organization.usage), DAYS - HISTORY_DAYS)
    scores, expected, values = np.empty(shape), np.empty(shape), np.empty(shape)
    for assessed in range(HISTORY_DAYS, DAYS):
        usage = organization.seen(assessed).usage
        column = assessed - HISTORY_DAYS
        if column % 7 == 0:
            fits = [_fit(_filled(row)) for row in usage[:, -1 - int(variant) : -1]]
            ahead, scale = np.stack([fit[0] for fit in fits]), np.array([fit[1] for fit in fits])
        values[:, column] = usage[:, -1]
        expected[:, column] = ahead[:, column % 7]
        off = usage[:, -1] - expected[:, column]
        scores[:, column] = off / np.maximum(scale, 0.005 * abs(expected[:, column]) + 1e-9)
    return Measured(scores, expected, values)


# Robust, with 13 weeks of a season and without a slope, is the best of what was tried on development classes.
ALTERNATIVE = Alternative(
    "STL", 5, "Standard deviations of the remainder of 8 or 12 weeks, fitted once a week.",
    _measure, (56, 84), steps(2, 400),
)  # fmt: skip
