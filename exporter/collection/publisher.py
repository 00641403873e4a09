"""Publishes the results of a run, unless the runner has stopped or the account has left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from exporter.accounts.discovery import Directory
from exporter.collection.result import CollectionResult
from exporter.collection.store import Key, Store
from exporter.declarations.collector import AnyCollector
from exporter.declarations.context import Context


@dataclass(slots=True)
class Run:
    """One run of a collector over its targets; the counts are guarded by the condition of `Units`."""

    collector: AnyCollector
    context: Context[Any]
    interval: timedelta
    """How long samples are good for; that of the context is shorter when a run is early."""
    pending: int = 0
    """Units that are queued or read now."""
    failed: int = 0
    already_running: set[Key] = field(default_factory=set)
    """Units that another run was reading already."""


class Publisher:
    """What the units of runs publish; thread-safe."""

    def __init__(
        self, store: Store, stop: threading.Event, directory: Callable[[], Directory | None]
    ) -> None:
        """`directory` returns the accounts that are collected from now."""
        self.publishing = threading.RLock()
        """Held where what is published of a unit depends on what was published before, so that the later one is newer."""
        self._store = store
        self._stop = stop
        self._directory = directory

    def publish(self, run: Run, key: Key, account: str, result: CollectionResult) -> None:
        """Publish what became of one unit of a run; DuplicateSeriesError as `Store.publish`."""
        if self._stop.is_set():
            return  # the store belongs to the next configuration
        with self.publishing:
            self._store.publish(key, result, account=account, interval=run.interval, owner=run.collector.name)
        directory = self._directory()
        if directory and key.account_id not in directory.accounts and key.account_id != directory.payer_id:
            # The account left while it was being read.
            self._store.forget([key])
