"""What every kind of channel keeps: how an attempt ends, one POST for each, and no word of its URL."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from hostile_server import HostileServer, whole
from pydantic import ValidationError
from relay_harness import HANG, WEBHOOK_ID, Telex, notification, running_app

import exporter
from exporter.relay.alertmanager import Notification
from exporter.relay.channel import (
    ATTEMPT_STATUSES,
    Channel,
    ChannelKind,
    ChannelMessage,
    DeliveryResult,
    DeliveryStatus,
)
from exporter.relay.channels import all_kinds, default_kind
from exporter.relay.deliveries import Deliveries
from exporter.relay.dispatch import Dispatcher
from exporter.relay.message import Message
from exporter.relay.metrics import RelayMetrics
from exporter.relay.settings import RelaySecrets, RelaySettings
from exporter.relay.templating import Templates
from exporter.web.credentials import Secret

EVERY_KIND = pytest.mark.parametrize("kind", all_kinds().values(), ids=all_kinds())
MESSAGE = ChannelMessage(title="Spend", text="Zürich: $1,532.20", status="error", sender="AWS")
TIMEOUT = (2.0, 20.0)


@EVERY_KIND
@pytest.mark.parametrize(
    ("answer", "status", "http_status"),
    [
        (200, DeliveryStatus.DELIVERED, 200),
        *(
            pytest.param(*case, marks=pytest.mark.fault(f"a channel answers {case[0]}", holds))
            for holds, cases in {
                "not followed, and someone has to act": [
                    (302, DeliveryStatus.REDIRECTED, 502),
                    (307, DeliveryStatus.REDIRECTED, 502),
                ],
                "someone has to act, and Alertmanager tries again": [
                    (400, DeliveryStatus.REJECTED, 502),
                    (404, DeliveryStatus.REJECTED, 502),
                ],
                "temporary: Alertmanager tries again": [
                    (429, DeliveryStatus.THROTTLED, 503),
                    (500, DeliveryStatus.SERVER_ERROR, 503),
                    (503, DeliveryStatus.SERVER_ERROR, 503),
                ],
            }.items()
            for case in cases
        ),
    ],
)
def test_each_answer_is_delivered_temporary_or_for_someone_to_act(
    kind: ChannelKind, answer: int, status: DeliveryStatus, http_status: int, telex: Telex
) -> None:
    """One attempt is one POST: redirects are not followed, and who calls retries."""
    telex.script = [answer]
    result = kind.post(Secret(telex.url), MESSAGE, TIMEOUT)
    assert result == DeliveryResult(status, f"HTTP {answer}")
    assert (result.http_status, telex.attempts) == (http_status, 1)
    assert result.delivered == (http_status == 200)
    assert result.temporary == (http_status == 503)


UNKNOWN = DeliveryResult(DeliveryStatus.DELIVERED, "HTTP 200 in an unknown form", understood=False)


def refused(status: DeliveryStatus, more: str = "") -> DeliveryResult:
    return DeliveryResult(status, f"HTTP 200 with status error{more}")


@pytest.mark.parametrize(
    ("form", "body", "result"),
    [
        ("an error without a code", b'{"status": "error"}', refused(DeliveryStatus.REJECTED)),
        ("an error with code 200", b'{"status": "error", "status_code": 200, "message": "m"}', refused(DeliveryStatus.REJECTED)),
        ("an error with code x", b'{"status": "error", "status_code": "x"}', refused(DeliveryStatus.REJECTED)),
        ("an error with code 422", b'{"status": "error", "status_code": 422, "data": {}}', refused(DeliveryStatus.REJECTED, ", 422")),
        ("an error with code 429", b'{"status": "error", "status_code": 429}', refused(DeliveryStatus.THROTTLED, ", 429")),
        ("an error with code 503", b'{"status": "error", "status_code": 503}', refused(DeliveryStatus.SERVER_ERROR, ", 503")),
        ("no body", b"", UNKNOWN),
        ("a page that is no JSON", b"<html>maintenance</html>", UNKNOWN),
        ("a page that is no JSON", b"\xff\xfe", UNKNOWN),
        ("a page of 100 KiB", b"<html>" + b" " * 100_000, UNKNOWN),
        ("JSON without an end to its depth", b"[" * 30_000, UNKNOWN),
        ("JSON of another form", b'["status", "error"]', UNKNOWN),
        ("JSON of another form", b'{"status": ["error"]}', UNKNOWN),
        ("JSON of another form", b'{"status": "ok"}', UNKNOWN),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.fault(
    "Telex answers 200 with {form}", "its body decides where it is documented, else it is delivered"
)
def test_the_body_of_a_200_decides(form: str, body: bytes, result: DeliveryResult, telex: Telex) -> None:
    telex.body = body
    assert all_kinds()["telex"].post(Secret(telex.url), MESSAGE, TIMEOUT) == result
    assert telex.attempts == 1


@pytest.mark.fault("Telex answers {status} with a page of 100 KiB", "its status decides, as of a short one")
@pytest.mark.parametrize(
    ("status", "result"),
    [(404, DeliveryStatus.REJECTED), (429, DeliveryStatus.THROTTLED), (502, DeliveryStatus.SERVER_ERROR)],
)
def test_a_large_page_leaves_it_with_its_status(status: int, result: DeliveryStatus) -> None:
    head = f"HTTP/1.1 {status} No\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n".encode()
    with HostileServer(whole(head + b" " * 100_000)) as server:
        answered = all_kinds()["telex"].post(Secret(f"{server.url}/hook"), MESSAGE, TIMEOUT)
    assert answered == DeliveryResult(result, f"HTTP {status}")


@pytest.mark.fault(
    "Telex answers 200 with errors, then pages", "Alertmanager is to try errors again; pages are counted"
)
def test_an_error_in_the_body_is_told_to_alertmanager_and_an_unknown_body_is_counted(
    telex: Telex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_app(tmp_path, telex, retry_window="1ms") as base:

        def post() -> int:
            return requests.post(f"{base}/alerts", json=notification(), timeout=60).status_code

        def counted(family: str) -> float:
            text = requests.get(f"{base}/metrics", timeout=60).text
            (line,) = [
                line for line in text.splitlines() if line.startswith(f"aws_spend_exporter_relay_{family}")
            ]
            return float(line.rsplit(" ", 1)[1])

        taken = telex.body
        telex.body = b'{"status": "error", "status_code": 500, "message": "no", "data": null}'
        assert post() == 503
        telex.body = b'{"status": "error", "status_code": 400, "message": "no", "data": null}'
        assert post() == 502
        assert counted('unknown_answers_total{channel="default"}') == 0
        assert counted('deliveries_total{channel="default",result="delivered"}') == 0
        telex.body = b"<html>"
        with caplog.at_level(logging.WARNING):
            assert [post(), post()] == [200, 200]
        assert counted('unknown_answers_total{channel="default"}') == 2
        telex.body = taken
        assert post() == 200
        assert counted('unknown_answers_total{channel="default"}') == 2
    assert [record.message for record in caplog.records if "not understood" in record.message] == [
        "the channel's answer is not understood, its messages count as delivered"
    ]


@EVERY_KIND
@pytest.mark.fault("a channel that is silent, or refuses connections", "temporary, and no word of its URL")
def test_silence_and_refusal_are_temporary_and_hold_no_word_of_the_url(
    kind: ChannelKind, telex: Telex, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("urllib3").setLevel(logging.WARNING)  # as the relay does
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    telex.script = [HANG]
    with caplog.at_level(logging.DEBUG):
        results = [
            kind.post(Secret(telex.url), MESSAGE, (2.0, 0.2)),
            kind.post(Secret(f"http://127.0.0.1:{port}/{WEBHOOK_ID}"), MESSAGE, TIMEOUT),
            kind.post(Secret(f"https://127.0.0.1:{telex.port}/{WEBHOOK_ID}"), MESSAGE, TIMEOUT),
            kind.post(Secret(f"https://no-such-host.invalid/{WEBHOOK_ID}"), MESSAGE, TIMEOUT),
        ]
    assert [result.status for result in results] == [
        DeliveryStatus.TIMEOUT,
        DeliveryStatus.UNREACHABLE,
        DeliveryStatus.UNREACHABLE,
        DeliveryStatus.UNREACHABLE,
    ]
    assert {result.http_status for result in results} == {503}
    telling = f"{results} {Channel(kind, Secret(telex.url))} {caplog.text}"
    assert WEBHOOK_ID not in telling
    assert urlsplit(telex.url).path not in telling


@EVERY_KIND
def test_the_longest_message_is_one_post_that_holds_all_of_it(kind: ChannelKind, telex: Telex) -> None:
    longest = "x" * kind.max_message_bytes
    message = ChannelMessage(title="Spend", text=longest, status="success", sender="AWS")
    assert kind.post(Secret(telex.url), message, TIMEOUT).delivered
    assert telex.attempts == 1
    assert longest in str(telex.accepted)


@EVERY_KIND
def test_the_pipeline_counts_each_attempt_and_goes_on_where_it_stopped(
    kind: ChannelKind, telex: Telex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = RelaySettings(channels={"default": {"url_env": "U", "kind": kind.name}})
    metrics = RelayMetrics(settings.channels)
    deliveries = Deliveries(tmp_path, clock=time.time, retry_window=300, pending_expiry=3600)
    channels = {"default": Channel(kind, Secret(telex.url))}
    dispatcher = Dispatcher(settings, channels, deliveries, metrics, threading.Event(), Templates())
    message = Message("title", "error", ("one", "two"))

    def send() -> tuple[int, str]:
        result = dispatcher.send("default", "key", lambda: message)
        return result.http_status, result.reason

    def attempts(status: DeliveryStatus) -> float | None:
        labels = {"channel": "default", "result": status.value}
        return metrics.registry.get_sample_value("aws_spend_exporter_relay_deliveries_total", labels)

    assert {attempts(status) for status in ATTEMPT_STATUSES} == {0.0}
    telex.script = [200, 503, 404, 200]
    with caplog.at_level(logging.INFO):
        answers = [send() for _ in range(4)]
    deliveries.close()
    assert answers == [
        (503, f"{kind.title}: server_error (HTTP 503)"),
        (502, f"{kind.title}: rejected (HTTP 404)"),
        (200, "delivered"),
        (200, "delivered before"),
    ]
    assert telex.attempts == 4
    assert [attempts(status) for status in (DeliveryStatus.DELIVERED, DeliveryStatus.SERVER_ERROR)] == [2, 1]
    lines = [str(vars(record)) for record in caplog.records if record.name.startswith("exporter")]
    assert len(lines) == 3
    assert not any(WEBHOOK_ID in line for line in lines)


@EVERY_KIND
def test_the_longest_text_is_that_of_the_kind_or_as_configured(
    kind: ChannelKind, telex: Telex, tmp_path: Path
) -> None:
    short = replace(kind, max_message_bytes=300)
    for configured, used in ((4096, 300), (256, 256)):
        settings = RelaySettings(channels={"default": {"url_env": "U"}}, max_message_bytes=configured)
        deliveries = Deliveries(tmp_path, clock=time.time, retry_window=300, pending_expiry=3600)
        channels = {"default": Channel(short, Secret(telex.url))}
        metrics = RelayMetrics(settings.channels)
        dispatcher = Dispatcher(settings, channels, deliveries, metrics, threading.Event(), Templates())
        assert dispatcher.max_bytes("default") == used
        read = Notification.model_validate_json(json.dumps(notification(groupKey=str(configured))))
        assert dispatcher.deliver("default", read).delivered
        deliveries.close()
    assert {len(text.encode()) <= 300 for text in telex.messages} == {True}
    assert telex.messages[0].startswith("Part 1 of ")


@EVERY_KIND
def test_a_channel_is_proven_by_a_test_message(kind: ChannelKind, telex: Telex) -> None:
    channel = Channel(kind, Secret(telex.url))
    assert channel.prove("AWS", TIMEOUT) == DeliveryResult(DeliveryStatus.DELIVERED, "HTTP 200")
    assert "aws-spend-exporter can post to this channel." in str(telex.accepted)
    telex.script = [404]
    assert channel.prove("AWS", TIMEOUT).status is DeliveryStatus.REJECTED


@EVERY_KIND
def test_a_channel_names_its_kind(kind: ChannelKind) -> None:
    settings = RelaySettings(channels={"a": {"url_env": "U", "kind": kind.name}, "b": {"url_env": "U"}})
    channels = RelaySecrets(settings, {"U": "https://chat.example/hook"}).channels
    assert {name: channel.kind for name, channel in channels.items()} == {"a": kind, "b": default_kind()}


def test_an_unknown_kind_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValidationError, match=f"one of {', '.join(all_kinds())}"):
        RelaySettings(channels={"a": {"url_env": "U", "kind": "pigeon"}})


def test_no_attempt_ends_interrupted() -> None:
    """So a counter of attempts has no series that never moves."""
    assert set(DeliveryStatus) - set(ATTEMPT_STATUSES) == {DeliveryStatus.INTERRUPTED}
    assert DeliveryResult(DeliveryStatus.INTERRUPTED, "shutting down").http_status == 503


def test_no_other_file_names_a_kind() -> None:
    """But the contract of the integration, which is one platform's."""
    root = Path(exporter.__file__).parent
    kinds = {kind.name for kind in all_kinds().values()}
    files = [path for path in root.rglob("*") if path.suffix in {".py", ".j2"}]
    naming = {
        str(path.relative_to(root))
        for path in files
        if any(kind in path.read_text(encoding="utf-8").casefold() for kind in kinds)
    }
    own = {f"relay/channels/{kind}.py" for kind in kinds}
    assert naming == own | {"relay/integration/contract.py"}
