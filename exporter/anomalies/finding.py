"""Something that stands out in the cost of a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from exporter.anomalies.settings import Kind


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that stands out on a day, in USD; `usd` is what it is off, negative below the expectation.

    `lower` and `upper` are the ends of what is usual, `same_weekdays` the days compared, the newest first.
    `deviation` and `score` are None where there is nothing to compare with, as of a new service.
    """

    day: date
    account_id: str
    service: str
    kind: Kind
    usd: float
    cost: float
    expected: float
    lower: float
    upper: float
    deviation: float | None
    score: float | None
    recurs: bool
    """What recurs on a calendar is part of the expectation."""
    same_weekdays: tuple[tuple[date, float], ...]

    @property
    def percentage(self) -> float | None:
        """The difference in percent of the expectation; None where nothing was expected."""
        return self.usd / self.expected * 100 if self.expected else None
