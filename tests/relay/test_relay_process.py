"""The relay as a process, against a Telex that answers, refuses, hangs and dies."""

import base64
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from relay_harness import HANG, TOKEN, WEBHOOK_ID, Relay, Telex, notification, running_app, spend_alert
from waiting import wait_for

from demo.processes import choose_ports
from exporter.web.connections import ConnectionLimits

StartRelay = Callable[..., Relay]
NUMBER = 60
LONG = [spend_alert(f"account {number}", f"{number:012}") for number in range(NUMBER)]


def closed_channel(folder: Path) -> Path:
    path = folder / "closed"
    port = choose_ports({"nobody": 0})["nobody"]
    path.write_text(f"http://127.0.0.1:{port}/v1/webhooks/{WEBHOOK_ID}\n")
    return path


def metric(relay: Relay, name: str) -> float:
    for line in relay.get("/metrics").text.splitlines():
        if line.startswith(name + " "):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"no {name}")


@pytest.mark.fault(
    "Telex answers 3xx, 4xx and 5xx in turn", "Alertmanager is answered 502 or 503, which it tries again"
)
def test_telex_answers_decide_what_alertmanager_hears(start_relay: StartRelay, telex: Telex) -> None:
    """Alertmanager retries 5xx and drops 4xx, also 429; so a refusal by Telex becomes 502."""
    relay = start_relay()
    answers = {}
    for status in (200, 202, 429, 500, 503, 400, 401, 403, 404, 422, 302, 307):
        telex.script = [status]
        answers[status] = relay.post(notification(groupKey=f"group {status}")).status_code
    assert answers == {
        200: 200, 202: 200, 429: 503, 500: 503, 503: 503,
        400: 502, 401: 502, 403: 502, 404: 502, 422: 502, 302: 502, 307: 502,
    }  # fmt: skip
    assert telex.attempts == 12, "a redirect was followed"
    family = "aws_spend_exporter_relay_deliveries_total"
    results = ("delivered", "throttled", "server_error", "rejected", "redirected", "timeout", "unreachable")
    assert {result: metric(relay, f'{family}{{channel="default",result="{result}"}}') for result in results} == {
        "delivered": 2, "throttled": 1, "server_error": 2, "rejected": 5, "redirected": 2, "timeout": 0, "unreachable": 0,
    }  # fmt: skip


@pytest.mark.fault(
    "a Telex that hangs, and one that refuses connections", "503, which Alertmanager tries again"
)
def test_a_hanging_and_an_unreachable_telex_are_503(
    start_relay: StartRelay, telex: Telex, tmp_path: Path
) -> None:
    relay = start_relay(
        channels={"default": {"url_env": "TELEX_URL"}, "closed": {"url_file": str(closed_channel(tmp_path))}},
        read_timeout="3s",
    )
    telex.script = [HANG]
    started = time.monotonic()
    assert relay.post(notification()).status_code == 503
    assert time.monotonic() - started < 30  # it hangs for a minute
    assert relay.post(notification(), "/alerts/closed").json() == {
        "detail": "Telex: unreachable (ConnectionError)"
    }
    assert relay.post(notification(), "/alerts/unknown").status_code == 404
    assert relay.post(notification()).status_code == 200


def test_a_group_is_posted_as_one_message(start_relay: StartRelay, telex: Telex) -> None:
    relay = start_relay()
    assert relay.post(notification(spend_alert(), spend_alert("dev", "222222222222"))).status_code == 200
    (post,) = telex.accepted
    assert {key: post[key] for key in ("event_name", "status", "username")} == {
        "event_name": "AWS daily spend above threshold",
        "status": "error",
        "username": "AWS Spend Exporter",
    }
    assert "prod (111111111111)" in post["message"]
    assert "dev (222222222222)" in post["message"]


