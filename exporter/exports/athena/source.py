"""The lines of one month in a table of Athena, restricted to the files that the manifest names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from exporter.exports.account_names import COLUMNS as NAME_COLUMNS
from exporter.exports.fold_settings import Table
from exporter.exports.line_columns import LineColumns, identifier, literal

PARTITION = "billing_period"
PATH = "$path"
ACCOUNT = "$account"
"""Of rows of `found_query` that have an account's name; others have a file's path, or a key of the map so called."""


@dataclass(frozen=True, slots=True)
class AthenaLines(LineColumns):
    """A table's lines; a folder may hold files that no manifest names, which `condition` leaves out."""

    table: str
    """SQL of its name."""
    condition: str

    @property
    def relation(self) -> str:
        """SQL that reads the lines."""
        return f"(SELECT * FROM {self.table} WHERE {self.condition})"

    def at_key(self, column: str, key: str) -> str:
        """SQL of the value that a map has under `key`; NULL if it has none, where `map[key]` would fail."""
        return f"element_at({column}, {key})"


def table_name(database: str, table: str) -> str:
    """SQL of a table."""
    return f"{identifier(database)}.{identifier(table)}"


def of_files(month: date, paths: Sequence[str]) -> str:
    """SQL of the condition for some files of a month: the partition too, or every folder would be listed."""
    listed = ", ".join(map(literal, paths))
    return f"{PARTITION} = '{month:%Y-%m}' AND {identifier(PATH)} IN ({listed})"


def columns_query(table: str, month: date) -> str:
    """A query that reads nothing; its result has the columns."""
    return f"SELECT * FROM {table} WHERE {of_files(month, [''])} LIMIT 0"


def found_query(lines: AthenaLines, kind: Table, maps: Collection[str]) -> str:
    """Which files, keys of maps, and names of accounts are there: rows of kind, found, name and lines."""
    parts = [
        f"SELECT '{PATH}' AS kind, {identifier(PATH)} AS found, '' AS name, count(*) AS lines FROM {lines.table}"
        f" WHERE {lines.condition} GROUP BY 1, 2"
    ]
    parts += [
        f"SELECT {literal(name)}, key_of_map, '', count(*) FROM {lines.relation} AS lines_of_month"
        f" CROSS JOIN UNNEST(map_keys({identifier(name)})) AS keys_of_map (key_of_map) GROUP BY 1, 2"
        for name in sorted(maps)
        if lines.has(name)
    ]
    account, name, start = (column.lower() for column in NAME_COLUMNS[kind])
    if lines.has(account, name, start):
        parts.append(
            f"SELECT '{ACCOUNT}', {account}, max_by({name}, {start}), count(*) FROM {lines.relation}"
            f" WHERE {name} <> '' AND {account} <> '' GROUP BY 1, 2"
        )
    return " UNION ALL ".join(parts)


def missing_types(columns: Mapping[str, str], needed: Mapping[str, str]) -> str | None:
    """Why a table's columns cannot be summed; None if they can. A table over CSV has text only."""
    texts = [
        name for name, kind in needed.items() if columns.get(name) == "VARCHAR" and kind not in ("VARCHAR",)
    ]
    if not texts:
        return None
    return (
        f"has text in {', '.join(sorted(texts)[:3])}, expected numbers, times and maps: let the export be Parquet,"
        " and the table have the types of AWS's documentation"
    )
