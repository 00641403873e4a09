"""The digest is sent once when it is due, says what is unknown, and survives failures and restarts."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from relay_harness import HANG, TOKEN, ExporterWire, Telex
from waiting import wait_for

from exporter.relay.backoff import Backoff
from exporter.relay.channel import Channel
from exporter.relay.channels import default_kind
from exporter.relay.deliveries import Deliveries
from exporter.relay.digest import Digest
from exporter.relay.dispatch import Dispatcher
from exporter.relay.exporter_api import ExporterApi
from exporter.relay.message import Message
from exporter.relay.metrics import RelayMetrics
from exporter.relay.settings import RelaySettings
from exporter.relay.templating import Templates
from exporter.web.credentials import BearerToken, Secret

DUE = datetime(2026, 3, 20, 8, tzinfo=UTC)


def span(start: str, end: str, usd: str | None, **more: Any) -> dict[str, Any]:
    return {"start": start, "end": end, "usd": usd, **more}


SUMMARY = {
    "now": "2026-03-20T08:00:00Z",
    "read_at": "2026-03-20T06:30:00Z",
    "cost_type": "unblended",
    "yesterday": span("2026-03-19", "2026-03-19", "1532.204"),
    "last_7_days": span("2026-03-12", "2026-03-18", "9000", settled=True),
    "previous_7_days": span("2026-03-05", "2026-03-11", "7200"),
    "month_to_date": span("2026-03-01", "2026-03-20", "24000.5"),
    "budget_day_usd": "1500",
    "budget_month_usd": "48001",
    "projected_month_usd": "52000.00",
    "movers_day": {
        "start": "2026-03-18", "end": "2026-03-18", "before_start": "2026-03-17", "before_end": "2026-03-17",
        "top": [
            {"account_id": "111111111111", "account": "prod <b>", "service": "Amazon EC2", "usd": "700", "change_usd": "120.5"},
            {"account_id": "222222222222", "account": "222222222222", "service": "AWS Lambda", "usd": "0", "change_usd": "-9"},
        ],
    },
    "movers_week": {
        "start": "2026-03-12", "end": "2026-03-18", "before_start": "2026-03-05", "before_end": "2026-03-11", "top": [],
    },
    "waste_usd": "43.20",
    "waste": [
        {"account_id": "111111111111", "account": "prod", "resource_type": "ebs_volume", "reason": "unattached", "usd": "43.20"}
    ],
    "newer": {"field": 1},
}  # fmt: skip
TEXT = """\
AWS spend digest, 2026-03-20 08:00 UTC
Cost type: unblended
Yesterday (2026-03-19): $1,532.20, AWS may still add to it; threshold $1,500.00 a day: over it
Newest 7 complete days (2026-03-12 to 2026-03-18): $9,000.00, 25% more than the 7 days before
Month to date (2026-03-01 to 2026-03-20): $24,000.50, 50% of the budget of $48,001.00
Projected for the whole month: $52,000.00, 108.3% of the budget: would be over it

Biggest movers, 2026-03-18 against 2026-03-17:
+$120.50  prod ‹b› (111111111111), Amazon EC2: $700.00
-$9.00  222222222222, AWS Lambda: $0.00

Biggest movers, 2026-03-12 to 2026-03-18 against 2026-03-05 to 2026-03-11: none

Waste: $43.20 a month at list prices
$43.20  prod (111111111111), ebs_volume: unattached
Read from AWS: 2026-03-20 06:30 UTC
Dashboard: https://grafana.example/d/aws"""
UNKNOWN = {
    **dict.fromkeys(("read_at", "budget_day_usd", "budget_month_usd", "projected_month_usd")),
    **dict.fromkeys(("movers_day", "movers_week", "waste_usd")),
    **{key: span("2026-03-19", "2026-03-19", None) for key in ("yesterday", "last_7_days", "previous_7_days", "month_to_date")},
    "now": "2026-03-20T08:00:00Z",
    "cost_type": "unblended",
    "waste": [],
}  # fmt: skip


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Running:
    """A relay's digest on its own thread, with everything it works with."""

    def __init__(self, digest: Digest, metrics: RelayMetrics, stopping: threading.Event) -> None:
        self.digest = digest
        self.metrics = metrics
        self.stopping = stopping

    def count(self, name: str, label: str = "result", **labels: str) -> dict[str, float]:
        """The series of a counter that are not 0, by one label."""
        found = self.metrics.registry.collect()
        return {
            sample.labels[label]: sample.value
            for family in found
            for sample in family.samples
            if sample.name == f"aws_spend_exporter_relay_{name}" and sample.value
        }


