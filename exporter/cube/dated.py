"""Cost by account and one dimension, as dated values: the largest keys of each month, and `other`.

They follow from `exporter.cube.values` alone, for both sources of cost. A day is derived once it is over
and its dimension was read after its end, and again when its cost or the month's choice of keys changes. A key that
leaves the choice is written as 0, and what it cost goes to `other`: sums over the keys are correct at every date.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import version

from exporter.core.moments import Clock, days_between, month_start, start_of_day
from exporter.cube.dimensions import DAILY_BY, OTHER, WITHOUT, Dimension, Kind, parse_dimension
from exporter.cube.named_keys import Named, Of, Ranks, SeriesCount, largest, most_keys, rank
from exporter.cube.values import ReadState, read_dimensions, states, sums_of_all
from exporter.ledger.daily_values import (
    DailyValue,
    Key,
    Portions,
    changed_days,
    derive,
    held_values,
    oldest_day,
    pack_labels,
    replacing,
    series_with_values,
    unpack_labels,
    version_of,
)
from exporter.ledger.file import Ledger

log = logging.getLogger(__name__)

PACKED_KINDS: tuple[Kind, ...] = ("tag", "cost_category")
"""Dimensions whose families have two labels beside the account's."""

_KEYS_FACT = "dated_keys_"  # and the kind of a dimension
_DAY = timedelta(days=1)
_KIND = "cube_days"
_UNITS_PER_USD = 10**10
_LEAST_CHANGE_USD = 0.00001  # fifty keys that are not written again stay within a tenth of a cent
_ROOM_TO_GROW = 0.9  # of the most series: one account more must not take back what was just given


def named_keys(ledger: Ledger) -> dict[Kind, int]:
    """The number of named keys an account, of each family that has values."""
    found = {kind: ledger.facts.get(_KEYS_FACT + kind) for kind in DAILY_BY}
    return {kind: keys for kind, keys in found.items() if keys is not None}


