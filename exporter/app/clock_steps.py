"""Notices that the wall clock was set: who waits for a time of day would wait too long, or has waited enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

_LEAST_SECONDS = 10.0  # less delays nothing, and may be this process being held up between two readings


class ClockSteps:
    """Compares the wall clock with one that cannot be set."""

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        """Both in seconds; the time of this call is taken for right."""
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()

    def step(self) -> timedelta | None:
        """By how much the wall clock was set since the last call, None if it was not; negative is back."""
        before, self._offset = self._offset, self._wall() - self._steady()
        seconds = self._offset - before
        return timedelta(seconds=seconds) if abs(seconds) >= _LEAST_SECONDS else None
