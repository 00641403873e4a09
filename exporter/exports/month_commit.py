"""A folded month into the ledger: its cost, the values by each dimension, and the files of its lines, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from exporter.core.amounts import AMOUNTS, Units
from exporter.core.moments import days_between, month_start, start_of_day
from exporter.cost.refresh_plan import BILL_IS_FINAL_ON, CostPart
from exporter.cube import hours, values
from exporter.cube.dimensions import WITHOUT, Dimension, untagged
from exporter.cube.months import CubeMonths
from exporter.cube.no_extensions import NO_EXTENSIONS
from exporter.exports.fold_settings import FoldResult
from exporter.exports.sums.comparison import replaced_days
from exporter.exports.sums.reading import commit_sums
from exporter.ledger.file import Ledger
from exporter.ledger.pending import Origin
from exporter.ledger.reads import CostRead

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_DAY = timedelta(days=1)
_ROWS_AT_A_TIME = 50_000
_MEMORY = "256MiB"
_NEAREST: Mapping[str, tuple[str, ...]] = {
    "unblended": ("net_unblended",),
    "blended": ("unblended", "net_unblended"),
    "amortized": ("net_amortized", "unblended", "net_unblended"),
    "net_unblended": ("unblended",),
    "net_amortized": ("amortized", "net_unblended", "unblended"),
}
"""Which amounts stand in the ledger for a cost type that the source lacks; see `CostRead`."""

DIMENSIONS = tuple(
    Dimension(kind)
    for kind in ("region", "usage_type", "operation", "charge_type", "billing_entity", "resource")
)
"""Beside the configured tag keys and cost categories."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedMonth:
    """A month that was read and folded, and what to remember of it."""

    month: date
    version: str
    delivered_at: datetime
    """When AWS wrote the manifest: the cost is as of then."""
    folder: Path
    result: FoldResult
    names: Mapping[str, str]
    """Account names of the bill."""
    details: Mapping[str, Any]


def commit_month(
    ledger: Ledger, folded: FoldedMonth, dimensions: Sequence[Dimension], most_values: int, now: datetime
) -> None:
    """Replace a month by what its export holds: all of it, or nothing where anything fails.

    `most_values` is how many keys of a dimension a day keeps for each account and service.
    """
    result = folded.result
    months = CubeMonths(ledger)
    with closing(_connect(folded.folder)) as db, ledger.transaction():
        days = _days(ledger, months, folded, db)
        lines = _Lines(db, result.paths["lines"], days)
        replaced = replaced_days(ledger, days, folded.delivered_at)
        _commit_cost(ledger, lines, folded, days)
        if replaced is not None:
            replaced.compare(ledger, result.cost_types, now)
        changes = {
            day: state.changes for day, state in ledger.reads.day_states(min(days), max(days) + _DAY).items()
        }
        read_days = {day: changes[day] for day in days}
        for dimension in dimensions:
            for beside in ("account", "service"):
                if dimension.name in result.unknown_dimensions:
                    values.forget(ledger, dimension, beside, days)
                else:
                    _commit_values(ledger, lines, folded, dimension, beside, read_days, most_values)
        for tag in dimensions:
            if tag.kind == "tag":
                _commit_untagged(ledger, lines, folded, tag, read_days)
        _commit_hours(ledger, db, folded, read_days, now)
        commit_sums(ledger, db, folded.month, result, max(days), now)
        ledger.accounts.name(folded.names, now.date())
        ledger.pending.drop_within(
            Origin.MONTHS, (CostPart.REREAD, CostPart.OTHER), folded.month, month_start(folded.month, -1)
        )
        details = {
            **folded.details,
            "first_day": min(days).isoformat(),
            "last_day": max(days).isoformat(),
            "cost_types": list(result.cost_types),
            "lines": result.lines,
            "rows": result.rows,
            "unknown_charge_types": dict(result.unknown_charge_types),
            "unknown_services": dict(result.unknown_services),
            "unknown_dimensions": list(result.unknown_dimensions),
            "tags_seen": list(result.tags_seen),
            "hourly": result.hourly,
            **_split_days(db, result),
        }
        months.commit(
            folded.month, "data_export", folded.version, folded.folder, folded.delivered_at, details
        )
    months.remove_superseded()


