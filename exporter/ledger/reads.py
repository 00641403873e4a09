"""What was read from AWS: cost by day, linked account and service is replaced a day at a time, and compared with scans."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from exporter.core.amounts import AMOUNTS, Amounts, CostSource, Units
from exporter.core.moments import start_of_day, to_milliseconds, to_moment
from exporter.core.money import exact_sum, joined, row_units, stored_sum, to_units
from exporter.ledger.database import Database

_READS_KEPT_DAYS = 60  # days settle within two months

CostKey = tuple[date, str, str]
"""Day, linked account id, service."""


@dataclass(frozen=True, slots=True)
class CostRead:
    """One finished Cost Explorer query by LINKED_ACCOUNT x SERVICE over whole days.

    `days` are those that AWS answered for, with their `Estimated` flag; `costs` holds what it
    returned, by key, in USD or in units of 1e-10 USD; a key of those days that is missing here cost nothing.

    A source that lacks cost types gives those that it has as `cost_types`; the others hold the amounts of the nearest
    one, by which it is seen that a day has cost and has moved, and are never shown.
    """

    observed_at: datetime
    days: Mapping[date, bool]
    costs: Mapping[CostKey, Amounts | Units]
    source: CostSource = "cost_explorer"
    cost_types: tuple[str, ...] = AMOUNTS


@dataclass(frozen=True, slots=True)
class RefreshRest:
    """What is left of a refresh of which some slices are committed: `part` over [start, end)."""

    part: str
    start: date
    end: date
    began_at: datetime


@dataclass(frozen=True, slots=True)
class DayState:
    """What the ledger knows of one day's reads."""

    read_at: datetime | None = None
    other_read_at: datetime | None = None
    moved: bool = False
    other_moved: bool = False
    whole_at: datetime | None = None
    """When all accounts and services of the day were read together."""
    changes: int = 0
    """Grows with each read that finds other cost, or other non-usage charges, than the ledger had."""
    source: CostSource = "cost_explorer"
    """Where the cost of the day is from."""


