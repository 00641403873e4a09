"""Cost of each UTC day by one dimension beside the account, or beside the service, in tables of the ledger's file.

From Cost Explorer each is one query; from an export they are sums over its lines. What the other of account and
service is, is not known here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Literal

from exporter.core.amounts import AMOUNTS
from exporter.core.moments import to_milliseconds, to_moment
from exporter.core.money import exact_sum_of_sums, joined, stored_sum
from exporter.cube import tag_months
from exporter.cube.dimensions import OTHER, Dimension, untagged
from exporter.ledger.file import Ledger

_DAY = timedelta(days=1)
_UNTAGGED = untagged("").name + ":"

Beside = Literal["account", "service"]
"""What the subject of a row is."""
Source = Literal["cost_explorer", "data_export"]
AnyUnits = tuple[int | None, int | None, int | None, int | None, int | None]
"""The five cost types in the order of AMOUNTS, in units of 1e-10 USD; None where the source has no such column."""


@dataclass(frozen=True, slots=True)
class CubeRead:
    """Whole days by one dimension; a key of these days that is missing in `costs` cost nothing.

    `costs` are by day, account id or service, and key. `cost_changes` is how often the ledger's cost of a day had
    changed when it was read; of untagged usage, how often that of the tag had.
    """

    dimension: Dimension
    beside: Beside
    observed_at: datetime
    source: Source
    days: Mapping[date, int]
    costs: Mapping[tuple[date, str, str], AnyUnits]
    only: frozenset[str] | None = None
    """The account ids or services that were asked for, of days that were read whole before; None: all."""


@dataclass(frozen=True, slots=True)
class ReadState:
    """What is known of one day by one dimension."""

    read_at: datetime
    source: Source
    cost_changes: int
    changes: int
    """Grows with each read that finds other cost."""
    whole_at: datetime
    """When all accounts or services of the day were read together."""


def commit(ledger: Ledger, read: CubeRead, most: int) -> None:
    """Replace the days of `read`; of each subject and day at most `most` keys, the rest is summed as `other`.

    Of some subjects only, days that were never read whole are left out: the others would be missing.
    """
    with ledger.transaction() as db:
        if not read.days:
            return
        if read.only is not None:
            known = reads(ledger, read.dimension, read.beside, min(read.days), max(read.days) + _DAY)
            read = replace(read, days={day: count for day, count in read.days.items() if day in known})
        kept = _bounded(read.costs, most)
        by_day: defaultdict[date, dict[tuple[str, str], AnyUnits]] = defaultdict(dict)
        for (day, subject, value), units in kept.items():
            if any(units):
                by_day[day][subject, value] = units
        numbers = _numbers(ledger, read, {key for rows in by_day.values() for key in rows})
        at = to_milliseconds(read.observed_at)
        before = _held(ledger, read)
        for day, cost_changes in read.days.items():
            rows = {
                numbers[key]: tuple(None if u is None else stored_sum(u) for u in units)
                for key, units in by_day.get(day, {}).items()
            }
            changed = rows != before.get(day, {})
            if changed:
                db.executemany(
                    "DELETE FROM cube_values WHERE day = ? AND key = ?",
                    [(day.toordinal(), number) for number in before.get(day, {})],
                )
                marks = ", ".join("?" * (2 + len(AMOUNTS)))
                db.executemany(
                    f"INSERT INTO cube_values VALUES ({marks})",  # noqa: S608 # question marks
                    [(day.toordinal(), number, *units) for number, units in sorted(rows.items())],
                )
            db.execute(
                "INSERT INTO cube_reads (dimension, beside, day, read_at, whole_at, source, cost_changes, changes)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT (dimension, beside, day) DO UPDATE SET"
                " read_at = excluded.read_at, source = excluded.source, cost_changes = excluded.cost_changes,"
                " whole_at = CASE WHEN ? THEN excluded.whole_at ELSE whole_at END, changes = changes + ?",
                (
                    read.dimension.name,
                    read.beside,
                    day.toordinal(),
                    at,
                    at,
                    read.source,
                    cost_changes,
                    read.only is None,
                    int(changed),
                ),
            )
        if read.dimension.kind == "tag":
            tag_months.learn(
                ledger,
                read.dimension,
                list(read.days),
                read.observed_at,
                is_active=read.source == "data_export",
            )


def _bounded(
    costs: Mapping[tuple[date, str, str], AnyUnits], most: int
) -> dict[tuple[date, str, str], AnyUnits]:
    """The largest keys of each subject and day; one that AWS itself calls `other` is among the rest."""
    groups: defaultdict[tuple[date, str], list[tuple[str, AnyUnits]]] = defaultdict(list)
    for (day, subject, value), units in costs.items():
        groups[day, subject].append((value, units))
    kept: dict[tuple[date, str, str], AnyUnits] = {}
    for (day, subject), values in groups.items():
        if len(values) > most:
            values.sort(key=lambda item: (-max(abs(units or 0) for units in item[1]), item[0]))
        for number, (value, units) in enumerate(values):
            key = (day, subject, value if number < most else OTHER)
            kept[key] = _plus(kept[key], units) if key in kept else units
    return kept


def _plus(one: AnyUnits, other: AnyUnits) -> AnyUnits:
    """The sum; not known where either is not."""
    a, b, c, d, e = (None if x is None or y is None else x + y for x, y in zip(one, other, strict=True))
    return a, b, c, d, e


def _places(beside: Beside, subject: str) -> tuple[str, str]:
    return (subject, "") if beside == "account" else ("", subject)


def _numbers(ledger: Ledger, read: CubeRead, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], int]:
    name = read.dimension.name
    with ledger.transaction() as db:
        db.executemany(
            "INSERT OR IGNORE INTO cube_keys (dimension, account_id, service, value) VALUES (?, ?, ?, ?)",
            [(name, *_places(read.beside, subject), value) for subject, value in sorted(keys)],
        )
        # One by one: of resources there are far more than a read has, and they only grow.
        return {
            (subject, value): number
            for subject, value in keys
            for (number,) in db.execute(
                "SELECT id FROM cube_keys WHERE dimension = ? AND account_id = ? AND service = ? AND value = ?",
                (name, *_places(read.beside, subject), value),
            )
        }


def _column(beside: Beside) -> str:
    return "account_id" if beside == "account" else "service"


def _held(ledger: Ledger, read: CubeRead) -> dict[date, dict[int, tuple[int | float | None, ...]]]:
    """What the read replaces, by day and number of the key."""
    found: dict[date, dict[int, tuple[int | float | None, ...]]] = {}
    columns = ", ".join(AMOUNTS)
    where, only = "", sorted(read.only or ())
    if read.only is not None:
        where = f" AND {_column(read.beside)} IN ({', '.join('?' * len(only))})"
    with ledger.connection() as db:
        for day in read.days:
            found[day] = {
                number: tuple(units)
                for number, *units in db.execute(
                    f"SELECT key, {columns} FROM cube_values JOIN cube_keys ON cube_keys.id = key"  # noqa: S608
                    f" WHERE day = ? AND dimension = ? AND {_column(read.beside)} != ''{where}",
                    (day.toordinal(), read.dimension.name, *only),
                )
            }
    return found


def states(
    ledger: Ledger, dimension: Dimension, beside: Beside, start: date, end: date
) -> dict[date, ReadState]:
    """The days of [start, end) of which cost by a dimension is known; of a tag, not those before it was activated."""
    return reads(ledger, dimension, beside, max(start, tag_months.known_from(ledger, dimension)), end)


def reads(
    ledger: Ledger, dimension: Dimension, beside: Beside, start: date, end: date
) -> dict[date, ReadState]:
    """The days of [start, end) that were read by a dimension, whether or not a tag was active on them."""
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT day, read_at, source, cost_changes, changes, whole_at FROM cube_reads"
            " WHERE dimension = ? AND beside = ? AND day >= ? AND day < ?",
            (dimension.name, beside, start.toordinal(), end.toordinal()),
        ).fetchall()
    return {
        date.fromordinal(day): ReadState(
            to_moment(read_at), source, cost_changes, changes, to_moment(whole_at)
        )
        for day, read_at, source, cost_changes, changes, whole_at in rows
    }


def read_dimensions(ledger: Ledger, beside: Beside) -> frozenset[str]:
    """The names of the dimensions of which any day was read."""
    return frozenset(name for name in _read_names(ledger, beside) if not name.startswith(_UNTAGGED))


def untagged_keys(ledger: Ledger) -> tuple[str, ...]:
    """The tag keys of which untagged usage was read on any day."""
    names = _read_names(ledger, "account")
    return tuple(sorted(name.removeprefix(_UNTAGGED) for name in names if name.startswith(_UNTAGGED)))


def _read_names(ledger: Ledger, beside: Beside) -> list[str]:
    with ledger.connection() as db:
        rows = db.execute("SELECT DISTINCT dimension FROM cube_reads WHERE beside = ?", (beside,)).fetchall()
    return [name for (name,) in rows]


def known_keys(ledger: Ledger, dimension: Dimension) -> frozenset[str]:
    """Every key of a dimension that had cost on any day."""
    with ledger.connection() as db:
        rows = db.execute("SELECT DISTINCT value FROM cube_keys WHERE dimension = ?", (dimension.name,))
        return frozenset(value for (value,) in rows)


def sums(
    ledger: Ledger,
    dimension: Dimension,
    beside: Beside,
    start: date,
    end: date,
    cost_type: str,
    *,
    subjects: Iterable[str] | None = None,
    keys: Iterable[str] | None = None,
    by_day: bool = False,
) -> dict[tuple[date | None, str, str], int | None]:
    """Units of 1e-10 USD over [start, end) by day (None unless `by_day`), account id or service, and key.

    Of all `subjects` and `keys` unless some are given. None where a row has no such cost type: its sum is not known.
    Days before a tag was activated are left out.
    """
    if cost_type not in AMOUNTS:
        raise ValueError(f"{cost_type} is not a cost type")
    column = _column(beside)
    where = ""
    given: list[str] = []
    for name, wanted in ((column, subjects), ("value", keys)):
        if wanted is not None:
            chosen = sorted(wanted)
            where += f" AND {name} IN ({', '.join('?' * len(chosen))})"
            given += chosen
    start = max(start, tag_months.known_from(ledger, dimension))
    day = "day" if by_day else "NULL"
    with ledger.connection() as db:
        rows = db.execute(
            f"SELECT {day} AS day_of_row, {column}, value, COUNT(*) = COUNT({cost_type}), {exact_sum_of_sums(cost_type)}"  # noqa: S608
            " FROM cube_values JOIN cube_keys ON cube_keys.id = key"
            f" WHERE day >= ? AND day < ? AND dimension = ? AND {column} != ''{where} GROUP BY 1, 2, 3",
            (start.toordinal(), end.toordinal(), dimension.name, *given),
        ).fetchall()
    return {
        (date.fromordinal(ordinal) if by_day else None, subject, value): joined(high, low) if known else None
        for ordinal, subject, value, known, high, low in rows
    }


def sums_of_all(
    ledger: Ledger, beside: Beside, start: date, end: date, cost_type: str
) -> list[tuple[str, str, str, int | None]]:
    """Of every dimension at once, in one pass: its name, account id or service, key, and units over [start, end).

    None as of `sums`.
    """
    if cost_type not in AMOUNTS:
        raise ValueError(f"{cost_type} is not a cost type")
    column = _column(beside)
    with ledger.connection() as db:
        rows = db.execute(
            f"WITH summed (key, known, high, low) AS (SELECT key, COUNT(*) = COUNT({cost_type}), {exact_sum_of_sums(cost_type)}"  # noqa: S608
            " FROM cube_values WHERE day >= ? AND day < ? GROUP BY key)"
            f" SELECT dimension, {column}, value, known, high, low FROM summed JOIN cube_keys ON cube_keys.id = key"
            f" WHERE {column} != ''",
            (start.toordinal(), end.toordinal()),
        ).fetchall()
    return [
        (name, subject, value, joined(high, low) if known else None)
        for name, subject, value, known, high, low in rows
    ]


def forget(ledger: Ledger, dimension: Dimension, beside: Beside, days: Iterable[date]) -> None:
    """Give up what is known of days by a dimension: their source does not have it."""
    with ledger.transaction() as db:
        for day in days:
            db.execute(
                "DELETE FROM cube_values WHERE day = ? AND key IN (SELECT id FROM cube_keys"  # noqa: S608 # a known column
                f" WHERE dimension = ? AND {_column(beside)} != '')",
                (day.toordinal(), dimension.name),
            )
            db.execute(
                "DELETE FROM cube_reads WHERE dimension = ? AND beside = ? AND day = ?",
                (dimension.name, beside, day.toordinal()),
            )
