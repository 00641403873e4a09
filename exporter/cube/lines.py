"""Sums over months of lines: DuckDB in this process, bounded in memory, time and rows.

Names of columns are taken from the files, and every value is bound: no text of a question becomes SQL.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from exporter.cube.dimensions import MARKETPLACE
from exporter.cube.no_extensions import NO_EXTENSIONS
from exporter.cube.question import COST_TYPES, LIST, SPLIT_COSTS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_GROUPS = 200_000
"""The rows that one question may have before the largest are chosen."""
_MEMORY = "256MB"
_THREADS = 2
_SECONDS = 20.0
_TIMES = {"day": "CAST(day AS VARCHAR)", "month": "strftime(day, '%Y-%m')"}
_COLUMNS = {"account": "account_id", LIST: "list_cost"}
_AMOUNTS = frozenset((*COST_TYPES, *(column for columns in SPLIT_COSTS.values() for column in columns)))
_PRICED = tuple(name for name in USAGE_RECORD_TYPES if name != "SavingsPlanNegation")
"""Charge types that have list prices; a negation takes back cost, not what usage would have cost."""
_NARROW = "ask for fewer days or dimensions, or add filters"


_open: set[DuckDBPyConnection] = set()
_open_lock = threading.Lock()


class LinesError(ValueError):
    """A question has no answer; the message says why."""


class LinesGoneError(Exception):
    """A file is gone: its month was replaced during the question."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which lines are summed: half-open ranges of days, and for each key the values that match."""

    ranges: Sequence[tuple[date, date]]
    where: Mapping[str, frozenset[str]]


def is_installed() -> bool:
    """Whether DuckDB is installed, which the extra `export` does."""
    return find_spec("duckdb") is not None


def interrupt_all() -> None:
    """End every question that is being answered, with LinesError: the process ends."""
    with _open_lock:
        for db in _open:
            db.interrupt()


def sums(
    files: Sequence[Path], by: Sequence[str], chosen: Filter, amount: str, *, seconds: float = _SECONDS
) -> dict[tuple[str, ...], int]:
    """Units of 1e-10 USD by the keys `by`: account, service, day, month, the name of a dimension, or a key of split cost.

    `amount` is a cost type, `list` (of usage alone), or a column of SPLIT_COSTS. It and each of the keys have to be known in
    every file, see `unknown`. LinesError for a question that is too large, LinesGoneError if a file is gone.
    """
    if amount not in _AMOUNTS:
        raise ValueError(f"{amount} is not a cost type")
    if not files or not chosen.ranges:
        return {}
    with _opened(files, seconds) as db:
        columns = _columns(db, files)
        keys = [_expression(key, columns) for key in by]
        condition, given = _condition(chosen, columns)
        if amount == LIST:
            condition += f" AND {_priced(columns)}"
        rows = db.execute(
            f"SELECT {''.join(f'{key}, ' for key in keys)}SUM({_expression(amount, columns)})"  # noqa: S608 # names of columns of the files
            f" FROM read_parquet(?, union_by_name = true, hive_partitioning = false) WHERE {condition}"
            f"{' GROUP BY ALL' if keys else ''} LIMIT {MOST_GROUPS + 1}",
            [[str(path) for path in files], *given],
        ).fetchall()
    if len(rows) > MOST_GROUPS:
        raise LinesError(f"more than {MOST_GROUPS:,} rows: {_NARROW}")
    # Without a key there is one row even of no line; its sum is NULL.
    return {tuple(values): int(units) for *values, units in rows if units is not None}


def values(files: Sequence[Path], dimension: str, *, seconds: float = _SECONDS) -> frozenset[str]:
    """Every value of a dimension."""
    if not files:
        return frozenset()
    with _opened(files, seconds) as db:
        column = _expression(dimension, _columns(db, files))
        rows = db.execute(
            f"SELECT DISTINCT {column} FROM read_parquet(?, union_by_name = true, hive_partitioning = false)"  # noqa: S608 # a column of the files
            f" WHERE {column} IS NOT NULL LIMIT {MOST_GROUPS}",
            [[str(path) for path in files]],
        ).fetchall()
    return frozenset(value for (value,) in rows)


_KNOWN: OrderedDict[tuple[Path, str], bool] = OrderedDict()  # a file is never written again
_KNOWN_MOST = 10_000


