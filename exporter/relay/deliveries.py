"""What of each notification its channel has accepted, on disk, so that a retry does not repeat it."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from exporter.relay.message import Message

_SCHEMA = """
CREATE TABLE IF NOT EXISTS notifications (
    key TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    status TEXT NOT NULL,
    parts TEXT NOT NULL,         -- JSON list, emptied on completion
    delivered INTEGER NOT NULL,  -- parts that the channel has accepted, from the first on
    completed INTEGER NOT NULL,
    touched_at REAL NOT NULL     -- unix seconds of the last change
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS digests (
    channel TEXT PRIMARY KEY,
    done REAL NOT NULL           -- unix seconds of the newest due time that was handled
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS judged_days (
    channel TEXT NOT NULL,
    day INTEGER NOT NULL,        -- ordinal of a UTC day whose comparison with the budget was sent
    PRIMARY KEY (channel, day)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS listed_findings (
    channel TEXT NOT NULL,
    day INTEGER NOT NULL,        -- ordinal of the UTC day of a finding that a digest has listed
    account_id TEXT NOT NULL,
    service TEXT NOT NULL,
    kind TEXT NOT NULL,
    PRIMARY KEY (channel, day, account_id, service, kind)
) STRICT, WITHOUT ROWID
"""
# Longer than a digest can be late: one that the channel has is never sent again, whenever the relay is back.
_DIGEST_KEPT_SECONDS = 2 * 86_400
_JUDGED_DAYS_KEPT = 60  # a digest holds days of the last weeks against the budget
_LISTED_DAYS_KEPT = 60  # an exporter lists findings of the last weeks

FindingKey = tuple[date, str, str, str]
"""Day, account, service and kind of a finding."""


@dataclass(frozen=True)
class Progress:
    """How far a delivery is; `message` is as first rendered, so that its parts belong together."""

    message: Message
    delivered: int
    completed: bool


class Deliveries:
    """
    The memory of deliveries in one SQLite file; safe for threads. Raises sqlite3.Error.

    A notification is open until all its parts are accepted. Once complete it is kept for `retry_window`
    seconds: the same notification within them is a retry whose answer got lost, after them it is
    Alertmanager's repeat and goes out again.
    """

    def __init__(
        self, path: Path, *, clock: Callable[[], float], retry_window: float, pending_expiry: float
    ) -> None:
        self._clock = clock
        self._retry_window = retry_window
        self._pending_expiry = pending_expiry
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
        except sqlite3.Error:
            self._db.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def open(self, key: str, message: Message) -> Progress:
        """The progress of a notification; one that is unknown or expired starts with `message`."""
        with self._lock:
            self._forget_old()
            row = self._db.execute(
                "SELECT title, status, parts, delivered, completed FROM notifications WHERE key = ?", (key,)
            ).fetchone()
            if row is not None:
                title, status, parts, delivered, completed = row
                return Progress(Message(title, status, tuple(json.loads(parts))), delivered, bool(completed))
            self._db.execute(
                "INSERT INTO notifications VALUES (?, ?, ?, ?, 0, 0, ?)",
                (key, message.title, message.status, json.dumps(message.parts), self._clock()),
            )
            return Progress(message, 0, completed=False)

    def accepted(self, key: str, delivered: int) -> None:
        """Remember that the channel has accepted the first `delivered` parts."""
        with self._lock:
            self._db.execute(
                "UPDATE notifications SET delivered = ?, touched_at = ? WHERE key = ?",
                (delivered, self._clock(), key),
            )

    def complete(self, key: str) -> None:
        """Every part is accepted; the texts are no longer needed."""
        with self._lock:
            self._db.execute(
                "UPDATE notifications SET completed = 1, parts = '[]', touched_at = ? WHERE key = ?",
                (self._clock(), key),
            )

    def digest_done(self, channel: str) -> datetime | None:
        """The newest due time of a channel's digest that was handled; None before the first start."""
        with self._lock:
            row = self._db.execute("SELECT done FROM digests WHERE channel = ?", (channel,)).fetchone()
        return datetime.fromtimestamp(row[0], UTC) if row else None

    def judged_days(self, channel: str) -> frozenset[date]:
        """The days that the digests of a channel have finally compared with the daily budget."""
        with self._lock:
            rows = self._db.execute("SELECT day FROM judged_days WHERE channel = ?", (channel,)).fetchall()
        return frozenset(date.fromordinal(day) for (day,) in rows)

    def listed_findings(self, channel: str) -> frozenset[FindingKey]:
        """The findings that digests of a channel have listed."""
        with self._lock:
            rows = self._db.execute(
                "SELECT day, account_id, service, kind FROM listed_findings WHERE channel = ?", (channel,)
            ).fetchall()
        return frozenset((date.fromordinal(day), *key) for day, *key in rows)

    def mark_digest(
        self,
        channel: str,
        due: datetime,
        judged: Collection[date] = (),
        listed: Collection[FindingKey] = (),
    ) -> None:
        """A channel's digest that was due at `due` is handled, and with it every one before.

        `judged` are the days that it was the last to compare with the daily budget, `listed` the findings that it listed.
        """
        days = [(channel, day.toordinal()) for day in judged]
        findings = [(channel, day.toordinal(), *key) for day, *key in listed]
        with self._lock:
            self._db.executemany("INSERT OR IGNORE INTO listed_findings VALUES (?, ?, ?, ?, ?)", findings)
            self._db.execute(
                "DELETE FROM listed_findings WHERE channel = ? AND day < ?",
                (channel, due.toordinal() - _LISTED_DAYS_KEPT),
            )
            # The days first: without the digest's own mark it is not sent a second time either.
            self._db.executemany("INSERT OR IGNORE INTO judged_days VALUES (?, ?)", days)
            self._db.execute(
                "DELETE FROM judged_days WHERE channel = ? AND day < ?",
                (channel, due.toordinal() - _JUDGED_DAYS_KEPT),
            )
            self._db.execute("INSERT OR REPLACE INTO digests VALUES (?, ?)", (channel, due.timestamp()))

    def _forget_old(self) -> None:
        now = self._clock()
        # abs: after the clock was set back, a stamp from the future must not suppress for ever.
        self._db.execute(
            "DELETE FROM notifications WHERE abs(? - touched_at) >= CASE"
            " WHEN key LIKE 'digest %' THEN ? WHEN completed THEN ? ELSE ? END",
            (now, _DIGEST_KEPT_SECONDS, self._retry_window, self._pending_expiry),
        )


def open_deliveries(
    directory: Path, *, clock: Callable[[], float], retry_window: float, pending_expiry: float
) -> Deliveries:
    """Open the memory in `directory`, setting a damaged file aside. Raises OSError and sqlite3.Error."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "deliveries.sqlite"
    try:
        return Deliveries(path, clock=clock, retry_window=retry_window, pending_expiry=pending_expiry)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # locked, read-only, full: not damage
            raise
    # Losing this memory costs a repeated message at most; refusing to start would cost all of them.
    for suffix in ("", "-wal", "-shm"):
        damaged = path.with_name(path.name + suffix)
        if damaged.exists():
            damaged.replace(path.with_name(path.name + ".damaged" + suffix))
    return Deliveries(path, clock=clock, retry_window=retry_window, pending_expiry=pending_expiry)
