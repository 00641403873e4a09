"""Months compared by key, reads that wait, and scans that find a day as it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.core.amounts import Units
from exporter.core.moments import days_between
from exporter.cost.older_months import commit_comparison, days_a_turn, periods
from exporter.cost.refresh_plan import CostPart, CostQuery
from exporter.history.sample_timestamps import Stamps
from exporter.ledger.file import Ledger
from exporter.ledger.pending import Origin, PendingRead
from exporter.ledger.reads import CostRead

DAY = timedelta(days=1)
MARCH, APRIL, MAY = date(2026, 3, 1), date(2026, 4, 1), date(2026, 5, 1)
NOON = datetime(2026, 6, 20, 12, tzinfo=UTC)
KEYS = (("1", "S3"), ("1", "EC2"), ("2", "S3"), ("2", "EC2"))
LARGE = 10**10


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def alike(units: int) -> Units:
    return Units._make([units] * 5)


def fill(ledger: Ledger, start: date, end: date, at: datetime = NOON) -> None:
    days = list(days_between(start, end))
    costs = {(day, *key): alike(LARGE) for day in days for key in KEYS}
    ledger.reads.commit(CostRead(at, dict.fromkeys(days, False), costs))
    ledger.reads.commit_non_usage(CostRead(at, dict.fromkeys(days, False), {}))


def sums(
    start: date, end: date, moved: dict[tuple[date, str, str], int]
) -> dict[tuple[date, str, str], Units]:
    """AWS's sums of the months of [start, end), with so many units more by first day, account and service."""
    return {
        (first, *key): alike((until - first).days * LARGE + moved.get((first, *key), 0))
        for first, until in periods(start, end)
        for key in KEYS
    }


def compare(
    ledger: Ledger, moved: dict[tuple[date, str, str], int], at: datetime = NOON, start: date = MARCH
) -> tuple[date, ...]:
    query = CostQuery(CostPart.MONTHS, start, MAY)
    return commit_comparison(ledger, query, start, MAY, sums(start, MAY, moved), at)


def waiting(ledger: Ledger) -> list[tuple[date, date, str | None, tuple[str, ...]]]:
    return [(read.start, read.end, read.kind, read.names) for read in ledger.pending.of(Origin.MONTHS)]


def test_a_month_that_differs_is_read_again_of_the_account_alone(ledger: Ledger) -> None:
    fill(ledger, MARCH, MAY)
    assert compare(ledger, {}) == ()
    assert compare(ledger, {(MARCH, "1", "S3"): 5000}) == (MARCH,)
    assert waiting(ledger) == [(MARCH, APRIL, "account", ("1",))]
    assert ledger.reads.scanned_at("months") == NOON


def test_a_service_is_read_where_it_has_moved_in_all_accounts(ledger: Ledger) -> None:
    fill(ledger, MARCH, MAY)
    ledger.facts.remember("cost_explorer_groups_per_page", 70)  # a month of one of the four keys fits twice
    compare(ledger, {(MARCH, "1", "S3"): 5000, (MARCH, "2", "S3"): 5000})
    assert waiting(ledger) == [(MARCH, APRIL, "service", ("S3",))]


def test_a_month_of_which_a_day_is_not_read_is_not_compared(ledger: Ledger) -> None:
    """Nor one of which a day was read before its end only: its sums cannot be those of the month."""
    fill(ledger, MARCH, MARCH + 10 * DAY)
    fill(ledger, MARCH + 11 * DAY, MAY - DAY)
    fill(ledger, MAY - DAY, MAY, datetime(2026, 4, 30, 12, tzinfo=UTC))
    assert compare(ledger, {(MARCH, "1", "S3"): 5000, (APRIL, "1", "S3"): 5000}) == ()
    assert waiting(ledger) == []
    fill(ledger, MARCH + 10 * DAY, MARCH + 11 * DAY)
    assert compare(ledger, {(MARCH, "1", "S3"): 5000, (APRIL, "1", "S3"): 5000}) == (MARCH,)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rounding=st.lists(st.integers(-31, 31), min_size=20, max_size=20),
    change=st.integers(-(10**12), 10**12),
    field=st.integers(0, 4),
)
def test_rounding_is_no_difference_and_anything_larger_is(
    ledger: Ledger, rounding: list[int], change: int, field: int
) -> None:
    """AWS rounds the sum of a month and that of each of its days: up to a unit a day apart."""
    if not ledger.reads.day_states(MARCH, APRIL):
        fill(ledger, MARCH, APRIL)
    seen = {
        key: Units._make(31 * LARGE + each for each in rounding[5 * number : 5 * number + 5])
        for number, key in enumerate(KEYS)
    }
    values = list(seen[KEYS[2]])
    values[field] += change
    seen[KEYS[2]] = Units._make(values)
    found = ledger.months.differences("total", MARCH, APRIL, seen)
    apart = values[field] - 31 * LARGE
    assert set(found.keys) == ({KEYS[2]} if abs(apart) > 32 else set())
    if abs(apart) > 32:
        assert found.keys[KEYS[2]][field] == apart


