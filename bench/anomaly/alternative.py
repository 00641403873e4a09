"""What an alternative declares: how far off each day is, at any threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.anomaly.organization import Organization
from bench.anomaly.scoring import Signs
from bench.anomaly.world import DAYS, HISTORY_DAYS, Values

FLOOR_USD = 25.0
FLOOR_SHARE = 0.2
"""A difference from the expectation that is smaller is no alarm: the exporter's defaults, for all alike."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Series by judged days: signed distance in the method's own unit, and what was expected, in USD.

    NaN where nothing is said.
    """

    score: Values
    expected: Values
    value: Values


@dataclass(frozen=True, slots=True)
class Alternative:
    """A method; it sees the same usage as ours, when ours does.

    `variants` are settings that change the scores, `thresholds` those that are tried, ascending.
    """

    name: str
    order: int
    text: str
    measure: Callable[[Organization, float], Measured]
    variants: tuple[float, ...]
    thresholds: Values
    two_sided: bool = True


def alarms(alternative: Alternative, measured: Measured, threshold: float) -> Signs:
    """Series by `DAYS`: the sign of an alarm on each day, or 0; on the floors of dollars and percent."""
    off = measured.value - measured.expected
    with np.errstate(invalid="ignore"):
        far = (
            (abs(measured.score) >= threshold)
            & (abs(off) >= FLOOR_USD)
            & (abs(off) >= FLOOR_SHARE * abs(measured.expected))
        )
        if not alternative.two_sided:
            far &= off > 0
    signs = np.zeros((len(off), DAYS), dtype=np.int8)
    signs[:, HISTORY_DAYS:] = np.where(far, np.sign(np.nan_to_num(off)), 0)
    return signs


def by_day(
    organization: Organization, days: int, measure: Callable[[Values], tuple[Values, Values]]
) -> Measured:
    """Apply `measure` to the last `days` columns as they are known at each assessed day, which is the last.

    It returns expectation and scale by series; the score is the difference in scales.
    """
    values, expected, scores = [], [], []
    with np.errstate(invalid="ignore", divide="ignore"):
        for assessed in range(HISTORY_DAYS, DAYS):
            usage = organization.seen(assessed).usage[:, -days - 1 :]
            mean, scale = measure(usage)
            values.append(usage[:, -1])
            expected.append(mean)
            scores.append((usage[:, -1] - mean) / np.maximum(scale, 1e-9))
    return Measured(np.stack(scores, axis=1), np.stack(expected, axis=1), np.stack(values, axis=1))


def steps(low: float, high: float, count: int = 48) -> Values:
    """Thresholds of equal ratio; beyond the last one, nothing is an alarm."""
    return np.append(np.geomspace(low, high, count), np.inf)
