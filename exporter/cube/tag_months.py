"""The first month in which a tag is known: before its activation, cost without the tag is not untagged, but unknown.

Cost Explorer answers the same for both. So months are unknown until the first in which any account has a value of
the key, or the one in which the key was first read, if that is earlier: since then, the user wants to see what is
untagged. A tag that is backfilled to earlier months has values there once they are read again.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime

from exporter.core.moments import month_start
from exporter.cube.dimensions import WITHOUT, Dimension
from exporter.ledger.file import Ledger

_WATCHED = "cube_watched_since "  # the month of the first read, by its ordinal
_FIRST_VALUE = "cube_first_value "  # the oldest month with a value


def known_from(ledger: Ledger, dimension: Dimension) -> date:
    """The first day on which cost by a dimension is known; date.min for all but tags."""
    if dimension.kind not in ("tag", "untagged"):
        return date.min
    watched = ledger.facts.get(_WATCHED + dimension.key)
    if watched is None:
        return date.min
    first = ledger.facts.get(_FIRST_VALUE + dimension.key)
    return date.fromordinal(min(watched, first) if first is not None else watched)


def learn(
    ledger: Ledger, tag: Dimension, days: Collection[date], observed_at: datetime, *, is_active: bool
) -> None:
    """Take over what a committed read of these days shows; within its transaction.

    `is_active`: the source itself shows that the tag is active in these days, as an export does.
    """
    if not days:
        return
    facts = ledger.facts
    if facts.get(_WATCHED + tag.key) is None:
        facts.remember(_WATCHED + tag.key, month_start(observed_at.date()).toordinal())
    known = facts.get(_FIRST_VALUE + tag.key)
    if is_active:
        found: int | None = month_start(min(days)).toordinal()
    else:
        found = _first_with_value(ledger, tag, min(days), max(days))
    if found is not None and (known is None or found <= known):
        facts.remember(_FIRST_VALUE + tag.key, found)
    elif known is not None and min(days) < month_start(date.fromordinal(known), -1):
        # The month was read again, perhaps after the tag was deactivated for it.
        still = _first_with_value(ledger, tag, date.fromordinal(known), date.max)
        facts.remember(_FIRST_VALUE + tag.key, still if still is not None else date.max.toordinal())


def _first_with_value(ledger: Ledger, tag: Dimension, first: date, last: date) -> int | None:
    """The month, by its ordinal, of the first day of [first, last] on which any account or service has a value."""
    with ledger.connection() as db:
        row = db.execute(
            "SELECT MIN(day) FROM cube_values WHERE day >= ? AND day <= ?"
            " AND key IN (SELECT id FROM cube_keys WHERE dimension = ? AND value != ?)",
            (first.toordinal(), last.toordinal(), tag.name, WITHOUT),
        ).fetchone()
    return month_start(date.fromordinal(row[0])).toordinal() if row[0] is not None else None
