"""The last results, already rendered: what a publish, a look-up or a scrape costs does not grow with their number."""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from exporter.collection.exposition import Exposition, Snapshot
from exporter.collection.health import Health
from exporter.collection.ownership import Ownership
from exporter.collection.result import CollectionResult, Key
from exporter.core.exposition import render
from exporter.core.metric import Family, Sample
from exporter.core.moments import Clock
from exporter.core.resource import PublishedResources
from exporter.declarations.collector import expires_at

__all__ = ["Key", "Store"]


@dataclass(slots=True, eq=False)
class _Entry:
    key: Key
    owner: str
    result: CollectionResult
    account: str
    expires: datetime | None
    rendered: Mapping[Family, bytes]
    has_health: bool
    """Whether it says how a collector fares."""
    is_served: bool = False

    def has_expired(self, now: datetime) -> bool:
        return self.expires is not None and now >= self.expires


def _expires(result: CollectionResult, interval: timedelta | None) -> datetime | None:
    until = result.valid_until
    if interval is None or result.succeeded_at is None:
        return until
    expires = expires_at(result.succeeded_at, interval)
    return expires if until is None else min(expires, until)


def _after_failure(
    failed: CollectionResult, previous: _Entry | None
) -> tuple[CollectionResult, Mapping[Family, bytes]]:
    """The failure with what is still served of the last success."""
    if previous is None:
        return replace(failed, samples=(), resources=()), {}
    last = previous.result
    kept = replace(
        last,
        attempted_at=failed.attempted_at,
        succeeded_at=failed.succeeded_at or last.succeeded_at,
        error=failed.error,
    )
    return kept, previous.rendered


