"""A straight line through the days before, carried on: PromQL's predict_linear."""

from __future__ import annotations

import numpy as np

from bench.anomaly.alternative import Alternative, Measured, by_day, steps
from bench.anomaly.organization import Organization
from bench.anomaly.world import Values


def _line(usage: Values) -> tuple[Values, Values]:
    """The line's value on the last day, and the standard deviation around it before."""
    before = usage[:, :-1]
    known = ~np.isnan(before)
    at = np.arange(before.shape[1], dtype=float)
    count = known.sum(axis=1)
    x = (known * at).sum(axis=1) / count
    y = np.where(known, before, 0).sum(axis=1) / count
    from_x = (at[None, :] - x[:, None]) * known
    rise = np.where(known, before - y[:, None], 0)
    slope = (from_x * rise).sum(axis=1) / np.maximum((from_x**2).sum(axis=1), 1e-12)
    fitted = y[:, None] + slope[:, None] * (at[None, :] - x[:, None])
    left = np.nanstd(before - fitted, axis=1)
    return y + slope * (before.shape[1] - x), left


def _measure(organization: Organization, variant: float) -> Measured:
    return by_day(organization, int(variant), _line)


ALTERNATIVE = Alternative(
    "predict_linear",
    4,
    "Standard deviations from a line through 14 or 28 days.",
    _measure,
    (14, 28),
    steps(1.5, 60),
)
