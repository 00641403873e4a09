"""What recurs on a calendar is expected on its days alone, with the size that it had; what came by chance is not."""

from calendar import monthrange
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.expectation.coming import Recurring, recurring
from exporter.expectation.projection import expect, input_days

DAY = timedelta(days=1)
TODAY = date(2026, 5, 20)
AHEAD = 40
On = Callable[[date], bool]
Daily = Callable[[date], float]


def last(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])


def working_days(day: date) -> list[date]:
    return [each for number in range(1, last(day).day + 1) if (each := day.replace(day=number)).weekday() < 5]


def working_day_after(number: int) -> On:
    """The so manieth, or the Monday after it."""
    return lambda day: (
        day.weekday() < 5
        and number in ({day.day} | ({day.day - 1, day.day - 2} if day.weekday() == 0 else set()))
    )


def working_day_before(number: int) -> On:
    return lambda day: (
        day.weekday() < 5
        and number in ({day.day} | ({day.day + 1, day.day + 2} if day.weekday() == 4 else set()))
    )


RULES: dict[str, On] = {
    "the 6th": lambda day: day.day == 6,
    "the 15th": lambda day: day.day == 15,
    "the 23rd": lambda day: day.day == 23,
    "the last day": lambda day: day == last(day),
    "the last day but two": lambda day: day == last(day) - 2 * DAY,
    "the last four days": lambda day: day > last(day) - 4 * DAY,
    "the 15th or the working day after": working_day_after(15),
    "the 10th or the working day before": working_day_before(10),
    "the first Monday": lambda day: day.weekday() == 0 and day.day <= 7,
    "the third Wednesday": lambda day: day.weekday() == 2 and 15 <= day.day <= 21,
    "the last Friday": lambda day: day.weekday() == 4 and day > last(day) - 7 * DAY,
    "the fifth working day": lambda day: day == working_days(day)[4],
    "the last working day": lambda day: day == working_days(day)[-1],
    "the last working day but two": lambda day: day == working_days(day)[-3],
    "every 28 days": lambda day: day.toordinal() % 28 == 9,
    "the 8th and the 21st": lambda day: day.day in (8, 21),
}
TODAYS = [date(2026, 5, 20), date(2026, 5, 4), date(2026, 1, 11), date(2024, 2, 27), date(2027, 3, 1)]


def known(today: date) -> list[date]:
    return input_days(today)[:-1]


def found(daily: Daily, today: date = TODAY, days: list[date] | None = None) -> Recurring:
    """What recurs of one series without a rhythm."""
    days = known(today) if days is None else days
    ahead = [today + number * DAY for number in range(AHEAD)]
    plain = np.array([[daily(day) for day in days]], dtype=np.float64)
    return recurring(plain, days, np.ones_like(plain), ahead)


def expected(daily: Daily, today: date = TODAY) -> list[float]:
    history = np.array([[daily(day) for day in known(today)]], dtype=np.float64)
    ahead = [today + number * DAY for number in range(AHEAD)]
    return [float(usd) for usd in expect(history, known(today), np.ones((1, 1)), ahead)[0]]


def coming(daily: Daily, today: date = TODAY) -> list[float]:
    return [daily(today + number * DAY) for number in range(AHEAD)]


def nothing(of: Recurring) -> bool:
    return not (of.amount.any() or of.share.any() or of.covered.any())


@pytest.mark.parametrize("today", TODAYS)
@pytest.mark.parametrize("name", list(RULES))
def test_a_charge_of_each_kind_of_rule_is_expected_on_its_days(name: str, today: date) -> None:
    def daily(day: date) -> float:
        return 400 if RULES[name](day) else 100

    assert expected(daily, today) == pytest.approx(coming(daily, today))


@pytest.mark.parametrize("name", list(RULES))
def test_a_charge_alone_is_expected_on_its_days(name: str) -> None:
    """With no cost on other days: a subscription."""

    def daily(day: date) -> float:
        return 300 if RULES[name](day) else 0

    assert expected(daily) == pytest.approx(coming(daily))


