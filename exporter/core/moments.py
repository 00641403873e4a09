"""Moments, days and months: UTC, and the clock that everything is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def days_between(start: date, end: date) -> Iterable[date]:
    """The days of [start, end)."""
    return (start + timedelta(days=number) for number in range((end - start).days))


Clock = Callable[[], datetime]
"""Returns the current time as an aware UTC datetime."""


def utc_now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_milliseconds(at: datetime) -> int:
    """A moment as the ledger and Prometheus keep it: whole milliseconds since 1970, what is less is left out."""
    return (at - _EPOCH) // _MILLISECOND


def to_moment(milliseconds: int) -> datetime:
    """The moment of milliseconds since 1970; `to_milliseconds` of it is the same number."""
    return _EPOCH + milliseconds * _MILLISECOND


def start_of_day(day: date) -> datetime:
    """Midnight UTC at which `day` begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def month_start(day: date, months_back: int = 0) -> date:
    """The first day of the month `months_back` months before that of `day`."""
    index = day.year * 12 + day.month - 1 - months_back
    return date(index // 12, index % 12 + 1, 1)


def period_start(period: str, now: datetime) -> datetime | None:
    """Where the current UTC `day` or `month` began; None for `total`."""
    day = start_of_day(now)
    return {"day": day, "month": day.replace(day=1), "total": None}[period]


_MONTH = timedelta(days=30)


def times_a_month(interval: timedelta) -> Decimal:
    """How often something happens in a 30-day month that happens each interval, of at least a second."""
    return Decimal(_MONTH // timedelta(seconds=1)) / Decimal(interval // timedelta(seconds=1))
