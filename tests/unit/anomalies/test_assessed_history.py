"""Expectation, usage and score of each assessed day stand at that day: for the past at once, and again when it moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.anomalies.cost import assess_day, assessed_day
from exporter.anomalies.history import (
    ASSESSED_FAMILIES,
    DAILY_EXPECTED,
    DAILY_EXPECTED_BY_SERVICE,
    DAILY_SCORE,
    DAILY_SCORE_BY_ACCOUNT,
    DAILY_USAGE,
    DAILY_USAGE_BY_SERVICE,
    AssessedHistory,
)
from exporter.anomalies.settings import AnomalySettings
from exporter.core.amounts import Amounts
from exporter.core.moments import month_start
from exporter.ledger.daily_values import Portions, totals
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

DAY = timedelta(days=1)
NOW = datetime(2026, 5, 20, 13, tzinfo=UTC)
NEWEST = date(2026, 5, 18)
MONTHS = 2
FIRST = date(2026, 3, 1)  # two months before that of NOW
WINDOW = timedelta(days=450)
PROD = "111111111111"
Daily = Callable[[date], float]
Series = Mapping[tuple[str, str], Daily]
Values = dict[tuple[str, str, str], float]

# A rhythm, a spike, and a service that began late.
ORGANIZATION: Series = {
    (PROD, "weekly"): lambda day: 100 + 20 * (day.weekday() < 5) + day.day % 3,
    (PROD, "spike"): lambda day: 400 if day == date(2026, 4, 8) else 100 + day.day % 5,
    ("222222222222", "late"): lambda day: 50 + day.day % 2 if day >= date(2026, 4, 1) else 0,
    ("222222222222", "weekly"): lambda day: 60 + 10 * (day.weekday() < 5) + day.day % 3 / 3,
}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def read(
    ledger: Ledger, series: Series, start: date, end: date, at: datetime = NOW, *, other: bool = True
) -> None:
    """What AWS reports at `at` of [start, end); without `other`, its non-usage charges are not known."""
    days = [start + number * DAY for number in range((end - start).days)]
    costs = {
        (day, *key): Amounts(Decimal(0), amortized=Decimal(repr(daily(day))))
        for key, daily in series.items()
        for day in days
        if daily(day)
    }
    ledger.reads.commit(CostRead(at, dict.fromkeys(days, False), costs))
    if other:
        ledger.reads.commit_non_usage(CostRead(at, dict.fromkeys(days, False), {}))


def history(ledger: Ledger, anomalies: AnomalySettings | None = None, now: datetime = NOW) -> AssessedHistory:
    return AssessedHistory(ledger, anomalies or AnomalySettings(), WINDOW, MONTHS, lambda: now)


def held(ledger: Ledger) -> dict[date, Values]:
    names = [family.name for family in ASSESSED_FAMILIES]
    found: dict[date, Values] = {}
    for day, family, account_id, service, value in totals(ledger, FIRST - 99 * DAY, NOW.date(), names):
        found.setdefault(day, {})[family, account_id, service] = value
    return found


def expected(ledger: Ledger, day: date, settings: AnomalySettings | None = None) -> Values:
    """What the live gauges would show of a day."""
    found = assess_day(ledger, day, settings or AnomalySettings())
    values: Values = {}
    for number, shown in enumerate(found.shown):
        base = found.baseline
        if shown and base.expected[number] == base.expected[number]:
            pair = found.series[number]
            values[DAILY_USAGE.name, *pair] = round(float(base.value[number]), 4)
            values[DAILY_EXPECTED.name, *pair] = round(float(base.expected[number]), 4)
            values[DAILY_SCORE.name, *pair] = round(float(base.score[number]), 2)
    for account_id in {account_id for _, account_id, _ in values}:
        scores = [v for (name, of, _), v in values.items() if (name, of) == (DAILY_SCORE.name, account_id)]
        values[DAILY_SCORE_BY_ACCOUNT.name, account_id, ""] = max(sorted(scores, reverse=True), key=abs)
    for family, summed in (
        (DAILY_USAGE, DAILY_USAGE_BY_SERVICE),
        (DAILY_EXPECTED, DAILY_EXPECTED_BY_SERVICE),
    ):
        for service in {service for _, _, service in values if service}:
            parts = [value for (name, _, of), value in values.items() if (name, of) == (family.name, service)]
            values[summed.name, "", service] = round(sum(parts), 4)
    return values


def assessable(ledger: Ledger) -> dict[date, Values]:
    days = [FIRST + number * DAY for number in range((NEWEST - FIRST).days + 1)]
    return {day: values for day in days if (values := expected(ledger, day))}


def test_a_first_start_has_every_day_that_can_be_assessed_as_it_would_have_been_shown(ledger: Ledger) -> None:
    read(ledger, ORGANIZATION, FIRST, NOW.date())
    assert history(ledger).update() is False
    found = held(ledger)
    assert found == assessable(ledger)
    # After the first fortnight no day is missing; the spike stands at its day.
    assert sorted(found) == [FIRST + number * DAY for number in range(14, (NEWEST - FIRST).days + 1)]
    assert found[date(2026, 4, 8)][DAILY_SCORE.name, PROD, "spike"] > 20
    assert found[date(2026, 4, 8)][DAILY_SCORE_BY_ACCOUNT.name, PROD, ""] > 20
    assert found[date(2026, 4, 7)][DAILY_SCORE.name, PROD, "spike"] < 5


HOURS = ((0, 5), (6, 0), (11, 55), (12, 5), (18, 0), (23, 55))
DATES = (
    *(date(2026, 5, day) for day in (1, 2, 3, 11, 31)),
    date(2026, 12, 31),
    date(2028, 2, 29),
    date(2028, 3, 1),
)


@pytest.mark.parametrize(
    ("today", "hour"),
    # Each date at an hour before noon and at one after it.
    [
        (today, hour)
        for number, today in enumerate(DATES)
        for hour in (HOURS[number % 3], HOURS[3 + number % 3])
    ],
    ids=str,
)
def test_at_any_hour_of_any_date_an_exporter_that_starts_has_thirty_days_up_to_the_assessed_one(
    ledger: Ledger, today: date, hour: tuple[int, int]
) -> None:
    now = datetime(today.year, today.month, today.day, *hour, tzinfo=UTC)
    read(ledger, ORGANIZATION, month_start(today, MONTHS), today + DAY, now)
    assert history(ledger, now=now).update() is False
    newest = assessed_day(ledger, now)
    assert newest in (today - 2 * DAY, today - 3 * DAY)
    names = [DAILY_EXPECTED.name]
    days = {day for day, *_ in totals(ledger, today - 31 * DAY - 3 * DAY, today + DAY, names)}
    assert days >= {newest - number * DAY for number in range(30)}
    assert max(days) == newest


def test_a_past_day_waits_for_those_before_it_and_is_assessed_once(ledger: Ledger) -> None:
    """A first start reads the newest months first: what is not known yet would change every expectation."""
    read(ledger, ORGANIZATION, date(2026, 4, 1), NOW.date())
    history(ledger).update()
    assert list(held(ledger)) == [NEWEST]
    read(ledger, ORGANIZATION, FIRST, date(2026, 4, 1), other=False)
    history(ledger).update()
    assert list(held(ledger)) == [NEWEST]
    read(ledger, ORGANIZATION, FIRST, date(2026, 4, 1))
    history(ledger).update()
    assert held(ledger) == assessable(ledger)
    assert len(held(ledger)) > 60


def test_only_what_a_restatement_changes_is_changed(ledger: Ledger) -> None:
    read(ledger, ORGANIZATION, FIRST, NOW.date())
    history(ledger).update()
    before = read_at(ledger)
    # A level that changes for good, from a day on that AWS restates later.
    restated = date(2026, 5, 1)
    doubled = {key: lambda day, daily=daily: 2 * daily(day) for key, daily in ORGANIZATION.items()}
    read(ledger, doubled, restated, NOW.date(), NOW + timedelta(hours=1))
    assert history(ledger, now=NOW + timedelta(hours=1)).update() is False
    assert held(ledger) == assessable(ledger)
    changed = {day for day, at in read_at(ledger).items() if at != before.get(day)}
    assert changed == {restated + number * DAY for number in range((NEWEST - restated).days + 1)}


def test_a_read_that_changes_nothing_assesses_and_writes_nothing(ledger: Ledger) -> None:
    read(ledger, ORGANIZATION, FIRST, NOW.date())
    history(ledger).update()
    before = read_at(ledger)
    read(ledger, ORGANIZATION, FIRST, NOW.date(), NOW + timedelta(hours=1))
    with ledger.connection() as db:
        changes = db.total_changes
        history(ledger, now=NOW + timedelta(hours=1)).update()
        assert db.total_changes == changes
    assert read_at(ledger) == before


def test_other_settings_assess_every_day_again(ledger: Ledger) -> None:
    read(ledger, ORGANIZATION, FIRST, NOW.date())
    history(ledger).update()
    sensitive = AnomalySettings(sensitivity="high", percentage=5)
    history(ledger, sensitive).update()
    for day, values in held(ledger).items():
        assert values == expected(ledger, day, sensitive)


def test_nothing_is_assessed_where_anomalies_are_off_or_nothing_is_known(ledger: Ledger) -> None:
    assert history(ledger).update() is False
    read(ledger, ORGANIZATION, FIRST, NOW.date())
    assert history(ledger, AnomalySettings(enabled=False)).update() is False
    assert held(ledger) == {}


def test_what_aws_takes_back_is_written_over(ledger: Ledger) -> None:
    """A sample cannot be deleted: a service that was never used after all has cost and expectation zero."""
    read(ledger, ORGANIZATION, FIRST, NOW.date())
    history(ledger).update()
    without = {key: daily for key, daily in ORGANIZATION.items() if key[1] != "late"}
    read(ledger, without, FIRST, NOW.date(), NOW + timedelta(hours=1))
    history(ledger, now=NOW + timedelta(hours=1)).update()
    late = [value for values in held(ledger).values() for key, value in values.items() if key[2] == "late"]
    assert len(late) > 30
    assert set(late) == {0.0}


@settings(max_examples=3)
@given(calls=st.lists(st.integers(0, 9), max_size=20))
def test_stopped_anywhere_it_goes_on_where_it_was(
    calls: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
    read(ledger, ORGANIZATION, FIRST, NOW.date())
    for allowed in calls:
        left = iter(range(allowed))
        if not history(ledger).update(lambda left=left: next(left, None) is None):
            break
    # The newest days come first, and each is whole.
    assert all(values == expected(ledger, day) for day, values in held(ledger).items())
    assert sorted(held(ledger), reverse=True) == [
        NEWEST - number * DAY for number in range(len(held(ledger)))
    ]
    history(ledger).update()
    assert held(ledger) == assessable(ledger)
    ledger.close()


def test_much_is_done_in_several_calls(ledger: Ledger) -> None:
    read(ledger, ORGANIZATION, FIRST, NOW.date())
    assessed = AssessedHistory(
        ledger,
        AnomalySettings(),
        WINDOW,
        MONTHS,
        lambda: NOW,
        portions=Portions(a_call=100, a_transaction=30),
    )
    days = []
    while assessed.update():
        days.append(len(held(ledger)))
    assert days == sorted(set(days))
    assert len(days) > 3
    assert held(ledger) == assessable(ledger)


def read_at(ledger: Ledger) -> dict[date, int]:
    with ledger.connection() as db:
        rows = db.execute("SELECT day, read_at FROM dated_days").fetchall()
    return {date.fromordinal(day): at for day, at in rows}
