"""The last results, already rendered: a scrape joins strings and computes nothing."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from exporter.collection.result import CollectionResult
from exporter.core.exposition import DuplicateSeriesError, header, render
from exporter.core.metric import Family, Sample
from exporter.core.moments import Clock
from exporter.core.resource import PublishedResources
from exporter.declarations.collector import expires_at

SUCCESS = Family(
    "aws_spend_exporter_collector_success",
    "1 if the last attempt of the collector succeeded for the account in every region, else 0.",
    ("collector", "account_id", "account"),
)
LAST_SUCCESS = Family(
    "aws_spend_exporter_collector_last_success_timestamp_seconds",
    "When AWS was last read in full by the collector for the account.",
    ("collector", "account_id", "account"),
)
FAILURE = Family(
    "aws_spend_exporter_collector_failure_info",
    "1 while the collector fails for the account and region, with the kind of failure.",
    ("collector", "account_id", "account", "region", "kind"),
)
INTERVAL = Family(
    "aws_spend_exporter_collector_interval_seconds", "Time between two runs of the collector.", ("collector",)
)
SERIES = Family("aws_spend_exporter_series", "Series that the collector or view serves now.", ("collector",))
FOLDED = Family(
    "aws_spend_exporter_folded_series",
    "Series that a limit of the collector or view has summed up as `other`.",
    ("collector",),
)
FAMILIES = (SUCCESS, LAST_SUCCESS, FAILURE, INTERVAL, SERIES, FOLDED)


@dataclass(frozen=True, slots=True)
class Key:
    """What a result is of: a collector or view, an account and a region; empty where it has none."""

    unit: str
    account_id: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    result: CollectionResult
    account: str
    interval: timedelta | None
    rendered: dict[Family, str]

    @property
    def expires(self) -> datetime | None:
        until = self.result.valid_until
        if self.interval is None or self.result.succeeded_at is None:
            return until
        expires = expires_at(self.result.succeeded_at, self.interval)
        return expires if until is None else min(expires, until)


def _after_failure(
    failed: CollectionResult, previous: _Entry | None
) -> tuple[CollectionResult, dict[Family, str]]:
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
        self._owners: dict[str, str] = {}
        self._units: dict[str, frozenset[str]] = {}  # of an owner
        self._intervals: dict[str, timedelta] = {}
        self._body: tuple[datetime | None, bytes, bytes] | None = None
        self._waiting: dict[Key, tuple[int, Callable[[], None]]] = {}

    def publish(
        self,
        key: Key,
        result: CollectionResult,
        *,
        account: str = "",
        interval: timedelta | None,
        owner: str | None = None,
    ) -> None:
        """Replace the published result of `key`.

        After a failure, serve the last good samples until three intervals (at least one minute) after
        `succeeded_at`; never expire them if `interval` is None. Raise DuplicateSeriesError, and change
        nothing, if a series occurs twice or another owner publishes one of the families. All units of a
        collector have it as their `owner`; without one, a unit is its own.
        """
        rendered = render(result.samples) if result.error is None else None
        wanted = owner or key.unit
        with self._lock:
            for family in rendered or ():
                known = self._owners.get(family.name, wanted)
                if known != wanted:
                    raise DuplicateSeriesError(f"{family.name} is published by {known} and by {wanted}")
            # Nothing is refused from here on.
            previous = self._entries.get(key)
            if rendered is None:
                result, rendered = _after_failure(result, previous)
            elif rendered:
                self._owners.update({family.name: wanted for family in rendered})
                self._units[wanted] = self._units.get(wanted, frozenset()) | {key.unit}
            self._entries[key] = _Entry(result, account, interval, rendered)
            if interval is not None:
                self._intervals[key.unit] = interval
            self._body = None

    def forget(self, keep: Callable[[Key], bool]) -> None:
        """Drop every result that `keep` refuses, e.g. of an account that left the organization."""
        with self._lock:
            self._entries = {key: entry for key, entry in self._entries.items() if keep(key)}
            units = {key.unit for key in self._entries}
            self._owners = {
                name: owner
                for name, owner in self._owners.items()
                if self._units.get(owner, frozenset()) & units
            }
            self._intervals = {unit: value for unit, value in self._intervals.items() if unit in units}
            self._waiting = {key: wait for key, wait in self._waiting.items() if keep(key)}
            self._body = None

    def after_scrapes(self, key: Key, scrapes: int, callback: Callable[[], None]) -> None:
        """Call back once what is published of `key` now has been scraped so often; it returns at once.

        A second call for a key replaces the first.
        """
        with self._lock:
            self._waiting[key] = (scrapes, callback)

    def results(self, account_id: str | None = None) -> dict[Key, CollectionResult]:
        """The current results, or those of one account; a failed one carries the samples that are still served."""
        with self._lock:
            return {
                key: entry.result
                for key, entry in self._entries.items()
                if account_id in (None, key.account_id)
            }

    def samples(self) -> Iterator[Sample]:
        """Every sample that is served now, without the self metrics of the store."""
        with self._lock:
            served = self._served(self._clock())
        for _, entry in served:
            yield from entry.result.samples

    def published_resources(self, account_id: str | None = None) -> list[PublishedResources]:
        """The resources of every unit, or of each of one account, whose last good result is still served."""
        with self._lock:
            served = self._served(self._clock())
        return [
            PublishedResources(
                unit=key.unit,
                account_id=key.account_id,
                account=entry.account,
                region=key.region,
                read_at=entry.result.succeeded_at,
                resources=entry.result.resources,
                error=entry.result.error,
                expires=entry.expires,
            )
            for key, entry in served
            if entry.result.succeeded_at is not None and account_id in (None, key.account_id)
        ]

    def exposition(self) -> tuple[bytes, bytes]:
        """The text of every family, plain and gzipped, from the cache while nothing has changed.

        It counts as a scrape.
        """
        now = self._clock()
        with self._lock:
            if self._body is None or (self._body[0] is not None and now >= self._body[0]):
                self._body = self._join(now)
            body = self._body
            seen = self._count_scrape()
        for callback in seen:
            callback()
        return body[1], body[2]

    def scraped_samples(self) -> list[Sample]:
        """What `exposition` has as text, the self metrics of the store included; it counts as a scrape."""
        now = self._clock()
        with self._lock:
            samples = [sample for _, entry in self._served(now) for sample in entry.result.samples]
            samples += self._self_samples(now)
            seen = self._count_scrape()
        for callback in seen:
            callback()
        return samples

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

    def _served(self, now: datetime) -> list[tuple[Key, _Entry]]:
        """The results that have not expired."""
        return [
            (key, entry)
            for key, entry in self._entries.items()
            if entry.expires is None or now < entry.expires
        ]

    def _join(self, now: datetime) -> tuple[datetime | None, bytes, bytes]:
        blocks: dict[Family, list[str]] = {}
        served = self._served(now)
        for _, entry in served:
            for family, text in entry.rendered.items():
                blocks.setdefault(family, []).append(text)
        for family, text in render(self._self_samples(now)).items():
            blocks.setdefault(family, []).append(text)
        body = "".join(
            header(family) + "".join(blocks[family]) for family in sorted(blocks, key=lambda f: f.name)
        ).encode()
        next_expiry = min((entry.expires for _, entry in served if entry.expires is not None), default=None)
        # Level 1: nearly as small for this text, and several times quicker.
        return next_expiry, body, gzip.compress(body, 1)

    def _self_samples(self, now: datetime) -> Iterator[Sample]:
        series = {key.unit: 0 for key in self._entries}
        folded = dict(series)
        for key, entry in self._served(now):
            series[key.unit] += len(entry.result.samples)
            folded[key.unit] += entry.result.folded
        for unit, count in series.items():
            yield SERIES(count, collector=unit)
            yield FOLDED(folded[unit], collector=unit)
        for unit, interval in self._intervals.items():
            yield INTERVAL(interval.total_seconds(), collector=unit)
        yield from self._health_samples()

    def _health_samples(self) -> Iterator[Sample]:
        by_account: dict[tuple[str, str], list[tuple[Key, _Entry]]] = {}
        for key, entry in self._entries.items():
            if key.account_id:
                by_account.setdefault((key.unit, key.account_id), []).append((key, entry))
        for (unit, account_id), entries in by_account.items():
            # One name, whichever region was collected last: a rename must not make two series.
            account = max(entries, key=lambda item: item[1].result.attempted_at)[1].account
            labels = {"collector": unit, "account_id": account_id, "account": account}
            failed = [(key, entry) for key, entry in entries if entry.result.error is not None]
            yield SUCCESS(not failed, **labels)
            # Where the regions themselves could not be listed, those known so far say when they were read.
            regional = [entry for key, entry in entries if key.region] or [entry for _, entry in entries]
            read = [entry.result.succeeded_at for entry in regional]
            known = [moment for moment in read if moment is not None]
            if len(known) == len(read):
                yield LAST_SUCCESS(min(known).timestamp(), **labels)
            for key, entry in failed:
                yield FAILURE(1, region=key.region, kind=str(entry.result.error), **labels)
