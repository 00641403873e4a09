"""The projection bench asks with what is known on the day, and compares methods on the same months."""

from datetime import date, timedelta

import numpy as np
import pytest

from bench.projection.shapes import HISTORY_DAYS, draw_month, draw_series, shapes

pytest.importorskip("statsmodels", reason="of the extra `bench`")

from bench.projection.__main__ import missed
from bench.projection.judge import ORGANIZATION, Error, Month, interval, lines, of_shapes
from bench.projection.methods import Asked, mean_day, month_ends

DATES = tuple(date(2024, 1, 1) + timedelta(days=number) for number in range(60))


def month(values: np.ndarray) -> Month:
    """29 days of February 2024, after January."""
    return Month(DATES, values, ("one",) * len(values), ORGANIZATION)


def test_a_month_is_the_same_for_the_same_seed() -> None:
    one, again, other = of_shapes(1), of_shapes(1), of_shapes(2)
    assert (one.dates, one.names) == (again.dates, again.names)
    assert (one.values == again.values).all()
    assert one.values.shape != other.values.shape or (one.values != other.values).any()


@pytest.mark.parametrize("name", list(shapes()))
def test_every_shape_costs_something_and_never_less_than_nothing(name: str) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        dates = draw_month(rng)
        values = draw_series(rng, shapes()[name], dates)
        assert (values >= 0).all()
        assert np.isfinite(values).all()
        assert values[HISTORY_DAYS:].sum() > 0


@pytest.mark.parametrize("day", [5, 10, 20])
def test_what_is_asked_for_is_what_the_day_knows(day: int) -> None:
    values = np.arange(60.0)[None, :]
    asked, truth = month(values).asked(np.random.default_rng(1), day)
    assert asked.days[-1] == date(2024, 2, day - 2)
    assert asked.known[0, asked.month].tolist() == values[0, 31 : 31 + day - 2].tolist()
    assert asked.ahead == DATES[31 + day - 2 :]
    assert (asked.reported <= values[:, 31 + day - 2 : 31 + day]).all()
    assert truth.tolist() == [values[0, 31:].sum()]


def test_a_method_that_is_right_is_off_by_nothing() -> None:
    values = np.full((2, 60), 7.0)
    asked, truth = month(values).asked(np.random.default_rng(1), 10)
    assert month_ends(asked, mean_day) == pytest.approx(truth)

    def none(asked: Asked) -> np.ndarray:
        return np.zeros((len(asked.known), len(asked.ahead)))

    assert (month_ends(asked, none) < truth).all()


def test_the_interval_holds_the_mean_and_narrows_with_more_organizations() -> None:
    rng = np.random.default_rng(2)
    few, many = rng.normal(1, 1, 20), rng.normal(1, 1, 2000)
    low, high = interval(few, range(20), rng)
    assert low < few.mean() < high
    narrow = interval(many, range(2000), rng)
    assert narrow[1] - narrow[0] < (high - low) / 5


def errors(ours: float, theirs: float, what: str = ORGANIZATION) -> list[Error]:
    return [
        Error(seed, 10, what, method, percent + seed / 100)
        for seed in range(20)
        for method, percent in (("ours", ours), ("Holt-Winters", theirs))
    ]


def test_bounds_are_missed_where_ours_is_worse_for_certain() -> None:
    assert missed(lines(errors(2, 3), 1)) == []
    assert missed(lines(errors(2, 2), 1)) == []
    assert len(missed(lines(errors(3, 2), 1))) == 1
    assert missed(lines(errors(2.5, 1, "growth"), 1)) == []
    assert len(missed(lines(errors(3.5, 1, "growth"), 1))) == 1