@pytest.mark.fault(
    "Telex fails between two parts of a message", "a retry sends the missing parts of the first text"
)
def test_a_retry_sends_only_what_is_missing_and_says_the_same(start_relay: StartRelay, telex: Telex) -> None:
    relay = start_relay()
    telex.script = [200, 500]
    assert relay.post(notification(*LONG)).status_code == 503
    # The amounts have moved by the time of the retry; the message goes on as it began.
    moved = json.loads(json.dumps(notification(*LONG)).replace("1532.20", "1600.00"))
    assert relay.post(moved).status_code == 200
    total = len(telex.messages)
    assert total > 2
    assert [message.split("\n")[0] for message in telex.messages] == [
        f"Part {number} of {total}" for number in range(1, total + 1)
    ]
    text = "\n".join(telex.messages)
    assert [text.count(f"Account: account {number} (") for number in range(NUMBER)] == [1] * NUMBER
    assert "1,600.00" not in text


def test_the_same_again_soon_is_a_retry_and_later_a_repeat(start_relay: StartRelay, telex: Telex) -> None:
    relay = start_relay()
    assert relay.post(notification()).json() == {"detail": "delivered"}
    assert relay.post(notification()).json() == {"detail": "delivered before"}
    assert len(telex.accepted) == 1
    # What has changed is new at once: resolved, another group, another alert, fired again.
    for changed in (
        notification(spend_alert(status="resolved")),
        notification(groupKey="other"),
        notification(spend_alert(), spend_alert("dev", "222222222222")),
        notification(spend_alert(startsAt="2026-01-06T00:00:00Z")),
    ):
        assert relay.post(changed).json() == {"detail": "delivered"}
    assert len(telex.accepted) == 5
    assert relay.end() == 0
    later = start_relay(retry_window="1s")
    time.sleep(1.1)
    assert later.post(notification()).json() == {"detail": "delivered"}
    assert len(telex.accepted) == 6


@pytest.mark.fault(
    "SIGKILL of the relay between two parts of a message", "the next one sends the rest, nothing twice"
)
def test_killed_between_parts_the_next_relay_sends_the_rest(start_relay: StartRelay, telex: Telex) -> None:
    relay = start_relay()

    def kill_at_third(attempt: int) -> None:
        if attempt == 3:
            telex.script = [HANG]
            relay.end(signal.SIGKILL)

    telex.script = [200, 200, HANG]
    telex.before_answer = kill_at_third
    with pytest.raises(requests.ConnectionError):
        relay.post(notification(*LONG))
    telex.before_answer, telex.script = lambda attempt: None, []
    again = start_relay()
    assert again.post(notification(*LONG)).status_code == 200
    text = "\n".join(telex.messages)
    assert [text.count(f"Account: account {number} (") for number in range(NUMBER)] == [1] * NUMBER


@pytest.mark.fault("copies of a notification at the same time", "it is posted once")
def test_simultaneous_copies_of_a_notification_are_posted_once(start_relay: StartRelay, telex: Telex) -> None:
    relay = start_relay(read_timeout="60s")
    telex.before_answer = lambda attempt: time.sleep(0.2)
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(relay.post(notification()).status_code))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (answers, len(telex.accepted)) == ([200] * 6, 1)


@pytest.mark.fault("more notifications at once than places", "503, and health and metrics answer")
def test_too_many_at_once_are_asked_to_come_again_and_health_answers(
    start_relay: StartRelay, telex: Telex
) -> None:
    relay = start_relay(max_concurrent_notifications=1, read_timeout="60s")
    telex.script = [HANG]
    first = threading.Thread(target=lambda: relay.post(notification()))
    first.start()
    wait_for("it is asked", lambda: telex.attempts)
    assert relay.post(notification(groupKey="other")).status_code == 503
    assert [relay.get(path).status_code for path in ("/-/healthy", "/-/ready", "/metrics")] == [200, 200, 200]
    telex.ending.set()
    first.join()


@pytest.mark.fault("a channel that hangs in all its places", "another channel is delivered to")
def test_a_channel_that_hangs_keeps_no_other_waiting(
    start_relay: StartRelay, telex: Telex, tmp_path: Path
) -> None:
    (tmp_path / "other").write_text(telex.url)
    relay = start_relay(
        channels={"default": {"url_env": "TELEX_URL"}, "other": {"url_file": str(tmp_path / "other")}},
        max_concurrent_notifications=1,
        read_timeout="60s",
    )
    telex.script = [HANG]
    first = threading.Thread(target=lambda: relay.post(notification()))
    first.start()
    wait_for("it is asked", lambda: telex.attempts)
    assert relay.post(notification(groupKey="other")).status_code == 503
    assert relay.post(notification(), "/alerts/other").status_code == 200
    telex.ending.set()
    first.join()


