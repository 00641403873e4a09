"""What costs money or must survive a restart, in one SQLite file.

Cost is kept per UTC day, linked account and service, as AWS reported it last; charges, reads and
account names beside it. Money is stored as integers of 1e-10 USD, because SQLite sums text as
floats; outside it is Decimal. The only writer is `run`, which holds a lock file. Every public
method that writes is one transaction: a kill at any moment loses nothing that was committed.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import add
from pathlib import Path
from typing import IO

from exporter.core.amounts import AMOUNTS, Amounts, ChargeClass, CostRow
from exporter.core.moments import start_of_day, to_milliseconds, to_moment
from exporter.core.money import to_units, to_usd
from exporter.ledger.schema import MIGRATIONS, SCHEMA_VERSION

_READS_KEPT_DAYS = 60  # days settle within two months

CostKey = tuple[date, str, str]
"""Day, linked account id, service."""


def _day(ordinal: int) -> date:
    return date.fromordinal(ordinal)


@dataclass(frozen=True, slots=True)
class CostRead:
    """One finished Cost Explorer query by LINKED_ACCOUNT x SERVICE over whole days.

    `days` are those that AWS answered for, with their `Estimated` flag; `costs` holds what it
    returned, by key; a key of those days that is missing here cost nothing.
    """

    observed_at: datetime
    days: Mapping[date, bool]
    costs: Mapping[CostKey, Amounts]


@dataclass(frozen=True, slots=True)
class DayState:
    """What the ledger knows of one day's reads."""

    read_at: datetime | None = None
    other_read_at: datetime | None = None
    moved: bool = False
    other_moved: bool = False


class LedgerLockedError(Exception):
    """Another process writes this ledger."""


