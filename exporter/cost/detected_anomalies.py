"""What AWS Cost Anomaly Detection found, in tables of the ledger's file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from exporter.core.moments import to_milliseconds, to_moment
from exporter.core.money import to_units, to_usd
from exporter.ledger.file import Ledger


@dataclass(frozen=True, slots=True)
class AnomalyShare:
    """What an anomaly cost an account and service, in USD.

    `account_id` or `service` is empty where AWS does not attribute the cost to a single one.
    """

    anomaly_id: str
    monitor: str
    last_day: date
    account_id: str
    service: str
    usd: Decimal


@dataclass(frozen=True, slots=True)
class LastRead:
    """When AWS was asked for the anomalies that ended within how many days."""

    observed_at: datetime
    days: int


def commit(ledger: Ledger, read: LastRead, shares: Iterable[AnomalyShare]) -> None:
    """Keep what was read, instead of what was read before."""
    rows = [
        (
            share.anomaly_id,
            share.monitor,
            share.last_day.toordinal(),
            share.account_id,
            share.service,
            to_units(share.usd),
        )
        for share in shares
    ]
    with ledger.transaction(), ledger.connection() as db:
        db.execute("DELETE FROM detected_anomalies")
        # What moves from a page to the next meanwhile comes twice.
        db.executemany("INSERT OR REPLACE INTO detected_anomalies VALUES (?, ?, ?, ?, ?, ?)", rows)
        db.execute("DELETE FROM detected_anomaly_reads")
        db.execute(
            "INSERT INTO detected_anomaly_reads VALUES (?, ?)",
            (to_milliseconds(read.observed_at), read.days),
        )


def last_read(ledger: Ledger) -> LastRead | None:
    """The last read; None if there was none."""
    with ledger.connection() as db:
        row = db.execute("SELECT observed_at, days FROM detected_anomaly_reads").fetchone()
    return LastRead(to_moment(row[0]), row[1]) if row else None


def since(ledger: Ledger, first: date) -> list[AnomalyShare]:
    """The shares of anomalies that ended on `first` or later."""
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT id, monitor, last_day, account_id, service, units FROM detected_anomalies"
            " WHERE last_day >= ?",
            (first.toordinal(),),
        ).fetchall()
    return [
        AnomalyShare(anomaly_id, monitor, date.fromordinal(last_day), account_id, service, to_usd(units))
        for anomaly_id, monitor, last_day, account_id, service, units in rows
    ]
