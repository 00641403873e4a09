"""The exporter as a process: wires everything, answers signals, reloads, and ends within five seconds."""

from __future__ import annotations

import logging
import queue
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, disable_created_metrics

from exporter.api.source import AnyEndpoint, Source
from exporter.app.answers import AnswerSource, Version
from exporter.app.clock_steps import ClockSteps
from exporter.app.dated_history import SOURCES, derivations
from exporter.app.endpoints import Probes, create_app
from exporter.app.scrape import scraped_samples
from exporter.app.state_metrics import BUILD_INFO, RELOADED, RELOADED_AT, _StateMetrics
from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws
from exporter.aws.errors import AwsError
from exporter.aws.meter import Meter
from exporter.aws.settings import make_aws
from exporter.collection.due import Patience
from exporter.collection.metrics import RunnerMetrics
from exporter.collection.plan import declared_requests, refusal, scale_for
from exporter.collection.runner import Runner
from exporter.collection.store import Store
from exporter.collectors.cost import COLLECTOR as COST
from exporter.config.model import Config
from exporter.config.read import ConfigError, load_config
from exporter.core.logs import configure_logging
from exporter.core.memory import bound_memory
from exporter.core.moments import Clock, utc_now
from exporter.core.money import usd_text
from exporter.cube import lines
from exporter.cube.months import CubeMonths
from exporter.history.live import LiveWrite, LiveWriteMetrics
from exporter.history.sample_timestamps import Stamps
from exporter.history.writer import History, HistoryMetrics
from exporter.ledger.database import LedgerLockedError
from exporter.ledger.file import Ledger
from exporter.ledger.snapshots import SnapshotMetrics, Snapshots
from exporter.web.config import WebConfigError
from exporter.web.guard import WebConfig, open_web_config
from exporter.web.server import Server

log = logging.getLogger(__name__)

_STOP_SECONDS = 2.5  # five in all, with the server's end and the interpreter's
_STOPPING = "the exporter is stopping"
_SIGNALS_SEEN_WITHIN_SECONDS = 0.2
_RELOAD_SECONDS = 30.0
_NEEDS_RESTART = ("data_dir", "server", "snapshots")

_Reload = Future[str | None]


