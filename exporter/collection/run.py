"""What became of one unit: attempted, classified, counted and published. Collectors raise, and only here is it recorded."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from exporter.accounts.discovery import Directory
from exporter.aws.errors import AwsError, Kind, classify
from exporter.collection.metrics import RunnerMetrics
from exporter.collection.result import CollectionResult
from exporter.collection.store import Key, Store
from exporter.collection.views import Views, sort_found
from exporter.core.moments import Clock
from exporter.core.places import Scope, Target
from exporter.declarations.collector import Collector, Part
from exporter.declarations.context import Context
from exporter.ledger.file import Ledger

log = logging.getLogger(__name__)

_LEAST_FREE_BYTES = 32 << 20  # a month of 100 accounts and 20 services, in the file and in its log
_SCRAPES_OF_A_NEW_COUNTER = 2  # at zero


def free_bytes(folder: Path) -> int:
    """What is left on the disk of a folder."""
    return shutil.disk_usage(folder).free


@dataclass(slots=True)
class Run:
    """One run of a collector over its targets; the counts are guarded by the condition of `Units`."""

    collector: Collector
    context: Context[Any]
    interval: timedelta
    """How long samples are good for; that of the context is shorter when a run is early."""
    pending: int = 0
    """Units that are queued or read now."""
    failed: int = 0
    already_running: set[Key] = field(default_factory=set)
    """Units that another run was reading already."""


class Attempts:
    """Attempts units of collection, one at a time each; thread-safe."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        views: Views,
        metrics: RunnerMetrics,
        clock: Clock,
        stop: threading.Event,
        directory: Callable[[], Directory | None],
        submit: Callable[[str, Callable[[], bool]], None],
        free_bytes: Callable[[Path], int] = free_bytes,
    ) -> None:
        """`submit` queues work behind an account's other work; `free_bytes` returns what a disk still takes."""
        self._ledger = ledger
        self._store = store
        self._views = views
        self._metrics = metrics
        self._clock = clock
        self._stop = stop
        self._directory = directory
        self._submit = submit
        self._free_bytes = free_bytes
        # Held from reading what is restored to publishing it: of two threads, the later one publishes what is newer.
        self._publishing = threading.RLock()

    def attempt(self, run: Run, part: Part, target: Target) -> AwsError | None:
        """Collect one unit and publish what became of it; returns the failure, and never raises."""
        collector = run.collector
        region = target.region if part.scope is Scope.REGION else ""
        key = Key(part.name, target.account_id, region)
        now = self._clock()
        try:
            if collector.restore is not None and key not in self._store.results():
                # Until AWS answers, what was read before the process began is served for as long as it is fresh.
                self._publish_restored(run, key, target, now)
            if not collector.is_free:
                self._require_room()
            try:
                samples, resources, folded = sort_found(part.collect(run.context, target))
            finally:
                self._views.catch_up()
            for sample in samples:
                if sample.family not in collector.families:
                    raise ValueError(f"{collector.name} does not declare {sample.family.name}")
            if collector.restore is not None:
                self._publish_restored(run, key, target, now)
            else:
                # What the ledger serves was read when the ledger says so.
                succeeded_at = self._views.read_at(collector) if _serves_the_ledger(collector) else now
                result = CollectionResult(samples, now, succeeded_at, resources=resources, folded=folded)
                self._publish(run, key, target.account, result)
        except Exception as error:
            return self.fail(run, key, target.account, now, error)
        finally:
            self._views.follow_resources(collector)
        return None

    def fail(self, run: Run, key: Key, account: str, now: datetime, error: Exception) -> AwsError:
        """Log, count and publish that a unit failed; returns the classified failure."""
        where = f"{key.unit} of {key.account_id}{f' in {key.region}' if key.region else ''}"
        failure = classify(error, where)
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
            read_at = self._views.read_at(run.collector) if _serves_the_ledger(run.collector) else None
        self._publish(run, key, account, CollectionResult((), now, read_at, failure.kind))
        return failure

    def refuse(self, collector: Collector, interval: timedelta, directory: Directory, reason: str) -> None:
        """Log and publish that a collector does not run, because its plan passes a ceiling."""
        log.error(
            "the collector does not run, --allow-plan-over-ceiling runs it anyway",
            extra={"collector": collector.name, "reason": reason},
        )
        self._store.publish(
            Key(collector.name, directory.payer_id),
            CollectionResult((), self._clock(), self._views.read_at(collector), Kind.PLAN_OVER_CEILING),
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

    def _publish(self, run: Run, key: Key, account: str, result: CollectionResult) -> None:
        if self._stop.is_set():
            return  # the store belongs to the next configuration
        with self._publishing:
            self._store.publish(key, result, account=account, interval=run.interval, owner=run.collector.name)
        directory = self._directory()
        if directory and key.account_id not in {*directory.accounts, directory.payer_id}:
            # The account left while it was being read.
            self._store.forget(lambda known: known != key)

    # What is restored from the ledger instead of what `collect` returns

    def _publish_restored(self, run: Run, key: Key, target: Target, now: datetime) -> None:
        restore = run.collector.restore
        assert restore is not None
        with self._publishing:
            restored = restore(run.context, target)
            if restored is None or self._stop.is_set():
                return
            self._publish(run, key, target.account, CollectionResult(restored.samples, now, restored.read_at))
        if (seen := restored.seen) is not None:

            def republish() -> None:
                # Not in the scrape's thread: it writes to the ledger.
                self._submit(key.account_id, lambda: self._after_seen(run, key, target, seen))

            self._store.after_scrapes(key, _SCRAPES_OF_A_NEW_COUNTER, republish)

    def _after_seen(self, run: Run, key: Key, target: Target, seen: Callable[[], None]) -> bool:
        if self._stop.is_set():
            return True
        try:
            seen()
            with self._publishing:  # what a run publishes meanwhile is newer than this
                result = self._store.results().get(key)
                if result is None:
                    return True
                at, error = result.attempted_at, result.error
                self._publish_restored(run, key, target, at)
                if error is not None:
                    self._publish(run, key, target.account, CollectionResult((), at, None, error))
        except Exception:
            log.exception(
                "what is restored cannot be published",
                extra={"collector": key.unit, "account_id": key.account_id, "region": key.region},
            )
            self._metrics.errors.labels(key.unit, Kind.INTERNAL).inc()
        return True


def _serves_the_ledger(collector: Collector) -> bool:
    return any(not view.of_resources for view in collector.views)
