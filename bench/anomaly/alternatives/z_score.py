"""Standard deviations from the mean of the days before."""

from __future__ import annotations

import numpy as np

from bench.anomaly.alternative import Alternative, Measured, by_day, steps
from bench.anomaly.organization import Organization
from bench.anomaly.world import Values


def _measure(organization: Organization, variant: float) -> Measured:
    def spread(usage: Values) -> tuple[Values, Values]:
        return np.nanmean(usage[:, :-1], axis=1), np.nanstd(usage[:, :-1], axis=1)

    return by_day(organization, int(variant), spread)


ALTERNATIVE = Alternative(
    "z-score", 2, "Standard deviations from the mean of 30 (or 60) days.", _measure, (30, 60), steps(1.5, 60)
)