def _days(
    ledger: Ledger, months: CubeMonths, folded: FoldedMonth, db: DuckDBPyConnection
) -> dict[date, bool]:
    """The days that the export answers for, with whether the bill may still change.

    As with Cost Explorer, the day of the delivery is known as far as it has been charged. Of later days, only those with a
    line are, such as a renewal that is charged in advance: the others are not known yet, and do not cost nothing.
    """
    month = folded.month
    end = month_start(month, -1)
    first = folded.result.days[0] if folded.result.days else month
    covered = min(max(folded.delivered_at.date(), month), end - _DAY)
    start = _first_day(ledger, months, month, min(max(first, month), covered + _DAY))
    ahead = db.execute(
        "SELECT DISTINCT day FROM read_parquet($path) WHERE day > $covered ORDER BY day",
        {"path": str(folded.result.paths["lines"]), "covered": covered},
    ).fetchall()
    is_final = folded.delivered_at >= start_of_day(end + timedelta(days=BILL_IS_FINAL_ON - 1))
    return dict.fromkeys([*days_between(start, covered + _DAY), *(day for (day,) in ahead)], not is_final)


def _first_day(ledger: Ledger, months: CubeMonths, month: date, first_line: date) -> date:
    """The first day of the month; of a new export, that of its first line, where Cost Explorer has cost before it."""
    before = months.all().get(month)
    if before is not None and before.source == "data_export":
        return min(date.fromisoformat(before.details["first_day"]), first_line)
    held = ledger.cost.sums(month, first_line, "net_unblended") if first_line > month else {}
    return first_line if any(held.values()) else month


class _Lines:
    """Sums over a month's lines, of the days that count."""

    def __init__(self, db: DuckDBPyConnection, path: Path, days: Mapping[date, bool]) -> None:
        self._db = db
        self._path = str(path)
        # Lines outside of these days are of days that the export does not answer for.
        self._first, self._last = min(days), max(days)

    def sums(self, keys: Sequence[str], only: str = "") -> Iterator[tuple[Any, ...]]:
        """Day, keys, and the five cost types in units or None, in the order of days."""
        named = ", ".join(map(_quoted, keys))
        sums = ", ".join(f"CASE WHEN count({name}) = count(*) THEN sum({name}) END" for name in AMOUNTS)
        found = self._db.execute(
            f"SELECT day, {named}, {sums} FROM read_parquet($path) WHERE day BETWEEN $first AND $last{only}"  # noqa: S608 # quoted
            " GROUP BY ALL ORDER BY day",
            {"path": self._path, "first": self._first, "last": self._last},
        )
        while rows := found.fetchmany(_ROWS_AT_A_TIME):
            yield from rows


def _split_days(db: DuckDBPyConnection, result: FoldResult) -> dict[str, Any]:
    """The first and the last day of which a line is split; nothing where none is."""
    path = result.paths.get("split")
    if path is None:
        return {}
    rows = db.execute("SELECT min(day), max(day) FROM read_parquet($path)", {"path": str(path)}).fetchall()
    return {"split_days": [day.isoformat() for row in rows for day in row if day is not None]}


def _connect(spill: Path) -> DuckDBPyConnection:
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "threads": 2,
        "temp_directory": str(spill / "sums.tmp"),
        **NO_EXTENSIONS,
    }
    return duckdb.connect(config=config)


def _quoted(column: str) -> str:
    return f'"{column.replace(chr(34), chr(34) * 2)}"'


_USAGE_TYPES = f"({', '.join(repr(name) for name in USAGE_RECORD_TYPES)})"
_NON_USAGE = f" AND charge_type NOT IN {_USAGE_TYPES}"