@contextmanager
def running(
    folder: Path,
    telex: Telex,
    exporter: ExporterWire,
    clock: Callable[[], datetime],
    token: str = TOKEN,
    backoff: Backoff = Backoff(),  # noqa: B008 # frozen
    **digest: Any,
) -> Iterator[Running]:
    settings = RelaySettings(
        channels={"default": {"url_env": "U"}},
        exporter={"url": exporter.url},
        dashboard_url="https://grafana.example/d/aws",
        read_timeout="3s",
        digest={"schedule": "0 8 * * *", "retry_for": "2s", **digest},
    )
    metrics, stopping, templates = RelayMetrics(settings.channels), threading.Event(), Templates()
    deliveries = Deliveries(folder, clock=time.time, retry_window=300, pending_expiry=3600)
    dispatcher = Dispatcher(
        settings,
        {"default": Channel(default_kind(), Secret(telex.url))},
        deliveries,
        metrics,
        stopping,
        templates,
    )
    api = ExporterApi(settings, BearerToken(Secret(token)))
    digest_ = Digest(
        settings, api.summary, dispatcher, deliveries, metrics, templates, stopping, clock, backoff
    )
    thread = threading.Thread(target=digest_._run)
    thread.start()
    yield Running(digest_, metrics, stopping)
    stopping.set()
    thread.join(60)
    assert not thread.is_alive()
    deliveries.close()


def first_start(folder: Path, telex: Telex, exporter: ExporterWire, at: datetime) -> None:
    """A relay that was up at `at`, so that it knows what is due after it."""
    with running(folder, telex, exporter, Clock(at)) as relay:
        wait_for(
            "the digest is counted", lambda: bool(relay.count("digest_next_timestamp_seconds", "channel"))
        )


def test_what_is_due_is_sent_once_in_full(tmp_path: Path, telex: Telex, exporter: ExporterWire) -> None:
    exporter.answers["summary"] = SUMMARY
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    assert (telex.attempts, exporter.asked) == (0, [])  # the first start owes nothing
    for _ in range(2):  # and once more after a restart
        with running(tmp_path, telex, exporter, Clock(DUE)) as relay:
            due = (DUE + timedelta(days=1)).timestamp()
            wanted = {"default": due}
            wait_for(
                "the digest is counted",
                lambda wanted=wanted: relay.count("digest_next_timestamp_seconds", "channel") == wanted,
            )
    assert telex.accepted == [
        {"event_name": "AWS spend digest", "message": TEXT, "status": "error", "username": "AWS Spend Exporter"}
    ]  # fmt: skip
    assert exporter.asked == [("summary", {"movers": "5"}, f"Bearer {TOKEN}")]


@pytest.mark.fault("the memory of digests can be read and not written", "what is due is sent, once")
def test_a_memory_that_cannot_be_written_holds_up_no_digest(
    tmp_path: Path, telex: Telex, exporter: ExporterWire
) -> None:
    exporter.answers["summary"] = SUMMARY
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    (tmp_path / "deliveries.sqlite-wal").mkdir()  # a write would begin there
    wanted = {"default": (DUE + timedelta(days=1)).timestamp()}
    with running(tmp_path, telex, exporter, Clock(DUE)) as relay:
        wait_for(
            "the next digest is waited for",
            lambda: relay.count("digest_next_timestamp_seconds", "channel") == wanted,
        )
        assert relay.count("digests_total") == {"sent": 1}
    assert telex.messages == [TEXT]


def test_unknown_is_said_and_within_budget_is_a_success(
    tmp_path: Path, telex: Telex, exporter: ExporterWire
) -> None:
    exporter.answers["summary"] = UNKNOWN
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    with running(tmp_path, telex, exporter, Clock(DUE)) as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent": 1})
    (post,) = telex.accepted
    assert post["status"] == "success"
    assert "$" not in post["message"]
    assert post["message"].count("unknown") == 7


def settled(day: int, usd: str) -> dict[str, Any]:
    return span(f"2026-03-{day}", f"2026-03-{day}", usd, settled=True)


