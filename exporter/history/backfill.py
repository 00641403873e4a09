"""The ledger's whole history at once: into a remote write endpoint, or into a file for promtool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO

from exporter.core.exposition import header, render_labels, render_value
from exporter.core.moments import Clock
from exporter.history.endpoint import EndpointError, RemoteWriteEndpoint
from exporter.history.sample_timestamps import DatedSource, Sent, Stamps
from exporter.history.settings import HistorySettings
from exporter.history.writer import Derive, Encoded, points, to_send
from exporter.ledger.database import LedgerLockedError
from exporter.ledger.file import Ledger

Progress = Callable[[int, int], None]


class BackfillError(Exception):
    """There is nothing that could be written; the text says why."""


class Backfill:
    """What the ledger holds of [start, end), complete days only.

    A ledger that a running exporter holds is read without its lock. Values that were written
    before keep their stamps, so that a backfill into the same endpoint changes nothing.
    """

    def __init__(
        self,
        ledger_path: Path,
        cost_type: str,
        window: timedelta,
        clock: Clock,
        sources: Sequence[DatedSource],
        derivations: Callable[[Ledger], Iterable[Derive]],
        start: date | None = None,
        end: date | None = None,
    ) -> None:
        """BackfillError if there is no ledger.

        `derivations` bring derived values of a ledger that no exporter holds up to date.
        """
        if not ledger_path.exists():
            raise BackfillError(f"there is no ledger at {ledger_path}; `run` fills one")
        try:
            self._ledger = Ledger(ledger_path)
            self._owned = True
        except LedgerLockedError:
            self._ledger = Ledger(ledger_path, read_only=True)
            self._owned = False
        self._cost_type = cost_type
        if self._owned:
            for derive in derivations(self._ledger):
                while derive(lambda: False):
                    pass
        now = clock()
        self._sources = [
            (stamps, _days_read(stamps, now, window, start, end))
            for stamps in (Stamps(self._ledger, source) for source in sources)
        ]
        self._total = sum(len(days) for _, days in self._sources)

    def close(self) -> None:
        """Close the ledger."""
        self._ledger.close()

    def _rows(self, stamps: Stamps, days: list[date], progress: Callable[[], None]) -> Iterator[list[Sent]]:
        """What to send of one source, a day at a time, the oldest first."""
        for day in days:
            names = self._ledger.accounts.names(on=day)
            rows = []
            fresh = []
            unsent = {change.series for change in stamps.changes(day, self._cost_type)}
            for change in stamps.changes(day, self._cost_type, everything=True):
                row = to_send(change, names, stamps.source.period)
                if (
                    change.written is not None
                    and change.last is not None
                    and change.series not in unsent
                    and not stamps.source.has_changed(change.units, change.written)
                ):
                    row = Sent(change, change.last, row.name)
                else:
                    fresh.append(row)
                rows.append(row)
            if self._owned and fresh:
                stamps.reserve(fresh)
            yield rows
            progress()

    def _steps(self, progress: Progress) -> Callable[[], None]:
        done = count(1)
        return lambda: progress(next(done), self._total)

    def remote_write(self, settings: HistorySettings, progress: Progress) -> tuple[int, int]:
        """Write everything; the samples taken and refused. EndpointError if the endpoint cannot be used."""
        endpoint = RemoteWriteEndpoint(settings)
        labels: Encoded = {}
        taken = refused = 0
        step = self._steps(progress)
        try:
            for stamps, days in self._sources:
                for batch in _batches(self._rows(stamps, days, step), settings.batch_size):
                    batch.sort(key=lambda row: (row.change.series, row.stamp))
                    written = endpoint.write(points(batch, labels, stamps.source))
                    if written.left:
                        raise EndpointError(f"{len(written.left)} of {len(batch)} samples were not taken")
                    taken += len(batch) - len(written.refused)
                    refused += len(written.refused)
        finally:
            endpoint.close()
        return taken, refused

    def openmetrics(self, file: IO[str], progress: Progress) -> int:
        """Write what `promtool tsdb create-blocks-from openmetrics` reads; returns the number of samples."""
        samples = 0
        step = self._steps(progress)
        for stamps, days in self._sources:
            # The format wants each family in one piece, and the days come with all of theirs.
            with ExitStack() as parts:
                texts = {
                    family.name: parts.enter_context(TemporaryFile("w+", encoding="utf-8", newline="\n"))
                    for family in stamps.source.families
                }
                for rows in self._rows(stamps, days, step):
                    for row in rows:
                        change = row.change
                        labels = stamps.source.labels(
                            change.family, change.account_id, row.name, change.label
                        )
                        value = render_value(stamps.source.value(change.units))
                        texts[change.family].write(
                            f"{change.family}{render_labels(labels.keys(), labels.values())} {value}"
                            f" {row.stamp // 1000}.{row.stamp % 1000:03d}\n"
                        )
                    samples += len(rows)
                for family in stamps.source.families:
                    text = texts[family.name]
                    if text.tell():
                        file.write(header(family))
                        text.seek(0)
                        copyfileobj(text, file)
        file.write("# EOF\n")
        return samples


def _days_read(
    stamps: Stamps, now: datetime, window: timedelta, start: date | None, end: date | None
) -> list[date]:
    """What was read of the days, or of their hours, of [start, end) and may be written."""
    source = stamps.source
    first, last = source.to_write(now, window)
    if start is not None:
        first = max(first, source.period.first_of(start))
    if end is not None:
        last = min(last, source.period.first_of(end))
    return stamps.days_read(first, last)


def _batches(groups: Iterator[list[Sent]], size: int) -> Iterator[list[Sent]]:
    rest: list[Sent] = []
    for group in groups:
        rest += group
        while len(rest) >= size:
            yield rest[:size]
            rest = rest[size:]
    if rest:
        yield rest


def write_openmetrics(backfill: Backfill, path: Path, progress: Progress) -> int:
    """Write the file whole or not at all; returns the number of samples."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            samples = backfill.openmetrics(file, progress)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return samples
