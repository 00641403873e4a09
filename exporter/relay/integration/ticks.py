"""The work of a tick: find the answer, and post it to the return_url."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from exporter.core.moments import Clock
from exporter.relay.backoff import Backoff
from exporter.relay.channel import DeliveryResult, DeliveryStatus, Status
from exporter.relay.exporter_api import ExporterApi
from exporter.relay.integration import answer, return_url
from exporter.relay.integration.answer import NoAnswerError, Spend
from exporter.relay.integration.contract import SettingError, Tick, Wanted, read_settings, result_body
from exporter.relay.integration.return_url import Destination, RefusedUrlError
from exporter.relay.integration_settings import ReturnHost
from exporter.relay.message import split
from exporter.relay.metrics import RelayMetrics
from exporter.relay.settings import RelaySettings
from exporter.relay.templating import Templates

if TYPE_CHECKING:
    from exporter.relay.integration.own_keys import AccountCosts

log = logging.getLogger(__name__)

ATTEMPTS = 4


class RateLimit:
    """A bucket of as many ticks as a minute allows, refilled evenly; thread-safe."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts full."""
        self._size = float(per_minute)
        self._left = self._size
        self._clock = clock
        self._at = clock()
        self._lock = threading.Lock()

    def wait(self) -> float:
        """Take one: 0.0, or the seconds until there is one to take."""
        with self._lock:
            now = self._clock()
            self._left = min(self._size, self._left + (now - self._at) * self._size / 60)
            self._at = now
            if self._left >= 1:
                self._left -= 1
                return 0.0
            return (1 - self._left) * 60 / self._size


class Ticks:
    """Answers ticks in the background, a bounded number at once."""

    def __init__(
        self,
        settings: RelaySettings,
        api: ExporterApi,
        account_costs: Callable[[], AccountCosts],
        metrics: RelayMetrics,
        templates: Templates,
        stopping: threading.Event,
        clock: Clock,
        backoff: Backoff = Backoff(factor=3),  # noqa: B008 # frozen
    ) -> None:
        """`account_costs` is called with the first tick that brings AWS keys."""
        self._settings = settings
        self._integration = settings.integration
        self._hosts = tuple(ReturnHost.parse(text) for text in settings.integration.return_hosts)
        self._api = api
        self._account_costs = account_costs
        self._backoff = backoff
        self._metrics = metrics
        self._templates = templates
        self._stopping = stopping
        self._clock = clock
        running = settings.integration.max_concurrent_ticks
        self._admitted = threading.BoundedSemaphore(2 * running)
        self._running = threading.BoundedSemaphore(running)
        self._idle = threading.Condition()
        self._count = 0
        self.rate = RateLimit(settings.integration.max_ticks_per_minute)

    def check(self, tick: Tick) -> None:
        """Raise RefusedUrlError if nothing would ever be posted to the tick's return_url."""
        return_url.check_url(tick.return_url, self._hosts)

    def accept(self, tick: Tick) -> bool:
        """Answer the tick in the background; False if too many are waiting already."""
        if self._stopping.is_set() or not self._admitted.acquire(blocking=False):
            return False
        with self._idle:
            self._count += 1
        threading.Thread(target=self._run, args=(tick,), name="tick", daemon=True).start()
        return True

    def drain(self, seconds: float) -> None:
        """Wait for the ticks in work; the platform sends another one for those that are left."""
        end = time.monotonic() + seconds
        with self._idle:
            while self._count and (left := end - time.monotonic()) > 0:
                self._idle.wait(left)
            if self._count:
                log.warning("ticks are not answered, the relay ends", extra={"ticks": self._count})

    def _run(self, tick: Tick) -> None:
        try:
            with self._running:
                self._answer(tick)
        finally:
            self._admitted.release()
            with self._idle:
                self._count -= 1
                self._idle.notify_all()

    def _answer(self, tick: Tick) -> None:
        now = self._clock()
        wanted: Wanted | None = None
        spend: Spend | None = None
        problem = ""
        try:
            wanted = read_settings(tick.settings)
            spend = self._find(wanted)
            values = answer.values(wanted, spend, problem, now, self._settings.dashboard_url)
        except (SettingError, NoAnswerError) as error:
            problem = str(error)
        except Exception as error:
            # Its text may quote what it was given, and that holds keys: the place is all that is logged.
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error(
                "tick failed",
                extra={"error": type(error).__name__, "file": place.filename, "line": place.lineno},
            )
            problem = f"the relay failed ({type(error).__name__}); its log has more"
        if problem:
            values = answer.values(wanted, None, problem, now, self._settings.dashboard_url)
        text = self._templates.render("spend", values)
        outcome = "no_answer" if wanted else "bad_settings"
        if not problem:
            outcome = "above" if values["over"] else "within"
        status: Status = "success" if outcome == "within" else "error"
        # The caller has whose tick it was; a log line says how it went.
        log.info("tick answered", extra={"outcome": outcome, "problem": problem})
        self._metrics.ticks.labels(outcome).inc()
        for part in split(text, self._settings.max_message_bytes)[: self._settings.max_parts]:
            if not self._deliver(tick.return_url, result_body(part, status, self._settings.username)):
                return

    def _find(self, wanted: Wanted) -> Spend:
        today = self._clock().date()
        if wanted.keys is not None:
            seconds = self._integration.timeout.total_seconds()
            return self._account_costs().spend(wanted.keys, wanted, today, seconds)
        if not self._integration.organization:
            raise NoAnswerError("aws_access_key_id and aws_secret_access_key are needed here")
        return answer.of_organization(self._api, wanted, today)

    def _deliver(self, url: str, body: bytes) -> bool:
        for attempt, wait in enumerate(self._backoff.waits(), start=1):
            result = self._post(url, body)
            if result.delivered:
                return True
            log.warning(
                "result of a tick not delivered",
                extra={"status": result.status.value, "reason": result.reason},
            )
            if not result.temporary or attempt == ATTEMPTS or self._stopping.wait(wait):
                break
        return False

    def _post(self, url: str, body: bytes) -> DeliveryResult:
        connect = self._settings.connect_timeout.total_seconds()
        try:
            destination: Destination = return_url.resolve(url, self._hosts, return_url.lookup_within(connect))
        except RefusedUrlError as error:
            result = DeliveryResult(DeliveryStatus.REJECTED, str(error))
        except OSError as error:
            reason = f"its host has no address ({type(error).__name__})"
            result = DeliveryResult(DeliveryStatus.UNREACHABLE, reason)
        else:
            timeout = connect, self._settings.read_timeout.total_seconds()
            result = return_url.post(destination, body, timeout)
        self._metrics.results.labels(result.status.value).inc()
        return result
