"""What of each notification its channel has accepted, on disk, so that a retry does not repeat it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

from exporter.ledger.connection import connect
from exporter.relay.message import Message

log = logging.getLogger(__name__)

T = TypeVar("T")

_TABLES = {
    "notifications": """
        key TEXT PRIMARY KEY,
        title TEXT NOT NULL,
        status TEXT NOT NULL,
        parts TEXT NOT NULL,         -- JSON list, emptied on completion
        delivered INTEGER NOT NULL,  -- parts that the channel has accepted, from the first on
        completed INTEGER NOT NULL,
        touched_at REAL NOT NULL,    -- unix seconds of the last change
        seal TEXT NOT NULL           -- of the columns before it: a damaged row must not pass for a delivered message
    """,
    "digests": """
        channel TEXT PRIMARY KEY,
        done REAL NOT NULL           -- unix seconds of the newest due time that was handled
    """,
    "judged_days": """
        channel TEXT NOT NULL,
        day INTEGER NOT NULL,        -- ordinal of a UTC day whose comparison with the budget was sent
        PRIMARY KEY (channel, day)
    """,
    "listed_findings": """
        channel TEXT NOT NULL,
        day INTEGER NOT NULL,        -- ordinal of the UTC day of a finding that a digest has listed
        account_id TEXT NOT NULL,
        service TEXT NOT NULL,
        kind TEXT NOT NULL,
        PRIMARY KEY (channel, day, account_id, service, kind)
    """,
}
_DAMAGED = {
    sqlite3.SQLITE_ERROR,  # a table of another shape
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_FORMAT,
}
# The second where a message of SQLite quotes a damaged schema that is no text.
_SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
_TRIED_AGAIN_SECONDS = 60.0
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
    The memory of deliveries in one SQLite file; safe for threads, and raises nothing of SQLite or of the disk.

    A notification is open until all its parts are accepted. Once complete it is kept for `retry_window`
    seconds: the same notification within them is a retry whose answer got lost, after them it is
    Alertmanager's repeat and goes out again.

    While the file cannot be used (a full disk, a folder that cannot be written), the process remembers alone, and the
    file is tried again every minute. A damaged file is set aside, a damaged row forgotten: a message may then come
    twice, and none is lost.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: Callable[[], float],
        retry_window: float,
        pending_expiry: float,
        on_failure: Callable[[], None] = lambda: None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the memory in `directory`; `on_failure` is called for each failure to use the file."""
        self._path = directory / "deliveries.sqlite"
        self._clock = clock
        self._retry_window = retry_window
        self._pending_expiry = pending_expiry
        self._on_failure = on_failure
        self._steady = steady
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        self._spare: sqlite3.Connection | None = None
        self._tried_at = steady()
        self._reported = False
        with self._lock:
            self._take_file()

    @property
    def on_disk(self) -> bool:
        """Whether what is remembered outlives the process."""
        return self._file is not None

    def close(self) -> None:
        """Close the file. A delivery that is still at work goes on without it."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            if self._spare is not None:
                self._spare.close()
                self._spare = None

    def open(self, key: str, message: Message) -> Progress:
        """The progress of a notification; one that is unknown or expired starts with `message`."""

        def work(db: sqlite3.Connection) -> Progress:
            self._forget_old(db)
            row = db.execute("SELECT * FROM notifications WHERE key = ?", (key,)).fetchone()
            if row is not None:
                if (found := _progress(row)) is not None:
                    return found
                self._on_failure()
                log.error("what was remembered of a delivery is damaged, it is forgotten")
            self._write(db, key, Progress(message, 0, completed=False))
            return Progress(message, 0, completed=False)

        return self._do(work)

    def accepted(self, key: str, message: Message, delivered: int) -> None:
        """Remember that the channel has accepted the first `delivered` parts of `message`."""
        self._do(lambda db: self._write(db, key, Progress(message, delivered, completed=False)))

    def complete(self, key: str, message: Message) -> None:
        """Every part is accepted; the texts are no longer needed."""
        done = Progress(Message(message.title, message.status, ()), len(message.parts), completed=True)
        self._do(lambda db: self._write(db, key, done))

    def digest_done(self, channel: str) -> datetime | None:
        """The newest due time of a channel's digest that was handled; None before the first start."""
        rows = self._rows("SELECT done FROM digests WHERE channel = ?", channel)
        moments = [
            moment for (done,) in rows if (moment := _or_none(datetime.fromtimestamp, done, UTC)) is not None
        ]
        return max(moments, default=None)

    def judged_days(self, channel: str) -> frozenset[date]:
        """The days that the digests of a channel have finally compared with the daily budget."""
        rows = self._rows("SELECT day FROM judged_days WHERE channel = ?", channel)
        return frozenset(day for (number,) in rows if (day := _or_none(date.fromordinal, number)) is not None)

    def listed_findings(self, channel: str) -> frozenset[FindingKey]:
        """The findings that digests of a channel have listed."""
        rows = self._rows(
            "SELECT day, account_id, service, kind FROM listed_findings WHERE channel = ?", channel
        )
        return frozenset(
            (day, str(account_id), str(service), str(kind))
            for number, account_id, service, kind in rows
            if (day := _or_none(date.fromordinal, number)) is not None
        )

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

        def work(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR IGNORE INTO listed_findings VALUES (?, ?, ?, ?, ?)", findings)
            db.execute(
                "DELETE FROM listed_findings WHERE channel = ? AND day < ?",
                (channel, due.toordinal() - _LISTED_DAYS_KEPT),
            )
            # The days first: without the digest's own mark it is not sent a second time either.
            db.executemany("INSERT OR IGNORE INTO judged_days VALUES (?, ?)", days)
            db.execute(
                "DELETE FROM judged_days WHERE channel = ? AND day < ?",
                (channel, due.toordinal() - _JUDGED_DAYS_KEPT),
            )
            db.execute("INSERT OR REPLACE INTO digests VALUES (?, ?)", (channel, due.timestamp()))

        self._do(work)

    def _rows(self, query: str, channel: str) -> list[tuple[Any, ...]]:
        return self._do(lambda db: db.execute(query, (channel,)).fetchall())

    def _write(self, db: sqlite3.Connection, key: str, progress: Progress) -> None:
        message = progress.message
        row = (
            key, message.title, message.status, json.dumps(message.parts),
            progress.delivered, int(progress.completed), float(self._clock()),
        )  # fmt: skip
        db.execute("INSERT OR REPLACE INTO notifications VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, _seal(row)))

    def _forget_old(self, db: sqlite3.Connection) -> None:
        now = self._clock()
        # abs: after the clock was set back, a stamp from the future must not suppress for ever.
        db.execute(
            "DELETE FROM notifications WHERE abs(? - touched_at) >= CASE"
            " WHEN key LIKE 'digest %' THEN ? WHEN completed THEN ? ELSE ? END",
            (now, _DIGEST_KEPT_SECONDS, self._retry_window, self._pending_expiry),
        )

    # The file, or what stands in for it

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work`, which may begin more than once; on the file if it can be used."""
        with self._lock:
            if self._file is None and self._steady() - self._tried_at >= _TRIED_AGAIN_SECONDS:
                self._take_file()
            for _ in range(2):  # a file that is found damaged makes room for another
                if self._file is None:
                    break
                try:
                    return work(self._file)
                except _SQLITE_ERRORS as error:
                    self._lose_file(self._file, error)
            if self._spare is None:
                self._spare = _made(_connect(":memory:"))
            return work(self._spare)

    def _take_file(self) -> None:
        """Open the file, and move to it what was remembered without it."""
        self._tried_at = self._steady()
        try:
            try:
                opened = _open(self._path)
            except _SQLITE_ERRORS as error:
                if not _is_damage(error):
                    raise
                self._set_aside(error)
                opened = _open(self._path)
        except (OSError, *_SQLITE_ERRORS) as error:
            self._failed(error)
            if self._spare is None:
                self._spare = _read(self._path)
            return
        if self._spare is not None:
            try:
                _copy(self._spare, opened)
            except _SQLITE_ERRORS as error:
                opened.close()
                self._failed(error)
                return
            self._spare.close()
            self._spare = None
        if self._reported:
            log.warning("memory of deliveries is on disk again", extra={"file": str(self._path)})
        self._reported = False
        self._file = opened

    def _lose_file(self, file: sqlite3.Connection, error: Exception) -> None:
        self._file = None
        if _is_damage(error):
            file.close()
            with suppress(OSError):
                self._set_aside(error)
            self._take_file()
            return
        self._tried_at = self._steady()
        self._failed(error)
        with suppress(*_SQLITE_ERRORS):  # a full disk can still be read
            spare = _made(_connect(":memory:"))
            self._spare = spare
            _copy(file, spare)
        file.close()

    def _set_aside(self, error: Exception) -> None:
        """Move a damaged file away: its loss costs a repeated message at most."""
        self._on_failure()
        log.error(
            "memory of deliveries is damaged, it begins empty",
            extra={"file": str(self._path), "error": str(error)},
        )
        for suffix in ("", "-wal", "-shm"):
            damaged = self._path.with_name(self._path.name + suffix)
            if damaged.exists():
                damaged.replace(self._path.with_name(self._path.name + ".damaged" + suffix))

    def _failed(self, error: Exception) -> None:
        self._on_failure()
        if not self._reported:  # the metrics show that it lasts
            log.error(
                "memory of deliveries is not on disk, messages may come twice after a restart",
                extra={"file": str(self._path), "error": str(error)},
            )
        self._reported = True


class _DamagedError(sqlite3.DatabaseError):
    """The file is not what was written."""


def _is_damage(error: Exception) -> bool:
    """Whether the file is at fault; not for a full disk, a lock, or a folder that cannot be written."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, _DamagedError | UnicodeDecodeError) or (
        code is not None and code & 0xFF in _DAMAGED
    )


def _open(path: Path) -> sqlite3.Connection:
    """The file, checked and found to be writable. Raises OSError and sqlite3.Error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Private from its first byte on; SQLite gives the files beside it the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    with suppress(PermissionError):  # another user's, that this one may write
        path.chmod(0o600)
    db = _connect(path)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        _made(db)
        db.execute("PRAGMA user_version = 1")  # writes, so that a full disk shows
    except BaseException:
        db.close()
        raise
    return db


def _connect(database: Path | str) -> sqlite3.Connection:
    return connect(database, timeout=5.0, isolation_level=None, check_same_thread=False)


def _read(path: Path) -> sqlite3.Connection:
    """What can be read of a file that cannot be written, in memory; empty where nothing can."""
    spare = _made(_connect(":memory:"))
    with (
        suppress(OSError, *_SQLITE_ERRORS),
        # Immutable: else reading, too, makes files beside it.
        closing(connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as file,
    ):
        file.text_factory = _text
        _copy(file, spare)
    return spare


def _text(text: bytes) -> str:
    # A damaged row must not stop the reading of others.
    return text.decode("utf-8", "replace")


def _made(db: sqlite3.Connection) -> sqlite3.Connection:
    """The connection, with its tables made and found as they should be."""
    db.text_factory = _text
    if _columns(db, "notifications")[-1:] == [
        "touched_at"
    ]:  # of before rows had a seal; they expire in an hour
        db.execute("DROP TABLE notifications")
    for table, columns in _TABLES.items():
        db.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns}) STRICT, WITHOUT ROWID")
        expected = re.findall(r"^\s*(\w+) (?:TEXT|INTEGER|REAL)", columns, re.MULTILINE)
        if _columns(db, table) != expected:
            raise _DamagedError(f"the table {table} has other columns")
    if (found := db.execute("PRAGMA quick_check(1)").fetchone()) != ("ok",):
        raise _DamagedError(str(found))
    return db


def _columns(db: sqlite3.Connection, table: str) -> list[str]:
    return [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Every row, in one transaction."""
    target.execute("BEGIN")
    with target:
        for table in _TABLES:
            rows = source.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 # a name of ours
            marks = ", ".join("?" * len(_columns(target, table)))
            target.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)  # noqa: S608 # a name of ours


def _progress(row: tuple[Any, ...]) -> Progress | None:
    """What a row says; None if it is damaged."""
    *columns, seal = row
    if seal != _seal(columns):
        return None
    _, title, status, parts, delivered, completed, _ = columns
    return Progress(Message(title, status, tuple(json.loads(parts))), delivered, bool(completed))


def _seal(columns: Sequence[Any]) -> str:
    return hashlib.blake2b(json.dumps(columns).encode(), digest_size=16).hexdigest()


def _or_none(read: Callable[..., T], *arguments: Any) -> T | None:
    """What `read` makes of a remembered value; None for one that is damaged."""
    try:
        return read(*arguments)
    except (ValueError, TypeError, OverflowError, OSError):
        return None