@pytest.mark.parametrize(
    ("first", "lines"),
    [
        # Within its budget as yesterday; the first digest looks at its newest settled day only.
        ("1400", ["Settled day 2026-03-17: $1,700.00; threshold $1,500.00 a day: over it"]),
        # Over it as yesterday already.
        ("1532.204", []),
    ],
)
def test_a_day_that_passes_its_budget_after_the_digest_on_it_is_in_one_later_digest(
    tmp_path: Path, telex: Telex, exporter: ExporterWire, first: str, lines: list[str]
) -> None:
    """The 17th is yesterday in the first of three digests, and settled in both others."""
    within = {"budget_month_usd": None, "projected_month_usd": None}
    days = {
        18: {"yesterday": span("2026-03-17", "2026-03-17", first), "settled_days": [settled(14, "1501"), settled(15, "1500")]},
        20: {"yesterday": span("2026-03-19", "2026-03-19", "900"), "settled_days": [settled(15, "1500"), settled(16, "1"), settled(17, "1700"), settled(18, "1400")]},
        21: {"yesterday": span("2026-03-20", "2026-03-20", "900"), "settled_days": [settled(17, "1700"), settled(18, "1400"), settled(19, "1500")]},
    }  # fmt: skip
    first_start(tmp_path, telex, exporter, DUE - timedelta(days=3))
    for day, changes in days.items():
        exporter.answers["summary"] = SUMMARY | within | changes
        with running(tmp_path, telex, exporter, Clock(DUE.replace(day=day))) as relay:
            wait_for("the digest is counted", lambda relay=relay: relay.count("digests_total") == {"sent": 1})
    lines_of = [[line for line in text.splitlines() if "Settled" in line] for text in telex.messages]
    assert lines_of == [[], lines, []]
    statuses = [post["status"] for post in telex.accepted]
    assert statuses == ["error" if first != "1400" else "success", "error" if lines else "success", "success"]


def test_the_first_digest_looks_at_the_newest_settled_day_and_names_no_day_twice(
    tmp_path: Path, telex: Telex, exporter: ExporterWire
) -> None:
    exporter.answers["summary"] = SUMMARY | {"settled_days": [settled(17, "1700"), settled(18, "1800")]}
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    with running(tmp_path, telex, exporter, Clock(DUE)) as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent": 1})
    exporter.answers["summary"] = SUMMARY | {"settled_days": [settled(18, "1800"), settled(19, "1532.204")]}
    with running(tmp_path, telex, exporter, Clock(DUE + timedelta(hours=24))) as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent": 1})
    assert [[line for line in text.splitlines() if "a day: over it" in line] for text in telex.messages] == [
        [
            "Yesterday (2026-03-19): $1,532.20, AWS may still add to it; threshold $1,500.00 a day: over it",
            "Settled day 2026-03-18: $1,800.00; threshold $1,500.00 a day: over it",
        ],
        ["Yesterday (2026-03-19): $1,532.20, AWS may still add to it; threshold $1,500.00 a day: over it"],
    ]


def listed(service: str, day: int, usd: str, kind: str = "dip") -> dict[str, Any]:
    return {
        "day": f"2026-03-{day}", "account_id": "111111111111", "account": "prod", "service": service, "kind": kind,
        "usd": usd, "decided_at": f"2026-03-{day + 2}T08:00:00.5Z",
    }  # fmt: skip


def test_a_finding_without_a_message_is_in_one_digest_only(
    tmp_path: Path, telex: Telex, exporter: ExporterWire
) -> None:
    """The exporter names it for two weeks; a digest that had no answer listed nothing."""
    low, spike, new = (
        listed("Amazon EC2", 15, "-1000"),
        listed("AWS Lambda", 17, "26.5", "spike"),
        listed("AWS Glue", 18, "25", "new_service"),
    )
    digests = [[low], None, [spike, low], [spike, low], [new, spike, low]]
    first_start(tmp_path, telex, exporter, DUE - timedelta(days=1))
    for number, findings in enumerate(digests):
        exporter.answers["summary"] = SUMMARY | {"listed": findings}
        exporter.status = 200 if findings else 503
        with running(
            tmp_path, telex, exporter, Clock(DUE + number * timedelta(days=1)), retry_for="1s"
        ) as relay:
            result = {"sent": 1} if findings else {"sent_unknown": 1}
            wait_for(
                "the digest is counted",
                lambda relay=relay, result=result: relay.count("digests_total") == result,
            )
    title = "Also stood out, without a message (usage at amortized cost, off the expectation):"
    paragraphs = [
        [part.splitlines() for part in text.split("\n\n") if part.startswith("Also stood out")]
        for text in telex.messages
    ]
    assert paragraphs == [
        [[title, "-$1,000.00  prod (111111111111), Amazon EC2: low day on 2026-03-15"]],
        [],
        [[title, "+$26.50  prod (111111111111), AWS Lambda: spike on 2026-03-17"]],
        [],
        [[title, "+$25.00  prod (111111111111), AWS Glue: new service on 2026-03-18"]],
    ]


