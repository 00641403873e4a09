"""What a query reads: the files of a table, as the Glue catalog has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PATH = "$path"


@dataclass(frozen=True, slots=True)
class TableFile:
    """One data file on disk (Parquet, or CSV with a header, gzipped or not), and the values of its partition columns.

    `location` is what the hidden column `$path` has: the file's address in S3.
    """

    path: Path
    partition: Mapping[str, str] = field(default_factory=dict)
    location: str = ""

    @property
    def values(self) -> tuple[tuple[str, str], ...]:
        """What is equal in all lines of the file, as something to compare: its partition, names in lower case, and path."""
        return (
            *sorted((name.lower(), value) for name, value in self.partition.items()),
            (PATH, self.location),
        )


@dataclass(frozen=True, slots=True)
class Table:
    """The files of a table. `columns` are Athena's types by name, as in Glue; empty: those that the files have."""

    files: Sequence[TableFile]
    columns: Mapping[str, str] = field(default_factory=dict)


Tables = Callable[[str, str], Table]
"""The table of a database, by both names in lower case; KeyError where there is none."""


class MalformedQueryError(Exception):
    """The query is refused before it is run."""


class QueryFailedError(Exception):
    """The query failed; the text is Athena's reason. `error_type` is AWS's number, None where it is not known."""

    def __init__(self, reason: str, error_type: int | None = None) -> None:
        super().__init__(reason)
        self.error_type = error_type
