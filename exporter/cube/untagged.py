"""Usage without a tag, and all usage, at amortized cost, as dated values: what an untagged share is made of.

Both leave out tax, fees, credits, refunds and support, which cannot be tagged. All usage follows from the ledger's cost
and its non-usage charges; what has no tag is read where `untagged` is configured, or comes with a data export.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from importlib.metadata import version

from exporter.core.metric import Family
from exporter.core.moments import Clock, start_of_day
from exporter.cost.non_usage import usage_is_known
from exporter.cube import values
from exporter.cube.dimensions import untagged
from exporter.cube.values import ReadState
from exporter.ledger.daily_values import (
    DailyValue,
    Key,
    Portions,
    changed_days,
    derive,
    held_values,
    oldest_day,
    replacing,
)
from exporter.ledger.file import Ledger

_ACCOUNT = ("account_id", "account")
UNTAGGED = Family(
    "aws_cost_daily_untagged_usd",
    "Usage of a complete UTC day without a value of the tag, at amortized cost, by account, written at that day and again"
    " when AWS restates it; a part of aws_cost_daily_taggable_usd, true per key.",
    (*_ACCOUNT, "tag_key"),
)
TAGGABLE = Family(
    "aws_cost_daily_taggable_usd",
    "Usage of a complete UTC day at amortized cost, by account: without tax, fees, credits, refunds and support.",
    _ACCOUNT,
)
UNTAGGED_FAMILIES = (UNTAGGED, TAGGABLE)

_DAY = timedelta(days=1)
_COST_TYPE = "amortized"
_UNITS_PER_USD = 10**10
_LEAST_CHANGE_USD = 0.0001  # as of the cost that it is a part of


class DatedUntagged:
    """The values of one ledger."""

    def __init__(
        self,
        ledger: Ledger,
        window: timedelta,
        history_months: int,
        clock: Clock,
        *,
        portions: Portions = Portions(),  # noqa: B008 # frozen
    ) -> None:
        """Days older than `window`, or than the months that the ledger is to hold, are left out."""
        self._ledger = ledger
        self._window = window
        self._history_months = history_months
        self._clock = clock
        self._portions = portions

    def update(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Derive what is out of date, newest first; True if some is left for another call."""
        now = self._clock()
        today = now.date()
        oldest = oldest_day(now, self._window, self._history_months)
        for kind, versions, values_of in (
            ("untagged", self._untagged_versions, self._untagged),
            ("taggable", self._taggable_versions, self._taggable),
        ):
            made_with = version("aws-spend-exporter")
            out_of_date = changed_days(self._ledger, kind, versions(oldest, today), made_with)
            if derive(self._ledger, kind, out_of_date, values_of, now, stopped, self._portions):
                return True
        return False

    def _known(self, start: date, end: date) -> Iterator[tuple[str, Mapping[date, ReadState]]]:
        """The tag keys with their days that were read after their end."""
        for key in values.untagged_keys(self._ledger):
            states = values.states(self._ledger, untagged(key), "account", start, end)
            yield (
                key,
                {day: state for day, state in states.items() if state.whole_at >= start_of_day(day + _DAY)},
            )

    def _untagged_versions(self, start: date, end: date) -> dict[date, object]:
        found: dict[date, list[tuple[str, int]]] = {}
        for key, states in self._known(start, end):
            for day, state in states.items():
                found.setdefault(day, []).append((key, state.changes))
        return {**found}

    def _untagged(self, day: date) -> Sequence[DailyValue]:
        known = [key for key, states in self._known(day, day + _DAY) if states]
        usd: dict[Key, float] = {}
        for key in known:
            sums = values.sums(self._ledger, untagged(key), "account", day, day + _DAY, _COST_TYPE)
            for (_, account_id, _), units in sums.items():
                if units is not None:
                    usd[UNTAGGED.name, account_id, key] = units / _UNITS_PER_USD
        held = held_values(self._ledger, day, [UNTAGGED])
        return replacing(
            day, {key: value for key, value in held.items() if key[2] in known}, usd, _LEAST_CHANGE_USD
        )

    def _taggable_versions(self, start: date, end: date) -> dict[date, object]:
        lacking = self._ledger.cost.lacking(_COST_TYPE, start, end)
        return {
            day: state.changes
            for day, state in self._ledger.reads.day_states(start, end).items()
            if day not in lacking
            and state.read_at is not None
            and state.read_at >= start_of_day(day + _DAY)
            and usage_is_known(day, state)
        }

    def _taggable(self, day: date) -> Sequence[DailyValue]:
        series = self._ledger.cost.series()
        units: dict[Key, int] = {}
        for number, total, other in self._ledger.cost.day_parts(day, _COST_TYPE):
            key = (TAGGABLE.name, series[number][0], "")
            units[key] = units.get(key, 0) + total - other
        usd = {key: each / _UNITS_PER_USD for key, each in units.items()}
        return replacing(day, held_values(self._ledger, day, [TAGGABLE]), usd, _LEAST_CHANGE_USD)
