"""Shapes of what is computed with: series by days, oldest first; NaN where a day is not known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
"""Series by days, oldest first, or one number a series; NaN where nothing is known."""

Given = NDArray[np.floating[Any]]
"""Values of any precision, from which columns are taken."""

Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]

MAD = 1.4826
"""What makes a median distance a standard deviation, for values that are drawn from a bell curve."""


def median(values: Values) -> Values:
    """The median of what is known along the last axis; NaN where nothing is."""
    ordered = np.sort(values, axis=-1)  # NaN last
    count = (~np.isnan(ordered)).sum(axis=-1)
    low = np.maximum((count - 1) // 2, 0)[..., None]
    high = np.minimum(count // 2, values.shape[-1] - 1)[..., None]
    middle = (np.take_along_axis(ordered, low, -1) + np.take_along_axis(ordered, high, -1)) / 2
    return np.asarray(np.where(count > 0, middle[..., 0], np.nan))


def ratio(part: Values, whole: Values, least: float = 1e-9) -> Values:
    """One divided by the other; NaN where the other is next to nothing, or not known."""
    out: Values = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=out, where=abs(whole) > least)
    return out


def nearer_to_zero(a: Values, b: Values) -> Values:
    """The smaller of two differences of one sign; zero where the signs differ, the known one where one is NaN."""
    both = np.where(a * b > 0, np.where(abs(a) < abs(b), a, b), 0.0)
    return np.asarray(np.where(np.isnan(a), b, np.where(np.isnan(b), a, both)))
