"""What the last eight weeks of a series are made of: the rhythm of its week, its level, its growth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.expectation.arrays import MAD, Flags, Numbers, Values, median

WEEKS = 8
LEVEL_DAYS = 14
_STEEPEST = 0.02  # growth a day
_DUE = 0.05  # of a mean day: a weekday that costs less hardly costs anything


def weeks(values: NDArray[Any]) -> NDArray[Any]:
    """Series by week and place in the week of the oldest column."""
    return values.reshape(len(values), -1, 7)


def began(recent: Values) -> Numbers:
    """The column of the first day with cost; the number of columns where there is none."""
    some = (recent != 0) & ~np.isnan(recent)
    return np.asarray(np.where(some.any(axis=1), some.argmax(axis=1), recent.shape[1]))


def rhythm(before: Values) -> Values:
    """Each weekday's share of its week, with a mean of 1; series by place in the week of the oldest column."""
    by_week = weeks(before)
    count = (~np.isnan(by_week)).sum(axis=2)
    total = np.where(np.isnan(by_week), 0.0, by_week).sum(axis=2)
    size = np.where(np.isnan(by_week), 0.0, abs(by_week)).sum(axis=2)
    # A week with gaps has no shares; nor one of charges and credits that cancel out.
    whole = (count >= 6) & (abs(total) > 0.2 * size) & (size > 0)
    mean = np.divide(total, count, out=np.ones_like(total), where=whole)
    share = np.where(whole[:, :, None], by_week / mean[:, :, None], np.nan)
    shares = np.swapaxes(share, 1, 2)
    typical = median(shares)
    seen = whole.sum(axis=1)
    covered = typical.mean(axis=1)
    # Where most of the cost is on other weekdays each week, the medians miss it: that is no rhythm.
    use = (seen >= 2) & ~np.isnan(covered) & (covered >= 0.7)
    typical = np.where(use[:, None], typical / np.where(use, covered, 1.0)[:, None], 1.0)
    distance = MAD * median(abs(shares - typical[:, :, None]))
    noise = np.where(np.isnan(distance), 0.0, distance**2).mean(axis=1) / np.maximum(seen, 1)
    spread = np.maximum(((typical - 1) ** 2).mean(axis=1), 1e-12)
    kept = np.clip(1 - noise / spread, 0, 1)
    return np.asarray(1 + kept[:, None] * (typical - 1))


def is_due(shares: Values) -> Flags:
    """The weekdays that cost something as a rule."""
    return np.asarray(shares >= _DUE)


def flattened(before: Values, shares: Values) -> Values:
    """The values without their rhythm; NaN on weekdays that hardly cost anything."""
    tiled = np.tile(shares, (1, before.shape[1] // 7))
    return np.asarray(np.divide(before, tiled, out=np.full_like(before, np.nan), where=is_due(tiled)))


def around(flat: Values) -> Values:
    """The median of the three days on either side of each."""
    width = flat.shape[1]
    padded = np.pad(flat, ((0, 0), (3, 3)), constant_values=np.nan)
    return median(np.stack([padded[:, 3 + by : 3 + by + width] for by in (-3, -2, -1, 1, 2, 3)], axis=2))


def level(flat: Values) -> Values:
    """What a day costs without its weekday; 0 for a series of which nothing is known."""
    newest = median(flat[:, -LEVEL_DAYS:])
    newest = np.where(np.isnan(newest), median(flat), newest)
    return np.where(np.isnan(newest), 0.0, newest) + _trend(flat)


def _trend(flat: Values) -> Values:
    """What a steady growth has added since the middle of the level's days; zero unless two fortnights agree."""
    newest, middle, oldest = (
        median(flat[:, -LEVEL_DAYS * (back + 1) : flat.shape[1] - LEVEL_DAYS * back]) for back in range(3)
    )
    late, early = newest - middle, middle - oldest
    # The nearer to zero: one change of level shows in one of the two only.
    steady = np.where(late * early > 0, np.where(abs(late) < abs(early), late, early), 0.0)
    limit = _STEEPEST * LEVEL_DAYS * abs(newest)
    grown = np.where(np.isnan(steady), 0.0, np.clip(steady, -limit, limit))
    return np.asarray(grown * (LEVEL_DAYS + 1) / 2 / LEVEL_DAYS)
