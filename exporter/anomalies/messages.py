"""Which findings are worth a message: the largest, and no more a week than people read.

A finding that goes on is one message. What is beyond the week's number, or what an organization of this size has by
chance each week, is listed: in the digest, on dashboards, by API and commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from exporter.core.moments import to_milliseconds, to_moment
from exporter.ledger.file import Ledger

_WEEK = timedelta(days=7)
_GOES_ON_DAYS = 2  # one silent day between two of the same finding
_KEPT_DAYS = 60


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finding: the account, what of it (a service, or a metric and its region), its kind, and its size in USD.

    The size is None where a finding has no amount. `is_worth` is False for one that is listed in any case.
    """

    account_id: str
    subject: str
    kind: str
    usd: float | None
    is_worth: bool = True

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two findings of different days the same one."""
        return self.account_id, self.subject, self.kind


@dataclass(frozen=True, slots=True)
class Listed:
    """A finding of cost that no message was sent of, and when that was decided."""

    day: date
    account_id: str
    service: str
    kind: str
    usd: float
    decided_at: datetime


def is_worth_a_message(kind: str, score: float | None, needed: float) -> bool:
    """Whether a finding of cost is sent if there is room; `needed` is the score that an organization has by chance."""
    if kind in ("new_service", "stopped_service"):
        return True
    return kind != "dip" and (score is None or abs(score) >= needed)


def listed_only(
    ledger: Ledger, day: date, candidates: Sequence[Candidate], most: int, now: datetime
) -> frozenset[tuple[str, str, str]]:
    """The keys of the candidates of an assessed day that no message is sent of; what is decided is kept in the ledger.

    The candidates come the largest first, those of one sort (cost, or usage) together; `most` messages are sent of
    them in seven days. Half of what is left of the week at most is used on one day, so that there is room for what comes.
    """
    has_usd = int(any(each.usd is not None for each in candidates))
    with ledger.transaction() as db:
        db.execute("DELETE FROM anomaly_messages WHERE last_day < ?", (day.toordinal() - _KEPT_DAYS,))
        known = {
            (account_id, subject, kind): (first, bool(sent), decided_at)
            for account_id, subject, kind, first, sent, decided_at in db.execute(
                "SELECT account_id, subject, kind, first_day, sent, decided_at FROM anomaly_messages"
                " WHERE last_day >= ? AND first_day <= ? ORDER BY last_day",
                (day.toordinal() - _GOES_ON_DAYS, day.toordinal()),
            )
        }
        (used,), (today,) = (
            db.execute(
                "SELECT COUNT(*) FROM anomaly_messages WHERE sent AND (usd IS NOT NULL) = ?"
                " AND first_day > ? AND first_day <= ?",
                (has_usd, after.toordinal(), until.toordinal()),
            ).fetchone()
            for after, until in ((day - _WEEK, day - timedelta(days=1)), (day - timedelta(days=1), day))
        )
        room = -(-(most - used) // 2) - today
        unsent = set()
        for each in candidates:
            first, sent, decided_at = known.get(each.key, (day.toordinal(), False, to_milliseconds(now)))
            if not sent and each.is_worth and room > 0:
                sent, first, room = True, day.toordinal(), room - 1
            if not sent:
                unsent.add(each.key)
            db.execute(
                "INSERT OR REPLACE INTO anomaly_messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*each.key, first, day.toordinal(), sent, each.usd, decided_at),
            )
    return frozenset(unsent)


def listed(ledger: Ledger, since: date) -> list[Listed]:
    """The findings of cost of assessed days from `since` on that no message was sent of, the largest first."""
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT first_day, account_id, subject, kind, usd, decided_at FROM anomaly_messages"
            " WHERE NOT sent AND usd IS NOT NULL AND last_day >= ? ORDER BY ABS(usd) DESC, account_id, subject, kind",
            (since.toordinal(),),
        ).fetchall()
    return [
        Listed(date.fromordinal(first), account_id, subject, kind, usd, to_moment(decided_at))
        for first, account_id, subject, kind, usd, decided_at in rows
    ]
