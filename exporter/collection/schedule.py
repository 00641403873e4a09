"""When something is due: once at a time, at midnight, again after a failure, and though the clock was set."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from exporter.core.moments import Clock
from exporter.declarations.collector import AnyCollector
from exporter.declarations.context import Context

log = logging.getLogger(__name__)

_SPREAD = timedelta(milliseconds=1)  # a job must not be due before it is added
_MOST_DOUBLINGS = 16


@dataclass(frozen=True, slots=True)
class Patience:
    """How soon what failed is tried again."""

    first_retry: timedelta = timedelta(seconds=5)
    """Of account discovery; doubled after each failure."""
    longest_retry: timedelta = timedelta(minutes=5)
    """Of account discovery."""
    first_paid_retry: timedelta = timedelta(minutes=1)
    """Of a collector that has a `due` date; doubled after each failure, its interval at most."""


class Schedule:
    """Named calls at a time, on threads of the scheduler; nothing is called once the runner has stopped."""

    def __init__(self, clock: Clock, stop: threading.Event, workers: int, patience: Patience) -> None:
        """`workers` calls run at the same time at most."""
        self._patience = patience
        self._clock = clock
        self._stop = stop
        self._retries: dict[str, int] = {}
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(workers)},
            # A job plans its successor before it ends, so that two of a name may overlap for a moment.
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 2},
        )

    def start(self) -> None:
        """Call what is due from now on."""
        self._scheduler.start()

    def stop(self) -> None:
        """Call nothing more; what is being called goes on."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def at_midnight(self, function: Callable[[], None]) -> None:
        """Call at 00:00 UTC each day."""
        self._scheduler.add_job(function, "cron", hour=0, minute=0, second=0)

    def at(self, name: str, function: Callable[[], None], at: datetime) -> None:
        """Call once at `at` by the injected clock, at once if that is over; replaces what has this name."""
        if self._stop.is_set():
            return
        delay = max(timedelta(0), at - self._clock()) + _SPREAD
        when = datetime.now(at.tzinfo) + delay  # the scheduler has a clock too, the real one
        self._scheduler.add_job(function, "date", run_date=when, id=name, replace_existing=True)

    def planned(self, name: str) -> datetime | None:
        """When the named call is due by the real clock, None if it is not planned."""
        job = self._scheduler.get_job(name)
        return job.next_run_time if job else None

    def clock_was_set(self, step: timedelta) -> None:
        """Keep what is scheduled as far away as it was when the clock was set back, and look at it again."""
        log.warning("the clock was set", extra={"seconds": round(step.total_seconds())})
        if step < timedelta(0):
            for job in self._scheduler.get_jobs():
                # One that runs meanwhile plans its successor itself.
                with suppress(JobLookupError):
                    job.modify(next_run_time=job.next_run_time + step)
        self._scheduler.wakeup()

    def retry_of_discovery(self, name: str, now: datetime) -> datetime:
        """When to try again after one more failure."""
        return now + min(self._patience.longest_retry, self._backoff(name, self._patience.first_retry))

    def succeeded(self, name: str) -> None:
        """The next failure of `name` is a first one."""
        self._retries.pop(name, None)

    def next_run(
        self,
        collector: AnyCollector,
        context: Context[Any],
        started: datetime,
        interval: timedelta,
        failed: bool,
    ) -> datetime:
        """When a collector that has run is due next; may read the ledger, and raise what that raises."""
        at = started + interval
        if collector.due is None:
            return at
        if failed:
            return self.retry_of_run(collector, at)
        self.succeeded(collector.name)
        at = collector.due(context)
        if at <= (now := self._clock()):
            # It is done and yet due: never a loop.
            return now + min(interval, self._patience.first_paid_retry)
        return at

    def retry_of_run(self, collector: AnyCollector, at: datetime) -> datetime:
        """When to run again after one more failure, at the latest at `at`."""
        return min(at, self._clock() + self._backoff(collector.name, self._patience.first_paid_retry))

    def _backoff(self, name: str, first: timedelta) -> timedelta:
        self._retries[name] = self._retries.get(name, -1) + 1
        return first * (1 << min(self._retries[name], _MOST_DOUBLINGS))
