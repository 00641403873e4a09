"""SQLite connections that report a damaged file as sqlite3.Error, whichever bytes are damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any


class _Connection(sqlite3.Connection):
    """The text of an error names what is damaged: where that is no text, sqlite3 raises UnicodeDecodeError instead."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        """As sqlite3's own."""
        try:
            return super().execute(*arguments)
        except UnicodeDecodeError as error:
            raise _damaged(error) from None

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        """As sqlite3's own."""
        try:
            return super().executemany(*arguments)
        except UnicodeDecodeError as error:
            raise _damaged(error) from None


def _damaged(error: UnicodeDecodeError) -> sqlite3.DatabaseError:
    damaged = sqlite3.DatabaseError(error.object.decode("utf-8", "replace")[:300])
    damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return damaged


def connect(database: Path | str, **options: Any) -> sqlite3.Connection:
    """As sqlite3.connect, with the same options."""
    return sqlite3.connect(database, factory=_Connection, **options)
