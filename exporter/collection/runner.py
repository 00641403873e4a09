"""When collectors run, against what, and what became of it.

APScheduler starts a run; the run fans out over the pool, one task per target; each task's
result goes to the store. Collectors raise, and only here is it recorded.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from exporter.accounts.discovery import Directory, account_samples, discover, regions_of
from exporter.accounts.placing import place_days
from exporter.aws.clients import CALLS_PER_ACCOUNT, Aws, Deadline
from exporter.aws.errors import AwsError, Kind, classify
from exporter.collection.plan import refused_collectors
from exporter.collection.pool import Pool
from exporter.collection.result import CollectionResult
from exporter.collection.store import Key, Store
from exporter.collection.views import THRESHOLDS, Views, sort_found
from exporter.collectors import all_collectors, without_replaced
from exporter.config.model import Config
from exporter.core.moments import Clock
from exporter.core.places import Account, Scope, Target
from exporter.declarations.collector import AnyCollector, AnyPart
from exporter.declarations.context import Context
from exporter.ledger.file import Ledger

log = logging.getLogger(__name__)

DISCOVERY = "accounts"
"""The unit under which account discovery is reported."""

_DISCOVERY_INTERVAL = timedelta(hours=1)
_REGIONS_KEPT = timedelta(days=1)
_FIRST_RETRY = timedelta(seconds=5)
_LONGEST_DISCOVERY_RETRY = timedelta(minutes=5)
_FIRST_PAID_RETRY = timedelta(minutes=1)
_READ_A_MOMENT_AGO = timedelta(minutes=5)
_REFRESH_PATIENCE_SECONDS = 120.0
_SPREAD = timedelta(milliseconds=1)  # a job must not be due before it is added
_OU_HISTORY_DAYS = 400  # as far back as AWS tells cost
_SCRAPES_OF_A_NEW_COUNTER = 2  # at zero
_LEAST_FREE_BYTES = 32 << 20  # a month of 100 accounts and 20 services, in the file and in its log
_UNRESPONSIVE = (Kind.TIMEOUT, Kind.DEADLINE)


class RunnerMetrics:
    """Self metrics of the runs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Registers them."""
        self.duration = Histogram(
            "aws_spend_exporter_collector_duration_seconds",
            "Duration of a run of the collector over all its accounts and regions.",
            ("collector",),
            buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
            registry=registry,
        )
        self.errors = Counter(
            "aws_spend_exporter_collector_errors_total",
            "Failed collections of one account and region, by kind.",
            ("collector", "kind"),
            registry=registry,
        )
        self.accounts = Gauge(
            "aws_spend_exporter_accounts", "Accounts that are collected.", registry=registry
        )


@dataclass(slots=True)
class _Run:
    """One run of a collector over its targets."""

    collector: AnyCollector
    context: Context[Any]
    done: threading.Condition
    pending: int = 0
    failed: int = 0
    already_running: set[Key] = field(default_factory=set)
    """What another run was reading already."""


class Runner:
    """Everything that happens on a schedule, for one configuration."""

    def __init__(
        self,
        config: Config,
        aws: Aws,
        ledger: Ledger,
        store: Store,
        metrics: RunnerMetrics,
        clock: Clock,
        stop: threading.Event,
        committed: Callable[[], None] = lambda: None,
        *,
        allow_plan_over_ceiling: bool = False,
    ) -> None:
        """`stop` is shared with `aws`: once set, no request is sent any more.

        `committed` is called after each commit to the ledger and returns at once.
        """
        self.config = config
        self.directory: Directory | None = None
        self._aws = aws
        self._ledger = ledger
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._stop = stop
        self._notify_committed = committed
        self._allow_plan_over_ceiling = allow_plan_over_ceiling
        self._collectors = without_replaced(
            [c for c in all_collectors() if config.settings(c).enabled and config.shard.runs(c)]
        )
        self._finished: set[str] = set()
        self._retries: dict[str, int] = {}
        self._regions: dict[str, tuple[datetime, tuple[str, ...]]] = {}
        self._under_way: set[Key] = set()
        self._under_way_lock = threading.Lock()
        self._publishing = threading.RLock()
        self.views = Views(
            config,
            self._collectors,
            ledger,
            store,
            metrics.errors,
            clock,
            stop,
            lambda: self.directory,
            self._schedule,
        )
        self._pool = Pool(config.aws.threads, CALLS_PER_ACCOUNT)
        workers = ThreadPoolExecutor(len(self._collectors) + 2)
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": workers},
            # A job plans its successor before it ends, so that two of a name may overlap for a moment.
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 2},
        )

    # Life

    def start(self) -> None:
        """Serve what the ledger knows at once, then discover and collect."""
        enabled = {
            part.name
            for collector in self._collectors
            for part in collector.units(self.config.settings(collector))
        } | {collector.name for collector in self._collectors}
        views = {view.name for collector in self._collectors for view in collector.views}
        self._store.forget(lambda key: key.unit in enabled | views | {DISCOVERY, THRESHOLDS})
        self.views.render()
        self._scheduler.add_job(self.views.render, "cron", hour=0, minute=0, second=0)
        self._scheduler.add_job(self._start_discovery, id=DISCOVERY)
        self._scheduler.start()

    def stop(self, timeout: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """End within `timeout` seconds, or when `give_up` says so; False if a request is still in flight."""
        self._stop.set()
        self._scheduler.shutdown(wait=False)
        return self._pool.close(timeout, give_up)

    def clock_was_set(self, step: timedelta) -> None:
        """Keep what is scheduled as far away as it was when the clock was set back, and look at it again."""
        log.warning("the clock was set by %.0f s", step.total_seconds())
        if step < timedelta(0):
            for job in self._scheduler.get_jobs():
                # One that runs meanwhile is planned anew by itself.
                with suppress(JobLookupError):
                    job.modify(next_run_time=job.next_run_time + step)
        self._scheduler.wakeup()

    def unready(self) -> list[str]:
        """Why the exporter is not ready yet; empty once every collector has finished a first run."""
        if self.directory is None:
            failure = self._store.results().get(Key(DISCOVERY))
            reason = f"failed: {failure.error}" if failure and failure.error else "has not finished"
            return [f"account discovery {reason}"]
        waiting = [c.name for c in self._collectors if c.name not in self._finished]
        return [f"the first run of {name} has not finished" for name in waiting]

    def problems(self) -> list[str]:
        """What fails now: a line for each account and kind, however many units and regions it is."""
        failing: defaultdict[tuple[str, str], list[Key]] = defaultdict(list)
        for key, result in sorted(self._store.results().items(), key=lambda item: str(item[0])):
            if result.error:
                failing[key.account_id, result.error].append(key)
        lines = []
        for (account_id, kind), keys in failing.items():
            units = ", ".join(dict.fromkeys(key.unit for key in keys))
            regions = {key.region for key in keys}
            where = f" in {regions.pop()}" if len(regions) == 1 and regions != {""} else ""
            name = self.directory.names.get(account_id) if self.directory else None
            account = f"{name} ({account_id})" if name else account_id or "all accounts"
            lines.append(f"{units} of {account}{where}: {kind}")
        return lines

    # Discovery

    def _start_discovery(self) -> None:
        # On the pool, whose threads a hanging call cannot keep from ending with the process.
        self._pool.submit(DISCOVERY, self._discover)

    def _discover(self) -> bool:
        now = self._clock()
        try:
            directory = discover(self._aws, self.config.accounts, self.config.shard)
            self._ledger.name_accounts(directory.names, now.date())
            if self.config.accounts.discovery == "organizations":
                ous = {account.id: account.ou for account in directory.accounts.values()}
                self._ledger.place_accounts(ous, now.date())
        except Exception as error:
            failure = classify(error, "account discovery")
            if failure.kind is Kind.STOPPED or self._stop.is_set():
                return True
            # The accounts known so far go on being collected.
            log.error("%s", failure, exc_info=error if failure.kind is Kind.INTERNAL else None)
            self._metrics.errors.labels(DISCOVERY, failure.kind).inc()
            self._store.publish(
                Key(DISCOVERY), CollectionResult((), now, None, failure.kind), interval=_DISCOVERY_INTERVAL
            )
            retry = min(_LONGEST_DISCOVERY_RETRY, _FIRST_RETRY * 2 ** self._count_retry(DISCOVERY))
            self._schedule(DISCOVERY, self._start_discovery, now + retry)
            return True
        if self._stop.is_set():
            return True
        self._retries.pop(DISCOVERY, None)
        before, self.directory = self.directory, directory
        known = {*directory.accounts, directory.payer_id, ""}
        self._store.forget(lambda key: key.account_id in known)
        self._metrics.accounts.set(len(directory.accounts))
        samples = tuple(account_samples(directory, self.config.accounts))
        self._store.publish(Key(DISCOVERY), CollectionResult(samples, now, now), interval=_DISCOVERY_INTERVAL)
        self._schedule(DISCOVERY, self._start_discovery, now + _DISCOVERY_INTERVAL)
        if before is None or before.names != directory.names:
            self.views.render()
        else:
            self.views.render_thresholds()
        if before is None:
            log.info(
                "collecting %d accounts of %s (%s)",
                len(directory.accounts),
                directory.payer_id,
                self.config.accounts.discovery,
            )
            refused = self._refused_by_plan(len(directory.accounts))
            for collector in self._collectors:
                if reason := refused.get(collector.name):
                    self._refuse(collector, directory, reason)
                else:
                    self._schedule(collector.name, self._job(collector), now)
        self._place_days(directory, now)
        return True

    def _place_days(self, directory: Directory, now: datetime) -> None:
        """Put the accounts' units where the dated history finds them: at first, 400 days of each account."""
        if self.config.accounts.discovery != "organizations":
            return
        try:
            if place_days(self._ledger, directory.accounts, _OU_HISTORY_DAYS, now):
                self._notify_committed()
        except Exception:
            if not self._stop.is_set():  # else the ledger is closed: the next process goes on
                log.exception("the days of the accounts' units cannot be written")
                self._metrics.errors.labels(DISCOVERY, Kind.INTERNAL).inc()

    def _refused_by_plan(self, accounts: int) -> dict[str, str]:
        """Why collectors may not run, by name: discovery shows how large the plan really is."""
        if self._allow_plan_over_ceiling:
            return {}
        return refused_collectors(self.config, self._ledger, self._clock(), accounts)

    def _refuse(self, collector: AnyCollector, directory: Directory, reason: str) -> None:
        log.error("%s does not run: %s (--allow-plan-over-ceiling runs it anyway)", collector.name, reason)
        self._store.publish(
            Key(collector.name, directory.payer_id),
            CollectionResult((), self._clock(), self.views.read_at(collector), Kind.PLAN_OVER_CEILING),
            account=directory.names.get(directory.payer_id, directory.payer_id),
            interval=self.config.settings(collector).interval,
        )
        self._finished.add(collector.name)

    def _count_retry(self, name: str) -> int:
        self._retries[name] = self._retries.get(name, -1) + 1
        return min(self._retries[name], 16)

    def _schedule(self, name: str, function: Callable[[], None], at: datetime) -> None:
        if self._stop.is_set():
            return
        delay = max(timedelta(0), at - self._clock()) + _SPREAD
        when = datetime.now(at.tzinfo) + delay  # the scheduler has its own, real clock
        self._scheduler.add_job(function, "date", run_date=when, id=name, replace_existing=True)

    # Collection

    def _job(self, collector: AnyCollector) -> Callable[[], None]:
        return lambda: self._run(collector)

    def _run(self, collector: AnyCollector) -> None:
        if self._stop.is_set():
            return
        started = self._clock()
        interval = self.config.settings(collector).interval
        at = started + interval
        try:
            clock_start = time.monotonic()
            # Accounts that hang may outlast the interval; the others are not to wait for them.
            run = self._collect(collector, None if collector.due else interval.total_seconds())
            if self._stop.is_set():
                return
            self.views.catch_up_with_resources()
            self._metrics.duration.labels(collector.name).observe(time.monotonic() - clock_start)
            self._finished.add(collector.name)
            if collector.due is not None:
                if run.failed:
                    retry = self._clock() + _FIRST_PAID_RETRY * 2 ** self._count_retry(collector.name)
                    at = min(at, retry)
                else:
                    self._retries.pop(collector.name, None)
                    at = collector.due(run.context)
                    if at <= (now := self._clock()):
                        # It is done and yet says that it is due: never a loop.
                        at = now + min(interval, _FIRST_PAID_RETRY)
        except Exception:
            # E.g. the ledger's disk is full: whatever it is, there is a next run.
            log.exception("the run of %s failed", collector.name)
            self._metrics.errors.labels(collector.name, Kind.INTERNAL).inc()
            at = min(at, self._clock() + _FIRST_PAID_RETRY * 2 ** self._count_retry(collector.name))
        finally:
            self._schedule(collector.name, self._job(collector), at)

    def discover_now(self) -> None:
        """Find the accounts in the calling thread's time, unless they are known; AwsError if AWS cannot say."""
        if self.directory is None:
            self.directory = discover(self._aws, self.config.accounts, self.config.shard)

    def collect_now(self, collector: AnyCollector) -> int:
        """Run one collector to its end in the calling thread's time; returns the failed units."""
        self.discover_now()
        run = self._collect(collector)
        self.views.catch_up_with_resources()
        return run.failed

    def refresh(self, name: str) -> str | None:
        """Read AWS for one collector before it is due; returns why that is refused or failed, None when it is done.

        What was read within the last minutes is not read again: somebody would pay for it twice.
        """
        collector = next((found for found in self._collectors if found.name == name), None)
        if collector is None:
            known = ", ".join(found.name for found in self._collectors)
            return f"collector: found {name!r}, expected one that runs here: {known}"
        directory = self.directory
        if directory is None:
            return "account discovery has not finished"
        if collector.due is not None and name in self._refused_by_plan(len(directory.accounts)):
            return f"the plan of {name} passes a ceiling; `aws-spend-exporter plan` shows it"
        end = time.monotonic() + _REFRESH_PATIENCE_SECONDS
        run = self._collect(collector, _REFRESH_PATIENCE_SECONDS, early=True)
        while (reading := self._already_running_among(run, self._under_way_now())) and time.monotonic() < end:
            if self._stop.wait(0.1):
                break
        self.views.catch_up_with_resources()
        if run.pending or reading:
            return f"{name} is still being read after {_REFRESH_PATIENCE_SECONDS:.0f} s"
        results = self._store.results()
        failed = run.failed + sum(
            results[key].error is not None for key in self._already_running_among(run, results)
        )
        return f"{failed} units of {name} failed, see /-/ready" if failed else None

    def _under_way_now(self) -> frozenset[Key]:
        with self._under_way_lock:
            return frozenset(self._under_way)

    @staticmethod
    def _already_running_among(run: _Run, keys: Iterable[Key]) -> list[Key]:
        """Those of `keys` that another run reads instead of this one: with an account, the regions that it finds."""
        collector = run.collector
        units = {part.name for part in collector.units(run.context.settings)}
        return [
            key
            for key in keys
            if key in run.already_running
            or (
                key.region
                and key.unit in units
                and Key(collector.name, key.account_id) in run.already_running
            )
        ]

    def _collect(
        self, collector: AnyCollector, patience: float | None = None, *, early: bool = False
    ) -> _Run:
        """One run; returns when all of it is done, or what is done after `patience` seconds.

        An `early` one takes what is due for due already, unless it was read a moment ago.
        """
        directory = self.directory
        assert directory is not None
        settings = self.config.settings(collector)
        if early and collector.due is not None:
            settings = settings.model_copy(update={"interval": min(settings.interval, _READ_A_MOMENT_AGO)})
        context: Context[Any] = Context(
            self._aws,
            self._ledger,
            self._clock,
            directory.accounts,
            settings,
            Deadline(self.config.aws.run_deadline.total_seconds()),
            # A view may read what another collector commits, but none reads what is restored by target.
            committed=self._notify_committed if collector.restore else self._committed,
            sections=self.config.sections(),
            regions=partial(self._all_regions, directory),
            names=directory.names,
        )
        run = _Run(collector, context, threading.Condition())
        parts = collector.units(settings)
        regional = [part for part in parts if part.scope is Scope.REGION]
        if collector.scope is Scope.PAYER:
            payer = directory.payer_target(self._aws.region)
            # A lane of its own: what hangs in the payer's regions must not hold up cost.
            lane = f"{collector.name} of {payer.account_id}"
            for part in parts:
                self._submit(run, lane, Key(part.name, payer.account_id), self._task(run, part, payer))
        for account in directory.accounts.values() if collector.scope is not Scope.PAYER else ():
            for part in parts:
                if part.scope is Scope.ACCOUNT:
                    task = self._task(run, part, directory.target(account))
                    self._submit(run, account.id, Key(part.name, account.id), task)
            if regional:
                fan_out = partial(self._fan_out, run, directory, account, regional)
                self._submit(run, account.id, Key(collector.name, account.id), fan_out)
        end = None if patience is None else time.monotonic() + patience
        with run.done:
            while run.pending and not self._stop.is_set() and (end is None or time.monotonic() < end):
                run.done.wait(0.2)
        return run

    def _submit(self, run: _Run, lane: str, key: Key, task: Callable[[], AwsError | None]) -> None:
        with self._under_way_lock:
            if key in self._under_way:
                run.already_running.add(key)
                return  # the previous run's attempt is not over
            self._under_way.add(key)

        def counted() -> bool:
            failure: AwsError | None = AwsError(Kind.INTERNAL, "the task ended early")
            try:
                failure = task()
            finally:
                with self._under_way_lock:
                    self._under_way.discard(key)
                with run.done:
                    run.pending -= 1
                    run.failed += failure is not None
                    run.done.notify_all()
            return failure is None or failure.kind not in _UNRESPONSIVE

        with run.done:
            run.pending += 1
        self._pool.submit(lane, counted)

    def _task(self, run: _Run, part: AnyPart, target: Target) -> Callable[[], AwsError | None]:
        return partial(self._collect_target, run, part, target)

    def _fan_out(
        self, run: _Run, directory: Directory, account: Account, parts: Sequence[AnyPart]
    ) -> AwsError | None:
        """Find the account's regions and queue a task for each part and region."""
        now = self._clock()
        everywhere = Key(run.collector.name, account.id)
        try:
            regions = self._regions_of(account, now)
        except Exception as error:
            return self._fail(run, everywhere, account.name, now, error)
        units = {
            Key(part.name, account.id, region): part
            for region in regions
            for part in parts
            if part.offered(region)
        }
        names = {part.name for part in parts} | {run.collector.name}
        self._store.forget(lambda key: key.unit not in names or key.account_id != account.id or key in units)
        for key, part in units.items():
            target = directory.target(account, key.region)
            self._submit(run, account.id, key, self._task(run, part, target))
        return None

    def _all_regions(self, directory: Directory) -> list[str]:
        found: set[str] = set()
        for account in directory.accounts.values():
            try:
                found.update(self._regions_of(account, self._clock()))
            except AwsError as error:
                # What fails there is reported by the collectors that go there.
                log.debug("the regions of %s are not known: %s", account.id, error)
        return sorted(found)

    def _regions_of(self, account: Account, now: datetime) -> tuple[str, ...]:
        read_at, regions = self._regions.get(account.id, (None, ()))
        if read_at is None or now >= read_at + _REGIONS_KEPT:
            regions = regions_of(self._aws, account, self.config.regions)
            self._regions[account.id] = (now, regions)
        return regions

    def _collect_target(self, run: _Run, part: AnyPart, target: Target) -> AwsError | None:
        collector = run.collector
        region = target.region if part.scope is Scope.REGION else ""
        key = Key(part.name, target.account_id, region)
        now = self._clock()
        try:
            if collector.restore is not None and key not in self._store.results():
                # Until AWS answers, what was read before the process began is served for as long as it is fresh.
                self._publish_restored(run, key, target, now)
            if not collector.is_free:
                self._require_room()
            try:
                samples, resources, folded = sort_found(part.collect(run.context, target))
            finally:
                self.views.catch_up()
            for sample in samples:
                if sample.family not in collector.families:
                    raise ValueError(f"{collector.name} does not declare {sample.family.name}")
            if collector.restore is not None:
                self._publish_restored(run, key, target, now)
            else:
                # What the ledger serves was read when the ledger says so.
                from_ledger = any(not view.of_resources for view in collector.views)
                succeeded_at = self.views.read_at(collector) if from_ledger else now
                result = CollectionResult(samples, now, succeeded_at, resources=resources, folded=folded)
                self._publish(run, key, target.account, result)
        except Exception as error:
            return self._fail(run, key, target.account, now, error)
        finally:
            self.views.follow_resources(collector)
        return None

    def _require_room(self) -> None:
        """Nothing is paid for that could not be kept, and then be paid for again at the next attempt."""
        free = shutil.disk_usage(self._ledger.path.parent).free
        if free < _LEAST_FREE_BYTES:
            raise AwsError(
                Kind.LEDGER,
                f"{free >> 20} MiB are left on the disk of data_dir, expected {_LEAST_FREE_BYTES >> 20} at least",
            )

    def _publish_restored(self, run: _Run, key: Key, target: Target, now: datetime) -> None:
        restore = run.collector.restore
        assert restore is not None
        with self._publishing:
            restored = restore(run.context, target)
            if restored is None or self._stop.is_set():
                return
            self._publish(run, key, target.account, CollectionResult(restored.samples, now, restored.read_at))
        if (seen := restored.seen) is not None:

            def republish() -> None:
                # Not in the scrape's thread: it writes to the ledger.
                self._pool.submit(key.account_id, lambda: self._after_seen(run, key, target, seen))

            self._store.after_scrapes(key, _SCRAPES_OF_A_NEW_COUNTER, republish)

    def _after_seen(self, run: _Run, key: Key, target: Target, seen: Callable[[], None]) -> bool:
        if self._stop.is_set():
            return True
        try:
            seen()
            with self._publishing:  # what a run publishes meanwhile is newer than this
                result = self._store.results().get(key)
                if result is None:
                    return True
                at, error = result.attempted_at, result.error
                self._publish_restored(run, key, target, at)
                if error is not None:
                    self._publish(run, key, target.account, CollectionResult((), at, None, error))
        except Exception:
            log.exception("%s of %s cannot be published", key.unit, key.account_id)
            self._metrics.errors.labels(key.unit, Kind.INTERNAL).inc()
        return True

    def _fail(self, run: _Run, key: Key, account: str, now: datetime, error: Exception) -> AwsError:
        where = f"{key.unit} of {key.account_id}{f' in {key.region}' if key.region else ''}"
        failure = classify(error, where)
        if failure.kind is Kind.STOPPED or self._stop.is_set():
            return failure
        if failure.kind is Kind.INTERNAL:
            log.error("%s failed", where, exc_info=error)
        else:
            log.warning("%s failed (%s): %s", where, failure.kind, failure)
        self._metrics.errors.labels(key.unit, failure.kind).inc()
        from_ledger = any(not view.of_resources for view in run.collector.views)
        read_at = None
        with suppress(sqlite3.DatabaseError):  # the ledger itself may be what is broken
            read_at = self.views.read_at(run.collector) if from_ledger else None
        self._publish(run, key, account, CollectionResult((), now, read_at, failure.kind))
        return failure

    def _publish(self, run: _Run, key: Key, account: str, result: CollectionResult) -> None:
        if self._stop.is_set():
            return  # the store belongs to the next configuration
        with self._publishing:
            self._store.publish(
                key,
                result,
                account=account,
                interval=self.config.settings(run.collector).interval,
                owner=run.collector.name,
            )
        directory = self.directory
        if directory and key.account_id not in {*directory.accounts, directory.payer_id}:
            # The account left while it was being read.
            self._store.forget(lambda known: known != key)

    def _committed(self) -> None:
        self._notify_committed()
        self.views.follow_commit()