def _commit_cost(ledger: Ledger, lines: _Lines, folded: FoldedMonth, days: Mapping[date, bool]) -> None:
    cost_types = tuple(name for name in AMOUNTS if name in folded.result.cost_types)
    for only, commit in (("", ledger.reads.commit), (_NON_USAGE, ledger.reads.commit_non_usage)):
        costs = {
            (day, account_id, service): _whole(units, cost_types)
            for day, account_id, service, *units in lines.sums(("account_id", "service"), only)
        }
        commit(CostRead(folded.delivered_at, days, costs, "data_export", cost_types))


def _commit_hours(
    ledger: Ledger, db: DuckDBPyConnection, folded: FoldedMonth, days: Mapping[date, int], now: datetime
) -> None:
    """The hours of the last two weeks, up to the newest that has a line: what is later has not been charged yet."""
    path = folded.result.paths.get("hours")
    if path is None or not folded.result.hourly:
        return
    start = max(now.replace(minute=0, second=0, microsecond=0) - hours.HOURS_KEPT, start_of_day(folded.month))
    end = start_of_day(month_start(folded.month, -1))  # a line of a later hour says nothing of its month
    rows = db.execute(
        f"SELECT hour, account_id, service, {', '.join(AMOUNTS)} FROM read_parquet($path)"  # noqa: S608
        " WHERE hour >= $start AND hour < $end",
        {"path": str(path), "start": start.replace(tzinfo=None), "end": end.replace(tzinfo=None)},
    ).fetchall()
    costs: dict[hours.HourKey, values.AnyUnits] = {
        (hour.replace(tzinfo=UTC), account_id, service): tuple(units)
        for hour, account_id, service, *units in rows
    }
    if not costs:
        return
    last = max(hour for hour, _, _ in costs)
    read = [start + timedelta(hours=number) for number in range((last - start) // timedelta(hours=1) + 1)]
    hours.commit(ledger, "data_export", folded.delivered_at, read, costs, cost_changes=days)


def _whole(units: Sequence[int | None], cost_types: Sequence[str]) -> Units:
    """All five, those that are not there by the nearest one."""
    found = dict(zip(AMOUNTS, units, strict=True))
    nearest = (
        name if name in cost_types else next(other for other in _NEAREST[name] if other in cost_types)
        for name in AMOUNTS
    )
    return Units(*(found[name] or 0 for name in nearest))


def _commit_values(
    ledger: Ledger,
    lines: _Lines,
    folded: FoldedMonth,
    dimension: Dimension,
    beside: values.Beside,
    days: Mapping[date, int],
    most: int,
) -> None:
    left = dict(days)

    def commit(rows: Mapping[tuple[date, str, str], values.AnyUnits], read: Mapping[date, int]) -> None:
        values.commit(
            ledger,
            values.CubeRead(dimension, beside, folded.delivered_at, "data_export", read, rows),
            most,
        )

    subject = "account_id" if beside == "account" else "service"
    chunk: dict[tuple[date, str, str], values.AnyUnits] = {}
    chunk_days: dict[date, int] = {}
    for day, rows in groupby(lines.sums((subject, dimension.name)), key=lambda row: row[0]):
        for _, key, value, *units in rows:
            chunk[day, key, value] = tuple(units)
        chunk_days[day] = left.pop(day)
        if len(chunk) >= _ROWS_AT_A_TIME:
            commit(chunk, chunk_days)
            chunk, chunk_days = {}, {}
    # Days without a line cost nothing by any key.
    commit(chunk, chunk_days | left)


def _commit_untagged(
    ledger: Ledger, lines: _Lines, folded: FoldedMonth, tag: Dimension, days: Mapping[date, int]
) -> None:
    """Usage by account without a value of a tag, as Cost Explorer is asked for it."""
    dimension = untagged(tag.key)
    if tag.name in folded.result.unknown_dimensions:
        values.forget(ledger, dimension, "account", days)
        return
    only = f" AND charge_type IN {_USAGE_TYPES} AND {_quoted(tag.name)} = ''"
    costs: dict[tuple[date, str, str], values.AnyUnits] = {
        (day, account_id, WITHOUT): tuple(units)
        for day, account_id, *units in lines.sums(("account_id",), only)
    }
    read = values.CubeRead(dimension, "account", folded.delivered_at, "data_export", days, costs)
    values.commit(ledger, read, most=1)