class CostReads:
    """Commits what AWS answered; each method that writes is one transaction."""

    def __init__(self, database: Database) -> None:
        """`database` has the tables of cost."""
        self._database = database
        self._series_ids: dict[tuple[str, str], int] = {}
        database.rolled_back.append(self._series_ids.clear)

    def commit(self, read: CostRead) -> None:
        """Replace the totals of the days of `read`; keys that AWS no longer returns become zero."""
        self._commit(read, "total")

    def commit_subjects(self, read: CostRead, kind: str, subjects: Collection[str]) -> None:
        """Replace only the totals of these accounts or services (`kind` is `account` or `service`)."""
        self._commit(read, "total", (kind, frozenset(subjects)))

    def commit_non_usage(self, read: CostRead) -> None:
        """Replace the part of the days' totals that is not usage (tax, credits, refunds, support, fees)."""
        self._commit(read, "other")

    def _commit(self, read: CostRead, part: str, only: tuple[str, frozenset[str]] | None = None) -> None:
        at = to_milliseconds(read.observed_at)
        columns = [f"{part}_{name}" for name in AMOUNTS]
        updates = ", ".join(f"{column} = excluded.{column}" for column in columns)
        with self._database.transaction() as db:
            held = {day: _day_digest(db, day, part) for day in read.days}
            rows_before = sum(self._day_rows(db, day) for day in read.days)
            numbers = None if only is None else self._numbers(db, *only)
            for day, estimated in read.days.items():
                self._zero_day(db, day, columns, estimated, at, numbers)
            for _, account_id, service in read.costs:
                self._series(db, account_id, service)
            db.executemany(
                f"INSERT INTO cost (day, series, estimated, observed_at, {', '.join(columns)})"  # noqa: S608
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (day, series) DO UPDATE SET"
                f" estimated = excluded.estimated, observed_at = excluded.observed_at, {updates}",
                # One row at a time: a slice of a large organization has a hundred thousand.
                (
                    (
                        day.toordinal(),
                        self._series_ids[account_id, service],
                        read.days[day],
                        at,
                        *map(row_units, _units(amounts)),
                    )
                    for (day, account_id, service), amounts in read.costs.items()
                ),
            )
            # Counted here, because a scrape must not count millions of rows.
            added = sum(self._day_rows(db, day) for day in read.days) - rows_before
            db.execute(
                "INSERT INTO facts VALUES ('cost_rows', ?)"
                " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                (added,),
            )
            if part == "total":
                if only is None:
                    self._settle_totals(db, held, at)
                    _keep_source(db, read)
                else:
                    self._settle_subjects(db, held, at, *only)
                _keep_first_days(db, sorted(day.toordinal() for day in read.days))
            else:
                db.executemany(
                    "UPDATE days SET other_read_at = ?, other_moved = 0, changes = changes + ? WHERE day = ?",
                    [
                        (at, _day_digest(db, day, part) != before, day.toordinal())
                        for day, before in held.items()
                    ],
                )

    def _settle_totals(self, db: sqlite3.Connection, held: Mapping[date, bytes], at: int) -> None:
        """Record that the totals of these days were read, and whether any of them differs from what was `held`."""
        for day, before in held.items():
            is_moved = _day_digest(db, day) != before
            # What is not usage may have moved with the total: it is read again when it is due.
            db.execute(
                "INSERT INTO days (day, read_at, whole_at, other_moved) VALUES (?, ?, ?, 1)"
                " ON CONFLICT (day) DO UPDATE SET moved = 0, whole_at = excluded.whole_at,"
                # Whoever follows the reads of a day must see two within a millisecond as two.
                " read_at = CASE read_at WHEN excluded.read_at THEN read_at + 1"
                " ELSE excluded.read_at END,"
                " other_moved = MAX(other_moved, ?), changes = changes + ?",
                (day.toordinal(), at, at, is_moved, is_moved),
            )
            self._add_day_total(db, day, at, _day_units(db, day))
            db.execute("DELETE FROM moved_subjects WHERE day = ?", (day.toordinal(),))

    def _settle_subjects(
        self,
        db: sqlite3.Connection,
        held: Mapping[date, bytes],
        at: int,
        kind: str,
        subjects: frozenset[str],
    ) -> None:
        """Record which of these days agree now with what scans saw of them."""
        for day, before in held.items():
            ordinal = day.toordinal()
            marks = db.execute(
                "SELECT kind, subject, seen FROM moved_subjects WHERE day = ?", (ordinal,)
            ).fetchall()
            # By key: what moves between accounts and services may leave all sums of the day as they were.
            is_moved = _day_digest(db, day) != before
            if not marks and not is_moved:
                continue
            now = {each: _held_by(db, each, day) for each in {mark[0] for mark in marks}}
            # What moved within the accounts that were read is seen by service, too: one read serves both.
            done = [
                (ordinal, of, subject)
                for of, subject, seen in marks
                if (of == kind and subject in subjects) or _seen(now[of].get(subject)) == seen
            ]
            db.executemany("DELETE FROM moved_subjects WHERE day = ? AND kind = ? AND subject = ?", done)
            agrees = bool(marks) and len(done) == len(marks)
            db.execute(
                "UPDATE days SET moved = CASE WHEN ? THEN 0 ELSE moved END,"
                # A day that is not done stays due; whoever follows the reads of a day sees it nevertheless.
                " read_at = CASE WHEN ? AND read_at < ? THEN ? ELSE read_at + 1 END,"
                " other_moved = MAX(other_moved, ?), changes = changes + ? WHERE day = ?",
                (agrees, agrees, at, at, is_moved, is_moved, ordinal),
            )
            self._add_day_total(db, day, at, _day_units(db, day))

    def _numbers(self, db: sqlite3.Connection, kind: str, subjects: frozenset[str]) -> list[int]:
        column = _COLUMNS[kind]
        marks = ", ".join("?" * len(subjects))
        rows = db.execute(f"SELECT id FROM series WHERE {column} IN ({marks})", sorted(subjects))  # noqa: S608
        return [number for (number,) in rows]

    def _day_rows(self, db: sqlite3.Connection, day: date) -> int:
        row = db.execute("SELECT COUNT(*) FROM cost WHERE day = ?", (day.toordinal(),)).fetchone()
        return int(row[0])

    def _zero_day(
        self,
        db: sqlite3.Connection,
        day: date,
        columns: Iterable[str],
        estimated: bool,
        at: int,
        numbers: Sequence[int] | None,
    ) -> None:
        """What AWS no longer returns for a day is zero; what it does return is written after this.

        `numbers` are the series that were asked for; None: all.
        """
        update = (
            f"UPDATE cost SET {', '.join(f'{column} = 0' for column in columns)},"  # noqa: S608
            " estimated = ?, observed_at = ? WHERE day = ?"
        )
        if numbers is None:
            db.execute(update, (estimated, at, day.toordinal()))
        else:
            db.executemany(
                update + " AND series = ?", [(estimated, at, day.toordinal(), number) for number in numbers]
            )

    def _series(self, db: sqlite3.Connection, account_id: str, service: str) -> int:
        key = (account_id, service)
        if key not in self._series_ids:
            row = db.execute(
                "INSERT INTO series (account_id, service) VALUES (?, ?)"
                " ON CONFLICT DO UPDATE SET service = excluded.service RETURNING id",
                key,
            ).fetchone()
            self._series_ids[key] = int(row[0])
        return self._series_ids[key]

    def _add_day_total(self, db: sqlite3.Connection, day: date, at: int, units: int) -> None:
        row = (day.toordinal(), at, stored_sum(units))
        db.execute("INSERT OR REPLACE INTO day_totals VALUES (?, ?, ?)", row)

    def commit_scan(
        self,
        kind: str,
        observed_at: datetime,
        days: Iterable[date],
        totals: Mapping[tuple[date, str], Amounts | Units],
        *,
        complete: bool = True,
    ) -> tuple[date, ...]:
        """Compare a scan (`kind` is `account` or `service`) with what is held, and mark the days that moved.

        `totals` are by day and account id, or by day and service. Returns the days that moved. A slice of
        a scan is `complete` only where it is the last.
        """
        at = to_milliseconds(observed_at)
        scanned: dict[date, dict[str, tuple[int, ...]]] = {}
        for (day, subject), amounts in totals.items():
            units = tuple(_units(amounts))
            if any(units):
                scanned.setdefault(day, {})[subject] = units
        moved = []
        with self._database.transaction() as db:
            for day in days:
                held, seen = _held_by(db, kind, day), scanned.get(day, {})
                db.execute("DELETE FROM moved_subjects WHERE day = ? AND kind = ?", (day.toordinal(), kind))
                if held != seen:
                    moved.append(day)
                    db.execute(
                        "INSERT INTO days (day, moved) VALUES (?, 1) ON CONFLICT (day) DO UPDATE SET moved = 1",
                        (day.toordinal(),),
                    )
                    db.executemany(
                        "INSERT INTO moved_subjects VALUES (?, ?, ?, ?)",
                        [
                            (day.toordinal(), kind, subject, _seen(seen.get(subject)))
                            for subject in held.keys() | seen.keys()
                            if held.get(subject) != seen.get(subject)
                        ],
                    )
                else:
                    self._add_day_total(db, day, at, sum(units[0] for units in seen.values()))
                    # The whole day is known to be as it was read before its end: that is a reading of it.
                    end = to_milliseconds(start_of_day(day + timedelta(days=1)))
                    db.execute(
                        "UPDATE days SET read_at = ? WHERE day = ? AND read_at < ? AND ? >= ?",
                        (at, day.toordinal(), end, at, end),
                    )
            if complete:
                db.execute("INSERT OR REPLACE INTO scans VALUES (?, ?)", (kind, at))
            self._forget_old_totals(db, observed_at)
        return tuple(moved)

    def scanned_at(self, kind: str) -> datetime | None:
        """When the last scan or full read of `kind` was committed."""
        with self._database.connection() as db:
            row = db.execute("SELECT observed_at FROM scans WHERE kind = ?", (kind,)).fetchone()
        return to_moment(row[0]) if row else None

    def mark_scan(self, kind: str, observed_at: datetime) -> None:
        """Record that a read of `kind` (e.g. `full`) is complete."""
        with self._database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO scans VALUES (?, ?)", (kind, to_milliseconds(observed_at)))
            self._forget_old_totals(db, observed_at)

    def _forget_old_totals(self, db: sqlite3.Connection, now: datetime) -> None:
        oldest = (now - timedelta(days=_READS_KEPT_DAYS)).date()
        db.execute("DELETE FROM day_totals WHERE day < ?", (oldest.toordinal(),))

    def moved_subjects(self, kind: str, start: date, end: date) -> dict[date, frozenset[str]]:
        """The accounts or services that the last scan of `kind` saw differ, by day of [start, end)."""
        with self._database.connection() as db:
            rows = db.execute(
                "SELECT day, subject FROM moved_subjects WHERE kind = ? AND day >= ? AND day < ?",
                (kind, start.toordinal(), end.toordinal()),
            ).fetchall()
        found: dict[date, set[str]] = {}
        for day, subject in rows:
            found.setdefault(date.fromordinal(day), set()).add(subject)
        return {day: frozenset(subjects) for day, subjects in found.items()}

    def keep_rest(self, rest: RefreshRest | None) -> None:
        """Remember what is left of the refresh under way; None: nothing."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM refresh_rest")
            if rest is not None:
                db.execute(
                    "INSERT INTO refresh_rest VALUES (?, ?, ?, ?)",
                    (
                        rest.part,
                        rest.start.toordinal(),
                        rest.end.toordinal(),
                        to_milliseconds(rest.began_at),
                    ),
                )

    def rest(self) -> RefreshRest | None:
        """What is left of the refresh under way."""
        with self._database.connection() as db:
            row = db.execute("SELECT part, start, end, began_at FROM refresh_rest").fetchone()
        if row is None:
            return None
        part, start, end, began_at = row
        return RefreshRest(part, date.fromordinal(start), date.fromordinal(end), to_moment(began_at))

    def day_states(self, start: date, end: date) -> dict[date, DayState]:
        """The known days in [start, end)."""
        with self._database.connection() as db:
            rows = db.execute(
                "SELECT day, read_at, other_read_at, moved, other_moved, whole_at, changes, source FROM days"
                " WHERE day >= ? AND day < ?",
                (start.toordinal(), end.toordinal()),
            ).fetchall()
        return {
            date.fromordinal(day): DayState(
                to_moment(read) if read is not None else None,
                to_moment(other) if other is not None else None,
                bool(moved),
                bool(other_moved),
                to_moment(whole) if whole is not None else None,
                changes,
                source or "cost_explorer",
            )
            for day, read, other, moved, other_moved, whole, changes, source in rows
        }

    def confirmed_at(self, start: date, end: date) -> dict[date, datetime]:
        """When AWS last reported the cost of each day in [start, end) as the ledger has it: by a read, or a scan that agreed."""
        with self._database.connection() as db:
            rows = db.execute(
                "SELECT days.day, MAX(read_at, COALESCE(MAX(observed_at), read_at)) FROM days"
                " LEFT JOIN day_totals ON day_totals.day = days.day"
                " WHERE read_at IS NOT NULL AND days.day >= ? AND days.day < ? GROUP BY days.day",
                (start.toordinal(), end.toordinal()),
            ).fetchall()
        return {date.fromordinal(day): to_moment(at) for day, at in rows}


_COLUMNS = {"account": "account_id", "service": "service"}
"""The column of each kind of scan."""

_SUMS = ", ".join(exact_sum(f"total_{name}") for name in AMOUNTS)
"""The total of each cost type; `_joined` reads it."""


def _day_digest(db: sqlite3.Connection, day: date, part: str = "total") -> bytes:
    """Equal digests of a day have equal totals of each series, or `other` amounts; those that are zero do not count."""
    digest = hashlib.blake2b(digest_size=16)
    columns = [f"{part}_{name}" for name in AMOUNTS]
    rows = db.execute(
        f"SELECT series, {', '.join(columns)} FROM cost WHERE day = ?"  # noqa: S608
        f" AND ({' OR '.join(f'{column} != 0' for column in columns)}) ORDER BY series",
        (day.toordinal(),),
    )
    for row in rows:
        digest.update(b"%d %d %d %d %d %d;" % row)
    return digest.digest()


def _day_units(db: sqlite3.Connection, day: date) -> int:
    row = db.execute(f"SELECT {exact_sum('total_unblended')} FROM cost WHERE day = ?", (day.toordinal(),))  # noqa: S608
    return joined(*row.fetchone())


def _held_by(db: sqlite3.Connection, kind: str, day: date) -> dict[str, tuple[int, ...]]:
    """Totals of a day by account or service, without those that are zero."""
    column = _COLUMNS[kind]
    rows = db.execute(
        f"SELECT {column}, {_SUMS} FROM cost JOIN series ON series.id = cost.series"  # noqa: S608
        f" WHERE day = ? GROUP BY {column}",
        (day.toordinal(),),
    )
    found = {subject: _joined(halves) for subject, *halves in rows}
    return {subject: units for subject, units in found.items() if any(units)}


def _joined(halves: Sequence[int | None]) -> tuple[int, ...]:
    """The sums of `_SUMS`, in the order of `AMOUNTS`."""
    return tuple(map(joined, halves[::2], halves[1::2]))


def _seen(units: tuple[int, ...] | None) -> str:
    return ",".join(map(str, units or ()))


def _units(amounts: Amounts | Units) -> Iterable[int]:
    return amounts if isinstance(amounts, Units) else map(to_units, amounts)


def _keep_source(db: sqlite3.Connection, read: CostRead) -> None:
    source = None if read.source == "cost_explorer" else read.source
    cost_types = None if read.cost_types == AMOUNTS else ",".join(read.cost_types)
    db.executemany(
        "UPDATE days SET source = ?, cost_types = ? WHERE day = ?",
        [(source, cost_types, day.toordinal()) for day in read.days],
    )


def _keep_first_days(db: sqlite3.Connection, days: Sequence[int]) -> None:
    """Have each series keep its first day with cost, after the totals of these days (ascending) have changed."""
    if not days:
        return
    marks = ", ".join("?" * len(days))
    # Those that began on one of these days may begin later now.
    unknown = {
        number
        for (number,) in db.execute(f"SELECT id FROM series WHERE first_day IN ({marks})", days)  # noqa: S608
    }
    if unknown:
        db.execute(f"UPDATE series SET first_day = NULL WHERE first_day IN ({marks})", days)  # noqa: S608
        later = db.execute("SELECT day FROM days WHERE day >= ? ORDER BY day", (days[0],)).fetchall()
        for (day,) in later:
            begun = unknown.intersection(_with_cost(db, day))
            db.executemany("UPDATE series SET first_day = ? WHERE id = ?", [(day, each) for each in begun])
            unknown -= begun
            if not unknown:
                break
    for day in days:
        db.execute(
            "UPDATE series SET first_day = ? WHERE (first_day IS NULL OR first_day > ?) AND id IN"
            " (SELECT series FROM cost WHERE day = ? AND total_unblended != 0)",
            (day, day, day),
        )


def _with_cost(db: sqlite3.Connection, day: int) -> Iterator[int]:
    for (number,) in db.execute("SELECT series FROM cost WHERE day = ? AND total_unblended != 0", (day,)):
        yield number
