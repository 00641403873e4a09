"""The view of our own projection: from the ledger alone, it costs no request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

    series = ledger.cost.series()
    read = _read(ledger, cost_type, max(series, default=0) + 1, days, incomplete, first)
    ahead = [*incomplete, *days_between(today + _DAY, max(next_month, today + (DAYS_AHEAD + 1) * _DAY))]
    try:
        expected = projection.expect(read.history, days, read.reported[:, :-1], ahead)
    except ValueError:
        return None
    open_days = len(incomplete)
    expected[:, :open_days] = projection.complete(read.reported, expected[:, :open_days])

    rest = [number for number, day in enumerate(ahead) if first <= day < next_month]
    total = read.known + expected[:, rest].sum(axis=1)
    shown = read.seen | (total != 0)
    coming = expected[:, open_days : open_days + DAYS_AHEAD].tolist()
    return Projected(
        {series[number]: float(total[number]) for number in np.flatnonzero(shown).tolist()},
        {key: tuple(coming[number]) for number, key in series.items()},
    )


@dataclass(frozen=True, slots=True)
class _Read:
    """What the ledger holds, in USD, by the number of the series: arrays of series by day, or one figure a series.

    `history` is by complete days and has seven digits, which is enough to expect something from and half the memory;
    `known` is the month's sum of the days that are not incomplete, as exact as floats are.
    """

    history: NDArray[np.float32]
    reported: NDArray[np.float64]  # by incomplete days
    known: NDArray[np.float64]
    seen: NDArray[np.bool_]  # whether AWS reported the series in this month


def _read(
    ledger: Ledger,
    cost_type: str,
    size: int,
    days: Sequence[date],
    incomplete: Sequence[date],
    first: date,
) -> _Read:
    """Read one day after the other, so that no more than one is held twice; `first` is that of the month."""
    # A day's figures stand together: they are written by day.
    read = _Read(
        np.zeros((len(days), size), dtype=np.float32).T,
        np.zeros((len(incomplete), size)).T,
        np.zeros(size),
        np.zeros(size, dtype=bool),
    )
    column = {day: number for number, day in enumerate(days)}
    still_open = {day: number for number, day in enumerate(incomplete)}
    for day in sorted({*days, *incomplete, *days_between(first, incomplete[0])}):
        numbers, units = np.array(ledger.cost.day_units(day, cost_type), dtype=np.int64).reshape(-1, 2).T
        usd = units / _UNITS_PER_USD  # as floats: a month's sum may be more than 64 bits of units hold
        if day in column:
            read.history[numbers, column[day]] = usd
        if day in still_open:
            read.reported[numbers, still_open[day]] = usd
        if day >= first:
            read.seen[numbers] = True
            if day not in still_open:
                read.known[numbers] += usd
    return read


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
