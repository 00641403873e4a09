"""Answers to questions about cost, from what is stored of each month.

Cost by account, service, day and month is in the ledger; by one dimension beside the account or beside the service in
the single-key values; by any of the dimensions together, and at list prices, in months of lines; by hour in the hours of the
last two weeks. Split cost is in a file of the month beside its lines. Each month is answered from the source that it was
read from.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path

from exporter.core.moments import month_start, start_of_day
from exporter.cube import hours, lines, values
from exporter.cube.dimensions import OTHER, Dimension, parse_dimension
from exporter.cube.hours import WHOLE_ORGANIZATION
from exporter.cube.lines import LinesError, LinesGoneError
from exporter.cube.months import LINES, SPLIT, CubeMonth, CubeMonths, known_splits
from exporter.cube.question import (
    HOUR,
    LIST,
    SPLIT_COSTS,
    SPLIT_KEYS,
    SUBJECTS,
    Answer,
    Cannot,
    Gap,
    Question,
    Why,
)
from exporter.cube.values import Beside
from exporter.ledger.file import Ledger

_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)
_LARGEST_KEPT = ("resource", "pod")
"""Keys of lines of which the largest keep their name, and the rest is `other`."""
_TRIES = 3  # a month is replaced a few times a day


def answer(ledger: Ledger, question: Question) -> Answer:
    """The answer from what is stored; `cannot` says why there is none.

    LinesError (a ValueError) for one that is too large, ValueError for a filter by a value that no cost has.
    """
    refused = _refused(question)
    if refused is not None:
        return Answer(cannot=refused)
    if HOUR in question.by:
        return _of_hours(ledger, question)
    for _ in range(_TRIES):
        try:
            return _Answering(ledger, question).run()
        except LinesGoneError:
            continue  # its month was replaced meanwhile: another file has it now
    raise LinesError(
        f"lines of a month are gone from {CubeMonths(ledger).folder}: it is being replaced, or was removed; ask again"
    )


def _refused(question: Question) -> Cannot | None:
    """Why no source can ever answer a question about list prices or split cost."""
    if question.split_keys:
        if question.dimensions or "service" in question.subjects or HOUR in question.by:
            return Cannot("split_alone")
        if question.cost_type not in SPLIT_COSTS:
            return Cannot("split_cost_type", question.cost_type)
    elif question.cost_type == LIST and HOUR in question.by:
        return Cannot("list_hours")
    return None


class _Answering:
    """Collects the parts of one answer."""

    def __init__(self, ledger: Ledger, question: Question) -> None:
        self._ledger = ledger
        self._question = question
        self._answer = Answer()
        self._read: set[date] = set()
        self._files: list[tuple[Path, list[date]]] = []
        self._unread = False
        self._blocked: dict[date, Why] = {}
        """The last days of parts that no store can answer for."""
        self._lines_from: date | None = None
        self._splits: dict[date, tuple[date, date]] = {}

    def run(self) -> Answer:
        """LinesGoneError if a month was replaced meanwhile."""
        question = self._question
        with _snapshot(self._ledger):
            months = CubeMonths(self._ledger).all()
            self._splits = known_splits(months)
            begins = (
                (first for first, _ in self._splits.values())
                if question.measure == "split_cost"
                else (held.lines_from for held in months.values() if held.folder is not None)
            )
            self._lines_from = min(begins, default=None)
            states = self._ledger.reads.day_states(question.start, question.end)
            self._read = {day for day, state in states.items() if state.read_at is not None}
            for month, days in _by_month(question.start, question.end):
                self._add_month(month, days, months.get(month))
        self._ask_lines()
        found = self._answer
        found.cannot = self._cannot()
        found.days.sort()
        found.missing.sort()
        if found.days and not found.has_other:
            self._check_values()
        return found

    def _cannot(self) -> Cannot | None:
        found = self._answer
        if self._blocked:
            begins = self._lines_from if max(self._blocked) < (self._lines_from or date.min) else None
            return Cannot(next(iter(self._blocked.values())), lines_from=begins)
        if found.days:
            return None
        if found.gaps:
            return Cannot("not_available", found.gaps[0].missing)
        return Cannot("unread") if self._unread else None

    def _add_month(self, month: date, days: Sequence[date], held: CubeMonth | None) -> None:
        if not self._question.dimensions and self._question.measure == "cost":
            known = [day for day in days if day in self._read]
            self._add_missing(days, known)
            self._add_ledger(month, known)
            return
        in_lines = [day for day in days if held is not None and held.has_lines_of(day)]
        if held is None or held.folder is None or not in_lines:
            self._add_without_lines(month, days)
            return
        if lines.is_installed():
            self._add_lines(held, held.folder, in_lines)
        else:
            self._add_without_lines(month, in_lines, has_lines=True)
        if others := [day for day in days if not held.has_lines_of(day)]:
            self._add_without_lines(month, others)

    def _add_lines(self, held: CubeMonth, folder: Path, days: Sequence[date]) -> None:
        """Days that an export has lines of."""
        known = [day for day in days if day in self._read]
        name = LINES
        if self._question.measure == "split_cost":
            if held.month not in self._splits:
                self._add_missing(days, known)
                self._answer.add_gap(held.month, "split_cost", known)
                return
            first, last = self._splits[held.month]
            known = [day for day in known if first <= day <= last]
            name = SPLIT
        self._add_missing(days, known)
        self._answer.add_read(held.read_at)
        # The file of a month that was replaced just now may be gone: whoever reads it will see.
        self._files.append((folder / name, known))

    def _add_without_lines(self, month: date, days: Sequence[date], *, has_lines: bool = False) -> None:
        """Days that the single-key values answer for, or nothing does; `has_lines` where only DuckDB is missing."""
        dimensions, measure = self._question.dimensions, self._question.measure
        known = [day for day in days if day in self._read]
        if measure != "cost":
            self._add_missing(days, known)
            self._unread = self._unread or not known
            if known:
                self._blocked[known[-1]] = "no_duckdb" if has_lines else measure
        elif len(dimensions) == 1 and len(self._question.subjects) < len(SUBJECTS):
            if dimensions[0].cost_explorer is None and not has_lines and known:
                self._blocked[known[-1]] = "resource"
            self._add_values(month, days, dimensions[0])
        else:
            self._add_missing(days, known)
            if known:
                self._blocked[known[-1]] = "no_duckdb" if has_lines else "together"

    def _add_missing(self, days: Iterable[date], known: Iterable[date]) -> None:
        self._answer.missing += sorted(set(days) - set(known))

    def _add_ledger(self, month: date, known: Sequence[date]) -> None:
        question = self._question
        lacking = self._ledger.cost.lacking(question.cost_type, month, month_start(month, -1))
        self._answer.add_gap(month, question.cost_type, [day for day in known if day in lacking])
        known = [day for day in known if day not in lacking]
        by_day = "day" in question.by
        for start, end in _ranges(known):
            found = self._ledger.cost.units(
                start,
                end,
                question.cost_type,
                by_day=by_day,
                by_subject=any(name in question.by for name in SUBJECTS),
                accounts=question.where.get("account"),
                services=question.where.get("service"),
            )
            for (day, account_id, service), units in found.items():
                self._add(month, day, {"account": account_id, "service": service}, units)
        self._answer.days += known

    def _add_values(self, month: date, days: Sequence[date], dimension: Dimension) -> None:
        """One dimension, beside the account or beside the service."""
        question = self._question
        left = list(days)
        sides: tuple[Beside, ...] = ("account", "service")
        for beside in sides:
            if question.subjects not in ((), (beside,)) or not left:
                continue
            states = values.states(self._ledger, dimension, beside, left[0], left[-1] + _DAY)
            known = [day for day in left if day in states]
            left = [day for day in left if day not in states]
            for day in known:
                self._answer.add_read(states[day].read_at)
            self._add_known_values(month, known, dimension, beside)
        self._answer.missing += left
        self._unread = self._unread or bool(left)

    def _add_known_values(
        self, month: date, known: Sequence[date], dimension: Dimension, beside: Beside
    ) -> None:
        question = self._question
        wanted = question.where.get(dimension.name)
        parts: list[tuple[date | None, str, str, int]] = []
        for start, end in _ranges(known):
            found = values.sums(
                self._ledger,
                dimension,
                beside,
                start,
                end,
                question.cost_type,
                subjects=question.where.get(beside),
                keys=None if wanted is None else wanted | {OTHER},
                by_day="day" in question.by,
            )
            for (day, subject, value), units in found.items():
                if units is None:
                    self._answer.add_gap(month, question.cost_type, known)
                    return
                parts.append((day, subject, value, units))
        for day, subject, value, units in parts:
            if wanted is not None and value not in wanted:
                self._answer.add_other(units)
            else:
                self._add(month, day, {beside: subject, dimension.name: value}, units)
        self._answer.days += known

    def _add(self, month: date, day: date | None, found: Mapping[str, str], units: int) -> None:
        known = {**found, "month": f"{month:%Y-%m}", "day": str(day)}
        self._answer.costs[tuple(known[name] for name in self._question.by)] += units

    def _ask_lines(self) -> None:
        question = self._question
        files: list[Path] = []
        asked: list[date] = []
        unknown = lines.unknown(
            [path for path, days in self._files if days], (*question.keys, *question.amounts)
        )
        for path, days in self._files:
            if path in unknown:
                self._answer.add_gap(month_start(days[0]), unknown[path], days)
            elif days:
                files.append(path)
                asked += days
        ranges = _ranges(sorted(asked))
        chosen = lines.Filter(ranges, question.where)
        amount, *unused = question.amounts
        for key, units in lines.sums(files, question.by, chosen, amount).items():
            self._answer.costs[key] += units
        for column in unused:
            self._answer.unused = lines.sums(files, question.by, chosen, column)
        self._answer.days += asked
        for name in _LARGEST_KEPT:
            wanted = question.where.get(name)
            if wanted is not None and OTHER not in wanted:
                rest = {**question.where, name: frozenset({OTHER})}
                for units in lines.sums(files, (), lines.Filter(ranges, rest), amount).values():
                    self._answer.add_other(units)

    def _check_values(self) -> None:
        """Raise ValueError for a filter by a value that does not exist: most likely a typo, not a cost of 0.

        Where there is cost, the only value of a filter exists.
        """
        for name, wanted in self._question.where.items():
            if name in SUBJECTS or (self._answer.costs and len(wanted) == 1):
                continue
            known = (
                frozenset() if name in SPLIT_KEYS else values.known_keys(self._ledger, parse_dimension(name))
            )
            files = [path for path, _ in self._files]
            without = lines.unknown(files, [name])
            known |= lines.values([path for path in files if path not in without], name)
            if len(known) >= lines.MOST_GROUPS:
                continue  # more than are compared
            for value in sorted(wanted - known):
                near = difflib.get_close_matches(value, known, n=1)
                hint = f"; did you mean {near[0]}?" if near and near[0] else ""
                raise ValueError(f"{name}: found {value!r}, expected a value that has cost{hint}")


def _of_hours(ledger: Ledger, question: Question) -> Answer:
    """Hours by account and service, from one snapshot of the ledger."""
    found = Answer()
    if question.dimensions:
        found.cannot = Cannot("hours_alone")
        return found
    first, end = start_of_day(question.start), start_of_day(question.end)
    with _snapshot(ledger):
        read = hours.read_hours(ledger, first, end)
        costs = hours.sums(ledger, first, end, question.cost_type)
    days = {hour.date() for hour in read}
    unknown = {hour.date() for (hour, _, _), units in costs.items() if units is None}
    found.gaps = [Gap(month, question.cost_type) for month in sorted({month_start(day) for day in unknown})]
    found.days = sorted(days - unknown)
    found.missing = [
        day for _, part in _by_month(question.start, question.end) for day in part if day not in days
    ]
    found.missing_hours = [
        moment
        for day in found.days
        for moment in (start_of_day(day) + number * _HOUR for number in range(24))
        if moment not in read
    ]
    found.read_at = max((state.read_at for state in read.values()), default=None)
    for (hour, account_id, service), units in costs.items():
        if units is None or hour.date() in unknown:
            continue
        if account_id == WHOLE_ORGANIZATION and "account" in question.subjects:
            return Answer(cannot=Cannot("whole_hours"))
        key = {
            "account": account_id,
            "service": service,
            HOUR: f"{hour:%Y-%m-%dT%H:%MZ}",
            "day": str(hour.date()),
        }
        if all(key[name] in wanted for name, wanted in question.where.items()):
            key["month"] = key["day"][:7]
            found.costs[tuple(key[name] for name in question.by)] += units
    if not found.days:
        found.cannot = Cannot("not_available", question.cost_type) if found.gaps else Cannot("no_hours")
    return found


@contextmanager
def _snapshot(ledger: Ledger) -> Iterator[None]:
    """Read the ledger as it is at one moment."""
    with ledger.connection() as db:
        if db.in_transaction:
            yield
            return
        db.execute("BEGIN")
        try:
            yield
        finally:
            db.execute("ROLLBACK")


def _by_month(start: date, end: date) -> Iterator[tuple[date, list[date]]]:
    """The days of [start, end) by the first day of their month."""
    days = (start + number * _DAY for number in range((end - start).days))
    for month, found in groupby(days, month_start):
        yield month, list(found)


def _ranges(days: Sequence[date]) -> list[tuple[date, date]]:
    """Sorted days as half-open ranges."""
    found: list[tuple[date, date]] = []
    for day in days:
        if found and found[-1][1] == day:
            found[-1] = found[-1][0], day + _DAY
        else:
            found.append((day, day + _DAY))
    return found
