"""A clock that is set is noticed, once; one that runs is not."""

from __future__ import annotations

from datetime import timedelta

from exporter.app.clock_steps import ClockSteps


def test_a_step_is_noticed_once_and_time_that_passes_is_none() -> None:
    wall, steady = 1_000_000.0, 50.0
    steps = ClockSteps(lambda: wall, lambda: steady)
    assert steps.step() is None
    wall, steady = wall + 7200.2, steady + 7200
    assert steps.step() is None
    wall -= 86_400
    assert steps.step() == timedelta(seconds=-86_400)
    assert steps.step() is None
    wall += 30
    assert steps.step() == timedelta(seconds=30)
    wall, steady = wall + 10, steady + 10
    assert steps.step() is None
