"""The projection follows rhythm, month starts, shifts, launches and stops, and says nothing when it cannot."""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from time import thread_time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from exporter.collectors import cost
from exporter.core.amounts import Amounts
from exporter.core.moments import days_between, month_start, start_of_day
from exporter.cost.projection_families import FORECAST_DAILY, MONTH_PROJECTION
from exporter.cost.projection_view import Projected, project, render
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.expectation.projection import Costs, complete, expect, input_days
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

TODAY = date(2026, 5, 20)
DAY = timedelta(days=1)
Daily = Callable[[date], float]
SOME = settings(max_examples=40)  # an example of one series takes as long as one of a thousand

dollars = st.floats(0.01, 1e6)
todays = st.dates(date(2024, 1, 1), date(2027, 12, 31))


def expected(daily: Daily, today: date = TODAY, ahead: int = 40, incomplete: int = 1) -> list[float]:
    """What is expected of today and the days after it, of a series whose last days are incomplete."""
    days = [day for day in input_days(today) if day < today - incomplete * DAY]
    reported = [daily(today - number * DAY) for number in range(incomplete, 0, -1)]
    coming = [today + number * DAY for number in range(ahead)]
    out = expect(
        np.array([[daily(day) for day in days]], dtype=np.float64),
        days,
        np.array([reported], dtype=np.float64),
        coming,
    )
    return [float(value) for value in out[0]]


def coming(daily: Daily, today: date = TODAY, ahead: int = 40) -> list[float]:
    """What will be the case."""
    return [daily(today + number * DAY) for number in range(ahead)]


def ago(day: date) -> int:
    return (TODAY - day).days


def on(condition: Callable[[date], bool], then: float, otherwise: float) -> Daily:
    return lambda day: then if condition(day) else otherwise


# One series


@SOME
@given(st.floats(-1e7, 1e7), todays)
def test_what_is_constant_stays(amount: float, today: date) -> None:
    assert expected(lambda _: amount, today) == pytest.approx([amount] * 40, rel=1e-9)


@SOME
@given(st.lists(st.just(0.0) | st.floats(1, 1000), min_size=7, max_size=7), todays)
def test_a_weekly_rhythm_goes_on(week: list[float], today: date) -> None:
    """Office hours, weekend jobs, one batch a week."""
    assume(any(week))

    def daily(day: date) -> float:
        return week[day.weekday()]

    assert expected(daily, today) == pytest.approx(coming(daily, today), rel=1e-6, abs=1e-6)


@SOME
@given(dollars, st.floats(0.2, 100) | st.floats(-100, -0.2), st.integers(1, 3), todays)
def test_what_recurs_at_month_starts_is_expected_there_only(
    base: float, times: float, day_of_month: int, today: date
) -> None:
    """Tax, support, fees, credits: once a month, never spread over the days."""
    assume(base * abs(times) > 0.05 or base == 0)
    if base * (1 + times) < 0:  # a credit larger than the usage beside it
        base, times = 10.0, times

    def daily(day: date) -> float:
        return base * (1 + times) if day.day == day_of_month else base

    # A credit that undoes the usage beside it leaves float noise of that usage's size.
    assert expected(daily, today) == pytest.approx(coming(daily, today), rel=1e-6, abs=1e-9 * max(base, 1.0))


@SOME
@given(dollars, st.integers(1, 3), todays)
def test_a_charge_of_month_starts_alone_is_expected_there_only(fee: float, number: int, today: date) -> None:
    def daily(day: date) -> float:
        return fee if day.day == number else 0.0

    assume(fee > 0.02)
    assert expected(daily, today) == pytest.approx(coming(daily, today))


def test_a_fee_of_one_month_start_among_three_is_not_expected_again() -> None:
    daily = on(lambda day: day == date(2026, 4, 1), 5000, 10)
    assert expected(daily) == pytest.approx([10] * 40)


def test_a_fee_that_was_given_up_is_not_expected() -> None:
    daily = on(lambda day: day.day == 1 and day < date(2026, 5, 1), 5000, 10)
    assert expected(daily) == pytest.approx([10] * 40)


def test_a_fee_and_a_credit_after_it_do_not_recur() -> None:
    """Of an account that joined in the middle of March."""
    once = {date(2026, 4, 1): 60.0, date(2026, 5, 1): -40.0}
    got = expected(lambda day: 0 if day < date(2026, 3, 16) else once.get(day, 10))
    assert got == pytest.approx([10] * 40)