class Store:
    """What is served; thread-safe, and a scrape sees all of a change or nothing of it."""

    def __init__(self, clock: Clock) -> None:
        """`clock` decides what has expired."""
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[Key, _Entry] = {}
        self._by_account: dict[str, dict[Key, None]] = {}
        self._ownership = Ownership()
        self._failing: dict[Key, str] = {}
        self._denied: dict[Key, str] = {}  # with the account's name
        # A heap; some are of what was replaced. Without the entries: those replaced would be kept for hours.
        self._expiries: list[tuple[datetime, int, Key]] = []
        self._expired: dict[Key, _Entry] = {}
        self._pushed = 0
        self._looked_at: datetime | None = None
        self._health = Health()
        self._self_samples: dict[Hashable, tuple[Sample, ...]] = {}
        self._exposition = Exposition()
        self._changes: Counter[str] = Counter()  # of what is served, by the name of the family
        self._all_changes = 0
        self._waiting: dict[Key, tuple[int, Callable[[], None]]] = {}

    # Changes

    def publish(
        self,
        key: Key,
        result: CollectionResult,
        *,
        account: str = "",
        interval: timedelta | None,
        owner: str | None = None,
        is_view: bool = False,
        of_organization: bool = False,
    ) -> None:
        """Replace the published result of `key`.

        After a failure, serve the last good samples until three intervals (at least one minute) after
        `succeeded_at`; never expire them if `interval` is None. Raise DuplicateSeriesError, and change
        nothing, if a series occurs twice or another owner publishes one of the families. All units of a
        collector have it as their `owner`; without one, a unit is its own.
        A view (`is_view`) says nothing about how collection fares, nor does what has no account, unless it is read
        of AWS for all of them (`of_organization`).
        """
        rendered: Mapping[Family, bytes] | None = None
        if result.error is None:
            rendered = {family: text.encode() for family, text in render(result.samples).items()}
        owner = owner or key.unit
        now = self._clock()
        with self._lock:
            self._ownership.take(owner, key, rendered or ())
            # Nothing is refused from here on.
            previous = self._entries.get(key)
            if previous is not None and previous.owner != owner:
                self._drop(previous)
                self._ownership.take(owner, key, rendered or ())
                previous = None
            if rendered is None:
                result, rendered = _after_failure(result, previous)
            entry = _Entry(
                key,
                owner,
                result,
                account,
                _expires(result, interval),
                rendered,
                (bool(key.account_id) or of_organization) and not is_view and not result.is_denied,
            )
            self._replace(previous, entry, now)
            if interval is not None:
                self._health.interval(owner, interval)

    def forget(self, keys: Iterable[Key]) -> None:
        """Drop the results of these, e.g. of a region that an account no longer uses."""
        keys = list(keys)  # what makes them may ask the store
        with self._lock:
            self._forget(keys)

    def forget_accounts(self, keep: Container[str]) -> None:
        """Drop the results of accounts that are not in `keep`; what has no account stays."""
        with self._lock:
            for account_id, keys in list(self._by_account.items()):
                if account_id and account_id not in keep:
                    self._forget(list(keys))

    def forget_units(self, keep: Container[str]) -> None:
        """Drop the results of units that are not in `keep`."""
        with self._lock:
            for unit in self._ownership.units():
                if unit not in keep:
                    self._forget(self._ownership.keys_of_unit(unit))

    def after_scrapes(self, key: Key, scrapes: int, callback: Callable[[], None]) -> None:
        """Call back once what is published of `key` now has been scraped so often; it returns at once.

        A second call for a key replaces the first.
        """
        with self._lock:
            self._waiting[key] = (scrapes, callback)

    # Look-ups

    def result(self, key: Key) -> CollectionResult | None:
        """The current result of one unit; a failed one carries the samples that are still served."""
        with self._lock:
            entry = self._entries.get(key)
        return entry.result if entry else None

    def results(self) -> dict[Key, CollectionResult]:
        """A copy of all current results, for status pages, the command line and tests."""
        with self._lock:
            return {key: entry.result for key, entry in self._entries.items()}

    def keys_of(self, account_id: str) -> list[Key]:
        """What is published of one account."""
        with self._lock:
            return list(self._by_account.get(account_id, ()))

    def failures(self, account_id: str | None = None) -> list[tuple[Key, str]]:
        """The units that fail now, of one account or of all, with the kind of failure."""
        with self._lock:
            if account_id is None:
                return list(self._failing.items())
            keys = self._by_account.get(account_id, ())
            return [(key, self._failing[key]) for key in keys if key in self._failing]

    def denied(self) -> list[tuple[Key, str]]:
        """The units whose region a service control policy denies, with the name of the account."""
        with self._lock:
            return list(self._denied.items())

    def published_resources(
        self, account_id: str | None = None, owner: str | None = None
    ) -> list[PublishedResources]:
        """The resources of every unit whose last good result is still served, of one account or owner, or of all."""
        now = self._clock()
        with self._lock:
            if account_id is not None:
                entries = [self._entries[key] for key in self._by_account.get(account_id, ())]
            elif owner is not None:
                entries = [self._entries[key] for key in self._ownership.keys_of(owner)]
            else:
                entries = list(self._entries.values())
        return [
            PublishedResources(
                unit=entry.key.unit,
                account_id=entry.key.account_id,
                account=entry.account,
                region=entry.key.region,
                read_at=entry.result.succeeded_at,
                resources=entry.result.resources,
                error=entry.result.error,
                expires=entry.expires,
            )
            for entry in entries
            if owner in (None, entry.owner)
            and entry.result.succeeded_at is not None
            and not entry.has_expired(now)
        ]

    def version(self, families: Iterable[str] | None = None) -> int:
        """A number that differs once what is served of these families has changed; without them, once any result has."""
        now = self._clock()
        with self._lock:
            self._expire(now)
            return self._all_changes if families is None else sum(self._changes[name] for name in families)

    # What is served

    def samples(self, families: Container[str]) -> Iterator[Sample]:
        """The samples of these families that are served now."""
        now = self._clock()
        with self._lock:
            entries = [
                entry
                for entry in self._entries.values()
                if any(family.name in families for family in entry.rendered)
            ]
        for entry in entries:
            if not entry.has_expired(now):
                yield from (sample for sample in entry.result.samples if sample.family.name in families)

    def scrape(self) -> Snapshot:
        """All that is served now, to be joined and compressed without the lock; it counts as a scrape."""
        now = self._clock()
        with self._lock:
            self._expire(now)
            self._follow_health()
            snapshot = self._exposition.snapshot()
            seen = self._count_scrape()
        for callback in seen:
            callback()
        return snapshot

    def exposition(self) -> tuple[bytes, bytes]:
        """The text of every family, plain and gzipped; it counts as a scrape."""
        snapshot = self.scrape()
        return snapshot.plain(), snapshot.gzipped()

    def scraped_samples(self) -> list[Sample]:
        """What `scrape` has as text, the self metrics of the store included; it counts as a scrape."""
        now = self._clock()
        with self._lock:
            self._expire(now)
            self._follow_health()
            served = [entry.result.samples for entry in self._entries.values() if entry.is_served]
            served += self._self_samples.values()
            seen = self._count_scrape()
        for callback in seen:
            callback()
        return [sample for samples in served for sample in samples]

    # Under the lock

    def _count_scrape(self) -> list[Callable[[], None]]:
        """What waits for this scrape, to be called once the lock is released."""
        seen = []
        for key, (scrapes, callback) in list(self._waiting.items()):
            if scrapes > 1:
                self._waiting[key] = (scrapes - 1, callback)
            else:
                seen.append(callback)
                del self._waiting[key]
        return seen

    def _forget(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._waiting.pop(key, None)
            if (entry := self._entries.get(key)) is not None:
                self._drop(entry)

    def _drop(self, entry: _Entry) -> None:
        key = entry.key
        self._all_changes += 1
        self._withdraw(entry)
        self._expired.pop(key, None)
        self._failing.pop(key, None)
        if self._denied.pop(key, None) is not None:
            self._health.allow(key)
        del self._entries[key]
        del self._by_account[key.account_id][key]
        if not self._by_account[key.account_id]:
            del self._by_account[key.account_id]
        self._health.count(key.unit, -1, 0, 0)
        if entry.has_health:
            self._health.drop(entry.owner, key)
        if not self._ownership.release(entry.owner, key):
            self._health.interval(entry.owner, None)

    def _replace(self, previous: _Entry | None, entry: _Entry, now: datetime) -> None:
        key, result = entry.key, entry.result
        self._all_changes += 1
        self._entries[key] = entry
        self._by_account.setdefault(key.account_id, {})[key] = None
        self._expired.pop(key, None)
        self._failing.pop(key, None)
        if result.error is not None and result.has_failed:
            self._failing[key] = result.error
        if result.is_denied:
            self._denied[key] = entry.account
            self._health.deny(key, entry.account)
        elif self._denied.pop(key, None) is not None:
            self._health.allow(key)
        if previous is not None and previous.has_health and not entry.has_health:
            self._health.drop(previous.owner, key)
        if entry.has_health:
            self._health.put(
                entry.owner, key, entry.account, result.attempted_at, result.succeeded_at, result.error
            )
        if previous is None:
            self._health.count(key.unit, 1, 0, 0)
        if entry.has_expired(now):
            if previous is not None:
                self._withdraw(previous)
            self._expired[key] = entry
            self._looked_at = max(now, self._looked_at or now)
        else:
            self._serve(entry, previous)

    def _serve(self, entry: _Entry, previous: _Entry | None = None) -> None:
        """Serve the text of an entry, instead of that of `previous`."""
        series, folded = len(entry.result.samples), entry.result.folded
        if previous is not None and previous.is_served:
            series -= len(previous.result.samples)
            folded -= previous.result.folded
            for family in previous.rendered:
                if family not in entry.rendered:
                    self._exposition.drop(entry.key, family)
                    self._changes[family.name] += 1
        for family, text in entry.rendered.items():
            self._exposition.put(entry.key, family, text)
            self._changes[family.name] += 1
        self._health.count(entry.key.unit, 0, series, folded)
        entry.is_served = True
        if entry.expires is not None:
            self._pushed += 1  # keys have no order
            heapq.heappush(self._expiries, (entry.expires, self._pushed, entry.key))
            if len(self._expiries) > 2 * len(self._entries) + 64:
                held = {each[2]: each for each in self._expiries if self._held_by(each) is not None}
                self._expiries = list(held.values())
                heapq.heapify(self._expiries)

    def _held_by(self, held: tuple[datetime, int, Key]) -> _Entry | None:
        """The entry that is served and expires then; None if it was replaced."""
        entry = self._entries.get(held[2])
        return entry if entry is not None and entry.is_served and entry.expires == held[0] else None

    def _withdraw(self, entry: _Entry) -> None:
        """Serve the text of an entry no longer."""
        if entry.is_served:
            entry.is_served = False
            self._all_changes += 1
            for family in entry.rendered:
                self._exposition.drop(entry.key, family)
                self._changes[family.name] += 1
            self._health.count(entry.key.unit, 0, -len(entry.result.samples), -entry.result.folded)

    def _expire(self, now: datetime) -> None:
        if self._looked_at is not None and now < self._looked_at:
            # The clock was set back.
            for entry in [entry for entry in self._expired.values() if not entry.has_expired(now)]:
                self._all_changes += 1
                del self._expired[entry.key]
                self._serve(entry)
        self._looked_at = now
        while self._expiries and self._expiries[0][0] <= now:
            due = self._held_by(heapq.heappop(self._expiries))
            if due is not None:
                self._withdraw(due)
                self._expired[due.key] = due

    def _follow_health(self) -> None:
        for subject, samples in self._health.changes():
            families = {sample.family: None for sample in self._self_samples.pop(subject, ())}
            for family, text in render(samples).items():
                self._exposition.put(subject, family, text.encode())
                families.pop(family, None)
            for family in families:
                self._exposition.drop(subject, family)
            if samples:
                self._self_samples[subject] = samples
