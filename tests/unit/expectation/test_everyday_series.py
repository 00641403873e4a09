"""Series as bills have them, each with its right answer: what recurs is no finding, and hides none."""

from datetime import date
from typing import Any

import numpy as np
import pytest
from daily_series import DAY, START, drawn, found

from exporter.expectation import dips
from exporter.expectation.limits import Limits

pytestmark = pytest.mark.clockless

LATE = START + 310 * DAY
CHANGE = START + 250 * DAY  # a Thursday


@pytest.mark.parametrize("seed", range(2))
def test_a_charge_on_the_same_day_of_each_month_is_no_spike(seed: int) -> None:
    assert found(lambda day: 200 + 300 * (day.day == 15), seed=seed) == {}


def test_of_a_new_monthly_charge_the_first_two_are_news_and_no_more() -> None:
    since = START + 200 * DAY
    result = found(lambda day: 200 + 300 * (day.day == 15 and day > since))
    assert result == {date(2025, 10, 15): "spike", date(2025, 11, 15): "spike"}


def test_a_job_of_each_first_monday_is_no_spike() -> None:
    assert found(lambda day: 200 * (1 + (day.weekday() == 0 and day.day <= 7))) == {}


@pytest.mark.parametrize("seed", range(2))
def test_a_weekly_job_that_moves_to_another_weekday_is_one_finding(seed: int) -> None:
    result = found(lambda day: 200 * (1 + (day.weekday() == (2 if day < CHANGE else 4))), seed=seed)
    assert result == {date(2025, 11, 7): "spike"}


@pytest.mark.parametrize("seed", range(2))
def test_batches_on_three_days_of_ten_never_stop_nor_spike(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cost = {START + n * DAY: float(rng.lognormal(5, 0.5)) * (rng.random() < 0.3) for n in range(421)}
    assert found(cost.__getitem__, seed=seed) == {}


def test_one_day_of_zero_is_found_when_the_days_after_it_are_known() -> None:
    assert dipped(lambda day: 1000.0 * (day != LOW)) == [True]


LOW = date(2026, 3, 17)
SEEN = [LOW + back * DAY for back in range(-120, dips.DAYS_AFTER + 1)]


def dipped(*daily: Any, accounts: list[str] | None = None, services: list[str] | None = None) -> list[bool]:
    """Which series dipped on `LOW`; each in another account and of another service if not said."""
    names = [str(number) for number in range(len(daily))]
    values = np.array([drawn(each, SEEN, seed=number) for number, each in enumerate(daily)])
    flags, _ = dips.dips(values, SEEN, accounts or names, services or names, Limits())
    return [bool(flag) for flag in flags]


def test_the_day_after_it_is_back_or_it_is_no_single_day() -> None:
    assert dipped(lambda day: 1000.0 * (day not in (LOW, LOW + DAY))) == [False]
    assert dipped(lambda day: 1000.0 * (day not in (LOW, LOW - DAY))) == [False]
    assert dipped(lambda day: 100.0 if day >= LOW else 1000.0) == [False]


def test_three_services_of_an_account_or_one_service_in_two_accounts_fall_because_data_is_late() -> None:
    def low(day: date) -> float:
        return 1000.0 * (day != LOW)

    assert dipped(low, low, accounts=["1", "1"]) == [True, True]
    assert dipped(low, low, low, accounts=["1", "1", "1"]) == [False] * 3
    assert dipped(low, low, services=["ec2", "ec2"]) == [False] * 2


def test_what_moved_to_a_day_nearby_is_no_dip() -> None:
    assert dipped(lambda day: 1000.0 * (day != LOW) + 1000.0 * (day == LOW + DAY)) == [False]


@pytest.mark.parametrize("size", [600, 1500])
def test_more_than_what_recurs_is_a_spike_on_its_day(size: float) -> None:
    """A calendar explains what it always brought, and no more."""
    covered = date(2026, 1, 15)
    result = found(lambda day: 200 + 300 * (day.day == 15) + size * (day == covered), first=LATE)
    assert result == {covered: "spike"}


def test_what_recurs_is_no_excuse_for_another_day() -> None:
    elsewhere = date(2026, 1, 22)
    result = found(lambda day: 200 + 300 * (day.day == 15) + 300 * (day == elsewhere), first=LATE)
    assert result == {elsewhere: "spike"}


@pytest.mark.parametrize(
    "recurs",
    [
        lambda day: (day.day == 15 and day.weekday() < 5) or (day.weekday() == 0 and day.day in (16, 17)),
        lambda day: day.toordinal() % 14 == 3,
        lambda day: day.toordinal() % 10 == 3,
        lambda day: (day + DAY).day == 1,
        lambda day: (day + DAY).day == 1 and day.month % 3 == 0,
        lambda day: day.day in (1, 15),
    ],
    ids=[
        "or the working day after",
        "every other week",
        "every tenth day",
        "month end",
        "quarter end",
        "twice a month",
    ],
)
def test_other_calendars(recurs: Any) -> None:
    assert found(lambda day: 200 * (1 + 1.5 * recurs(day)), first=LATE) == {}


def test_a_series_that_is_on_and_off_is_found_when_it_costs_more_than_when_it_is_on() -> None:
    rng = np.random.default_rng(4)
    on: dict[date, bool] = {}
    state = True
    for number in range(421):
        state = state if rng.random() > 0.2 else not state
        on[START + number * DAY] = state
    spike = date(2026, 2, 11)
    result = found(lambda day: 900.0 if day == spike else 300.0 * on[day], first=LATE)
    assert {day: kind for day, kind in result.items() if kind == "spike"} == {spike: "spike"}


def test_more_of_the_same_each_month_is_found_where_half_of_the_month_is_free() -> None:
    spike = date(2026, 2, 5)
    result = found(lambda day: 900.0 if day == spike else 300.0 * (day.day >= 14), first=LATE)
    assert result == {spike: "spike"}