def test_a_fee_of_the_first_month_of_a_series_is_expected_again() -> None:
    """An account that joined in the middle of April was taxed on the 1st of May."""

    def daily(day: date) -> float:
        return 0 if day < date(2026, 4, 16) else 210 if day.day == 1 else 10

    assert expected(daily) == pytest.approx([210 if day.day == 1 else 10 for day in next_days(40)])


@pytest.mark.parametrize("today", [date(2026, 5, day) for day in (4, 5, 6, 9)])
def test_fees_on_three_days_in_a_row_are_no_level_shift(today: date) -> None:
    daily = on(lambda day: day.day <= 3, 60, 10)
    assert expected(daily, today) == pytest.approx(coming(daily, today))


def test_a_quiet_first_of_the_month_is_never_expected_to_be_negative() -> None:
    """Even when the level has fallen below what the 1st used to be quieter by."""

    def daily(day: date) -> float:
        return 0 if day.day == 1 else 100 if ago(day) > 8 else 1

    got = expected(daily)
    assert got == pytest.approx([0 if day.day == 1 else 1 for day in next_days(40)])
    assert expected(lambda day: -daily(day)) == pytest.approx([-usd for usd in got])


def last_working_day(day: date) -> bool:
    last = month_start(day, -1) - DAY
    return day == last - max(0, last.weekday() - 4) * DAY


def next_days(count: int) -> list[date]:
    return [TODAY + number * DAY for number in range(count)]


@pytest.mark.parametrize("days_ago", [2, 3, 8, 20])
@pytest.mark.parametrize("amount", [5000, -5000])
def test_what_came_once_is_not_continued(days_ago: int, amount: float) -> None:
    assert expected(on(lambda day: ago(day) == days_ago, amount, 10)) == pytest.approx([10] * 40, rel=0.01)
    assert expected(on(lambda day: ago(day) == days_ago, amount, 0)) == [0] * 40


@pytest.mark.parametrize("level", [0.2, 0.7, 1.4, 5])
def test_a_level_shift_is_learnt_within_a_week(level: float) -> None:
    """With any weekly rhythm."""

    def daily(day: date) -> float:
        return 100 * (0.5 if day.weekday() >= 5 else 1) * (level if ago(day) <= 7 else 1)

    assert expected(daily) == pytest.approx(coming(daily), rel=0.1)


def test_a_large_shift_is_learnt_within_four_days() -> None:
    assert expected(on(lambda day: ago(day) <= 4, 300, 100)) == pytest.approx([300] * 40, rel=0.05)


@pytest.mark.parametrize("days", [2, 3, 6, 10, 12])
def test_a_launch_is_continued_from_the_second_day_on(days: int) -> None:
    """Of which the last one is incomplete."""
    assert expected(on(lambda day: ago(day) <= days, 100, 0)) == pytest.approx([100] * 40)


def test_one_week_is_no_rhythm() -> None:
    """Two weeks after a launch, the weekday of a busy day is not a busy weekday."""
    got = expected(lambda day: 0 if ago(day) > 10 else 200 if ago(day) == 5 else 100)
    assert max(got) == pytest.approx(min(got))


def test_of_a_first_day_nothing_is_continued() -> None:
    assert expected(on(lambda day: ago(day) <= 1, 100, 0)) == [0] * 40


@pytest.mark.parametrize("days", [2, 3, 9, 30])
def test_what_has_stopped_is_over(days: int) -> None:
    assert expected(on(lambda day: ago(day) > days, 100, 0)) == [0] * 40


def test_a_day_without_cost_is_no_stop_yet() -> None:
    assert expected(on(lambda day: ago(day) > 1, 100, 0)) == pytest.approx([100] * 40)
    assert expected(on(lambda day: ago(day) > 1, 100, 0), incomplete=0) == pytest.approx([100] * 40, rel=0.01)
    assert expected(on(lambda day: ago(day) != 2, 100, 0)) == pytest.approx([100] * 40, rel=0.01)


def test_late_data_is_no_stop() -> None:
    """Two incomplete days without cost yet, after a complete one with it."""
    assert expected(on(lambda day: ago(day) > 2, 100, 0), incomplete=2) == pytest.approx([100] * 40)


