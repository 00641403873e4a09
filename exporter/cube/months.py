"""Months of lines with every dimension, as Parquet beside the ledger; a row of the ledger names the files that count.

The files of a version are written to the end before their row is committed, in the transaction that also replaces
what else the ledger holds of the month: a reader finds the old month or the new one, and a kill leaves either.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from exporter.core.moments import month_start, to_milliseconds, to_moment
from exporter.cube.values import Source
from exporter.ledger.file import Ledger

LINES = "lines.parquet"
HOURS = "hours.parquet"
SPLIT = "split.parquet"
COMMITMENTS = "commitments.parquet"
_UNFINISHED = ".unfinished"
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CubeMonth:
    """A month of which a source is known; `folder` is None where only Cost Explorer was read."""

    month: date
    source: Source
    version: str
    """What identifies this state of the month at the source: the manifest's version for an export."""
    folder: Path | None
    read_at: datetime
    details: Mapping[str, Any]
    """What was found while it was read: lines, unknown names, the dimensions and cost types that are there."""

    def file(self, name: str) -> Path | None:
        """One of its files; None if the month does not have it."""
        path = self.folder / name if self.folder is not None else None
        return path if path is not None and path.exists() else None

    @property
    def split_days(self) -> tuple[date, date] | None:
        """The first and the last day that has split cost; None where no line is split."""
        found = self.details.get("split_days")
        return (date.fromisoformat(found[0]), date.fromisoformat(found[1])) if found else None

    @property
    def lines_from(self) -> date:
        """The first day that its lines are of: those of a new export may begin within its first month."""
        return date.fromisoformat(self.details.get("first_day", self.month.isoformat()))

    def has_lines_of(self, day: date) -> bool:
        """Whether its lines are of a day."""
        return (
            self.folder is not None
            and self.lines_from <= day
            and day.isoformat() <= self.details.get("last_day", "9")
        )


class CubeMonths:
    """The months of one ledger; `folder` lies beside its file."""

    def __init__(self, ledger: Ledger) -> None:
        """Nothing is read or written yet."""
        self._ledger = ledger
        self.folder = ledger.path.parent / "cube"

    def all(self) -> dict[date, CubeMonth]:
        """Every known month, the oldest first."""
        with self._ledger.connection() as db:
            rows = db.execute(
                "SELECT month, source, version, folder, read_at, details FROM cube_months ORDER BY month"
            ).fetchall()
        return {
            date.fromordinal(month): CubeMonth(
                date.fromordinal(month),
                source,
                version,
                self.folder / folder if folder else None,
                to_moment(read_at),
                json.loads(details),
            )
            for month, source, version, folder, read_at, details in rows
        }

    def new_folder(self, month: date) -> Path:
        """An empty folder for the files of a month that is being made; `commit` takes it over."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f"{month:%Y-%m}-{uuid.uuid4().hex[:12]}{_UNFINISHED}"
        path.mkdir(mode=0o700)
        return path

    def commit(
        self,
        month: date,
        source: Source,
        version: str,
        folder: Path | None,
        read_at: datetime,
        details: Mapping[str, Any],
    ) -> None:
        """Let `folder` (from `new_folder`) be the month; to be called within the transaction of all that changes with it."""
        name = None
        if folder is not None:
            finished = folder.with_name(folder.name.removesuffix(_UNFINISHED))
            folder.rename(finished)
            _sync(self.folder)
            name = finished.name
        with self._ledger.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO cube_months VALUES (?, ?, ?, ?, ?, ?)",
                (month.toordinal(), source, version, name, to_milliseconds(read_at), json.dumps(details)),
            )

    def forget(self, month: date) -> None:
        """Give a month up; its files go with the next `remove_superseded`."""
        with self._ledger.transaction() as db:
            db.execute("DELETE FROM cube_months WHERE month = ?", (month.toordinal(),))

    def forget_missing(self) -> list[date]:
        """Give up the months whose files are gone, as after a ledger came back from a snapshot; returns them."""
        missing = [
            found.month
            for found in self.all().values()
            if found.folder is not None and not found.folder.is_dir()
        ]
        for month in missing:
            self.forget(month)
        return missing

    def remove_superseded(self, *, unfinished: bool = False) -> None:
        """Remove the folders that no month names; those that are being made only at a start (`unfinished`).

        A reader that opened a file before keeps it until it closes it; one that comes too late asks again.
        """
        if not self.folder.is_dir():
            return
        named = {found.folder.name for found in self.all().values() if found.folder is not None}
        for path in self.folder.iterdir():
            if path.name in named or not path.is_dir():
                continue
            if unfinished or not path.name.endswith(_UNFINISHED):
                shutil.rmtree(path, ignore_errors=True)

    def size_bytes(self) -> int:
        """The size of all files of the cube."""
        size = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                with suppress(FileNotFoundError):  # of a month that was replaced just now
                    size += Path(folder, name).stat().st_size
        return size


def known_splits(months: Mapping[date, CubeMonth]) -> dict[date, tuple[date, date]]:
    """The first and the last day of each month of which split cost is known.

    Nothing tells a day without pods from one on which split cost was off or is not delivered yet: what is before the first
    and after the last line that is split is not known, what is between two of them costs what they say.
    """
    found = {month: held.split_days for month, held in months.items() if held.split_days is not None}
    return {
        month: (
            month if month_start(month, 1) in found else first,
            month_start(month, -1) - _DAY if month_start(month, -1) in found else last,
        )
        for month, (first, last) in found.items()
    }


def _sync(folder: Path) -> None:
    """Have a rename outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
