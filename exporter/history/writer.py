"""Cost and usage at their true dates: writes what changed in the ledger to Prometheus, and has it compared and fixed.

The ledger is the queue. What the endpoint acknowledged is marked, all else is sent again, so that
neither an endpoint that is down nor the end of this process loses or doubles anything.
"""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge

from exporter.core.amounts import AMOUNTS
from exporter.core.moments import Clock
from exporter.history.endpoint import EndpointError, RemoteWriteEndpoint
from exporter.history.read_back import ReadBack
from exporter.history.request import Point, encode_labels
from exporter.history.sample_timestamps import Change, DatedSource, Sent, Stamps, next_stamp
from exporter.history.settings import HistorySettings

log = logging.getLogger(__name__)

_BATCHES_A_CHUNK = 10  # a chunk is one transaction to reserve and one to acknowledge
_FIRST_BACKOFF = 1.0
_LONGEST_BACKOFF = 300.0
_LOOK = timedelta(minutes=10)  # how often the newest days are looked at, to notice a wiped endpoint
_LOOKED_AT_DAYS = 3
_SETTLING = timedelta(minutes=1)  # VictoriaMetrics shows a new series some ten seconds late
_AFTER_REWRITING = (timedelta(minutes=1), timedelta(hours=1))  # whether it helped
_READ_BACK_FACT = "history_read_back_at"


class HistoryMetrics:
    """Self metrics of the dated history."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """`registry` is the one that is scraped."""
        prefix = "aws_spend_exporter_history"
        self.written = Counter(
            f"{prefix}_samples_written_total", "Dated samples that the endpoint took.", registry=registry
        )
        self.rejected = Counter(
            f"{prefix}_samples_rejected_total",
            "Dated samples that the endpoint refused; they are not sent again until they change.",
            registry=registry,
        )
        self.failures = Counter(
            f"{prefix}_write_failures_total", "Writes that failed and are tried again.", registry=registry
        )
        self.read_back_failures = Counter(
            f"{prefix}_read_back_failures_total",
            "Read-backs that the endpoint did not answer.",
            registry=registry,
        )
        self.divergent_dates = Gauge(
            f"{prefix}_divergent_dates",
            "Days that differed from the ledger when the history was last read back.",
            registry=registry,
        )
        self.last_write = Gauge(
            f"{prefix}_last_write_timestamp_seconds", "When dated samples were last taken.", registry=registry
        )


def days_to_write(now: datetime, window: timedelta) -> tuple[date, date]:
    """The days that may be written: complete, and their noon within the window."""
    first = (now - window).date() + timedelta(days=1)
    return first, now.date()


def to_send(change: Change, names: Mapping[str, str]) -> Sent:
    """A change with its stamp and the account's name; `names` are those in force on its day."""
    name = change.name or names.get(change.account_id) or change.account_id
    return Sent(change, next_stamp(change.day, change.observed, change.last), name)


Encoded = dict[tuple[str, str, str, str], bytes]
"""Encoded labels by family, account id, name, and the label beside the account."""


def points(sent: Sequence[Sent], labels: Encoded, source: DatedSource) -> list[Point]:
    """What to send; `labels` remembers what was encoded."""
    found = []
    names = source.labels
    for row in sent:
        change = row.change
        key = (change.family, change.account_id, row.name, change.label)
        encoded = labels.get(key)
        if encoded is None:
            encoded = labels[key] = encode_labels(
                change.family, dict(zip(names[change.family], key[1:], strict=True))
            )
        found.append((encoded, row.stamp, source.value(change.units)))
    return found


