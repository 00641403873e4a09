"""Shapes of daily cost: each a function of what is drawn for it; the docstring is its line in reports.

What happens once (a shift, a launch, a stop, a spike) has happened before the first projection is asked for:
what no method can know is not what is compared here.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
DAY = timedelta(days=1)
HISTORY_DAYS = 400
"""Days before the month."""
_KNOWN_DAYS = 3
"""Days of the month that are complete when the first projection is asked for, on its 5th."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What a shape is drawn with; arrays are by day, from HISTORY_DAYS before the month to its end."""

    rng: np.random.Generator
    dates: tuple[date, ...]
    level: float  # USD a day
    rhythm: Values  # the factor of each day's weekday

    @property
    def base(self) -> Values:
        """Cost with a weekly rhythm and nothing else."""
        return self.level * self.rhythm

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def on(self, condition: Callable[[date], bool]) -> Values:
        """1 on the days for which it holds, 0 elsewhere."""
        return np.array([float(condition(day)) for day in self.dates])

    def since(self, earliest: int, latest: int) -> Values:
        """1 from a day on that lies so many days before the month (negative: in it)."""
        begin = HISTORY_DAYS - int(self.rng.integers(latest, earliest + 1))
        return np.asarray((np.arange(len(self.dates)) >= begin).astype(np.float64))


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of series."""

    name: str
    text: str
    draw: Callable[[Draw], Values]


_SHAPES: dict[str, Shape] = {}


def _shape(draw: Callable[[Draw], Values]) -> Callable[[Draw], Values]:
    name = draw.__name__.removeprefix("_").replace("_", " ")
    _SHAPES[name] = Shape(name, (draw.__doc__ or "").strip(), draw)
    return draw


def shapes() -> Mapping[str, Shape]:
    """Every shape by name."""
    return MappingProxyType(_SHAPES)


def draw_month(rng: np.random.Generator) -> tuple[date, ...]:
    """Thirteen months of days and a month, of ten years: 29 February is among them."""
    first = date(2018 + int(rng.integers(0, 10)), int(rng.integers(1, 13)), 1)
    length = calendar.monthrange(first.year, first.month)[1]
    return tuple(first + number * DAY for number in range(-HISTORY_DAYS, length))


def draw_series(rng: np.random.Generator, shape: Shape, dates: tuple[date, ...]) -> Values:
    """One series by day, in USD, with 1% to 6% of noise."""
    week = np.ones(7)
    if rng.random() < 0.6:
        week[5:] = rng.uniform(0.2, 0.9)
    rhythm = week[[day.weekday() for day in dates]]
    draw = Draw(rng, dates, float(rng.lognormal(5, 1)), rhythm)
    noise = np.exp(rng.uniform(0.01, 0.06) * rng.standard_normal(len(dates)))
    return np.asarray(shape.draw(draw) * noise)


def _length(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def _last_working_day(day: date) -> bool:
    last = day.replace(day=_length(day))
    return day == last - max(0, last.weekday() - 4) * DAY


def _growing(draw: Draw, rate: float) -> Values:
    return np.asarray(draw.base * np.exp(rate * (np.arange(len(draw.dates)) - HISTORY_DAYS)))


# Shapes


@_shape
def _steady(draw: Draw) -> Values:
    """a level, with a quieter weekend in three of five"""
    return draw.base


@_shape
def _weekdays(draw: Draw) -> Values:
    """each weekday its own cost"""
    week = draw.rng.uniform(0.2, 2, 7)
    return np.asarray(draw.level * week[[day.weekday() for day in draw.dates]])


@_shape
def _noisy(draw: Draw) -> Values:
    """days that are off by 35%, lognormal"""
    return np.asarray(draw.base * draw.rng.lognormal(0, 0.35, len(draw.dates)))


@_shape
def _wandering(draw: Draw) -> Values:
    """a lognormal walk of 0.5% to 3% a day"""
    return np.asarray(
        draw.base * np.exp(np.cumsum(draw.rng.normal(0, draw.uniform(0.005, 0.03), len(draw.dates))))
    )


@_shape
def _growth(draw: Draw) -> Values:
    """0.3% to 1.5% more each day"""
    return _growing(draw, draw.uniform(0.003, 0.015))


@_shape
def _decline(draw: Draw) -> Values:
    """0.3% to 1.5% less each day"""
    return _growing(draw, -draw.uniform(0.003, 0.015))


@_shape
def _growth_that_ended(draw: Draw) -> Values:
    """growth that became a level 5 to 40 days before the month"""
    held = np.cumsum(1 - draw.since(40, 5))
    return np.asarray(draw.base * np.exp(draw.uniform(0.003, 0.015) * (held - held[-1])))


@_shape
def _every_other_week(draw: Draw) -> Values:
    """1.5 to 4 times the cost on one day, or in one week, of each fourteen days"""
    begin, length = int(draw.rng.integers(14)), int(draw.rng.choice((1, 7)))
    return np.asarray(
        draw.base * (1 + draw.uniform(0.5, 3) * draw.on(lambda day: (day.toordinal() - begin) % 14 < length))
    )


@_shape
def _middle_of_the_month(draw: Draw) -> Values:
    """a charge of 1 to 10 days' cost on one of the 6th to 23rd"""
    number = int(draw.rng.integers(6, 24))
    return np.asarray(draw.base + draw.level * draw.uniform(1, 10) * draw.on(lambda day: day.day == number))