def test_what_reading_does_not_change_is_read_twice_and_not_every_week(ledger: Ledger) -> None:
    fill(ledger, MARCH, MAY)
    asked = 0
    for week in range(6):
        compare(ledger, {(MARCH, "1", "S3"): 5000}, NOON + week * 7 * DAY)
        for read in ledger.pending.of(Origin.MONTHS):
            asked += 1
            assert read.number is not None
            ledger.pending.shorten(read.number, read.start)  # read, and nothing was different
    assert asked == 2
    # AWS says something else: it is worth a read again.
    assert compare(ledger, {(MARCH, "1", "S3"): 6000}) == (MARCH,)


def test_what_waits_is_not_given_up_by_another_comparison(ledger: Ledger) -> None:
    """However often it is found while ceilings leave no room for it."""
    fill(ledger, MARCH, MAY)
    for week in range(6):
        assert compare(ledger, {(MARCH, "1", "S3"): 5000}, NOON + week * 7 * DAY) == (MARCH,)
        assert waiting(ledger) == [(MARCH, APRIL, "account", ("1",))]


def test_a_comparison_in_slices_goes_on_where_it_was(ledger: Ledger) -> None:
    fill(ledger, MARCH, MAY)
    query = CostQuery(CostPart.MONTHS, MARCH, MAY)
    commit_comparison(ledger, query, APRIL, MAY, sums(APRIL, MAY, {}), NOON)
    assert ledger.reads.scanned_at("months") is None
    (rest,) = ledger.pending.of(Origin.SCAN)
    assert (rest.part, rest.start, rest.end, rest.began_at) == ("months", MARCH, APRIL, NOON)

    later = NOON + timedelta(hours=1)
    query = CostQuery(CostPart.MONTHS, MARCH, APRIL, began_at=NOON, pending=rest.number)
    moved = {(MARCH, "2", "EC2"): -4000}
    assert commit_comparison(ledger, query, MARCH, APRIL, sums(MARCH, APRIL, moved), later) == (MARCH,)
    assert ledger.pending.of(Origin.SCAN) == []
    assert ledger.reads.scanned_at("months") == NOON


def test_of_open_months_only_accounts_whose_total_stays_are_read(ledger: Ledger) -> None:
    """The others are found by the scans of each refresh."""
    fill(ledger, MARCH, MAY)
    open_ = datetime(2026, 5, 6, 12, tzinfo=UTC)
    moved = {(APRIL, "1", "S3"): 5000, (APRIL, "1", "EC2"): -5000, (APRIL, "2", "S3"): 7000}
    assert compare(ledger, moved, open_) == (APRIL,)
    assert waiting(ledger) == [(APRIL, MAY, "account", ("1",))]
    final = datetime(2026, 5, 11, 12, tzinfo=UTC)
    assert compare(ledger, moved, final) == (APRIL,)
    assert waiting(ledger) == [(APRIL, MAY, "account", ("1", "2"))]


def test_a_move_within_an_account_is_found_beside_what_moves_its_total(ledger: Ledger) -> None:
    """In an open month, too: the account's total differs for another reason, which may be read on its day alone."""
    fill(ledger, MARCH, MAY)
    moved = {(APRIL, "1", "S3"): 5000, (APRIL, "1", "EC2"): -4000}
    assert compare(ledger, moved, datetime(2026, 5, 6, 12, tzinfo=UTC)) == (APRIL,)
    assert waiting(ledger) == [(APRIL, MAY, "account", ("1",))]


