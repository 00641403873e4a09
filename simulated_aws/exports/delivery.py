"""What is delivered of one export: its refreshes, the months that they write, and the manifests that name the files."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from simulated_aws.cost_truth import CostSource, CostTruth, finalised_at, next_month
from simulated_aws.exports.buckets import Buckets
from simulated_aws.exports.definition import LEGACY, Export
from simulated_aws.exports.writer import MonthWriter
from simulated_aws.organization import Organization

_EXECUTIONS = 100


@dataclass(frozen=True, slots=True)
class Execution:
    """One refresh of an export: when it began, and the months that it wrote."""

    id: str
    at: datetime
    months: tuple[date, ...]


@dataclass(slots=True)
class DeliveredMonth:
    """What is delivered of one month: of which version, as of when, and its files' keys."""

    version: Hashable = None
    digest: str = ""
    at: datetime | None = None
    keys: list[str] = field(default_factory=list)


class Delivery:
    """Writes one export into its bucket. The caller ensures that one thread at a time does."""

    def __init__(
        self, export: Export, organization: Organization, truth: CostTruth, buckets: Buckets, seed: int
    ) -> None:
        self.export = export
        self._organization = organization
        self._truth = truth
        self._buckets = buckets
        self._seed = seed
        self.refreshed: datetime | None = None
        self.months: dict[date, DeliveredMonth] = {}
        self.executions: list[Execution] = []
        self._due: list[tuple[datetime, Callable[[], None]]] = []
        self._gets = 0

    def last_refresh(self, now: datetime) -> datetime | None:
        """The last refresh until now: when it was created, and three hours a day since."""
        if self.export.created > now:
            return None
        moments = [self.export.created]
        for day in (now.date() - timedelta(days=1), now.date()):
            for start in (3, 11, 19):
                digest = hashlib.blake2b(f"{self._seed}:{self.export.name}:{day}:{start}".encode()).digest()
                minutes = int.from_bytes(digest[:2], "big") % 240
                moments.append(datetime.combine(day, time(start), UTC) + timedelta(minutes=minutes))
        return max(moment for moment in moments if self.export.created <= moment <= now)

    def refresh(self, at: datetime) -> None:
        """Write what has changed, as of a moment; ValueError where the cost cannot be expressed by lines."""
        written = []
        writer: MonthWriter | None = None
        try:
            for month in _months(self.export.first_month, at.date()):
                if self._is_changed(month, at):
                    writer = writer or MonthWriter(self._organization, self._truth)
                    self._write(writer, month, at)
                    written.append(month)
        finally:
            if writer is not None:
                writer.close()
        self.refreshed = at
        self.executions.append(Execution(self.export.execution_id(at), at, tuple(written)))
        del self.executions[:-_EXECUTIONS]

    def _is_changed(self, month: date, at: datetime) -> bool:
        """Whether a refresh writes a month: it differs from what is delivered, or AWS writes it anyway."""
        source = self._truth.source
        known = self.months.setdefault(month, DeliveredMonth())
        end = next_month(month)
        days = [month + timedelta(days=number) for number in range((end - month).days)]
        version: Hashable = (
            source,
            tuple((source.version(day, at), self._truth.allocate(day, at)) for day in days),
            _shape(self.export, month),
            self._invoice(month, at),
        )
        is_touched = at.date() < end + timedelta(days=14 if self.export.touches_closed_months else 0)
        if known.version == version:
            return is_touched
        known.version = version
        allocations = tuple(self._truth.allocate(day, at) for day in days)
        digest = _digest(
            source, days, at, (allocations, _shape(self.export, month), self._invoice(month, at))
        )
        is_same, known.digest = digest == known.digest, digest
        return is_touched or not is_same

    def _invoice(self, month: date, at: datetime) -> str:
        """The id of a month's invoice, empty until its bill is final."""
        closed = at >= finalised_at(self._seed, month)
        return f"{int(hashlib.blake2b(month.isoformat().encode()).hexdigest()[:8], 16)}" if closed else ""

    def _write(self, writer: MonthWriter, month: date, at: datetime) -> None:
        work = self._buckets.folder / f"work-{self.export.name}"
        work.mkdir(parents=True, exist_ok=True)
        is_whole = False
        try:
            made = writer.write(self.export, month, at, self._invoice(month, at), work)
            columns = writer.columns(self.export, month)
            is_whole = self.export.truncated <= 0
            if not is_whole:
                self.export.truncated -= 1
                content = made[-1].read_bytes()
                made[-1].write_bytes(content[: len(content) // 2])
            self._put(month, at, made, columns)
        finally:
            if not is_whole:  # the next refresh writes it, changed or not
                self.months[month].version, self.months[month].digest = None, ""
            shutil.rmtree(work, ignore_errors=True)

    def _put(self, month: date, at: datetime, made: list[Path], columns: list[tuple[str, str]]) -> None:
        known = self.months[month]
        folder = self.export.folder("data", month) + self.export.execution_folder(at)
        if self.export.table == LEGACY:
            folder += f"{self.export.execution_id(at)}/"
        keys = [f"{folder}{self.export.name}-{path.name}" for path in made]
        old, known.keys, known.at = known.keys, keys, at
        modified = max(at, self.export.created)
        manifest = json.dumps(self._manifest(month, at, keys, columns), indent=1).encode()

        def put_manifest() -> None:
            for key in _manifest_keys(self.export, month, at):
                self._buckets.put(self.export.bucket, key, manifest, modified + self.export.manifest_delay)

        def put_data() -> None:
            for key, (content, when) in zip(keys, waiting, strict=True):
                self._buckets.put(self.export.bucket, key, content, when)
            if self.export.overwrite and not self.export.keeps_orphans:
                for key in set(old) - set(keys):
                    self._buckets.delete(self.export.bucket, key)

        waiting: list[tuple[Path | bytes, datetime]]
        if self.export.data_delay:
            late = modified + self.export.data_delay
            # The work folder is gone by then.
            waiting = [(path.read_bytes(), late) for path in made]
            self._due.append((late, put_data))
        else:
            waiting = [(path, modified) for path in made]
            put_data()
        if self.export.manifest_delay:
            self._due.append((modified + self.export.manifest_delay, put_manifest))
        else:
            put_manifest()

    def _manifest(
        self, month: date, at: datetime, keys: list[str], columns: list[tuple[str, str]]
    ) -> dict[str, Any]:
        named = [{"name": name, "type": _TYPES.get(kind, "MAP<STRING, STRING>")} for name, kind in columns]
        period = {"start": f"{month}T00:00:00.000Z", "end": f"{next_month(month)}T00:00:00.000Z"}
        if self.export.table == LEGACY:
            return {
                "assemblyId": self.export.execution_id(at),
                "account": self.export.account_id,
                "reportName": self.export.name,
                "compression": "GZIP",
                "contentType": "text/csv",
                "charset": "UTF-8",
                "bucket": self.export.bucket,
                "billingPeriod": period,
                "reportKeys": keys,
                "columns": named,
            }
        return {
            "exportArn": self.export.arn,
            "exportName": self.export.name,
            "executionId": self.export.execution_id(at),
            "billingPeriod": period,
            "columns": named,
            "dataFiles": [f"s3://{self.export.bucket}/{key}" for key in keys],
            "additionalOutputFiles": [],
        }

    def release(self, now: datetime) -> None:
        """Deliver late files that are due."""
        due, self._due = self._due, []
        for moment, arrive in due:
            if moment <= now:
                arrive()
            else:
                self._due.append((moment, arrive))

    def count_get(self, now: datetime) -> None:
        """Called when a data file is requested; if the export says so, a refresh comes first."""
        if not self.export.deliver_after_gets:
            return
        self._gets += 1
        if self._gets > self.export.deliver_after_gets:
            self._gets, self.export.deliver_after_gets = 0, 0
            self.refresh(now)


def _manifest_keys(export: Export, month: date, at: datetime) -> Iterator[str]:
    """The keys of the manifests of a delivery."""
    name = f"{export.name}-Manifest.json"
    folder = export.folder("metadata", month)
    if export.table == LEGACY:
        yield f"{folder}{export.execution_id(at)}/{name}"
        yield f"{folder}{name}"
        return
    if not export.overwrite:
        yield f"{folder}{export.execution_folder(at)}{name}"
    if export.overwrite or not export.hides_latest_manifest:
        yield f"{folder}{name}"


_TYPES = {
    "VARCHAR": "STRING",
    "DOUBLE": "DOUBLE",
    "TIMESTAMP": "TIMESTAMP",
    "MAP(VARCHAR, DOUBLE)": "MAP<STRING, DOUBLE>",
}


def _shape(export: Export, month: date) -> Hashable:
    """What of an export's settings decides what a month's files have."""
    return (
        export.statement(month),
        export.format,
        export.lines_per_file,
        export.is_hourly(month),
        export.resources,
        export.split_costs,
        export.manual_discounts,
        export.currency,
    )


def _digest(source: CostSource, days: list[date], at: datetime, shape: Hashable) -> str:
    digest = hashlib.blake2b(repr(shape).encode(), digest_size=16)
    for day in days:
        for key, amounts in source.charges(day, at):
            digest.update(repr((day, key, amounts)).encode())
    return digest.hexdigest()


def _months(first: date, last: date) -> Iterator[date]:
    month = first
    while month <= last:
        yield month
        month = next_month(month)
