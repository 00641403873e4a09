"""The baseline follows rhythm, month ends and lasting changes, and takes neither noise nor silence for news."""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pytest

from exporter.expectation import baseline
from exporter.expectation.baseline import assess, input_days
from exporter.expectation.limits import Limits

TESTED = date(2026, 5, 20)  # a Wednesday in the middle of a month
DAY = timedelta(days=1)
LIMITS = Limits()
NAN = float("nan")
Daily = Callable[[date], float]


def ago(day: date) -> int:
    return (TESTED - day).days


def noise(day: date) -> float:
    """Up to 4% either way, without a rhythm."""
    return 1 + ((day.toordinal() * 7919) % 81 - 40) / 1000


def found(*daily: Daily, tested: date = TESTED, limits: Limits = LIMITS) -> list[str]:
    """What is found of each series: a kind, or an empty text."""
    days = input_days(tested)
    values = np.array([[each(day) for day in days] for each in daily], dtype=np.float64)
    result = assess(values, days, limits)
    flags = {
        "spike": baseline.spikes(result, limits),
        "drop": baseline.drops(result, limits),
        "new": result.new,
        "stopped": result.stopped,
    }
    return [" ".join(kind for kind, flag in flags.items() if flag[number]) for number in range(len(daily))]


def result_of(daily: Daily, tested: date = TESTED) -> baseline.Baseline:
    days = input_days(tested)
    return assess(np.array([[daily(day) for day in days]]), days, LIMITS)


def test_a_steady_service_is_expected_to_cost_what_it_costs() -> None:
    found_ = result_of(lambda day: 100.0)
    assert (found_.expected[0], found_.score[0], found_.deviation[0]) == (100, 0, pytest.approx(3, abs=0.2))
    assert found(lambda day: 100.0, lambda day: 100 * noise(day)) == ["", ""]


def test_a_spike_takes_score_percentage_and_dollars() -> None:
    def spike(level: float, factor: float) -> Daily:
        return lambda day: level * noise(day) * (factor if day == TESTED else 1)

    assert found(spike(100, 1.5), spike(100, 1.15), spike(10, 2.5), spike(10, 9)) == [
        "spike",
        "",  # fifteen percent
        "",  # fifteen dollars
        "spike",
    ]
    assert found(spike(100, 1.5), limits=Limits(ratio=0.6)) == [""]
    assert found(spike(100, 1.5), limits=Limits(amount=60)) == [""]
    assert found(spike(100, 1.5), limits=Limits(score=50)) == [""]


def test_the_tested_day_is_not_among_the_days_that_it_is_compared_with() -> None:
    for factor in (1, 10, 1000):
        assert result_of(lambda day, f=factor: 100 * noise(day) * (f if day == TESTED else 1)).expected[
            0
        ] == pytest.approx(100, rel=0.04)


def test_noise_widens_what_is_usual() -> None:
    rng = np.random.default_rng(3)
    drawn = {
        day: float(factor) for day, factor in zip(input_days(TESTED), rng.lognormal(0, 0.3, 401), strict=True)
    }

    def noisy(factor: float) -> Daily:
        return lambda day: 100 * factor if day == TESTED else 100 * drawn[day]

    assert found(noisy(1.6), noisy(8)) == ["", "spike"]


def test_a_rhythm_of_the_week_is_no_finding_and_hides_none() -> None:
    def weekends(day: date) -> float:
        return 300 * noise(day) if day.weekday() >= 5 else 0.0

    def workdays(day: date) -> float:
        return 300 * noise(day) if day.weekday() < 5 else 60 * noise(day)

    week = [TESTED + number * DAY for number in range(7)]
    assert [found(weekends, workdays, tested=day) for day in week] == [["", ""]] * 7
    sunday = date(2026, 5, 24)
    # As much on a Wednesday as on a Sunday, and as much on a Sunday as on a workday.
    assert found(lambda day: 300.0 if day == TESTED else weekends(day)) == ["spike"]
    assert found(lambda day: 300.0 if day == sunday else workdays(day), tested=sunday) == ["spike"]


