"""What a dated value is of: a whole UTC day, or an hour; and the stamp of its sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from exporter.core.moments import start_of_day, to_milliseconds

_MINUTE_MS = 60_000
_HOUR_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Period:
    """One length of periods.

    A period is known by the `date` of a day, or by the aware `datetime` at which an hour begins (which is a date to
    Python, too), and by its number, as the ledger's tables keep it.
    """

    column: str
    """The column of the tables."""
    promql: str
    """The length in PromQL."""
    length: timedelta
    origin: int
    """The number of the period that began with 1970."""
    latest_offset: timedelta
    """How far after the middle of its period a first stamp may be."""
    number: Callable[[date], int]
    at: Callable[[int], date]

    @property
    def milliseconds(self) -> int:
        """The length."""
        return self.length // timedelta(milliseconds=1)

    @property
    def over(self) -> tuple[int, int]:
        """What to take from a period's number, and what to multiply the rest with, for the moment of its end."""
        return self.origin - 1, self.milliseconds

    def numbers(self, start: date, end: date) -> tuple[int, int]:
        """The numbers of two periods."""
        return self.number(start), self.number(end)

    def start(self, at: date) -> int:
        """Where a period begins, in milliseconds since 1970."""
        return (self.number(at) - self.origin) * self.milliseconds

    def end(self, at: date) -> int:
        """Where a period ends, in milliseconds since 1970."""
        return self.start(at) + self.milliseconds

    def ending(self, moment: datetime) -> date:
        """The period that ends with a moment at which one begins."""
        return self.at(self.origin + to_milliseconds(moment) // self.milliseconds - 1)

    def first_of(self, day: date) -> date:
        """The first period of a day."""
        return self.at(self.origin + to_milliseconds(start_of_day(day)) // self.milliseconds)

    def complete(self, now: datetime, window: timedelta) -> tuple[date, date]:
        """The periods that are over and begin within the window: the first of them, and the one after the last."""
        newest = self.origin + to_milliseconds(now) // self.milliseconds
        oldest = self.origin + to_milliseconds(now - window) // self.milliseconds
        return self.at(oldest + 1), self.at(newest)


def day_of(at: date) -> date:
    """The day of a day, or of an hour."""
    return at.date() if isinstance(at, datetime) else at


def _hour_number(at: date) -> int:
    assert isinstance(at, datetime)
    return int(at.timestamp()) // _HOUR_SECONDS


DAY = Period(
    column="day",
    promql="1d",
    length=timedelta(days=1),
    origin=date(1970, 1, 1).toordinal(),
    latest_offset=timedelta(minutes=59),  # UTC-12 to UTC+11 see noon to 12:59 UTC on the same date
    number=date.toordinal,
    at=date.fromordinal,
)
HOUR = Period(
    column="hour",
    promql="1h",
    length=timedelta(hours=1),
    origin=0,
    latest_offset=timedelta(minutes=25),
    number=_hour_number,
    at=lambda number: datetime.fromtimestamp(number * _HOUR_SECONDS, UTC),
)


def next_stamp(at: date, observed: int, last: int | None, period: Period = DAY) -> int:
    """The stamp of a value of a period that AWS showed at `observed`; all in milliseconds since 1970.

    The middle of the period, plus a millisecond for each minute between its start and the observation; later
    than `last`, the newest stamp that was ever used for the series and period.
    """
    start = period.start(at)
    offset = max(0, (observed - start) // _MINUTE_MS)
    natural = (
        start + period.milliseconds // 2 + min(offset, period.latest_offset // timedelta(milliseconds=1))
    )
    return natural if last is None else max(natural, last + 1)


def is_within(stamp: int, at: date, period: Period = DAY) -> bool:
    """Whether a stamp lies in its period; thousands of forced rewrites would leave it."""
    return 0 <= stamp - period.start(at) < period.milliseconds
