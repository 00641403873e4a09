"""Everything that happens while the exporter runs, for one configuration.

`discovery` finds accounts and regions, `units` knows what is to be read of them, `stream` does what is due,
`attempts` records what became of each unit, `views` serves what the ledger has.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from exporter.accounts.discovery import Directory, discover, regions_of
from exporter.aws.clients import CALLS_PER_ACCOUNT, Aws, Deadline
from exporter.collection.attempts import Attempts, free_bytes
from exporter.collection.discovery import DISCOVERY, Discover, Discovery, Regions, RegionsOf
from exporter.collection.due import Patience
from exporter.collection.metrics import COUNTED, RunnerMetrics
from exporter.collection.plan import needed_usd_as_seen, refused_collectors, waiting_days
from exporter.collection.publisher import Publisher
from exporter.collection.refreshed import AccountReading, Outcome, Refreshed
from exporter.collection.restored import Restored
from exporter.collection.schedule import Schedule
from exporter.collection.store import Key, Store
from exporter.collection.stream import Stream
from exporter.collection.units import Reading, Units, unit_names
from exporter.collection.views import THRESHOLDS, Views
from exporter.collectors import all_collectors, without_replaced
from exporter.config.model import Config
from exporter.core.moments import Clock
from exporter.cost.rereads import Reread
from exporter.cost.settings import CostSettings
from exporter.declarations.collector import AnyCollector
from exporter.declarations.context import Context
from exporter.ledger.file import Ledger

log = logging.getLogger(__name__)

_READ_A_MOMENT_AGO = timedelta(minutes=5)
_REFRESH_PATIENCE = timedelta(minutes=2)
_NAMED_ACCOUNTS = 5
_NAMED_CALLS = 3  # at a time: discovery, views, midnight


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
        self._sections = config.sections()
        self._stream = Stream(config.aws.threads, CALLS_PER_ACCOUNT)
        self.schedule = Schedule(clock, stop, _NAMED_CALLS)
        self.discovery = Discovery(
            config, aws, ledger, store, metrics, clock, stop, self.schedule,
            self._start_discovery, self._found, committed, patience, discover=discover,
        )  # fmt: skip
        self.views = Views(
            config, self.collectors, ledger, store, metrics.errors, clock, stop,
            lambda: self.directory, self.schedule.at,
        )  # fmt: skip
        publisher = Publisher(store, stop, lambda: self.directory)
        restored = Restored(publisher, store, metrics.errors, stop, self._stream.put_call)
        self._attempts = Attempts(
            ledger, store, publisher, restored, self.views, metrics, clock, stop, free_bytes
        )
        self._regions = Regions(config, aws, clock, regions_of)
        self._refused: Mapping[str, str] = {}
        self._is_started = False
        self._was_ready = False
        self.units = Units(
            self._stream, store, self._regions, self._attempts, metrics, clock, stop, patience,
            lambda: self.directory, aws.region, config.settings, self._context,
        )  # fmt: skip

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
        self._metrics.forget_others(served | {collector.name for collector in self.collectors})
        self._store.forget_units(served)
        self._is_started = True
        self.views.render()
        self.schedule.at_midnight(self.views.render)
        self.schedule.at(DISCOVERY, self._start_discovery, self._clock())
        self.schedule.start()

    def stop(self, timeout: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """End within `timeout` seconds, or once `give_up` returns True; False if a request is still in flight."""
        self._stop.set()
        self.schedule.stop()
        return self._stream.close(timeout, give_up)

    def clock_was_set(self, step: timedelta) -> None:
        """Plan by the clock as it is now; `step` is by how much it was set, negative for back."""
        log.warning("the clock was set", extra={"seconds": round(step.total_seconds())})
        self.schedule.clock_was_set(step)
        if step > timedelta(0):
            self._stream.hasten(step.total_seconds())

    def seconds_late(self) -> dict[str, float]:
        """How long the unit of each collector that has waited longest is overdue."""
        late = self._stream.seconds_late()
        return {collector.name: late.get(collector.name, 0.0) for collector in self.collectors}

    def unready(self) -> list[str]:
        """Why the exporter is not ready yet; empty once every unit was attempted, or after an interval of its collector."""
        if self.directory is None or not self.units.are_known:
            failure = self._store.result(Key(DISCOVERY))
            reason = f"failed: {failure.error}" if failure and failure.error else "has not finished"
            return [f"account discovery {reason}"]
        waiting = self.units.unread()
        if not waiting and not self._was_ready:
            self._was_ready = True
            self.views.catch_up_with_resources()
        return [f"{count} units of {name} have not been read yet" for name, count in waiting.items()]

    def problems(self) -> list[str]:
        """Current failures: a line for each account and kind, however many units and regions it is."""
        failing: defaultdict[tuple[str, str], list[Key]] = defaultdict(list)
        for key, kind in sorted(self._store.failures(), key=lambda item: str(item[0])):
            failing[key.account_id, kind].append(key)
        lines = []
        for (account_id, kind), keys in failing.items():
            units = ", ".join(dict.fromkeys(key.unit for key in keys))
            regions = {key.region for key in keys}
            where = f" in {regions.pop()}" if len(regions) == 1 and regions != {""} else ""
            name = self.directory.names.get(account_id) if self.directory else None
            account = f"{name} ({account_id})" if name else account_id or "all accounts"
            lines.append(f"{units} of {account}{where}: {kind}")
        return lines

    def denied_regions(self) -> list[str]:
        """The regions that service control policies deny: a line for each set of them, however many accounts it is."""
        regions: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for key, account in self._store.denied():
            regions[key.account_id, account].add(key.region)
        accounts: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for (account_id, account), denied in sorted(regions.items(), key=lambda item: item[0][::-1]):
            shown = account_id if account == account_id else f"{account} ({account_id})"
            accounts[tuple(sorted(denied))].append(shown)
        lines = []
        for denied_regions, shown_accounts in accounts.items():
            named = ", ".join(shown_accounts[:_NAMED_ACCOUNTS])
            more = len(shown_accounts) - _NAMED_ACCOUNTS
            lines.append(
                f"{', '.join(denied_regions)} of {named}{f' and {more} more accounts' if more > 0 else ''}"
            )
        return lines

    # Discovery

    def _start_discovery(self) -> None:
        def task() -> bool:
            self.discovery.run()
            return True

        # On the stream, whose threads a hanging call cannot keep from ending with the process.
        self._stream.put_call(DISCOVERY, task)

    def _found(self, before: Directory | None, directory: Directory) -> None:
        """Serve what discovery has found; after the first one, run what the plan allows."""
        if before is None:
            # Discovery shows how large the plan really is.
            self._refused = self._refused_by_plan(len(directory.accounts))
            for collector in self.collectors:
                if reason := self._refused.get(collector.name):
                    interval = self.config.settings(collector).interval
                    self._attempts.refuse(collector, interval, directory, reason)
            waits = waiting_days(self.config, self._ledger, self._clock(), len(directory.accounts))
            if waits is not None:
                log.warning("old days are read less often than configured", extra={"reason": waits})
        # After that, since a view shows what refused collectors leave out.
        if before is not None and before.names == directory.names:
            self.views.render_thresholds()
        else:
            self.views.render()
        allowed = [c for c in self.collectors if c.name not in self._refused]
        if before is None and self._is_started:
            self.units.start(allowed, directory)
        elif before is not None:
            for collector in allowed:
                self.units.follow(collector, directory)

    def _refused_by_plan(self, accounts: int) -> dict[str, str]:
        """Why collectors may not run, by name."""
        if self._allow_plan_over_ceiling:
            return {}
        return refused_collectors(self.config, self._ledger, self._clock(), accounts)

    # Collection

    def collect_now(self, collector: AnyCollector) -> int:
        """Read every unit of one collector while the caller waits; returns how many failed."""
        self.discovery.ensure()
        reading = self.collect(collector)
        self.views.catch_up_with_resources()
        return reading.failed

    def refresh(
        self, name: str, patience: timedelta = _REFRESH_PATIENCE, days: Reread | None = None
    ) -> Refreshed:
        """Read AWS for one collector now, ahead of its schedule; `days` are days of cost to be read again instead.

        The answer has a reason if that was not done. A collector with a `due` date skips data read in the last
        five minutes, so that no request is paid twice. Wait at most `patience` for the run.
        """
        collector = next((found for found in self.collectors if found.name == name), None)
        directory = self.directory
        if collector is None:
            known = ", ".join(found.name for found in self.collectors)
            return Refreshed(
                collector=name,
                reason=f"collector: found {name!r}, expected one that runs here: {known}",
            )
        reason = None
        if directory is None:
            reason = "account discovery has not finished"
        elif collector.due is not None and name in self._refused_by_plan(len(directory.accounts)):
            reason = f"the plan of {name} passes a ceiling; `aws-spend-exporter plan` shows it"
        elif days is not None:
            reason = self._request(collector, days)
        if reason is not None:
            return Refreshed(collector=name, reason=reason)
        since = self._clock()
        reading = self.collect(collector, patience.total_seconds(), early=days is None)
        self.views.catch_up_with_resources()
        if reading.failed:
            reason = self._failed(name, reading)
        elif reading.pending and days is None:
            reason = f"{name} is still being read after {patience.total_seconds():.0f} s"
        return Refreshed(
            collector=name,
            reason=reason,
            accounts=self._accounts_of(reading),
            days=days.days if days else 0,
            days_left=days.days - days.days_read_since(self._ledger, since) if days else 0,
        )

    def _request(self, collector: AnyCollector, days: Reread) -> str | None:
        """Have days of cost read next; returns why not."""
        settings = self._sections.of(CostSettings)
        if self.config.settings(collector) is not settings:
            return f"days are read by the collector cost, found {collector.name}"
        now = self._clock()
        refusal = days.refusal(settings, now) or days.over_ceiling(self._ledger, self.config.ceilings, now)
        if refusal is None:
            days.request(self._ledger, now)
        return refusal

    def _failed(self, name: str, reading: Reading) -> str:
        results = [self._store.result(key) for key, outcome in reading.outcomes if outcome is Outcome.FAILED]
        kinds = sorted({str(result.error) for result in results if result is not None and result.has_failed})
        units = "1 unit" if reading.failed == 1 else f"{reading.failed} units"
        return f"{units} of {name} failed{': ' if kinds else ''}{', '.join(kinds)}"

    def _accounts_of(self, reading: Reading) -> tuple[AccountReading, ...]:
        by_account: dict[str, list[tuple[Key, Outcome]]] = {}
        for key, outcome in reading.outcomes:
            by_account.setdefault(key.account_id, []).append((key, outcome))
        names = self.directory.names if self.directory else {}
        now = self._clock()
        found = []
        for account_id, outcomes in sorted(by_account.items()):
            results = [self._store.result(key) for key, _ in outcomes]
            times = [result.succeeded_at for result in results if result and result.succeeded_at]
            found.append(
                AccountReading(
                    account_id=account_id,
                    account=names.get(account_id, account_id),
                    outcomes=Counter(outcome for _, outcome in outcomes),
                    minutes_old=int((now - min(times)).total_seconds() // 60) if times else None,
                )
            )
        return tuple(found)

    def collect(
        self, collector: AnyCollector, patience: float | None = None, *, early: bool = False
    ) -> Reading:
        """Read every unit of a collector now; returns when all are read, or after `patience` seconds.

        An `early` reading takes what is due for due already, unless it was read a moment ago. The accounts must
        have been discovered.
        """
        directory = self.directory
        assert directory is not None
        reading = self.units.read_now(collector, directory, early=early)
        self.units.wait(reading, patience)
        return reading

    def _context(
        self, collector: AnyCollector, directory: Directory, early: bool, note: Callable[[], None]
    ) -> Context[Any]:
        """What an attempt at a unit of a collector is given; `note` is called after each commit."""
        settings = self.config.settings(collector)
        if early and collector.due is not None:
            settings = settings.model_copy(update={"interval": min(settings.interval, _READ_A_MOMENT_AGO)})

        def committed() -> None:
            note()
            self._notify_committed()
            # A view may read what another collector commits, but none reads what is restored by target.
            if collector.restore is None:
                self.views.follow_commit()

        return Context(
            aws=self._aws,
            ledger=self._ledger,
            clock=self._clock,
            accounts=directory.accounts,
            settings=settings,
            deadline=Deadline(self.config.aws.run_deadline.total_seconds()),
            is_early=early,
            committed=committed,
            sections=self._sections,
            regions=partial(self._regions.of_all, directory),
            names=directory.names,
            needed_usd=lambda: needed_usd_as_seen(self.config, self._ledger, self._clock()),
        )
