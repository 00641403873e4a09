"""One month of an export: its files as the manifest names them, folded one at a time, and committed whole or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path, PurePosixPath

from exporter.aws.errors import AwsError, Kind
from exporter.core.moments import Clock, month_start
from exporter.cube.dimensions import Dimension
from exporter.cube.months import CubeMonths
from exporter.exports.account_names import account_names
from exporter.exports.athena.month import AthenaEngine
from exporter.exports.delivery.bucket import ChangedError, ExportBucket, MissingError, StoredObject
from exporter.exports.delivery.discovery import FoundExport
from exporter.exports.delivery.looks import Look, remember_look
from exporter.exports.delivery.manifest import MOST_BYTES, Manifest, manifest_of, read_manifest
from exporter.exports.delivery.work_folders import work_folder
from exporter.exports.folding import FoldError, FoldResult, FoldSettings, MonthFold
from exporter.exports.month_commit import DIMENSIONS, FoldedMonth, commit_month
from exporter.ledger.file import Ledger

log = logging.getLogger(__name__)

_ATTEMPTS = 3
_SPARE_BYTES = 64 << 20
_PROGRESS_EVERY_SECONDS = 30.0
_PREFIX = "file-"
_HOURS_KEPT = timedelta(days=14)
_SHOWN_NAMES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSettings:
    """What of a month is kept, and what reading it may use."""

    tags: tuple[str, ...]
    cost_categories: tuple[str, ...]
    values: int
    """Most keys of a dimension for each account or service."""
    resources: int
    memory_mb: int
    spill: Path

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Every dimension that is kept by its values."""
        return (
            *DIMENSIONS,
            *(Dimension("tag", key) for key in self.tags),
            *(Dimension("cost_category", name) for name in self.cost_categories),
        )

    @property
    def digest(self) -> str:
        """Another one where a month has to be read again although its manifest is the same."""
        kept = [self.tags, self.cost_categories, self.values, self.resources]
        return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthImporter:
    """Reads months of one export into a ledger, one after the other."""

    ledger: Ledger
    bucket: ExportBucket
    export: FoundExport
    settings: ImportSettings
    clock: Clock
    known_names: Mapping[str, str]
    """Account names that win over those of the bill."""
    committed: Callable[[], None] = field(default=lambda: None)
    athena: AthenaEngine | None = None
    """Sums the lines, instead of this machine."""

    def read(self, month: date) -> bool:
        """Bring a month up to date; whether it was read again. MissingError if it has no manifest.

        AwsError if it cannot be read: the month stays as it was.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            stored = manifest_of(self.bucket, self.export, month)
            version = self._version(stored)
            held = CubeMonths(self.ledger).all().get(month)
            if held is not None and held.version == version and held.source == "data_export":
                self._remember(month, stored)
                return False
            try:
                self._read(month, stored)
            except ChangedError as error:
                if attempt == _ATTEMPTS:
                    raise AwsError(Kind.EXPORT, f"{error}, {_ATTEMPTS} times in a row") from error
                log.info(
                    "a month of the export was replaced while it was read",
                    extra={"month": f"{month:%Y-%m}", "attempt": attempt, "reason": error},
                )
            else:
                self.committed()
                return True
        raise AssertionError("the last attempt returns or raises")

    def _version(self, stored: StoredObject) -> str:
        # AWS writes the manifest at each delivery: the same text may be of other files.
        return f"{stored.etag}/{stored.modified.isoformat()}/{self.settings.digest}"

    def _remember(self, month: date, stored: StoredObject) -> None:
        remember_look(self.ledger, Look(month, self.clock(), stored.etag, stored.modified))

    def _read(self, month: date, stored: StoredObject) -> None:
        began = time.monotonic()
        body = self.bucket.read(stored, MOST_BYTES)
        manifest = read_manifest(body, self.bucket.name, self.export.folder, month)
        files = self._look_at_files(manifest, stored)
        folder = CubeMonths(self.ledger).new_folder(month)
        try:
            result, names = (
                self._fold(month, files, folder)
                if self.athena is None
                else self._ask_athena(self.athena, month, stored, files, folder)
            )
            if manifest_of(self.bucket, self.export, month) != stored:
                raise ChangedError(
                    f"s3://{self.bucket.name}/{stored.key} was replaced while the month was read"
                )
            self._commit(month, stored, manifest, folder, result, names)
        except FoldError as error:
            raise AwsError(Kind.EXPORT, str(error)) from error
        except MissingError as error:
            raise AwsError(Kind.EXPORT, f"the manifest names a file that is not there: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # renamed by a commit, it is not there any more
        self._log_read(month, files, result, began)

    def _look_at_files(self, manifest: Manifest, stored: StoredObject) -> list[StoredObject]:
        try:
            files = [self.bucket.look(key) for key in manifest.files]
        except MissingError as error:
            raise AwsError(Kind.EXPORT, f"the manifest names a file that is not there: {error}") from error
        newer = [file.key for file in files if file.modified > stored.modified]
        if newer:
            raise AwsError(
                Kind.EXPORT,
                f"{len(newer)} of {len(files)} files are newer than the manifest, such as {newer[0]}: a delivery has begun",
            )
        return files

    def _fold(
        self, month: date, files: Sequence[StoredObject], folder: Path
    ) -> tuple[FoldResult, dict[str, str]]:
        names: dict[str, str] = {}
        began = logged = time.monotonic()
        lines = 0
        with self._work_folder(files) as work, MonthFold(self._fold_settings(month)) as fold:
            for number, file in enumerate(files, start=1):
                # The suffix says the format; the rest of the key may be too long for a file's name.
                path = work / f"lines{''.join(PurePosixPath(file.key).suffixes[-2:])}"
                self.bucket.fetch(file, path)
                names |= account_names(path, self.export.table)
                lines += fold.add(path, file.key)
                path.unlink()
                if time.monotonic() - logged >= _PROGRESS_EVERY_SECONDS:
                    logged = time.monotonic()
                    log.info(
                        "a month of the export is being read",
                        extra={
                            "month": f"{month:%Y-%m}",
                            "files": number,
                            "of_files": len(files),
                            "lines": lines,
                            "seconds": round(logged - began, 1),
                        },
                    )
            return fold.finish(folder), names

    def _ask_athena(
        self,
        engine: AthenaEngine,
        month: date,
        stored: StoredObject,
        files: Sequence[StoredObject],
        folder: Path,
    ) -> tuple[FoldResult, dict[str, str]]:
        """The same by Athena, which cannot be bound to a version of a file: they are looked at again afterwards."""
        seen = [self._version(stored), *(f"{file.key} {file.etag}" for file in files)]
        version = hashlib.sha256("\n".join(seen).encode()).hexdigest()[:32]
        with self._work_folder(()) as work:
            try:
                found = engine.fold(
                    self._fold_settings(month), version, self.bucket.name, files, work, folder
                )
            except FoldError:
                self._require_unchanged(files)  # which would be why
                raise
        self._require_unchanged(files)
        return found

    def _require_unchanged(self, files: Sequence[StoredObject]) -> None:
        for file in files:
            try:
                is_changed = self.bucket.look(file.key) != file
            except MissingError:
                is_changed = True
            if is_changed:
                raise ChangedError(
                    f"s3://{self.bucket.name}/{file.key} was replaced while the month was read"
                )

    def _fold_settings(self, month: date) -> FoldSettings:
        settings = self.settings
        hours_from = self.clock().date() - _HOURS_KEPT
        return FoldSettings(
            month=month,
            table=self.export.table,
            tags=settings.tags,
            cost_categories=settings.cost_categories,
            resources=settings.resources,
            memory_mb=settings.memory_mb,
            spill=settings.spill,
            hours_from=hours_from if month_start(month, -1) > hours_from else None,
        )

    @contextmanager
    def _work_folder(self, files: Sequence[StoredObject]) -> Iterator[Path]:
        spill = self.settings.spill
        spill.mkdir(mode=0o700, parents=True, exist_ok=True)
        needed = max((file.size for file in files), default=0) + _SPARE_BYTES
        free = shutil.disk_usage(spill).free
        if free < needed:
            raise AwsError(
                Kind.LEDGER,
                f"{free >> 20} MiB are left on the disk of {spill}, the export needs {needed >> 20}",
            )
        with work_folder(spill, _PREFIX) as work:
            yield work

    def _commit(
        self,
        month: date,
        stored: StoredObject,
        manifest: Manifest,
        folder: Path,
        result: FoldResult,
        names: Mapping[str, str],
    ) -> None:
        now = self.clock()
        folded = FoldedMonth(
            month=month,
            version=self._version(stored),
            delivered_at=min(stored.modified, now),
            folder=folder,
            result=result,
            names={each: name for each, name in names.items() if each not in self.known_names},
            details={
                "export": self.export.name,
                "table": self.export.table,
                "execution_id": manifest.execution_id,
                "files": len(manifest.files),
                "read_at": now.isoformat(),
            },
        )
        commit_month(self.ledger, folded, self.settings.dimensions, self.settings.values, now)
        self._remember(month, stored)

    def _log_read(self, month: date, files: Sequence[StoredObject], result: FoldResult, began: float) -> None:
        log.info(
            "a month of the export is read",
            extra={
                "month": f"{month:%Y-%m}",
                "files": len(files),
                "bytes": sum(file.size for file in files),
                "lines": result.lines,
                "rows": result.rows,
                "seconds": round(time.monotonic() - began, 1),
            },
        )
        if result.unknown_charge_types:
            log.warning(
                "lines of unknown charge types count as unblended cost",
                extra={"month": f"{month:%Y-%m}", "charge_types": dict(result.unknown_charge_types)},
            )
        if result.unknown_services:
            log.info(
                "services are named as the export names them",
                extra={
                    "month": f"{month:%Y-%m}",
                    "services": sorted(result.unknown_services)[:_SHOWN_NAMES],
                },
            )