@given(
    st.integers(4, 28), st.floats(1, 1e6), st.floats(0.3, 50), st.dates(date(2024, 1, 1), date(2027, 12, 31))
)
def test_a_charge_of_any_day_and_size_is_expected(
    number: int, base: float, times: float, today: date
) -> None:
    def daily(day: date) -> float:
        return base * (1 + times) if day.day == number else base

    assert expected(daily, today) == pytest.approx(coming(daily, today), rel=1e-6)


def test_a_credit_in_the_middle_of_months_is_expected() -> None:
    def daily(day: date) -> float:
        return -250 if day.day == 12 else 100

    got = found(daily)
    assert got.amount[0, (date(2026, 6, 12) - TODAY).days] + got.share[0].sum() * 100 == pytest.approx(-350)


def test_what_recurs_is_covered_to_the_base() -> None:
    """Six occurrences in 165 days: the four newest are a rule's, and what they cost more than the days around is known."""
    got = found(lambda day: 400 if day.day == 15 else 100)
    covered = {day: usd for day, usd in zip(known(TODAY), got.covered[0].tolist(), strict=True) if usd}
    assert covered == {
        date(2026, month, 15): pytest.approx(300)  #
        for month in (2, 3, 4, 5)
    }


def test_an_amount_stays_where_the_level_moves_and_a_share_moves_with_it() -> None:
    """A fee of $300, and days that cost four times the level, of a service that doubled."""

    def level(day: date) -> float:
        return 100 if day < date(2026, 3, 10) else 200

    fee = found(lambda day: level(day) + (300 if day.day == 12 else 0))
    work = found(lambda day: level(day) * (4 if day.day == 12 else 1))
    at = (date(2026, 6, 12) - TODAY).days
    assert (fee.amount[0, at], fee.share[0, at]) == (pytest.approx(300), 0)
    assert (work.amount[0, at], work.share[0, at]) == (0, pytest.approx(3))


@pytest.mark.parametrize("gap", [26, 27, 29, 32, 33])
def test_two_spikes_by_chance_are_no_rule(gap: int) -> None:
    newest = date(2026, 5, 13)  # a Wednesday
    spikes = {newest, newest - gap * DAY}
    assert nothing(found(lambda day: 500 if day in spikes else 100))


def test_two_spikes_on_the_same_day_of_the_month_are_a_rule() -> None:
    spikes = {date(2026, 4, 13), date(2026, 5, 13)}
    got = found(lambda day: 500 if day in spikes else 100)
    assert np.flatnonzero(got.amount[0] + got.share[0]).tolist() == [(date(2026, 6, 13) - TODAY).days]


@pytest.mark.parametrize(("size", "believed"), [(480, True), (380, True), (250, False), (1500, False)])
def test_two_spikes_of_different_sizes_are_no_rule_even_then(size: float, believed: bool) -> None:
    spikes = {date(2026, 4, 13): size, date(2026, 5, 13): 500}
    assert nothing(found(lambda day: spikes.get(day, 100))) is not believed


def test_a_spike_is_no_rule() -> None:
    assert nothing(found(lambda day: 5000 if day == date(2026, 5, 13) else 100))


@pytest.mark.parametrize("first", [4, 12, 20, 28])
def test_a_fee_that_ended_is_expected_no_more(first: int) -> None:
    """Its newest day passed without it."""
    newest = date(2026, 5, first) if first < 19 else date(2026, 4, first)

    def daily(day: date) -> float:
        return 400 if day.day == first and day < newest else 100

    assert expected(daily) == pytest.approx([100] * AHEAD)


def test_a_fee_that_missed_one_month_of_four_is_expected_again() -> None:
    def daily(day: date) -> float:
        return 400 if day.day == 15 and day.month != 4 else 100

    assert expected(daily) == pytest.approx(coming(daily))


