"""Which units of collection there are, each read when it is due and then due again.

A unit is a part of a collector in one account and, if the part is regional, in one region. It succeeds or
fails as a whole, and is read by one thread at a time. Of an account with regional parts, another unit finds
the regions and with them its regional units.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from exporter.accounts.discovery import Directory
from exporter.aws.errors import AwsError, Kind
from exporter.collection.attempt import Attempt
from exporter.collection.attempts import Attempts
from exporter.collection.discovery import Regions
from exporter.collection.due import GRID, Patience, backoff, next_on_grid, phase
from exporter.collection.metrics import RunnerMetrics
from exporter.collection.refreshed import Outcome
from exporter.collection.store import Key, Store
from exporter.collection.stream import Item, Stream
from exporter.core.fields import CollectorSettings
from exporter.core.moments import Clock
from exporter.core.places import Scope, Target
from exporter.declarations.collector import AnyCollector, AnyPart
from exporter.declarations.context import Context

log = logging.getLogger(__name__)

_UNRESPONSIVE = (Kind.TIMEOUT, Kind.DEADLINE)
_AT_ONCE = timedelta(seconds=1)


def unit_names(collector: AnyCollector, settings: CollectorSettings) -> set[str]:
    """The names under which a collector's results are reported."""
    return {part.name for part in collector.units(settings)} | {collector.name}


class Reading:
    """What someone waits for: that each of some units has been read once more. Guarded by `Units._changed`."""

    __slots__ = ("failed", "outcomes", "pending")

    def __init__(self) -> None:
        self.pending = 0
        """Units that are still to be read."""
        self.failed = 0
        self.outcomes: list[tuple[Key, Outcome]] = []
        """What became of each unit; finding the regions of an account is none."""


class _Unit(Item):
    """Guarded by `Units._changed`, but what only its own reading uses."""

    __slots__ = (
        "collector",
        "early",
        "failures",
        "grid",
        "is_being_read",
        "is_read",
        "key",
        "part",
        "read",
        "readings",
    )

    def __init__(
        self,
        lane: str,
        key: Key,
        collector: AnyCollector,
        part: AnyPart | None,
        read: Callable[[_Unit], bool],
    ) -> None:
        """Without a `part` it finds the regions of the key's account."""
        super().__init__(lane, collector.name)
        self.key = key
        self.collector = collector
        self.part = part
        self.read = read
        self.is_read = False
        """Whether it was attempted since it is known."""
        self.is_being_read = False
        """Whether what waits for it now is answered by the attempt that goes on."""
        self.early = False
        """Whether the next attempt takes what is due for due already."""
        self.readings: list[Reading] = []
        self.failures = 0
        """Failures in a row."""
        self.grid: float | None = None
        """A moment on the monotonic clock at which it was to be due; each interval before and after it is another."""

    def run(self) -> bool:
        return self.read(self)


def _outcome(collector: AnyCollector, failure: AwsError | None, *, committed: bool) -> Outcome:
    if failure is not None:
        return Outcome.DENIED if failure.kind is Kind.REGION_DENIED else Outcome.FAILED
    # A collector that decides by itself what is due commits what it has read.
    return Outcome.READ if committed or collector.due is None else Outcome.KNOWN


