"""Cost of a month by one more key than account and service, in tables of the ledger's file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from exporter.core.amounts import AMOUNTS, Amounts
from exporter.core.moments import to_milliseconds, to_moment
from exporter.core.money import stored_sum, sum_to_units
from exporter.ledger.file import Ledger

Costs = Mapping[tuple[str, str], Amounts]
"""By account id and value of the key."""


def commit(ledger: Ledger, month: date, key: str, observed_at: datetime, costs: Costs) -> None:
    """Replace what is held of a month (its first day) by `key`."""
    marks = ", ".join("?" * (4 + len(AMOUNTS)))
    rows = [
        (month.toordinal(), key, account_id, value, *(stored_sum(sum_to_units(usd)) for usd in amounts))
        for (account_id, value), amounts in costs.items()
    ]
    with ledger.transaction(), ledger.connection() as db:
        db.execute("DELETE FROM breakdowns WHERE month = ? AND key = ?", (month.toordinal(), key))
        db.executemany(f"INSERT INTO breakdowns VALUES ({marks})", rows)  # noqa: S608 # question marks
        db.execute(
            "INSERT OR REPLACE INTO breakdown_reads VALUES (?, ?, ?)",
            (month.toordinal(), key, to_milliseconds(observed_at)),
        )


def read_at(ledger: Ledger, month: date, key: str) -> datetime | None:
    """When AWS was read for a month by `key`; None if it never was."""
    with ledger.connection() as db:
        row = db.execute(
            "SELECT observed_at FROM breakdown_reads WHERE month = ? AND key = ?", (month.toordinal(), key)
        ).fetchone()
    return to_moment(row[0]) if row else None


def costs(ledger: Ledger, month: date, key: str, cost_type: str) -> dict[tuple[str, str], int]:
    """Units of 1e-10 USD by account id and value."""
    if cost_type not in AMOUNTS:
        raise ValueError(f"{cost_type} is not a cost type")
    with ledger.connection() as db:
        rows = db.execute(
            f"SELECT account_id, value, {cost_type} FROM breakdowns WHERE month = ? AND key = ?",  # noqa: S608 # a known column
            (month.toordinal(), key),
        ).fetchall()
    return {(account_id, value): int(units) for account_id, value, units in rows}
