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
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from exporter.core.moments import Clock, to_milliseconds
from exporter.history.endpoint import BatchRefusedError, EndpointError, RemoteWriteEndpoint
from exporter.history.live_settings import LiveWriteSettings
from exporter.history.request import Point, encode_labels

log = logging.getLogger(__name__)

LiveSample = tuple[str, Mapping[str, str], float]
"""The name of a series, its labels, and its value now."""

_STALE: float = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
"""Prometheus' staleness marker, one particular NaN."""
_BATCH = 2000


class LiveWriteMetrics:
    """Self metrics; they exist where live writing is on."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """`registry` is the one that is scraped."""
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
    """Pushes on a separate thread; does nothing without a `url`."""

    def __init__(
        self,
        settings: LiveWriteSettings,
        samples: Callable[[], Iterable[LiveSample]],
        clock: Clock,
        metrics: LiveWriteMetrics | None,
    ) -> None:
        """`samples` returns what a scrape would read now."""
        self._settings = settings
        self._read = samples
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
                    logging.DEBUG if failing else logging.WARNING,
                    "live samples are not written",
                    extra={"error": error},
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
        added = self._settings.labels
        points = [(encode_labels("up", added), at, 1.0)]
        # As with a scrape, a label of ours gives way to what the sample has itself.
        points += [
            (encode_labels(name, {**added, **labels}), at, value) for name, labels, value in self._read()
        ]
        alive = frozenset(labels for labels, _, _ in points)
        points += [(labels, at, _STALE) for labels in self._alive - alive]
        refused = 0
        left: list[Point] = []
        why = ""
        for start in range(0, len(points), _BATCH):
            batch: list[Point] = points[start : start + _BATCH]
            try:
                written = self._endpoint.write(batch)
            except BatchRefusedError as error:
                left += batch
                why = f": {error}"
                continue  # the other batches may be taken
            refused += len(written.refused)
            left += [batch[index] for index in written.left]
        # The end of a series is sent until it is taken.
        self._alive = alive | {labels for labels, _, _ in left}
        if self._metrics is not None:
            self._metrics.rejected.inc(refused)
            if refused + len(left) < len(points):
                self._metrics.last.set(now.timestamp())
        if left:
            raise EndpointError(f"{len(left)} of {len(points)} samples were not taken{why}")
        return len(points) - refused