def test_more_findings_than_movers_are_counted_and_not_in_the_next_digest(
    tmp_path: Path, telex: Telex, exporter: ExporterWire
) -> None:
    findings = [listed(f"Service {number}", 15, f"{90 - number}", "spike") for number in range(9)]
    exporter.answers["summary"] = SUMMARY | {"listed": findings}
    first_start(tmp_path, telex, exporter, DUE - timedelta(days=1))
    for number in range(2):
        with running(tmp_path, telex, exporter, Clock(DUE + number * timedelta(days=1)), movers=2) as relay:
            wait_for("the digest is counted", lambda relay=relay: relay.count("digests_total") == {"sent": 1})
    first, second = telex.messages
    assert first.count("spike on 2026-03-15") == 2
    assert "\n7 more: aws-spend-exporter anomalies\n" in first
    assert "Also stood out" not in second


@pytest.mark.fault("an exporter that answers 503 when a digest is due", "it is asked again until it answers")
def test_an_exporter_that_comes_back_is_read(tmp_path: Path, telex: Telex, exporter: ExporterWire) -> None:
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    exporter.status = 503
    with running(tmp_path, telex, exporter, Clock(DUE), retry_for="1m") as relay:
        wait_for("the digest is counted", lambda: relay.count("digest_failures_total", "step") == {"read": 1})
        exporter.status, exporter.answers["summary"] = 200, SUMMARY
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent": 1})
    assert telex.messages == [TEXT]


@pytest.mark.fault(
    "an exporter that is too busy when a digest is due",
    "it is asked again as it says, the digest has its data",
)
def test_an_exporter_that_is_busy_is_asked_again(
    tmp_path: Path, telex: Telex, exporter: ExporterWire
) -> None:
    exporter.answers["summary"] = SUMMARY
    exporter.busy = 2
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    with running(tmp_path, telex, exporter, Clock(DUE), retry_for="1m") as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent": 1})
        assert relay.count("digest_failures_total", "step") == {}
    assert telex.messages == [TEXT]
    assert len(exporter.asked) == 3


@pytest.mark.parametrize("answer", [None, {"now": "soon"}, [1]])
@pytest.mark.fault(
    "an exporter without an answer for as long as a digest tries", "the digest says that all is unknown"
)
def test_an_exporter_without_an_answer_is_said(
    tmp_path: Path, telex: Telex, exporter: ExporterWire, answer: Any
) -> None:
    exporter.answers["summary"] = answer
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    with running(tmp_path, telex, exporter, Clock(DUE), retry_for="1s") as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent_unknown": 1})
        assert relay.count("digest_failures_total", "step")["read"] >= 2
    assert [(post["status"], post["message"]) for post in telex.accepted] == [
        (
            "error",
            "AWS spend digest, 2026-03-20 08:00 UTC\n"
            "The exporter did not answer: cost, budget, projection, movers and waste are unknown.\n"
            "Dashboard: https://grafana.example/d/aws",
        )
    ]


@pytest.mark.fault("Telex fails when a digest is due", "it gets the same digest later, once")
def test_a_telex_that_fails_gets_it_later_as_it_was(
    tmp_path: Path, telex: Telex, exporter: ExporterWire
) -> None:
    exporter.answers["summary"] = SUMMARY
    telex.script = [500, 429, HANG]
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    with running(tmp_path, telex, exporter, Clock(DUE)) as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent": 1})
        assert relay.count("digest_failures_total", "step") == {"deliver": 3}
    assert telex.messages == [TEXT]


@pytest.mark.fault(
    "Telex fails for longer than a digest may be late", "given up and counted, the next one goes out"
)
def test_a_telex_that_fails_for_too_long_is_given_up(
    tmp_path: Path, telex: Telex, exporter: ExporterWire
) -> None:
    exporter.answers["summary"] = SUMMARY
    telex.script = [404] * 5
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    clock = Clock(DUE + timedelta(hours=5, minutes=59))
    with running(tmp_path, telex, exporter, clock) as relay:
        wait_for(
            "the digest is counted", lambda: relay.count("digest_failures_total", "step") == {"deliver": 1}
        )
        clock.now = DUE + timedelta(hours=6)
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"failed": 1})
    assert telex.accepted == []


@pytest.mark.fault("the relay ends before Telex has taken a digest", "the next start sends it")
def test_ended_before_telex_took_it_the_next_start_sends_it(
    tmp_path: Path, telex: Telex, exporter: ExporterWire
) -> None:
    exporter.answers["summary"] = SUMMARY
    telex.script = [500]
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    with running(tmp_path, telex, exporter, Clock(DUE)) as relay:
        wait_for(
            "the digest is counted", lambda: relay.count("digest_failures_total", "step") == {"deliver": 1}
        )
    assert telex.accepted == []
    with running(tmp_path, telex, exporter, Clock(DUE)) as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent": 1})
    assert telex.messages == [TEXT]