def test_a_weekend_is_no_stop() -> None:
    monday = date(2026, 5, 18)
    daily = on(lambda day: day.weekday() < 5, 100, 0)
    assert expected(daily, monday) == pytest.approx(coming(daily, monday))


def test_bursts_without_a_rhythm_are_continued_at_their_mean() -> None:
    rng = np.random.default_rng(5)
    burst = {TODAY - number * DAY for number in range(120) if rng.random() < 0.3}
    month = sum(expected(on(burst.__contains__, 100, 0), ahead=30))
    assert month == pytest.approx(900, rel=0.4)


def test_noise_is_no_rhythm() -> None:
    rng = np.random.default_rng(6)
    noise = {TODAY - number * DAY: 100 + 20 * rng.standard_normal() for number in range(-60, 200)}
    got = expected(noise.__getitem__)
    assert sum(got) / 40 == pytest.approx(100, rel=0.08)
    assert max(got) / min(got) < 1.2


def test_what_is_made_use_of_are_the_last_four_days_of_each_calendar() -> None:
    used = input_days(TODAY)
    assert used == [TODAY - number * DAY for number in range(165, 0, -1)]
    assert {date(2026, 1, 31), date(2025, 12, 31)} < set(used)


def test_too_few_days_expect_nothing() -> None:
    days = [TODAY - number * DAY for number in range(7, 1, -1)]
    with pytest.raises(ValueError, match="6 days are too few"):
        expect(np.ones((1, 6)), days, np.ones((1, 1)), [TODAY])


def test_a_week_is_enough_for_a_level() -> None:
    days = [TODAY - number * DAY for number in range(8, 1, -1)]
    assert expect(np.full((1, 7), 4.0), days, np.ones((1, 1)), [TODAY]).tolist() == [[4.0]]


def test_gaps_between_known_days_are_no_days_without_cost() -> None:
    days = [day for day in input_days(TODAY) if day.day % 5 and day < TODAY - DAY]
    out = expect(np.full((1, len(days)), 4.0), days, np.ones((1, 1)), [TODAY])
    assert out.tolist() == [[pytest.approx(4.0)]]


# What recurs, and what grows: each rule of a calendar is in tests/unit/expectation/test_coming.py


def month_of(daily: Daily, today: date) -> tuple[float, float]:
    """What is expected of the days from today to the end of the month, and what they will cost."""
    ahead = (month_start(today, -1) - today).days
    return sum(expected(daily, today, ahead)), sum(coming(daily, today, ahead))


tenths = st.dates(date(2024, 1, 1), date(2027, 12, 1)).map(lambda day: day.replace(day=10))


@SOME
@given(st.floats(0.003, 0.015) | st.floats(-0.015, -0.003), tenths, st.sampled_from((1.0, 0.4)))
def test_growth_goes_on(rate: float, today: date, weekend: float) -> None:
    def daily(day: date) -> float:
        return 100 * (weekend if day.weekday() >= 5 else 1) * math.exp(rate * (day - today).days)

    got, truth = month_of(daily, today)
    assert got == pytest.approx(truth, rel=0.03)


@SOME
@given(st.floats(0.005, 0.015), tenths, st.sampled_from((1, -1)))
def test_growth_of_credits_goes_on(rate: float, today: date, sign: int) -> None:
    got, truth = month_of(lambda day: sign * 100 * math.exp(rate * (day - today).days), today)
    assert got == pytest.approx(truth, rel=0.02)


@SOME
@given(st.floats(0.005, 0.015), tenths, st.integers(8, 24))
def test_growth_that_ended_does_not_go_on(rate: float, today: date, days_ago: int) -> None:
    got, truth = month_of(lambda day: 100 * math.exp(rate * min((day - today).days, -days_ago)), today)
    assert got == pytest.approx(truth, rel=0.04)


@SOME
@given(st.integers(0, 13), st.sampled_from((1, 7)), st.floats(1.5, 4), tenths, st.sampled_from((1.0, 0.4)))
def test_every_other_week_goes_on(begin: int, length: int, times: float, today: date, weekend: float) -> None:
    # February's 28 days put every other week on the 1st to 3rd of two months: that may as well be a monthly charge.
    assume(today.month not in (3, 4, 5))

    def daily(day: date) -> float:
        busy = (day.toordinal() - begin) % 14 < length
        return 100 * (weekend if day.weekday() >= 5 else 1) * (times if busy else 1)

    got, truth = month_of(daily, today)
    assert got == pytest.approx(truth, rel=0.03)


