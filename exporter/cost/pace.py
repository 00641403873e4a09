"""Whether the ceilings of cost leave room for what may wait."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from exporter.aws.meter import Meter
from exporter.core.moments import month_start, start_of_day
from exporter.cost import older_months


def leaves_enough(meter: Meter, needed_usd: Decimal, now: datetime) -> bool:
    """Whether the ceilings of cost leave what must not wait its part of this day and month.

    `needed_usd` is what that needs in a month. Old days may wait for a cheaper day: today's cost may not.
    """
    today = now.date()
    ends = {"day": today + timedelta(days=1), "month": month_start(today, -1)}
    for (budget, period), left in meter.remaining().items():
        if budget == "cost" and period in ends:
            part_of_a_month = (start_of_day(ends[period]) - now) / timedelta(days=30)
            if left < needed_usd * older_months.KEPT_FREE * Decimal(part_of_a_month):
                return False
    return True
