"""The digest: a message on the state of spend at fixed times, once each."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from apscheduler.triggers.cron import CronTrigger

from exporter.core.moments import Clock
from exporter.core.summary import Listed, Mover, Movers, Span, Summary, Waste
from exporter.relay.backoff import Backoff
from exporter.relay.deliveries import Deliveries, FindingKey
from exporter.relay.dispatch import Dispatcher
from exporter.relay.exporter_api import ExporterError
from exporter.relay.message import Message, split
from exporter.relay.metrics import RelayMetrics
from exporter.relay.neutral import Neutral, link
from exporter.relay.settings import RelaySettings
from exporter.relay.templating import Templates

log = logging.getLogger(__name__)

TITLE = "AWS spend digest"
_LONGEST_WAIT_SECONDS = 20.0  # so that a clock that was set is noticed
_A_WRONG_CLOCK = timedelta(days=1)
_DAY = timedelta(days=1)


class Digest:
    """Sends the digest when it is due; one thread."""

    def __init__(
        self,
        settings: RelaySettings,
        read: Callable[[int], Summary],
        dispatcher: Dispatcher,
        deliveries: Deliveries,
        metrics: RelayMetrics,
        templates: Templates,
        stopping: threading.Event,
        clock: Clock,
        backoff: Backoff = Backoff(),  # noqa: B008 # frozen
    ) -> None:
        """`read` asks the exporter for its summary with so many movers; it raises ExporterError."""
        assert settings.digest.schedule is not None
        channel = settings.digest.channel or settings.default_channel_name()
        assert channel is not None  # the settings are validated for it
        self._channel = channel
        self._settings = settings
        self._digest = settings.digest
        self._trigger = CronTrigger.from_crontab(settings.digest.schedule, timezone=UTC)
        self._read = read
        self._dispatcher = dispatcher
        self._deliveries = deliveries
        self._metrics = metrics
        self._templates = templates
        self._stopping = stopping
        self._clock = clock
        self._backoff = backoff

    def start(self) -> None:
        """Begin on a daemon thread, which ends with `stopping`."""
        threading.Thread(target=self._run, name="digest", daemon=True).start()

    def next_after(self, moment: datetime) -> datetime | None:
        """The first due time later than `moment`; None if there never is one, as for 30 February."""
        due: datetime | None = self._trigger.get_next_fire_time(None, moment + timedelta(seconds=1))
        return due

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self._step():
                    return
            except Exception:
                # No digest must end those to come; AwsSpendDigestFailing tells of one that does not get through.
                log.exception("digest failed")
                self._stopping.wait(self._backoff.longest)

    def _step(self) -> bool:
        """Wait for a while, or handle what is due; False when nothing will ever be."""
        now = self._clock()
        done = self._deliveries.digest_done(self._channel)
        if done is None or done - now > _A_WRONG_CLOCK:
            # The first start owes nothing for the time before it.
            self._deliveries.mark_digest(self._channel, now)
            done = now
        due = self.next_after(done)
        if due is None:
            log.error("digest is never due", extra={"setting": "relay.digest.schedule"})
            return False
        self._metrics.next_digest.labels(self._channel).set(due.timestamp())
        if now < due:
            self._stopping.wait(min((due - now).total_seconds(), _LONGEST_WAIT_SECONDS))
            return True
        self._handle(due, now)
        return True

    def _handle(self, due: datetime, now: datetime) -> None:
        """Of what fell due while the relay was down, the newest is sent unless it is too old."""
        newest = due if due > now - self._digest.catch_up else self.next_after(now - self._digest.catch_up)
        if newest is None or newest > now:
            log.warning("digest skipped", extra={"due": due.isoformat(), "late": str(now - due)})
            self._metrics.digests.labels("skipped").inc()
            self._deliveries.mark_digest(self._channel, now)
            return
        while (later := self.next_after(newest)) is not None and later <= now:
            newest = later
        summary = self._summary()
        if self._stopping.is_set():
            return
        result = self._send(newest, summary)
        if result is None:
            return  # the relay ends; what the channel lacks goes out after the next start
        self._metrics.digests.labels(result).inc()
        if summary is None or result != "sent":
            # What it would have listed is for the next one.
            self._deliveries.mark_digest(self._channel, newest)
            return
        listed = {_key(each) for each in summary.listed}
        self._deliveries.mark_digest(self._channel, newest, _judged(summary), listed)

    def _send(self, due: datetime, summary: Summary | None) -> str | None:
        """The result for the metric; None if the relay is to end first."""
        judged = self._deliveries.judged_days(self._channel)
        max_bytes = self._dispatcher.max_bytes(self._channel)
        listed = self._deliveries.listed_findings(self._channel)
        message = render(summary, due, self._settings, self._templates, max_bytes, judged, listed)
        key = f"digest {self._channel} {due.isoformat()}"
        for wait in self._backoff.waits():
            result = self._dispatcher.send(self._channel, key, lambda: message)
            if result.delivered:
                return "sent" if summary else "sent_unknown"
            self._metrics.digest_failures.labels("deliver").inc()
            fields = {"channel": self._channel, "due": due.isoformat(), "reason": result.reason}
            log.warning("digest not delivered", extra=fields)
            if self._clock() >= due + self._digest.catch_up:
                log.error("digest given up", extra=fields)
                return "failed"
            if self._stopping.wait(wait):
                break
        return None

    def _summary(self) -> Summary | None:
        """The exporter's answer; None if it has none for as long as is tried."""
        end = time.monotonic() + self._digest.retry_for.total_seconds()
        for wait in self._backoff.waits():
            if self._stopping.is_set():
                break
            try:
                return self._read(self._digest.movers)
            except ExporterError as error:
                self._metrics.digest_failures.labels("read").inc()
                log.warning("digest has no data", extra={"reason": str(error)})
            if time.monotonic() >= end:
                break
            self._stopping.wait(min(wait, max(0.0, end - time.monotonic())))
        return None


