"""More than the mean of the seven days before, by a share: what most scripts do."""

from __future__ import annotations

import numpy as np

from bench.anomaly.alternative import Alternative, Measured, by_day, steps
from bench.anomaly.organization import Organization
from bench.anomaly.world import Values


def _measure(organization: Organization, variant: float) -> Measured:
    def share(usage: Values) -> tuple[Values, Values]:
        mean = np.nanmean(usage[:, :-1], axis=1)
        return mean, mean

    return by_day(organization, int(variant), share)


ALTERNATIVE = Alternative(
    "20% over mean of 7 days", 1, "More than the mean of 7 days by a share; upwards only.",
    _measure, (7,), np.concatenate([[0.2], steps(0.25, 60)]), two_sided=False,
)  # fmt: skip
