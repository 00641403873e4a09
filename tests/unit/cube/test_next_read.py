"""Which days of a dimension are read next: from any state, all that is missing or stale is read, and nothing twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.aws.meter import FIRST_FILL
from exporter.core.moments import days_between, month_start, start_of_day
from exporter.cost.refresh_plan import CostScale, last_final_bill
from exporter.cube.dimensions import Dimension, untagged
from exporter.cube.reading import Known, Rank, Read, Reading, month_of_pages, next_read, refresh_due
from exporter.cube.rewrites import Rewrite
from exporter.cube.settings import CostBreakdownsSettings
from exporter.cube.values import ReadState
from exporter.declarations.calls import Scale

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SCALE = CostScale(accounts=10, services=5, keys=60, groups_per_page=500)
MOMENTS = (
    datetime(2026, 5, 20, 12, tzinfo=UTC),
    datetime(2026, 12, 1, 0, 5, tzinfo=UTC),
    datetime(2028, 2, 29, 23, 55, tzinfo=UTC),
    datetime(2026, 11, 30, 10, tzinfo=UTC),
    datetime(2027, 1, 11, 3, tzinfo=UTC),
)


def state(at: datetime, whole_at: datetime | None = None) -> ReadState:
    return ReadState(at, "cost_explorer", 0, 1, whole_at or at)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Known, timedelta, datetime]:
    now = draw(st.sampled_from(MOMENTS))
    first = now.date() - draw(st.integers(0, 80)) * DAY
    reads: dict[date, ReadState] = {}
    differing: dict[date, frozenset[str] | None] = {}
    for day in days_between(first, now.date() + DAY):
        if draw(st.integers(0, 9)) == 0:
            continue
        begun = start_of_day(day) + draw(st.integers(0, 40)) * HOUR
        read_at = min(now, begun + draw(st.integers(0, 60)) * DAY)
        reads[day] = state(read_at, min(begun, read_at))
        if read_at + 20 * HOUR <= now and draw(st.integers(0, 4)) == 0:
            differing[day] = draw(st.none() | st.frozensets(st.sampled_from("ABC"), min_size=1))
    rewritten = first + draw(st.integers(0, 80)) * DAY
    rewrites = [Rewrite("tag", "", rewritten, rewritten + 40 * DAY, now - draw(st.integers(-30, 90)) * HOUR)]
    interval = draw(st.sampled_from([6 * HOUR, DAY, 7 * DAY]))
    return Known(first, reads, differing, SCALE, "account", rewrites), interval, now


def apply(known: Known, read: Read, now: datetime) -> Known:
    """As after the read."""
    reads, differing = dict(known.reads), dict(known.differing)
    for day in days_between(read.start, read.end):
        if read.only is None:
            reads[day] = state(now)
        elif day in reads:
            reads[day] = state(now, reads[day].whole_at)
        differing.pop(day, None)
    return replace(known, reads=reads, differing=differing)


@settings(max_examples=300, deadline=None)
@given(situations())
def test_what_is_due_is_read_to_its_end_and_then_nothing_is(
    situation: tuple[Known, timedelta, datetime],
) -> None:
    known, interval, now = situation
    today = now.date()
    asked: list[Read] = []
    while (read := next_read(known, interval, now)) is not None:
        assert known.first <= read.start < read.end <= today + DAY
        asked.append(read)
        assert len(asked) < 200
        known = apply(known, read, now)
    # The rule of the 1st holds back today, and yesterday with it, until noon.
    waits = refresh_due(known, interval, now) > now
    assert set(days_between(known.first, today)) - {today} <= known.reads.keys()
    assert today in known.reads or waits
    final_from, final_until, final = last_final_bill(today)
    for day, each in known.reads.items():
        if day < today - DAY:
            assert each.whole_at >= start_of_day(day + DAY)
            assert not (final_from <= day < final_until and each.whole_at < final)
            assert not known.rewrites[0].is_due(day, each.whole_at, now)
    # The first fill pays for what is older than all that was read, and for nothing else.
    oldest = min(situation[0].reads, default=today + DAY)
    for read in asked:
        of_fill = (
            not situation[0].reads.keys() & set(days_between(read.start, read.end)) and read.end <= oldest
        )
        assert (read.budget == FIRST_FILL) == (of_fill and read.rank in (Rank.RECENT, Rank.HISTORY))
        assert not read.may_wait or (read.rank is Rank.MOVED and read.end <= month_start(today, 1))


def whole(now: datetime, days: int = 70) -> Known:
    """Everything was read an hour ago."""
    first = now.date() - days * DAY
    reads = {day: state(now - HOUR) for day in days_between(first, now.date() + DAY)}
    return Known(first, reads, {}, SCALE)


NOW = MOMENTS[0]


def test_an_older_day_that_moved_is_read_with_the_refresh_of_the_accounts_that_differ() -> None:
    then = NOW + DAY
    moved = replace(
        whole(NOW),
        differing={NOW.date() - 30 * DAY: frozenset("AB"), NOW.date() - 10 * DAY: frozenset("B")},
    )
    assert next_read(moved, DAY, NOW + 3 * HOUR) is None  # between two refreshes
    refresh = next_read(moved, DAY, then)
    assert refresh == Read(Rank.REFRESH, then.date() - DAY, then.date() + DAY)
    assert next_read(apply(moved, refresh, then), DAY, then) == Read(
        Rank.MOVED, NOW.date() - 30 * DAY, NOW.date() - 9 * DAY, only=frozenset("AB")
    )


def test_days_beside_the_refresh_are_read_with_it_and_many_accounts_whole() -> None:
    then = NOW + DAY
    settled = then.date() - 3 * DAY
    moved = replace(whole(NOW), differing={settled: frozenset("A"), then.date() - 9 * DAY: None})
    refresh = next_read(moved, DAY, then)
    assert refresh == Read(Rank.REFRESH, then.date() - 9 * DAY, then.date() + DAY)
    many = frozenset(f"{number}" for number in range(101))
    far = replace(whole(NOW), differing={then.date() - 40 * DAY: many})
    first = next_read(far, DAY, then)
    assert first is not None
    assert next_read(apply(far, first, then), DAY, then) == Read(
        Rank.MOVED, then.date() - 40 * DAY, then.date() - 39 * DAY
    )


def test_days_before_last_month_may_wait_and_a_gap_is_no_first_fill() -> None:
    old = NOW.date() - 65 * DAY
    rewritten = replace(
        whole(NOW), rewrites=[Rewrite("tag", "", old - 9 * DAY, old + DAY, NOW - timedelta(minutes=30))]
    )
    read = next_read(rewritten, DAY, NOW)
    assert read is not None
    assert (read.rank, read.end, read.may_wait) == (Rank.MOVED, old + DAY, True)
    known = whole(NOW)
    gap = replace(known, reads={day: each for day, each in known.reads.items() if day != old})
    read = next_read(gap, DAY, NOW)
    assert read == Read(Rank.RECENT, old, old + DAY)
    fill = replace(known, first=known.first - 30 * DAY)
    assert next_read(fill, DAY, NOW) == Read(Rank.HISTORY, known.first - 30 * DAY, known.first, FIRST_FILL)


@pytest.mark.parametrize("interval", [6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 40 * DAY])
def test_longer_intervals_and_larger_pages_cost_less(interval: timedelta) -> None:
    for reading in CostBreakdownsSettings(tags=("a",), untagged=True, services=True).readings():
        scale = Scale(50, 20, 1000, 1, 500)
        pages = month_of_pages(reading, scale, interval)
        assert pages >= min(Decimal(1), Decimal(30 * DAY / interval) / 2)
        assert month_of_pages(reading, scale, interval * 2) <= pages
        assert month_of_pages(reading, replace(scale, groups_per_page=5000), interval) <= pages


def test_an_interval_of_minutes_is_priced_without_a_decision_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, scale = Reading(Dimension("usage_type")), Scale(50, 20, 1000, 1, 500)
    priced = month_of_pages(reading, scale, HOUR)
    decisions = 0

    def counted(known: Known, interval: timedelta, now: datetime) -> Read | None:
        nonlocal decisions
        decisions += 1
        return next_read(known, interval, now)

    monkeypatch.setattr("exporter.cube.reading._SIMULATED_INTERVAL", timedelta(seconds=1))
    assert float(month_of_pages(reading, scale, HOUR)) == pytest.approx(float(priced), rel=0.02)
    monkeypatch.undo()
    monkeypatch.setattr("exporter.cube.reading.next_read", counted)
    seconds = month_of_pages(reading, replace(scale, keys=999), timedelta(seconds=30))
    assert decisions < 1_000
    assert float(seconds) == pytest.approx(120 * float(priced), rel=0.1)


def test_what_was_seen_prices_a_reading_instead_of_what_is_assumed() -> None:
    reading = Reading(Dimension("usage_type"))
    assumed = month_of_pages(reading, Scale(50, 20, 1000, 1, 500), DAY)
    seen = month_of_pages(reading, Scale(50, 20, 1000, 1, 500, groups=((reading.name, 40),)), DAY)
    assert seen < assumed / 5


def test_each_reading_is_a_query_of_its_own() -> None:
    made = CostBreakdownsSettings(
        by=("region",), tags=("team",), cost_categories=("Unit",), untagged=True, services=("tag:team",)
    )
    assert [reading.group_by for reading in made.readings()] == [
        ("LINKED_ACCOUNT", "REGION"),
        ("LINKED_ACCOUNT", ("TAG", "team")),
        ("LINKED_ACCOUNT", ("COST_CATEGORY", "Unit")),
        ("LINKED_ACCOUNT",),
        ("SERVICE", ("TAG", "team")),
    ]
    assert Reading(untagged("team")).record_filter(frozenset("A")) == {
        "And": [
            {
                "Dimensions": {
                    "Key": "RECORD_TYPE",
                    "Values": ["Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation"],
                }
            },
            {"Tags": {"Key": "team", "MatchOptions": ["ABSENT"]}},
            {"Dimensions": {"Key": "LINKED_ACCOUNT", "Values": ["A"]}},
        ]
    }
    with pytest.raises(ValueError, match="services: found 'usage_type', expected one that by"):
        CostBreakdownsSettings(services=("usage_type",))
