"""One file of an export: its columns, and how DuckDB reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.exports.line_columns import LineColumns, identifier, literal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LONGEST_LINE = (
    2**20
)  # bytes; DuckDB takes sixteen times as much memory, and a line with every tag is a few kB


class LineFileError(Exception):
    """A file that is not what the export should be; the message says what it is or lacks."""


@dataclass(frozen=True, slots=True)
class LineFile(LineColumns):
    """A Parquet file of lines."""

    path: Path

    @property
    def relation(self) -> str:
        """SQL that reads the file."""
        return f"read_parquet({literal(str(self.path))}, hive_partitioning = false)"

    def at_key(self, column: str, key: str) -> str:
        """SQL of the value that a map has under `key`; NULL if it has none."""
        return f"{column}[{key}]"

    def keys(self, db: DuckDBPyConnection, name: str) -> frozenset[str]:
        """The keys that a column with a map has anywhere in the file."""
        if name not in self.columns:
            return frozenset()
        rows = db.execute(
            f"SELECT DISTINCT key FROM (SELECT unnest(map_keys({identifier(name)})) AS key FROM {self.relation})"
        ).fetchall()
        return frozenset(key for (key,) in rows)


def open_lines(
    db: DuckDBPyConnection, path: Path, name: str, folder: Path, needed: Mapping[str, str]
) -> LineFile:
    """The file at `path`, by the suffix of its `name`: Parquet as it is, CSV converted to a Parquet file in `folder`.

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
        return LineFile(columns, path)
    copy = folder / "lines_of_csv.parquet"
    db.execute(
        f"COPY (SELECT {', '.join(chosen)} FROM {source}) TO {literal(str(copy))} (FORMAT parquet, COMPRESSION lz4)"
    )
    return _parquet(db, copy)


def _parquet(db: DuckDBPyConnection, path: Path) -> LineFile:
    file = LineFile({}, path)
    return LineFile(_columns(db, f"SELECT * FROM {file.relation}"), path)


def _from_text(column: str, kind: str) -> str:
    if kind == "MAP":  # JSON text
        return f"CAST(CAST({identifier(column)} AS JSON) AS MAP(VARCHAR, VARCHAR))"
    return f"CAST({identifier(column)} AS {kind})"


def _columns(db: DuckDBPyConnection, query: str) -> dict[str, str]:
    rows = db.execute(f"DESCRIBE {query}").fetchall()
    return {name.lower(): str(kind) for name, kind, *_ in rows}
