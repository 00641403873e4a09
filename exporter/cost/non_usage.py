"""How well the non-usage charges of a day (tax, support, fees, credits, refunds) are known: they are read once a day."""

from __future__ import annotations

from datetime import date, timedelta

from exporter.core.moments import start_of_day
from exporter.ledger.reads import DayState

_FEES_COME_UNTIL = 3  # tax, support and fees of a month are charged on its first days


def is_split(day: date, state: DayState) -> bool:
    """Whether the ledger shows which part of a day's total is no usage; of today and yesterday, as far as it is charged yet.

    Where fees are due, a total that moved after they were read may hold more of them.
    """
    if state.read_at is None or state.other_read_at is None:
        return False
    return not (day.day <= _FEES_COME_UNTIL and state.other_moved)


def usage_is_known(day: date, state: DayState) -> bool:
    """Whether the cost of a day and its non-usage charges have been read after all of them were due."""
    if state.other_read_at is None or state.other_read_at < start_of_day(day + timedelta(days=1)):
        return False
    return is_split(day, state)
