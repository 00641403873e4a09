"""A channel, a return_url or an exporter whose answer does not end: a time-out is of the whole answer."""

from __future__ import annotations

import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from hostile_server import Answer, HostileServer, drip, endless, stall, whole
from relay_harness import Telex, notification, running_app
from waiting import wait_for

from exporter.relay.channel import DeliveryStatus
from exporter.relay.channels.telex import judge
from exporter.relay.exporter_api import ExporterApi, ExporterError
from exporter.relay.integration import return_url
from exporter.relay.integration.return_url import Destination
from exporter.relay.settings import RelaySettings
from exporter.relay.webhook import post_json
from exporter.web.credentials import Secret

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
TAKEN = whole(HEAD + b'Content-Length: 21\r\nConnection: close\r\n\r\n{"status": "success"}')
CASES = [
    ("drips its headers", drip(b"X-Slow: 1\r\n", head=HEAD)),
    ("drips its status line", drip(b"HTTP/1.1 200 OK")),
    ("drips its body", drip(b" ", head=HEAD + b"Content-Length: 100000\r\n\r\n")),
    ("drips the chunks of its body", drip(b"1\r\n \r\n", head=HEAD + b"Transfer-Encoding: chunked\r\n\r\n")),
    ("sends a body without end", endless(b" " * 65536, head=HEAD + b"\r\n")),
    ("sends headers without end", endless(b"X-Many: 1\r\n" * 1000, head=HEAD)),
    ("is silent", stall(b"")),
    ("stops in its body", stall(HEAD + b"Content-Length: 100\r\n\r\n{")),
]  # fmt: skip


def without_end(*left_out: str) -> pytest.MarkDecorator:
    cases = [case for case in CASES if case[0] not in left_out]
    return pytest.mark.parametrize(
        ("answer_is", "answer"), cases, ids=[case[0].replace(" ", "-") for case in cases]
    )


@without_end("sends a body without end")
@pytest.mark.fault(
    "a channel that {answer_is}", "the delivery ends in time and is tried again; another channel is not held"
)
def test_a_delivery_ends_in_time(answer_is: str, answer: Answer, telex: Telex, tmp_path: Path) -> None:
    with HostileServer(answer) as hostile:
        (tmp_path / "url").write_text(f"{hostile.url}/hook")
        channels = {"default": {"url_file": str(tmp_path / "url")}, "other": {"url_env": "TELEX_URL"}}
        with running_app(
            tmp_path / "state", telex, channels=channels, connect_timeout="1s", read_timeout="1s", max_concurrent_notifications=1
        ) as base:  # fmt: skip
            answers: list[requests.Response] = []
            held = threading.Thread(
                target=lambda: answers.append(
                    requests.post(f"{base}/alerts", json=notification(), timeout=60)
                )
            )
            held.start()
            wait_for("it is asked", lambda: hostile.calls or answers)
            assert requests.post(f"{base}/alerts/other", json=notification(), timeout=60).status_code == 200
            held.join()
            (first,) = answers
            assert first.status_code == 503
            many_headers = answer_is == "sends headers without end"  # which http.client itself refuses
            assert first.json()["detail"].startswith(
                "Telex: unreachable" if many_headers else "Telex: timeout"
            )
            # Alertmanager comes again.
            hostile.answer = TAKEN
            assert requests.post(f"{base}/alerts", json=notification(), timeout=60).json() == {
                "detail": "delivered"
            }
            assert hostile.calls == 2


@pytest.mark.fault(
    "a channel that takes a message and sends a body without end", "the delivery ends; it is not repeated"
)
def test_a_body_without_end_is_of_an_unknown_form() -> None:
    with HostileServer(endless(b" " * 65536, head=HEAD + b"\r\n")) as hostile:
        result = post_json(Secret(f"{hostile.url}/hook"), b"{}", (5.0, 60.0), judge)
    assert (result.status, result.understood) == (DeliveryStatus.DELIVERED, False)


@without_end()
@pytest.mark.fault("a return_url that {answer_is}", "the attempt ends in time")
def test_an_attempt_to_post_a_result_ends_in_time(answer_is: str, answer: Answer) -> None:
    with HostileServer(answer) as hostile:
        destination = Destination("http", "127.0.0.1", hostile.port, "/", "127.0.0.1")
        result = return_url.post(destination, b"{}", (1.0, 1.0))
    # Its header decides: the body is not read.
    whole_header = "body" in answer_is
    assert result.delivered == whole_header
    assert whole_header or result.status in (DeliveryStatus.TIMEOUT, DeliveryStatus.UNREACHABLE)


# Of a body, 128 MiB are read, which another test does.
@without_end("sends a body without end")
@pytest.mark.fault("an exporter that {answer_is}", "the digest has no data, in time, and goes on")
def test_reading_the_exporter_ends_in_time(answer_is: str, answer: Answer) -> None:
    with HostileServer(answer) as hostile:
        settings = RelaySettings(
            channels={"default": {"url_env": "X"}}, exporter={"url": hostile.url}, connect_timeout="1s"
        )
        with pytest.raises(ExporterError, match="does not answer"):
            ExporterApi(settings, None, read_seconds=1.0).summary(5)


@pytest.mark.fault("a return_url that drips its headers", "its tick ends, others are answered meanwhile")
def test_a_result_that_hangs_holds_no_other_tick(telex: Telex, tmp_path: Path) -> None:
    with HostileServer(drip(b"X-Slow: 1\r\n", head=HEAD)) as hostile:
        hosts = [urlsplit(url).netloc for url in (telex.url, hostile.url)]
        with running_app(
            tmp_path, telex, connect_timeout="1s", read_timeout="1s", integration={"enabled": True, "return_hosts": hosts}
        ) as base:  # fmt: skip
            for url in (f"{hostile.url}/x", telex.url):
                tick = {"return_url": url, "settings": [{"label": "threshold", "default": 1}]}
                assert requests.post(f"{base}/tick", json=tick, timeout=60).status_code == 202
            assert telex.wait_for(0).startswith("AWS Spend Monitor: ")
            timeouts = 'integration_results_total{result="timeout"}'
            wait_for(
                "it is given up and tried again",
                lambda: (
                    hostile.calls >= 2
                    and f"{timeouts} 0.0" not in requests.get(f"{base}/metrics", timeout=60).text
                ),
            )
