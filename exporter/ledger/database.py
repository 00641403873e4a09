"""The SQLite file of the ledger: opened, locked against a second writer, migrated, and changed in transactions."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from exporter.ledger.connection import connect
from exporter.ledger.schema import MIGRATIONS, SCHEMA_VERSION


class LedgerLockedError(Exception):
    """Another process writes this ledger."""


class Database:
    """One connection that threads share: one uses it at a time, from its first statement to its last row.

    What the path names must stay the file that was opened: a file that was removed could still be read and written,
    until the process ends and all that was committed is gone. While it is another one, `transaction` and `connection`
    raise sqlite3.OperationalError.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open or create `path`; LedgerLockedError if another `run` writes it."""
        self.path = path
        self.rolled_back: list[Callable[[], None]] = []
        """Called after each rollback: what was remembered of rows may be wrong then."""
        self._lock = threading.RLock()
        self._depth = 0
        self._lock_file: IO[str] | None = None
        if read_only:
            # Reading, too, makes files beside it, but where no one writes it: that is for SQLite to be said.
            is_at_rest = not path.with_name(path.name + "-wal").exists()
            at_rest = "&immutable=1" if is_at_rest and not os.access(path.parent, os.W_OK) else ""
            self._db = connect(
                f"{path.absolute().as_uri()}?mode=ro{at_rest}",
                uri=True,
                check_same_thread=False,
                isolation_level=None,
            )
            self._opened = self._found()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file = path.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock_file.close()
            raise LedgerLockedError(f"another process is writing {path}") from None
        self._db = connect(path, check_same_thread=False, isolation_level=None, timeout=10)
        path.chmod(0o600)
        self._opened = self._found()
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")  # a power cut, too, loses nothing
            self._migrate()
        except sqlite3.Error:
            self.close()
            raise

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise sqlite3.DatabaseError(
                f"{self.path} was written by a newer version (schema {version}, this one knows {SCHEMA_VERSION})"
            )
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            with self.transaction():
                for statement in script.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number}")

    def close(self) -> None:
        """Close the file and give up the lock."""
        with self._lock:
            self._db.close()
            if self._lock_file is not None:
                self._lock_file.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit everything inside together or nothing of it; may be nested, within one thread."""
        with self._lock:
            if self._depth == 0:
                self._check_in_place()
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self._db
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._roll_back()
                raise
            self._depth -= 1
            if self._depth == 0:
                try:
                    self._db.execute("COMMIT")
                except sqlite3.Error:
                    self._roll_back()
                    raise

    def _roll_back(self) -> None:
        for forget in self.rolled_back:
            forget()
        # SQLite has done it itself after some errors, e.g. a full disk; a second time would be an error.
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The connection for reading, while no other thread uses it."""
        with self._lock:
            if self._depth == 0:
                self._check_in_place()
            yield self._db

    def check(self) -> None:
        """Read from the file, not from what is remembered of it; sqlite3.Error if it cannot be read."""
        with self.connection() as db:
            db.execute("PRAGMA shrink_memory")
            db.execute("SELECT value FROM facts LIMIT 1").fetchone()

    def data_version(self) -> int:
        """A number that differs after each commit of another connection."""
        with self.connection() as db:
            (version,) = db.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _found(self) -> tuple[int, int]:
        state = self.path.stat()
        return state.st_dev, state.st_ino

    def _check_in_place(self) -> None:
        try:
            found = self._found()
        except OSError as error:
            raise sqlite3.OperationalError(f"{self.path}: {error.strerror}") from None
        if found != self._opened:
            raise sqlite3.OperationalError(f"{self.path} is another file than the one that was opened")

    def size_bytes(self) -> int:
        """The size of the file and its write-ahead log; sqlite3.Error or OSError if it is not there."""
        self._check_in_place()
        size = self.path.stat().st_size
        with suppress(FileNotFoundError):
            size += self.path.with_name(self.path.name + "-wal").stat().st_size
        return size
