"""What a unit of collection is, and how a run fans out into its units.

A unit is a part of a collector in one account and, if the part is regional, in one region. It succeeds
or fails as a whole, and is read by one thread at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from exporter.accounts.discovery import Directory
from exporter.aws.errors import AwsError, Kind
from exporter.collection.discovery import Regions
from exporter.collection.pool import Pool
from exporter.collection.publisher import Run
from exporter.collection.run import Attempts
from exporter.collection.store import Key, Store
from exporter.core.fields import CollectorSettings
from exporter.core.moments import Clock
from exporter.core.places import Account, Scope, Target
from exporter.declarations.collector import AnyCollector, AnyPart

_UNRESPONSIVE = (Kind.TIMEOUT, Kind.DEADLINE)


def unit_names(collector: AnyCollector, settings: CollectorSettings) -> set[str]:
    """The names under which a collector's results are reported."""
    return {part.name for part in collector.units(settings)} | {collector.name}


class Units:
    """Reads the units of runs on the pool, each at most once at a time."""

    def __init__(
        self,
        pool: Pool,
        store: Store,
        regions: Regions,
        attempts: Attempts,
        clock: Clock,
        stop: threading.Event,
    ) -> None:
        """`attempts` reads a unit and records what became of it."""
        self._pool = pool
        self._store = store
        self._regions = regions
        self._attempts = attempts
        self._clock = clock
        self._stop = stop
        self._under_way: set[Key] = set()
        # Guards the units under way and the counts of every run; nothing else is done while it is held.
        self._ended = threading.Condition()

    def under_way(self) -> frozenset[Key]:
        """The units that are queued or read now, by any run."""
        with self._ended:
            return frozenset(self._under_way)

    def start(self, run: Run, directory: Directory, payer_region: str) -> None:
        """Queue the units of a run, but those that another run is reading."""
        collector = run.collector
        parts = collector.units(run.context.settings)
        if collector.scope is Scope.PAYER:
            payer = directory.payer_target(payer_region)
            # A lane for each collector: what hangs in the payer's regions must not hold up cost.
            lane = f"{collector.name} of {payer.account_id}"
            for part in parts:
                self._submit(run, lane, Key(part.name, payer.account_id), self._task(run, part, payer))
            return
        regional = [part for part in parts if part.scope is Scope.REGION]
        for account in directory.accounts.values():
            for part in parts:
                if part.scope is Scope.ACCOUNT:
                    task = self._task(run, part, directory.target(account))
                    self._submit(run, account.id, Key(part.name, account.id), task)
            if regional:
                fan_out = partial(self._fan_out, run, directory, account, regional)
                self._submit(run, account.id, Key(collector.name, account.id), fan_out)

    def wait(self, run: Run, patience: float | None) -> None:
        """Return when all of a run is done, or after `patience` seconds."""
        end = None if patience is None else time.monotonic() + patience
        with self._ended:
            while run.pending and not self._stop.is_set() and (end is None or time.monotonic() < end):
                self._ended.wait(0.2)

    @staticmethod
    def read_by_another(run: Run, keys: Iterable[Key]) -> list[Key]:
        """Those of `keys` that another run reads instead of this one: with an account, the regions that it finds."""
        units = {part.name for part in run.collector.units(run.context.settings)}
        return [
            key
            for key in keys
            if key in run.already_running
            or (
                key.region
                and key.unit in units
                and Key(run.collector.name, key.account_id) in run.already_running
            )
        ]

    def _task(self, run: Run, part: AnyPart, target: Target) -> Callable[[], AwsError | None]:
        return partial(self._attempts.attempt, run, part, target)

    def _submit(self, run: Run, lane: str, key: Key, task: Callable[[], AwsError | None]) -> None:
        with self._ended:
            if key in self._under_way:
                run.already_running.add(key)
                return  # the previous run's attempt is not over
            self._under_way.add(key)
            run.pending += 1

        def counted() -> bool:
            failure: AwsError | None = AwsError(Kind.INTERNAL, "the task ended early")
            try:
                failure = task()
            finally:
                with self._ended:
                    self._under_way.discard(key)
                    run.pending -= 1
                    run.failed += failure is not None
                    self._ended.notify_all()
            return failure is None or failure.kind not in _UNRESPONSIVE

        self._pool.submit(lane, counted)

    def _fan_out(
        self, run: Run, directory: Directory, account: Account, parts: Sequence[AnyPart]
    ) -> AwsError | None:
        """Find the account's regions and queue a unit for each part and region."""
        now = self._clock()
        try:
            regions = self._regions.of(account)
        except Exception as error:
            key = Key(run.collector.name, account.id)
            return self._attempts.fail(run, key, account.name, now, error)
        units = {
            Key(part.name, account.id, region): part
            for region in regions
            for part in parts
            if part.offered(region)
        }
        names = {part.name for part in parts} | {run.collector.name}
        self._store.forget(
            key for key in self._store.keys_of(account.id) if key.unit in names and key not in units
        )
        for key, part in units.items():
            target = directory.target(account, key.region)
            self._submit(run, account.id, key, self._task(run, part, target))
        return None
