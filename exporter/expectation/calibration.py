"""How far off days are by chance: the tail of the scores of all series of an organization."""

from __future__ import annotations

import math

import numpy as np

from exporter.expectation.arrays import Values

_FEWEST = 100
_TAIL = 0.03  # the share of scores from which the tail is read
_STEEPEST = 8.0
_FLATTEST = 2.0
_HIGHEST = 25.0


def score_by_chance(scores: Values, times_a_week: float) -> float:
    """The score that so many of these series reach in a week by chance; 0 where they are too few to tell.

    `scores` are those of one day, NaN where there is none. Beyond the largest few percent they fall as a power, whose
    exponent is read from how far these are apart (Hill's estimate): a week of 20,000 series goes further than any day
    of one.
    """
    known = np.sort(abs(scores[~np.isnan(scores)]))
    count = max(8, int(len(known) * _TAIL))
    if len(known) < _FEWEST:
        return 0.0
    threshold = float(known[-count - 1])
    if threshold <= 0:
        return 0.0
    beyond = known[-count:] / threshold
    # What stands out is no chance: the few largest tell nothing of the tail.
    mean = float(np.log(np.minimum(beyond, np.quantile(beyond, 0.9))).mean())
    exponent = float(np.clip(1 / max(mean, 1e-9), _FLATTEST, _STEEPEST))
    expected = 7 * count / times_a_week
    return min(_HIGHEST, threshold * math.exp(math.log(expected) / exponent))
