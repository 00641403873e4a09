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
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge

from exporter.core.amounts import AMOUNTS
from exporter.core.moments import Clock
from exporter.history.endpoint import BatchRefusedError, EndpointError, RemoteWriteEndpoint
from exporter.history.periods import DAY, Period, day_of, next_stamp
from exporter.history.read_back import ReadBack
from exporter.history.request import Point, encode_labels
from exporter.history.sample_timestamps import Change, DatedSource, Sent, Stamps
from exporter.history.settings import HistorySettings

log = logging.getLogger(__name__)

_BATCHES_A_CHUNK = 10  # a chunk is one transaction to reserve and one to acknowledge
_FIRST_BACKOFF = 1.0
_LONGEST_BACKOFF = 300.0
_LOOK = timedelta(minutes=10)  # how often the newest days are looked at, to notice a wiped endpoint
_LOOKED_AT_DAYS = 3
_SETTLING = timedelta(minutes=1)  # VictoriaMetrics shows a new series some ten seconds late
_AFTER_REWRITING = (timedelta(minutes=1), timedelta(hours=1))  # whether it helped
_ASKED_AGAIN_BATCHES = 10  # of samples that were refused, at a time
_ASK_AGAIN = timedelta(days=1)  # where nothing is read back
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
            "Dated samples that the endpoint refused; they are sent again when they change, and once a day.",
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
            "Days of the history that differ from the ledger: not taken, refused, or found different by the read-back.",
            registry=registry,
        )
        self.last_write = Gauge(
            f"{prefix}_last_write_timestamp_seconds", "When dated samples were last taken.", registry=registry
        )


def to_send(change: Change, names: Mapping[str, str], period: Period = DAY) -> Sent:
    """A change with its stamp and the account's name; `names` are those in force on its day."""
    name = change.name or names.get(change.account_id) or change.account_id
    return Sent(change, next_stamp(change.day, change.observed, change.last, period), name)


Encoded = dict[tuple[str, str, str, str], bytes]
"""Encoded labels by family, account id, name, and the label beside the account."""


def points(sent: Sequence[Sent], labels: Encoded, source: DatedSource) -> list[Point]:
    """What to send; `labels` remembers what was encoded."""
    found = []
    for row in sent:
        change = row.change
        key = (change.family, change.account_id, row.name, change.label)
        encoded = labels.get(key)
        if encoded is None:
            encoded = labels[key] = encode_labels(change.family, source.labels(*key))
        found.append((encoded, row.stamp, source.value(change.units)))
    return found


