"""An isolation forest on each day's distance from the days before; one forest for all series of an organisation.

A forest for each series takes an hour an organisation and has too few days to learn from.
"""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import IsolationForest

from bench.anomaly.alternative import Alternative, Measured
from bench.anomaly.organization import Organization
from bench.anomaly.world import DAYS, HISTORY_DAYS, Values

_LEARNT_DAYS = 60


def _features(usage: Values) -> tuple[Values, Values]:
    """Of the last day of each series: log ratios and distances; and what was expected."""
    before, value = usage[:, :-1], usage[:, -1]
    month, week = np.nanmedian(before[:, -28:], axis=1), np.nanmedian(before[:, -7:], axis=1)
    same = np.nanmedian(usage[:, -29:-1:7], axis=1)
    spread = np.nanmedian(abs(before[:, -28:] - month[:, None]), axis=1)
    last = before[:, -1]
    columns = [np.log((value + 1) / (base + 1)) for base in (month, week, same, last)]
    columns.append(np.arcsinh((value - month) / (1.4826 * spread + 0.02 * abs(month) + 1)))
    columns.append(np.arcsinh((value - same) / (1.4826 * spread + 0.02 * abs(same) + 1)))
    return np.nan_to_num(np.stack(columns, axis=1)), np.where(
        abs(value - same) < abs(value - month), same, month
    )


def _measure(organization: Organization, variant: float) -> Measured:
    history = organization.seen(HISTORY_DAYS).usage
    learnt = [_features(history[:, : -1 - back])[0] for back in range(_LEARNT_DAYS)]
    forest = IsolationForest(n_estimators=int(variant), random_state=organization.seed % 2**31)
    forest.fit(np.concatenate(learnt))
    steps = [organization.seen(assessed).usage for assessed in range(HISTORY_DAYS, DAYS)]
    found = [_features(usage) for usage in steps]
    far = -forest.score_samples(np.concatenate([features for features, _ in found]))
    value = np.stack([usage[:, -1] for usage in steps], axis=1)
    expected = np.stack([base for _, base in found], axis=1)
    score = far.reshape(len(steps), -1).T
    return Measured(np.where(np.isnan(value), np.nan, score), expected, value)


ALTERNATIVE = Alternative(
    "isolation forest", 7, "Isolation of ratios to the month, the week, the weekday and the day before.",
    _measure, (100,), np.linspace(0.4, 0.9, 51),
)  # fmt: skip