def test_growth_and_a_charge_in_the_middle_of_the_month_go_on_together() -> None:
    today = date(2026, 5, 10)

    def daily(day: date) -> float:
        return 100 * math.exp(0.01 * (day - today).days) + (800 if day.day == 20 else 0)

    got, truth = month_of(daily, today)
    assert got == pytest.approx(truth, rel=0.02)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "condition", [lambda day: day.day == 15, last_working_day], ids=["15th", "last working day"]
)
def test_charges_in_and_at_the_end_of_months_are_expected_once(
    condition: Callable[[date], bool], sign: int
) -> None:
    daily = on(condition, sign * 400, sign * 100)
    assert expected(daily, date(2026, 5, 10)) == pytest.approx(coming(daily, date(2026, 5, 10)))


@pytest.mark.parametrize("count", [7, 10, 14, 20, 27])
def test_a_young_ledger_has_neither_growth_nor_calendars(count: int) -> None:
    """Of ten days, say; the level is what they tell."""
    days = input_days(TODAY)[-count - 1 : -1]
    history = np.array([[400.0 if day.day == 15 else 100 * 1.01 ** (day - TODAY).days for day in days]])
    out = expect(history, days, np.ones((1, 1)), [TODAY + number * DAY for number in range(30)])
    assert out == pytest.approx(np.full((1, 30), 95), rel=0.1)


@pytest.mark.parametrize("value", [0.0, 1e-10, 1e12])
def test_smallest_and_largest_cost_stay(value: float) -> None:
    assert expected(lambda _: value) == pytest.approx([value] * 40, rel=1e-6)


# Many series

INPUT = input_days(TODAY)[:-1]
matrices = st_numpy.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.just(len(INPUT))),
    elements=st.sampled_from((0.0, 0.0, 1.0, 7.5, -3.0, 1e9, 1e-9)) | st.floats(-1e6, 1e6),
)
AHEAD = [TODAY + number * DAY for number in range(15)]


@settings(max_examples=30)  # each expects up to six series, together and alone
@given(matrices)
def test_series_do_not_touch_each_other(history: Costs) -> None:
    together = expect(history, INPUT, history[:, -1:], AHEAD)
    alone = np.concatenate(
        [expect(row[None, :], INPUT, row[None, -1:], AHEAD) for row in np.asarray(history)]
    )
    assert np.isfinite(together).all()
    assert together == pytest.approx(alone)


@settings(max_examples=40)
@given(matrices)
def test_what_has_one_sign_keeps_it(history: Costs) -> None:
    assert (expect(abs(history), INPUT, history[:, :0], AHEAD) >= 0).all()
    assert (expect(-abs(history), INPUT, history[:, :0], AHEAD) <= 0).all()


def test_no_series_are_no_error() -> None:
    assert expect(np.empty((0, len(INPUT))), INPUT, np.empty((0, 1)), AHEAD).shape == (0, 15)


def test_five_thousand_series_take_seconds_at_most() -> None:
    history = np.random.default_rng(1).gamma(2, 5, (5_000, len(INPUT)))
    begin = thread_time()  # of the processor: the machine may be busy
    expect(history, INPUT, history[:, :1], AHEAD)
    assert thread_time() - begin < 5  # 0.9 s


# Incomplete days

amounts = st.floats(-1e6, 1e6)


@given(amounts, amounts)
def test_an_incomplete_day_holds_what_is_reported_at_least(reported: float, awaited: float) -> None:
    (whole,) = complete(np.array([reported]), np.array([awaited])).tolist()
    if reported >= 0 and awaited >= 0:
        assert whole == max(reported, awaited)
    elif reported <= 0 and awaited <= 0:
        assert whole == min(reported, awaited)
    else:
        assert whole == reported + awaited


# From the ledger

Costs_of = Callable[[date], dict[tuple[str, str], str]]
NOON = timedelta(hours=12)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def usd(text: str) -> Amounts:
    return Amounts(Decimal(text), Decimal(0), Decimal(text) * 2, Decimal(0), Decimal(0))


