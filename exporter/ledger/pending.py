"""Reads of whole days that are decided on and not done yet: what is found to have moved outlives a kill."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from exporter.core.moments import to_milliseconds, to_moment
from exporter.ledger.database import Database


class Origin(StrEnum):
    """Who decided on a read."""

    REQUEST = "request"  # somebody who has agreed to its price
    MONTHS = "months"  # a comparison of months that found them moved
    SCAN = "scan"  # the rest of such a comparison


@dataclass(frozen=True, slots=True)
class PendingRead:
    """Days [start, end) that are to be read, of some accounts or services (`kind`) or, without a kind, of all."""

    part: str
    start: date
    end: date
    began_at: datetime
    kind: str | None = None
    names: tuple[str, ...] = ()
    number: int | None = None
    """None before it is added."""


class PendingReads:
    """The queue of reads, oldest first; each method that writes is one transaction."""

    def __init__(self, database: Database) -> None:
        """`database` has the table of pending reads."""
        self._database = database

    def add(self, origin: Origin, reads: Iterable[PendingRead]) -> None:
        """Append reads."""
        with self._database.transaction() as db:
            db.executemany(
                "INSERT INTO pending_reads (origin, part, start, end, kind, names, began_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        origin,
                        read.part,
                        read.start.toordinal(),
                        read.end.toordinal(),
                        read.kind,
                        json.dumps(read.names),
                        to_milliseconds(read.began_at),
                    )
                    for read in reads
                ],
            )

    def of(self, origin: Origin) -> Sequence[PendingRead]:
        """What is to be read, in the order in which it was added."""
        with self._database.connection() as db:
            rows = db.execute(
                "SELECT part, start, end, began_at, kind, names, id FROM pending_reads WHERE origin = ? ORDER BY id",
                (origin,),
            ).fetchall()
        return [
            PendingRead(
                part,
                date.fromordinal(start),
                date.fromordinal(end),
                to_moment(began_at),
                kind,
                tuple(json.loads(names)),
                number,
            )
            for part, start, end, began_at, kind, names, number in rows
        ]

    def shorten(self, number: int, end: date) -> None:
        """Note that the days from `end` on are read; a read without any day left is done."""
        with self._database.transaction() as db:
            db.execute("UPDATE pending_reads SET end = ? WHERE id = ?", (end.toordinal(), number))
            db.execute("DELETE FROM pending_reads WHERE id = ? AND start >= end", (number,))

    def drop(self, origin: Origin, part: str | None = None) -> None:
        """Give up reads of an origin, of one part or of all."""
        with self._database.transaction() as db:
            db.execute(
                "DELETE FROM pending_reads WHERE origin = ? AND part = COALESCE(?, part)", (origin, part)
            )

    def drop_within(self, origin: Origin, parts: Sequence[str], start: date, end: date) -> None:
        """Give up what reads of an origin have left within [start, end)."""
        marks = ", ".join("?" * len(parts))
        first, last = start.toordinal(), end.toordinal()
        with self._database.transaction() as db:
            rows = db.execute(
                "SELECT id, part, start, end, kind, names, began_at FROM pending_reads"  # noqa: S608 # only marks
                f" WHERE origin = ? AND part IN ({marks}) AND start < ? AND end > ?",
                (origin, *parts, last, first),
            ).fetchall()
            for number, part, begin, until, kind, names, began_at in rows:
                db.execute("DELETE FROM pending_reads WHERE id = ?", (number,))
                db.executemany(
                    "INSERT INTO pending_reads (origin, part, start, end, kind, names, began_at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        (origin, part, *left, kind, names, began_at)
                        for left in ((begin, min(until, first)), (max(begin, last), until))
                        if left[0] < left[1]
                    ],
                )
