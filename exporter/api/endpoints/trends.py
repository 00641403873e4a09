"""How cost moves: daily cost of a range, its mean and direction, and what is expected."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from pydantic import Field

from exporter.api.source import Endpoint, Source
from exporter.collectors.cost import COLLECTOR as COST
from exporter.core.fields import StrictModel
from exporter.core.money import to_usd, usd_text
from exporter.cost.projection_view import project
from exporter.cost.refresh_plan import refreshed_at

_DAY = timedelta(days=1)
_WEEK = 7
_FLAT = 0.02  # a change of less than this share from week to week is no direction


class Query(StrictModel):
    """Which days, and of what."""

    days: int = Field(
        default=30, ge=2, le=450, description="UTC days up to yesterday, of which the newest may be partial."
    )
    account_id: str | None = Field(default=None, description="Only this account.")
    service: str | None = Field(default=None, description="Only this service, e.g. ec2.")


def answer(source: Source, query: Query) -> dict[str, Any]:
    """Daily cost (None where a day has not been read), total (None if none has), mean, deviation, direction, forecast.

    Dollars as text. A day after `complete_through` is not read or partial: it is in `days` and their total, but in no
    mean. `change_ratio` is of the seven days to `complete_through` against the seven before. `direction` is
    `rising`, `falling`, `flat`, or None where a day of the two weeks is missing.
    """
    ledger = source.ledger
    cost_type = source.config.settings(COST).cost_type
    today = source.now.date()
    wanted = source.service(query.service)
    series = {
        number
        for number, (account_id, service) in ledger.cost.series().items()
        if query.account_id in (None, account_id) and wanted in (None, service)
    }
    complete = ledger.cost.complete_day(source.now) or today - 2 * _DAY
    first = min(today - (query.days + _WEEK - 1) * _DAY, complete - (2 * _WEEK - 1) * _DAY)
    states = ledger.reads.day_states(first, today)
    found: dict[date, Decimal | None] = {}
    for offset in range((today - first).days):
        day = first + timedelta(days=offset)
        state = states.get(day)
        found[day] = (
            to_usd(sum(units for number, units in ledger.cost.day_units(day, cost_type) if number in series))
            if state is not None and state.read_at is not None
            else None
        )
    shown = list(found.items())[-query.days :]
    known = [usd for _, usd in shown if usd is not None]
    whole = [usd for day, usd in shown if usd is not None and day <= complete]
    change = _change([usd for day, usd in found.items() if day <= complete])
    read_at = refreshed_at(ledger, source.now)
    return {
        "cost_type": cost_type,
        "read_at": read_at.isoformat() if read_at else None,
        "complete_through": complete.isoformat(),
        "days": [
            {
                "day": day.isoformat(),
                "usd": usd_text(usd) if usd is not None else None,
                "average_7d_usd": _average(found, day) if day <= complete else None,
            }
            for day, usd in shown
        ],
        "total_usd": usd_text(sum(known, Decimal(0))) if known else None,
        "missing_days": [day.isoformat() for day, usd in shown if usd is None],
        "mean_usd": f"{statistics.fmean(whole):.2f}" if whole else None,
        "deviation_usd": f"{statistics.pstdev(map(float, whole)):.2f}" if len(whole) > 1 else None,
        "change_ratio": round(change, 4) if change is not None else None,
        "direction": _direction(change),
        "forecast": _forecast(source, query.account_id, wanted, cost_type),
    }


def _change(values: Sequence[Decimal | None]) -> float | None:
    weeks = values[-2 * _WEEK :]
    if None in weeks:
        return None
    before, after = (float(sum(filter(None, week))) for week in (weeks[:_WEEK], weeks[_WEEK:]))
    return (after - before) / abs(before) if before else None


def _direction(change: float | None) -> str | None:
    if change is None:
        return None
    return "flat" if abs(change) < _FLAT else "rising" if change > 0 else "falling"


def _average(found: dict[date, Decimal | None], day: date) -> str | None:
    """The mean of the seven days up to `day`; None where one of them is not known."""
    week = [found.get(day - timedelta(days=back)) for back in range(_WEEK)]
    known = [usd for usd in week if usd is not None]
    return f"{sum(known) / _WEEK:.2f}" if len(known) == _WEEK else None


def _forecast(
    source: Source, account_id: str | None, service: str | None, cost_type: str
) -> dict[str, Any] | None:
    projected = project(source.ledger, source.now, cost_type)
    if projected is None:
        return None
    chosen = [
        key for key in projected.coming_of if account_id in (None, key[0]) and service in (None, key[1])
    ]
    today = source.now.date()
    coming = [sum(values) for values in zip(*(projected.coming_of[key] for key in chosen), strict=True)]
    return {
        "month_usd": f"{sum(projected.month.get(key, 0.0) for key in chosen):.2f}",
        "days": [
            {"day": (today + timedelta(days=ahead)).isoformat(), "usd": f"{usd:.2f}"}
            for ahead, usd in enumerate(coming, start=1)
        ],
    }


ENDPOINT = Endpoint(
    name="trends", help="Daily cost, its direction and what is expected", query=Query, answer=answer
)
