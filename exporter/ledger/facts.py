"""Small numbers that must survive a restart."""

from __future__ import annotations

from exporter.ledger.database import Database


class Facts:
    """Numbers by name, e.g. the learned page size."""

    def __init__(self, database: Database) -> None:
        """`database` has the table of facts."""
        self._database = database

    def get(self, name: str) -> int | None:
        """A remembered number, e.g. the learned page size."""
        with self._database.connection() as db:
            row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else None

    def of(self, prefix: str) -> dict[str, int]:
        """The numbers whose names begin with `prefix`, by the rest of their names."""
        with self._database.connection() as db:
            rows = db.execute(
                "SELECT SUBSTR(name, LENGTH(?) + 1), value FROM facts WHERE SUBSTR(name, 1, LENGTH(?)) = ?",
                (prefix, prefix, prefix),
            ).fetchall()
        return dict(rows)

    def remember(self, name: str, value: int) -> None:
        """Remember a number."""
        with self._database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
