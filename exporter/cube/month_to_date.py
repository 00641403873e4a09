"""The current month by a dimension beside the account, as the sum of its days."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from exporter.core.moments import days_between, month_start
from exporter.cube import values
from exporter.cube.dimensions import Dimension
from exporter.ledger.file import Ledger

_DAY = timedelta(days=1)


def read_at(ledger: Ledger, dimension: Dimension, today: date) -> datetime | None:
    """When the newest day was read; None while a day of the month before today is unread, or all of them are."""
    month = month_start(today)
    states = values.states(ledger, dimension, "account", month, today + _DAY)
    if not states or not set(days_between(month, today)) <= states.keys():
        return None
    return max(state.read_at for state in states.values())


def costs(ledger: Ledger, dimension: Dimension, today: date, cost_type: str) -> dict[tuple[str, str], int]:
    """Units of 1e-10 USD by account id and value; what the source does not report is left out."""
    sums = values.sums(ledger, dimension, "account", month_start(today), today + _DAY, cost_type)
    return {(account_id, value): units for (_, account_id, value), units in sums.items() if units is not None}
