"""Series for tests of what is expected: a function of the day, drawn with a little noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import numpy as np

from exporter.expectation import baseline
from exporter.expectation.calendars import DAYS_BACK
from exporter.expectation.limits import Limits

DAY = timedelta(days=1)
START = date(2025, 3, 1)
Daily = Callable[[date], float]


def drawn(daily: Daily, days: Sequence[date], *, noise: float = 0.02, seed: int = 1) -> np.ndarray:
    """What `daily` says of each day, off by so much."""
    factors = 1 + noise * np.random.default_rng(seed).standard_normal(len(days))
    return np.array([daily(day) for day in days]) * factors


def found(
    daily: Daily,
    *,
    first: date = START + 150 * DAY,
    last: date = START + 420 * DAY,
    noise: float = 0.02,
    seed: int = 1,
    limits: Limits = Limits(),  # noqa: B008 # frozen
) -> dict[date, str]:
    """What is found of each day from `first` to `last`, when it is assessed; a series that began with `START`."""
    days = [START + number * DAY for number in range((last - START).days + 1)]
    values = drawn(daily, days, noise=noise, seed=seed)
    result: dict[date, str] = {}
    for number in range((first - START).days, len(days)):
        since = max(0, number - DAYS_BACK)
        seen = baseline.assess(values[None, since : number + 1], days[since : number + 1], limits)
        kinds = {
            "spike": baseline.spikes(seen, limits),
            "drop": baseline.drops(seen, limits),
            "new": seen.new,
            "stopped": seen.stopped,
        }
        if kind := "+".join(kind for kind, flags in kinds.items() if flags[0]):
            result[days[number]] = kind
    return result