class Units:
    """The units of one configuration; once started, each is due again and again."""

    def __init__(
        self,
        stream: Stream,
        store: Store,
        regions: Regions,
        attempts: Attempts,
        metrics: RunnerMetrics,
        clock: Clock,
        stop: threading.Event,
        patience: Patience,
        directory: Callable[[], Directory | None],
        payer_region: str,
        settings: Callable[[AnyCollector], CollectorSettings],
        context: Callable[[AnyCollector, Directory, bool, Callable[[], None]], Context[Any]],
    ) -> None:
        """`attempts` reads a unit and records what became of it.

        `context` makes what a collector is given: of the accounts, early or not, with a function to call after each
        commit.
        """
        self._stream = stream
        self._store = store
        self._regions = regions
        self._attempts = attempts
        self._metrics = metrics
        self._clock = clock
        self._stop = stop
        self._patience = patience
        self._directory = directory
        self._payer_region = payer_region
        self._settings = settings
        self._context = context
        self._is_started = False
        self.are_known = False
        """Whether every unit but the regional ones is due or was read."""
        self._units: dict[Key, _Unit] = {}
        self._regional: defaultdict[tuple[str, str], dict[Key, _Unit]] = defaultdict(dict)
        self._followers: defaultdict[str, dict[Key, _Unit]] = defaultdict(dict)  # by the collector followed
        self._unread: defaultdict[str, int] = defaultdict(int)  # by collector
        self._first_pass: dict[str, float] = {}  # of a collector: until when it is waited for, monotonic
        # Guards the units that there are, who waits for them, and the counts; nothing else is done while it is held.
        self._changed = threading.Condition()

    def start(self, collectors: Sequence[AnyCollector], directory: Directory) -> None:
        """From now on the units of these collectors are due by themselves, at first all of them at once."""
        self._is_started = True
        interval = {each.name: self._settings(each).interval.total_seconds() for each in collectors}
        # What the payer alone is asked for comes first: cost.
        for collector in sorted(collectors, key=lambda each: each.scope is not Scope.PAYER):
            self.follow(collector, directory)
        with self._changed:
            now = time.monotonic()
            self._first_pass = {
                name: now + seconds for name, seconds in interval.items() if self._unread[name]
            }
            self.are_known = True

    def follow(self, collector: AnyCollector, directory: Directory) -> list[_Unit]:
        """Take over the accounts that there are now; returns the units that do not need the regions to be known.

        Units of accounts that have left are dropped, new ones are due at once.
        """
        wanted = dict(self._of(collector, directory))
        with self._changed:
            gone = [
                unit
                for unit in self._units.values()
                if unit.collector is collector
                and unit.key.account_id not in directory.accounts
                and unit.key not in wanted
            ]
            for unit in gone:
                self._forget(unit)
            found = [self._units.get(key) or self._add(unit) for key, unit in wanted.items()]
            new = [unit for unit in found if not unit.is_read]
        self._stream.drop(gone)
        if self._is_started:
            for unit in new:
                self._stream.put(unit)
        return found

    def _of(self, collector: AnyCollector, directory: Directory) -> Iterator[tuple[Key, _Unit]]:
        parts = collector.units(self._settings(collector))
        if collector.scope is Scope.PAYER:
            # A lane for each collector: what hangs in the payer's regions must not hold up cost.
            lane = f"{collector.name} of {directory.payer_id}"
            for part in parts:
                key = Key(part.name, directory.payer_id)
                yield key, _Unit(lane, key, collector, part, self._read)
            return
        is_regional = any(part.scope is Scope.REGION for part in parts)
        for account_id in directory.accounts:
            for part in parts:
                if part.scope is Scope.ACCOUNT:
                    key = Key(part.name, account_id)
                    yield key, _Unit(account_id, key, collector, part, self._read)
            if is_regional:
                key = Key(collector.name, account_id)
                yield key, _Unit(account_id, key, collector, None, self._read)

    def _add(self, unit: _Unit) -> _Unit:
        self._units[unit.key] = unit
        if unit.part is not None:
            for followed in unit.collector.follows:
                self._followers[followed][unit.key] = unit
        if unit.key.region:
            self._regional[unit.collector.name, unit.key.account_id][unit.key] = unit
        self._unread[unit.collector.name] += 1
        return unit

    def _forget(self, unit: _Unit) -> None:
        self._units.pop(unit.key, None)
        for followed in unit.collector.follows:
            self._followers[followed].pop(unit.key, None)
        if unit.key.region:
            self._regional[unit.collector.name, unit.key.account_id].pop(unit.key, None)
        else:
            self._regional.pop((unit.collector.name, unit.key.account_id), None)
        self._count_read(unit)
        self._end_readings(unit)

    # Being asked

    def read_now(self, collector: AnyCollector, directory: Directory, *, early: bool = False) -> Reading:
        """Read every unit of a collector now; one that is being read already is waited for instead."""
        reading = Reading()
        self._read_for(reading, self.follow(collector, directory), early=early)
        return reading

    def wait(self, reading: Reading, seconds: float | None = None) -> None:
        """Return when all of it is read, or after so many seconds."""
        end = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            while reading.pending and not self._stop.is_set() and (end is None or time.monotonic() < end):
                self._changed.wait(0.2)

    def _read_for(self, reading: Reading, units: Sequence[_Unit], *, early: bool) -> None:
        with self._changed:
            for unit in units:
                reading.pending += 1
                unit.readings.append(reading)
                unit.early = unit.early or early
            # Not by what the stream says: an attempt answers no more a moment before its thread is free.
            due = [unit for unit in units if not unit.is_being_read]
        for unit in due:
            self._stream.put(unit)

    def _end_readings(self, unit: _Unit, outcome: Outcome | None = None) -> None:
        for reading in unit.readings:
            reading.pending -= 1
            reading.failed += outcome is Outcome.FAILED
            if outcome is not None and (unit.part is not None or outcome is Outcome.FAILED):
                reading.outcomes.append((unit.key, outcome))
        unit.readings = []
        self._changed.notify_all()

    def unread(self) -> dict[str, int]:
        """How many units of a collector have not been attempted yet, of those whose first pass goes on.

        It ends after an interval at the latest: accounts that hang may take longer, and the others are not to wait.
        """
        with self._changed:
            now = time.monotonic()
            for name, until in list(self._first_pass.items()):
                if not self._unread[name] or now >= until:
                    del self._first_pass[name]
            return {name: self._unread[name] for name in self._first_pass}

    def _count_read(self, unit: _Unit) -> None:
        if not unit.is_read:
            unit.is_read = True
            self._unread[unit.collector.name] -= 1
            if not self._unread[unit.collector.name]:
                self._first_pass.pop(unit.collector.name, None)

    # Reading

    def _read(self, unit: _Unit) -> bool:
        """Attempt a unit that is due, and plan when it is due again; returns whether its account is responsive."""
        directory = self._directory()
        if self._stop.is_set() or directory is None:
            return True
        with self._changed:
            early, unit.early = unit.early, False
            unit.is_being_read = True
        self._stream.drop([unit])  # what made it due again since the thread took it is read now
        committed = False

        def note() -> None:
            nonlocal committed
            committed = True
            self._wake_followers(unit.collector)

        failure: AwsError | None = AwsError(Kind.INTERNAL, "the attempt ended early")
        began = time.monotonic()
        interval = self._settings(unit.collector).interval
        try:
            context = self._context(unit.collector, directory, early, note)
            attempt = Attempt(unit.collector, context, interval, early)
            failure = self._attempt(unit, attempt, directory)
            if self._stop.is_set():
                return True
            if unit.part is not None:
                self._metrics.duration.labels(unit.collector.name).observe(time.monotonic() - began)
            if failure is not None and failure.kind is Kind.REGION_DENIED:
                unit.failures, unit.grid = 0, None
                self._put(unit, self._patience.denied_region)
            else:
                unit.failures = unit.failures + 1 if failure else 0
                without_data = failure is not None and failure.kind is Kind.DATA_UNAVAILABLE
                least = self._patience.no_data if without_data else timedelta(0)
                self._plan(unit, attempt, directory, began, committed=committed, least_wait=least)
        except Exception:
            # E.g. the ledger's disk is full: there is a next time after any failure.
            log.exception(
                "the unit cannot be planned",
                extra={"collector": unit.key.unit, "account_id": unit.key.account_id},
            )
            self._metrics.errors.labels(unit.collector.name, Kind.INTERNAL).inc()
            unit.failures += 1
            self._put(unit, backoff(self._patience.first_paid_retry, unit.failures, interval))
        finally:
            with self._changed:
                unit.is_being_read = False
                self._count_read(unit)
                self._end_readings(unit, _outcome(unit.collector, failure, committed=committed))
        return failure is None or failure.kind not in _UNRESPONSIVE

    def _attempt(self, unit: _Unit, attempt: Attempt, directory: Directory) -> AwsError | None:
        if unit.part is None:
            return self._find_regions(unit, attempt, directory)
        target = self._target(unit, directory)
        return None if target is None else self._attempts.attempt(attempt, unit.part, target)

    def _target(self, unit: _Unit, directory: Directory) -> Target | None:
        """What a unit is read of; None if its account has left."""
        if unit.collector.scope is Scope.PAYER:
            return directory.payer_target(self._payer_region)
        account = directory.accounts.get(unit.key.account_id)
        return None if account is None else directory.target(account, unit.key.region or None)

    def _find_regions(self, unit: _Unit, attempt: Attempt, directory: Directory) -> AwsError | None:
        """Find the account's regions, and with them a unit for each part and region."""
        account = directory.accounts.get(unit.key.account_id)
        if account is None:
            return None
        now = self._clock()
        try:
            regions = self._regions.of(account)
        except Exception as error:
            return self._attempts.fail(attempt, unit.key, account.name, now, error)
        collector = unit.collector
        parts = [p for p in collector.units(self._settings(collector)) if p.scope is Scope.REGION]
        wanted = {
            Key(part.name, account.id, region): part
            for region in regions
            for part in parts
            if part.offered(region)
        }
        with self._changed:
            if self._units.get(unit.key) is not unit:
                return None  # the account has left meanwhile
            known = dict(self._regional[collector.name, account.id])
            gone = [each for key, each in known.items() if key not in wanted]
            for each in gone:
                self._forget(each)
            found = [
                known.get(key) or self._add(_Unit(account.id, key, collector, part, self._read))
                for key, part in wanted.items()
            ]
            readings = list(unit.readings)
        self._stream.drop(gone)
        # Also what was published of the account before it had regions, or failed.
        names = {part.name for part in parts} | {collector.name}
        stale = [key for key in self._store.keys_of(account.id) if key.unit in names and key not in wanted]
        self._store.forget(stale)
        for reading in readings:
            self._read_for(reading, found, early=attempt.is_early)
        if self._is_started:
            for each in found:
                # One that is being read for the first time is planned by that.
                if not each.is_read and not self._stream.is_running(each) and not self._rests(each):
                    self._stream.put(each)
        return None

    def _rests(self, unit: _Unit) -> bool:
        """Whether a new unit waits, because its region was found denied before the configuration was reloaded."""
        known = self._store.result(unit.key)
        if known is None or not known.is_denied:
            return False
        longest = self._patience.denied_region
        wait = known.attempted_at + longest - self._clock()
        with self._changed:
            if wait <= timedelta(0) or unit.readings:
                return False
            self._count_read(unit)
        self._put(unit, min(wait, longest))  # the clock may have been set back
        return True

    # Planning

    def _wake_followers(self, collector: AnyCollector) -> None:
        """What follows a collector is due now; not what fails, which is tried again at its own pace."""
        if not self._is_started:
            return
        with self._changed:
            followers = [each for each in self._followers[collector.name].values() if not each.failures]
        for each in followers:
            self._stream.put(each)

    def _plan(
        self,
        unit: _Unit,
        attempt: Attempt,
        directory: Directory,
        began: float,
        *,
        committed: bool,
        least_wait: timedelta,
    ) -> None:
        """Put a unit that was read where it is due again; may read the ledger, and raise what that raises.

        `least_wait` is how long one that has failed, and may be paid for, waits at least.
        """
        interval = attempt.interval
        collector = unit.collector
        if collector.due is None or unit.part is None:
            seconds, now = GRID * interval.total_seconds(), time.monotonic()
            grid = began + seconds * phase(unit.lane, str(unit.key)) if unit.grid is None else unit.grid
            unit.grid = next_on_grid(grid, now, seconds)
            self._put(unit, timedelta(seconds=unit.grid - now))
            return
        first_retry = self._patience.first_paid_retry
        if unit.failures:
            self._put(unit, max(least_wait, backoff(first_retry, unit.failures, interval)))
            return
        target = self._target(unit, directory)
        if target is None:
            return
        if collector.rests(attempt.context.sections):
            self._put(unit, interval)
            return
        wait = collector.due(attempt.context, target) - self._clock()
        if wait <= timedelta(0):
            # Done and yet due: a deadline has ended it between two commits. Without a commit, never a loop.
            wait = _AT_ONCE if committed else min(interval, first_retry)
        self._put(unit, wait)

    def _put(self, unit: _Unit, wait: timedelta) -> None:
        with self._changed:
            is_known = self._units.get(unit.key) is unit
        if self._is_started and is_known:
            self._stream.put(unit, wait.total_seconds())