class Service:
    """One running exporter."""

    def __init__(
        self,
        config: Config,
        config_path: Path | None,
        clock: Clock = utc_now,
        *,
        allow_plan_over_ceiling: bool = False,
        load: Callable[[Path | None], Config] = load_config,
        patience: Patience = Patience(),  # noqa: B008 # frozen
    ) -> None:
        """Open the ledger.

        `load` reads the configuration again on a reload. Raise LedgerLockedError or OSError if the ledger
        cannot be opened, WebConfigError if the web configuration file is bad.
        """
        self._web: WebConfig | None = open_web_config(config.server.web_config_file)
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.config = config
        self.port = 0
        self.registry = CollectorRegistry()
        self.store = Store(clock)
        self._snapshots = make_snapshots(config, clock, self.registry)
        if self._snapshots is not None:
            self._snapshots.restore()
        self.ledger = Ledger(config.ledger_path)
        months = CubeMonths(self.ledger)
        if missing := months.forget_missing():
            log.warning("files of months are gone, they are read again", extra={"months": missing})
        months.remove_superseded(unfinished=True)
        # Connections to read with: a scrape waits neither for a commit, which can take seconds, nor for an answer.
        self._books = Ledger(config.ledger_path, read_only=True)
        self._answers = Ledger(config.ledger_path, read_only=True)
        self._clock = clock
        self._config_path = config_path
        self._allow_plan_over_ceiling = allow_plan_over_ceiling
        self._load = load
        self._patience = patience
        self._events: queue.SimpleQueue[_Reload | None] = queue.SimpleQueue()
        self._clock_steps = ClockSteps()
        self._reload_lock = threading.Lock()
        self._takes_reloads = True
        self._reloads = 0
        self._end_by: float | None = None  # monotonic; set by the first SIGTERM
        self._metrics = RunnerMetrics(self.registry)
        self._meter = Meter(self.ledger.charges, config.ceilings, clock, self.registry, self._books.charges)
        self._stamps, *self._other_stamps = (Stamps(self.ledger, source) for source in SOURCES)
        self._history_metrics = HistoryMetrics(self.registry)
        self._live_write_metrics = LiveWriteMetrics(self.registry) if config.live_write.url else None
        self._reloaded = Gauge(RELOADED.name, RELOADED.help, registry=self.registry)
        self._reloaded.set(1)
        self._reloaded_at = Gauge(RELOADED_AT.name, RELOADED_AT.help, registry=self.registry)
        self._reloaded_at.set(clock().timestamp())
        build = Gauge(BUILD_INFO.name, BUILD_INFO.help, BUILD_INFO.labels, registry=self.registry)
        build.labels(version("aws-spend-exporter")).set(1)
        self.aws, self.history, self.runner = self._make(config)
        self.live_write = self._make_live_write(config)
        self._expect_requests(config)
        self.registry.register(
            _StateMetrics(self._meter, self._books, lambda: self.aws, lambda: self.runner.seconds_late())
        )

    def _make(self, config: Config, previous: Aws | None = None) -> tuple[Aws, History, Runner]:
        """What runs one configuration; clients and sessions of `previous` stay where AWS is reached as before."""
        stop = threading.Event()
        history = History(
            config.history,
            config.settings(COST).cost_type,
            self._stamps,
            self._clock,
            self._history_metrics,
            self._other_stamps,
            derivations(self.ledger, config, self._clock),
        )
        aws = make_aws(config.aws, self._meter, stop)
        if previous is not None and previous.serves_as(aws):
            aws = previous.successor(stop)
        runner = Runner(
            config,
            aws,
            self.ledger,
            self.store,
            self._metrics,
            self._clock,
            stop,
            partial(self._on_commit, stop),
            allow_plan_over_ceiling=self._allow_plan_over_ceiling,
            patience=self._patience,
        )
        return aws, history, runner

    def _expect_requests(self, config: Config) -> None:
        for service, operation in declared_requests(config):
            self._meter.expect(service, operation)

    def _on_commit(self, stop: threading.Event) -> None:
        """The ledger has changed; `stop` is that of the runner whose collector has changed it."""
        self.history.notify()
        if stop.is_set():
            # What was paid for before a reload and arrived after it: the views are the next runner's.
            self.runner.views.render()

    def _make_live_write(self, config: Config) -> LiveWrite:
        if config.live_write.url and self._live_write_metrics is None:
            self._live_write_metrics = LiveWriteMetrics(self.registry)
        return LiveWrite(
            config.live_write,
            lambda: scraped_samples(self.store, self.registry),
            self._clock,
            self._live_write_metrics,
        )

    def run(self) -> int:
        """Serve and collect until SIGTERM or SIGINT; returns the exit code."""
        probes = Probes(
            unready=self.unready,
            problems=lambda: self.runner.problems(),
            denied_regions=lambda: self.runner.denied_regions(),
            reload=self.request_reload,
            refresh=lambda collector, days: self.runner.refresh(collector, days=days),
            status=self.status,
            answers=AnswerSource(self.source, self.version),
        )
        server = Server(
            create_app(self.store, self.registry, probes),
            self.config.server.host,
            self.config.server.port,
            self._web,
        )
        try:
            self.port = server.start()
        except OSError as error:
            wanted = f"{self.config.server.host}:{self.config.server.port}"
            _cannot_start(f"server.port: found {wanted} in use or not ours, expected a free address: {error}")
            return 1
        log.info("listening", extra={"url": f"{server.scheme}://{self.config.server.host}:{self.port}"})
        self.runner.start()
        self.history.start()
        self.live_write.start()
        if self._snapshots is not None:
            self._snapshots.start()
        while (event := self._next_event()) is not None:
            event.set_result(self._reload())
        started = time.monotonic()
        self._refuse_reloads()
        lines.interrupt_all()
        end_by = self._end_by or started
        self.history.stop(0)
        self.live_write.stop(0)
        idle = self.runner.stop(max(0.1, end_by - time.monotonic()))
        idle = self.history.stop(max(0.1, end_by - time.monotonic())) and idle
        if self._snapshots is not None:
            self._snapshots.stop(end_by)
        server.stop()
        lines.interrupt_all()  # a question that has begun meanwhile would keep the process from ending
        self._books.close()
        self._answers.close()
        if idle:
            self.ledger.close()
        self.aws.close()
        # A request that is in flight is lost; what was committed is safe.
        log.info("stopped", extra={"seconds": round(time.monotonic() - started, 1), "in_flight": not idle})
        return 0

    def _next_event(self) -> _Reload | None:
        while True:
            # Of signals that arrive together, the kernel may give one to another thread, which does
            # not wake this one: Python runs its handler here, but only once this thread wakes.
            if (step := self._clock_steps.step()) is not None:
                self.runner.clock_was_set(step)
            with suppress(queue.Empty):
                return self._events.get(timeout=_SIGNALS_SEEN_WITHIN_SECONDS)

    def on_signal(self, number: int, _frame: FrameType | None = None) -> None:
        """Handle SIGTERM, SIGINT and SIGHUP; safe to call from a signal handler."""
        if number == signal.SIGHUP:
            self._events.put(Future())
        else:
            self._end_by = self._end_by or time.monotonic() + _STOP_SECONDS
            self._events.put(None)

    def request_reload(self) -> str | None:
        """Reload from another thread and wait for it; returns why it was refused, None if it was not."""
        request: _Reload = Future()
        with self._reload_lock:
            if not self._takes_reloads:
                return _STOPPING
            self._events.put(request)
        try:
            return request.result(_RELOAD_SECONDS)
        except FutureTimeout:
            return f"no answer within {_RELOAD_SECONDS:.0f} s"

    def _refuse_reloads(self) -> None:
        """Answer who waits for a reload: its thread would keep the process from ending."""
        with self._reload_lock:
            self._takes_reloads = False
        while not self._events.empty():
            if (event := self._events.get()) is not None:
                event.set_result(_STOPPING)

    def _reload(self) -> str | None:
        if self._end_by is not None:
            return _STOPPING
        try:
            config = self._load(self._config_path)
            for key in _NEEDS_RESTART:
                if getattr(config, key) != getattr(self.config, key):
                    raise ConfigError(f"{key}: has changed, expected a restart for that")
            aws, history, runner = self._make(config, self.aws)
        except (ConfigError, AwsError) as error:
            self._reloaded.set(0)
            log.error("the new configuration is refused, the old one stays", extra={"error": error})
            return str(error)
        except Exception as error:
            self._reloaded.set(0)
            log.exception("the new configuration cannot be taken over, the old one stays")
            return f"{type(error).__name__}: {error}"
        old, old_aws = self.runner, self.aws
        self.history.stop(0)  # what it sends now is acknowledged before the new one sends
        # A paid answer that is on its way is worth waiting for; the end of the process is not to wait.
        old.stop(_STOP_SECONDS, give_up=lambda: self._end_by is not None)
        configure_logging(config.log)
        self._meter.ceilings = config.ceilings
        self._expect_requests(config)
        self.config, self.aws, self.history, self.runner = config, aws, history, runner
        self._reloads += 1
        if aws.succeeds(old_aws):
            aws.take_over()  # not before: what the old runner is refused until it ends, the new one asks for again
        else:
            old_aws.close()
            # Another identity may be in another organizational unit, or in none.
            self.store.forget([key for key, _ in self.store.denied()])
        runner.start()
        history.start()
        self.live_write.stop(0)
        self.live_write = self._make_live_write(config)
        self.live_write.start()
        self._reloaded.set(1)
        self._reloaded_at.set(self._clock().timestamp())
        log.info("the configuration is reloaded")
        return None

    def unready(self) -> list[str]:
        """Why the exporter is not ready: what has not been read yet, and a ledger that cannot be read."""
        try:
            self._books.check()
        except sqlite3.Error as error:
            return [f"the ledger cannot be read: {error}", *self.runner.unready()]
        return self.runner.unready()

    def source(self, endpoint: AnyEndpoint) -> Source:
        """What an answer of the JSON API is made of."""
        return Source(
            ledger=self._answers,
            config=self.config,
            now=self._clock(),
            names=self._names(),
            samples=self.store.samples(endpoint.families),
            published_resources=self.store.published_resources(),
            scale=lambda: scale_for(self.config, self._answers, self._clock())[0],
        )

    def version(self, endpoint: AnyEndpoint) -> Version:
        """The version of what an answer is made of; sqlite3.Error if the ledger cannot be read."""
        return Version(
            minute=self._clock().replace(second=0, microsecond=0),
            reloads=self._reloads,
            names=self._names(),
            ledger=self._answers.data_version(),
            store=self.store.version(None if endpoint.reads_resources else endpoint.families),
        )

    def _names(self) -> Mapping[str, str]:
        directory = self.runner.directory
        return directory.names if directory else {}

    def status(self) -> dict[str, Any]:
        """The state as JSON for the command line and the relay."""
        return {
            "version": version("aws-spend-exporter"),
            "now": self._clock().isoformat(),
            "unready": self.unready(),
            "outcomes": [
                {
                    "unit": key.unit,
                    "account_id": key.account_id,
                    "region": key.region,
                    "attempted_at": result.attempted_at.isoformat(),
                    "succeeded_at": result.succeeded_at.isoformat() if result.succeeded_at else None,
                    "error": result.error,
                    "series": len(result.samples),
                }
                for key, result in self.store.results().items()
            ],
            "ceiling_remaining_usd": {
                f"{budget}.{period}": usd_text(usd)
                for (budget, period), usd in self._meter.remaining().items()
            },
        }


