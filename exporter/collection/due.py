"""When a unit is due again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from zlib import crc32

_MOST_DOUBLINGS = 16
GRID = 0.99
"""Of its interval a unit waits so much: what then waits a little for a thread is still read within the interval."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How soon what failed is tried again."""

    first_retry: timedelta = timedelta(seconds=5)
    """Of account discovery; doubled after each failure."""
    longest_retry: timedelta = timedelta(minutes=5)
    """Of account discovery."""
    first_paid_retry: timedelta = timedelta(minutes=1)
    """Of a unit of a collector that has a `due` date; doubled after each failure, its interval at most."""
    no_data: timedelta = timedelta(hours=6)
    """The least, of such a unit where AWS has no data yet: it may take a day, and each answer without any is paid for."""
    denied_region: timedelta = timedelta(days=1)
    """Of a unit whose region a service control policy denies."""


def backoff(first: timedelta, failures: int, longest: timedelta) -> timedelta:
    """`first` after the first failure in a row, doubled after each."""
    return min(longest, first * (1 << min(failures - 1, _MOST_DOUBLINGS)))


def phase(lane: str, unit: str) -> float:
    """A part of an interval, from a quarter to the whole, that is always the same for a unit.

    After its first read a unit waits for so much of its interval and from then on for all of it: what was
    read at once at the start of the process is spread from then on, and nothing is older than an interval.
    The units of a lane (an account) stay close to each other: what is made of all of them is made once then.
    """
    return 0.25 + 0.74 * _part(lane) + 0.01 * _part(unit)


def _part(name: str) -> float:
    return crc32(name.encode()) / (1 << 32)


def next_on_grid(grid: float, now: float, seconds: float) -> float:
    """The first moment after `now` that is a whole number of intervals after `grid`; `grid` itself if it is to come."""
    return grid if grid > now else grid + ((now - grid) // seconds + 1) * seconds
