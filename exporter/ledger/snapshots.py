"""The ledger in S3: snapshots while it changes, and back from there when a task starts with an empty disk.

The ledger was paid for, and it holds the charges that ceilings count: a task that is killed and comes
back elsewhere pays nothing again. SQLite on a network file system is not safe, hence copies. What fails
here is logged and counted, and never stops collection.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from exporter.aws.clients import Aws, Deadline
from exporter.aws.errors import AwsError, Kind, classify
from exporter.core.answer_limits import answer_within
from exporter.core.moments import Clock
from exporter.ledger.connection import connect
from exporter.ledger.schema import SCHEMA_VERSION
from exporter.ledger.snapshot_settings import SnapshotSettings

log = logging.getLogger(__name__)

IAM_OBJECT = ("s3:GetObject", "s3:PutObject")
IAM_BUCKET = ("s3:ListBucket",)

OBJECT_NAME = "ledger.sqlite.gz"
_LEVEL = 3  # a ledger packs well; more effort gains little
_LOOK_SECONDS = 1.0
_REST_FACTOR = 10  # a large ledger is copied for a tenth of the time at most
_FIRST_RETRY = 5.0
_LONGEST_RETRY = 300.0
_TAKE_OVER = timedelta(minutes=10)  # without a newer one, whoever wrote the other snapshot has ended
_ANY, _NONE = "any", "none"  # instead of the ETag of what is in S3: not known, and nothing is
_BESIDE_BYTES = 1 << 20  # what may come with a snapshot, such as checksums
_STOPPING_SHARE = 0.5  # of the time that is left, for what the last one took


class SnapshotMetrics:
    """Self metrics; they exist where snapshots are on."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """`registry` is the one that is scraped."""
        prefix = "aws_spend_exporter_snapshot"
        self.success = Gauge(
            f"{prefix}_success", "1 unless the last snapshot of the ledger failed.", registry=registry
        )
        self.success.set(1)
        self.last = Gauge(
            f"{prefix}_last_success_timestamp_seconds",
            "When the newest snapshot in S3 was taken or restored; 0 before the first.",
            registry=registry,
        )
        self.failures = Counter(
            f"{prefix}_failures_total", "Snapshots that failed and are tried again.", registry=registry
        )
        self.bytes = Gauge(f"{prefix}_bytes", "Size of the newest snapshot, compressed.", registry=registry)
        self.restored = Gauge(
            f"{prefix}_restored", "1 if this process began with a ledger from S3.", registry=registry
        )


class SnapshotError(Exception):
    """A snapshot cannot be taken or used."""


class Snapshots:
    """Snapshots of one ledger. `restore` before the ledger is opened, then `start`."""

    def __init__(
        self,
        settings: SnapshotSettings,
        aws: Aws,
        ledger: Path,
        clock: Clock,
        metrics: SnapshotMetrics,
        shard: str = "",
    ) -> None:
        """`settings` must have a bucket; `aws` acts as the account that the exporter runs in.

        `shard` keeps the ledgers of one configuration's exporters apart.
        """
        self._key = f"{settings.prefix}{shard}{OBJECT_NAME}"
        self._settings = settings
        self._aws = aws
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._region = settings.region or aws.region
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)
        self._one_at_a_time = threading.Lock()
        self._copied: int | None = None  # data_version of what is in S3
        self._seconds = 0.0
        self._unread: str | None = None
        # What a snapshot may replace: two tasks that overlap must not overwrite each other unseen.
        self._replaces = _ANY
        self._foreign: tuple[str, datetime] | None = None  # another's snapshot, and when it was seen first

    # Restoring

    def restore(self) -> bool:
        """Fetch the ledger if there is none here; whether there was one in S3.

        A ledger that is here is never touched. Where S3 cannot be asked in time, or what it holds is
        broken, the exporter begins with an empty ledger, and a snapshot that was not read stays as it is.
        """
        if self._ledger.exists():
            return False
        deadline = time.monotonic() + self._settings.restore_timeout.total_seconds()
        wait = 1.0
        while True:
            try:
                return self._fetch(deadline)
            except SnapshotError as error:
                self._failed()
                log.error("the ledger's snapshot is broken, an empty ledger begins", extra={"error": error})
                self._unread = "the snapshot in S3 is broken and kept for inspection: move or delete it"
                return False
            except (AwsError, OSError) as error:
                if time.monotonic() + wait >= deadline or not getattr(error, "retryable", True):
                    self._failed()
                    log.error(
                        "the ledger's snapshot cannot be read, an empty ledger begins", extra={"error": error}
                    )
                    self._unread = "there is a snapshot in S3 that was not read at the start"
                    return False
                log.warning(
                    "the ledger's snapshot cannot be read",
                    extra={"retry_seconds": round(wait), "error": error},
                )
                self._stop.wait(wait)
                wait = min(2 * wait, 15.0)

    def _fetch(self, deadline: float) -> bool:
        """Take the snapshot over; False if there is none. `deadline` is on the monotonic clock."""
        began = time.monotonic()
        self._ledger.parent.mkdir(parents=True, exist_ok=True)
        try:
            answer = self._call("GetObject", {"ChecksumMode": "ENABLED"})
        except AwsError as error:
            if error.code in ("NoSuchKey", "404"):
                log.info("there is no snapshot of the ledger yet", extra={"bucket": self._settings.bucket})
                self._replaces = _NONE
                return False
            raise
        with closing(answer["Body"]) as body, self._work_folder() as folder:
            packed, plain = folder / "packed", folder / "plain"
            size = answer.get("ContentLength")
            if size is None or size > shutil.disk_usage(folder).free:
                reason = f"a snapshot of {size} bytes does not fit on the disk of data_dir"
                raise AwsError(Kind.MALFORMED_RESPONSE, reason, request="s3 GetObject")
            with answer_within(max(1.0, deadline - time.monotonic()), size + _BESIDE_BYTES) as limit:
                try:
                    with packed.open("wb") as target:
                        shutil.copyfileobj(body, target)
                except Exception as error:
                    if limit.exceeded is not None:
                        kind = Kind.TIMEOUT if limit.exceeded == "seconds" else Kind.MALFORMED_RESPONSE
                        raise AwsError(kind, limit.reason, request="s3 GetObject") from error
                    raise classify(error, "s3 GetObject") from error
            if packed.stat().st_size != size:
                raise AwsError(Kind.MALFORMED_RESPONSE, "the answer ended early", request="s3 GetObject")
            _unpack(packed, plain)
            _check(plain, "integrity_check(3)")
            with plain.open("rb") as written:
                os.fsync(written.fileno())
            plain.chmod(0o600)
            for left in ("-wal", "-shm"):  # of a ledger that is no more: SQLite would apply it to this one
                self._ledger.with_name(self._ledger.name + left).unlink(missing_ok=True)
            try:
                os.link(plain, self._ledger)  # unlike a rename, it never replaces a ledger
            except FileExistsError:
                return False
            size = packed.stat().st_size
        self._replaces = answer["ETag"]
        taken = float(answer.get("Metadata", {}).get("taken-at", 0))
        self._metrics.last.set(taken)
        self._metrics.bytes.set(size)
        self._metrics.restored.set(1)
        log.info(
            "the ledger is restored from its snapshot",
            extra={
                "bucket": self._settings.bucket,
                "age_seconds": round(self._clock().timestamp() - taken),
                "seconds": round(time.monotonic() - began, 1),
            },
        )
        return True

    # Taking

    def start(self) -> None:
        """Take snapshots on a separate thread; the ledger's file must exist."""
        self._thread.start()

    def stop(self, end_by: float) -> None:
        """End, with a last snapshot if one fits before `end_by` on the monotonic clock."""
        self._stop.set()
        left = end_by - time.monotonic()
        if self._seconds and self._seconds < left * _STOPPING_SHARE and self._changed():
            # On a thread, because nothing here may hold up the end.
            last = threading.Thread(target=self._take_last, args=(end_by,), name="last-snapshot", daemon=True)
            last.start()
            last.join(max(0.0, end_by - time.monotonic()))

    def _take_last(self, end_by: float) -> None:
        try:
            self.take(Deadline(end_by - time.monotonic()))
        except Exception as error:
            log.warning("there is no last snapshot", extra={"error": error})

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            wait = max(self._settings.interval.total_seconds(), _REST_FACTOR * self._seconds)
            try:
                if not self._changed():
                    self._stop.wait(_LOOK_SECONDS)
                    continue
                self.take()
                failures = 0
            except Exception as error:
                if self._stop.is_set():
                    return
                failures += 1
                self._failed()
                log.error(
                    "the ledger cannot be copied", extra={"bucket": self._settings.bucket, "error": error}
                )
                wait = max(wait, min(_LONGEST_RETRY, _FIRST_RETRY * 2 ** min(failures - 1, 10)))
            self._stop.wait(wait)

    def _failed(self) -> None:
        self._metrics.success.set(0)
        self._metrics.failures.inc()

    def _changed(self) -> bool:
        """Whether anything was committed since the last snapshot."""
        return self._copied is None or self._version() != self._copied

    def _version(self) -> int:
        # Of the file and its log as they are on disk: every commit moves one of the two.
        state = []
        for path in (self._ledger, self._ledger.with_name(self._ledger.name + "-wal")):
            try:
                found = path.stat()
                state.append((found.st_mtime_ns, found.st_size))
            except FileNotFoundError:
                state.append((0, 0))
        return hash(tuple(state))

    def take(self, deadline: Deadline | None = None) -> None:
        """Copy the ledger to S3 now; AwsError, SnapshotError, OSError or sqlite3.Error if that fails."""
        if self._unread is not None:
            raise SnapshotError(self._unread)
        with self._one_at_a_time, self._work_folder() as folder:
            began = time.monotonic()
            now = self._clock()
            version = self._version()
            plain, packed = folder / "plain", folder / "packed"
            _copy(self._ledger, plain)
            _check(plain, "quick_check(3)")
            with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=_LEVEL) as target:
                shutil.copyfileobj(source, target, 1 << 20)
            plain.unlink()
            self._put(packed.read_bytes(), now, deadline)
            self._copied = version
            self._seconds = time.monotonic() - began
            self._metrics.success.set(1)
            self._metrics.last.set(now.timestamp())
            self._metrics.bytes.set(packed.stat().st_size)
        log.debug(
            "the ledger is copied",
            extra={"bucket": self._settings.bucket, "seconds": round(self._seconds, 1)},
        )

    def _put(self, body: bytes, now: datetime, deadline: Deadline | None) -> None:
        params: dict[str, Any] = {
            "Body": body,
            "ChecksumAlgorithm": "SHA256",
            "ContentType": "application/gzip",
            "Metadata": {
                "taken-at": f"{now.timestamp():.3f}",
                "schema": str(SCHEMA_VERSION),
                "sha256": hashlib.sha256(body).hexdigest(),
            },
        }
        if self._settings.kms_key_id is not None:
            params |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._settings.kms_key_id}
        if self._replaces == _NONE:
            params["IfNoneMatch"] = "*"
        elif self._replaces != _ANY:
            params["IfMatch"] = self._replaces
        try:
            answer = self._call("PutObject", params, deadline)
        except AwsError as error:
            if error.code in ("NoSuchKey", "404"):
                self._replaces = _NONE  # somebody has moved it away
            if error.code not in ("PreconditionFailed", "412"):
                raise
            answer = self._call("HeadObject", {}, deadline)
            if answer.get("Metadata", {}).get("sha256") != params["Metadata"]["sha256"]:
                self._met(answer["ETag"], now)
            # Else the answer to an earlier attempt of ours was lost.
        self._replaces, self._foreign = answer["ETag"], None

    def _met(self, etag: str, now: datetime) -> None:
        """Always raises: another exporter's snapshot is in S3, which the next one of ours may replace if it stays."""
        if self._foreign is None or self._foreign[0] != etag:
            self._foreign = (etag, now)
        elif now - self._foreign[1] >= _TAKE_OVER:
            log.warning("the other exporter's snapshot has not changed any more: the next one replaces it")
            self._replaces = etag
        raise SnapshotError(
            "another exporter has put a snapshot there since: run one at a time, or give each a prefix"
        )

    def _call(
        self, operation: str, params: dict[str, Any], deadline: Deadline | None = None
    ) -> dict[str, Any]:
        where = {"Bucket": self._settings.bucket, "Key": self._key}
        return self._aws.call(None, "s3", operation, self._region, {**where, **params}, deadline=deadline)

    @contextmanager
    def _work_folder(self) -> Iterator[Path]:
        # Beside the ledger: /tmp is often memory, and a link cannot leave its file system.
        for left in self._ledger.parent.glob(".snapshot-*"):
            shutil.rmtree(left, ignore_errors=True)  # of a process that was killed
        with tempfile.TemporaryDirectory(
            dir=self._ledger.parent, prefix=".snapshot-", ignore_cleanup_errors=True
        ) as folder:
            yield Path(folder)


def _copy(ledger: Path, target: Path) -> None:
    """A consistent copy by SQLite's backup API, without keeping the writer waiting."""
    uri = f"{ledger.absolute().as_uri()}?mode=ro"
    with closing(connect(uri, uri=True)) as source, closing(connect(target)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it


def _unpack(packed: Path, plain: Path) -> None:
    try:
        with gzip.open(packed, "rb") as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except (EOFError, gzip.BadGzipFile, OSError, ValueError) as error:
        raise SnapshotError(f"it cannot be unpacked: {error}") from error


def _check(path: Path, pragma: str) -> None:
    """SnapshotError unless the file is a whole ledger of a version that this one can read."""
    try:
        with closing(connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            problems = [row[0] for row in db.execute(f"PRAGMA {pragma}")]
            (version,) = db.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise SnapshotError(f"it is no ledger: {error}") from error
    if problems != ["ok"]:
        raise SnapshotError(f"it is damaged: {'; '.join(problems)}")
    if not 1 <= version <= SCHEMA_VERSION:
        raise SnapshotError(f"its schema is {version}, this version knows {SCHEMA_VERSION}")
