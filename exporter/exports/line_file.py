"""One file of an export: its columns, and SQL over them that is right whether or not a column is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_UNITS_PER_USD = 10**10
UNKNOWN = "CAST(NULL AS VARCHAR)"
"""SQL of a column of text that a file does not have."""
_LONGEST_LINE = (
    2**20
)  # bytes; DuckDB takes sixteen times as much memory, and a line with every tag is a few kB


class LineFileError(Exception):
    """A file that is not what the export should be; the message says what it is or lacks."""


@dataclass(frozen=True, slots=True)
class LineFile:
    """A Parquet file of lines; `columns` has the DuckDB type of each column by its name in lower case."""

    path: Path
    columns: Mapping[str, str]

    @property
    def relation(self) -> str:
        """SQL that reads the file."""
        return f"read_parquet({literal(str(self.path))}, hive_partitioning = false)"

    def has(self, *names: str) -> bool:
        """Whether it has all of these columns."""
        return all(name in self.columns for name in names)

    def text(self, name: str) -> str:
        """SQL of a column of text; NULL where the file does not have it."""
        if name not in self.columns:
            return UNKNOWN
        return identifier(name) if self.columns[name] == "VARCHAR" else f"CAST({identifier(name)} AS VARCHAR)"

    def moment(self, name: str) -> str:
        """SQL of a column with a moment, as TIMESTAMP in UTC."""
        if self.columns.get(name) == "TIMESTAMP":
            return identifier(name)
        return f"CAST({identifier(name)} AS TIMESTAMP)" if self.has(name) else "CAST(NULL AS TIMESTAMP)"

    def units(self, name: str) -> str:
        """SQL of a column with USD, in units of 1e-10 USD (BIGINT); NULL where the file does not have it.

        Each line is rounded before anything is summed: sums of floats differ from run to run.
        """
        if name not in self.columns:
            return "CAST(NULL AS BIGINT)"
        column = identifier(name)
        if self.columns[name].startswith("DECIMAL"):
            return (
                f"CAST(CAST({column} AS DECIMAL(27,10)) * CAST({_UNITS_PER_USD} AS DECIMAL(11,0)) AS BIGINT)"
            )
        return f"CAST(CAST({column} AS DOUBLE) * {_UNITS_PER_USD} AS BIGINT)"

    def number(self, name: str) -> str:
        """SQL of a column with a quantity, as a decimal; NULL where the file does not have it."""
        return (
            f"CAST({identifier(name)} AS DECIMAL(30,8))" if self.has(name) else "CAST(NULL AS DECIMAL(30,8))"
        )

    def value(self, name: str, keys: Collection[str]) -> str:
        """SQL of the first value that a column with a map has under one of `keys`; NULL if there is none."""
        if not keys or name not in self.columns:
            return UNKNOWN
        found = [f"nullif({identifier(name)}[{literal(key)}], '')" for key in keys]
        return found[0] if len(found) == 1 else f"coalesce({', '.join(found)})"

    def keys(self, db: DuckDBPyConnection, name: str) -> frozenset[str]:
        """The keys that a column with a map has anywhere in the file."""
        if name not in self.columns:
            return frozenset()
        rows = db.execute(
            f"SELECT DISTINCT key FROM (SELECT unnest(map_keys({identifier(name)})) AS key FROM {self.relation})"
        ).fetchall()
        return frozenset(key for (key,) in rows)


def identifier(name: str) -> str:
    """A quoted name of SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted text of SQL."""
    return "'" + text.replace("'", "''") + "'"


def open_lines(
    db: DuckDBPyConnection, path: Path, name: str, folder: Path, needed: Mapping[str, str]
) -> LineFile:
    """The file at `path`, by what its `name` ends with: Parquet as it is, CSV as a Parquet file in `folder`.

    `needed` are the columns that may be read, with the type that a CSV's text gets. Raise LineFileError for another
    format; DuckDB's errors mean that the file is damaged.
    """
    lower = name.lower()
    if lower.endswith(".parquet"):
        return _parquet(db, path)
    if not lower.endswith((".csv", ".csv.gz")):
        raise LineFileError("is neither Parquet nor CSV; set the export to Parquet, or to CSV with GZIP")
    compression = "gzip" if lower.endswith(".gz") else "none"
    source = (
        f"read_csv({literal(str(path))}, header = true, all_varchar = true, nullstr = '', delim = ',', quote = '\"', "
        f"escape = '\"', hive_partitioning = false, compression = {literal(compression)}, max_line_size = {_LONGEST_LINE}, parallel = false)"
    )
    columns = _columns(db, f"SELECT * FROM {source}")
    chosen = [
        f"{_from_text(column, needed[column])} AS {identifier(column)}"
        for column in columns
        if column in needed
    ]
    if not chosen:
        return LineFile(path, columns)
    copy = folder / "lines_of_csv.parquet"
    db.execute(
        f"COPY (SELECT {', '.join(chosen)} FROM {source}) TO {literal(str(copy))} (FORMAT parquet, COMPRESSION lz4)"
    )
    return _parquet(db, copy)


def _parquet(db: DuckDBPyConnection, path: Path) -> LineFile:
    file = LineFile(path, {})
    return LineFile(path, _columns(db, f"SELECT * FROM {file.relation}"))


def _from_text(column: str, kind: str) -> str:
    if kind == "MAP":  # JSON text
        return f"CAST(CAST({identifier(column)} AS JSON) AS MAP(VARCHAR, VARCHAR))"
    return f"CAST({identifier(column)} AS {kind})"


def _columns(db: DuckDBPyConnection, query: str) -> dict[str, str]:
    rows = db.execute(f"DESCRIBE {query}").fetchall()
    return {name.lower(): str(kind) for name, kind, *_ in rows}
