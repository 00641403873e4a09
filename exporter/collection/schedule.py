"""Named calls at a time: account discovery, midnight, and what expires, though the clock was set."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from exporter.core.moments import Clock

log = logging.getLogger(__name__)

_SPREAD = timedelta(milliseconds=1)  # a job must not be due before it is added


class Schedule:
    """Named calls at a time, on threads of the scheduler; nothing is called once the runner has stopped."""

    def __init__(self, clock: Clock, stop: threading.Event, workers: int) -> None:
        """`workers` calls run at the same time at most."""
        self._clock = clock
        self._stop = stop
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
        if step < timedelta(0):
            for job in self._scheduler.get_jobs():
                # One that runs meanwhile plans its successor itself.
                with suppress(JobLookupError):
                    job.modify(next_run_time=job.next_run_time + step)
        self._scheduler.wakeup()