def unknown(files: Sequence[Path], keys: Sequence[str], *, seconds: float = _SECONDS) -> dict[Path, str]:
    """The first of `keys` (dimensions, cost types) that each file lacks: without a column, or with a NULL in it."""
    wanted = [key for key in keys if key not in _TIMES]
    new = {path: [key for key in wanted if (path, key) not in _KNOWN] for path in files}
    new = {path: missing for path, missing in new.items() if missing}
    if new:
        with _opened(list(new), seconds) as db:
            for path, asked in new.items():
                columns = _columns(db, [path])
                there = [key for key in asked if _COLUMNS.get(key, key) in columns]
                counts = ", ".join(f"COUNT({_expression(key, columns)})" for key in there)
                total, *found = db.execute(
                    f"SELECT COUNT(*){', ' if counts else ''}{counts} FROM read_parquet(?, hive_partitioning = false)",  # noqa: S608 # columns of the file
                    [[str(path)]],
                ).fetchall()[0]
                known = {key for key, count in zip(there, found, strict=True) if count == total}
                _KNOWN.update({(path, key): key in known for key in asked})
    answered = {
        path: next((key for key in wanted if not _KNOWN.get((path, key), True)), None) for path in files
    }
    while len(_KNOWN) > _KNOWN_MOST:
        _KNOWN.popitem(last=False)
    return {path: key for path, key in answered.items() if key is not None}


def _columns(db: DuckDBPyConnection, files: Sequence[Path]) -> frozenset[str]:
    rows = db.execute(
        "DESCRIBE SELECT * FROM read_parquet(?, union_by_name = true, hive_partitioning = false)",
        [[str(path) for path in files]],
    ).fetchall()
    return frozenset(row[0] for row in rows)


def _expression(key: str, columns: frozenset[str]) -> str:
    if key in _TIMES:
        return _TIMES[key]
    name = _COLUMNS.get(key, key)
    if name not in columns:
        raise LinesError(f"{key} is not known")
    quoted = name.replace('"', '""')
    return f'"{quoted}"'


def _condition(chosen: Filter, columns: frozenset[str]) -> tuple[str, list[Any]]:
    """SQL with a mark for each value."""
    given: list[Any] = [day for limits in chosen.ranges for day in limits]
    parts = [f"({' OR '.join(['day >= ? AND day < ?'] * len(chosen.ranges))})"]
    for key, wanted in chosen.where.items():
        parts.append(
            f"{_expression(key, columns)} IN ({', '.join('?' * len(wanted))})" if wanted else "FALSE"
        )
        given += sorted(wanted)
    return " AND ".join(parts), given


def _priced(columns: frozenset[str]) -> str:
    """Lines that have a list price: usage of AWS's services, not what is sold in AWS Marketplace."""
    kinds = ", ".join(f"'{name}'" for name in _PRICED)
    entity = f" AND billing_entity IS DISTINCT FROM '{MARKETPLACE}'" if "billing_entity" in columns else ""
    return f"{_expression('charge_type', columns)} IN ({kinds}){entity}"


@contextmanager
def _opened(files: Sequence[Path], seconds: float) -> Iterator[DuckDBPyConnection]:
    """A database in memory that may read these files and nothing else; foreign errors become ours."""
    import duckdb

    db = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": _MEMORY,
            "threads": _THREADS,
            "temp_directory": "",
            **NO_EXTENSIONS,
            "preserve_insertion_order": False,
        },
    )
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        db.interrupt()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    with _open_lock:
        _open.add(db)
    try:
        db.execute("SET allowed_paths = ?", [[str(path) for path in files]])
        db.execute("SET enable_external_access = false")
        db.execute("SET lock_configuration = true")
        timer.start()
        yield db
    except duckdb.InterruptException:
        if not is_late.is_set():
            raise LinesError("the exporter is stopping") from None
        raise LinesError(f"no answer within {seconds:g} s: {_NARROW}") from None
    except duckdb.OutOfMemoryException:
        raise LinesError(f"the answer needs more than {_MEMORY} of memory: {_NARROW}") from None
    except duckdb.Error as error:
        if not all(path.exists() for path in files):
            raise LinesGoneError from None
        # Without its advice and the SQL.
        raise LinesError(f"lines cannot be read: {str(error).splitlines()[0]}") from None
    finally:
        timer.cancel()
        with _open_lock:
            _open.discard(db)
        with suppress(duckdb.Error):
            db.close()