@dataclass(frozen=True, slots=True)
class _Month:
    """What the choice of a month is made of."""

    version: int
    ranks: Mapping[Of, Ranks]
    is_open: frozenset[str]
    """The dimensions some of whose days are in the future, or not yet read after their end."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """The keys of a month that are named."""

    digest: int
    keys: Named


class DatedDimensions:
    """The values of one ledger by dimension, of one cost type."""

    def __init__(
        self,
        ledger: Ledger,
        cost_type: str,
        most_series: int,
        window: timedelta,
        history_months: int,
        clock: Clock,
        *,
        portions: Portions = Portions(),  # noqa: B008 # frozen
    ) -> None:
        """Name fewer keys an account where all families of all months would have more than `most_series`.

        Days older than `window`, or than the months that the ledger is to hold, are left out.
        """
        self._ledger = ledger
        self._cost_type = cost_type
        self._most_series = most_series
        self._window = window
        self._history_months = history_months
        self._clock = clock
        self._portions = portions
        self._months: dict[date, _Month] = {}
        self._up_to_date: int | None = None
        self._reported: set[str] = set()

    def update(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Derive what is out of date, newest first; True if some is left for another call."""
        now = self._clock()
        today = now.date()
        oldest = oldest_day(now, self._window, self._history_months)
        reads = self._reads(month_start(oldest), today)
        seen = version_of(oldest, today, sorted((name, sorted(days.items())) for name, days in reads.items()))
        if not reads or seen == self._up_to_date:
            return False
        self._rank(reads, month_start(oldest), today)
        choices = self._choices()
        made_with = version("aws-spend-exporter"), self._cost_type
        is_left = derive(
            self._ledger,
            _KIND,
            changed_days(self._ledger, _KIND, _versions(reads, oldest, choices), made_with),
            lambda day: self._of_day(day, reads, choices[month_start(day)]),
            now,
            stopped,
            self._portions,
        )
        self._up_to_date = None if is_left else seen
        return is_left

    def _reads(self, start: date, today: date) -> dict[str, dict[date, ReadState]]:
        """The days of [start, today) that were read, by the name of each dimension that has a dated family."""
        names = [
            name
            for name in sorted(read_dimensions(self._ledger, "account"))
            if parse_dimension(name).kind in DAILY_BY
        ]
        found = {name: states(self._ledger, parse_dimension(name), "account", start, today) for name in names}
        return {name: days for name, days in found.items() if days}

    # The choice of keys

    def _rank(self, reads: Mapping[str, Mapping[date, ReadState]], start: date, today: date) -> None:
        """Rank the keys of the months whose cost has changed since."""
        ranked: dict[date, _Month] = {}
        month = start
        while month <= today:
            end = month_start(month, -1)
            days = {
                name: {day: state for day, state in of_name.items() if month <= day < end}
                for name, of_name in reads.items()
            }
            is_open = frozenset(
                name
                for name, of_name in days.items()
                if not all(
                    day in of_name and _was_read_after(of_name[day], day) for day in days_between(month, end)
                )
            )
            wanted = version_of(
                self._cost_type,
                sorted(is_open),
                [
                    (name, [(day, state.changes) for day, state in sorted(of_name.items())])
                    for name, of_name in sorted(days.items())
                ],
            )
            known = self._months.get(month)
            if known is not None and known.version == wanted:
                ranked[month] = known
            else:
                ranked[month] = _Month(wanted, self._ranks(reads, month, min(end, today)), is_open)
            month = end
        self._months = ranked

    def _ranks(self, names: Collection[str], start: date, end: date) -> dict[Of, Ranks]:
        sums = sums_of_all(self._ledger, "account", start, end, self._cost_type)
        return rank(
            (name, account_id, value, units or 0) for name, account_id, value, units in sums if name in names
        )

    def _choices(self) -> dict[date, _Choice]:
        stay = {month: self._named(month, known.is_open) for month, known in self._months.items()}
        keys = self._keys(SeriesCount((known.ranks, stay[month]) for month, known in self._months.items()))
        return {month: _choice(known.ranks, stay[month], keys) for month, known in self._months.items()}

    def _named(self, month: date, dimensions: Set[str]) -> Named:
        """The keys of these dimensions that the dated values of a month name now."""
        found: defaultdict[Of, set[str]] = defaultdict(set)
        if not dimensions:
            return found
        names = [family.name for family in DAILY_BY.values()]
        for family, account_id, label in series_with_values(
            self._ledger, month, month_start(month, -1), names
        ):
            name, value = _name_and_value(family, label)
            if name in dimensions and value != OTHER:
                found[name, account_id].add(value)
        return found

    def _keys(self, series: SeriesCount) -> dict[Kind, int]:
        """The number of keys an account that each family names, so that all together stay within the limit of series."""
        wanted, with_room = series.fit(self._most_series), series.fit(int(self._most_series * _ROOM_TO_GROW))
        keys: dict[Kind, int] = {}
        for kind, most in wanted.items():
            before = self._ledger.facts.get(_KEYS_FACT + kind)
            keys[kind] = most if before is None else min(most, max(with_room[kind], before))
            if keys[kind] == before:
                continue
            self._ledger.facts.remember(_KEYS_FACT + kind, keys[kind])
            if before is not None or keys[kind] < most_keys(kind):
                log.warning(
                    "the dated history names a different number of keys an account, because of history.dimension_series",
                    extra={
                        "family": DAILY_BY[kind].name,
                        "keys": keys[kind],
                        "keys_before": before,
                        "dimension_series": self._most_series,
                    },
                )
        return keys

    # The days

    def _of_day(
        self, day: date, reads: Mapping[str, Mapping[date, ReadState]], choice: _Choice
    ) -> Sequence[DailyValue]:
        derivable = set(_derivable(reads, day))
        units: dict[str, dict[Key, int]] = {name: {} for name in derivable}
        unknown: set[str] = set()
        for name, account_id, value, cost in sums_of_all(
            self._ledger, "account", day, day + _DAY, self._cost_type
        ):
            if name not in derivable:
                continue
            if cost is None:
                unknown.add(name)
                continue
            is_named = value in choice.keys.get((name, account_id), ())
            dimension = parse_dimension(name)
            label = _label(dimension, value if is_named else OTHER)
            key = (DAILY_BY[dimension.kind].name, account_id, label)
            units[name][key] = units[name].get(key, 0) + cost
        if unknown:
            self._report_unknown(day, unknown)
        derivable -= unknown
        held = held_values(self._ledger, day, DAILY_BY.values())
        return replacing(
            day,
            {key: usd for key, usd in held.items() if _name_and_value(key[0], key[2])[0] in derivable},
            {key: cost / _UNITS_PER_USD for name in derivable for key, cost in units[name].items()},
            _LEAST_CHANGE_USD,
        )

    def _report_unknown(self, day: date, names: Set[str]) -> None:
        for name in sorted(names - self._reported):
            self._reported.add(name)
            log.warning(
                "the source of cost has no such cost type: its days by this dimension are not written to the dated history",
                extra={"dimension": name, "cost_type": self._cost_type, "newest_day": day},
            )


def _choice(ranks: Mapping[Of, Ranks], stay: Named, keys: Mapping[Kind, int]) -> _Choice:
    chosen = {
        of: largest(known.largest, stay.get(of, frozenset()), keys[parse_dimension(of[0]).kind])
        for of, known in ranks.items()
    }
    return _Choice(version_of(sorted((of, sorted(values)) for of, values in chosen.items())), chosen)


def _versions(
    reads: Mapping[str, Mapping[date, ReadState]], oldest: date, choices: Mapping[date, _Choice]
) -> dict[date, object]:
    """What the values of each day follow from: its reads, and the keys that its month names."""
    found: dict[date, object] = {}
    for day in {day for days in reads.values() for day in days if day >= oldest}:
        changes = [(name, reads[name][day].changes) for name in sorted(_derivable(reads, day))]
        if changes:
            found[day] = changes, choices[month_start(day)].digest
    return found


def _was_read_after(state: ReadState, day: date) -> bool:
    return state.whole_at >= start_of_day(day + _DAY)


def _derivable(reads: Mapping[str, Mapping[date, ReadState]], day: date) -> Iterator[str]:
    """The names of the dimensions that were read of a day after its end."""
    return (name for name, days in reads.items() if day in days and _was_read_after(days[day], day))


def _label(dimension: Dimension, value: str) -> str:
    return pack_labels(dimension.labels(value)) if dimension.kind in PACKED_KINDS else value


_KIND_OF = {family.name: kind for kind, family in DAILY_BY.items()}


def _name_and_value(family: str, label: str) -> tuple[str, str]:
    """The name of the dimension and the key behind a family and the label of one of its series."""
    kind = _KIND_OF[family]
    if kind not in PACKED_KINDS:
        return kind, label
    labels = unpack_labels(label)
    key, value = Dimension(kind, "").labels("")
    return Dimension(kind, labels[key]).name, labels.get(value, WITHOUT)