class Ledger:
    """The ledger file; thread-safe, one connection."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open or create `path`; LedgerLockedError if another `run` writes it."""
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._series_ids: dict[tuple[str, str], int] = {}  # emptied where a row may have been rolled back
        self._lock_file: IO[str] | None = None
        if read_only:
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, isolation_level=None
            )
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file = path.with_suffix(".lock").open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock_file.close()
            raise LedgerLockedError(f"another process is writing {path}") from None
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
        path.chmod(0o600)
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
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed together or not at all; may be nested."""
        with self._lock:
            if self._depth == 0:
                self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
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
        self._series_ids.clear()
        # SQLite has done it itself after some errors, e.g. a full disk; a second time would be an error.
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The database, for tables that a module of their own keeps; nobody else uses it meanwhile."""
        with self._lock:
            yield self._db

    # Writing cost

    def commit_costs(self, read: CostRead) -> None:
        """Replace the totals of the days of `read`; keys that AWS no longer returns become zero."""
        self._commit(read, "total")

    def commit_non_usage_charges(self, read: CostRead) -> None:
        """Replace the part of the days' totals that is not usage (tax, credits, refunds, support, fees)."""
        self._commit(read, "other")

    def _commit(self, read: CostRead, part: str) -> None:
        at = to_milliseconds(read.observed_at)
        columns = [f"{part}_{name}" for name in AMOUNTS]
        updates = ", ".join(f"{column} = excluded.{column}" for column in columns)
        with self.transaction():
            held = {day: self._day_sums(day) for day in read.days}
            rows_before = sum(map(self._day_rows, read.days))
            for day, estimated in read.days.items():
                self._zero_day(day, columns, estimated, at)
            rows = []
            sums = {day: [0] * len(AMOUNTS) for day in read.days}
            for (day, account_id, service), amounts in read.costs.items():
                units = [to_units(amount) for amount in amounts]
                sums[day] = list(map(add, sums[day], units))
                rows.append((day.toordinal(), self._series(account_id, service), read.days[day], at, *units))
            self._db.executemany(
                f"INSERT INTO cost (day, series, estimated, observed_at, {', '.join(columns)})"  # noqa: S608
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (day, series) DO UPDATE SET"
                f" estimated = excluded.estimated, observed_at = excluded.observed_at, {updates}",
                rows,
            )
            # Counted here, because a scrape must not count millions of rows.
            added = sum(map(self._day_rows, read.days)) - rows_before
            self._db.execute(
                "INSERT INTO facts VALUES ('cost_rows', ?)"
                " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                (added,),
            )
            for day in read.days:
                if part == "total":
                    # What is not usage may have moved with the total: it is read anew when it is due.
                    self._db.execute(
                        "INSERT INTO days (day, read_at, other_moved) VALUES (?, ?, 1)"
                        " ON CONFLICT (day) DO UPDATE SET moved = 0,"
                        # Whoever follows the reads of a day must see two within a millisecond as two.
                        " read_at = CASE read_at WHEN excluded.read_at THEN read_at + 1"
                        " ELSE excluded.read_at END,"
                        " other_moved = MAX(other_moved, ?)",
                        (day.toordinal(), at, sums[day] != held[day]),
                    )
                    self._add_day_total(day, at, sums[day][0])
                else:
                    self._db.execute(
                        "UPDATE days SET other_read_at = ?, other_moved = 0 WHERE day = ?",
                        (at, day.toordinal()),
                    )

    def _day_sums(self, day: date) -> list[int]:
        sums = ", ".join(f"COALESCE(SUM(total_{name}), 0)" for name in AMOUNTS)
        row = self._db.execute(f"SELECT {sums} FROM cost WHERE day = ?", (day.toordinal(),))  # noqa: S608
        return list(row.fetchone())

    def _day_rows(self, day: date) -> int:
        row = self._db.execute("SELECT COUNT(*) FROM cost WHERE day = ?", (day.toordinal(),)).fetchone()
        return int(row[0])

    def _zero_day(self, day: date, columns: Iterable[str], estimated: bool, at: int) -> None:
        """What AWS no longer returns for a day is zero; what it does return is written after this."""
        zeros = ", ".join(f"{column} = 0" for column in columns)
        self._db.execute(
            f"UPDATE cost SET {zeros}, estimated = ?, observed_at = ? WHERE day = ?",  # noqa: S608
            (estimated, at, day.toordinal()),
        )

    def _series(self, account_id: str, service: str) -> int:
        key = (account_id, service)
        if key not in self._series_ids:
            row = self._db.execute(
                "INSERT INTO series (account_id, service) VALUES (?, ?)"
                " ON CONFLICT DO UPDATE SET service = excluded.service RETURNING id",
                key,
            ).fetchone()
            self._series_ids[key] = int(row[0])
        return self._series_ids[key]

    def _add_day_total(self, day: date, at: int, units: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO day_totals VALUES (?, ?, ?)", (day.toordinal(), at, units))

    def commit_scan(
        self,
        kind: str,
        observed_at: datetime,
        days: Iterable[date],
        totals: Mapping[tuple[date, str], Amounts],
    ) -> tuple[date, ...]:
        """Compare a scan (`kind` is `account` or `service`) with what is held, and mark the days that moved.

        `totals` are by day and account id, or by day and service. Returns the days that moved.
        """
        column = {"account": "account_id", "service": "service"}[kind]
        sums = ", ".join(f"SUM(total_{name})" for name in AMOUNTS)
        at = to_milliseconds(observed_at)
        scanned = {key: tuple(map(to_units, value)) for key, value in totals.items()}
        moved = []
        with self.transaction():
            for day in days:
                held = {
                    (day, subject): tuple(units)
                    for subject, *units in self._db.execute(
                        f"SELECT {column}, {sums} FROM cost JOIN series ON series.id = cost.series"  # noqa: S608
                        f" WHERE day = ? GROUP BY {column}",
                        (day.toordinal(),),
                    )
                    if any(units)
                }
                seen = {key: units for key, units in scanned.items() if key[0] == day and any(units)}
                if held != seen:
                    moved.append(day)
                    self._db.execute(
                        "INSERT INTO days (day, moved) VALUES (?, 1) ON CONFLICT (day) DO UPDATE SET moved = 1",
                        (day.toordinal(),),
                    )
                else:
                    self._add_day_total(day, at, sum(units[0] for units in seen.values()))
            self._db.execute("INSERT OR REPLACE INTO scans VALUES (?, ?)", (kind, at))
            oldest = (observed_at - timedelta(days=_READS_KEPT_DAYS)).date()
            self._db.execute("DELETE FROM day_totals WHERE day < ?", (oldest.toordinal(),))
        return tuple(moved)

    def scanned_at(self, kind: str) -> datetime | None:
        """When the last scan or full read of `kind` was committed."""
        with self._lock:
            row = self._db.execute("SELECT observed_at FROM scans WHERE kind = ?", (kind,)).fetchone()
        return to_moment(row[0]) if row else None

    def mark_scan(self, kind: str, observed_at: datetime) -> None:
        """Record that a read of `kind` (e.g. `full`) is complete."""
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO scans VALUES (?, ?)", (kind, to_milliseconds(observed_at))
            )

    # Reading cost

    def day_states(self, start: date, end: date) -> dict[date, DayState]:
        """The known days in [start, end)."""
        with self._lock:
            rows = self._db.execute(
                "SELECT day, read_at, other_read_at, moved, other_moved FROM days WHERE day >= ? AND day < ?",
                (start.toordinal(), end.toordinal()),
            ).fetchall()
        return {
            _day(day): DayState(
                to_moment(read) if read is not None else None,
                to_moment(other) if other is not None else None,
                bool(moved),
                bool(other_moved),
            )
            for day, read, other, moved, other_moved in rows
        }

    def costs(self, start: date, end: date, cost_type: str) -> dict[tuple[str, str], Decimal]:
        """Cost by (account id, service) over [start, end), in USD; keys that were ever seen there, zeros too."""
        if cost_type not in AMOUNTS:
            raise ValueError(f"{cost_type} is not a cost type")
        with self._lock:
            rows = self._db.execute(
                f"SELECT account_id, service, SUM(total_{cost_type}) FROM cost"  # noqa: S608 # a known column
                " JOIN series ON series.id = cost.series WHERE day >= ? AND day < ? GROUP BY series",
                (start.toordinal(), end.toordinal()),
            ).fetchall()
        return {(account_id, service): to_usd(units) for account_id, service, units in rows}

    def series(self) -> dict[int, tuple[str, str]]:
        """Account id and service by the number of the series."""
        with self._lock:
            rows = self._db.execute("SELECT id, account_id, service FROM series").fetchall()
        return {number: (account_id, service) for number, account_id, service in rows}

    def day_units(self, day: date, cost_type: str) -> list[tuple[int, int]]:
        """The numbers of the series seen on one day, and their cost in units of 1e-10 USD."""
        if cost_type not in AMOUNTS:
            raise ValueError(f"{cost_type} is not a cost type")
        with self._lock:
            return self._db.execute(
                f"SELECT series, total_{cost_type} FROM cost WHERE day = ?",  # noqa: S608 # a known column
                (day.toordinal(),),
            ).fetchall()

    def confirmed_at(self, start: date, end: date) -> dict[date, datetime]:
        """When AWS last told the cost of each day in [start, end) as it is held: by a read, or a scan that agreed."""
        with self._lock:
            rows = self._db.execute(
                "SELECT days.day, MAX(read_at, COALESCE(MAX(observed_at), read_at)) FROM days"
                " LEFT JOIN day_totals ON day_totals.day = days.day"
                " WHERE read_at IS NOT NULL AND days.day >= ? AND days.day < ? GROUP BY days.day",
                (start.toordinal(), end.toordinal()),
            ).fetchall()
        return {_day(day): to_moment(at) for day, at in rows}

    def keys_per_day(self, start: date, end: date) -> int:
        """The most (account, service) pairs with cost on one day of [start, end)."""
        with self._lock:
            (count,) = self._db.execute(
                "SELECT COALESCE(MAX(keys), 0) FROM (SELECT COUNT(*) AS keys FROM cost WHERE day >= ?"
                " AND day < ? AND total_unblended != 0 GROUP BY day)",
                (start.toordinal(), end.toordinal()),
            ).fetchone()
        return int(count)

    def rows(self, start: date, end: date) -> Iterator[CostRow]:
        """Every row of [start, end), one per charge class, in the order of day, account and service."""
        totals = ", ".join(f"total_{name}" for name in AMOUNTS)
        others = ", ".join(f"other_{name}" for name in AMOUNTS)
        with self._lock:
            found = self._db.execute(
                f"SELECT day, account_id, service, estimated, observed_at, {totals}, {others}"  # noqa: S608
                " FROM cost JOIN series ON series.id = cost.series WHERE day >= ? AND day < ?"
                " ORDER BY day, account_id, service",
                (start.toordinal(), end.toordinal()),
            ).fetchall()
        width = len(AMOUNTS)
        for day, account_id, service, estimated, at, *units in found:
            total, other = units[:width], units[width:]
            usage = [a - b for a, b in zip(total, other, strict=True)]
            for charge_class, amounts in ((ChargeClass.USAGE, usage), (ChargeClass.OTHER, other)):
                yield CostRow(
                    _day(day),
                    account_id,
                    service,
                    charge_class,
                    Amounts(*map(to_usd, amounts)),
                    bool(estimated),
                    to_moment(at),
                )

    def is_estimated(self, day: date) -> bool:
        """Whether AWS called cost of a day estimated when it was read last."""
        with self._lock:
            (estimated,) = self._db.execute(
                "SELECT MAX(estimated) FROM cost WHERE day = ?", (day.toordinal(),)
            ).fetchone()
        return bool(estimated)

    def assessed_day(self, now: datetime) -> date | None:
        """The newest settled day of the last 40.

        Settled is read at least 36 h after its end, or read twice after its end, at least 6 h
        apart, within 1%.
        """
        first = (now - timedelta(days=40)).date()
        with self._lock:
            rows = self._db.execute(
                "SELECT day, observed_at, unblended FROM day_totals WHERE day >= ? ORDER BY day DESC, observed_at",
                (first.toordinal(),),
            ).fetchall()
        reads: dict[date, list[tuple[datetime, int]]] = {}
        for ordinal, at, units in rows:
            day = _day(ordinal)
            if to_moment(at) >= start_of_day(day) + timedelta(days=1):
                reads.setdefault(day, []).append((to_moment(at), units))
        return next((day for day, seen in reads.items() if _settled(day, seen)), None)

    def data_through(self, now: datetime) -> date | None:
        """The newest complete day that has been read after its end and has cost."""
        with self._lock:
            row = self._db.execute(
                "SELECT day FROM day_totals WHERE observed_at >= (day - ?) * 86400000 AND unblended != 0"
                " AND day < ? ORDER BY day DESC LIMIT 1",
                (date(1970, 1, 1).toordinal() - 1, now.date().toordinal()),
            ).fetchone()
        return _day(row[0]) if row else None

    def first_seen(self) -> dict[tuple[str, str], date]:
        """The first day with cost by (account id, service)."""
        with self._lock:
            rows = self._db.execute(
                "SELECT account_id, service, MIN(day) FROM cost JOIN series ON series.id = cost.series"
                " WHERE total_unblended != 0 GROUP BY series"
            ).fetchall()
        return {(account_id, service): _day(day) for account_id, service, day in rows}

    def row_count(self) -> int:
        """Rows of cost held, as counted by the last commit."""
        return self.fact("cost_rows") or 0

    def size_bytes(self) -> int:
        """The size of the file and its write-ahead log."""
        wal = self.path.with_name(self.path.name + "-wal")
        return sum(path.stat().st_size for path in (self.path, wal) if path.exists())

    # Names

    def name_accounts(self, names: Mapping[str, str], day: date) -> None:
        """Record the accounts' names in force from `day` on; an unchanged name keeps its date."""
        self._date_values("account_names", names, day)

    def account_names(self, on: date | None = None) -> dict[str, str]:
        """Names in force on a day (the newest by default); the first known one before it was known."""
        return self._dated_values("account_names", on)

    def place_accounts(self, ous: Mapping[str, str], day: date) -> None:
        """Record the paths of the accounts' organisational units from `day` on."""
        self._date_values("account_ous", ous, day)

    def account_ous(self, on: date | None = None) -> dict[str, str]:
        """OU paths in force on a day (the newest by default); the first known one before it was known."""
        return self._dated_values("account_ous", on)

    def _date_values(self, table: str, values: Mapping[str, str], day: date) -> None:
        with self.transaction():
            current = self._dated_values(table, None)
            for account_id, value in values.items():
                if value and current.get(account_id) != value:
                    self._db.execute(
                        f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)",  # noqa: S608 # a known table
                        (account_id, day.toordinal(), value),
                    )

    def _dated_values(self, table: str, on: date | None) -> dict[str, str]:
        with self._lock:
            rows = self._db.execute(
                f"SELECT * FROM {table} ORDER BY account_id, since"  # noqa: S608
            ).fetchall()
        values: dict[str, str] = {}
        for account_id, since, value in rows:
            if account_id not in values or on is None or since <= on.toordinal():
                values[account_id] = value
        return values

    # Charges and small facts

    def add_charge(self, at: datetime, budget: str, service: str, operation: str, usd: Decimal) -> None:
        """Record one charge; those of usage within a minute become one row.

        A poll of usage is thousands of requests, and each is held against the sum of its month.
        """
        units = to_units(usd)
        when = to_milliseconds(at)
        with self.transaction():
            if budget == "usage":
                when -= when % 60_000
                merged = self._db.execute(
                    "UPDATE charges SET units = units + ?"
                    " WHERE budget = ? AND at = ? AND service = ? AND operation = ?",
                    (units, budget, when, service, operation),
                )
                if merged.rowcount:
                    return
            self._db.execute(
                "INSERT INTO charges VALUES (?, ?, ?, ?, ?)", (when, budget, service, operation, units)
            )

    def charged_since(self, budget: str, since: datetime | None) -> Decimal:
        """The sum of `budget`'s charges from `since` on (None: all), in USD."""
        with self._lock:
            (units,) = self._db.execute(
                "SELECT COALESCE(SUM(units), 0) FROM charges WHERE budget = ? AND at >= ?",
                (budget, to_milliseconds(since) if since else 0),
            ).fetchone()
        return to_usd(units)

    def fact(self, name: str) -> int | None:
        """A remembered number, e.g. the learned page size."""
        with self._lock:
            row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else None

    def remember(self, name: str, value: int) -> None:
        """Remember a number."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def _settled(day: date, reads: list[tuple[datetime, int]]) -> bool:
    end = start_of_day(day) + timedelta(days=1)
    if reads[-1][0] >= end + timedelta(hours=36):
        return True
    return any(
        later - earlier >= timedelta(hours=6) and abs(second - first) * 100 <= abs(first)
        for index, (earlier, first) in enumerate(reads)
        for later, second in reads[index + 1 :]
    )
