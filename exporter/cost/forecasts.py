"""What AWS expected of the month's end, in a table of the ledger's file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from exporter.core.moments import to_milliseconds, to_moment
from exporter.core.money import stored_sum, sum_to_units, to_usd
from exporter.ledger.file import Ledger


@dataclass(frozen=True, slots=True)
class Interval:
    """A forecast and the bounds of its prediction interval, in USD."""

    mean: Decimal
    lower: Decimal
    upper: Decimal


@dataclass(frozen=True, slots=True)
class MonthForecast:
    """What AWS expected at `observed_at` of the days from `start` to the end of its month.

    `cost` is None where AWS said that it has too little data.
    """

    observed_at: datetime
    start: date
    cost: Interval | None


def add_forecast(ledger: Ledger, cost_type: str, level: int, forecast: MonthForecast) -> None:
    """Record AWS's forecast of a cost type with prediction intervals of `level` percent."""
    cost = forecast.cost
    amounts = (cost.mean, cost.lower, cost.upper) if cost else ()
    units = tuple(stored_sum(sum_to_units(usd)) for usd in amounts) or (None,) * 3
    with ledger.transaction(), ledger.connection() as db:
        db.execute(
            "INSERT OR REPLACE INTO forecasts VALUES (?, ?, ?, ?, ?, ?, ?)",
            (cost_type, level, to_milliseconds(forecast.observed_at), forecast.start.toordinal(), *units),
        )


def newest_forecast(ledger: Ledger, cost_type: str, level: int) -> MonthForecast | None:
    """The last recorded forecast."""
    with ledger.connection() as db:
        row = db.execute(
            "SELECT observed_at, start, mean, lower, upper FROM forecasts"
            " WHERE cost_type = ? AND level = ? ORDER BY observed_at DESC LIMIT 1",
            (cost_type, level),
        ).fetchone()
    if row is None:
        return None
    observed_at, start, *units = row
    cost = None if units[0] is None else Interval(*map(to_usd, units))
    return MonthForecast(to_moment(observed_at), date.fromordinal(start), cost)
