"""Questions about cost: days, keys to group by, and filters. `exporter.cube.answering` answers them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import Literal

from exporter.core.amounts import AMOUNTS, NET_COST_TYPES
from exporter.cube.dimensions import Dimension, parse_dimension

SUBJECTS = ("account", "service")
HOUR = "hour"
TIMES = (HOUR, "day", "month")
SPLIT_KEYS = ("cluster", "namespace", "pod", "kind")
"""What split cost is known by, beside day and account."""
SPLIT_COSTS = {
    "amortized": ("split_cost", "unused_cost"),
    "net_amortized": ("net_split_cost", "net_unused_cost"),
}
"""What pods and tasks cost, and their part of what is idle, by the cost types that split cost has."""
LIST = "list"
"""The cost type of usage at list prices, which only an export has."""
COST_TYPES = (*AMOUNTS, LIST)

Measure = Literal["cost", "list_price", "split_cost"]
Why = Literal[
    "together", "unread", "resource", "no_duckdb", "not_available", "hours_alone", "no_hours", "whole_hours",
    "list_price", "list_hours", "split_cost", "split_alone", "split_cost_type",
]  # fmt: skip


@dataclass(frozen=True)
class Question:
    """Cost of the days [start, end); the rows are by the keys of `by`, of what matches every filter of `where`.

    Keys are `account`, `service`, `hour`, `day`, `month`, names of dimensions, and those of SPLIT_KEYS. A filter names the
    values of which one has to match, of any key that is no time; accounts are ids.
    """

    start: date
    end: date
    by: tuple[str, ...]
    where: Mapping[str, frozenset[str]]
    cost_type: str

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """What it needs beside day, account and service, without keys of split cost."""
        names = dict.fromkeys((*self.by, *self.where))
        return tuple(parse_dimension(name) for name in names if name not in (*SUBJECTS, *TIMES, *SPLIT_KEYS))

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Which of account and service it needs."""
        return tuple(name for name in SUBJECTS if name in self.by or name in self.where)

    @cached_property
    def split_keys(self) -> tuple[str, ...]:
        """Which keys of split cost it needs."""
        return split_keys((*self.by, *self.where))

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of all keys that have to be known together."""
        return (*self.subjects, *(dimension.name for dimension in self.dimensions), *self.split_keys)

    @property
    def measure(self) -> Measure:
        """What is summed; all but cost is in the files of an export only."""
        if self.split_keys:
            return "split_cost"
        return "list_price" if self.cost_type == LIST else "cost"

    @property
    def amounts(self) -> tuple[str, ...]:
        """What is summed of lines; of split cost also what is unused."""
        return SPLIT_COSTS[self.cost_type] if self.split_keys else (self.cost_type,)


@dataclass(frozen=True, slots=True)
class Cannot:
    """Why a question has no answer from what is stored.

    `together`: its keys are not known together. `unread`: they are, but no day was read by the dimension.
    `resource`: Cost Explorer has no resources. `no_duckdb`: lines are there, but not the extra that reads them.
    `not_available`: the export has no such column. `hours_alone`: hours are known by account and service only,
    `whole_hours`: of these hours, by service only. `no_hours`: none was read. `list_price`, `split_cost`: Cost Explorer has
    none. `list_hours`: list prices are known by day. `split_alone`: split cost is known by its own keys, account and day only,
    `split_cost_type`: and not in this cost type.
    """

    why: Why
    missing: str = ""
    """The dimension or cost type that the export lacks."""
    lines_from: date | None = None
    """The first day with lines (or split cost), if all days that lack them are before it."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A month that is left out, because its source has no such cost type or dimension."""

    month: date
    missing: str


@dataclass(slots=True)
class Answer:
    """Units of 1e-10 USD by the values of `Question.by`; days of `missing` and `gaps` are in no sum."""

    costs: dict[tuple[str, ...], int] = field(default_factory=lambda: defaultdict(int))
    unused: dict[tuple[str, ...], int] = field(default_factory=dict)
    """Of split cost, the part of what is idle, by the keys of `costs`."""
    days: list[date] = field(default_factory=list)
    """The days that are in the sums."""
    missing: list[date] = field(default_factory=list)
    """The days that were not read; by hour, those without a single hour."""
    missing_hours: list[datetime] = field(default_factory=list)
    """The hours that were not read, of days with other hours."""
    gaps: list[Gap] = field(default_factory=list)
    in_other: int = 0
    """The cost of `other` of a filtered dimension: what matches the filter may be a part of it."""
    has_other: bool = False
    """Whether there is any such cost."""
    read_at: datetime | None = None
    """When the source was read last; None where only the ledger was asked."""
    cannot: Cannot | None = None

    def add_read(self, moment: datetime) -> None:
        """Take in when a part was read."""
        self.read_at = moment if self.read_at is None else max(self.read_at, moment)

    def add_gap(self, month: date, missing: str, days: Sequence[date]) -> None:
        """Leave a month out, if any of its days was read."""
        if days:
            self.gaps.append(Gap(month, missing))

    def add_other(self, units: int) -> None:
        """Take in cost of `other` of a filtered dimension."""
        self.in_other += units
        self.has_other = True


def split_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """Which of these keys are of split cost: a question by one of them is about split cost."""
    return tuple(name for name in dict.fromkeys(keys) if name in SPLIT_KEYS)


def split_cost_type(configured: str) -> str:
    """The cost type of split cost where the configured one is this: it is amortized, gross or net."""
    return "net_amortized" if configured in NET_COST_TYPES else "amortized"


def parse_key(text: str) -> str:
    """A key of the rows by its name, `-` and `_` alike; ValueError with the names that there are."""
    plain = text.strip().lower()
    if plain in (*SUBJECTS, *TIMES, *SPLIT_KEYS):
        return plain
    try:
        return parse_dimension(text).name
    except ValueError as error:
        names = ", ".join((*SUBJECTS, *TIMES))
        said = str(error).replace("expected one of ", f"expected one of {names}, ")
        raise ValueError(f"{said}, {', '.join(SPLIT_KEYS)}") from None


def parse_filter(text: str) -> tuple[str, str]:
    """`key=value` as the name of the key and the value, which may be empty: `tag:team=` is what is untagged.

    ValueError where it is none. The key ends at the first `=`.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"found {text!r}, expected a filter such as region=eu-west-1")
    name = parse_key(key)
    if name in TIMES:
        raise ValueError(f"found {text!r}, expected the first and the last day instead")
    return name, value
