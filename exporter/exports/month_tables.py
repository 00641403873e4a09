"""The tables that a month's files are folded into, one file after the other, in a DuckDB database of its own.

What is grouped here are the keys as the export has them; names, the largest resources and what was not there at all are
settled at the end, on far fewer rows.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from exporter.exports.cur2 import CUR2
from exporter.exports.fold_settings import FoldSettings
from exporter.exports.line_file import UNKNOWN, LineFile, LineFileError, identifier, literal, open_lines
from exporter.exports.line_sql import AMOUNTS, Keys, LineFormat, LineSql
from exporter.exports.service_names import known_codes
from exporter.exports.tag_keys import COST_CATEGORY, TAG, present

if TYPE_CHECKING:
    from collections.abc import Iterable

KEYS = ("product_code", "region", "usage_type", "operation", "line_type", "billing_entity", "resource")
"""Columns of text in the table of lines, beside the account and the configured tag keys and cost categories."""
NAMED = ("product_code", "usage_type", "line_type", "billing_entity")
"""Those that decide a line's service and charge type."""
_CURRENCY = "USD"
_FORMATS = {"cur2": CUR2}
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
        self.keys_seen: set[str] = set()
        self.columns_seen: set[str] = set()
        """Which of KEYS and `named` at least one file has."""
        self.unavailable: set[str] = set()
        self.days: tuple[date, date] | None = None
        self.hourly = False
        self.has_split = False
        with self.connect() as db:
            self._create(db)

    def connect(
        self, *, files: Iterable[Path] = (), folders: Iterable[Path] = ()
    ) -> duckdb.DuckDBPyConnection:
        """Open the database; it reads and writes these files and folders, its own folder, and nothing else."""
        settings = self.settings
        db = duckdb.connect(
            str(self.folder / "fold.duckdb"),
            config={
                "memory_limit": f"{settings.memory_mb}MiB",
                "threads": settings.threads,
                "temp_directory": str(self.folder / "spilled"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
                "preserve_insertion_order": False,
            },
        )
        db.execute("SET TimeZone = 'UTC'")
        # What is allowed is read-only from the moment that all else is forbidden.
        db.execute(f"SET allowed_paths = {_list(files)}")
        db.execute(f"SET allowed_directories = {_list((self.folder, *folders))}")
        db.execute("SET enable_external_access = false")
        db.execute("SET lock_configuration = true")
        return db

    def _create(self, db: duckdb.DuckDBPyConnection) -> None:
        texts = ", ".join(f"{identifier(name)} VARCHAR" for name in (*KEYS, *self.named))
        amounts = ", ".join(f"{name} BIGINT" for name in AMOUNTS)
        named = ", ".join(f"{name} VARCHAR" for name in NAMED)
        splits = ", ".join(
            [*(f"{name} VARCHAR" for name in _SPLIT_KEYS), *(f"{name} BIGINT" for name in SPLIT_AMOUNTS)]
        )
        db.execute(
            f"CREATE TABLE lines (day DATE, account_id VARCHAR, {texts}, {amounts}, usage DECIMAL(38,8))"
        )
        db.execute(f"CREATE TABLE hours (hour TIMESTAMP, account_id VARCHAR, {named}, {amounts})")
        db.execute(f"CREATE TABLE split (day DATE, account_id VARCHAR, {splits})")
        db.execute(
            "CREATE TABLE commitments (day DATE, account_id VARCHAR, arn VARCHAR, line_type VARCHAR,"
            " used BIGINT, unused BIGINT, list_cost BIGINT, end_time VARCHAR)"
        )

    def add(self, path: Path, name: str) -> int:
        """Fold one file, and return its lines; LineFileError if it is not one of this month's."""
        if name in self.files:
            raise LineFileError("has been folded already")
        with self.connect(files=[path]) as db:
            file = open_lines(db, path, name, self.folder, self.format.needed)
            self._check_columns(file)
            sql = self.format.sql(file)
            lines = self._look(db, file, sql)
            named = self._named(db, file)
            self._fold_lines(db, file, sql, named)
            self._fold_hours(db, file, sql)
            self._fold_commitments(db, file, sql)
            self._fold_split(db, file, sql)
        self.files[name] = lines
        return lines

    def _check_columns(self, file: LineFile) -> None:
        refusal = self.format.refusal(file)
        if refusal:
            raise LineFileError(refusal)
        missing = [name for name in self.format.required if not file.has(name)]
        if missing:
            raise LineFileError(f"has no column {', '.join(missing)}: it is no export of {self.format.title}")

    def _look(self, db: duckdb.DuckDBPyConnection, file: LineFile, sql: LineSql) -> int:
        """Take in what a file has, and refuse another currency or month; return its lines."""
        cost = f"coalesce({sql.amounts['unblended']}, {sql.amounts['net_unblended']})"
        rows = db.execute(
            f"SELECT {sql.line_type}, {sql.currency}, {sql.product_code}, count(*), sum({cost}), min({sql.start}),"  # SQL of our own
            f" max({sql.start}), max(hour({sql.start})), min({sql.period_start}), max({sql.period_start}),"
            f" bool_or({sql.split}) FROM {file.relation} GROUP BY ALL"
        ).fetchall()
        currencies = {row[1] for row in rows if row[1]}
        if currencies - {_CURRENCY}:
            raise LineFileError(
                f"is in {', '.join(sorted(currencies - {_CURRENCY}))}; only {_CURRENCY} is read, and currencies are not summed"
            )
        self._check_period([moment for row in rows for moment in row[8:10] if moment is not None])
        line_types: Counter[str] = Counter()
        costs: Counter[str] = Counter()
        for line_type, _, _, count, units, first, last, hour, _, _, split in rows:
            if first is None:
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
        self._take_product_names(db, file, sql, {row[2] for row in rows if row[2]} - known_codes())
        return sum(line_types.values())

    def _check_period(self, moments: list[datetime]) -> None:
        month = self.settings.month
        for moment in moments:
            if (moment.year, moment.month) != (month.year, month.month):
                raise LineFileError(f"has lines of the billing period {moment:%Y-%m}, expected {month:%Y-%m}")

    def _take_product_names(
        self, db: duckdb.DuckDBPyConnection, file: LineFile, sql: LineSql, codes: set[str]
    ) -> None:
        if not codes or sql.product_name == UNKNOWN:
            return
        rows = db.execute(
            f"SELECT {sql.product_code}, max({sql.product_name}) FROM {file.relation}"  # SQL of our own
            f" WHERE {sql.product_code} IN ({', '.join(map(literal, sorted(codes)))}) GROUP BY ALL"
        ).fetchall()
        for code, name in rows:
            # The same name whatever the order of the files.
            self.product_names[code] = max(self.product_names.get(code, ""), name or "")

    def _named(self, db: duckdb.DuckDBPyConnection, file: LineFile) -> dict[str, str]:
        """SQL of the configured tag keys and cost categories, by column, from the keys that the file has."""
        found = {name: file.keys(db, name) for name in self.format.maps}
        self.keys_seen.update(*found.values())
        sql: dict[str, str] = {}
        for column in self.named:
            keys = Keys(column, self.format.names_of(column))
            values = [
                file.value(name, names)
                for name, candidates in keys.maps
                if (names := present(candidates, found[name]))
            ]
            if values:
                self.columns_seen.add(column)
            sql[column] = f"coalesce({', '.join(values)})" if len(values) > 1 else "".join(values) or UNKNOWN
        return sql

    def _fold_lines(
        self, db: duckdb.DuckDBPyConnection, file: LineFile, sql: LineSql, named: dict[str, str]
    ) -> None:
        keys = {name: getattr(sql, name) for name in KEYS}
        self.columns_seen.update(name for name, expression in keys.items() if expression != UNKNOWN)
        chosen = [f"{self._day(sql)} AS day", f"{sql.account_id} AS account_id"]
        chosen += [f"{expression} AS {identifier(name)}" for name, expression in {**keys, **named}.items()]
        db.execute(
            f"INSERT INTO lines SELECT {', '.join(chosen)}, {_sums(sql)}, sum({sql.usage})"  # SQL of our own
            f" FROM {file.relation} WHERE NOT ({sql.split}) GROUP BY ALL"
        )

    def _day(self, sql: LineSql) -> str:
        """The day of a line; what is charged in this month's bill is cost of this month, whenever its usage began."""
        first, last = self.settings.month, self.settings.last_day
        return f"greatest(least(CAST({sql.start} AS DATE), DATE '{last}'), DATE '{first}')"

    def _fold_hours(self, db: duckdb.DuckDBPyConnection, file: LineFile, sql: LineSql) -> None:
        if self.settings.hours_from is None or self.settings.hours_from > self.settings.last_day:
            return
        keys = ", ".join(f"{getattr(sql, name)} AS {name}" for name in NAMED)
        db.execute(
            f"INSERT INTO hours SELECT date_trunc('hour', {sql.start}) AS hour, {sql.account_id} AS account_id,"  # SQL of our own
            f" {keys}, {_sums(sql)} FROM {file.relation}"
            f" WHERE NOT ({sql.split}) AND {sql.start} >= TIMESTAMP '{self.settings.hours_from}' GROUP BY ALL"
        )

    def _fold_commitments(self, db: duckdb.DuckDBPyConnection, file: LineFile, sql: LineSql) -> None:
        if not any(kind in self.line_types for kind in _kinds(_COVERED + _COMMITTED)):
            return
        amortized = f"coalesce({sql.amounts['amortized']}, {sql.amounts['net_amortized']})"
        covered, committed = f"{sql.line_type} IN {_COVERED}", f"{sql.line_type} IN {_COMMITTED}"
        db.execute(
            f"INSERT INTO commitments SELECT {self._day(sql)} AS day, {sql.account_id} AS account_id, {sql.arn} AS arn,"  # SQL of our own
            f" {sql.line_type} AS line_type, sum(CASE WHEN {covered} THEN {amortized} ELSE 0 END),"
            f" sum(CASE WHEN {committed} THEN {amortized} ELSE 0 END),"
            f" sum(CASE WHEN {covered} THEN {sql.amounts['list_cost']} ELSE 0 END), max({sql.end_time})"
            f" FROM {file.relation} WHERE ({covered} OR {committed}) AND coalesce({sql.arn}, '') <> '' GROUP BY ALL"
        )

    def _fold_split(self, db: duckdb.DuckDBPyConnection, file: LineFile, sql: LineSql) -> None:
        if not self.has_split or not sql.splits:
            return
        keys = ", ".join(f"{sql.splits[name]} AS {name}" for name in _SPLIT_KEYS)
        sums = ", ".join(f"sum({sql.splits[name]})" for name in SPLIT_AMOUNTS)
        db.execute(
            f"INSERT INTO split SELECT {self._day(sql)} AS day, {sql.account_id} AS account_id, {keys}, {sums}"  # SQL of our own
            f" FROM {file.relation} WHERE {sql.split} GROUP BY ALL"
        )


def _sums(sql: LineSql) -> str:
    return ", ".join(f"sum({sql.amounts[name]})" for name in AMOUNTS)


def _list(paths: Iterable[Path]) -> str:
    return f"[{', '.join(literal(str(path)) for path in paths)}]"


def _kinds(sql: str) -> set[str]:
    return set(sql.split("'")[1::2])


def details(value: Any) -> str:
    """One line of what DuckDB says."""
    return " ".join(str(value).split())
