"""One notification to one channel: render it, skip the parts that Telex has, post the rest."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from exporter.relay import telex
from exporter.relay.alertmanager import Notification
from exporter.relay.deliveries import Deliveries, Progress
from exporter.relay.message import Links, Message, render
from exporter.relay.metrics import RelayMetrics
from exporter.relay.settings import RelaySettings
from exporter.relay.templating import Templates
from exporter.web.credentials import Secret

logger = logging.getLogger(__name__)

Outcome = tuple[int, str]  # the HTTP status for Alertmanager, and why in a few words


class Dispatcher:
    """Delivers notifications; safe for threads, one of which at a time works on the same notification."""

    def __init__(
        self,
        settings: RelaySettings,
        channel_urls: dict[str, Secret],
        deliveries: Deliveries,
        metrics: RelayMetrics,
        stopping: threading.Event,
        templates: Templates,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._urls = channel_urls
        self._deliveries = deliveries
        self._metrics = metrics
        self._stopping = stopping
        self._templates = templates
        self._clock = clock
        self._links = Links(settings.dashboard_url, settings.runbook_url)
        self._busy: dict[str, threading.Lock] = {}
        self._waiting: dict[str, int] = {}
        self._guard = threading.Lock()

    def deliver(self, channel: str, notification: Notification) -> Outcome:
        """
        Deliver all parts, or as many as Telex takes now.

        200: Telex has every part. 503: Alertmanager's retry may succeed. 502: someone has to act, but
        Alertmanager retries that too, so nothing is lost meanwhile.
        """
        settings = self._settings
        outcome = self.send(
            channel,
            notification.identity(channel),
            lambda: render(
                notification, self._links, settings.max_message_bytes, settings.max_parts, self._templates
            ),
        )
        self._metrics.notifications.labels(channel, str(outcome[0])).inc()
        return outcome

    def send(self, channel: str, key: str, message: Callable[[], Message]) -> Outcome:
        """Deliver what Telex does not have yet of the message that is remembered under `key`, or of `message`."""
        deadline = time.monotonic() + self._settings.notification_timeout.total_seconds()
        with self._alone(key, deadline) as alone:
            if alone:
                return self._send(channel, key, message(), deadline)
            return 503, "the same notification is still being delivered"

    def _send(self, channel: str, key: str, message: Message, deadline: float) -> Outcome:
        progress = self._remembered(key, message)
        if progress.completed:
            self._metrics.suppressed.labels(channel).inc(len(message.parts))
            return 200, "delivered before"
        message = progress.message
        if progress.delivered:
            self._metrics.suppressed.labels(channel).inc(progress.delivered)
        total = len(message.parts)
        for number in range(progress.delivered, total):
            if self._stopping.is_set():
                return 503, f"shutting down with {number} of {total} messages delivered"
            left = deadline - time.monotonic()
            if left <= 0:
                return 503, f"out of time with {number} of {total} messages delivered"
            result, detail = self._post(channel, message, number, left)
            if result is not telex.Result.DELIVERED:
                logger.warning(
                    "channel %s: message %d of %d not delivered: %s (%s)",
                    channel, number + 1, total, result.value, detail,
                )  # fmt: skip
                return (503 if result.temporary else 502), f"Telex: {result.value} ({detail})"
            self._remember(lambda done=number + 1: self._deliveries.accepted(key, done))  # type: ignore[misc]
        self._remember(lambda: self._deliveries.complete(key))
        logger.info("channel %s: delivered %r in %d message(s)", channel, message.title, total)
        return 200, "delivered"

    def _post(self, channel: str, message: Message, number: int, left: float) -> tuple[telex.Result, str]:
        settings = self._settings
        started = time.monotonic()
        result, detail = telex.post(
            self._urls[channel],
            event_name=message.title,
            message=message.parts[number],
            status=message.status,
            username=settings.username,
            timeout=(
                min(settings.connect_timeout.total_seconds(), left),
                min(settings.read_timeout.total_seconds(), left),
            ),
        )
        self._metrics.duration.labels(channel).observe(time.monotonic() - started)
        self._metrics.deliveries.labels(channel, result.value).inc()
        if result is telex.Result.DELIVERED:
            self._metrics.last_success.labels(channel).set(self._clock())
        return result, detail

    def _remembered(self, key: str, message: Message) -> Progress:
        try:
            return self._deliveries.open(key, message)
        except sqlite3.Error as error:
            self._memory_failed(error)
            return Progress(message, 0, completed=False)

    def _remember(self, write: Callable[[], None]) -> None:
        try:
            write()
        except sqlite3.Error as error:
            self._memory_failed(error)

    def _memory_failed(self, error: sqlite3.Error) -> None:
        # A message twice is better than none: go on without the memory.
        self._metrics.memory_errors.inc()
        logger.error("the memory of deliveries failed: %s", error)

    @contextmanager
    def _alone(self, key: str, deadline: float) -> Iterator[bool]:
        """Hold the notification's lock, so that a retry does not post beside its first attempt."""
        with self._guard:
            lock = self._busy.setdefault(key, threading.Lock())
            self._waiting[key] = self._waiting.get(key, 0) + 1
        held = lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
        try:
            yield held
        finally:
            if held:
                lock.release()
            with self._guard:
                self._waiting[key] -= 1
                if not self._waiting[key]:
                    del self._waiting[key], self._busy[key]
