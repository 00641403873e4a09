"""The way back: the months of an export become Cost Explorer's again."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from exporter.core.moments import month_start
from exporter.cost.refresh_plan import CostPart
from exporter.cube.months import CubeMonths
from exporter.exports.delivery.looks import forget_looks
from exporter.exports.sums.tables import MonthSums, replace_month
from exporter.ledger.file import Ledger
from exporter.ledger.pending import Origin, PendingRead


def give_up_export(ledger: Ledger, now: datetime) -> tuple[date, ...]:
    """Have Cost Explorer read each month that an export is the source of, newest first; returns these months.

    Their cost is served until it is read again, day by day. Their lines are given up.
    """
    months = CubeMonths(ledger)
    found = tuple(
        month for month, held in sorted(months.all().items(), reverse=True) if held.source == "data_export"
    )
    if not found:
        return ()
    tomorrow = now.date() + timedelta(days=1)
    with ledger.transaction():
        for month in found:
            end = min(month_start(month, -1), tomorrow)
            parts = (CostPart.REREAD, CostPart.OTHER)
            ledger.pending.add(Origin.MONTHS, [PendingRead(part, month, end, now) for part in parts])
            months.forget(month)
            replace_month(ledger, month, MonthSums())
        forget_looks(ledger)
    months.remove_superseded()
    return found
