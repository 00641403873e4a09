"""How far off days are by chance in an organization: more series go further, and so do noisier ones."""

from __future__ import annotations

import numpy as np

from exporter.expectation.arrays import Values
from exporter.expectation.limits import Limits

_FALSE_A_WEEK_OF_A_PAIR = 0.6 / 100 * 7 / 30  # at the usual score, as the bench measures it
_USUAL_SCORE = Limits().score
_TAIL_EXPONENT = 2.0  # false alarms fall with the square of the score
_FEWEST = 100
_USUAL_NOISE = 1.4  # nine in ten of the scores above the expectation are below
_NOISE_SHARE = 0.9
_LEAST_NOISE, _MOST_NOISE = 0.7, 2.0
_HIGHEST = 30.0


def score_by_chance(scores: Values, times_a_week: float) -> float:
    """The score that so many days of these series reach in a week by chance; 0 where they are too few to tell.

    `scores` are those of one day, NaN where there is none. What an organization's own scores are like tells how far its
    series go; only those above the expectation, since late data is low.
    """
    known = scores[~np.isnan(scores)]
    above = known[known > 0]
    if len(above) < _FEWEST:
        return 0.0
    by_chance = _FALSE_A_WEEK_OF_A_PAIR * len(known) / times_a_week
    noise = float(np.quantile(above, _NOISE_SHARE)) / _USUAL_NOISE
    noise = min(max(noise, _LEAST_NOISE), _MOST_NOISE)
    return float(min(_HIGHEST, _USUAL_SCORE * noise * by_chance ** (1 / _TAIL_EXPONENT)))
