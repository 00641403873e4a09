"""Bodies of every shape: what is malformed is a 400 that says why, and nothing is a 500."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from relay_harness import ExporterWire, Telex, notification, running_app, spend_alert

from exporter.relay.alertmanager import Notification
from exporter.relay.gate import describe
from exporter.relay.message import Links, render
from exporter.relay.templating import Templates

TEMPLATES = Templates()


class Client:
    """One connection to a relay that runs on a thread of this process."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.session = requests.Session()
        self.session.trust_env = False

    def post(self, path: str, **arguments: Any) -> requests.Response:
        return self.session.post(self.base + path, timeout=20, **arguments)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("relay")
    sink = Telex()
    exporter = ExporterWire()
    integration = {"enabled": True, "return_hosts": ["127.0.0.1:9"], "max_ticks_per_minute": 10_000}
    with running_app(
        folder,
        sink,
        retry_window="1ms",
        max_body_bytes=100_000,
        integration=integration,
        exporter={"url": exporter.url},
    ) as base:
        opened = Client(base)
        yield opened
        opened.session.close()
    sink.close()
    exporter.close()


def bad(change: Callable[[dict[str, Any]], object]) -> bytes:
    payload = notification()
    change(payload)
    return json.dumps(payload).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe\x00",
        b'{"version": "4", "groupKey": "\xff"}',
        b"[" * 50_000,
        b'{"a":' * 15_000,
        b"null",
        b"[]",
        b'"text"',
        b"1e999",
        b"NaN",
        b"x" * 100_001,
        bad(lambda payload: payload.pop("alerts")),
        bad(lambda payload: payload.update(alerts=[])),
        bad(lambda payload: payload.update(alerts={})),
        bad(lambda payload: payload.update(version="5")),
        bad(lambda payload: payload.update(version=4)),
        bad(lambda payload: payload.update(status="unknown")),
        bad(lambda payload: payload.update(groupKey=None)),
        bad(lambda payload: payload.update(truncatedAlerts=-1)),
        bad(lambda payload: payload.update(truncatedAlerts=10**40)),
        bad(lambda payload: payload["alerts"][0].update(labels={"a": 1})),
        bad(lambda payload: payload["alerts"][0].update(labels={"a": {"b": {}}})),
        bad(lambda payload: payload["alerts"][0].update(annotations=[])),
        bad(lambda payload: payload["alerts"][0].update(startsAt="yesterday")),
        bad(lambda payload: payload["alerts"][0].update(startsAt="2026-01-05T14:02:31")),
        bad(lambda payload: payload["alerts"][0].update(startsAt=1767621751)),
        bad(lambda payload: payload["alerts"][0].update(endsAt=-1.5)),
        bad(lambda payload: payload.update(truncatedAlerts="5")),
        bad(lambda payload: payload["alerts"][0].pop("startsAt")),
        bad(lambda payload: payload.update(externalURL=chr(0xD800))),
    ],
)
@pytest.mark.fault("a notification that is malformed or too large", "400, which says why")
def test_malformed_is_400_and_says_why(client: Client, body: bytes) -> None:
    answer = client.post("/alerts", data=body)
    assert answer.status_code == 400
    assert 0 < len(answer.json()["detail"]) < 1500


def test_what_is_wrong_is_said_without_what_the_caller_chose() -> None:
    labels = {"a b\nERROR forged": 1, "name": 1, "x" * 65: 1}
    assert outcome(json.dumps(notification(spend_alert(labels=labels), commonLabels={}))) == (
        "alerts.0.labels.?: Input should be a valid string; "
        "alerts.0.labels.name: Input should be a valid string; "
        "alerts.0.labels.?: Input should be a valid string"
    )


def test_unknown_fields_are_ignored(client: Client) -> None:
    assert client.post("/alerts", json={**notification(), "newer": {"field": 1}}).status_code == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["4", "firing"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
FIELDS = st.sampled_from([*notification(), *spend_alert()])


@given(FIELDS, JSON)
@settings(max_examples=500, deadline=None)
def test_a_body_is_either_described_or_rendered(field: str, value: Any) -> None:
    text = outcome(json.dumps(with_field(field, value)))
    assert 0 < len(text) < 5000


def outcome(body: str) -> str:
    try:
        read = Notification.model_validate_json(body)
    except ValidationError as error:
        return describe(error)
    return render(read, Links(), 4096, 10, TEMPLATES).parts[0]


def with_field(field: str, value: Any) -> dict[str, Any]:
    payload = notification()
    (payload if field in payload and field != "status" else payload["alerts"][0])[field] = value
    return payload


@given(FIELDS, JSON)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_field_of_any_type_is_never_a_500(client: Client, field: str, value: Any) -> None:
    body = json.dumps(with_field(field, value)).encode()
    assert client.post("/alerts", data=body).status_code in {200, 400}


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_other_body_is_400(client: Client, body: bytes) -> None:
    assert client.post("/alerts", data=body).status_code == 400


STAMPS = st.sampled_from(
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00Z", 0, 1e12, -1e12, "2026-02-30T00:00:00Z"]
)  # fmt: skip


@given(STAMPS, STAMPS, st.sampled_from(["firing", "resolved"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_times_at_the_edges_are_never_a_500(client: Client, start: Any, end: Any, status: str) -> None:
    payload = notification(spend_alert(startsAt=start, endsAt=end, status=status))
    assert client.post("/alerts", json=payload).status_code in {200, 400}


SETTING = st.fixed_dictionaries(
    {}, optional={"label": JSON | st.sampled_from(["threshold", "frequency", "interval"]), "default": JSON}
)
TICKS = st.fixed_dictionaries(
    {},
    optional={
        "channel_id": JSON,
        "return_url": JSON | st.just("http://127.0.0.1:9/x"),
        "settings": JSON | st.lists(SETTING | JSON, max_size=4),
    },
)
NOTIFICATIONS = st.builds(with_field, FIELDS, JSON)
BODIES = st.binary(max_size=200) | (JSON | TICKS | NOTIFICATIONS).map(
    lambda value: json.dumps(value).encode()
)
PATHS = st.sampled_from(["/alerts", "/alerts/default", "/alerts/none", "/tick"])
LONG = settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))


def is_never_a_500(client: Client, path: str, body: bytes) -> None:
    # 503: ticks that wait are bounded.
    assert client.post(path, data=body).status_code in {200, 202, 400, 404, 503}


@given(PATHS, BODIES)
@settings(LONG, max_examples=300)
@pytest.mark.fault("any bytes or JSON on any address", "no 500")
def test_no_payload_is_a_500(client: Client, path: str, body: bytes) -> None:
    is_never_a_500(client, path, body)


@pytest.mark.long
@pytest.mark.timeout(600)
@given(PATHS, BODIES)
@LONG
def test_no_payload_of_10_000_is_a_500(client: Client, path: str, body: bytes) -> None:
    is_never_a_500(client, path, body)
