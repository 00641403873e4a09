"""Nothing that Alertmanager may send is answered 500, and what is answered 200 has reached the channel."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from relay_harness import ExporterWire, Telex, notification, running_app, spend_alert

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
DIGITS = st.integers(1, 5000).map(lambda count: "9" * count)
NUMBERS = st.one_of(
    st.sampled_from(["", "0", "-0", "NaN", "sNaN", "inf", "-Inf", "+Inf", "1_000", "1,5", "0x10", "٣", " 7 ", "1e", ".", "$5"]),
    st.sampled_from(["1e1000000", "1e-999999", "-1e1000000", "0e1000000", "1e999999999999999999", "1e-1000000", "9e999999"]),
    st.floats().map(str),
    st.decimals().map(str),
    st.builds(lambda sign, digits, exponent: f"{sign}{digits}e{exponent}", st.sampled_from(["", "-", "+"]), DIGITS, st.integers()),
    DIGITS,
    DIGITS.map(lambda digits: f"-0.{digits}"),
)  # fmt: skip
MOMENTS = st.builds(
    lambda year, rest, fraction, zone: f"{year:04}-{rest}{fraction}{zone}",
    st.sampled_from([0, 1, 2, 1970, 2026, 9998, 9999]),
    st.sampled_from(["01-01T00:00:00", "12-31T23:59:59", "02-29T12:00:00", "02-30T00:00:00", "06-15T23:59:60", "06-15T24:00:00"]),
    st.sampled_from(["", ".1", ".123456789", ".999999999"]),
    st.sampled_from(["Z", "+00:00", "-00:00", "+14:00", "-12:00", "+23:59", "-23:59", "+24:00", "+05:30"]),
)  # fmt: skip
VALUES = TEXT | NUMBERS
NAMES = st.sampled_from(
    ["alertname", "account", "account_id", "severity", "scope", "period", "subject", "service", "spend", "threshold", "title",
     "summary", "description", "days", "cost_type", "dashboard_url", "runbook_url"]
) | TEXT  # fmt: skip
MAPS = st.dictionaries(NAMES, VALUES, max_size=8) | st.none()
UNKNOWN = st.dictionaries(
    st.sampled_from(["newer", "notificationReason", "x"]),
    st.none() | st.integers() | st.lists(TEXT, max_size=2),
    max_size=2,
)


@st.composite
def alerts(draw: st.DrawFn) -> dict[str, Any]:
    """One alert, with members left out or null where Go may do so."""
    optional = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "labels": MAPS,
                "endsAt": MOMENTS | st.none(),
                "generatorURL": TEXT | st.none(),
                "fingerprint": TEXT | st.none(),
            },
        )
    )
    annotations = draw(MAPS)
    numbers = draw(st.fixed_dictionaries({}, optional={"spend": NUMBERS, "threshold": NUMBERS}))
    return {
        **draw(UNKNOWN),
        "status": draw(st.sampled_from(["firing", "resolved"])),
        "startsAt": draw(MOMENTS),
        "annotations": annotations if annotations is None else {**annotations, **numbers},
        **optional,
    }


@st.composite
def notifications(draw: st.DrawFn) -> dict[str, Any]:
    """One notification; now and then of thousands of alerts, or of very long ones."""
    listed = draw(st.lists(alerts(), min_size=1, max_size=6))
    times = draw(st.sampled_from([1] * 20 + [40, 300]))
    # A larger body than the relay takes is refused, and that is said.
    times = max(1, min(times, (4 << 20) // len(json.dumps(listed))))
    more = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "truncatedAlerts": st.integers(0, 10**9),
                "receiver": TEXT | st.none(),
                "groupLabels": MAPS,
                "commonLabels": MAPS,
                "commonAnnotations": MAPS,
                "externalURL": TEXT
                | st.sampled_from(["http://alertmanager:9093", "https://[", "http://x y"])
                | st.none(),
            },
        )
    )
    return {
        **draw(UNKNOWN),
        "version": "4",
        "groupKey": draw(TEXT.filter(bool)),
        "status": draw(st.sampled_from(["firing", "resolved"])),
        "alerts": listed * times,
        **more,
    }


@dataclass
class Wire:
    """A relay, and the channel that it posts to."""

    base: str
    telex: Telex
    session: requests.Session
    sent: int = 0

    def post(self, path: str, body: Any) -> requests.Response:
        return self.session.post(self.base + path, data=json.dumps(body).encode(), timeout=60)


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    sink, exporter = Telex(), ExporterWire()
    integration = {
        "enabled": True, "return_hosts": [urlsplit(sink.url).netloc], "max_ticks_per_minute": 10_000, "max_concurrent_ticks": 64,
    }  # fmt: skip
    with (
        running_app(
            tmp_path_factory.mktemp("relay"), sink, exporter={"url": exporter.url}, integration=integration
        ) as base,
        requests.Session() as session,
    ):
        session.trust_env = False
        yield Wire(base, sink, session)
    sink.close()
    exporter.close()


def check_notification(wire: Wire, payload: dict[str, Any]) -> None:
    """200, and the channel has the whole message, which lists or counts each alert."""
    wire.sent += 1
    # Each is another group: what was sent before would not be sent again.
    payload = {**payload, "groupKey": f"{wire.sent} {payload['groupKey']}"}
    wire.telex.accepted.clear()
    answer = wire.post("/alerts", payload)
    assert (answer.status_code, answer.text) == (200, '{"detail":"delivered"}')
    messages = wire.telex.messages
    assert 1 <= len(messages) <= 10
    assert all(len(message.encode()) <= 4096 for message in messages)
    assert wire.telex.accepted[0]["status"] == ("error" if payload["status"] == "firing" else "success")
    if len(messages) > 1:
        heads = [message.split("\n", 1)[0] for message in messages]
        assert heads == [f"Part {number} of {len(messages)}" for number in range(1, len(messages) + 1)]
    lines = [line for message in messages for line in message.split("\n")]
    # A line may be cut where a part ends; these are short, and stand at the start of theirs.
    listed = sum(bool(re.match(r"Status: (firing|resolved)", line)) for line in lines)
    counted = [int(found[1]) for line in lines if (found := re.match(r"And (\d+) more alerts? that", line))]
    assert len(counted) <= 1
    assert listed + sum(counted) == len(payload["alerts"]) + payload.get("truncatedAlerts", 0)


ONE = notification(spend_alert())
NUMBERED = [
    notification(spend_alert(annotations={"spend": spend, "threshold": threshold}))
    for spend, threshold in (
        ("1e1000000", "1"),
        ("1", "1e-999999"),
        ("9" * 5000, "-9e999999"),
        ("0e1000000", "0e-999999"),
    )
]


@example(NUMBERED[0])
@example(NUMBERED[1])
@example(NUMBERED[2])
@example(NUMBERED[3])
@example({**ONE, "alerts": [spend_alert(labels={"n": "x" * 4_000}, annotations=None)] * 1000})
@given(notifications())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.fault(
    "anything that Alertmanager's webhook may hold",
    "200, and the channel has it: each alert listed or counted",
)
def test_whatever_alertmanager_sends_reaches_the_channel(wire: Wire, payload: dict[str, Any]) -> None:
    check_notification(wire, payload)


@pytest.mark.long
@pytest.mark.timeout(3600)
@given(notifications())
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_ten_thousand_notifications_reach_the_channel(wire: Wire, payload: dict[str, Any]) -> None:
    check_notification(wire, payload)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
LABELS = st.sampled_from(["threshold", "frequency", "interval", "aws_access_key_id", "aws_secret_access_key"])
TICKS = st.fixed_dictionaries(
    {"return_url": st.just("own") | JSON},
    optional={
        "channel_id": TEXT | st.none(),
        "settings": st.lists(
            st.fixed_dictionaries({"label": LABELS | TEXT}, optional={"type": JSON, "default": JSON | NUMBERS}),
            max_size=6,
        ) | JSON,
    },
)  # fmt: skip
COSTS = {"total_usd": "12.5", "missing_days": [], "read_at": None}


def check_tick(wire: Wire, tick: dict[str, Any]) -> None:
    """Taken and answered in the channel, or 400."""
    before = len(wire.telex.accepted)
    url = wire.telex.url if tick["return_url"] == "own" else tick["return_url"]
    answer = wire.post("/tick", {**tick, "return_url": url})
    assert answer.status_code in {202, 400}, answer.text
    if answer.status_code == 202:
        message = wire.telex.wait_for(before)
        assert re.match(r"AWS Spend Monitor: (no answer|above threshold|within budget)\n", message)
        assert "the relay failed" not in message


@given(TICKS)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.fault("a tick with settings of any type and size", "202 and an answer in the channel, or 400")
def test_any_tick_is_answered_or_refused(wire: Wire, tick: dict[str, Any]) -> None:
    check_tick(wire, tick)


@pytest.mark.long
@pytest.mark.timeout(3600)
@given(TICKS)
@settings(max_examples=5_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_five_thousand_ticks_are_answered_or_refused(wire: Wire, tick: dict[str, Any]) -> None:
    check_tick(wire, tick)


@pytest.mark.parametrize(
    "total", ["1e1000000", "9" * 40, "-1e30", "0e999999"], ids=["exponent", "40 digits", "negative", "zero"]
)
@pytest.mark.fault("an amount of any size in the exporter's answer", "the tick is answered all the same")
def test_an_exporter_that_answers_nonsense_leaves_no_tick_without_an_answer(
    total: str, telex: Telex, exporter: ExporterWire, tmp_path: Any
) -> None:
    exporter.answers["costs"] = {**COSTS, "total_usd": total}
    integration = {"enabled": True, "return_hosts": [urlsplit(telex.url).netloc]}
    with running_app(tmp_path, telex, exporter={"url": exporter.url}, integration=integration) as base:
        tick = {"return_url": telex.url, "settings": [{"label": "threshold", "default": 1}]}
        assert requests.post(f"{base}/tick", json=tick, timeout=60).status_code == 202
        assert telex.wait_for(0).startswith("AWS Spend Monitor: ")


@given(st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=300))
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.fault("a Host header of any form", "the description of the integration is answered, or 400")
def test_any_host_header_is_answered_or_refused(wire: Wire, host: str) -> None:
    answer = wire.session.get(
        f"{wire.base}/integration", headers={"Host": host.encode("latin-1")}, timeout=60
    )
    assert answer.status_code in {200, 400}, answer.text


def test_the_numbers_are_generated() -> None:
    """What the property is about is among what it draws."""
    found = set()

    @given(NUMBERS)
    @settings(max_examples=500, deadline=None, database=None)
    def draw(text: str) -> None:
        with_exponent = re.fullmatch(r"[-+]?9+e([-+]?\d+)", text)
        found.add("huge" if with_exponent and abs(int(with_exponent[1])) > 999_999 else "")
        found.add("long" if len(text) > 1000 else "")
        found.add("nan" if text.lower() == "nan" else "")
        found.add("inf" if text.lower().endswith("inf") and math.isinf(float(text)) else "")

    draw()
    assert {"huge", "long", "nan", "inf"} <= found
