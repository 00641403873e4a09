"""What became of one unit: attempted, classified, counted and published. Collectors raise, and only here is it recorded."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from exporter.accounts.discovery import Directory
from exporter.aws.errors import AwsError, Kind, classify
from exporter.collection.attempt import Attempt
from exporter.collection.metrics import RunnerMetrics
from exporter.collection.publisher import Publisher
from exporter.collection.restored import Restored
from exporter.collection.result import CollectionResult
from exporter.collection.store import Key, Store
from exporter.collection.views import Views, sort_found
from exporter.core.moments import Clock
from exporter.core.places import Scope, Target
from exporter.declarations.collector import AnyCollector, AnyPart
from exporter.ledger.file import Ledger

log = logging.getLogger(__name__)

_LEAST_FREE_BYTES = 32 << 20  # a month of 100 accounts and 20 services, in the file and in its log


def free_bytes(folder: Path) -> int:
    """What is left on the disk of a folder."""
    return shutil.disk_usage(folder).free


class Attempts:
    """Attempts units of collection, one at a time each; thread-safe."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        publisher: Publisher,
        restored: Restored,
        views: Views,
        metrics: RunnerMetrics,
        clock: Clock,
        stop: threading.Event,
        free_bytes: Callable[[Path], int] = free_bytes,
    ) -> None:
        """`free_bytes` returns what the disk of a folder still takes."""
        self._ledger = ledger
        self._store = store
        self._publisher = publisher
        self._restored = restored
        self._views = views
        self._metrics = metrics
        self._clock = clock
        self._stop = stop
        self._free_bytes = free_bytes

    def attempt(self, attempt: Attempt, part: AnyPart, target: Target) -> AwsError | None:
        """Collect one unit and publish what became of it; returns the failure, and never raises."""
        collector = attempt.collector
        region = target.region if part.scope is Scope.REGION else ""
        key = Key(part.name, target.account_id, region)
        now = self._clock()
        try:
            self._restored.publish_at_first(attempt, key, target, now)
            if not collector.is_free:
                self._require_room()
            try:
                rests = collector.rests(attempt.context.sections)
                samples, resources, folded = sort_found(
                    () if rests else part.collect(attempt.context, target)
                )
            finally:
                self._views.catch_up()
            for sample in samples:
                if sample.family not in collector.families:
                    raise ValueError(f"{collector.name} does not declare {sample.family.name}")
            if not self._restored.publish(attempt, key, target, now):
                read_at = self._views.succeeded_at(collector, now)
                result = CollectionResult(
                    samples=samples,
                    attempted_at=now,
                    succeeded_at=read_at,
                    resources=resources,
                    folded=folded,
                )
                self._publisher.publish(attempt, key, target.account, result)
        except Exception as error:
            if (
                part.scope is Scope.REGION
                and isinstance(error, AwsError)
                and error.kind is Kind.REGION_DENIED
            ):
                return self._deny(attempt, key, target.account, now, error)
            return self.fail(attempt, key, target.account, now, error)
        finally:
            self._views.follow_resources(collector, target.account_id)
        return None

    def _deny(self, attempt: Attempt, key: Key, account: str, now: datetime, denial: AwsError) -> AwsError:
        """Publish that a unit rests because its region is denied: a state, which is neither counted nor logged here."""
        result = CollectionResult(samples=(), attempted_at=now, succeeded_at=None, error=denial.kind)
        self._publisher.publish(attempt, key, account, result)
        return denial

    def fail(self, attempt: Attempt, key: Key, account: str, now: datetime, error: Exception) -> AwsError:
        """Log, count and publish that a unit failed; returns the classified failure."""
        where = f"{key.unit} of {key.account_id}{f' in {key.region}' if key.region else ''}"
        failure = classify(error, where)
        if failure.kind is Kind.REGION_DENIED:
            # Of a region that the whole account depends on, e.g. that of global services: without it nothing is read.
            failure = failure.of_kind(Kind.ACCESS_DENIED)
        if failure.kind is Kind.STOPPED or self._stop.is_set():
            return failure
        ours = failure.kind is Kind.INTERNAL
        log.log(
            logging.ERROR if ours else logging.WARNING,
            "collection failed",
            extra={
                "collector": key.unit,
                "account_id": key.account_id,
                "region": key.region,
                "kind": failure.kind,
                "error": failure,
            },
            exc_info=error if ours else None,
        )
        self._metrics.errors.labels(key.unit, failure.kind).inc()
        read_at = None
        with suppress(sqlite3.DatabaseError):  # the ledger itself may be what is broken
            read_at = self._views.succeeded_at(attempt.collector, None)
        self._publisher.publish(
            attempt,
            key,
            account,
            CollectionResult(samples=(), attempted_at=now, succeeded_at=read_at, error=failure.kind),
        )
        return failure

    def refuse(self, collector: AnyCollector, interval: timedelta, directory: Directory, reason: str) -> None:
        """Log and publish that a collector does not run, because its plan passes a ceiling."""
        log.error(
            "the collector does not run, --allow-plan-over-ceiling runs it anyway",
            extra={"collector": collector.name, "reason": reason},
        )
        now = self._clock()
        self._store.publish(
            Key(collector.name, directory.payer_id),
            CollectionResult(
                samples=(),
                attempted_at=now,
                succeeded_at=self._views.succeeded_at(collector, None),
                error=Kind.PLAN_OVER_CEILING,
            ),
            account=directory.names.get(directory.payer_id, directory.payer_id),
            interval=interval,
        )

    def _require_room(self) -> None:
        """Nothing is paid for that could not be kept, and then be paid for again at the next attempt."""
        free = self._free_bytes(self._ledger.path.parent)
        if free < _LEAST_FREE_BYTES:
            raise AwsError(
                Kind.LEDGER,
                f"{free >> 20} MiB are left on the disk of data_dir, expected {_LEAST_FREE_BYTES >> 20} at least",
            )
