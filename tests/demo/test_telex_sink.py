"""The sink keeps the Telex webhook's contract, so that what works against it works against Telex."""

import contextlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Any

import pytest
import requests

from demo.telex_channel import Message
from demo.telex_page import render_page
from demo.telex_sink import TelexSink

POST = {"event_name": "cost", "message": "prod spent 812.40 USD", "status": "error", "username": "aws-spend"}
AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def sink() -> Iterator[TelexSink]:
    with TelexSink(now=lambda: AT) as sink:
        yield sink


def post(sink: TelexSink, body: Any, url: str | None = None) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(url or sink.webhook_url, data=data, timeout=60)


def test_a_valid_post_is_answered_as_telex_does_and_kept_whole(sink: TelexSink) -> None:
    answer = post(sink, POST)
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "success", "status_code": 200, "message": "event received", "data": {"id": 1}},
    )
    assert sink.messages == [Message(id=1, received_at=AT, **POST)]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "the body is not JSON"),
        (b"\xff\xfe", 400, "the body is not JSON"),
        (b"[]", 400, "the body is not a JSON object"),
        ({**POST, "message": ""}, 422, "message must be a non-empty string"),
        ({**POST, "message": 7}, 422, "message must be a non-empty string"),
        ({key: POST[key] for key in POST if key != "username"}, 422, "username must be a non-empty string"),
        ({**POST, "status": "warning"}, 422, "status must be one of success, error"),
        (b" " * ((1 << 20) + 1), 400, "the body is larger than 1048576 bytes"),
    ],
)
def test_a_bad_post_is_refused_with_its_reason(sink: TelexSink, body: Any, status: int, reason: str) -> None:
    try:
        answer = post(sink, body)
    except requests.ConnectionError:  # the sink may hang up on an oversized body while it is being sent
        assert len(body) > 1 << 20
    else:
        assert answer.json() == {"status": "error", "status_code": status, "message": reason, "data": None}
        assert answer.status_code == status
    assert sink.messages == []


def test_another_webhook_id_is_forbidden(sink: TelexSink) -> None:
    assert post(sink, POST, sink.url + "/v1/webhooks/other").status_code == 403
    assert sink.messages == []


def test_scripted_failures_come_first_and_in_order(sink: TelexSink) -> None:
    sink.fail_next(1, status=503)
    order = {"count": 1, "status": 429}
    assert requests.post(sink.url + "/_sink/fail", json=order, timeout=60).status_code == 200
    assert [post(sink, POST).status_code for _ in range(3)] == [503, 429, 200]
    assert len(sink.messages) == 1


def test_a_scripted_failure_can_drop_the_connection(sink: TelexSink) -> None:
    sink.fail_next(1, status=None)
    with pytest.raises(requests.ConnectionError):
        post(sink, POST)


def test_stop_does_not_wait_for_an_answer_that_hangs() -> None:
    sink = TelexSink().start()
    sink.fail_next(1, status=503, hang=60)

    def hang() -> None:
        with contextlib.suppress(requests.ConnectionError):
            post(sink, POST)

    thread = threading.Thread(target=hang)
    thread.start()
    sleep(0.2)
    began = monotonic()
    sink.stop()
    assert monotonic() - began < 20
    thread.join()


def test_a_long_poll_answers_when_a_message_arrives(sink: TelexSink) -> None:
    post(sink, POST)
    later = threading.Timer(0.2, lambda: post(sink, {**POST, "message": "second"}))
    later.start()
    began = monotonic()
    answer = requests.get(f"{sink.url}/messages.json?after=1&wait=60", timeout=70)
    assert [message["message"] for message in answer.json()] == ["second"]
    assert monotonic() - began < 20
    later.join()


def test_wait_for_gives_up_after_its_timeout(sink: TelexSink) -> None:
    assert sink.wait_for(timeout=0.05) is None


def test_the_page_escapes_every_field_and_shows_the_newest_first(sink: TelexSink) -> None:
    hostile = "<script>alert('x')</script>{style}"
    post(sink, {**POST, "message": hostile, "username": hostile, "event_name": hostile})
    post(sink, {**POST, "message": "newest"})
    page = requests.get(sink.url, timeout=60)
    assert "<script>alert" not in page.text
    assert page.text.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;{style}") == 3
    assert page.text.index("newest") < page.text.index("&lt;script")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; ")


def test_the_page_never_shows_the_secret_of_the_webhook(sink: TelexSink) -> None:
    post(sink, POST)
    assert sink.channel_id not in requests.get(sink.url, timeout=60).text
    assert sink.channel_id not in requests.get(f"{sink.url}/messages.json", timeout=60).text


def test_an_empty_channel_says_so() -> None:
    assert "No message yet" in render_page([], nonce="n")