def render(
    summary: Summary | None,
    due: datetime,
    settings: RelaySettings,
    templates: Templates,
    max_bytes: int,
    judged: Collection[date] = (),
    listed: Collection[FindingKey] = (),
) -> Message:
    """The digest as messages of at most `max_bytes`; an error where spend is over a budget.

    `judged` are the days that earlier digests have finally compared with the daily budget, `listed` the findings that
    they have listed.
    """
    text = templates.render(
        "digest", values(summary, due, settings.dashboard_url, judged, listed, settings.digest.movers)
    )
    parts = split(text, max_bytes)[: settings.max_parts]
    return Message(TITLE, "error" if summary is None or _over(summary, judged) else "success", tuple(parts))


def values(
    summary: Summary | None,
    due: datetime,
    dashboard_url: str | None,
    judged: Collection[date] = (),
    listed_before: Collection[FindingKey] = (),
    most_listed: int = 5,
) -> dict[str, Any]:
    """What the digest's template can use."""
    url = link(dashboard_url or "")
    known: dict[str, Any] = {}
    if summary is not None:
        listed = [each for each in summary.listed if _key(each) not in listed_before]
        known = {
            "listed": listed[:most_listed],
            "listed_more": max(0, len(listed) - most_listed),
            "over_day": _exceeds(summary.yesterday.usd, summary.budget_day_usd),
            "over_settled": _over_settled(summary, judged),
            "over_month": _exceeds(summary.month_to_date.usd, summary.budget_month_usd),
            "over_projection": _exceeds(summary.projected_month_usd, summary.budget_month_usd),
            "month_ratio": _ratio(summary.month_to_date.usd, summary.budget_month_usd),
            "projected_ratio": _ratio(summary.projected_month_usd, summary.budget_month_usd),
            "week_change": _change(summary.last_7_days.usd, summary.previous_7_days.usd),
        }
    return {
        "title": TITLE,
        "due": due,
        "summary": summary,
        "links": [Neutral(f"Dashboard: {url}")] if url else [],
        **known,
    }


