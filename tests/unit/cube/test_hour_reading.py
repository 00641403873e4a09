"""Which hours are asked for, and when again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from exporter.cube.hour_reading import KnownHours, hours_between, hours_taken, hours_to_read
from exporter.cube.hours import HourState

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)  # the days before are of another month
INTERVAL = 6 * HOUR
TODAY = NOW.date()


def known(read_at: datetime, changes: Mapping[date, int], cost_changes: int = 0) -> KnownHours:
    """Every hour, read at one moment."""
    hours = hours_between(*hours_to_read(NOW))
    return KnownHours(dict.fromkeys(hours, HourState(read_at, "cost_explorer", cost_changes)), changes)


def test_what_cost_explorer_still_has_is_asked_for_at_once() -> None:
    first, end = hours_to_read(NOW)
    assert (first, end) == (datetime(2026, 2, 15, 10, tzinfo=UTC), datetime(2026, 3, 1, 9, tzinfo=UTC))
    assert KnownHours({}, {}).next_days(NOW, INTERVAL) == (first.date(), TODAY + DAY)


def test_days_that_have_not_settled_are_read_each_interval_and_older_ones_when_their_cost_changes() -> None:
    read_at = NOW - 2 * HOUR
    unsettled = [TODAY - number * DAY for number in range(3)]
    assert [*known(read_at, {}).due(NOW, INTERVAL)] == [(day, read_at + INTERVAL) for day in unsettled]
    assert known(read_at, {}).next_days(NOW, INTERVAL) is None
    changed = TODAY - 6 * DAY
    due = dict(known(read_at, {changed: 3, TODAY - 8 * DAY: 2}, cost_changes=2).due(NOW, INTERVAL))
    # Of the other days the ledger's count is 0: they have changed, too, as after a ledger that was lost.
    assert due[changed] == read_at + DAY
    assert TODAY - 8 * DAY not in due
    # A day is read once more after it has settled.
    assert known(NOW - DAY, {changed: 1}).next_days(NOW, INTERVAL) == (TODAY - 3 * DAY, TODAY + DAY)


def test_changed_days_next_to_each_other_are_read_together() -> None:
    read_at = NOW - DAY
    changes = {TODAY - number * DAY: 1 for number in (5, 6, 9)}
    every = known(read_at, changes)
    young = {
        hour: HourState(NOW, "cost_explorer", 0) for hour in every.hours if hour.date() >= TODAY - 3 * DAY
    }
    again = KnownHours({**every.hours, **young}, changes)
    assert again.next_days(NOW, INTERVAL) == (TODAY - 6 * DAY, TODAY - 4 * DAY)


def test_an_hour_without_an_answer_keeps_what_is_known_and_counts_as_asked_for() -> None:
    first = datetime(2026, 3, 1, tzinfo=UTC)
    asked = hours_between(first, first + 4 * HOUR)
    answered, read = {first, first + HOUR}, {first, first + 2 * HOUR}
    assert hours_taken(asked, answered, read) == {first, first + HOUR, first + 3 * HOUR}