@pytest.mark.fault("a notification whose body does not come", "503 in time")
def test_a_body_that_does_not_come_holds_its_place_for_a_while_only(tmp_path: Path, telex: Telex) -> None:
    with running_app(tmp_path, telex, body_seconds=0.5, max_concurrent_notifications=1) as base:
        parts = urlsplit(base)
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as slow:
            slow.sendall(b"POST /alerts HTTP/1.1\r\nHost: relay\r\nContent-Length: 1000\r\n\r\n{")
            answer = slow.makefile("rb").read().decode()
        assert answer.startswith("HTTP/1.1 503 ")
        assert answer.endswith('{"detail":"the body did not come within 0.5 s"}')
        assert requests.post(f"{base}/alerts", json=notification(), timeout=60).status_code == 200
        refused = 'relay_refused_requests_total{reason="too_slow"} 1.0'
        assert refused in requests.get(f"{base}/metrics", timeout=60).text


@pytest.mark.fault("40 clients that never end their headers", "notifications are taken")
def test_slow_headers_keep_nobody_from_the_relay(tmp_path: Path, telex: Telex) -> None:
    limits = ConnectionLimits(connections=16)
    with running_app(tmp_path, telex, limits=limits) as base, ExitStack() as held:
        parts = urlsplit(base)
        for _ in range(40):
            slow = held.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=20))
            slow.sendall(b"POST /alerts HTTP/1.1\r\nHost: relay\r\nX-Slow: ")
        assert requests.post(f"{base}/alerts", json=notification(), timeout=60).status_code == 200
        assert requests.get(f"{base}/metrics", timeout=60).status_code == 200


@pytest.mark.fault("SIGTERM of the relay while a message is on its way", "it is delivered, and answered 200")
def test_sigterm_lets_the_message_in_flight_finish(start_relay: StartRelay, telex: Telex) -> None:
    relay = start_relay(read_timeout="60s")
    telex.before_answer = lambda attempt: time.sleep(0.5)
    answers: list[int] = []
    caller = threading.Thread(target=lambda: answers.append(relay.post(notification()).status_code))
    caller.start()
    wait_for("it is asked", lambda: telex.attempts)
    assert relay.end() == 0
    caller.join()
    assert (answers, len(telex.accepted)) == ([200], 1)


@pytest.mark.fault("SIGTERM of the relay while Telex hangs", "the relay ends in time, 503")
def test_sigterm_does_not_wait_for_a_telex_that_hangs(start_relay: StartRelay, telex: Telex) -> None:
    relay = start_relay(read_timeout="60s")
    telex.script = [HANG]

    answers: list[int] = []
    caller = threading.Thread(target=lambda: answers.append(relay.post(notification()).status_code))
    caller.start()
    wait_for("it is asked", lambda: telex.attempts)
    started = time.monotonic()
    assert relay.end() == 0
    assert time.monotonic() - started < 30  # it hangs for a minute
    caller.join()
    assert answers == [503]
    assert "Traceback" not in relay.log.read_text()


@pytest.mark.fault("the relay's port is taken", "it ends with 1 and says so")
def test_a_port_that_is_taken_ends_with_1(tmp_path: Path, telex: Telex) -> None:
    relay = Relay(tmp_path, telex.url, port=telex.port)
    with pytest.raises(
        AssertionError, match=r"relay does not start reason=\"cannot listen on 127\.0\.0\.1 port"
    ):
        relay.start()
    assert relay.process is not None
    assert relay.process.returncode == 1


