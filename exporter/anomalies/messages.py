"""Which findings are worth a message: the largest, and no more a week than people read.

A finding that goes on is one message. What is beyond the week's number, or what an organization of this size has by
chance each week, is listed: in the digest, on dashboards, by API and commands.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from exporter.core.moments import to_milliseconds, to_moment
from exporter.ledger.file import Ledger

_WEEK = timedelta(days=7)
_GOES_ON_DAYS = 2  # one silent day between two of the same finding
_KEPT_DAYS = 60
_DAY = timedelta(days=1)

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finding: its day, the account, what of it (a service, or a metric and its region), its kind, and its size in USD.

    The size is None where a finding has no amount. `is_worth` is False for one that is listed in any case; of the
    others, `day` is the assessed day.
    """

    day: date
    account_id: str
    subject: str
    kind: str
    usd: float | None
    is_worth: bool = True

    @property
    def key(self) -> Key:
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
) -> frozenset[Key]:
    """The keys of the candidates of an assessed day that no message is sent of; what is decided is kept in the ledger.

    The candidates come the largest first, those of one sort (cost, or usage) together; `most` messages are sent of
    them in seven days, assessed ones and those of the clock. Half of what is left of them at most is used on one day,
    so that there is room for what comes.
    """
    with ledger.transaction() as db:
        _forget_old(db, day, now)
        has_usd = any(each.usd is not None for each in candidates)
        room = _room(db, day, now, most, has_usd=has_usd)
        unsent = set()
        for each in candidates:
            known = _known(db, each)
            is_sent = known is not None and known[1]
            if not is_sent and each.is_worth and room > 0:
                # It is of the week in which it is sent, and no longer listed.
                _delete_unsent(db, each)
                known, is_sent, room = None, True, room - 1
            first, decided_at = (
                (known[0], known[2]) if known else (each.day.toordinal(), to_milliseconds(now))
            )
            if not is_sent:
                unsent.add(each.key)
            db.execute(
                "INSERT INTO anomaly_messages VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " last_day = MAX(last_day, excluded.last_day), sent = excluded.sent, usd = excluded.usd,"
                " decided_at = excluded.decided_at",
                (*each.key, first, each.day.toordinal(), is_sent, each.usd, decided_at),
            )
    return frozenset(unsent)


def _room(db: sqlite3.Connection, day: date, now: datetime, most: int, *, has_usd: bool) -> int:
    """How many more messages may be sent of an assessed day.

    Days may go back, and come faster or slower than those of the clock: what is near in either counts.
    """
    used, today = db.execute(
        "SELECT COUNT(*) FILTER (WHERE first_day != :day), COUNT(*) FILTER (WHERE first_day = :day)"
        " FROM anomaly_messages WHERE sent AND (usd IS NOT NULL) = :has_usd"
        " AND (ABS(first_day - :day) < :days OR ABS(decided_at - :now) < :milliseconds)",
        {
            "day": day.toordinal(),
            "days": _WEEK // _DAY,
            "now": to_milliseconds(now),
            "milliseconds": _WEEK // timedelta(milliseconds=1),
            "has_usd": has_usd,
        },
    ).fetchone()
    return int(-(-(most - used) // 2) - today)


_SAME = (
    "account_id = ? AND subject = ? AND kind = ?"
    f" AND first_day <= ? + {_GOES_ON_DAYS} AND last_day >= ? - {_GOES_ON_DAYS}"
)


def _same(each: Candidate) -> tuple[object, ...]:
    """The parameters of `_SAME`."""
    return *each.key, each.day.toordinal(), each.day.toordinal()


def _known(db: sqlite3.Connection, each: Candidate) -> tuple[int, bool, int] | None:
    """The first day of a finding that goes on, whether a message was sent of it, and when that was decided."""
    row = db.execute(
        "SELECT first_day, sent, decided_at FROM anomaly_messages"  # noqa: S608 # no value but question marks
        f" WHERE {_SAME} ORDER BY sent DESC, last_day DESC LIMIT 1",
        _same(each),
    ).fetchone()
    return (row[0], bool(row[1]), row[2]) if row else None


def _delete_unsent(db: sqlite3.Connection, each: Candidate) -> None:
    db.execute(
        f"DELETE FROM anomaly_messages WHERE NOT sent AND {_SAME}",  # noqa: S608 # no value but question marks
        _same(each),
    )


def _forget_old(db: sqlite3.Connection, day: date, now: datetime) -> None:
    # ABS: what a clock that was years ahead left goes, too.
    db.execute(
        "DELETE FROM anomaly_messages WHERE ABS(last_day - ?) > ? AND ABS(decided_at - ?) > ?",
        (
            day.toordinal(),
            _KEPT_DAYS,
            to_milliseconds(now),
            _KEPT_DAYS * _DAY // timedelta(milliseconds=1),
        ),
    )


def listed(ledger: Ledger, since: datetime) -> list[Listed]:
    """The findings of cost that since then it was decided of that no message is sent, the largest first."""
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT first_day, account_id, subject, kind, usd, decided_at FROM anomaly_messages"
            " WHERE NOT sent AND usd IS NOT NULL AND decided_at >= ? ORDER BY ABS(usd) DESC, account_id, subject, kind",
            (to_milliseconds(since),),
        ).fetchall()
    return [
        Listed(date.fromordinal(first), account_id, subject, kind, usd, to_moment(decided_at))
        for first, account_id, subject, kind, usd, decided_at in rows
    ]