def test_what_recurs_at_month_ends_is_expected_there_only() -> None:
    def closing(day: date) -> float:
        return noise(day) * (500 if (day + DAY).day == 1 else 100)

    def fee(day: date) -> float:
        return noise(day) * (400 if day.day == 1 else 100)

    for tested in (date(2026, 2, 28), date(2026, 5, 31), date(2026, 6, 1), date(2026, 6, 2)):
        assert found(closing, fee, tested=tested) == ["", ""]
    assert result_of(closing, date(2026, 5, 31)).recurs.tolist() == [True]
    # The closing's amount in the middle of a month, and twice it at the end.
    assert found(lambda day: 500.0 if day == TESTED else closing(day)) == ["spike"]
    end = date(2026, 5, 31)
    assert found(lambda day: 1000.0 if day == end else closing(day), tested=end) == ["spike"]


@pytest.mark.parametrize(("factor", "kind"), [(2.0, "spike"), (0.4, "drop")])
def test_a_lasting_change_is_told_at_once_and_learnt_within_two_weeks(factor: float, kind: str) -> None:
    def told(days_ago: int) -> str:
        return found(lambda day: 200 * noise(day) * (factor if ago(day) <= days_ago else 1))[0]

    assert [told(number) for number in (1, 3, 5)] == [kind] * 3
    assert [told(number) for number in range(8, 15)] == [""] * 7


def test_the_end_of_a_long_spike_is_no_drop() -> None:
    for length in (1, 4, 9):
        assert found(lambda day, n=length: 200 * noise(day) * (3 if 1 < ago(day) <= 1 + n else 1)) == [""]


def test_a_return_to_what_was_usual_for_weeks_is_no_finding() -> None:
    assert found(
        lambda day: 200 * noise(day) * (0.3 if 1 <= ago(day) <= 11 else 1),
        lambda day: 200 * noise(day) * (3 if 1 < ago(day) <= 11 else 1),
    ) == ["", ""]


def test_growth_of_a_percent_a_day_is_followed_and_no_finding() -> None:
    for daily in (1.01, 0.99):
        grown = result_of(lambda day, factor=daily: 200 * noise(day) * factor ** -ago(day))
        assert grown.expected[0] == pytest.approx(200, rel=0.03)
    assert found(
        lambda day: 200 * noise(day) * 1.01 ** -ago(day), lambda day: 200 * noise(day) * 0.99 ** -ago(day)
    ) == ["", ""]


def test_bursts_that_come_every_week_are_how_a_series_is() -> None:
    bursts = {3, 8, 14, 15, 23, 29, 36, 40, 47, 53}

    def bursty(amount: float) -> Daily:
        return lambda day: amount if day == TESTED else noise(day) * (400 if ago(day) in bursts else 100)

    assert found(bursty(420), bursty(1500)) == ["", "spike"]


def test_a_drop_takes_two_days() -> None:
    def low(days: set[int]) -> Daily:
        return lambda day: 200 * noise(day) * (0.3 if ago(day) in days else 1)

    assert found(low({0}), low({0, 1}), low({0, 3})) == ["", "drop", ""]


def test_missing_is_neither_a_drop_nor_an_end() -> None:
    def unread(days: set[int], value: float = NAN) -> Daily:
        return lambda day: value if ago(day) in days else 200 * noise(day)

    assert found(unread({0}), unread({0, 1, 2}), unread({1, 2, 3})) == ["", "", ""]
    assert np.isnan(result_of(unread({0})).score[0])
    assert found(unread(set(range(1, 45)))) == [""]  # too little is known
    assert np.isnan(result_of(unread(set(range(1, 45)))).expected[0])
    # A zero after days that are not known is one low day.
    assert found(lambda day: 0.0 if day == TESTED else unread({1, 2, 3})(day)) == [""]


def test_a_service_has_stopped_when_it_is_silent_for_two_days_and_longer_than_ever() -> None:
    def silent(days: int, level: float = 100) -> Daily:
        return lambda day: 0.0 if ago(day) < days else level * noise(day)

    assert found(silent(1), silent(2), silent(5), silent(7), silent(9)) == [
        "",
        "stopped",
        "stopped",
        "stopped",
        "",
    ]
    assert found(silent(3, level=5)) == [""]
    stopped = result_of(silent(3))
    assert stopped.usual[0] == pytest.approx(100, rel=0.04)
    # Silent for up to four days before: three days are nothing new.
    assert found(lambda day: 0.0 if ago(day) < 3 or 20 <= ago(day) < 24 else 100.0) == ["drop"]
    # Workdays only: Sunday and Saturday are no end, nor is a steady service.
    sunday = date(2026, 5, 24)
    assert found(lambda day: 100.0 if day.weekday() < 5 else 0.0, lambda day: 80.0, tested=sunday) == ["", ""]


