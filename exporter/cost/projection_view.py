"""The view of our own projection: from the ledger alone, it costs no request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from exporter.core.fields import CollectorSettings
from exporter.core.metric import Sample
from exporter.core.moments import days_between, month_start, start_of_day
from exporter.cost.projection_families import FORECAST_DAILY, MONTH_PROJECTION
from exporter.cost.settings import CostSettings
from exporter.declarations.view import ViewContext
from exporter.expectation import projection
from exporter.ledger.file import Ledger

DAYS_AHEAD = 7
_COMPLETE_AFTER = timedelta(hours=24)  # AWS updates cost at least once a day
_OLDEST_COMPLETE_DAY = 7
_UNITS_PER_USD = 1e10
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Projected:
    """Expected cost in USD: of the current month, and of the days after today; by account id and service."""

    month: dict[tuple[str, str], float]
    coming_of: dict[tuple[str, str], tuple[float, ...]]

    @property
    def coming(self) -> tuple[float, ...]:
        """The days after today, of the whole organization."""
        return tuple(map(sum, zip(*self.coming_of.values(), strict=True)))


def project(ledger: Ledger, now: datetime, cost_type: str) -> Projected | None:
    """What the ledger lets expect; None while it knows too little.

    A day is complete once AWS has told it 24 hours after its end. Today and other incomplete days
    are no input: what they will have cost is expected, and is at least what they have cost already.
    """
    today = now.date()
    first, next_month = month_start(today), month_start(today, -1)
    wanted = projection.input_days(today)
    told = ledger.reads.confirmed_at(wanted[0], today + _DAY)
    days = [day for day in wanted if day in told and told[day] >= start_of_day(day + _DAY) + _COMPLETE_AFTER]
    # A gap in the month would be taken for days without cost.
    if (
        not days
        or (today - days[-1]).days > _OLDEST_COMPLETE_DAY
        or set(days_between(first, today)) - set(told)
    ):
        return None
    incomplete = list(days_between(days[-1] + _DAY, today + _DAY))
    month = list(days_between(first, today + _DAY))

    series = ledger.cost.series()
    read = {
        day: _Day.read(ledger, day, cost_type, max(series, default=0) + 1)
        for day in {*days, *incomplete, *month}
    }
    history = np.stack([read[day].units for day in days], axis=1) / _UNITS_PER_USD
    reported = np.stack([read[day].units for day in incomplete], axis=1) / _UNITS_PER_USD
    ahead = [*incomplete, *days_between(today + _DAY, max(next_month, today + (DAYS_AHEAD + 1) * _DAY))]
    try:
        expected = projection.expect(history, days, reported[:, :-1], ahead)
    except ValueError:
        return None
    open_days = len(incomplete)
    expected[:, :open_days] = projection.complete(reported, expected[:, :open_days])

    # As floats: a month's sum may be more than 64 bits of units hold.
    known = sum(read[day].units / _UNITS_PER_USD for day in month if day not in incomplete)
    rest = [number for number, day in enumerate(ahead) if first <= day < next_month]
    total = known + expected[:, rest].sum(axis=1)
    shown = np.any([read[day].seen for day in month], axis=0) | (total != 0)
    coming = expected[:, open_days : open_days + DAYS_AHEAD].tolist()
    return Projected(
        {series[number]: float(total[number]) for number in np.flatnonzero(shown).tolist()},
        {key: tuple(coming[number]) for number, key in series.items()},
    )


@dataclass(frozen=True, slots=True)
class _Day:
    """One day by the number of the series: units of 1e-10 USD, and whether AWS has told it."""

    units: NDArray[np.int64]
    seen: NDArray[np.bool_]

    @classmethod
    def read(cls, ledger: Ledger, day: date, cost_type: str, size: int) -> _Day:
        """The ledger's day; nothing of it is seen where it has not been read."""
        found = np.array(ledger.cost.day_units(day, cost_type), dtype=np.int64).reshape(-1, 2)
        units, seen = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=bool)
        units[found[:, 0]], seen[found[:, 0]] = found[:, 1], True
        return cls(units, seen)


def render(view: ViewContext[CollectorSettings]) -> Iterable[Sample]:
    """The projection of the month by account and service, and of the organization's coming days."""
    projected = project(view.ledger, view.now, view.sections.of(CostSettings).cost_type)
    if projected is None:
        return
    names = view.ledger.accounts.names()
    for (account_id, service), usd in sorted(projected.month.items()):
        yield MONTH_PROJECTION(
            usd, account_id=account_id, account=view.account(account_id, names), service=service
        )
    for number, usd in enumerate(projected.coming, start=1):
        yield FORECAST_DAILY(usd, days_ahead=str(number))
