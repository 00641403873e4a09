"""Mean and standard deviation of the same weekday: avg_over_time and stddev_over_time with offsets of weeks."""

from __future__ import annotations

import numpy as np

from bench.anomaly.alternative import Alternative, Measured, by_day, steps
from bench.anomaly.organization import Organization
from bench.anomaly.world import Values


def _measure(organization: Organization, variant: float) -> Measured:
    weeks = int(variant)

    def band(usage: Values) -> tuple[Values, Values]:
        same = usage[:, -1 - 7 * weeks : -1 : 7]
        return np.nanmean(same, axis=1), np.nanstd(same, axis=1)

    return by_day(organization, 7 * weeks, band)


ALTERNATIVE = Alternative(
    "seasonal band", 3, "Standard deviations from the mean of the same weekday in 4 or 8 weeks, as in PromQL.",
    _measure, (4, 8), steps(1.5, 200),
)  # fmt: skip