@pytest.mark.fault("the relay ends between a digest's delivery and its mark", "it is not sent again")
def test_accepted_but_not_noted_as_handled_it_is_not_sent_again(
    tmp_path: Path, telex: Telex, exporter: ExporterWire
) -> None:
    """As after a SIGKILL between the two, however long the relay stays down."""
    exporter.answers["summary"] = SUMMARY
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    with running(tmp_path, telex, exporter, Clock(DUE)) as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent": 1})
    real = time.time()
    deliveries = Deliveries(tmp_path, clock=lambda: real + 5 * 3600, retry_window=300, pending_expiry=3600)
    deliveries.mark_digest("default", DUE - timedelta(hours=1))
    deliveries.open("another", Message("title", "error", ("one",)))  # which forgets what is old
    deliveries.close()
    with running(tmp_path, telex, exporter, Clock(DUE + timedelta(hours=5))) as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent": 1})
        assert relay.count("suppressed_parts_total", "channel") == {"default": 1}
    assert telex.messages == [TEXT]


@pytest.mark.fault("the relay is down while several digests fall due", "the newest is sent, once")
def test_of_several_missed_ones_the_newest_is_sent(
    tmp_path: Path, telex: Telex, exporter: ExporterWire
) -> None:
    exporter.answers["summary"] = SUMMARY
    first_start(tmp_path, telex, exporter, DUE - timedelta(days=4))
    with running(tmp_path, telex, exporter, Clock(DUE + timedelta(hours=5, minutes=59))) as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent": 1})
    assert telex.messages == [TEXT]


def test_one_that_is_too_late_is_skipped(tmp_path: Path, telex: Telex, exporter: ExporterWire) -> None:
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    with running(tmp_path, telex, exporter, Clock(DUE + timedelta(hours=6, minutes=1))) as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"skipped": 1})
    assert telex.attempts == 0


@pytest.mark.fault("a digest that cannot be made", "the next one is")
def test_one_that_cannot_be_made_does_not_end_those_to_come(
    tmp_path: Path,
    telex: Telex,
    exporter: ExporterWire,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Nothing that an exporter of ours says; their quotient is more than a decimal holds.
    month = span("2026-03-01", "2026-03-20", "1e999990")
    exporter.answers["summary"] = SUMMARY | {"month_to_date": month, "budget_month_usd": "1e-999990"}
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    with running(tmp_path, telex, exporter, Clock(DUE), backoff=Backoff(longest=0.1)) as relay:
        wait_for("it is logged", lambda: "digest failed" in caplog.text)
        exporter.answers["summary"] = SUMMARY
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent": 1})
    assert telex.messages == [TEXT]


def test_a_token_may_hold_any_letter(tmp_path: Path, telex: Telex, exporter: ExporterWire) -> None:
    exporter.answers["summary"] = SUMMARY
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    with running(tmp_path, telex, exporter, Clock(DUE), token="planted-€-token") as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent": 1})
    ((_, _, header),) = exporter.asked
    assert header.encode("latin-1").decode() == "Bearer planted-€-token"


@pytest.mark.fault("the relay's clock was years ahead", "digests go on")
def test_a_clock_that_was_years_ahead_does_not_silence_it(
    tmp_path: Path, telex: Telex, exporter: ExporterWire
) -> None:
    exporter.answers["summary"] = SUMMARY
    first_start(tmp_path, telex, exporter, DUE + timedelta(days=4000))
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    with running(tmp_path, telex, exporter, Clock(DUE)) as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent": 1})


def test_an_exporter_that_nobody_reaches_is_named_without_its_address(
    tmp_path: Path, telex: Telex, exporter: ExporterWire, caplog: pytest.LogCaptureFixture
) -> None:
    first_start(tmp_path, telex, exporter, DUE - timedelta(hours=1))
    exporter.url = "http://127.0.0.1:9/secret-path"
    with running(tmp_path, telex, exporter, Clock(DUE), retry_for="1s") as relay:
        wait_for("the digest is counted", lambda: relay.count("digests_total") == {"sent_unknown": 1})
    fields = {str(getattr(record, "reason", "")) for record in caplog.records}
    assert "the exporter does not answer; the relay's log says more" in fields
    assert "secret-path" not in caplog.text + " ".join(fields)
