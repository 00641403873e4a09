"""The tables that a month's files are folded into, one file after the other, in a separate DuckDB database.

What is grouped here are the keys as the export has them; names, the largest resources and what was not there at all are
settled at the end, on far fewer rows.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from exporter.cube.no_extensions import NO_EXTENSIONS
from exporter.exports.cur2 import CUR2
from exporter.exports.focus import FOCUS
from exporter.exports.fold_settings import FoldSettings
from exporter.exports.line_columns import UNKNOWN, LineColumns, identifier, literal
from exporter.exports.line_file import LineFile, LineFileError, open_lines
from exporter.exports.line_sql import AMOUNTS, LineFormat, LineSql
from exporter.exports.month_queries import COMMITTED, COVERED, KEYS, SPLIT_AMOUNTS, SPLIT_KEYS, MonthQueries
from exporter.exports.service_names import known_codes
from exporter.exports.tag_keys import COST_CATEGORY, TAG, present

_NEVER = "1TB"
_FILES_A_CHECKPOINT = 5  # what is not written stays in memory, and each checkpoint costs a little
_SHARE_OF_DATABASE = 0.8  # of the memory: Python and what DuckDB does not count take the rest
_CURRENCY = "USD"
_USAGE = ("Usage", *COVERED)
_FORMATS = {"cur2": CUR2, "focus_1_0": FOCUS, "focus_1_2": FOCUS}


class MonthTables:
    """Folds the files of one month; `folder` takes the database and what does not fit into memory."""

    def __init__(self, settings: FoldSettings, folder: Path) -> None:
        """Create the tables."""
        self.settings = settings
        self.folder = folder
        self.format: LineFormat = _FORMATS[settings.table]
        self.named = (
            *(f"{TAG}{key}" for key in settings.tags),
            *(f"{COST_CATEGORY}{name}" for name in settings.cost_categories),
        )
        self.files: dict[str, int] = {}
        self.line_types: dict[str, tuple[int, int]] = {}
        """Lines, and units of unblended (FOCUS: net unblended) cost, by line type."""
        self.product_names: dict[str, str] = {}
        """Of product codes that the shipped map does not have."""
        self.currencies: set[str] = set()
        self.codes: set[str] = set()
        """Product codes of what was looked at last, without those of the shipped map."""
        self.keys_seen: set[str] = set()
        self.columns_seen: set[str] = set()
        """Which of KEYS and `named` at least one file has."""
        self.unavailable: set[str] = set()
        self.days: tuple[date, date] | None = None
        self.hourly = False
        self.has_split = False
        self.is_ranked = False
        """Whether the table of lines has only those resources that keep their id, and the rest as one."""
        self.db = self._open()
        self._create()

    def _open(self) -> duckdb.DuckDBPyConnection:
        """Create the database; it reads and writes its own folder, and nothing else."""
        settings = self.settings
        db = duckdb.connect(
            str(self.folder / "fold.duckdb"),
            config={
                "memory_limit": f"{int(settings.memory_mb * _SHARE_OF_DATABASE)}MiB",
                "threads": settings.threads,
                "temp_directory": str(self.folder / "spilled"),
                **NO_EXTENSIONS,
                "preserve_insertion_order": False,
                "checkpoint_threshold": _NEVER,
            },
        )
        db.execute("SET enable_progress_bar = false")
        db.execute("SET TimeZone = 'UTC'")
        db.execute(f"SET allowed_directories = [{literal(str(self.folder))}]")
        db.execute("SET enable_external_access = false")
        db.execute("SET lock_configuration = true")
        return db

    def _create(self) -> None:
        texts = ", ".join(f"{identifier(name)} VARCHAR" for name in (*KEYS, *self.named))
        amounts = ", ".join(f"{name} BIGINT" for name in AMOUNTS)
        splits = ", ".join(
            [*(f"{name} VARCHAR" for name in SPLIT_KEYS), *(f"{name} BIGINT" for name in SPLIT_AMOUNTS)]
        )
        self.db.execute(
            f"CREATE TABLE lines (day DATE, account_id VARCHAR, {texts}, {amounts}, usage DECIMAL(38,8))"
        )
        self.db.execute(
            f"CREATE TABLE hours (hour TIMESTAMP, account_id VARCHAR, product_code VARCHAR, split_usage_type VARCHAR,"
            f" is_tax BOOLEAN, billing_entity VARCHAR, {amounts})"
        )
        self.db.execute(f"CREATE TABLE split (day DATE, account_id VARCHAR, {splits})")
        self.db.execute(
            "CREATE TABLE commitments (day DATE, account_id VARCHAR, arn VARCHAR, line_type VARCHAR,"
            " used BIGINT, unused BIGINT, list_cost BIGINT, end_time VARCHAR)"
        )

    def add(self, path: Path, name: str) -> int:
        """Fold one file, and return its lines; LineFileError if it is not one of this month's."""
        if name in self.files:
            raise LineFileError("has been folded already")
        inside = self.folder / "lines"  # a name without what DuckDB takes for a pattern
        link(path, inside)
        try:
            file = open_lines(self.db, inside, name, self.folder, self.format.needed)
            self.check_columns(file)
            sql = self.format.sql(file)
            queries = MonthQueries(self.settings, file, sql)
            lines = self.take_look(file, self.db.execute(queries.look(names=False)).fetchall())
            self._take_product_names(file, sql)
            maps = {key for column in self.named for key, _ in self.format.names_of(column)}
            named = self.take_keys(file, {key: file.keys(self.db, key) for key in sorted(maps)})
            for table, query in self.queries(queries, named).items():
                self.db.execute(f"INSERT INTO {table} {query}")
        finally:
            inside.unlink()
        self.files[name] = lines
        if len(self.files) % _FILES_A_CHECKPOINT == 0:
            self.db.execute("CHECKPOINT")
        return lines

    def check_columns(self, source: LineColumns) -> None:
        """Raise LineFileError if the lines are not of the format."""
        refusal = self.format.refusal(source)
        if refusal:
            raise LineFileError(refusal)
        missing = [name for name in self.format.required if not source.has(name)]
        if missing:
            raise LineFileError(f"has no column {', '.join(missing)}: it is no export of {self.format.title}")

    def take_look(self, source: LineColumns, rows: list[tuple[Any, ...]]) -> int:
        """Take in what is there, the rows of `MonthQueries.look`, and refuse another currency or month; return its lines."""
        self.currencies |= {row[1] for row in rows if row[1]}
        if self.currencies - {_CURRENCY}:
            raise LineFileError(
                f"is in {', '.join(sorted(self.currencies - {_CURRENCY}))}; only {_CURRENCY} is read, and currencies are not summed"
            )
        self._check_period([moment for row in rows for moment in row[9:11] if moment is not None])
        line_types: Counter[str] = Counter()
        costs: Counter[str] = Counter()
        for line_type, _, _, count, dated, units, first, last, hour, _, _, split, *_ in rows:
            if dated < count:
                raise LineFileError("has lines without a date")
            line_types[line_type or ""] += count
            costs[line_type or ""] += units or 0
            days = self.days or (first.date(), last.date())
            self.days = (min(days[0], first.date()), max(days[1], last.date()))
            # A fee or a refund has the time of its purchase in an export of days, too.
            self.hourly = self.hourly or (hour > 0 and line_type in _USAGE)
            self.has_split = self.has_split or split
        for line_type, count in line_types.items():
            before = self.line_types.get(line_type, (0, 0))
            self.line_types[line_type] = (before[0] + count, before[1] + costs[line_type])
        self.unavailable |= self.format.unavailable(source, line_types)
        self.codes = {row[2] for row in rows if row[2]} - known_codes()
        return sum(line_types.values())

    def _check_period(self, moments: list[datetime]) -> None:
        month = self.settings.month
        for moment in moments:
            if (moment.year, moment.month) != (month.year, month.month):
                raise LineFileError(f"has lines of the billing period {moment:%Y-%m}, expected {month:%Y-%m}")

    def _take_product_names(self, file: LineFile, sql: LineSql) -> None:
        if not self.codes or sql.product_name == UNKNOWN:
            return
        rows = self.db.execute(
            f"SELECT {sql.product_code}, max({sql.product_name}) FROM {file.relation}"
            f" WHERE {sql.product_code} IN ({', '.join(map(literal, sorted(self.codes)))}) GROUP BY ALL"
        ).fetchall()
        self.take_product_names(rows)

    def take_product_names(self, rows: Iterable[tuple[str, str | None]]) -> None:
        """Take in names by product code; only of codes that the shipped map does not have."""
        for code, name in rows:
            if code in self.codes:
                # The same name in any order of the files.
                self.product_names[code] = max(self.product_names.get(code, ""), name or "")

    def take_keys(self, source: LineColumns, found: Mapping[str, Collection[str]]) -> dict[str, str]:
        """SQL of the configured tag keys and cost categories, by column, from the keys that the maps in `found` have."""
        self.keys_seen.update(*found.values())
        sql: dict[str, str] = {}
        for column in self.named:
            values = [
                source.value(name, names)
                for name, candidates in self.format.names_of(column)
                if (names := present(candidates, found[name]))
            ]
            if values:
                self.columns_seen.add(column)
            sql[column] = f"coalesce({', '.join(values)})" if len(values) > 1 else "".join(values) or UNKNOWN
        return sql

    def queries(self, queries: MonthQueries, named: Mapping[str, str]) -> dict[str, str]:
        """The queries that fill the tables, by table; of lines that were looked at."""
        self.columns_seen.update(name for name in KEYS if getattr(queries.sql, name) != UNKNOWN)
        found = {"lines": queries.lines(named), "hours": queries.hours()}
        if any(kind in self.line_types for kind in (*COVERED, *COMMITTED)):
            found["commitments"] = queries.commitments()
        if self.has_split:
            found["split"] = queries.split()
        return {table: query for table, query in found.items() if query is not None}


def link(path: Path, inside: Path) -> None:
    """Make a file readable for the database, without a copy where both are on one file system."""
    try:
        os.link(path, inside)
    except OSError:
        shutil.copyfile(path, inside)


def details(value: Exception) -> str:
    """The message of a DuckDB error, without its advice and the SQL."""
    return str(value).splitlines()[0]
