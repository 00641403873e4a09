"""What is compared is the ledger's usage, and a replay of past days gives what each day alone gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.anomalies.cost import assess_day, assessed_day
from exporter.anomalies.history import DAILY_EXPECTED, AssessedHistory
from exporter.anomalies.settings import AnomalySettings
from exporter.anomalies.usage_days import UsageDays, day_inputs
from exporter.core.amounts import Amounts
from exporter.core.moments import month_start, start_of_day
from exporter.expectation import baseline
from exporter.ledger.daily_values import totals
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

DAY = timedelta(days=1)
NOW = datetime(2026, 5, 20, 13, tzinfo=UTC)
FIRST = date(2026, 5, 1)
COUNT = 12
ACCOUNT = "111111111111"
UNREAD, EARLY, COMPLETE = 0, 1, 2


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "ledger.sqlite")) as opened:
        yield opened


def read(ledger: Ledger, day: date, costs: dict[str, tuple[Decimal, Decimal]], at: datetime) -> None:
    """One day at amortized cost: by service, its whole cost and what of it is no usage."""
    for commit, place in ((ledger.reads.commit, 0), (ledger.reads.commit_non_usage, 1)):
        found = {
            (day, ACCOUNT, service): Amounts(Decimal(0), amortized=pair[place])
            for service, pair in costs.items()
            if pair[place]
        }
        commit(CostRead(at, {day: False}, found))


USD = st.decimals(-100_000, 100_000, places=10)
DAYS = st.lists(
    st.tuples(
        st.sampled_from((UNREAD, EARLY, COMPLETE, COMPLETE)),
        st.dictionaries(st.sampled_from("abc"), st.tuples(USD, USD), max_size=3),
    ),
    min_size=COUNT,
    max_size=COUNT,
)


@settings(max_examples=15, deadline=None)
@given(days=DAYS, asked=st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=6))
def test_values_are_the_ledgers_in_any_order_of_tested_days(
    days: list[tuple[int, dict[str, tuple[Decimal, Decimal]]]],
    asked: list[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A day that was read within a day of its end is known, and too early to be compared with."""
    with closing(Ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")) as ledger:
        for number, (state, costs) in enumerate(days):
            day = FIRST + number * DAY
            if state != UNREAD:
                hours = 3 if state == EARLY else 30
                read(ledger, day, costs, start_of_day(day + DAY) + timedelta(hours=hours))
        usage = UsageDays(ledger, day_inputs(ledger, FIRST, FIRST + COUNT * DAY))
        known = [number for number, (state, _) in enumerate(days) if state != UNREAD]
        for last in asked:
            tested = FIRST + last * DAY
            # The first days asked for are before the ledger's first.
            wanted = [FIRST + number * DAY for number in range(-3, last + 1)]
            columns = usage.days(wanted)
            values = usage.values(wanted)
            assert columns == [day for day in wanted if known and day >= FIRST + known[0] * DAY]
            if tested > FIRST + (known[-1] if known else -1) * DAY:
                continue  # not known: it is not assessed
            assert values.shape == (max(usage.series, default=0) + 1, len(columns))
            for place, day in enumerate(columns):
                state, costs = days[(day - FIRST).days]
                for series, (_, service) in usage.series.items():
                    whole, other = costs.get(service, (Decimal(0), Decimal(0)))
                    if state == UNREAD or (state == EARLY and day != tested):
                        assert np.isnan(values[series, place])
                    else:
                        exact = float(whole - other)
                        assert values[series, place] == pytest.approx(exact, rel=1e-6)
                        assert usage.exact(day)[series] == pytest.approx(exact, rel=1e-15)


def test_the_tested_day_is_exact_where_single_precision_is_not(ledger: Ledger) -> None:
    usd = Decimal("123456789.0123456789")
    for number in range(30):
        read(ledger, FIRST - number * DAY, {"a": (usd, Decimal(0))}, NOW)
    found = assess_day(ledger, FIRST, AnomalySettings())
    (number,) = found.series
    assert found.baseline.value[number] == float(usd)
    assert float(np.float32(usd)) != float(usd)


SERVICES = {
    "weekly": lambda day: 100 + 20 * (day.weekday() < 5) + day.day % 3,
    "monthly": lambda day: 400 if day.day == 15 else 100 + day.day % 2,
    "growing": lambda day: 50 * 1.003 ** (day - date(2025, 9, 1)).days,
}


def read_month(ledger: Ledger, first: date, end: date) -> None:
    days = dict.fromkeys((first + number * DAY for number in range((end - first).days)), False)
    costs = {
        (day, ACCOUNT, service): Amounts(Decimal(0), amortized=Decimal(repr(round(daily(day), 4))))
        for service, daily in SERVICES.items()
        for day in days
    }
    ledger.reads.commit(CostRead(NOW, days, costs))
    ledger.reads.commit_non_usage(CostRead(NOW, days, {}))


def versions(ledger: Ledger) -> dict[int, int]:
    with ledger.connection() as db:
        return dict(db.execute("SELECT day, version FROM derived_days WHERE kind = 'assessed'").fetchall())


def test_a_first_fill_writes_each_day_once_and_the_newest_a_few_times(ledger: Ledger) -> None:
    """It reads the newest month first; the exporter starts again before each of them."""
    months, writes, before = 9, Counter[date](), dict[int, int]()
    for back in range(months + 1):
        end = month_start(NOW.date(), back - 1) if back else NOW.date()
        read_month(ledger, month_start(NOW.date(), back), end)
        history = AssessedHistory(ledger, AnomalySettings(), timedelta(days=450), months, lambda: NOW)
        assert history.update() is False
        after = versions(ledger)
        writes.update(date.fromordinal(day) for day in after if before.get(day) != after[day])
        before = after
    newest = assessed_day(ledger, NOW)
    assert newest is not None
    assert writes.pop(newest) <= 6
    assert set(writes.values()) == {1}
    oldest = month_start(NOW.date(), months)
    assert max(writes) == newest - DAY
    assert len(writes) >= (newest - oldest).days - 14

    held = {
        (day, service): value
        for day, _, _, service, value in totals(ledger, oldest, NOW.date(), [DAILY_EXPECTED.name])
    }
    for day in [newest - number * DAY for number in range(0, 120, 9)]:
        # What was known when a day was written is what the days before it say, but for those of long ago.
        alone = assess_day(ledger, day, AnomalySettings())
        figures = {alone.series[number][1]: alone.baseline.expected[number] for number in alone.series}
        assert {service: held[day, service] for service in figures} == pytest.approx(figures, rel=0.05), day


def test_days_replayed_over_one_array_are_as_each_alone(ledger: Ledger) -> None:
    for back in range(6):
        read_month(
            ledger, month_start(NOW.date(), back), month_start(NOW.date(), back - 1) if back else NOW.date()
        )
    newest = assessed_day(ledger, NOW)
    assert newest is not None
    days = [newest - number * DAY for number in range(0, 60, 7)]
    first = baseline.input_days(days[-1])[0]
    usage = UsageDays(ledger, day_inputs(ledger, first, newest + DAY))
    for day in (*days, *days[::-1]):
        together, alone = (assess_day(ledger, day, AnomalySettings(), None, given) for given in (usage, None))
        assert together.findings == alone.findings
        for name in ("value", "expected", "score", "lower", "upper"):
            np.testing.assert_array_equal(
                getattr(together.baseline, name), getattr(alone.baseline, name), name
            )


def test_what_is_kept_between_two_looks_is_read_again_where_it_changed(ledger: Ledger) -> None:
    for number in range(3, COUNT):
        day = FIRST + number * DAY
        read(ledger, day, {"a": (Decimal(number), Decimal(0))}, start_of_day(day + DAY) + timedelta(hours=30))
    wanted = [FIRST + number * DAY for number in range(COUNT)]
    usage = UsageDays(ledger, day_inputs(ledger, FIRST, FIRST + COUNT * DAY))
    usage.values(wanted)
    # A restatement, and days that are older than all that were known.
    read(ledger, FIRST + 5 * DAY, {"a": (Decimal(50), Decimal(0))}, NOW)
    read(ledger, FIRST + DAY, {"a": (Decimal(10), Decimal(0))}, NOW)
    assert usage.renew(day_inputs(ledger, FIRST, FIRST + COUNT * DAY))
    fresh = UsageDays(ledger, day_inputs(ledger, FIRST, FIRST + COUNT * DAY))
    assert np.array_equal(usage.values(wanted), fresh.values(wanted), equal_nan=True)
    # Another series has no row in what is kept.
    read(ledger, FIRST + 6 * DAY, {"b": (Decimal(1), Decimal(0))}, NOW)
    assert not usage.renew(day_inputs(ledger, FIRST, FIRST + COUNT * DAY))


def test_a_day_that_is_reported_again_unchanged_is_made_of_the_same(ledger: Ledger) -> None:
    read(ledger, FIRST, {"a": (Decimal(5), Decimal(0))}, start_of_day(FIRST + DAY) + timedelta(hours=30))
    before = day_inputs(ledger, FIRST, FIRST + DAY)[FIRST]
    ledger.reads.commit_scan(
        "account", NOW, [FIRST], {(FIRST, ACCOUNT): Amounts(Decimal(0), amortized=Decimal(5))}
    )
    after = day_inputs(ledger, FIRST, FIRST + DAY)[FIRST]
    assert after.confirmed_at > before.confirmed_at
    assert (after, repr(after)) == (before, repr(before))