def test_callers_present_the_bearer_token(start_relay: StartRelay, telex: Telex) -> None:
    relay = start_relay(auth={"bearer": {"token_env": "RELAY_TOKEN"}})
    headers = [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer é"},
    ]
    for header in headers:
        answer = relay.post(notification(), headers={key: value.encode() for key, value in header.items()})
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="relay"')
    assert relay.post("malformed", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert telex.attempts == 0
    assert relay.post(notification(), headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_callers_present_user_and_password(start_relay: StartRelay) -> None:
    relay = start_relay(auth={"basic_auth": {"username": "alertmanager", "password_env": "RELAY_TOKEN"}})
    wrong = base64.b64encode(b"alertmanager:wrong").decode()
    for header in (f"Basic {wrong}", "Basic %%%", "Basic", f"Bearer {TOKEN}"):
        assert relay.post(notification(), headers={"Authorization": header}).status_code == 401
    assert relay.post(notification(), auth=("alertmanager", TOKEN)).status_code == 200


def test_planted_secrets_are_nowhere(start_relay: StartRelay, telex: Telex, tmp_path: Path) -> None:
    """Logs at DEBUG, metrics, every answer, the memory on disk."""
    relay = start_relay(
        auth={"bearer": {"token_env": "RELAY_TOKEN"}},
        channels={"default": {"url_env": "TELEX_URL"}, "closed": {"url_file": str(closed_channel(tmp_path))}},
        read_timeout="200ms",
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}
    seen = []
    for status in (200, 302, 404, 429, 500, HANG):
        telex.script = [status]
        seen.append(relay.post(notification(groupKey=str(status)), headers=headers))
    seen.append(relay.post(notification(), "/alerts/closed", headers=headers))
    seen.append(relay.post({"version": "4"}, headers=headers))
    seen.append(relay.post(notification(), headers={"Authorization": f"Bearer {TOKEN}x"}))
    seen += [
        relay.get(path)
        for path in ("/metrics", "/openapi.json", "/-/ready", "/", f"/v1/webhooks/{WEBHOOK_ID}x")
    ]
    assert relay.end() == 0
    texts = [f"{answer.headers} {answer.text}" for answer in seen] + [relay.log.read_text()]
    texts += [path.read_bytes().decode("latin-1") for path in (relay.folder / "state").iterdir()]
    for text in texts:
        assert WEBHOOK_ID not in text
        assert TOKEN not in text
    assert (
        "message not delivered channel=default part=1 parts=1 status=timeout reason=ReadTimeout"
        in relay.log.read_text()
    )


def test_metrics_pass_promtool(start_relay: StartRelay) -> None:
    relay = start_relay()
    assert relay.post(notification()).status_code == 200
    answer = relay.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "_created" not in answer.text
    families = {line.split()[2] for line in answer.text.splitlines() if line.startswith("# TYPE")}
    assert all(family.startswith("aws_spend_exporter_relay_") for family in families)
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=answer.content, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_openapi_names_every_answer(start_relay: StartRelay) -> None:
    relay = start_relay()
    schema = relay.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/alerts", "/alerts/{channel}", "/-/healthy", "/-/ready", "/metrics"}
    for path in ("/alerts", "/alerts/{channel}"):
        operation = schema["paths"][path]["post"]
        assert {"200", "400", "401", "404", "502", "503"} <= set(operation["responses"])
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert body == {"$ref": "#/components/schemas/Notification"}
    assert {"Notification", "Alert"} <= set(schema["components"]["schemas"])


@pytest.mark.fault(
    "the connection to the memory of deliveries is lost", "messages go out, the state is in the metrics"
)
def test_a_memory_that_fails_costs_a_repetition_not_a_message(tmp_path: Path, telex: Telex) -> None:
    with running_app(tmp_path, telex, break_memory=True) as base:
        assert requests.post(f"{base}/alerts", json=notification(), timeout=60).status_code == 200
        # Who takes it for not ready, as a Service of Kubernetes does, sends it nothing.
        assert requests.get(f"{base}/-/ready", timeout=60).status_code == 200
        text = requests.get(f"{base}/metrics", timeout=60).text
        assert "relay_memory_errors_total 1.0" in text
        assert "relay_memory_on_disk 0.0" in text
    assert len(telex.accepted) == 1
