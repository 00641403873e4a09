"""A month that Athena sums: what to ask, and its answers into the tables of the fold; in the process of the fold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from exporter.exports.athena.source import ACCOUNT, PATH, AthenaLines, found_query, missing_types
from exporter.exports.line_columns import literal
from exporter.exports.line_file import LineFileError
from exporter.exports.line_sql import LineSql
from exporter.exports.month_queries import MonthQueries, largest, rank_cost
from exporter.exports.month_tables import MonthTables, link

_LOOK = (
    "line_type VARCHAR, currency VARCHAR, product_code VARCHAR, lines BIGINT, dated BIGINT, cost BIGINT,"
    " first_start TIMESTAMP, last_start TIMESTAMP, last_hour BIGINT, first_period TIMESTAMP, last_period TIMESTAMP,"
    " is_split BOOLEAN, product_name VARCHAR"
)
_FOUND = "kind VARCHAR, found VARCHAR, name VARCHAR, lines BIGINT"
_TABLES = ("look", "found", "lines", "hours", "commitments", "split")


class QueriedMonth:
    """Asks in two steps: what is there, then its sums. LineFileError where it is not what the export should be."""

    def __init__(self, tables: MonthTables) -> None:
        """Nothing is asked yet."""
        self._tables = tables
        self._files: Mapping[str, str] = {}
        self._source: AthenaLines | None = None
        self._sql: LineSql | None = None

    def begin(
        self, columns: Mapping[str, str], table: str, condition: str, files: Mapping[str, str]
    ) -> dict[str, str]:
        """The queries for what is there, by the table that takes their rows; `files` are names by path."""
        tables = self._tables
        source = AthenaLines(columns, table, condition)
        tables.check_columns(source)
        if (reason := missing_types(columns, tables.format.needed)) is not None:
            raise LineFileError(reason)
        self._files, self._source, self._sql = files, source, tables.format.sql(source)
        tables.db.execute(f"CREATE TABLE look ({_LOOK})")
        tables.db.execute(f"CREATE TABLE found ({_FOUND})")
        return {
            "look": MonthQueries(tables.settings, source, self._sql).look(names=True),
            "found": found_query(source, tables.settings.table, self._maps()),
        }

    def _maps(self) -> set[str]:
        return {name for column in self._tables.named for name, _ in self._tables.format.names_of(column)}

    def take(self, table: str, path: Path) -> None:
        """Take in one file of a query's answer."""
        assert table in _TABLES
        tables = self._tables
        inside = tables.folder / "answer.parquet"
        link(path, inside)
        try:
            tables.db.execute(f"INSERT INTO {table} SELECT * FROM read_parquet({literal(str(inside))})")
        finally:
            inside.unlink()

    def look(self) -> tuple[dict[str, str], dict[str, str]]:
        """The queries for sums, by the table that takes their rows, of what was found; and names by account."""
        tables, source, sql = self._tables, self._source, self._sql
        assert source is not None
        assert sql is not None
        found = tables.db.execute("SELECT kind, found, name, lines FROM found").fetchall()
        self._take_files({path: lines for kind, path, _, lines in found if kind == PATH})
        rows = tables.db.execute("SELECT * FROM look").fetchall()
        if tables.take_look(source, rows) != sum(tables.files.values()):
            raise LineFileError("changed while it was read")
        tables.take_product_names((row[2], row[12]) for row in rows)
        keys = {name: {key for kind, key, *_ in found if kind == name} for name in self._maps()}
        # Any engine must be able to write the name of a column.
        named = {
            f"named_{place}": expression
            for place, expression in enumerate(tables.take_keys(source, keys).values())
        }
        queries = tables.queries(MonthQueries(tables.settings, source, sql), named)
        cost = rank_cost(tables.unavailable)
        queries["lines"] = largest(queries["lines"], tuple(named), cost, tables.settings.resources)
        tables.is_ranked = True
        names = {str(account): str(name) for kind, account, name, _ in found if kind == ACCOUNT}
        return queries, names

    def _take_files(self, lines: Mapping[str, int]) -> None:
        missing = [name for path, name in self._files.items() if path not in lines]
        if missing:
            raise LineFileError(
                f"has no lines of {len(missing)} of the {len(self._files)} files that the manifest names, such as"
                f" {missing[0]}: see its LOCATION and its partitions by billing_period"
            )
        self._tables.files.update({self._files[path]: count for path, count in lines.items()})
