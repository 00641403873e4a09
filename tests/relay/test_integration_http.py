"""The integration over HTTP: off unless enabled, answered at once, and the result posted where it may be."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from relay_harness import (
    HANG,
    NOWHERE,
    TOKEN,
    WEBHOOK_ID,
    ExporterWire,
    Relay,
    Telex,
    notification,
    running_app,
)
from waiting import wait_for

from exporter.ledger.database import LedgerLockedError

StartRelay = Callable[..., Relay]
COSTS = {"total_usd": "123.4567000000", "missing_days": [], "read_at": "2026-03-20T06:30:00+00:00"}
KEY_ID, SECRET = "AKIAPLANTED000000001", "planted/secret+key0000000000000000000000"


def setting(label: str, value: Any) -> dict[str, Any]:
    return {"label": label, "type": "text", "required": True, "default": value}


def tick(telex: Telex, **values: Any) -> dict[str, Any]:
    given = {"threshold": "100", "frequency": "Daily", "interval": "0 9 * * *", **values}
    return {
        "channel_id": "c",
        "return_url": telex.url,
        "settings": [setting(label, value) for label, value in given.items()],
    }


class Client:
    """Asks a relay that runs on a thread of this process."""

    def __init__(self, base: str) -> None:
        self.base = base

    def get(self, path: str, **arguments: Any) -> requests.Response:
        return requests.get(self.base + path, timeout=60, **arguments)

    def post(self, body: Any, path: str = "/alerts", **arguments: Any) -> requests.Response:
        return requests.post(self.base + path, json=body, timeout=60, **arguments)


def enabled(telex: Telex, **integration: Any) -> dict[str, Any]:
    """Settings of an integration whose results may go to the channel."""
    return {"enabled": True, "return_hosts": [urlsplit(telex.url).netloc], **integration}


Start = Callable[..., Client]


@pytest.fixture
def start(tmp_path: Path, telex: Telex, exporter: ExporterWire) -> Iterator[Start]:
    """Starts a relay with the integration on a thread of this process."""
    exporter.answers["costs"] = COSTS
    with ExitStack() as stack:

        def started(aws_url: str = NOWHERE, **integration: Any) -> Client:
            settings = {"integration": enabled(telex, **integration), "exporter": {"url": exporter.url}}
            folder = tmp_path / f"relay{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            return Client(
                stack.enter_context(
                    running_app(folder, telex, aws_url=aws_url, read_timeout="3s", **settings)
                )
            )

        yield started


@pytest.fixture
def start_process(start_relay: StartRelay, telex: Telex, exporter: ExporterWire) -> StartRelay:
    """The same as a process of its own."""
    exporter.answers["costs"] = COSTS
    return lambda **more: start_relay(
        integration=enabled(telex, **more.pop("integration", {})), exporter={"url": exporter.url}, **more
    )


def result(telex: Telex, number: int = 1) -> dict[str, Any]:
    """The result with this number, once it is there."""
    deadline = time.monotonic() + 90
    while len(telex.accepted) < number:
        assert time.monotonic() < deadline, "no result"
        time.sleep(0.01)
    return dict(telex.accepted[number - 1])


def metric(relay: Client, name: str) -> float:
    lines = relay.get("/metrics").text.splitlines()
    return next(
        float(line.split()[-1]) for line in lines if line.startswith(f"aws_spend_exporter_relay_{name} ")
    )


def test_it_does_not_exist_unless_enabled(start: Start, telex: Telex, tmp_path: Path) -> None:
    relay = start(enabled=False)
    answers = [relay.get("/integration"), relay.get("/integration.json"), relay.post(tick(telex), "/tick")]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert "/tick" not in relay.get("/openapi.json").json()["paths"]
    assert not list(tmp_path.rglob("charges.sqlite"))


def test_a_tick_is_taken_at_once_and_answered_from_the_organization(
    start: Start, telex: Telex, exporter: ExporterWire
) -> None:
    relay = start()
    answer = relay.post(tick(telex, threshold=100.5), "/tick")
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    post = result(telex)
    lines = post.pop("message").splitlines()
    assert post == {"event_name": "AWS Spend Monitor", "status": "error", "username": "AWS Spend Exporter"}
    assert [line for line in lines if not line.startswith("Period: ")] == [
        "AWS Spend Monitor: above threshold",
        "Account: all accounts of the organization",
        "Spend: $123.46 (amortized)",
        "Threshold: $100.50, spend is 123% of it",
        "Status: above threshold",
        "AWS may still add to this cost.",
    ]
    ((name, asked, _),) = exporter.asked
    assert (name, asked["cost_type"], asked["start"]) == ("costs", "amortized", asked["end"])
    assert relay.post(tick(telex, threshold="123.46"), "/tick").status_code == 202
    assert (result(telex, 2)["status"], telex.messages[1].splitlines()[0]) == (
        "success",
        "AWS Spend Monitor: within budget",
    )
    assert (metric(relay, 'integration_ticks_total{outcome="above"}'), metric(relay, 'integration_ticks_total{outcome="within"}')) == (1, 1)  # fmt: skip


@pytest.mark.fault(
    "an exporter that is too busy for a tick", "it is asked again as it says, and the tick has its answer"
)
def test_a_tick_waits_for_an_exporter_that_is_busy(
    start: Start, telex: Telex, exporter: ExporterWire
) -> None:
    exporter.busy = 1
    relay = start()
    assert relay.post(tick(telex, threshold="123.46"), "/tick").status_code == 202
    assert result(telex)["message"].splitlines()[0] == "AWS Spend Monitor: within budget"
    assert [name for name, _, _ in exporter.asked] == ["costs", "costs"]


@pytest.mark.parametrize(
    ("values", "answers", "problem"),
    [
        ({"threshold": "abc"}, COSTS, "threshold: expected an amount in US dollars such as 100 or 100.50"),
        ({"frequency": "Weekly"}, COSTS, "frequency: expected Daily or Monthly"),
        ({"aws_access_key_id": KEY_ID}, COSTS, "aws_secret_access_key: is missing, while aws_access_key_id is set"),
        ({}, {**COSTS, "missing_days": ["2026-03-19"]}, "the exporter has not read 1 of the 1 days yet"),
        ({}, None, "the exporter's answer is not understood; is it of the same version?"),
        ({"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}, COSTS, "AWS cannot be reached"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_the_channel(
    start: Start,
    telex: Telex,
    exporter: ExporterWire,
    values: dict[str, Any],
    answers: Any,
    problem: str,
) -> None:
    exporter.answers["costs"] = answers
    relay = start()
    assert relay.post(tick(telex, **values), "/tick").status_code == 202
    post = result(telex)
    assert post["status"] == "error"
    assert post["message"].splitlines()[0] == "AWS Spend Monitor: no answer"
    assert f"Problem: {problem}" in post["message"].splitlines()


def test_organization_false_asks_for_keys(start: Start, telex: Telex, exporter: ExporterWire) -> None:
    relay = start(organization=False)
    assert relay.post(tick(telex), "/tick").status_code == 202
    assert "Problem: aws_access_key_id and aws_secret_access_key are needed here" in result(telex)["message"]
    assert exporter.asked == []


@pytest.mark.parametrize(
    "url",
    ["https://evil.example/x", "http://169.254.169.254/latest", "http://ping.telex.im/x", "https://telex.im@evil.example/", "x"],
)  # fmt: skip
def test_a_return_url_that_is_not_allowed_is_400_and_nothing_is_sent(
    start: Start, telex: Telex, exporter: ExporterWire, url: str
) -> None:
    relay = start()
    answer = relay.post({**tick(telex), "return_url": url}, "/tick")
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("return_url: ")
    assert (exporter.asked, telex.attempts) == ([], 0)
    assert metric(relay, 'refused_requests_total{reason="return_url"}') == 1


@pytest.mark.fault("a return_url that redirects, then answers 503", "only what may pass is tried again")
def test_a_redirect_is_not_followed_and_a_passing_failure_is_tried_again(start: Start, telex: Telex) -> None:
    telex.script = [302]
    relay = start()
    relay.post(tick(telex), "/tick")
    deadline = time.monotonic() + 90
    while metric(relay, 'integration_results_total{result="redirected"}') != 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (telex.attempts, telex.accepted) == (1, [])
    telex.script = [503]
    relay.post(tick(telex), "/tick")
    assert result(telex)["status"] == "error"
    assert metric(relay, 'integration_results_total{result="server_error"}') == 1


def test_callers_of_tick_present_what_is_configured_and_the_description_is_public(
    start: Start, telex: Telex
) -> None:
    relay = start(auth={"bearer": {"token_env": "RELAY_TOKEN"}})
    assert relay.get("/integration").status_code == 200
    assert relay.post(tick(telex), "/tick").status_code == 401
    assert relay.post(tick(telex), "/tick", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 202
    assert relay.post(notification()).status_code == 200  # alerts have credentials of their own


@pytest.mark.fault("more ticks than a minute allows", "429, and when to come again")
def test_ticks_are_limited(start: Start, telex: Telex) -> None:
    relay = start(max_ticks_per_minute=2)
    answers = [relay.post(tick(telex), "/tick") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert 0 < int(answers[2].headers["Retry-After"]) <= 30
    assert metric(relay, 'refused_requests_total{reason="rate_limited"}') == 1


@pytest.mark.fault("ticks whose results hang", "they are bounded, and alerts do not wait for them")
def test_ticks_that_wait_are_bounded_and_alerts_do_not_wait_for_them(start: Start, telex: Telex) -> None:
    telex.script = [HANG] * 2
    relay = start(max_concurrent_ticks=1)
    assert [relay.post(tick(telex), "/tick").status_code for _ in range(3)] == [202, 202, 503]
    while telex.attempts < 1:
        time.sleep(0.01)
    telex.script = []
    assert relay.post(notification()).status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{}", b'{"return_url": 1, "settings": []}', b'{"return_url": "https://telex.im"}', b"\xff",
     b'{"return_url": "https://telex.im", "settings": {}}', b'{"return_url": "https://telex.im", "settings": [1]}',
     b'{"return_url": "https://telex.im", "settings": [{"default": "planted-value"}]}', b'{"a":' * 20_000],
)  # fmt: skip
@pytest.mark.fault("a body of a tick that is malformed", "400, which does not repeat it")
def test_malformed_is_400_and_not_repeated(start: Start, body: bytes) -> None:
    relay = start()
    answer = requests.post(relay.base + "/tick", data=body, timeout=60)
    assert answer.status_code == 400
    assert "planted" not in answer.text


def test_the_description_names_its_address(start: Start) -> None:
    relay = start()
    data = relay.get("/integration").json()["data"]
    assert (data["tick_url"], data["website"]) == (f"{relay.base}/tick", relay.base)
    assert relay.get("/integration.json").json()["data"] == data
    logo = requests.get(data["descriptions"]["app_logo"], timeout=60)
    assert (logo.status_code, logo.headers["Content-Type"]) == (200, "image/svg+xml")
    for host in ("[", "a b", "x" * 3000, "é".encode().decode("latin-1")):
        answer = requests.get(f"{relay.base}/integration", headers={"Host": host}, timeout=60)
        assert answer.status_code in {200, 400}
    configured = start(base_url="https://relay.example/")
    assert configured.get("/integration").json()["data"]["tick_url"] == "https://relay.example/tick"


def test_a_tick_in_work_is_finished_at_sigterm(start_process: StartRelay, telex: Telex) -> None:
    telex.before_answer = lambda attempt: time.sleep(0.5)
    relay = start_process()
    assert relay.post(tick(telex), "/tick").status_code == 202
    assert relay.end() == 0
    assert len(telex.accepted) == 1


@pytest.mark.fault("SIGTERM while the result of a tick hangs", "the relay ends in time")
def test_a_tick_that_hangs_does_not_hold_up_the_end(start_process: StartRelay, telex: Telex) -> None:
    telex.script = [HANG]
    relay = start_process(read_timeout="60s")
    assert relay.post(tick(telex), "/tick").status_code == 202
    wait_for("it hangs", lambda: telex.attempts)
    began = time.monotonic()
    assert relay.end() == 0
    assert time.monotonic() - began < 30  # it would hang for a minute
    assert "ticks are not answered, the relay ends ticks=1" in relay.log.read_text()


@pytest.mark.fault("two relays with one folder of state", "the second does not start")
def test_two_relays_do_not_share_a_book_of_charges(tmp_path: Path, telex: Telex) -> None:
    settings = {"integration": enabled(telex)}
    with (
        running_app(tmp_path, telex, **settings),
        pytest.raises(LedgerLockedError, match="another process is writing"),
        running_app(tmp_path, telex, **settings),
    ):
        pass


def test_planted_secrets_are_nowhere(start_process: StartRelay, telex: Telex) -> None:
    """Keys, return_url and token: in no log line at DEBUG, metric, answer, result or file."""
    relay = start_process(integration={"auth": {"bearer": {"token_env": "RELAY_TOKEN"}}})
    headers = {"Authorization": f"Bearer {TOKEN}"}
    keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}
    bodies: list[Any] = [
        tick(telex, **keys),
        tick(telex, aws_access_key_id=SECRET, aws_secret_access_key=KEY_ID),
        tick(telex, threshold=SECRET, frequency=KEY_ID, interval=SECRET),
        {**tick(telex, **keys), "return_url": f"https://evil.example/{WEBHOOK_ID}"},
        {**tick(telex, **keys), "return_url": f"https://user:{SECRET}@telex.im/{WEBHOOK_ID}"},
        {"return_url": [WEBHOOK_ID], "settings": [SECRET, {"label": [KEY_ID]}, {KEY_ID: SECRET}]},
        {SECRET: KEY_ID},
    ]
    telex.script = [500, 302, 404, 200]
    seen = [relay.post(body, "/tick", headers=headers) for body in bodies]
    seen.append(relay.post(bodies[0], "/tick", headers={"Authorization": f"Bearer {TOKEN}x"}))
    assert [answer.status_code for answer in seen] == [202, 202, 202, 400, 400, 400, 400, 401]
    deadline = time.monotonic() + 90
    while telex.attempts < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(telex.accepted) == 1
    seen += [relay.get(path) for path in ("/metrics", "/integration", "/openapi.json")]
    assert relay.end() == 0
    texts = [f"{answer.headers} {answer.text}" for answer in seen] + [relay.log.read_text()]
    texts += [json.dumps(post) for post in telex.accepted]
    files = [path for path in (relay.folder / "state").rglob("*") if path.is_file()]
    texts += [path.read_bytes().decode("latin-1") for path in files]
    assert any(path.name == "charges.sqlite" for path in files)
    for text in texts:
        for secret in (KEY_ID, SECRET, WEBHOOK_ID, TOKEN):
            assert secret not in text
    # It has logged: that nothing was found is not for want of log lines.
    assert 'tick answered outcome=no_answer problem="AWS cannot be reached"' in relay.log.read_text()


@pytest.mark.fault("the ceiling of ticks is reached", "no paid request is sent")
def test_a_ceiling_that_is_reached_sends_no_paid_request(start: Start, telex: Telex) -> None:
    """The wire is a server that says what it was asked; STS answers, Cost Explorer is not asked."""
    asked: list[str] = []
    identity = (
        "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::111111111111:user/x</Arn>"
        "<UserId>x</UserId><Account>111111111111</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
    )

    class Aws(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.headers.get("X-Amz-Target") or "sts")
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(identity)))
            self.end_headers()
            self.wfile.write(identity.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Aws)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        relay = start(f"http://127.0.0.1:{server.server_address[1]}", ceiling={"day": 0.005, "month": None})
        relay.post(tick(telex, aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET), "/tick")
        problem = "the relay has spent what relay.integration.ceiling allows on such requests"
        assert f"Problem: {problem}" in result(telex)["message"]
        assert asked == ["sts"]
        assert metric(relay, 'integration_ceiling_remaining_usd{period="day"}') == 0.005
        charged = [
            line for line in relay.get("/metrics").text.splitlines() if "api_charges_usd_total{" in line
        ]
        assert sum(float(line.split()[-1]) for line in charged) == 0
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