def test_a_fee_that_rose_is_expected_as_most_of_its_days_had_it() -> None:
    def daily(day: date) -> float:
        return 100 + (0 if day.day != 15 else 300 if day < date(2026, 3, 1) else 390)

    assert expected(daily)[(date(2026, 6, 15) - TODAY).days] == pytest.approx(490)


@pytest.mark.parametrize("month", [2, 3])
def test_the_31st_is_the_last_day_of_shorter_months(month: int) -> None:
    """29 February too."""
    today = date(2024, month, 5)

    def daily(day: date) -> float:
        return 400 if day == last(day) else 100

    assert expected(daily, today) == pytest.approx(coming(daily, today))


def test_a_charge_beside_a_weekly_rhythm_is_expected() -> None:
    def daily(day: date) -> float:
        return (40 if day.weekday() >= 5 else 100) + (500 if day.day == 15 else 0)

    assert expected(daily) == pytest.approx(coming(daily), rel=0.01)


def test_what_stands_out_every_other_day_is_how_the_series_is() -> None:
    rng = np.random.default_rng(3)
    values = {day: float(100 * rng.lognormal(0, 1) * (rng.random() < 0.55)) for day in known(TODAY)}
    assert nothing(found(values.__getitem__))


def test_noise_has_few_rules() -> None:
    days, rng = known(TODAY), np.random.default_rng(4)
    plain = 100 * np.exp(0.1 * rng.standard_normal((400, len(days))))
    ahead = [TODAY + number * DAY for number in range(AHEAD)]
    got = recurring(plain, days, np.ones_like(plain), ahead)
    assert ((got.amount != 0) | (got.share != 0)).any(axis=1).mean() < 0.02


@pytest.mark.parametrize("count", [7, 10, 20, 33])
def test_a_young_ledger_has_no_rules_of_months_yet(count: int) -> None:
    assert nothing(found(lambda day: 400 if day.day == 15 else 100, days=known(TODAY)[-count:]))


def test_days_that_were_not_read_are_not_missed() -> None:
    """Of the last four 15ths, March's was not read, nor are two others of its days."""
    days = [
        day for day in known(TODAY) if day not in {date(2026, 3, 15), date(2026, 3, 16), date(2026, 4, 2)}
    ]
    got = found(lambda day: 400 if day.day == 15 else 100, days=days)
    assert np.flatnonzero(got.amount[0] + got.share[0]).tolist() == [(date(2026, 6, 15) - TODAY).days]


@pytest.mark.parametrize("value", [0.0, 1e-10, 7.5, 1e12, -3.0])
def test_of_what_is_constant_nothing_recurs(value: float) -> None:
    assert nothing(found(lambda _: value))


@given(st.lists(st.sampled_from(list(RULES)), min_size=1, max_size=4), st.floats(1, 1e5))
def test_series_do_not_touch_each_others_rules(names: list[str], base: float) -> None:
    days, ahead = known(TODAY), [TODAY + number * DAY for number in range(AHEAD)]
    plain = np.array([[base * (4 if RULES[name](day) else 1) for day in days] for name in names])
    together = recurring(plain, days, np.ones_like(plain), ahead)
    for number in range(len(names)):
        one = plain[number : number + 1]
        alone = recurring(one, days, np.ones_like(one), ahead)
        assert together.covered[number] == pytest.approx(alone.covered[0])
        assert together.amount[number] == pytest.approx(alone.amount[0])
        assert together.share[number] == pytest.approx(alone.share[0])


def test_of_a_few_days_no_calendar_is_known() -> None:
    """A first fill has read a week: no rule names two of its days."""
    days = [date(2026, 5, number) for number in range(9, 17)]
    plain = np.array([[10.0, 10, 300, 10, 10, 300, 10, 10]])
    found = recurring(plain, days, np.ones(plain.shape), [date(2026, 5, 17), date(2026, 6, 11)])
    assert found.amount.tolist() == found.share.tolist() == [[0.0, 0.0]]
    assert not found.covered.any()