def test_a_service_is_new_for_a_week_from_its_first_cost() -> None:
    def since(days: int, level: float = 100) -> Daily:
        return lambda day: level * noise(day) if ago(day) < days else 0.0

    assert found(since(1), since(4), since(7), since(8), since(1, level=5)) == ["new", "new", "new", "", ""]
    # Where the days before are not known nothing is new.
    assert found(lambda day: 100.0 if ago(day) < 3 else NAN) == [""]


def test_a_young_service_is_not_judged_by_days_on_which_it_did_not_exist() -> None:
    def young(day: date) -> float:
        return (0 if ago(day) > 15 else 40 if day.weekday() >= 5 else 120) * noise(day)

    days = [TESTED + number * DAY for number in range(7)]
    assert [found(young, tested=day) for day in days] == [[""]] * 7


def test_next_to_nothing_multiplied_is_nothing() -> None:
    assert found(lambda day: 0.01 * (500 if day == TESTED else 1), lambda day: 0.0) == ["", ""]
    quiet = result_of(lambda day: 0.0)
    assert np.isnan(quiet.expected[0])
    assert np.isnan(quiet.score[0])


def test_credits_within_usage_do_not_break_it() -> None:
    result = result_of(lambda day: -50 * noise(day))
    assert result.expected[0] == pytest.approx(-50, rel=0.05)
    assert found(lambda day: -50 * noise(day), lambda day: 60.0 if day == TESTED else -50 * noise(day)) == [
        "",
        "spike",
    ]


def test_days_have_to_be_in_order() -> None:
    for days in ([], [TESTED, TESTED - DAY], [TESTED, TESTED]):
        with pytest.raises(ValueError, match="days in order"):
            assess(np.zeros((1, 2)), days, LIMITS)


def test_input_reaches_back_over_thirteen_months() -> None:
    days = input_days(TESTED)
    assert (days[0], days[-1], len(days)) == (date(2025, 4, 15), TESTED, 401)


def at_the_limits(limits: Limits, side: int) -> baseline.Baseline:
    """A day that is off by a quarter of 100 dollars, in score five deviations."""
    flag = np.zeros(1, dtype=bool)
    value, expected, score = np.array([100.0 + side * 25]), np.array([100.0]), np.array([side * 5.0])
    return baseline.Baseline(
        value, expected, np.array([5.0]), score, expected, expected,
        recurs=flag, low_days=np.ones(1, dtype=np.int64), often_idle=flag,
            back=flag, new=flag, stopped=flag, may_be_restated=flag, usual=expected,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "is_found"),
    [
        (Limits(score=5, ratio=0.25, amount=25), True),
        (Limits(score=5.001, ratio=0.25, amount=25), False),
        (Limits(score=5, ratio=0.251, amount=25), False),
        (Limits(score=5, ratio=0.25, amount=25.01), False),
    ],
    ids=["each is reached", "score", "ratio", "amount"],
)
def test_what_reaches_every_limit_is_found(limits: Limits, is_found: bool) -> None:
    assert baseline.spikes(at_the_limits(limits, 1), limits).tolist() == [is_found]
    assert baseline.drops(at_the_limits(limits, -1), limits).tolist() == [is_found]


def test_a_new_service_is_one_from_its_least_amount_on() -> None:
    def new(usd: float) -> Daily:
        return lambda day: usd if day == TESTED else 0.0

    assert found(new(LIMITS.new_amount), new(LIMITS.new_amount - 0.01)) == ["new", ""]


def test_a_silence_as_long_as_one_before_is_no_end() -> None:
    def silent(days: int) -> Daily:
        return lambda day: 0.0 if ago(day) < days or ago(day) in (20, 21) else 60.0

    assert found(silent(2), silent(3)) == ["drop", "stopped"]


def test_any_values_give_numbers_or_nothing() -> None:
    """Single precision, huge and tiny amounts, gaps: no warning, and no verdict on what is not known."""
    rng = np.random.default_rng(7)
    days = input_days(TESTED)
    values = rng.choice([0.0, 0.0, 1e-9, 1.0, -3.0, 1e9, NAN], (200, len(days))).astype(np.float32)
    values[0], values[1, :-1], values[2] = NAN, NAN, 0.0
    seen = assess(values, days, LIMITS)
    verdicts = baseline.spikes(seen, LIMITS) | baseline.drops(seen, LIMITS) | seen.new | seen.stopped
    assert not verdicts[np.isnan(seen.value)].any()
    assert not verdicts[:3].any()
    assert np.isnan(seen.expected[:2]).all()