def fill(ledger: Ledger, now: datetime, costs: Costs_of, start: date | None = None) -> None:
    """The ledger as a read at `now` of everything from `start` on (three months) leaves it."""
    days = list(days_between(start or month_start(now.date(), 3), now.date() + DAY))
    rows = {(day, *key): usd(text) for day in days for key, text in costs(day).items()}
    ledger.reads.commit(CostRead(now, dict.fromkeys(days, False), rows))


def at(day: date) -> datetime:
    return start_of_day(day) + NOON


def projected(ledger: Ledger, now: datetime) -> Projected:
    found = project(ledger, now, "unblended")
    assert found is not None
    return found


EC2, TAX = ("111111111111", "EC2"), ("111111111111", "Tax")


def plain(day: date) -> dict[tuple[str, str], str]:
    """$10 a day, $100 of tax on the 1st."""
    return {EC2: "10", TAX: "100"} if day.day == 1 else {EC2: "10"}


@pytest.mark.parametrize(
    "today",
    [
        *(date(2026, 5, day) for day in (1, 2, 3, 4, 5, 10, 20, 30, 31)),
        date(2026, 2, 1),
        date(2026, 2, 28),
        date(2024, 2, 29),
        date(2025, 12, 31),
        date(2026, 1, 1),
    ],
)
def test_a_month_is_projected_to_its_exact_end(ledger: Ledger, today: date) -> None:
    """Half of today is reported, and tax is dated the 1st."""
    fill(ledger, at(today), lambda day: plain(day) if day < today else {EC2: "5"})
    month = month_start(today, -1) - month_start(today)

    found = projected(ledger, at(today))

    assert found.month == {EC2: pytest.approx(10 * month.days), TAX: pytest.approx(100)}
    assert found.coming == pytest.approx(
        [110 if day.day == 1 else 10 for day in days_between(today + DAY, today + 8 * DAY)]
    )


def test_just_after_midnight_the_new_day_is_unread_and_yesterday_incomplete(ledger: Ledger) -> None:
    evening = datetime(2026, 5, 31, 20, tzinfo=UTC)
    fill(ledger, evening, lambda day: plain(day) if day < date(2026, 5, 31) else {EC2: "7"})

    assert projected(ledger, evening + timedelta(hours=5)).month == {
        EC2: pytest.approx(300),
        TAX: pytest.approx(100),
    }


def test_a_spike_of_today_is_kept_and_not_continued(ledger: Ledger) -> None:
    fill(ledger, at(TODAY), lambda day: {EC2: "510"} if day == TODAY else plain(day))
    assert projected(ledger, at(TODAY)).month[EC2] == pytest.approx(31 * 10 + 500)


def test_a_refund_of_today_is_kept_and_not_continued(ledger: Ledger) -> None:
    fill(ledger, at(TODAY), lambda day: {EC2: "-40"} if day == TODAY else plain(day))
    assert projected(ledger, at(TODAY)).month[EC2] == pytest.approx(31 * 10 - 40)


def test_what_has_stopped_keeps_its_month_to_date(ledger: Ledger) -> None:
    fill(ledger, at(TODAY), lambda day: {EC2: "10"} if day <= date(2026, 5, 8) else {})
    assert projected(ledger, at(TODAY)).month == {EC2: pytest.approx(80)}


def test_what_had_stopped_before_the_month_is_absent(ledger: Ledger) -> None:
    other = ("222222222222", "S3")
    fill(
        ledger,
        at(TODAY),
        lambda day: {EC2: "10", other: "5"} if day < date(2026, 4, 9) else {EC2: "10"},
        start=date(2026, 4, 1),
    )
    assert set(projected(ledger, at(TODAY)).month) == {EC2}


def test_the_cost_type_is_the_one_asked_for(ledger: Ledger) -> None:
    fill(ledger, at(TODAY), plain)
    found = project(ledger, at(TODAY), "amortized")
    assert found is not None
    assert found.month[EC2] == pytest.approx(620)


@pytest.mark.parametrize(("known", "says"), [(6, False), (7, True)])
def test_less_than_a_week_of_complete_days_says_nothing(ledger: Ledger, known: int, says: bool) -> None:
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    fill(ledger, now, plain, start=date(2026, 4, 30) - known * DAY)
    assert (project(ledger, now, "unblended") is not None) == says


