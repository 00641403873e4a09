"""One notification to one channel: render it, skip the parts that the channel has, post the rest."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from exporter.relay.alertmanager import Notification
from exporter.relay.channel import Channel, ChannelMessage, DeliveryResult, DeliveryStatus
from exporter.relay.deliveries import Deliveries
from exporter.relay.message import Links, Message, render
from exporter.relay.metrics import RelayMetrics
from exporter.relay.settings import RelaySettings
from exporter.relay.templating import Templates

log = logging.getLogger(__name__)


class Dispatcher:
    """Delivers notifications; safe for threads, one of which at a time works on the same notification."""

    def __init__(
        self,
        settings: RelaySettings,
        channels: Mapping[str, Channel],
        deliveries: Deliveries,
        metrics: RelayMetrics,
        stopping: threading.Event,
        templates: Templates,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._channels = channels
        self._deliveries = deliveries
        self._metrics = metrics
        self._stopping = stopping
        self._templates = templates
        self._clock = clock
        self._links = Links(settings.dashboard_url, settings.runbook_url)
        self._busy: dict[str, threading.Lock] = {}
        self._waiting: dict[str, int] = {}
        self._warned: set[str] = set()
        self._guard = threading.Lock()

    def max_bytes(self, channel: str) -> int:
        """The longest message to a channel: as configured, or as its kind takes it."""
        return min(self._settings.max_message_bytes, self._channels[channel].kind.max_message_bytes)

    def deliver(self, channel: str, notification: Notification) -> DeliveryResult:
        """Deliver all parts of a notification, or as many as the channel takes now."""
        result = self.send(
            channel,
            notification.identity(channel),
            lambda: render(
                notification,
                self._links,
                self.max_bytes(channel),
                self._settings.max_parts,
                self._templates,
            ),
        )
        self._metrics.notifications.labels(channel, str(result.http_status)).inc()
        return result

    def send(self, channel: str, key: str, message: Callable[[], Message]) -> DeliveryResult:
        """Deliver what the channel does not have yet of the message remembered under `key`, or of `message`."""
        deadline = time.monotonic() + self._settings.notification_timeout.total_seconds()
        with self._alone(key, deadline) as alone:
            if alone:
                return self._send(channel, key, message(), deadline)
            return _interrupted("the same notification is still being delivered")

    def _send(self, channel: str, key: str, message: Message, deadline: float) -> DeliveryResult:
        progress = self._deliveries.open(key, message)
        if progress.completed:
            self._metrics.suppressed.labels(channel).inc(len(message.parts))
            return DeliveryResult(DeliveryStatus.DELIVERED, "delivered before")
        message = progress.message
        if progress.delivered:
            self._metrics.suppressed.labels(channel).inc(progress.delivered)
        total = len(message.parts)
        for number in range(progress.delivered, total):
            if self._stopping.is_set():
                return _interrupted(f"shutting down with {number} of {total} messages delivered")
            left = deadline - time.monotonic()
            if left <= 0:
                return _interrupted(f"out of time with {number} of {total} messages delivered")
            result = self._post(channel, message, number, left)
            if not result.delivered:
                log.warning(
                    "message not delivered",
                    extra={
                        "channel": channel,
                        "part": number + 1,
                        "parts": total,
                        "status": result.status.value,
                        "reason": result.reason,
                    },
                )
                kind = self._channels[channel].kind
                return DeliveryResult(result.status, f"{kind.title}: {result.status} ({result.reason})")
            self._deliveries.accepted(key, message, number + 1)
        self._deliveries.complete(key, message)
        log.info("delivered", extra={"channel": channel, "title": message.title, "parts": total})
        return DeliveryResult(DeliveryStatus.DELIVERED, "delivered")

    def _post(self, channel: str, message: Message, number: int, left: float) -> DeliveryResult:
        settings = self._settings
        started = time.monotonic()
        result = self._channels[channel].post(
            ChannelMessage(
                title=message.title,
                text=message.parts[number],
                status=message.status,
                sender=settings.username,
            ),
            (
                min(settings.connect_timeout.total_seconds(), left),
                min(settings.read_timeout.total_seconds(), left),
            ),
        )
        self._metrics.duration.labels(channel).observe(time.monotonic() - started)
        self._metrics.deliveries.labels(channel, result.status.value).inc()
        if result.delivered:
            self._metrics.last_success.labels(channel).set(self._clock())
        if not result.understood:
            self._not_understood(channel, result)
        return result

    def _not_understood(self, channel: str, result: DeliveryResult) -> None:
        self._metrics.unknown_answers.labels(channel).inc()
        with self._guard:
            first = channel not in self._warned
            self._warned.add(channel)
        if first:  # the metric counts the others
            log.warning(
                "the channel's answer is not understood, its messages count as delivered",
                extra={"channel": channel, "reason": result.reason},
            )

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


def _interrupted(reason: str) -> DeliveryResult:
    return DeliveryResult(DeliveryStatus.INTERRUPTED, reason)
