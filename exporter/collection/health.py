"""Which collectors fail and when AWS was read: self metrics by collector, and by account only while it fails.

A publish changes what is kept of its unit; the next scrape asks `changes` for the samples that follow from that.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from exporter.collection.result import Key
from exporter.core.metric import Family, Sample

SUCCESS = Family(
    "aws_spend_exporter_collector_success",
    "1 if the last attempt of every unit of the collector succeeded, else 0; 0 also for each account that fails, only while it does.",
    ("collector", "account_id", "account"),
)
LAST_SUCCESS = Family(
    "aws_spend_exporter_collector_last_success_timestamp_seconds",
    "When AWS was last read for the unit of the collector that was read the longest ago, of those that do not fail;"
    " for each account that fails, only while it does, for the one of its units that was read the longest ago.",
    ("collector", "account_id", "account"),
)
FAILURE = Family(
    "aws_spend_exporter_collector_failure_info",
    "1 while units of the collector fail for the account, by kind of failure; unit and region are given where all of them have the same.",
    ("collector", "account_id", "account", "unit", "region", "kind"),
)
INTERVAL = Family(
    "aws_spend_exporter_collector_interval_seconds",
    "Time between two readings of a unit of the collector.",
    ("collector",),
)
SERIES = Family("aws_spend_exporter_series", "Series that the unit or view serves now.", ("collector",))
FOLDED = Family(
    "aws_spend_exporter_folded_series",
    "Series that a limit of the unit or view has summed up as `other`.",
    ("collector",),
)
DENIED = Family(
    "aws_spend_exporter_denied_regions",
    "Regions of the account that a service control policy denies. Their units are asked again each day and count neither"
    " as failed nor as read; /-/ready names the regions.",
    ("account_id", "account"),
)
FAMILIES = (SUCCESS, LAST_SUCCESS, FAILURE, INTERVAL, SERIES, FOLDED, DENIED)


@dataclass(slots=True)
class _Account:
    """An account's units of one collector."""

    name: str
    named_at: datetime
    read: dict[Key, datetime | None] = field(default_factory=dict)
    failing: dict[Key, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Collector:
    accounts: dict[str, _Account] = field(default_factory=dict)
    units: int = 0
    failing: int = 0
    oldest: list[tuple[datetime, int, Key]] = field(default_factory=list)
    """A heap of when units were read; what does not hold any more is left in it."""


@dataclass(slots=True)
class _Counts:
    results: int = 0
    series: int = 0
    folded: int = 0


class Health:
    """The self metrics of what is published; not thread-safe."""

    def __init__(self) -> None:
        """Know of no unit."""
        self._collectors: dict[str, _Collector] = {}
        self._intervals: dict[str, timedelta] = {}
        self._counts: dict[str, _Counts] = {}
        self._denied: dict[str, dict[Key, str]] = {}
        self._changed: dict[tuple[str, ...], None] = {}
        self._count = 0

    def put(
        self,
        owner: str,
        key: Key,
        account: str,
        attempted_at: datetime,
        read_at: datetime | None,
        error: str | None,
    ) -> None:
        """Take over what became of a unit; `error` is the kind of its failure.

        A unit without an account, such as account discovery, is the only one of its collector.
        """
        collector = self._collectors.setdefault(owner, _Collector())
        of_account = collector.accounts.setdefault(key.account_id, _Account(account, attempted_at))
        known = key in of_account.read
        failed = of_account.failing.pop(key, None) is not None
        is_new_moment = failed or of_account.read.get(key) != read_at
        collector.units += not known
        collector.failing += (error is not None) - failed
        if attempted_at >= of_account.named_at:
            # One name, whichever unit was read last: a rename must not make two series.
            of_account.name, of_account.named_at = account, attempted_at
        of_account.read[key] = read_at
        if error is not None:
            of_account.failing[key] = error
        elif read_at is not None and is_new_moment:
            self._remember(collector, read_at, key)
        self._change("collector", owner)
        self._change("account", owner, key.account_id)

    def drop(self, owner: str, key: Key) -> None:
        """Forget a unit."""
        collector = self._collectors[owner]
        of_account = collector.accounts[key.account_id]
        del of_account.read[key]
        collector.units -= 1
        collector.failing -= of_account.failing.pop(key, None) is not None
        if not of_account.read:
            del collector.accounts[key.account_id]
        if not collector.accounts:
            del self._collectors[owner]
        self._change("collector", owner)
        self._change("account", owner, key.account_id)

    def deny(self, key: Key, account: str) -> None:
        """Take over that a unit's region is denied to its account."""
        self._denied.setdefault(key.account_id, {})[key] = account
        self._change("denied", key.account_id)

    def allow(self, key: Key) -> None:
        """Forget that a unit's region is denied."""
        denied = self._denied[key.account_id]
        del denied[key]
        if not denied:
            del self._denied[key.account_id]
        self._change("denied", key.account_id)

    def count(self, unit: str, results: int, series: int, folded: int) -> None:
        """Add to what is known, and served, of a unit."""
        if results or series or folded:
            counts = self._counts.setdefault(unit, _Counts())
            counts.results += results
            counts.series += series
            counts.folded += folded
            if not counts.results:
                del self._counts[unit]
            self._change("unit", unit)

    def interval(self, owner: str, interval: timedelta | None) -> None:
        """Set the interval of a collector or view, or forget it."""
        if self._intervals.get(owner) != interval:
            if interval is None:
                del self._intervals[owner]
            else:
                self._intervals[owner] = interval
            self._change("interval", owner)

    def changes(self) -> Iterator[tuple[Hashable, tuple[Sample, ...]]]:
        """What to serve of each subject that has changed since the last call, in place of what it had."""
        changed, self._changed = self._changed, {}
        for subject in changed:
            match subject:
                case ("collector", owner):
                    samples = self._of_collector(owner)
                case ("account", owner, account_id):
                    samples = self._of_account(owner, account_id)
                case ("unit", unit):
                    samples = self._of_unit(unit)
                case ("denied", account_id):
                    samples = self._of_denied(account_id)
                case (_, owner):
                    samples = self._of_interval(owner)
            yield subject, tuple(samples)

    def _change(self, *subject: str) -> None:
        self._changed[subject] = None

    def _remember(self, collector: _Collector, moment: datetime, key: Key) -> None:
        self._count += 1  # keys have no order
        heapq.heappush(collector.oldest, (moment, self._count, key))
        if len(collector.oldest) > 2 * collector.units + 64:
            collector.oldest = [
                (moment, number, key)
                for number, (key, moment) in enumerate(_read(collector))
                if moment is not None
            ]
            heapq.heapify(collector.oldest)

    @staticmethod
    def _holds(collector: _Collector, held: tuple[datetime, int, Key]) -> bool:
        moment, _, key = held
        account = collector.accounts.get(key.account_id)
        return account is not None and key not in account.failing and account.read.get(key) == moment

    def _of_collector(self, owner: str) -> Iterator[Sample]:
        collector = self._collectors.get(owner)
        if collector is None:
            return
        labels = {"collector": owner, "account_id": "", "account": ""}
        yield SUCCESS(not collector.failing, **labels)
        while collector.oldest and not self._holds(collector, collector.oldest[0]):
            heapq.heappop(collector.oldest)
        if collector.oldest:
            yield LAST_SUCCESS(collector.oldest[0][0].timestamp(), **labels)

    def _of_account(self, owner: str, account_id: str) -> Iterator[Sample]:
        collector = self._collectors.get(owner)
        account = collector.accounts.get(account_id) if collector else None
        if account is None or not account.failing:
            return
        labels = {"collector": owner, "account_id": account_id, "account": account.name}
        if account_id:  # else the collector's own series says it
            yield SUCCESS(0, **labels)
        # Where the regions themselves could not be listed, what is known of them says when they were read.
        read = [moment for key, moment in account.read.items() if key != Key(owner, account_id)]
        known = [moment for moment in read or account.read.values() if moment is not None]
        if known and len(known) == len(read or account.read):
            yield LAST_SUCCESS(min(known).timestamp(), **labels)
        for kind in dict.fromkeys(account.failing.values()):
            keys = [key for key, error in account.failing.items() if error == kind]
            yield FAILURE(
                1,
                unit=_only(key.unit for key in keys),
                region=_only(key.region for key in keys),
                kind=kind,
                **labels,
            )

    def _of_unit(self, unit: str) -> Iterator[Sample]:
        counts = self._counts.get(unit)
        if counts is not None:
            yield SERIES(counts.series, collector=unit)
            yield FOLDED(counts.folded, collector=unit)

    def _of_denied(self, account_id: str) -> Iterator[Sample]:
        denied = self._denied.get(account_id)
        if denied:
            # One name, should the account have been renamed between two units.
            account = next(reversed(denied.values()))
            yield DENIED(len({key.region for key in denied}), account_id=account_id, account=account)

    def _of_interval(self, owner: str) -> Iterator[Sample]:
        if owner in self._intervals:
            yield INTERVAL(self._intervals[owner].total_seconds(), collector=owner)


def _read(collector: _Collector) -> Iterator[tuple[Key, datetime | None]]:
    """The units that do not fail, and when they were read."""
    for account in collector.accounts.values():
        for key, moment in account.read.items():
            if key not in account.failing:
                yield key, moment


def _only(values: Iterator[str]) -> str:
    """The value that all have; empty if they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else ""
