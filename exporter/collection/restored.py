"""Collectors with `restore`: what is served of a target is in the ledger, not what `collect` returns.

A counter that is new has to be seen at 0 first. So it is published at 0, and once it was scraped twice, `seen` writes
that to the ledger, and what was counted meanwhile is published.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from prometheus_client import Counter

from exporter.aws.errors import Kind
from exporter.collection.publisher import Publisher, Run
from exporter.collection.result import CollectionResult
from exporter.collection.store import Key, Store
from exporter.core.places import Target

log = logging.getLogger(__name__)

_SCRAPES_OF_A_NEW_COUNTER = 2  # at zero


class Restored:
    """Publishes what collectors keep in the ledger; does nothing for the others."""

    def __init__(
        self,
        publisher: Publisher,
        store: Store,
        errors: Counter,
        stop: threading.Event,
        submit: Callable[[str, Callable[[], bool]], None],
    ) -> None:
        """`errors` counts by collector and kind; `submit` queues work behind an account's other work."""
        self._publisher = publisher
        self._store = store
        self._errors = errors
        self._stop = stop
        self._submit = submit

    def publish_at_first(self, run: Run, key: Key, target: Target, now: datetime) -> None:
        """Until AWS answers, serve what was read before the process began, for as long as it is fresh."""
        if run.collector.restore is not None and self._store.result(key) is None:
            self.publish(run, key, target, now)

    def publish(self, run: Run, key: Key, target: Target, now: datetime) -> bool:
        """Serve what the ledger has of a target; returns whether the collector works like that."""
        restore = run.collector.restore
        if restore is None:
            return False
        with self._publisher.publishing:
            restored = restore(run.context, target)
            if restored is None or self._stop.is_set():
                return True
            self._publisher.publish(
                run,
                key,
                target.account,
                CollectionResult(samples=restored.samples, attempted_at=now, succeeded_at=restored.read_at),
            )
        if (seen := restored.seen) is not None:

            def republish() -> None:
                # Not in the scrape's thread: it writes to the ledger.
                self._submit(key.account_id, lambda: self._after_seen(run, key, target, seen))

            self._store.after_scrapes(key, _SCRAPES_OF_A_NEW_COUNTER, republish)
        return True

    def _after_seen(self, run: Run, key: Key, target: Target, seen: Callable[[], None]) -> bool:
        if self._stop.is_set():
            return True
        try:
            seen()
            with self._publisher.publishing:  # what a run publishes meanwhile is newer than this
                result = self._store.result(key)
                if result is None:
                    return True
                at, error = result.attempted_at, result.error
                self.publish(run, key, target, at)
                if error is not None:
                    self._publisher.publish(
                        run,
                        key,
                        target.account,
                        CollectionResult(samples=(), attempted_at=at, succeeded_at=None, error=error),
                    )
        except Exception:
            log.exception(
                "what is restored cannot be published",
                extra={"collector": key.unit, "account_id": key.account_id, "region": key.region},
            )
            self._errors.labels(key.unit, Kind.INTERNAL).inc()
        return True
