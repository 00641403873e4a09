"""When each month of an export was looked at last, what was there, and why it could not be read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from exporter.core.moments import to_milliseconds, to_moment
from exporter.ledger.file import Ledger


@dataclass(frozen=True, slots=True)
class Look:
    """One month as it was found."""

    month: date
    looked_at: datetime
    version: str | None = None
    """Of the manifest; None if there was none."""
    delivered_at: datetime | None = None
    """When AWS wrote the manifest."""
    failure: str | None = None
    """Why the month is not read as it is there; None if it is."""


def looks(ledger: Ledger) -> dict[date, Look]:
    """The last look at each month."""
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT month, looked_at, version, delivered_at, failure FROM export_looks ORDER BY month"
        ).fetchall()
    return {
        date.fromordinal(month): Look(
            date.fromordinal(month),
            to_moment(looked_at),
            version,
            to_moment(delivered_at) if delivered_at is not None else None,
            failure,
        )
        for month, looked_at, version, delivered_at, failure in rows
    }


def remember_look(ledger: Ledger, look: Look) -> None:
    """Keep the last look at a month."""
    with ledger.transaction() as db:
        db.execute(
            "INSERT OR REPLACE INTO export_looks VALUES (?, ?, ?, ?, ?)",
            (
                look.month.toordinal(),
                to_milliseconds(look.looked_at),
                look.version,
                to_milliseconds(look.delivered_at) if look.delivered_at is not None else None,
                look.failure,
            ),
        )


def forget_looks(ledger: Ledger) -> None:
    """Look at every month again."""
    with ledger.transaction() as db:
        db.execute("DELETE FROM export_looks")