def test_neighbours_are_read_together_where_that_takes_no_more_pages(ledger: Ledger) -> None:
    fill(ledger, MARCH, MAY)
    compare(ledger, {(MARCH, "1", "S3"): 5000, (APRIL, "1", "S3"): 5000})
    assert waiting(ledger) == [(MARCH, MAY, "account", ("1",))]


days = st.integers(0, 60).map(lambda number: MARCH + number * DAY)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    reads=st.lists(st.tuples(days, days).filter(lambda r: r[0] < r[1]), max_size=4),
    within=st.tuples(days, days).filter(lambda r: r[0] <= r[1]),
)
def test_dropped_days_are_dropped_and_no_others(
    ledger: Ledger, reads: list[tuple[date, date]], within: tuple[date, date]
) -> None:
    ledger.pending.drop(Origin.MONTHS)
    ledger.pending.add(
        Origin.MONTHS, [PendingRead("reread", start, end, NOON, "account", ("1",)) for start, end in reads]
    )
    ledger.pending.drop_within(Origin.MONTHS, ["reread"], *within)
    left = [day for read in ledger.pending.of(Origin.MONTHS) for day in days_between(read.start, read.end)]
    wanted = [
        day for start, end in reads for day in days_between(start, end) if not within[0] <= day < within[1]
    ]
    assert sorted(left) == sorted(wanted)
    assert all(read.names == ("1",) and read.began_at == NOON for read in ledger.pending.of(Origin.MONTHS))


@pytest.mark.parametrize(
    ("groups", "size", "expected"),
    [(2000, 5000, 5), (2000, 2000, 1), (20, 5000, 31), (7000, 5000, 2), (1900, 5000, 13)],
)
def test_a_turn_fills_its_pages(groups: int, size: int, expected: int) -> None:
    assert days_a_turn(CostPart.REREAD, groups, size) == expected


@pytest.mark.parametrize("kind", ["account", "service"])
def test_a_scan_that_finds_yesterday_unchanged_after_its_end_is_a_reading_of_it(
    ledger: Ledger, kind: str
) -> None:
    """What was read before midnight enters the dated history, once it is known to be the whole day."""
    before, after = (datetime(2026, 4, 30, 23, tzinfo=UTC), datetime(2026, 5, 1, 5, tzinfo=UTC))
    yesterday = MAY - DAY
    fill(ledger, yesterday, MAY, before)
    stamps = Stamps(ledger)
    assert stamps.changed_days(MARCH, MAY) == []
    subjects = ("1", "2") if kind == "account" else ("S3", "EC2")
    totals = {(yesterday, subject): alike(2 * LARGE) for subject in subjects}
    ledger.reads.commit_scan(kind, after - timedelta(hours=5, minutes=1), [yesterday], totals)
    assert stamps.changed_days(MARCH, MAY) == []
    other = {**totals, (yesterday, subjects[0]): alike(LARGE)}
    ledger.reads.commit_scan(kind, after, [yesterday], other)
    assert stamps.changed_days(MARCH, MAY) == []
    ledger.reads.commit_scan(kind, after, [yesterday], totals)
    assert [day for day, _ in stamps.changed_days(MARCH, MAY)] == [yesterday]
    # Its accounts and services have not been read since: a later refresh does.
    (state,) = ledger.reads.day_states(yesterday, MAY).values()
    assert (state.read_at, state.whole_at) == (after, before)


def test_totals_that_move_between_keys_are_seen_although_the_sums_of_the_day_stay(ledger: Ledger) -> None:
    """The part that is not usage is due again, and the history follows."""
    fill(ledger, MARCH, APRIL)
    day, later = MARCH + 3 * DAY, NOON + timedelta(hours=1)
    costs = {(day, *key): alike(LARGE) for key in KEYS}
    ledger.reads.commit(CostRead(later, {day: False}, costs))
    assert not ledger.reads.day_states(day, day + DAY)[day].other_moved
    costs[day, "1", "S3"], costs[day, "2", "S3"] = alike(LARGE + 7), alike(LARGE - 7)
    ledger.reads.commit(CostRead(later + timedelta(hours=1), {day: False}, costs))
    assert ledger.reads.day_states(day, day + DAY)[day].other_moved