@dataclass(frozen=True, slots=True)
class _Hold:
    """A day of which samples were not taken, although the endpoint took others or may do so."""

    failures: int
    until: datetime
    read_at: int
    """Of the day, when it was tried: a newer reading does not wait."""


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
        self._holds: dict[date, _Hold] = {}

    @property
    def retry_at(self) -> datetime | None:
        """When samples are tried again that were neither taken nor refused."""
        return min((hold.until for hold in self._holds.values()), default=None)

    def write(self, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Send all that has changed, newest day first; returns the samples taken.

        EndpointError if the endpoint cannot be used now; what it took until then is marked. BatchRefusedError if it
        took some batches and refused others by words that are not about samples: these are left out until `retry_at`.
        """
        days = self._days_to_send()
        taken = done = 0
        refusal: BatchRefusedError | None = None
        while done < len(days) and not self._stopped():
            with self._stamps.lock:
                chunk: dict[date, int] = {}
                sent: list[Sent] = []
                for day, read_at in days[done:]:
                    sent += self._unsent(day)
                    chunk[day] = read_at
                    if len(sent) >= self._settings.batch_size * _BATCHES_A_CHUNK:
                        break
                taken_of_chunk, refused_by = self._send(sent, chunk)
            taken += taken_of_chunk
            done += len(chunk)
            progress(done, len(days))
            refusal = refused_by or refusal
            if refused_by is not None and not taken_of_chunk:
                break  # perhaps it refuses everything: the other days come first the next time
        if refusal is not None:
            refusal.taken = taken
            raise refusal
        return taken

    def _days_to_send(self) -> list[tuple[date, int]]:
        """The days that have changed, without those on hold; those that failed before come last."""
        now = self._clock()
        days = self._stamps.changed_days(*self._stamps.source.to_write(now, self._settings.window))
        read_at = dict(days)
        self._holds = {day: hold for day, hold in self._holds.items() if day in read_at}

        def waits(day: date) -> bool:
            hold = self._holds.get(day)
            return hold is not None and hold.until > now and hold.read_at == read_at[day]

        def failures(day: date) -> int:
            hold = self._holds.get(day)
            return hold.failures if hold is not None else 0

        return sorted((row for row in days if not waits(row[0])), key=lambda row: failures(row[0]))

    def _hold(self, left: Sequence[Sent], days: Mapping[date, int]) -> Mapping[date, int]:
        """Put the days of what was left over on hold, and return the others."""
        waiting = {row.change.day for row in left}
        for day in days.keys() - waiting:
            self._holds.pop(day, None)
        for day in waiting:
            failures = self._holds[day].failures + 1 if day in self._holds else 1
            backoff = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2 ** min(failures - 1, 16))
            self._holds[day] = _Hold(failures, self._clock() + timedelta(seconds=backoff), days[day])
        return {day: read_at for day, read_at in days.items() if day not in waiting}

    def _unsent(self, day: date) -> list[Sent]:
        changes = self._stamps.changes(day, self._cost_type)
        names = self._stamps.ledger.accounts.names(on=day) if changes else {}
        return [to_send(change, names, self._stamps.source.period) for change in changes]

    def _send(self, sent: list[Sent], days: Mapping[date, int]) -> tuple[int, BatchRefusedError | None]:
        """The samples taken, and why others were neither taken nor refused."""
        # Samples of one series next to each other share its labels in the request.
        sent.sort(key=lambda row: (row.change.series, row.name, row.stamp))
        self._stamps.reserve(sent)
        taken: list[Sent] = []
        refused: list[Sent] = []
        left: list[Sent] = []
        complete: Mapping[date, int] = {}
        refusal: BatchRefusedError | None = None
        try:
            size = self._settings.batch_size
            for start in range(0, len(sent), size):
                if self._stopped():
                    break
                batch = sent[start : start + size]
                try:
                    written = self._endpoint.write(points(batch, self._labels, self._stamps.source))
                except BatchRefusedError as error:
                    left += batch
                    refusal = error
                    continue
                not_taken = written.refused | written.left
                taken += [row for index, row in enumerate(batch) if index not in not_taken]
                refused += [batch[index] for index in sorted(written.refused)]
                left += [batch[index] for index in sorted(written.left)]
            else:
                complete = self._hold(left, days)
        finally:
            self._stamps.settle(taken, refused, complete)
            self._metrics.written.inc(len(taken))
            self._metrics.rejected.inc(len(refused))
            if taken:
                self._metrics.last_write.set(self._clock().timestamp())
        if left and refusal is None:
            refusal = BatchRefusedError(f"{len(left)} of {len(sent)} samples were not taken")
        if refused:
            row = refused[0]
            log.warning(
                "the history endpoint refused samples",
                extra={
                    "refused": len(refused),
                    "sent": len(sent),
                    "label": row.change.label,
                    "account_id": row.change.account_id,
                    "day": row.change.day,
                },
            )
        return len(taken), refusal


Derive = Callable[[Callable[[], bool]], bool]
"""Brings derived values up to date, a part at a time, and returns whether more is left; given what says whether to stop."""


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
        derivations: Sequence[Derive] = (),
    ) -> None:
        """`stamps` are of cost, `others` of what is written beside it. Without a `write_url` it does nothing.

        `derivations` bring dated values that follow from cost up to date, the first ones first.
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
        self._derivations = derivations
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._look_at: datetime | None = None
        self._full_at: datetime | None = None
        self._settled_at: datetime | None = None
        self._rewritten_in_a_row = 0
        self._ask_again_at: datetime | None = None
        self._differing: frozenset[date] = frozenset()
        """As the read-back found them last."""
        self._batches_refused = 0

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
        for stamps, _, _ in self._sources:
            stamps.begin(AMOUNTS.index(self._cost_type))
        self._ask_again_at = self._clock()  # perhaps the endpoint was set up better meanwhile
        read_back_at = self._ledger.facts.get(_READ_BACK_FACT)
        if self._settings.read_back is not None:
            now = self._clock()
            self._look_at = now
            self._full_at = now
            if read_back_at is not None:
                last = datetime.fromtimestamp(read_back_at, now.tzinfo)
                self._full_at = min(max(now, last + self._settings.read_back), now + self._settings.read_back)

    def _seconds_to_next(self) -> float:
        due = [writer.retry_at for _, writer, _ in self._sources] + [self._ask_again_at]
        if self._settings.read_back is not None and self._settings.query_base is not None:
            assert self._look_at is not None
            assert self._full_at is not None
            read_back = min(self._look_at, self._full_at)
            due.append(max(read_back, self._settled_at) if self._settled_at is not None else read_back)
        first = min((at for at in due if at is not None), default=None)
        if first is None:
            return 3600.0
        return min(max((first - self._clock()).total_seconds(), 0.05), 3600.0)

    def step(self) -> None:
        """Write what changed, and read back if that is due; EndpointError if the endpoint cannot be used."""
        try:
            self._step()
        finally:
            if not self._stop.is_set():
                self._metrics.divergent_dates.set(len(self._differing | self._days_behind()))

    def _days_behind(self) -> set[date]:
        """Days of which the endpoint has refused samples, or not taken all."""
        now = self._clock()
        days: set[date] = set()
        for stamps, _, _ in self._sources:
            window = self._window(stamps, now)
            days.update(map(day_of, stamps.refused(*window)))
            days.update(day_of(day) for day, _ in stamps.changed_days(*window))
        return days

    def _window(self, stamps: Stamps, now: datetime) -> tuple[date, date]:
        return stamps.source.to_write(now, self._settings.window)

    def _write(self, writer: HistoryWriter) -> int:
        """The samples taken. A batch that is refused holds nothing else up."""
        try:
            return writer.write()
        except BatchRefusedError as error:
            self._metrics.failures.inc()
            self._batches_refused += 1
            log.log(
                logging.WARNING
                if self._batches_refused in (1, 5) or self._batches_refused % 20 == 0
                else logging.DEBUG,
                "samples of the dated history are not taken",
                extra={"attempt": self._batches_refused, "error": error},
            )
            return error.taken

    def _ask_again(self) -> int | None:
        """Have refused samples sent again if that is due; how many will be left, None if it is not due."""
        now = self._clock()
        if self._ask_again_at is None or now < self._ask_again_at:
            return None
        self._ask_again_at = now + (self._settings.read_back or _ASK_AGAIN)
        left = 0
        for stamps, _, _ in self._sources:
            window = self._window(stamps, now)
            refused = sum(stamps.refused(*window).values())
            left += refused - stamps.ask_again(*window, self._settings.batch_size * _ASKED_AGAIN_BATCHES)
        return left

    def _refused(self) -> int:
        now = self._clock()
        return sum(sum(stamps.refused(*self._window(stamps, now)).values()) for stamps, _, _ in self._sources)

    def _step(self) -> None:
        began = time.monotonic()
        not_asked = self._ask_again()
        try:
            (_, cost, _), *others = self._sources
            taken = self._write(cost)
            taken += self._write_derived([writer for _, writer, _ in others])
        except EndpointError:
            self._metrics.failures.inc()
            # It may have lost what it had.
            self._look_at = self._clock()
            raise
        if not_asked and self._refused() <= not_asked:
            self._ask_again_at = self._clock()  # it takes them now
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
                if self._newest_days_differ(now):
                    self._full_at = now
                    self.notify()
                self._look_at = now + _LOOK
        except EndpointError:
            self._metrics.read_back_failures.inc()
            raise

    def _write_derived(self, writers: Sequence[HistoryWriter]) -> int:
        """Derive, and write after each step what there is; a fault of one step is raised once all others are done."""
        taken, fault = 0, None
        for derive in self._derivations:
            try:
                if derive(self._stop.is_set):
                    self.notify()  # cost that has changed meanwhile comes before the rest
            except Exception as error:
                fault = fault or error
            taken += sum(self._write(writer) for writer in writers)
        if not self._derivations:
            taken += sum(self._write(writer) for writer in writers)
        if fault is not None:
            raise fault
        return taken

    def _newest_days_differ(self, now: datetime) -> bool:
        for stamps, _, read_back in self._sources:
            first, end = self._window(stamps, now)
            newest = stamps.newest_written(end)
            if newest is not None and newest >= first:
                start = max(first, newest - timedelta(days=_LOOKED_AT_DAYS - 1))
                if read_back.differing(start, newest + stamps.source.period.length):
                    return True
        return False

    def _compare(self, now: datetime, interval: timedelta) -> None:
        """Compare everything, and have what differs written again."""
        found = [
            (read_back, read_back.differing(*self._window(stamps, now), self._stop.is_set))
            for stamps, _, read_back in self._sources
        ]
        if self._stop.is_set():
            return
        self._differing = differing = frozenset(day_of(day) for _, days in found for day in days)
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
            day_of(day)
            for read_back, days in found
            for day in read_back.rewrite(days, now, self._stop.is_set)
        }
        if given_up:
            log.warning(
                "days stay different however often they are written: are the endpoint's retention and"
                " out-of-order window shorter than history.window?",
                extra={"days": len(given_up), "first_day": min(given_up), "last_day": max(given_up)},
            )
        self.notify()
