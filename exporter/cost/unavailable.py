"""Months of which Cost Explorer has no data yet: nothing is there, and it is not asked for again at each refresh.

For days after it was enabled, Cost Explorer answers for the current month alone. What was missing once is asked for
again after as long as it has been missing, from a day to a month, because AWS may add it later.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from exporter.core.moments import month_start
from exporter.ledger.file import Ledger

_BEFORE = "cost_unavailable_before"  # a day, by its ordinal
_SINCE = "cost_unavailable_since"  # when it was seen first, in seconds since 1970
_ASKED_AT = "cost_unavailable_asked_at"
_SOONEST, _LATEST = timedelta(days=1), timedelta(days=30)


def first_available(ledger: Ledger) -> date:
    """The first day that Cost Explorer has data of, as far as it is known; date.min if nothing was missing."""
    return date.fromordinal(ledger.facts.get(_BEFORE) or date.min.toordinal())


def is_asked_again(ledger: Ledger, now: datetime) -> bool:
    """Whether the days before `first_available` have their turn."""
    asked_at, since = ledger.facts.get(_ASKED_AT), ledger.facts.get(_SINCE)
    if asked_at is None or since is None:
        return True
    wait = min(max(timedelta(seconds=asked_at - since), _SOONEST), _LATEST)
    return now >= datetime.fromtimestamp(asked_at, UTC) + wait


def remember_unavailable(ledger: Ledger, start: date, end: date, now: datetime) -> bool:
    """Take AWS's word that it has no data of some of [start, end); False where it must have some.

    It must have data of the current month, and of days that were read before.
    """
    last_month = month_start(end - timedelta(days=1))
    # A read of several months lacks the older ones, as far as is known; then the newest is asked for by itself.
    available = last_month if start < last_month else month_start(last_month, -1)
    if available > month_start(now.date()):
        return False
    states = ledger.reads.day_states(start, min(end, available))
    if any(state.read_at is not None for state in states.values()):
        return False
    moment = int(now.timestamp())
    with ledger.transaction():
        if first_available(ledger) == date.min:
            ledger.facts.remember(_SINCE, moment)
        ledger.facts.remember(_BEFORE, available.toordinal())
        ledger.facts.remember(_ASKED_AT, moment)
    return True


def remember_available(ledger: Ledger, start: date) -> None:
    """Days from `start` on were answered: no longer are they among those without data."""
    if start < first_available(ledger):
        ledger.facts.remember(_BEFORE, start.toordinal())
