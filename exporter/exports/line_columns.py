"""The columns of an export's lines, and SQL over them that is right whether or not a column is there.

The SQL here runs in DuckDB and in Athena; where they differ, a subclass overrides it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_UNITS_PER_USD = 10**10
UNKNOWN = "CAST(NULL AS VARCHAR)"
"""SQL of a column of text that is not there."""


@dataclass(frozen=True, slots=True)
class LineColumns(ABC):
    """What lines have; `columns` has the type of each column by its name in lower case, in DuckDB's words."""

    columns: Mapping[str, str]

    @property
    @abstractmethod
    def relation(self) -> str:
        """SQL that reads the lines."""

    @abstractmethod
    def at_key(self, column: str, key: str) -> str:
        """SQL of the value that a map has under `key` (SQL of a text); NULL if it has none."""

    def has(self, *names: str) -> bool:
        """Whether all of these columns are there."""
        return all(name in self.columns for name in names)

    def text(self, name: str) -> str:
        """SQL of a column of text; NULL where it is not there."""
        if name not in self.columns:
            return UNKNOWN
        return identifier(name) if self.columns[name] == "VARCHAR" else f"CAST({identifier(name)} AS VARCHAR)"

    def moment(self, name: str) -> str:
        """SQL of a column with a moment, as TIMESTAMP in UTC."""
        if self.columns.get(name) == "TIMESTAMP":
            return identifier(name)
        return f"CAST({identifier(name)} AS TIMESTAMP)" if self.has(name) else "CAST(NULL AS TIMESTAMP)"

    def units(self, name: str) -> str:
        """SQL of a column with USD, in units of 1e-10 USD (BIGINT); NULL where it is not there.

        Each line is rounded before anything is summed: sums of floats differ from run to run.
        """
        if name not in self.columns:
            return "CAST(NULL AS BIGINT)"
        column = identifier(name)
        if self.columns[name].startswith("DECIMAL"):
            return (
                f"CAST(CAST({column} AS DECIMAL(27,10)) * CAST({_UNITS_PER_USD} AS DECIMAL(11,0)) AS BIGINT)"
            )
        return whole(f"CAST({column} AS DOUBLE) * {_UNITS_PER_USD}")

    def number(self, name: str) -> str:
        """SQL of a column with a quantity, as a decimal; NULL where it is not there."""
        return (
            f"CAST({identifier(name)} AS DECIMAL(30,8))" if self.has(name) else "CAST(NULL AS DECIMAL(30,8))"
        )

    def value(self, name: str, keys: Collection[str]) -> str:
        """SQL of the first value that a column with a map has under one of `keys`; NULL if there is none."""
        if not keys or name not in self.columns:
            return UNKNOWN
        found = [f"nullif({self.at_key(identifier(name), literal(key))}, '')" for key in keys]
        return found[0] if len(found) == 1 else f"coalesce({', '.join(found)})"


def identifier(name: str) -> str:
    """A quoted name of SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted text of SQL."""
    return "'" + text.replace("'", "''") + "'"


def whole(expression: str) -> str:
    """SQL of a number as BIGINT; halves away from zero, which a cast alone does in Athena only."""
    return f"CAST(round({expression}) AS BIGINT)"
