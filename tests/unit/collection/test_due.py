"""When a unit is due again: within an interval, at a phase that is its own, later after each failure."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from exporter.collection.due import backoff, next_on_grid, phase

moments = st.floats(0, 1e7)


@given(moments, moments, st.floats(1, 1e5))
def test_what_was_read_is_due_within_an_interval_and_on_its_grid(
    grid: float, now: float, seconds: float
) -> None:
    due = next_on_grid(grid, now, seconds)
    assert due > now
    assert due == grid if grid > now else due <= now + seconds * (1 + 1e-9)
    intervals = (due - grid) / seconds
    assert abs(intervals - round(intervals)) < 1e-3


def test_units_that_were_read_together_are_spread_over_the_interval() -> None:
    phases = [phase(f"{number:012}", f"inventory_{number % 25}") for number in range(10_000)]
    assert min(phases) >= 0.25
    assert max(phases) <= 1
    parts = [
        sum(0.25 + 0.075 * part <= each < 0.25 + 0.075 * (part + 1) for each in phases) for part in range(10)
    ]
    assert min(parts) > 0.8 * len(phases) / 10
    assert phase("the same", "unit") == phase("the same", "unit")


def test_the_units_of_an_account_are_read_one_after_the_other() -> None:
    phases = [phase("111111111111", f"inventory_{number}") for number in range(100)]
    assert 0 < max(phases) - min(phases) < 0.01


def test_each_failure_in_a_row_doubles_the_wait_up_to_a_limit() -> None:
    first, longest = timedelta(minutes=1), timedelta(hours=6)
    waits = [backoff(first, failures, longest) for failures in (1, 2, 3, 10, 1000)]
    assert waits == [first, 2 * first, 4 * first, longest, longest]
