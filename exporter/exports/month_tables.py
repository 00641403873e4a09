"""The tables that a month's files are folded into, one file after the other, in a DuckDB database of its own.

What is grouped here are the keys as the export has them; names, the largest resources and what was not there at all are
settled at the end, on far fewer rows.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path

import duckdb

from exporter.exports.cur2 import CUR2
from exporter.exports.focus import FOCUS
from exporter.exports.fold_settings import FoldSettings
from exporter.exports.line_file import UNKNOWN, LineFile, LineFileError, identifier, literal, open_lines
from exporter.exports.line_sql import AMOUNTS, LineFormat, LineSql
from exporter.exports.service_names import known_codes, split_codes
from exporter.exports.tag_keys import COST_CATEGORY, TAG, present

KEYS = ("product_code", "region", "usage_type", "operation", "line_type", "billing_entity", "resource")
"""Columns of text in the table of lines, beside the account and the configured tag keys and cost categories."""
SERVICE_KEYS = ("product_code", "split_usage_type", "is_tax", "billing_entity")
"""What decides a line's service; the usage type is NULL where the product is one service whatever is used of it."""
_NEVER = "1TB"
_FILES_A_CHECKPOINT = 5  # what is not written stays in memory, and each checkpoint costs a little
_SHARE_OF_DATABASE = 0.8  # of the memory: Python and what DuckDB does not count take the rest
_CURRENCY = "USD"
_FORMATS = {"cur2": CUR2, "focus_1_0": FOCUS, "focus_1_2": FOCUS}
_SPLIT_KEYS = ("cluster", "namespace", "pod", "kind")
SPLIT_AMOUNTS = ("split_cost", "unused_cost", "net_split_cost", "net_unused_cost")
_COVERED = "('SavingsPlanCoveredUsage', 'DiscountedUsage')"
_COMMITTED = "('SavingsPlanRecurringFee', 'RIFee')"


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
        self.keys_seen: set[str] = set()
        self.columns_seen: set[str] = set()
        """Which of KEYS and `named` at least one file has."""
        self.unavailable: set[str] = set()
        self.days: tuple[date, date] | None = None
        self.hourly = False
        self.has_split = False
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
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
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
            [*(f"{name} VARCHAR" for name in _SPLIT_KEYS), *(f"{name} BIGINT" for name in SPLIT_AMOUNTS)]
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
        _link(path, inside)
        try:
            file = open_lines(self.db, inside, name, self.folder, self.format.needed)
            self._check_columns(file)
            sql = self.format.sql(file)
            lines = self._look(file, sql)
            named = self._named(file)
            self._fold_lines(file, sql, named)
            self._fold_hours(file, sql)
            self._fold_commitments(file, sql)
            self._fold_split(file, sql)
        finally:
            inside.unlink()
        self.files[name] = lines
        if len(self.files) % _FILES_A_CHECKPOINT == 0:
            self.db.execute("CHECKPOINT")
        return lines

    def _check_columns(self, file: LineFile) -> None:
        refusal = self.format.refusal(file)
        if refusal:
            raise LineFileError(refusal)
        missing = [name for name in self.format.required if not file.has(name)]
        if missing:
            raise LineFileError(f"has no column {', '.join(missing)}: it is no export of {self.format.title}")

    def _look(self, file: LineFile, sql: LineSql) -> int:
        """Take in what a file has, and refuse another currency or month; return its lines."""
        cost = f"coalesce({sql.amounts['unblended']}, {sql.amounts['net_unblended']})"
        rows = self.db.execute(
            f"SELECT {sql.line_type}, {sql.currency}, {sql.product_code}, count(*), count({sql.start}), sum({cost}), min({sql.start}),"
            f" max({sql.start}), max(hour({sql.start})), min({sql.period_start}), max({sql.period_start}),"
            f" bool_or({sql.split}) FROM {file.relation} GROUP BY ALL"
        ).fetchall()
        self.currencies |= {row[1] for row in rows if row[1]}
        if self.currencies - {_CURRENCY}:
            raise LineFileError(
                f"is in {', '.join(sorted(self.currencies - {_CURRENCY}))}; only {_CURRENCY} is read, and currencies are not summed"
            )
        self._check_period([moment for row in rows for moment in row[9:11] if moment is not None])
        line_types: Counter[str] = Counter()
        costs: Counter[str] = Counter()
        for line_type, _, _, count, dated, units, first, last, hour, _, _, split in rows:
            if dated < count:
                raise LineFileError("has lines without a date")
            line_types[line_type or ""] += count
            costs[line_type or ""] += int(units or 0)
            days = self.days or (first.date(), last.date())
            self.days = (min(days[0], first.date()), max(days[1], last.date()))
            self.hourly = self.hourly or hour > 0
            self.has_split = self.has_split or split
        for line_type, count in line_types.items():
            before = self.line_types.get(line_type, (0, 0))
            self.line_types[line_type] = (before[0] + count, before[1] + costs[line_type])
        self.unavailable |= self.format.unavailable(file, line_types)
        self._take_product_names(file, sql, {row[2] for row in rows if row[2]} - known_codes())
        return sum(line_types.values())

    def _check_period(self, moments: list[datetime]) -> None:
        month = self.settings.month
        for moment in moments:
            if (moment.year, moment.month) != (month.year, month.month):
                raise LineFileError(f"has lines of the billing period {moment:%Y-%m}, expected {month:%Y-%m}")

    def _take_product_names(self, file: LineFile, sql: LineSql, codes: set[str]) -> None:
        if not codes or sql.product_name == UNKNOWN:
            return
        rows = self.db.execute(
            f"SELECT {sql.product_code}, max({sql.product_name}) FROM {file.relation}"
            f" WHERE {sql.product_code} IN ({', '.join(map(literal, sorted(codes)))}) GROUP BY ALL"
        ).fetchall()
        for code, name in rows:
            # The same name whatever the order of the files.
            self.product_names[code] = max(self.product_names.get(code, ""), name or "")

    def _named(self, file: LineFile) -> dict[str, str]:
        """SQL of the configured tag keys and cost categories, by column, from the keys that the file has."""
        keys = {column: self.format.names_of(column) for column in self.named}
        maps = {name for names in keys.values() for name, _ in names}
        found = {name: file.keys(self.db, name) for name in sorted(maps)}
        self.keys_seen.update(*found.values())
        sql: dict[str, str] = {}
        for column, candidates_of in keys.items():
            values = [
                file.value(name, names)
                for name, candidates in candidates_of
                if (names := present(candidates, found[name]))
            ]
            if values:
                self.columns_seen.add(column)
            sql[column] = f"coalesce({', '.join(values)})" if len(values) > 1 else "".join(values) or UNKNOWN
        return sql

    def _fold_lines(self, file: LineFile, sql: LineSql, named: dict[str, str]) -> None:
        keys = {name: getattr(sql, name) for name in KEYS}
        self.columns_seen.update(name for name, expression in keys.items() if expression != UNKNOWN)
        chosen = columns({"day": self._day(sql), "account_id": sql.account_id, **keys, **named})
        self.db.execute(
            f"INSERT INTO lines SELECT {chosen}, {_sums(sql)}, sum({sql.usage})"
            f" FROM {file.relation} WHERE NOT ({sql.split}) GROUP BY ALL"
        )

    def _day(self, sql: LineSql) -> str:
        """The day of a line; what is charged in this month's bill is cost of this month, whenever its usage began."""
        first, last = self.settings.month, self.settings.last_day
        return f"greatest(least(CAST({sql.start} AS DATE), DATE '{last}'), DATE '{first}')"

    def _fold_hours(self, file: LineFile, sql: LineSql) -> None:
        if self.settings.hours_from is None or self.settings.hours_from > self.settings.last_day:
            return
        keys = service_keys(sql.product_code, sql.usage_type, sql.line_type, sql.billing_entity)
        self.db.execute(
            f"INSERT INTO hours SELECT date_trunc('hour', {sql.start}) AS hour, {sql.account_id} AS account_id,"
            f" {columns(keys)}, {_sums(sql)} FROM {file.relation}"
            f" WHERE NOT ({sql.split}) AND {sql.start} >= TIMESTAMP '{self.settings.hours_from}' GROUP BY ALL"
        )

    def _fold_commitments(self, file: LineFile, sql: LineSql) -> None:
        if not any(kind in self.line_types for kind in _kinds(_COVERED + _COMMITTED)):
            return
        amortized = f"coalesce({sql.amounts['amortized']}, {sql.amounts['net_amortized']})"
        covered, committed = f"{sql.line_type} IN {_COVERED}", f"{sql.line_type} IN {_COMMITTED}"
        self.db.execute(
            f"INSERT INTO commitments SELECT {self._day(sql)} AS day, {sql.account_id} AS account_id, {sql.arn} AS arn,"
            f" {sql.line_type} AS line_type, sum(CASE WHEN {covered} THEN {amortized} ELSE 0 END),"
            f" sum(CASE WHEN {committed} THEN {amortized} ELSE 0 END),"
            f" sum(CASE WHEN {covered} THEN {sql.amounts['list_cost']} ELSE 0 END), max({sql.end_time})"
            f" FROM {file.relation} WHERE ({covered} OR {committed}) AND coalesce({sql.arn}, '') <> '' GROUP BY ALL"
        )

    def _fold_split(self, file: LineFile, sql: LineSql) -> None:
        if not self.has_split or not sql.splits:
            return
        keys = ", ".join(f"{sql.splits[name]} AS {name}" for name in _SPLIT_KEYS)
        sums = ", ".join(f"sum({sql.splits[name]})" for name in SPLIT_AMOUNTS)
        self.db.execute(
            f"INSERT INTO split SELECT {self._day(sql)} AS day, {sql.account_id} AS account_id, {keys}, {sums}"
            f" FROM {file.relation} WHERE {sql.split} GROUP BY ALL"
        )


