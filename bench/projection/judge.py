"""Organizations, asked on days of a month, and how far each method's month end is off."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from bench.anomaly.organization import generate
from bench.anomaly.registry import classes
from bench.anomaly.world import DAYS
from bench.projection.methods import METHODS, Asked, Values, month_ends
from bench.projection.shapes import draw_month, draw_series, shapes

ASKED_ON = (5, 10, 20)
ORGANIZATION, OTHERS = "organization", "organization of the anomaly bench"
HOLT_WINTERS, SUMMED = "Holt-Winters", "Holt-Winters, series summed"
_SMALLEST_USD = 1.0  # a percentage of less says nothing
_INCOMPLETE_DAYS = 2  # today, and yesterday: complete is what was read 24 hours after its end
_SERIES_A_SHAPE = 1
_FEWEST_DAYS_BEFORE = 200
_RESAMPLED = 10_000


@dataclass(frozen=True, slots=True)
class Month:
    """Series by day, of which the month that is projected is the last one."""

    dates: tuple[date, ...]
    values: Values
    names: tuple[str, ...]
    whole: str

    def asked(self, rng: np.random.Generator, day: int) -> tuple[Asked, Values]:
        """What is known on that day of the month, and what the month costs in the end."""
        begin = next(number for number, each in enumerate(self.dates) if self._is_month(each))
        today = begin + day - 1
        known = today - _INCOMPLETE_DAYS + 1
        parts = rng.uniform((0.5, 0.0), (1.0, 0.6), (len(self.values), _INCOMPLETE_DAYS))
        asked = Asked(
            self.dates[:known],
            self.values[:, :known],
            self.values[:, known : today + 1] * parts,
            self.dates[known:],
            slice(begin, known),
        )
        return asked, np.asarray(self.values[:, begin:].sum(axis=1))

    def _is_month(self, day: date) -> bool:
        return (day.year, day.month) == (self.dates[-1].year, self.dates[-1].month)


@dataclass(frozen=True, slots=True)
class Error:
    """One projection, in percent of the cost: positive is too much."""

    seed: int
    day: int
    what: str
    method: str
    percent: float


def of_shapes(seed: int) -> Month:
    """An organization of one series of each shape."""
    dates = draw_month(np.random.default_rng(seed))
    names, values = [], []
    for shape in shapes().values():
        for number in range(_SERIES_A_SHAPE):
            rng = np.random.default_rng([seed, zlib.crc32(shape.name.encode()), number])
            names.append(shape.name)
            values.append(draw_series(rng, shape, dates))
    return Month(dates, np.stack(values), tuple(names), ORGANIZATION)


def of_anomaly_bench(seed: int) -> Month:
    """An organization of one series of each class that anomalies are judged on, labelled events included."""
    drawn = generate(seed, list(classes().values()), 1)
    dates = drawn.world.dates
    ends = [
        number
        for number in range(_FEWEST_DAYS_BEFORE, DAYS - 1)
        if dates[number].month != dates[number + 1].month
    ]
    end = int(np.random.default_rng(seed).choice(ends)) + 1
    values = (drawn.usage + drawn.other)[:, :end]
    return Month(dates[:end], values, tuple(f"class: {name}" for name in drawn.classes), OTHERS)


def judge(task: tuple[int, bool]) -> list[Error]:
    """Every error of one organization: that of shapes, or one of the anomaly bench."""
    seed, from_anomalies = task
    month = of_anomaly_bench(seed) if from_anomalies else of_shapes(seed)
    rng = np.random.default_rng([seed, 1])
    found = []
    for day in ASKED_ON:
        asked, truth = month.asked(rng, day)
        for method, expect in METHODS.items():
            projected = month_ends(asked, expect)
            for name, each, cost in zip(month.names, projected, truth, strict=True):
                if cost >= _SMALLEST_USD:
                    found.append(Error(seed, day, name, method, _percent(each, cost)))
            summed = SUMMED if method == HOLT_WINTERS else method
            found.append(Error(seed, day, month.whole, summed, _percent(projected.sum(), truth.sum())))
        whole = Asked(
            asked.days,
            asked.known.sum(axis=0, keepdims=True),
            asked.reported.sum(axis=0, keepdims=True),
            asked.ahead,
            asked.month,
        )
        (projected,) = month_ends(whole, METHODS[HOLT_WINTERS])
        found.append(Error(seed, day, month.whole, HOLT_WINTERS, _percent(projected, truth.sum())))
    return found


def _percent(projected: float, truth: float) -> float:
    return float((projected - truth) / truth * 100)


@dataclass(frozen=True, slots=True)
class Line:
    """Errors of one shape on one day: absolute ones by method, and ours against another's.

    `worse` is the 95% interval of the mean by which ours is worse than `than`, in points of percent; negative
    where it is better. Organizations are drawn again, so that series of one stay together.
    """

    what: str
    day: int
    count: int
    median: dict[str, float]
    mean: dict[str, float]
    p90: dict[str, float]
    worse: dict[str, tuple[float, float]]


def lines(errors: Sequence[Error], seed: int) -> list[Line]:
    """A line for each shape and day, in the order in which they come."""
    groups: dict[tuple[str, int], dict[str, list[Error]]] = {}
    for error in errors:
        groups.setdefault((error.what, error.day), {}).setdefault(error.method, []).append(error)
    rng = np.random.default_rng(seed)
    return [_line(what, day, methods, rng) for (what, day), methods in groups.items()]


def _line(what: str, day: int, methods: dict[str, list[Error]], rng: np.random.Generator) -> Line:
    off = {name: np.abs([error.percent for error in found]) for name, found in methods.items()}
    seeds = [error.seed for error in methods["ours"]]
    return Line(
        what,
        day,
        len(seeds),
        {name: float(np.median(each)) for name, each in off.items()},
        {name: float(np.mean(each)) for name, each in off.items()},
        {name: float(np.quantile(each, 0.9)) for name, each in off.items()},
        {
            name: interval(off["ours"] - each, seeds, rng)
            for name, each in off.items()
            if name.startswith(HOLT_WINTERS)
        },
    )


def interval(differences: Values, seeds: Sequence[int], rng: np.random.Generator) -> tuple[float, float]:
    """The 95% interval of the mean of differences, by drawing the seeds again, each with all that it has."""
    _, of = np.unique(seeds, return_inverse=True)
    sums = np.bincount(of, differences)
    counts = np.bincount(of)
    drawn = rng.integers(0, len(sums), (_RESAMPLED, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975)).tolist()
    return low, high
