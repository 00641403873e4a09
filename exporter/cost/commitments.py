"""What AWS said of Savings Plans and reservations, in a table of the ledger's file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from exporter.core.moments import to_milliseconds, to_moment
from exporter.core.money import stored_sum, sum_to_units, to_usd
from exporter.ledger.file import Ledger


@dataclass(frozen=True, slots=True)
class Commitment:
    """One kind of commitment, of one service where it has one, over `days` days from `start` on.

    `utilization` and `coverage` are ratios, the others USD. All are None where AWS has no such commitment,
    the last two also where it tells nothing of coverage.
    """

    kind: str
    service: str
    days: int
    start: date
    observed_at: datetime
    utilization: Decimal | None = None
    used: Decimal | None = None
    unused: Decimal | None = None
    coverage: Decimal | None = None
    on_demand: Decimal | None = None

    @property
    def end(self) -> date:
        """The day after the last one."""
        return self.start + timedelta(days=self.days)


def keep(ledger: Ledger, told: Commitment) -> None:
    """Replace what was known of the same kind, service and number of days."""
    numbers = (told.utilization, told.used, told.unused, told.coverage, told.on_demand)
    with ledger.transaction(), ledger.connection() as db:
        db.execute(
            "INSERT OR REPLACE INTO commitments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                told.kind,
                told.service,
                told.days,
                told.start.toordinal(),
                to_milliseconds(told.observed_at),
                *(None if number is None else stored_sum(sum_to_units(number)) for number in numbers),
            ),
        )


def last_told(ledger: Ledger, kind: str, service: str, days: int) -> Commitment | None:
    """What AWS said last; None if it was never asked."""
    with ledger.connection() as db:
        row = db.execute(
            "SELECT start, observed_at, utilization, used, unused, coverage, on_demand FROM commitments"
            " WHERE kind = ? AND service = ? AND days = ?",
            (kind, service, days),
        ).fetchone()
    if row is None:
        return None
    start, observed_at, *units = row
    numbers = (None if number is None else to_usd(number) for number in units)
    return Commitment(kind, service, days, date.fromordinal(start), to_moment(observed_at), *numbers)