def make_snapshots(config: Config, clock: Clock, registry: CollectorRegistry) -> Snapshots | None:
    """Snapshots as configured; AwsError if the profile does not exist."""
    if config.snapshots.bucket is None:
        return None
    # The bucket is of the account that the exporter runs in, which need not be the payer's. It is asked
    # before there is a ledger to count in; S3 is not among what ceilings are for.
    meter = Meter(MemoryCharges(), config.ceilings, clock, CollectorRegistry())
    here = config.aws.model_copy(update={"role_arn": None, "external_id": None})
    aws = make_aws(here, meter)
    shard = f"shard-{config.shard.index}/" if config.shard.count > 1 else ""
    return Snapshots(config.snapshots, aws, config.ledger_path, clock, SnapshotMetrics(registry), shard)


def _cannot_start(error: str) -> None:
    log.error("the exporter cannot start", extra={"error": error})


def run_exporter(config: Config, config_path: Path | None, allow_plan_over_ceiling: bool = False) -> int:
    """Run in the main thread until a signal ends it.

    Exit code 0; 1 if it cannot start; 2 if the plan passes a ceiling and that is not allowed, or the web
    configuration file is bad.
    """
    bound_memory()
    configure_logging(config.log)
    try:
        service = Service(config, config_path, allow_plan_over_ceiling=allow_plan_over_ceiling)
        refused = None if allow_plan_over_ceiling else refusal(config, service.ledger, utc_now())
    except WebConfigError as error:
        _cannot_start(f"server.web_config_file: {error}")
        return 2
    except (LedgerLockedError, OSError, sqlite3.OperationalError) as error:
        _cannot_start(f"data_dir: found {config.data_dir}, expected a folder that we can write: {error}")
        return 1
    except sqlite3.DatabaseError as error:
        _cannot_start(f"data_dir: found {config.ledger_path}, expected a ledger that we can read: {error}")
        return 1
    except AwsError as error:
        _cannot_start(f"aws: {error}")
        return 1
    if refused is not None:
        _cannot_start(f"{refused}; `aws-spend-exporter plan` shows it, --allow-plan-over-ceiling runs anyway")
        service.ledger.close()
        return 2
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, service.on_signal)
    return service.run()
