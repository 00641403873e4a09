"""The ledger and the resources that are known, as samples: after each commit, each unit and at midnight, without AWS."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from prometheus_client import Counter

from exporter.accounts.discovery import Directory, accounts_of, group_samples
from exporter.accounts.thresholds import resolve
from exporter.aws.errors import RETRIED, Kind, classify
from exporter.collection.result import CollectionResult
from exporter.collection.store import Key, Store
from exporter.config.model import Config
from exporter.core.amounts import CostTypeNotAvailableError
from exporter.core.exposition import DuplicateSeriesError
from exporter.core.folding import FoldMemory
from exporter.core.metric import Folded, Sample
from exporter.core.moments import Clock
from exporter.core.resource import Resource
from exporter.core.series_settings import SeriesShares
from exporter.declarations.collector import AnyCollector, Collector, S
from exporter.declarations.view import View, ViewContext
from exporter.ledger import named_services
from exporter.ledger.file import Ledger

log = logging.getLogger(__name__)

THRESHOLDS = "thresholds"
"""The unit under which thresholds and groups are served."""

_FOLLOWED_AFTER_SECONDS = 5.0
_RENDER_BACKOFF_FACTOR = 9  # of a first fill's time, at most
_EXPIRED_RESOURCES, _MOVED_RESOURCES = "views of expired resources", "views of moved resources"


def sort_found(
    found: Iterable[Sample | Resource | Folded],
) -> tuple[tuple[Sample, ...], tuple[Resource, ...], int]:
    """Samples, resources, and the number of series that were folded."""
    samples, resources, folded = [], [], 0
    for each in found:
        if isinstance(each, Sample):
            samples.append(each)
        elif isinstance(each, Resource):
            resources.append(each)
        else:
            folded += each.series
    return tuple(samples), tuple(resources), folded


class Views:
    """The views of one configuration's collectors."""

    def __init__(
        self,
        config: Config,
        collectors: Sequence[AnyCollector],
        ledger: Ledger,
        store: Store,
        errors: Counter,
        clock: Clock,
        stop: threading.Event,
        directory: Callable[[], Directory | None],
        schedule: Callable[[str, Callable[[], None], datetime], None],
    ) -> None:
        """`errors` counts by collector and kind; `schedule` has a named call made at a time."""
        self._config = config
        self._collectors = collectors
        self._ledger = ledger
        self._store = store
        self._errors = errors
        self._clock = clock
        self._stop = stop
        self._directory = directory
        self._schedule = schedule
        self._lock = threading.Lock()
        self._due = 0.0
        self._are_behind = False
        self._warned_of: set[str] = set()
        self._grouped: Directory | None = None
        self._groups: Mapping[str, Mapping[str, str]] = {}
        self._sections = config.sections()
        self._memory = FoldMemory()
        self._has_recalled = False
        self._remembered: Mapping[str, frozenset[str]] | None = None
        self._spending_accounts = 0
        self._resources_due = 0.0
        self._moving = threading.Lock()
        self._moved: set[str] = set()
        """Accounts whose resources have moved since they were rendered."""
        self._expiries: dict[str, datetime] = {}
        """When the first of what an account serves of its units expires."""

    def catch_up(self) -> None:
        """Render what `follow_commit` has put off."""
        if self._are_behind:
            self.render()

    def catch_up_with_resources(self) -> None:
        """Render what `follow_resources` has put off."""
        if self._moved:
            self.render_resources()

    def follow_commit(self) -> None:
        """The views follow a commit at once, unless commits come so fast that rendering would slow them."""
        self._are_behind = True
        if time.monotonic() >= self._due:
            self.render()

    def _view_context(self, collector: Collector[S]) -> ViewContext[S]:
        directory = self._directory()
        if directory is not self._grouped:
            self._grouped = directory
            self._groups = (
                {account.id: account.groups for account in directory.accounts.values()} if directory else {}
            )
        accounts = max(len(directory.accounts) if directory else 0, self._spending_accounts)
        return ViewContext(
            ledger=self._ledger,
            now=self._clock(),
            settings=self._config.settings(collector),
            names=directory.names if directory else {},
            sections=self._sections,
            group_labels=tuple(sorted(self._config.accounts.group_labels)),
            groups=self._groups,
            account_series=self._sections.of(SeriesShares).of(collector.name, accounts),
            memory=self._memory,
            refused=self._refused,
        )

    def _refused(self) -> frozenset[str]:
        return frozenset(key.unit for key, kind in self._store.failures() if kind not in RETRIED)

    def succeeded_at(self, collector: AnyCollector, now: datetime | None) -> datetime | None:
        """When AWS was read for what a collector serves: `now`, unless its views show what the ledger has.

        Then it is when the ledger was written from AWS last, None if it never was.
        """
        of_the_ledger = [view for view in collector.views if not (view.of_resources or view.of_configuration)]
        if not of_the_ledger:
            return now
        context = self._view_context(collector)
        times = [view.read_at(context) for view in of_the_ledger]
        return max((time for time in times if time is not None), default=None)

    def render(self) -> None:
        """Turn the ledger into samples; costs no AWS request. Once stopped, it leaves that to the next runner.

        While the ledger cannot be read, views fail and the last good samples and thresholds are served.
        """
        if self._stop.is_set():
            return
        with self._lock:
            started = time.monotonic()
            self._are_behind = False
            self._recall_named_services()
            with suppress(sqlite3.DatabaseError):  # each view reports what is wrong with the ledger
                self._spending_accounts = len({account for account, _ in self._ledger.cost.series().values()})
            for collector in self._collectors:
                context = self._view_context(collector)
                for view in collector.views:
                    if not view.of_resources:
                        self._render(collector, view, context, Key(view.name))
            self._follow_thresholds()
            self._remember_named_services()
            ended = time.monotonic()
            self._due = ended + _RENDER_BACKOFF_FACTOR * (ended - started)

    def _recall_named_services(self) -> None:
        """Before the first rendering of the process: the services that the last one has named are good for it."""
        if self._has_recalled:
            return
        self._has_recalled = True
        with suppress(sqlite3.DatabaseError):  # each view reports what is wrong with the ledger
            self._remembered = named_services.remembered(self._ledger)
        if self._remembered is not None:
            self._memory.named = dict(self._remembered)
            self._memory.is_of_the_last_process = True

    def _remember_named_services(self) -> None:
        if self._memory.is_of_the_last_process:
            self._memory.is_of_the_last_process = False
            return
        if self._memory.version is None or self._memory.named == self._remembered or self._stop.is_set():
            return
        with suppress(sqlite3.DatabaseError):
            named_services.remember(self._ledger, self._memory.named)
            self._remembered = self._memory.named

    def render_thresholds(self) -> None:
        """Take over what discovery has found of thresholds and groups."""
        with self._lock:
            self._follow_thresholds()

    def _follow_thresholds(self) -> None:
        with suppress(sqlite3.DatabaseError):  # those that are served stay
            self._publish_thresholds()

    def _publish_thresholds(self) -> None:
        """Groups and thresholds follow both discovery and cost, which has the services.

        Of several shards the one that reads cost serves them for all.
        """
        directory = self._directory()
        if directory is None or self._config.shard.index != 0:
            return
        config, names, now = self._config, self._ledger.accounts.names(), self._clock()
        spending = set(self._ledger.cost.series().values())
        with_cost = {account_id: names.get(account_id, account_id) for account_id, _ in spending}
        accounts = accounts_of(directory, config.accounts, with_cost)
        resolved = resolve(config.thresholds, accounts, spending, config.accounts.group_labels)
        samples = (*group_samples(accounts.values()), *filter(self._is_comparable, resolved.samples))
        if self._stop.is_set():
            return  # the store belongs to the next configuration
        try:
            # They come from the configuration and do not age.
            self._store.publish(
                Key(THRESHOLDS),
                CollectionResult(samples=samples, attempted_at=now, succeeded_at=now),
                interval=None,
            )
        except DuplicateSeriesError:
            log.exception("the thresholds cannot be published")
        if spending:
            for key in resolved.unmatched:
                if key not in self._warned_of:
                    log.warning(
                        "a threshold matches nothing that has cost or is collected", extra={"setting": key}
                    )
            self._warned_of |= set(resolved.unmatched)

    def _is_comparable(self, threshold: Sample) -> bool:
        """Whether what a threshold is of has series, and is not a part of `other`."""
        labels = dict(zip(threshold.family.labels, threshold.values, strict=True))
        named = self._memory.named.get(labels["account_id"])
        return labels["scope"] != "account_service" or named is None or labels["service"] in named

    def follow_resources(self, collector: AnyCollector, account_id: str) -> None:
        """The views of an account's resources follow within seconds: its units are read one after the other."""
        if self._stop.is_set() or not any(view.of_resources for view in collector.views):
            return
        with self._moving:
            is_planned = bool(self._moved)
            self._moved.add(account_id)
        if not is_planned:
            self._plan_resources()

    def _plan_resources(self) -> None:
        wait = max(_FOLLOWED_AFTER_SECONDS, self._resources_due - time.monotonic())
        self._schedule(
            _MOVED_RESOURCES, self.catch_up_with_resources, self._clock() + timedelta(seconds=wait)
        )

    def render_resources(self) -> None:
        """Render the views of resources of each account whose resources have moved or expired."""
        with self._lock:
            started = time.monotonic()
            now = self._clock()
            expired = {account_id for account_id, expires in self._expiries.items() if expires <= now}
            with self._moving:
                expired |= self._moved
                self._moved = set()
            for collector in self._collectors:
                views = [view for view in collector.views if view.of_resources]
                if not views:
                    continue
                whole = self._view_context(collector)
                for account_id in expired:
                    self._render_resources_of(collector, views, whole, account_id)
                for view in collector.views:
                    if view.of_configuration:
                        self._render(collector, view, whole, Key(view.name))
            ended = time.monotonic()
            self._resources_due = ended + _RENDER_BACKOFF_FACTOR * (ended - started)
            first = min(self._expiries.values(), default=None)
        # The views must not outlive what they are made of: the next unit that expires has them rendered.
        if first is not None:
            self._schedule(_EXPIRED_RESOURCES, self.render_resources, first)

    def _render_resources_of(
        self, collector: Collector[S], views: Sequence[View[S]], whole: ViewContext[S], account_id: str
    ) -> None:
        found = self._store.published_resources(account_id, collector.name)
        failing = [(key.unit, account_id) for key, _ in self._store.failures(account_id)]
        context = replace(whole, published_resources=lambda: found, failing=lambda: failing)
        for view in views:
            self._render(collector, view, context, Key(view.name, account_id))
        expiries = [held.expires for held in found if held.resources and held.expires]
        if expiries:
            self._expiries[account_id] = min(expiries)
        else:
            self._expiries.pop(account_id, None)

    def _render(self, collector: Collector[S], view: View[S], context: ViewContext[S], key: Key) -> None:
        try:
            read_at = view.read_at(context)
            if read_at is None:
                if view.of_resources:
                    self._store.forget([key])
                return
            until = view.valid_until(context) if view.valid_until else None
            samples, _, folded = sort_found(view.render(context))
            result = CollectionResult(
                samples=samples,
                attempted_at=context.now,
                succeeded_at=read_at,
                valid_until=until,
                folded=folded,
            )
            if self._stop.is_set():
                return  # the store belongs to the next configuration
            self._store.publish(key, result, interval=context.settings.interval, is_view=True)
        except CostTypeNotAvailableError as error:
            self._withdraw(view, key, context, error)
        except sqlite3.DatabaseError as error:
            # What needs no ledger goes on, and says by its alerts that something is wrong here.
            failure = classify(error, f"the view {view.name}")
            log.error(
                "a view cannot be rendered",
                extra={"view": view.name, "kind": failure.kind, "error": failure},
                exc_info=error if failure.kind is Kind.INTERNAL else None,
            )
            self._errors.labels(collector.name, failure.kind).inc()
        except (DuplicateSeriesError, ArithmeticError, ValueError):
            # The last good text stays until it expires; this is a fault of ours.
            log.exception("a view cannot be rendered", extra={"view": view.name})
            self._errors.labels(collector.name, Kind.INTERNAL).inc()

    def _withdraw(
        self, view: View[S], key: Key, context: ViewContext[S], error: CostTypeNotAvailableError
    ) -> None:
        """Serve nothing of a view whose cost type the source does not have, rather than another cost type."""
        if f"{view.name}: {error}" not in self._warned_of:
            self._warned_of.add(f"{view.name}: {error}")
            log.warning("a view is not served", extra={"view": view.name, "reason": error})
        if not self._stop.is_set():
            self._store.forget([key])
