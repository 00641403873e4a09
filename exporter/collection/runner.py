"""Everything that happens while the exporter runs, for one configuration.

`discovery` finds accounts and regions, `schedule` decides when a collector is due, `units` fans a run out
over the pool, `run` records what became of each unit, `views` serves what the ledger has.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from exporter.accounts.discovery import Directory, discover, regions_of
from exporter.aws.clients import CALLS_PER_ACCOUNT, Aws, Deadline
from exporter.aws.errors import Kind
from exporter.collection.discovery import DISCOVERY, Discover, Discovery, Regions, RegionsOf
from exporter.collection.metrics import COUNTED, RunnerMetrics
from exporter.collection.plan import refused_collectors
from exporter.collection.pool import Pool
from exporter.collection.publisher import Publisher, Run
from exporter.collection.restored import Restored
from exporter.collection.run import Attempts, free_bytes
from exporter.collection.schedule import Patience, Schedule
from exporter.collection.store import Key, Store
from exporter.collection.units import Units, unit_names
from exporter.collection.views import THRESHOLDS, Views
from exporter.collectors import all_collectors, without_replaced
from exporter.config.model import Config
from exporter.core.moments import Clock
from exporter.declarations.collector import AnyCollector
from exporter.declarations.context import Context
from exporter.ledger.file import Ledger

log = logging.getLogger(__name__)

_READ_A_MOMENT_AGO = timedelta(minutes=5)
_REFRESH_PATIENCE = timedelta(minutes=2)


class Runner:
    """Composes what happens on a schedule, and answers for all of it."""

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
        collectors: Sequence[AnyCollector] | None = None,
        discover: Discover = discover,
        regions_of: RegionsOf = regions_of,
        patience: Patience = Patience(),  # noqa: B008 # frozen
        free_bytes: Callable[[Path], int] = free_bytes,
    ) -> None:
        """`stop` is shared with `aws`: once set, no request is sent any more.

        `committed` is called after each commit to the ledger and returns at once. Of `collectors`, by
        default all that are declared, those run that the configuration enables for this shard.
        """
        self.config = config
        self._aws = aws
        self._ledger = ledger
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._stop = stop
        self._notify_committed = committed
        self._allow_plan_over_ceiling = allow_plan_over_ceiling
        declared = all_collectors() if collectors is None else collectors
        self.collectors = tuple(
            without_replaced([c for c in declared if config.settings(c).enabled and config.shard.runs(c)])
        )
        self._finished: set[str] = set()
        self._pool = Pool(config.aws.threads, CALLS_PER_ACCOUNT)
        self.schedule = Schedule(clock, stop, len(self.collectors) + 2, patience)
        self.discovery = Discovery(
            config, aws, ledger, store, metrics, clock, stop, self.schedule,
            self._start_discovery, self._found, committed, discover=discover,
        )  # fmt: skip
        self.views = Views(
            config, self.collectors, ledger, store, metrics.errors, clock, stop,
            lambda: self.directory, self.schedule.at,
        )  # fmt: skip
        publisher = Publisher(store, stop, lambda: self.directory)
        restored = Restored(publisher, store, metrics.errors, stop, self._pool.submit)
        self._attempts = Attempts(
            ledger, store, publisher, restored, self.views, metrics, clock, stop, free_bytes
        )
        self._regions = Regions(config, aws, clock, regions_of)
        self.units = Units(self._pool, store, self._regions, self._attempts, clock, stop)

    @property
    def directory(self) -> Directory | None:
        """The accounts that are collected from, None before they are discovered."""
        return self.discovery.directory

    # Life

    def start(self) -> None:
        """Serve what the ledger has at once, then discover and collect."""
        served = {DISCOVERY, THRESHOLDS}
        self._metrics.expect_errors(DISCOVERY, COUNTED)
        for collector in self.collectors:
            self._metrics.expect(collector, self.config.settings(collector))
            served |= unit_names(collector, self.config.settings(collector))
            served |= {view.name for view in collector.views}
        self._store.forget_units(served)
        self.views.render()
        self.schedule.at_midnight(self.views.render)
        self.schedule.at(DISCOVERY, self._start_discovery, self._clock())
        self.schedule.start()

    def stop(self, timeout: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """End within `timeout` seconds, or once `give_up` returns True; False if a request is still in flight."""
        self._stop.set()
        self.schedule.stop()
        return self._pool.close(timeout, give_up)

    def clock_was_set(self, step: timedelta) -> None:
        """Plan by the clock as it is now; `step` is by how much it was set, negative for back."""
        self.schedule.clock_was_set(step)

    def unready(self) -> list[str]:
        """Why the exporter is not ready yet; empty once every collector has finished a first run."""
        if self.directory is None:
            failure = self._store.result(Key(DISCOVERY))
            reason = f"failed: {failure.error}" if failure and failure.error else "has not finished"
            return [f"account discovery {reason}"]
        waiting = [c.name for c in self.collectors if c.name not in self._finished]
        return [f"the first run of {name} has not finished" for name in waiting]

    def problems(self) -> list[str]:
        """Current failures: a line for each account and kind, however many units and regions it is."""
        failing: defaultdict[tuple[str, str], list[Key]] = defaultdict(list)
        for key, error in sorted(self._store.failures(), key=str):
            failing[key.account_id, error].append(key)
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
        def task() -> bool:
            self.discovery.run()
            return True

        # On the pool, whose threads a hanging call cannot keep from ending with the process.
        self._pool.submit(DISCOVERY, task)

    def _found(self, before: Directory | None, directory: Directory) -> None:
        """Serve what discovery has found; after the first one, run what the plan allows."""
        if before is not None and before.names == directory.names:
            self.views.render_thresholds()
        else:
            self.views.render()
        if before is not None:
            return
        # Discovery shows how large the plan really is.
        refused = self._refused_by_plan(len(directory.accounts))
        for collector in self.collectors:
            if reason := refused.get(collector.name):
                interval = self.config.settings(collector).interval
                self._attempts.refuse(collector, interval, directory, reason)
                self._finished.add(collector.name)
            else:
                self.schedule.at(collector.name, partial(self._run, collector), self._clock())

    def _refused_by_plan(self, accounts: int) -> dict[str, str]:
        """Why collectors may not run, by name."""
        if self._allow_plan_over_ceiling:
            return {}
        return refused_collectors(self.config, self._ledger, self._clock(), accounts)

    # Collection

    def _run(self, collector: AnyCollector) -> None:
        """Run a collector that is due, and plan its next run."""
        if self._stop.is_set():
            return
        started = self._clock()
        interval = self.config.settings(collector).interval
        at = started + interval
        try:
            clock_start = time.monotonic()
            # Accounts that hang may outlast the interval; the others are not to wait for them.
            run = self.collect(collector, None if collector.due else interval.total_seconds())
            if self._stop.is_set():
                return
            self.views.catch_up_with_resources()
            self._metrics.duration.labels(collector.name).observe(time.monotonic() - clock_start)
            self._finished.add(collector.name)
            at = self.schedule.next_run(collector, run.context, started, interval, run.failed > 0)
        except Exception:
            # E.g. the ledger's disk is full: there is a next run after any failure.
            log.exception("the run failed", extra={"collector": collector.name})
            self._metrics.errors.labels(collector.name, Kind.INTERNAL).inc()
            at = self.schedule.retry_of_run(collector, at)
        finally:
            self.schedule.at(collector.name, partial(self._run, collector), at)

    def collect_now(self, collector: AnyCollector) -> int:
        """Run one collector to its end in the calling thread's time; returns the failed units."""
        self.discovery.ensure()
        run = self.collect(collector)
        self.views.catch_up_with_resources()
        return run.failed

    def refresh(self, name: str, patience: timedelta = _REFRESH_PATIENCE) -> str | None:
        """Read AWS for one collector now, ahead of its schedule.

        Return None on success, otherwise the reason. A collector with a `due` date skips data read in
        the last five minutes, so that no request is paid twice. Wait at most `patience` for the run.
        """
        collector = next((found for found in self.collectors if found.name == name), None)
        if collector is None:
            known = ", ".join(found.name for found in self.collectors)
            return f"collector: found {name!r}, expected one that runs here: {known}"
        directory = self.directory
        if directory is None:
            return "account discovery has not finished"
        if collector.due is not None and name in self._refused_by_plan(len(directory.accounts)):
            return f"the plan of {name} passes a ceiling; `aws-spend-exporter plan` shows it"
        seconds = patience.total_seconds()
        end = time.monotonic() + seconds
        run = self.collect(collector, seconds, early=True)
        while (reading := Units.read_by_another(run, self.units.under_way())) and time.monotonic() < end:
            if self._stop.wait(0.1):
                break
        self.views.catch_up_with_resources()
        if run.pending or reading:
            return f"{name} is still being read after {seconds:.0f} s"
        results = self._store.results()
        failed = run.failed + sum(
            results[key].error is not None for key in Units.read_by_another(run, results)
        )
        return f"{failed} units of {name} failed, see /-/ready" if failed else None

    def collect(self, collector: AnyCollector, patience: float | None = None, *, early: bool = False) -> Run:
        """One run; returns when all of it is done, or what is done after `patience` seconds.

        An `early` one takes what is due for due already, unless it was read a moment ago. The accounts must
        have been discovered.
        """
        directory = self.directory
        assert directory is not None
        run = Run(
            collector,
            self._context(collector, directory, early=early),
            self.config.settings(collector).interval,
        )
        self.units.start(run, directory, self._aws.region)
        self.units.wait(run, patience)
        return run

    def _context(self, collector: AnyCollector, directory: Directory, *, early: bool) -> Context[Any]:
        settings = self.config.settings(collector)
        if early and collector.due is not None:
            settings = settings.model_copy(update={"interval": min(settings.interval, _READ_A_MOMENT_AGO)})
        return Context(
            aws=self._aws,
            ledger=self._ledger,
            clock=self._clock,
            accounts=directory.accounts,
            settings=settings,
            deadline=Deadline(self.config.aws.run_deadline.total_seconds()),
            # A view may read what another collector commits, but none reads what is restored by target.
            committed=self._notify_committed if collector.restore else self._committed,
            sections=self.config.sections(),
            regions=partial(self._regions.of_all, directory),
            names=directory.names,
        )

    def _committed(self) -> None:
        self._notify_committed()
        self.views.follow_commit()
