"""Methods: what each expects of the days that are not complete, from the days that are."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from statsmodels.tsa.holtwinters import ExponentialSmoothing

from exporter.expectation import projection

Values = NDArray[np.float64]
_HOLT_WINTERS_DAYS = 84
_SEASONS = (7, 14)
_FEWEST_CYCLES = 2


@dataclass(frozen=True, slots=True)
class Asked:
    """What is known when a projection is asked for; arrays are series by day.

    `reported` are parts of the cost of the days after `days`, the day of the question last; `ahead` are the days
    from there to the month's end, `month` the columns of `known` that are in the month.
    """

    days: tuple[date, ...]
    known: Values
    reported: Values
    ahead: tuple[date, ...]
    month: slice


Method = Callable[[Asked], Values]
"""The cost of each series on the days ahead."""


def ours(asked: Asked) -> Values:
    """As the exporter projects: from the days that it makes use of."""
    wanted = set(projection.input_days(asked.ahead[asked.reported.shape[1] - 1]))
    columns = [number for number, day in enumerate(asked.days) if day in wanted]
    return projection.expect(
        asked.known[:, columns],
        [asked.days[number] for number in columns],
        asked.reported[:, :-1],
        asked.ahead,
    )


def holt_winters(asked: Asked) -> Values:
    """Additive trend and season of statsmodels, weekly or of 14 days: the one that its AIC prefers."""
    return np.stack([_smoothed(row[-_HOLT_WINTERS_DAYS:], len(asked.ahead)) for row in asked.known])


def _smoothed(past: Values, ahead: int) -> Values:
    past = past[np.argmax(past != 0) :]  # from its beginning on: zeros before it are no season
    best, found = np.inf, np.full(ahead, past.mean())
    for season in _SEASONS:
        if len(past) < _FEWEST_CYCLES * season + 4 or not past.any():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an optimizer that has not converged has its AIC all the same
            fit = ExponentialSmoothing(
                past, trend="add", seasonal="add", seasonal_periods=season, initialization_method="estimated"
            ).fit()
        forecast = np.asarray(fit.forecast(ahead))
        if fit.aic < best and np.isfinite(forecast).all():
            best, found = fit.aic, forecast
    # A negative bill is not what anyone would show.
    return found.clip(min=0) if (past >= 0).all() else found


def mean_day(asked: Asked) -> Values:
    """The mean day of the month so far."""
    return np.repeat(asked.known[:, asked.month].mean(axis=1)[:, None], len(asked.ahead), axis=1)


METHODS: MappingProxyType[str, Method] = MappingProxyType(
    {"ours": ours, "Holt-Winters": holt_winters, "mean day": mean_day}
)


def month_ends(asked: Asked, method: Method) -> Values:
    """What the month costs in the end, by series: what is known of it and what the method expects of the rest."""
    expected = method(asked)
    open_days = asked.reported.shape[1]
    expected[:, :open_days] = projection.complete(asked.reported, expected[:, :open_days])
    return np.asarray(asked.known[:, asked.month].sum(axis=1) + expected.sum(axis=1))