@_shape
def _month_start(draw: Draw) -> Values:
    """a charge of 1 to 15 days' cost on the 1st"""
    return np.asarray(draw.base + draw.level * draw.uniform(1, 15) * draw.on(lambda day: day.day == 1))


@_shape
def _month_end(draw: Draw) -> Values:
    """1.5 to 4 times the cost on the last 1 to 4 days"""
    count = int(draw.rng.integers(1, 5))
    busy = draw.on(lambda day: _length(day) - day.day < count)
    return np.asarray(draw.base * (1 + draw.uniform(0.5, 3) * busy))


@_shape
def _last_working_day_(draw: Draw) -> Values:
    """a charge of 1 to 6 days' cost on the last working day"""
    return np.asarray(draw.base + draw.level * draw.uniform(1, 6) * draw.on(_last_working_day))


@_shape
def _nth_weekday(draw: Draw) -> Values:
    """2 to 6 times the cost on one weekday's first, second or third of the month"""
    weekday, week = int(draw.rng.integers(7)), int(draw.rng.integers(3))
    busy = draw.on(lambda day: day.weekday() == weekday and (day.day - 1) // 7 == week)
    return np.asarray(draw.base * (1 + draw.uniform(1, 5) * busy))


@_shape
def _shift(draw: Draw) -> Values:
    """a level that became 0.3 to 3 times what it was, 5 to 60 days before the month"""
    return np.asarray(
        draw.base * np.exp(draw.rng.choice((-1, 1)) * draw.uniform(0.3, 1.1) * draw.since(60, 5))
    )


@_shape
def _launch(draw: Draw) -> Values:
    """a service that began 2 to 40 days before the month"""
    return np.asarray(draw.base * draw.since(40, 2))


@_shape
def _stop(draw: Draw) -> Values:
    """a service that ended with the 1st or 2nd of the month"""
    return np.asarray(draw.level * (1 - draw.since(-1, 1 - _KNOWN_DAYS)))


@_shape
def _past_spikes(draw: Draw) -> Values:
    """one to three days of 2 to 10 times the cost in the 60 days before the month"""
    out = draw.base.copy()
    for _ in range(int(draw.rng.integers(1, 4))):
        out[HISTORY_DAYS - int(draw.rng.integers(1, 61))] *= draw.uniform(2, 10)
    return out


@_shape
def _batches(draw: Draw) -> Values:
    """runs on 30% of the days at random, lognormal"""
    count = len(draw.dates)
    return np.asarray(draw.level * draw.rng.lognormal(0, 0.5, count) * (draw.rng.random(count) < 0.3))
