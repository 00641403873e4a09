"""Which accounts and regions are collected from: at the start, each hour, and the last known while AWS cannot say."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

from exporter.accounts.discovery import Directory, account_samples, discover, regions_of
from exporter.accounts.placing import describe_days, place_days
from exporter.accounts.settings import AccountsSettings
from exporter.accounts.sharding import ShardSettings
from exporter.aws.clients import Aws
from exporter.aws.errors import AwsError, Kind, classify
from exporter.collection.due import Patience, backoff
from exporter.collection.metrics import RunnerMetrics
from exporter.collection.result import CollectionResult
from exporter.collection.schedule import Schedule
from exporter.collection.store import Key, Store
from exporter.config.model import Config
from exporter.core.moments import Clock
from exporter.core.places import Account
from exporter.ledger.file import Ledger

log = logging.getLogger(__name__)

DISCOVERY = "accounts"
"""The unit under which account discovery is reported."""

_INTERVAL = timedelta(hours=1)
_REGIONS_KEPT = timedelta(days=1)
_HISTORY_DAYS = 400  # as far back as AWS has cost

Discover = Callable[[Aws, AccountsSettings, ShardSettings], Directory]
RegionsOf = Callable[[Aws, Account, Literal["discover"] | tuple[str, ...]], tuple[str, ...]]


class Discovery:
    """Finds the accounts; `directory` is the last that was found, None before the first."""

    def __init__(
        self,
        config: Config,
        aws: Aws,
        ledger: Ledger,
        store: Store,
        metrics: RunnerMetrics,
        clock: Clock,
        stop: threading.Event,
        schedule: Schedule,
        again: Callable[[], None],
        found: Callable[[Directory | None, Directory], None],
        committed: Callable[[], None],
        patience: Patience,
        *,
        discover: Discover = discover,
    ) -> None:
        """`again` starts the next discovery when it is due.

        `found` is called with the directory before and the one now, `committed` after a commit to the ledger.
        """
        self.directory: Directory | None = None
        self._config = config
        self._aws = aws
        self._ledger = ledger
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._stop = stop
        self._schedule = schedule
        self._again = again
        self._found = found
        self._notify_committed = committed
        self._ask = discover
        self._patience = patience
        self._failures = 0  # in a row

    def ensure(self) -> Directory:
        """Find the accounts in the calling thread's time, unless they are known; AwsError if AWS cannot say."""
        if self.directory is None:
            self.directory = self._ask(self._aws, self._config.accounts, self._config.shard)
        return self.directory

    def run(self) -> None:
        """Find the accounts, publish them, and plan the next discovery; never raises."""
        now = self._clock()
        try:
            directory = self._ask(self._aws, self._config.accounts, self._config.shard)
            self._ledger.accounts.name(directory.names, now.date())
            if self._has_units:
                ous = {account.id: account.ou for account in directory.accounts.values()}
                self._ledger.accounts.place(ous, now.date())
        except Exception as error:
            self._fail(error, now)
            return
        if self._stop.is_set():
            return
        self._failures = 0
        before, self.directory = self.directory, directory
        self._store.forget_accounts({*directory.accounts, directory.payer_id})
        self._metrics.accounts.set(len(directory.accounts))
        samples = tuple(account_samples(directory, self._config.accounts))
        self._store.publish(
            Key(DISCOVERY),
            CollectionResult(samples=samples, attempted_at=now, succeeded_at=now),
            interval=_INTERVAL,
            of_organization=True,
        )
        self._schedule.at(DISCOVERY, self._again, now + _INTERVAL)
        if before is None:
            log.info(
                "accounts are discovered",
                extra={
                    "accounts": len(directory.accounts),
                    "payer_id": directory.payer_id,
                    "discovery": self._config.accounts.discovery,
                },
            )
        self._found(before, directory)
        self._place_days(directory, now)

    def _fail(self, error: Exception, now: datetime) -> None:
        failure = classify(error, "account discovery")
        if failure.kind is Kind.STOPPED or self._stop.is_set():
            return
        # The accounts known so far go on being collected.
        log.error(
            "account discovery failed",
            extra={"kind": failure.kind, "error": failure},
            exc_info=error if failure.kind is Kind.INTERNAL else None,
        )
        self._metrics.errors.labels(DISCOVERY, failure.kind).inc()
        self._store.publish(
            Key(DISCOVERY),
            CollectionResult(samples=(), attempted_at=now, succeeded_at=None, error=failure.kind),
            interval=_INTERVAL,
            of_organization=True,
        )
        self._failures += 1
        wait = backoff(self._patience.first_retry, self._failures, self._patience.longest_retry)
        self._schedule.at(DISCOVERY, self._again, now + wait)

    @property
    def _has_units(self) -> bool:
        return self._config.accounts.discovery == "organizations"

    def _place_days(self, directory: Directory, now: datetime) -> None:
        """Put the accounts' units and groups where the dated history finds them: at first, 400 days of each account."""
        try:
            put = 0
            if self._has_units:
                put += place_days(self._ledger, directory.accounts, _HISTORY_DAYS, now)
            labels = self._config.accounts.group_labels
            put += describe_days(self._ledger, directory.accounts, labels, _HISTORY_DAYS, now)
            if put:
                self._notify_committed()
        except Exception:
            if not self._stop.is_set():  # else the ledger is closed: the next process goes on
                log.exception("the days of the accounts' units and groups cannot be written")
                self._metrics.errors.labels(DISCOVERY, Kind.INTERNAL).inc()


class Regions:
    """The regions of each account, kept for a day."""

    def __init__(self, config: Config, aws: Aws, clock: Clock, regions_of: RegionsOf = regions_of) -> None:
        """`regions_of` returns what is configured, or asks AWS."""
        self._chosen = config.regions
        self._aws = aws
        self._clock = clock
        self._ask = regions_of
        self._known: dict[str, tuple[datetime, tuple[str, ...]]] = {}
        # An account's regions are asked for once, however many collectors want them at a time.
        self._locks: dict[str, threading.Lock] = {}

    def of(self, account: Account) -> tuple[str, ...]:
        """The regions of one account; AwsError if AWS cannot say."""
        with self._locks.setdefault(account.id, threading.Lock()):
            return self._of(account)

    def _of(self, account: Account) -> tuple[str, ...]:
        now = self._clock()
        read_at, regions = self._known.get(account.id, (None, ()))
        if read_at is None or now >= read_at + _REGIONS_KEPT:
            regions = self._ask(self._aws, account, self._chosen)
            self._known[account.id] = (now, regions)
        return regions

    def of_all(self, directory: Directory) -> list[str]:
        """Every region of some account; without those of an account whose regions AWS does not list."""
        found: set[str] = set()
        for account in directory.accounts.values():
            try:
                found.update(self.of(account))
            except AwsError as error:
                # What fails there is reported by the collectors that go there.
                log.debug("the regions are not known", extra={"account_id": account.id, "error": error})
        return sorted(found)
