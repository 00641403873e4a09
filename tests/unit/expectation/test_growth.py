"""Steady growth is known apart from changes of level, from noise and from what grew and stands still."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exporter.expectation.growth import growth

pytestmark = pytest.mark.clockless

DAYS = 42
AGE = np.arange(DAYS) - (DAYS - 1)
rates = st.floats(0.003, 0.015) | st.floats(-0.015, -0.003)
seeds = st.integers(0, 2**32 - 1)


def noise(seed: int, size: float = 0.03, days: int = DAYS) -> np.ndarray:
    return np.exp(size * np.random.default_rng(seed).standard_normal(days))


def one(values: np.ndarray) -> tuple[float, float]:
    slope, level = growth(values[None, :])
    return float(slope[0]), float(level[0])


@given(rates, st.floats(0.01, 1e7), st.sampled_from((1, -1)))
def test_growth_and_decline_are_found_exactly(rate: float, level: float, sign: int) -> None:
    """Of credits too."""
    assert one(sign * level * np.exp(rate * AGE)) == pytest.approx((rate, sign * level), rel=1e-6)


def many(values: np.ndarray, size: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """Growth and level of 400 series of these values, each with a noise that is different."""
    return growth(values * np.exp(size * np.random.default_rng(7).standard_normal((400, DAYS))))


@pytest.mark.parametrize("rate", [0.006, 0.015, -0.006, -0.015])
def test_noise_hides_little_of_growth(rate: float) -> None:
    slope, level = many(100 * np.exp(rate * AGE))
    assert np.mean(slope != 0) > 0.97
    assert np.mean(slope) == pytest.approx(rate, rel=0.1)
    assert np.quantile(abs(slope - rate), 0.9) < 0.0015
    assert np.nanquantile(abs(level / 100 - 1), 0.9) < 0.04


def test_noise_around_a_level_is_no_growth() -> None:
    slope, _ = many(np.full(DAYS, 100.0))
    assert np.mean(slope != 0) < 0.02
    assert abs(slope).max() < 0.002


@pytest.mark.parametrize("days_ago", [4, 10, 21, 35])
@pytest.mark.parametrize("times", [0.4, 0.7, 1.4, 4])
def test_a_change_of_level_is_no_growth(days_ago: int, times: float) -> None:
    slope, _ = many(np.where(-days_ago < AGE, 100.0 * times, 100.0), 0.02)
    assert np.mean(slope != 0) < 0.02


@pytest.mark.parametrize("days_ago", [10, 14, 21])
@pytest.mark.parametrize("rate", [0.006, 0.015, -0.006, -0.015])
def test_noise_hides_little_of_an_end_of_growth(days_ago: int, rate: float) -> None:
    slope, level = many(100 * np.exp(rate * np.minimum(AGE + days_ago, 0)), 0.01)
    assert np.mean(slope != 0) < 0.05
    assert np.quantile(abs(np.nan_to_num(level, nan=100.0) / 100 - 1), 0.9) < 0.03  # NaN: left to the level


@given(rates, st.integers(6, 28))
def test_what_grew_and_stands_still_grows_no_more(rate: float, days_ago: int) -> None:
    values = 100 * np.exp(rate * np.minimum(AGE, -days_ago))
    slope, level = one(values)
    assert slope == 0
    assert np.isnan(level) or level == pytest.approx(values[-1], rel=0.02)


def test_one_spike_changes_growth_little() -> None:
    values = 100 * np.exp(0.01 * AGE) * noise(1, 0.01)
    values[-3] *= 10
    assert one(values) == (pytest.approx(0.01, abs=0.001), pytest.approx(100, rel=0.03))


@given(st.sets(st.integers(0, DAYS - 1), max_size=14), rates)
def test_unknown_days_are_left_out(unknown: set[int], rate: float) -> None:
    assume(not any(set(range(start, start + 14)) <= unknown for start in (0, 14, 28)))
    values = 100 * np.exp(rate * AGE)
    values[list(unknown)] = np.nan
    assert one(values) == pytest.approx((rate, 100), rel=1e-6)


@pytest.mark.parametrize(("zeros", "found"), [(1, True), (3, True), (4, False)])
def test_a_few_days_without_cost_hide_no_growth(zeros: int, found: bool) -> None:
    values = 100 * np.exp(0.01 * AGE)
    values[[5, 17, 30, 40][:zeros]] = 0
    slope, level = one(values)
    assert (slope, level) == (
        pytest.approx((0.01, 100)) if found else (0, pytest.approx(np.nan, nan_ok=True))
    )


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(DAYS),
        np.full(DAYS, np.nan),
        np.exp(0.01 * AGE)[-41:],  # one day short of three fortnights
        np.where(AGE < -13, np.nan, np.exp(0.01 * AGE)),
        np.where(AGE < -27, np.nan, np.exp(0.01 * AGE)),
        np.where(AGE % 2 == 0, 1.0, -1.0) * np.exp(0.01 * AGE),
        np.exp(0.01 * AGE) - np.exp(0.01 * AGE[5]),
    ],
    ids=["zeros", "unknown", "short", "a fortnight", "two fortnights", "both signs", "turns its sign"],
)
def test_where_too_little_is_known_nothing_grows(values: np.ndarray) -> None:
    slope, level = one(values)
    assert slope == 0
    assert np.isnan(level)


def test_growth_is_carried_on_by_three_percent_a_day_at_most() -> None:
    assert one(np.exp(0.08 * AGE))[0] == 0.03
    assert one(np.exp(-0.08 * AGE))[0] == -0.03


@given(st.lists(st.tuples(rates, seeds), min_size=1, max_size=6))
def test_series_do_not_touch_each_others_growth(drawn: list[tuple[float, int]]) -> None:
    flat = np.stack([100 * np.exp(rate * AGE) * noise(seed) for rate, seed in drawn])
    together, alone = growth(flat), [one(row) for row in flat]
    assert list(zip(*together, strict=True)) == [pytest.approx(each, nan_ok=True) for each in alone]


def test_longer_histories_grow_as_their_last_three_fortnights() -> None:
    values = np.concatenate([np.full(20, 7.0), 100 * np.exp(0.01 * AGE)])
    assert one(values) == pytest.approx((0.01, 100))


def test_what_began_to_grow_a_fortnight_ago_is_not_known_to_go_on() -> None:
    slow, fast = 0.001 * (AGE + 13), 0.02 * (AGE + 13)
    assert one(100 * np.exp(np.where(AGE < -13, slow, fast)))[0] == 0


def test_growth_that_noise_may_explain_is_drawn_towards_none() -> None:
    """By its standard error: all of it where it is three of them or less."""
    slope, _ = many(100 * np.exp(0.003 * AGE), 0.06)
    assert 0 < slope.mean() < 0.1 * 0.003  # 0.12 undrawn


@pytest.mark.parametrize("known", range(28, DAYS + 1))
@pytest.mark.parametrize("rate", [0.0, 0.01])
def test_a_series_that_began_in_the_window_is_judged_by_what_is_known(known: int, rate: float) -> None:
    """Also where all of it lies behind the day on which growth may have ended."""
    values = 100 * np.exp(rate * AGE)
    values[: DAYS - known] = np.nan
    assert one(values)[0] == pytest.approx(rate if known > DAYS - 14 else 0.0, rel=1e-6)