class HistoryWriter:
    """Brings one endpoint up to date with one source of the ledger."""

    def __init__(
        self,
        settings: HistorySettings,
        cost_type: str,
        stamps: Stamps,
        endpoint: RemoteWriteEndpoint,
        clock: Clock,
        metrics: HistoryMetrics,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings
        self._cost_type = cost_type
        self._stamps = stamps
        self._endpoint = endpoint
        self._clock = clock
        self._metrics = metrics
        self._stopped = stopped
        self._labels: Encoded = {}

    def write(self, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Send all that has changed, newest day first; returns the samples taken.

        EndpointError if the endpoint cannot be used now; what it took until then is marked.
        """
        days = self._stamps.changed_days(*days_to_write(self._clock(), self._settings.window))
        taken = done = 0
        while done < len(days) and not self._stopped():
            with self._stamps.lock:
                chunk: dict[date, int] = {}
                sent: list[Sent] = []
                for day, read_at in days[done:]:
                    sent += self._unsent(day)
                    chunk[day] = read_at
                    if len(sent) >= self._settings.batch_size * _BATCHES_A_CHUNK:
                        break
                taken += self._send(sent, chunk)
            done += len(chunk)
            progress(done, len(days))
        return taken

    def _unsent(self, day: date) -> list[Sent]:
        changes = self._stamps.changes(day, self._cost_type)
        names = self._stamps.ledger.accounts.names(on=day) if changes else {}
        return [to_send(change, names) for change in changes]

    def _send(self, sent: list[Sent], days: Mapping[date, int]) -> int:
        # Samples of one series next to each other share its labels in the request.
        sent.sort(key=lambda row: (row.change.series, row.name, row.stamp))
        self._stamps.reserve(sent)
        taken: list[Sent] = []
        refused: list[Sent] = []
        complete: Mapping[date, int] = {}
        try:
            size = self._settings.batch_size
            for start in range(0, len(sent), size):
                if self._stopped():
                    break
                batch = sent[start : start + size]
                bad = self._endpoint.write(points(batch, self._labels, self._stamps.source))
                taken += [row for index, row in enumerate(batch) if index not in bad]
                refused += [batch[index] for index in sorted(bad)]
            else:
                complete = days
        finally:
            self._stamps.settle(taken, refused, complete)
            self._metrics.written.inc(len(taken))
            self._metrics.rejected.inc(len(refused))
            if taken:
                self._metrics.last_write.set(self._clock().timestamp())
        if refused:
            row = refused[0]
            log.warning(
                "the history endpoint refused samples for good",
                extra={
                    "refused": len(refused),
                    "sent": len(sent),
                    "label": row.change.label,
                    "account_id": row.change.account_id,
                    "day": row.change.day,
                },
            )
        return len(taken)


class History:
    """Keeps the dated history up to date on a separate thread, so that it never delays collection."""

    def __init__(
        self,
        settings: HistorySettings,
        cost_type: str,
        stamps: Stamps,
        clock: Clock,
        metrics: HistoryMetrics,
        others: Sequence[Stamps] = (),
        derive: Callable[[Callable[[], bool]], bool] = lambda stopped: False,
    ) -> None:
        """`stamps` are of cost, `others` of what is written beside it. Without a `write_url` it does nothing.

        `derive` brings dated values that follow from cost up to date, a part at a time, and returns whether
        more is left; it is given what says whether to stop.
        """
        self._settings = settings
        self._ledger = stamps.ledger
        self._clock = clock
        self._metrics = metrics
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._endpoint = RemoteWriteEndpoint(settings)
        self._sources = [
            (
                each,
                HistoryWriter(settings, cost_type, each, self._endpoint, clock, metrics, self._stop.is_set),
                ReadBack(self._endpoint, each),
            )
            for each in (stamps, *others)
        ]
        self._cost_type = cost_type
        self._derive = derive
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._look_at: datetime | None = None
        self._full_at: datetime | None = None
        self._settled_at: datetime | None = None
        self._rewritten_in_a_row = 0

    def start(self) -> None:
        """Write what the ledger holds already, and from now on what is committed to it."""
        if self._settings.write_url is not None:
            self._thread.start()

    def notify(self) -> None:
        """The ledger has changed."""
        self._wake.set()

    def stop(self, timeout: float) -> bool:
        """End within `timeout` seconds; False if a request is still in flight."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # The thread

    def _run(self) -> None:
        failures = 0
        begun = False
        while True:
            # In this order: `stop` sets both, and what it sets in between must not be cleared.
            self._wake.clear()
            if self._stop.is_set():
                break
            try:
                if not begun:
                    self._begin()
                    begun = True
                self.step()
                failures = 0
            except EndpointError as error:
                if self._stop.is_set():
                    break
                backoff = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2 ** min(failures, 16))
                wait = max(error.retry_after, random.uniform(backoff / 2, backoff))
                failures += 1
                log.log(
                    logging.WARNING if failures in (1, 5) or failures % 20 == 0 else logging.DEBUG,
                    "the dated history is behind",
                    extra={"attempt": failures, "retry_seconds": round(wait), "error": error},
                )
                self._stop.wait(wait)
                continue
            except Exception as error:
                if self._stop.is_set() and isinstance(error, sqlite3.ProgrammingError):
                    break  # the ledger was closed: what was in flight is sent again by the next process
                # A fault of ours, or e.g. a full disk: it is tried again in any case.
                log.exception("the dated history cannot be written")
                self._metrics.failures.inc()
                failures += 1
                self._stop.wait(min(_LONGEST_BACKOFF, 10.0 * failures))
                continue
            self._wake.wait(self._seconds_to_next())
        self._endpoint.close()

    def _begin(self) -> None:
        # Refused samples have their chance once a process: perhaps the endpoint was set up better.
        for stamps, _, _ in self._sources:
            stamps.begin(AMOUNTS.index(self._cost_type))
        read_back_at = self._ledger.facts.get(_READ_BACK_FACT)
        if self._settings.read_back is not None:
            now = self._clock()
            self._look_at = now
            self._full_at = now
            if read_back_at is not None:
                last = datetime.fromtimestamp(read_back_at, now.tzinfo)
                self._full_at = min(max(now, last + self._settings.read_back), now + self._settings.read_back)

    def _seconds_to_next(self) -> float:
        if self._settings.read_back is None or self._settings.query_base is None:
            return 3600.0
        assert self._look_at is not None
        assert self._full_at is not None
        due = min(self._look_at, self._full_at)
        if self._settled_at is not None:
            due = max(due, self._settled_at)
        return min(max((due - self._clock()).total_seconds(), 0.05), 3600.0)

    def step(self) -> None:
        """Write what changed, and read back if that is due; EndpointError if the endpoint cannot be used."""
        began = time.monotonic()
        try:
            (_, cost, _), *others = self._sources
            taken = cost.write()
            try:
                if self._derive(self._stop.is_set):
                    self.notify()  # cost that has changed meanwhile comes before the rest
            finally:
                taken += sum(writer.write() for _, writer, _ in others)
        except EndpointError:
            self._metrics.failures.inc()
            # It may have lost what it had.
            self._look_at = self._clock()
            raise
        now = self._clock()
        if taken:
            log.info(
                "dated samples are written",
                extra={"samples": taken, "seconds": round(time.monotonic() - began, 1)},
            )
            self._settled_at = now + _SETTLING
        if self._settings.read_back is None or self._settings.query_base is None or self._stop.is_set():
            return
        if self._settled_at is not None and now < self._settled_at:
            return
        assert self._look_at is not None
        assert self._full_at is not None
        try:
            if now >= self._full_at:
                self._compare(now, self._settings.read_back)
            elif now >= self._look_at:
                if self._newest_days_differ(*days_to_write(now, self._settings.window)):
                    self._full_at = now
                    self.notify()
                self._look_at = now + _LOOK
        except EndpointError:
            self._metrics.read_back_failures.inc()
            raise

    def _newest_days_differ(self, first: date, end: date) -> bool:
        for stamps, _, read_back in self._sources:
            newest = stamps.newest_written(end)
            if newest is not None and newest >= first:
                start = max(first, newest - timedelta(days=_LOOKED_AT_DAYS - 1))
                if read_back.differing(start, newest + timedelta(days=1)):
                    return True
        return False

    def _compare(self, now: datetime, interval: timedelta) -> None:
        """Compare everything, and have what differs written again."""
        first, end = days_to_write(now, self._settings.window)
        found = [
            (read_back, read_back.differing(first, end, self._stop.is_set))
            for _, _, read_back in self._sources
        ]
        if self._stop.is_set():
            return
        differing = {day for _, days in found for day in days}
        self._metrics.divergent_dates.set(len(differing))
        self._ledger.facts.remember(_READ_BACK_FACT, int(now.timestamp()))
        self._look_at = now + _LOOK
        if not differing:
            self._rewritten_in_a_row = 0
            self._full_at = now + interval
            return
        log.warning(
            "the dated history differs from the ledger",
            extra={"days": len(differing), "first_day": min(differing), "last_day": max(differing)},
        )
        step = self._rewritten_in_a_row
        self._rewritten_in_a_row += 1
        self._full_at = now + min(
            interval, _AFTER_REWRITING[step] if step < len(_AFTER_REWRITING) else interval
        )
        given_up = {
            day for read_back, days in found for day in read_back.rewrite(days, now, self._stop.is_set)
        }
        if given_up:
            log.warning(
                "days stay different however often they are written: are the endpoint's retention and"
                " out-of-order window shorter than history.window?",
                extra={"days": len(given_up), "first_day": min(given_up), "last_day": max(given_up)},
            )
        self.notify()
