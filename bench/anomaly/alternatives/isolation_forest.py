"""An isolation forest on each day's distances; one forest for all series of an organization.

Of the features and forests that were tried on development classes, one forest for all series on scaled
distances was the best; a forest for each series has too few days to learn from.
"""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import IsolationForest

from bench.anomaly.alternative import Alternative, Measured
from bench.anomaly.organization import Organization
from bench.anomaly.world import DAYS, HISTORY_DAYS, Values

_LEARNT_DAYS = 120


def _features(usage: Values, days: int) -> tuple[Values, Values]:
    """Of the last day of each series: its distances in standard deviations, and the mean that they are from."""
    before, value = usage[:, -1 - days : -1], usage[:, -1]
    mean, same = np.nanmean(before, axis=1), np.nanmean(usage[:, -29:-1:7], axis=1)
    scale = np.nanstd(before, axis=1) + 0.01 * abs(mean) + 1
    return np.nan_to_num(np.stack([(value - mean) / scale, (value - same) / scale], axis=1)), mean


def _measure(organization: Organization, variant: float) -> Measured:
    days = int(variant)
    steps = [organization.seen(assessed).usage for assessed in range(HISTORY_DAYS, DAYS)]
    history = steps[0][:, :-1]
    learnt = [_features(history[:, : history.shape[1] - back], days)[0] for back in range(_LEARNT_DAYS)]
    forest = IsolationForest(n_estimators=100, max_samples=256, random_state=organization.seed % 2**31)
    forest.fit(np.concatenate(learnt))
    found = [_features(usage, days) for usage in steps]
    far = -forest.score_samples(np.concatenate([features for features, _ in found]))
    value = np.stack([usage[:, -1] for usage in steps], axis=1)
    score = far.reshape(len(steps), -1).T
    return Measured(
        np.where(np.isnan(value), np.nan, score), np.stack([mean for _, mean in found], axis=1), value
    )


ALTERNATIVE = Alternative(
    "isolation forest", 7, "Isolation of the distances from the mean of 30 or 60 days and of the weekday.",
    _measure, (30, 60), np.append(np.linspace(0.4, 0.95, 111), np.inf),
)  # fmt: skip
