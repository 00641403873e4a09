"""Which calendars a day lies on: they name it, and their earlier days are those that a person would name."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.expectation.calendars import DAYS_BACK, REMEMBERED, calendars, rules

DAY = timedelta(days=1)
any_day = st.dates(date(2023, 1, 1), date(2030, 12, 31))


def named(tested: date) -> dict[str, tuple[date, ...]]:
    return {each.name: each.days for each in calendars(tested)}


@pytest.mark.parametrize(
    ("tested", "name", "newest"),
    [
        (date(2026, 6, 15), "day 15", (date(2026, 5, 15), date(2026, 4, 15), date(2026, 3, 15))),
        (
            date(2026, 6, 15),  # a Monday; 15 March is a Sunday
            "day 15, or the working day after",
            (date(2026, 5, 15), date(2026, 4, 15), date(2026, 3, 16)),
        ),
        (
            date(2026, 6, 15),
            "day 15, or the working day before",
            (date(2026, 5, 15), date(2026, 4, 15), date(2026, 3, 13)),
        ),
        (date(2026, 6, 1), "Monday 1", (date(2026, 5, 4), date(2026, 4, 6), date(2026, 3, 2))),
        (date(2026, 5, 29), "last Friday", (date(2026, 4, 24), date(2026, 3, 27), date(2026, 2, 27))),
        (date(2026, 2, 28), "day 28", (date(2026, 1, 28), date(2025, 12, 28), date(2025, 11, 28))),
        (date(2028, 2, 29), "day 29", (date(2028, 1, 29), date(2027, 12, 29), date(2027, 11, 29))),
        (date(2026, 5, 29), "working day -1", (date(2026, 4, 30), date(2026, 3, 31), date(2026, 2, 27))),
        (date(2026, 6, 10), "every 14 days", (date(2026, 5, 27), date(2026, 5, 13), date(2026, 4, 29))),
        (date(2026, 6, 10), "every 10 days", (date(2026, 5, 31), date(2026, 5, 21), date(2026, 5, 11))),
    ],
)
def test_the_days_of_a_calendar(tested: date, name: str, newest: tuple[date, ...]) -> None:
    # Of two calendars with the same days one is kept, under the name that comes first.
    assert newest in {days[: len(newest)] for days in named(tested).values()}
    if name in named(tested):
        assert named(tested)[name][: len(newest)] == newest


def test_the_last_day_of_a_month_is_one_whatever_its_length() -> None:
    days = (date(2026, 4, 30), date(2026, 3, 31), date(2026, 2, 28), date(2026, 1, 31))
    assert days in named(date(2026, 5, 31)).values()


@given(any_day)
def test_earlier_days_are_in_order_and_within_thirteen_months(tested: date) -> None:
    for each in calendars(tested):
        assert list(each.days) == sorted(each.days, reverse=True)
        assert all(tested - timedelta(days=DAYS_BACK) <= day < tested for day in each.days)
        assert each.fewest <= len(each.days) <= REMEMBERED


@given(any_day)
def test_two_calendars_never_have_the_same_days(tested: date) -> None:
    found = [each.days for each in calendars(tested)]
    assert len(found) == len(set(found)) > 20


@given(any_day, st.integers(30, 200))
def test_rules_go_on_as_they_were(newest: date, ahead: int) -> None:
    oldest, until = newest - timedelta(days=165), newest + timedelta(days=ahead)
    for rule in rules(oldest, newest, until):
        assert all(oldest <= day <= newest for day in rule.past)
        assert all(newest < day <= until for day in rule.coming)
        assert len(rule.past) <= REMEMBERED
        # What a rule names today, it counts among the past tomorrow.
        later = {each.name: each.past for each in rules(oldest, newest + 31 * DAY, until + 31 * DAY)}
        if (
            rule.coming
            and rule.coming[0] <= newest + 31 * DAY
            and rule.name in later
            and rule.name != "every 28 days"
        ):
            assert rule.coming[0] in later[rule.name]
