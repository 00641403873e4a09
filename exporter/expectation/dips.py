"""Single low days: a day that cost far less than expected between two days that cost what they always do.

Late data looks the same until it arrives. So a day is looked at when the two days after it are known, by whoever asks
only of days that were read long enough after their end; and a day on which several services of an account fell, or
the same service elsewhere, is left out: that is data, not use.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from exporter.expectation import baseline
from exporter.expectation.arrays import Flags, Given
from exporter.expectation.baseline import Baseline
from exporter.expectation.late_data import may_be_late
from exporter.expectation.limits import Limits

DAYS_AFTER = 2
"""So many days after it must be known."""
_BACK = 0.5  # of the fall, that the days around have to be without
_MOVED_DAYS = 3
_DAY = timedelta(days=1)


def dips(
    values: Given,
    days: Sequence[date],
    accounts: Sequence[str],
    services: Sequence[str],
    limits: Limits,
) -> tuple[Flags, Baseline]:
    """Which series dipped on the last day but `DAYS_AFTER`, and the baseline of that day.

    `values` are series by `days`, of the `accounts` and `services` of the same number.
    """
    tested = days[-1] - DAYS_AFTER * _DAY
    after = [tested + back * _DAY for back in range(1, DAYS_AFTER + 1)]
    if list(days[-DAYS_AFTER - 1 :]) != [tested, *after]:
        raise ValueError("the tested day and those after it")
    found = baseline.assess(values[:, :-DAYS_AFTER], days[:-DAYS_AFTER], limits)
    low = baseline.is_low(found, limits) & ~found.stopped
    single = low & ~(found.low_days >= 1) & _is_back(values, found) & ~_moved(values, found)
    return np.asarray(single & ~may_be_late(low, accounts, services)), found


def _is_back(values: Given, found: Baseline) -> Flags:
    """Whether the days after cost again what the same weekdays did."""
    back = np.ones(len(values), dtype=bool)
    fall = (found.expected - found.value) / np.maximum(abs(found.expected), 1e-9)
    for after in range(-DAYS_AFTER, 0):
        usual = (
            np.fmin(values[:, after - 7], values[:, after - 14])
            if values.shape[1] >= 14 - after
            else values[:, after]
        )
        missing = (usual - values[:, after]) / np.maximum(abs(usual), 1e-9)
        back &= missing <= _BACK * fall
    return back


def _moved(values: Given, found: Baseline) -> Flags:
    """Whether a day nearby cost as much more as this one cost less."""
    fall = found.expected - found.value
    day = -1 - DAYS_AFTER
    moved = np.zeros(len(values), dtype=bool)
    for by in range(-_MOVED_DAYS, DAYS_AFTER + 1):
        if by and values.shape[1] >= 7 - day - by:
            more = values[:, day + by] - values[:, day + by - 7]
            moved |= (more >= _BACK * fall) & (more <= (2 - _BACK) * fall)
    return moved
