"""The names of linked accounts and their organizational units, each from a day on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from exporter.ledger.database import Database


class AccountHistory:
    """What accounts were called, and where they stood."""

    def __init__(self, database: Database) -> None:
        """`database` has the tables of accounts."""
        self._database = database

    def name(self, names: Mapping[str, str], day: date) -> None:
        """Record the accounts' names in force from `day` on; an unchanged name keeps its date."""
        self._date_values("account_names", names, day)

    def names(self, on: date | None = None) -> dict[str, str]:
        """Names in force on a day (the newest by default); the first known one before it was known."""
        return self._dated_values("account_names", on)

    def place(self, ous: Mapping[str, str], day: date) -> None:
        """Record the paths of the accounts' organisational units from `day` on."""
        self._date_values("account_ous", ous, day)

    def ous(self, on: date | None = None) -> dict[str, str]:
        """OU paths in force on a day (the newest by default); the first known one before it was known."""
        return self._dated_values("account_ous", on)

    def _date_values(self, table: str, values: Mapping[str, str], day: date) -> None:
        with self._database.transaction() as db:
            current = self._dated_values(table, None)
            for account_id, value in values.items():
                if value and current.get(account_id) != value:
                    db.execute(
                        f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)",  # noqa: S608 # a known table
                        (account_id, day.toordinal(), value),
                    )

    def _dated_values(self, table: str, on: date | None) -> dict[str, str]:
        with self._database.connection() as db:
            rows = db.execute(
                f"SELECT * FROM {table} ORDER BY account_id, since"  # noqa: S608
            ).fetchall()
        values: dict[str, str] = {}
        for account_id, since, value in rows:
            if account_id not in values or on is None or since <= on.toordinal():
                values[account_id] = value
        return values
