"""What requests to AWS were charged: ceilings hold across restarts."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from decimal import Decimal

from exporter.core.moments import to_milliseconds
from exporter.core.money import to_units, to_usd
from exporter.ledger.database import Database


class LedgerCharges:
    """Charges by budget, service and operation; `exporter.aws.meter.Charges` for a `Meter`."""

    def __init__(self, database: Database) -> None:
        """`database` has the table of charges."""
        self._database = database

    def transaction(self) -> AbstractContextManager[object]:
        """See and commit everything inside together."""
        return self._database.transaction()

    def add_charge(self, at: datetime, budget: str, service: str, operation: str, usd: Decimal) -> None:
        """Record one charge; those of usage within a minute become one row.

        A poll of usage is thousands of requests, and each is held against the sum of its month.
        """
        units = to_units(usd)
        when = to_milliseconds(at)
        with self._database.transaction() as db:
            if budget == "usage":
                when -= when % 60_000
                merged = db.execute(
                    "UPDATE charges SET units = units + ?"
                    " WHERE budget = ? AND at = ? AND service = ? AND operation = ?",
                    (units, budget, when, service, operation),
                )
                if merged.rowcount:
                    return
            db.execute(
                "INSERT INTO charges VALUES (?, ?, ?, ?, ?)", (when, budget, service, operation, units)
            )

    def charged_since(self, budget: str, since: datetime | None) -> Decimal:
        """The sum of `budget`'s charges from `since` on (None: all), in USD."""
        with self._database.connection() as db:
            (units,) = db.execute(
                "SELECT COALESCE(SUM(units), 0) FROM charges WHERE budget = ? AND at >= ?",
                (budget, to_milliseconds(since) if since else 0),
            ).fetchone()
        return to_usd(units)
