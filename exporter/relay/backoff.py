"""How long to wait between two attempts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds that grow from `first` by `factor`, up to `longest`."""

    first: float = 1.0
    factor: float = 2.0
    longest: float = 60.0

    def waits(self) -> Iterator[float]:
        """The wait after each attempt, without end."""
        wait = self.first
        while True:
            yield wait
            wait = min(wait * self.factor, self.longest)