def service_keys(product_code: str, usage_type: str, line_type: str, billing_entity: str) -> dict[str, str]:
    """SQL of what decides a line's service, by SERVICE_KEYS, from SQL of what it is made of."""
    codes = ", ".join(map(literal, sorted(split_codes())))
    return {
        "product_code": product_code,
        "split_usage_type": f"CASE WHEN {product_code} IN ({codes}) THEN {usage_type} END",
        "is_tax": f"coalesce({line_type} = 'Tax', FALSE)",
        "billing_entity": billing_entity,
    }


def columns(expressions: Mapping[str, str]) -> str:
    """A list of SQL for SELECT."""
    return ", ".join(f"{expression} AS {identifier(name)}" for name, expression in expressions.items())


def _sums(sql: LineSql) -> str:
    return ", ".join(f"sum({sql.amounts[name]})" for name in AMOUNTS)


def _link(path: Path, inside: Path) -> None:
    """Make a file readable for the database, without a copy where both are on one file system."""
    try:
        os.link(path, inside)
    except OSError:
        shutil.copyfile(path, inside)


def _kinds(sql: str) -> set[str]:
    return set(sql.split("'")[1::2])


def details(value: Exception) -> str:
    """What DuckDB says, without its advice and the SQL."""
    return str(value).splitlines()[0]
