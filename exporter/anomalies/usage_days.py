"""Usage at amortized cost by series and day, as the ledger knows it, and how well each day is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from exporter.core.moments import start_of_day
from exporter.cost.non_usage import usage_is_known
from exporter.ledger.file import Ledger

_COMPLETE_AFTER = timedelta(hours=24)  # AWS updates cost at least once a day
_UNITS_PER_USD = 1e10
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DayInput:
    """How well the usage of a day is known, and which of its changes that is."""

    is_known: bool
    """Its cost and its non-usage charges have been read: it can be assessed."""
    is_complete: bool
    """It was read late enough to be compared with."""
    confirmed_at: datetime = field(repr=False, compare=False)
    """When AWS last reported its cost, changed or not; it is no part of what the day's figures are made of."""
    changes: int
    """As `DayState.changes`: a read that finds nothing new leaves it."""


def day_inputs(ledger: Ledger, start: date, end: date) -> dict[date, DayInput]:
    """The days of [start, end) of which the ledger holds anything."""
    confirmed = ledger.reads.confirmed_at(start, end)
    found = {}
    for day, state in ledger.reads.day_states(start, end).items():
        known = usage_is_known(day, state)
        complete = known and confirmed[day] >= start_of_day(day + _DAY) + _COMPLETE_AFTER
        found[day] = DayInput(known, complete, confirmed[day], state.changes)
    return found


def usage_cost_type(ledger: Ledger) -> Literal["amortized", "net_amortized"]:
    """The cost type by which usage is compared: net where the source of any day has no gross cost, as FOCUS."""
    return "net_amortized" if ledger.cost.lacking("amortized", date.min, date.max) else "amortized"


class UsageDays:
    """Usage at amortized cost by series and UTC day, in USD.

    One array of single precision for all days: thirteen months of 20,000 series are 32 MB. Each day of the ledger is read
    once, when it is asked for.
    """

    def __init__(self, ledger: Ledger, inputs: Mapping[date, DayInput]) -> None:
        self.series = ledger.cost.series()
        self._ledger = ledger
        self._size = max(self.series, default=0) + 1
        self._held: set[date]
        self._take(inputs)

    def renew(self, inputs: Mapping[date, DayInput]) -> bool:
        """Take what the ledger knows now, to read only days that changed; False if there are other series now."""
        if max(self.series, default=0) != max(self._ledger.cost.series(), default=0):
            return False
        old_first, old = self._first, self._values
        kept = {day for day in self._held if inputs.get(day) == self.inputs.get(day)}
        cost_type = self._cost_type
        self._take(inputs)
        if cost_type != self._cost_type:
            return True  # every day is read again when it is asked for
        for day in kept:
            assert old_first is not None
            assert self._first is not None
            self._values[(day - self._first).days] = old[(day - old_first).days]
        self._held = kept
        return True

    def _take(self, inputs: Mapping[date, DayInput]) -> None:
        self.inputs = inputs
        known = sorted(inputs)
        self._first = known[0] if known else None
        self._cost_type = usage_cost_type(self._ledger)
        count = (known[-1] - known[0]).days + 1 if known else 0
        # Days beside each other, as they are read: a column is copied whole.
        self._values = np.full((count, self._size), np.nan, dtype=np.float32)
        self._held = set()

    def values(self, days: Sequence[date]) -> NDArray[np.float32]:
        """Series by `days`, which follow each other, the last of them the tested one; NaN where not known well enough.

        A view of what is held, to be read only, and before another tested day is asked for. Days before the first one
        known have no column.
        """
        tested = days[-1]
        for day in days:
            known = self.inputs.get(day)
            if known is not None:
                self._hold(day, is_usable=known.is_known if day == tested else known.is_complete)
        if self._first is None or tested < self._first:
            return np.empty((self._size, 0), dtype=np.float32)
        start = max(0, (days[0] - self._first).days)
        return self._values[start : (tested - self._first).days + 1].T

    def days(self, wanted: Sequence[date]) -> list[date]:
        """The days of `wanted` that have a column."""
        return [day for day in wanted if self._first is not None and day >= self._first]

    def exact(self, day: date) -> NDArray[np.float64]:
        """One day in full precision, by series."""
        with self._ledger.connection() as db:
            rows = db.execute(
                f"SELECT series, total_{self._cost_type} - other_{self._cost_type} FROM cost"  # noqa: S608 # one of two
                " WHERE day = ? AND series < ?",
                (day.toordinal(), self._size),
            ).fetchall()
        found = np.array(rows, dtype=np.int64).reshape(-1, 2)
        column = np.zeros(self._size)
        column[found[:, 0]] = found[:, 1] / _UNITS_PER_USD
        return column

    def _hold(self, day: date, *, is_usable: bool) -> None:
        assert self._first is not None
        if is_usable == (day in self._held):
            return
        # A day that was tested may be known too little to be compared with.
        self._values[(day - self._first).days] = self.exact(day) if is_usable else np.nan
        self._held ^= {day}
