"""Publishes what became of attempts, unless the runner has stopped or the account has left."""

from __future__ import annotations

import threading
from collections.abc import Callable

from exporter.accounts.discovery import Directory
from exporter.collection.attempt import Attempt
from exporter.collection.result import CollectionResult
from exporter.collection.store import Key, Store


class Publisher:
    """What the attempts at units publish; thread-safe."""

    def __init__(
        self, store: Store, stop: threading.Event, directory: Callable[[], Directory | None]
    ) -> None:
        """`directory` returns the accounts that are collected from now."""
        self.publishing = threading.RLock()
        """Held where what is published of a unit depends on what was published before, so that the later one is newer."""
        self._store = store
        self._stop = stop
        self._directory = directory

    def publish(self, attempt: Attempt, key: Key, account: str, result: CollectionResult) -> None:
        """Publish what became of one attempt at a unit; DuplicateSeriesError as `Store.publish`."""
        if self._stop.is_set():
            return  # the store belongs to the next configuration
        with self.publishing:
            self._store.publish(
                key, result, account=account, interval=attempt.interval, owner=attempt.collector.name
            )
        directory = self._directory()
        if directory and key.account_id not in directory.accounts and key.account_id != directory.payer_id:
            # The account left while it was being read.
            self._store.forget([key])
