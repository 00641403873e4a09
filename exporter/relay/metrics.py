"""The relay's own metrics."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from exporter.relay.channel import ATTEMPT_STATUSES
from exporter.relay.templating import NAMES

PREFIX = "aws_spend_exporter_relay_"
REFUSALS = (
    "malformed",
    "too_large",
    "too_slow",
    "unauthorized",
    "from_a_page",
    "unknown_channel",
    "overloaded",
    "rate_limited",
    "return_url",
)
TICK_OUTCOMES = ("within", "above", "no_answer", "bad_settings")
DIGEST_RESULTS = ("sent", "sent_unknown", "failed", "skipped")


def package_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("aws-spend-exporter")
    except PackageNotFoundError:
        return "unknown"


class RelayMetrics:
    """Families of the relay in a separate registry; counters start at 0 for every configured channel."""

    def __init__(self, channels: Iterable[str]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True)
        self._add_deliveries()
        self._add_messages()
        self._start_at_zero(channels)
        Gauge(
            PREFIX + "build_info",
            "The running version; always 1.",
            ["version"],
            registry=self.registry,
        ).labels(package_version()).set(1)

    def _add_deliveries(self) -> None:
        self.deliveries = Counter(
            PREFIX + "deliveries_total",
            "Attempts to post a message to a channel, by how they ended.",
            ["channel", "result"],
            registry=self.registry,
        )
        self.duration = Histogram(
            PREFIX + "delivery_duration_seconds",
            "Time of one attempt to post a message to a channel.",
            ["channel"],
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self.last_success = Gauge(
            PREFIX + "last_success_timestamp_seconds",
            "When the channel last accepted a message; absent until it has.",
            ["channel"],
            registry=self.registry,
        )
        self.notifications = Counter(
            PREFIX + "notifications_total",
            "Notifications of Alertmanager that were read, by the HTTP status answered.",
            ["channel", "code"],
            registry=self.registry,
        )
        self.suppressed = Counter(
            PREFIX + "suppressed_parts_total",
            "Message parts that were not posted again because the channel had accepted them before.",
            ["channel"],
            registry=self.registry,
        )
        self.unknown_answers = Counter(
            PREFIX + "unknown_answers_total",
            "Messages that the channel took by its HTTP status, with an answer of no documented form; they count as"
            " delivered.",
            ["channel"],
            registry=self.registry,
        )
        self.refused = Counter(
            PREFIX + "refused_requests_total",
            "Requests that were refused before any delivery.",
            ["reason"],
            registry=self.registry,
        )
        self.memory_errors = Counter(
            PREFIX + "memory_errors_total",
            "Failures to read or write the memory of deliveries on disk; the messages went out without it.",
            registry=self.registry,
        )
        self.memory_on_disk = Gauge(
            PREFIX + "memory_on_disk",
            "Whether deliveries are remembered on disk; 0: by the process alone, until the disk can be written.",
            registry=self.registry,
        )

    def _add_messages(self) -> None:
        self.template_failures = Counter(
            PREFIX + "template_failures_total",
            "Messages that a template of the configuration failed on; they went out in the built-in form.",
            ["template"],
            registry=self.registry,
        )
        self.digests = Counter(
            PREFIX + "digests_total",
            "Scheduled digests: sent, sent without the exporter's answer, failed to reach the channel, or skipped because"
            " the relay was down for longer than it catches up.",
            ["result"],
            registry=self.registry,
        )
        self.digest_failures = Counter(
            PREFIX + "digest_failures_total",
            "Failures to read the exporter for a digest or to deliver it; they are tried again.",
            ["step"],
            registry=self.registry,
        )
        self.next_digest = Gauge(
            PREFIX + "digest_next_timestamp_seconds",
            "When the next digest is due; absent without a schedule.",
            ["channel"],
            registry=self.registry,
        )
        self.ticks = Counter(
            PREFIX + "integration_ticks_total",
            "Ticks of the integration that were answered, by what came of them.",
            ["outcome"],
            registry=self.registry,
        )
        self.results = Counter(
            PREFIX + "integration_results_total",
            "Attempts to post a tick's result to its return_url, by how they ended.",
            ["result"],
            registry=self.registry,
        )

    def _start_at_zero(self, channels: Iterable[str]) -> None:
        """Otherwise `increase()` misses the first of each."""
        for channel in channels:
            for result in ATTEMPT_STATUSES:
                self.deliveries.labels(channel, result.value)
            for code in ("200", "502", "503"):
                self.notifications.labels(channel, code)
            self.duration.labels(channel)
            self.suppressed.labels(channel)
            self.unknown_answers.labels(channel)
        for outcome in TICK_OUTCOMES:
            self.ticks.labels(outcome)
        for result in ATTEMPT_STATUSES:
            self.results.labels(result.value)
        for template in NAMES:
            self.template_failures.labels(template)
        for digest_result in DIGEST_RESULTS:
            self.digests.labels(digest_result)
        for step in ("read", "deliver"):
            self.digest_failures.labels(step)
        for reason in REFUSALS:
            self.refused.labels(reason)