def test_an_unread_day_of_the_month_says_nothing(ledger: Ledger) -> None:
    fill(ledger, at(date(2026, 5, 8)), plain)
    later = list(days_between(date(2026, 5, 10), TODAY + DAY))
    rows = {(day, *key): usd(text) for day in later for key, text in plain(day).items()}
    ledger.reads.commit(CostRead(at(TODAY), dict.fromkeys(later, False), rows))
    assert project(ledger, at(TODAY), "unblended") is None

    ledger.reads.commit(CostRead(at(TODAY), {date(2026, 5, 9): False}, {(date(2026, 5, 9), *EC2): usd("10")}))
    assert projected(ledger, at(TODAY)).month[EC2] == pytest.approx(310)


def test_an_empty_ledger_says_nothing(ledger: Ledger) -> None:
    assert project(ledger, at(TODAY), "unblended") is None
    assert (
        list(render(ViewContext(ledger=ledger, now=at(TODAY), settings=cost.CostSettings(), names={}))) == []
    )


def test_a_scan_that_agrees_completes_a_day(ledger: Ledger) -> None:
    """Yesterday's read was early, and nothing has moved since: its low cost is what it was."""
    early = start_of_day(TODAY) + timedelta(hours=1)
    fill(ledger, early, lambda day: {EC2: "4"} if day == TODAY - DAY else {} if day == TODAY else plain(day))
    assert projected(ledger, early).month[EC2] == pytest.approx(310)

    later = early + DAY
    scanned = {(TODAY - DAY, EC2[0]): usd("4"), (TODAY, EC2[0]): usd("0")}
    ledger.reads.commit(CostRead(later, {TODAY: True, TODAY + DAY: True}, {(TODAY, *EC2): usd("10")}))
    ledger.reads.commit_scan("account", later, [TODAY - DAY], scanned)
    assert projected(ledger, later).month[EC2] == pytest.approx(304)


series_costs = st.dictionaries(
    st.tuples(st.sampled_from(("1", "2")), st.sampled_from(("EC2", "S3", "Tax"))),
    st.lists(st.integers(0, 10**6), min_size=92, max_size=92),
    min_size=1,
)


@settings(max_examples=12, deadline=None)  # each writes and reads a ledger
@given(series_costs, st.integers(1, 31))
def test_a_projection_of_usage_is_never_below_the_month_to_date(
    tmp_path_factory: pytest.TempPathFactory, costs: dict[tuple[str, str], list[int]], day_of_month: int
) -> None:
    today = date(2026, 5, day_of_month)
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
    try:
        fill(
            ledger,
            at(today),
            lambda day: {key: str(Decimal(v[day.toordinal() % 92]) / 1000) for key, v in costs.items()},
        )
        to_date = ledger.cost.sums(date(2026, 5, 1), today + DAY, "unblended")
        found = projected(ledger, at(today))
    finally:
        ledger.close()

    assert set(found.month) == set(to_date)
    assert all(found.month[key] >= float(amount) * (1 - 1e-12) for key, amount in to_date.items())
    if today.day == 31:
        rest = {key: found.month[key] - float(amount) for key, amount in to_date.items()}
        assert max(rest.values()) <= 1000  # what is left is a part of one day


def test_the_view_renders_both_families(ledger: Ledger) -> None:
    fill(ledger, at(TODAY), plain)
    ledger.accounts.name({EC2[0]: "prod"}, TODAY)
    view = ViewContext(
        ledger=ledger,
        now=at(TODAY),
        settings=cost.CostSettings(),
        names={},
        sections=Sections(cost.CostSettings(cost_type="unblended")),
    )

    samples = list(render(view))

    assert [(s.family, s.values, round(s.value, 6)) for s in samples] == [
        (MONTH_PROJECTION, (EC2[0], "prod", "EC2"), 310),
        (MONTH_PROJECTION, (EC2[0], "prod", "Tax"), 100),
        *((FORECAST_DAILY, (str(number),), 10) for number in range(1, 8)),
    ]
    (declared,) = (each for each in cost.COLLECTOR.views if each.name == "projection")
    assert declared.valid_until is not None
    assert declared.valid_until(view) == datetime(2026, 6, 1, tzinfo=UTC)
