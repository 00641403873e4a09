"""The current samples by remote write, for where nothing scrapes the exporter, e.g. as a sidecar.

Each push is what a scrape at that moment would have read, with `up` as 1. A push that fails is counted
and dropped: the next one carries newer samples. A series that is gone is ended by a staleness marker, as
Prometheus ends it after a scrape.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.parser import text_string_to_metric_families

from exporter.core.moments import Clock, to_milliseconds
from exporter.history.endpoint import EndpointError, RemoteWriteEndpoint
from exporter.history.live_settings import LiveWriteSettings
from exporter.history.request import Point, encode_labels

log = logging.getLogger(__name__)

_STALE: float = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
"""Prometheus' staleness marker, one particular NaN."""
_BATCH = 2000


class LiveWriteMetrics:
    """Self metrics; they exist where live writing is on."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Registers them."""
        prefix = "aws_spend_exporter_live_write"
        self.failures = Counter(
            f"{prefix}_failures_total", "Pushes of the current samples that failed.", registry=registry
        )
        self.rejected = Counter(
            f"{prefix}_samples_rejected_total",
            "Current samples that the endpoint refused.",
            registry=registry,
        )
        self.last = Gauge(
            f"{prefix}_last_success_timestamp_seconds",
            "When current samples were last taken; 0 before the first.",
            registry=registry,
        )


class LiveWrite:
    """Pushes on a thread of its own; does nothing without a `url`."""

    def __init__(
        self,
        settings: LiveWriteSettings,
        exposition: Callable[[], bytes],
        clock: Clock,
        metrics: LiveWriteMetrics | None,
    ) -> None:
        """`exposition` is the text that a scrape would read."""
        self._settings = settings
        self._exposition = exposition
        self._clock = clock
        self._metrics = metrics
        self._endpoint = RemoteWriteEndpoint(settings.endpoint())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-write", daemon=True)
        self._alive: frozenset[bytes] = frozenset()

    def start(self) -> None:
        """Push from now on."""
        if self._settings.url is not None:
            self._thread.start()

    def stop(self, timeout: float) -> None:
        """End within `timeout` seconds; a push that is on its way is not waited for any longer."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        interval = self._settings.interval.total_seconds()
        failing = False
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                self.push()
                failing = False
            except EndpointError as error:
                self._failed()
                log.log(
                    logging.DEBUG if failing else logging.WARNING, "live samples are not written: %s", error
                )
                failing = True
            except Exception:
                self._failed()
                log.exception("live samples cannot be written")
            due = max(due + interval, time.monotonic())
            self._stop.wait(due - time.monotonic())
        self._endpoint.close()

    def _failed(self) -> None:
        if self._metrics is not None:
            self._metrics.failures.inc()

    def push(self) -> int:
        """Send the samples of this moment; returns how many; EndpointError if the endpoint cannot be used."""
        now = self._clock()
        at = to_milliseconds(now)
        points = [(labels, at, value) for labels, value in self._samples(self._exposition().decode())]
        alive = frozenset(labels for labels, _, _ in points)
        points += [(labels, at, _STALE) for labels in self._alive - alive]
        refused = 0
        for start in range(0, len(points), _BATCH):
            batch: list[Point] = points[start : start + _BATCH]
            refused += len(self._endpoint.write(batch))
        self._alive = alive
        if self._metrics is not None:
            self._metrics.rejected.inc(refused)
            if refused < len(points):
                self._metrics.last.set(now.timestamp())
        return len(points) - refused

    def _samples(self, text: str) -> Iterable[tuple[bytes, float]]:
        added = self._settings.labels
        yield encode_labels("up", added), 1.0
        families: Iterable[Any] = text_string_to_metric_families(text)
        for family in families:
            for sample in family.samples:
                # As with a scrape, a label of our own gives way to what the sample says of itself.
                yield encode_labels(sample.name, {**added, **sample.labels}), float(sample.value)