def samples() -> list[dict[str, Any]]:
    """Digests of every kind, to try a template on."""
    at = datetime(2026, 1, 5, 8, tzinfo=UTC)
    usd = Decimal("12.34")
    span = Span(start=at.date(), end=at.date(), usd=usd, settled=True)
    over = Span(start=at.date() - _DAY, end=at.date() - _DAY, usd=usd * 2, settled=True)
    unread = Span(start=at.date(), end=at.date(), usd=None)
    mover = Mover(account_id="111111111111", account="prod", service="Amazon EC2", usd=usd, change_usd=-usd)
    movers = Movers(
        start=span.start, end=span.end, before_start=span.start, before_end=span.end, top=(mover,)
    )
    waste = Waste(account_id="111111111111", account="prod", resource_type="ebs_volume", reason="x", usd=usd)
    listed = Listed(
        day=span.start, account_id="111111111111", account="prod", service="Amazon EC2", kind="dip", usd=-usd,
        decided_at=at,
    )  # fmt: skip
    full = Summary(
        now=at, read_at=at, cost_type="unblended", yesterday=span, last_7_days=span, previous_7_days=span,
        month_to_date=span, budget_day_usd=usd, budget_month_usd=usd, projected_month_usd=usd,
        settled_days=(over,), movers_day=movers, movers_week=movers, waste_usd=usd, waste=(waste,), listed=(listed,) * 6,
    )  # fmt: skip
    bare = Summary(
        now=at, read_at=None, cost_type="unblended", yesterday=unread, last_7_days=unread,
        previous_7_days=unread, month_to_date=unread, budget_day_usd=None, budget_month_usd=None,
        projected_month_usd=None, movers_day=None, movers_week=None, waste_usd=None, waste=(),
    )  # fmt: skip
    return [values(summary, at, "https://grafana.example/d/aws") for summary in (full, bare, None)]


def _over(summary: Summary, judged: Collection[date]) -> bool:
    # Equal to the threshold is within it.
    return (
        _exceeds(summary.yesterday.usd, summary.budget_day_usd)
        or bool(_over_settled(summary, judged))
        or _exceeds(summary.month_to_date.usd, summary.budget_month_usd)
    )


def _over_settled(summary: Summary, judged: Collection[date]) -> tuple[Span, ...]:
    """The settled days over the budget that no digest has reported as such, neither as yesterday nor as settled.

    A day passes its budget after the digest on it as yesterday; where digests do not go out each day, several do. The
    first digest of a channel looks at the newest only.
    """
    days = summary.settled_days if judged else summary.settled_days[-1:]
    return tuple(
        day
        for day in days
        if day.start not in judged
        and day.start != summary.yesterday.start
        and _exceeds(day.usd, summary.budget_day_usd)
    )


def _judged(summary: Summary) -> set[date]:
    """The days that need no further comparison with the budget: they are settled, or reported as over it."""
    if summary.budget_day_usd is None:
        return set()
    days = {day.start for day in summary.settled_days if day.usd is not None}
    return days | (
        {summary.yesterday.start} if _exceeds(summary.yesterday.usd, summary.budget_day_usd) else set()
    )


def _key(listed: Listed) -> FindingKey:
    return listed.day, listed.account_id, listed.service, listed.kind


def _exceeds(usd: Decimal | None, limit: Decimal | None) -> bool:
    return usd is not None and limit is not None and usd > limit


def _ratio(usd: Decimal | None, limit: Decimal | None) -> Decimal | None:
    return usd / limit if usd is not None and limit else None


def _change(now: Decimal | None, before: Decimal | None) -> Decimal | None:
    return (now - before) / before if now is not None and before is not None and before > 0 else None
