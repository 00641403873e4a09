"""Current samples by remote write: what a scrape would have read, at this moment, and no longer than it is true."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import moments
import pytest
import requests
from prometheus_client import CollectorRegistry
from recording_endpoint import RecordingEndpoint, Request

from exporter.history.endpoint import EndpointError
from exporter.history.live import LiveSample, LiveWrite, LiveWriteMetrics
from exporter.history.live_settings import LiveWriteSettings

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
AT = int(NOW.timestamp() * 1000)
SAMPLES: list[LiveSample] = [
    ("aws_cost_today_usd", {"account_id": "1", "job": "own"}, 1.25),
    ("aws_cost_today_usd", {"account_id": "2"}, 2.5),
    ("runs_total", {}, 3.0),
    ("seconds_bucket", {"le": "1.0"}, 1.0),
    ("seconds_bucket", {"le": "+Inf"}, 2.0),
    ("seconds_count", {}, 2.0),
    ("seconds_sum", {"empty": ""}, 1.5),
]


def live(
    endpoint: RecordingEndpoint, samples: Callable[[], list[LiveSample]], **settings: Any
) -> tuple[LiveWrite, CollectorRegistry]:
    registry = CollectorRegistry()
    read = LiveWriteSettings.model_validate({"url": endpoint.write_url, "timeout": "60s", **settings})
    return LiveWrite(read, samples, lambda: NOW, LiveWriteMetrics(registry)), registry


def test_a_push_has_the_labels_of_a_scrape(endpoint: RecordingEndpoint) -> None:
    pusher, registry = live(endpoint, lambda: SAMPLES)
    assert pusher.push() == 8
    assert sorted(endpoint.taken) == sorted(
        (tuple(sorted({"__name__": name, "job": "aws-spend-exporter", **labels}.items())), AT, value)
        for name, labels, value in [
            ("up", {}, 1.0),
            ("aws_cost_today_usd", {"account_id": "1", "job": "own"}, 1.25),
            ("aws_cost_today_usd", {"account_id": "2"}, 2.5),
            ("runs_total", {}, 3.0),
            ("seconds_bucket", {"le": "1.0"}, 1.0),
            ("seconds_bucket", {"le": "+Inf"}, 2.0),
            ("seconds_count", {}, 2.0),
            ("seconds_sum", {}, 1.5),
        ]
    )
    assert (
        registry.get_sample_value("aws_spend_exporter_live_write_last_success_timestamp_seconds") == AT / 1000
    )


def test_a_series_that_is_gone_is_ended_once(endpoint: RecordingEndpoint) -> None:
    scrapes = [SAMPLES, [SAMPLES[0], *SAMPLES[2:]]]
    pusher, _ = live(endpoint, lambda: scrapes.pop(0) if len(scrapes) > 1 else scrapes[0])
    for _ in range(3):
        pusher.push()
    ended = [
        [dict(labels) for labels, _, value in request.samples if struct.pack("<d", value) == struct.pack("<Q", 0x7FF0000000000002)]
        for request in endpoint.requests
    ]  # fmt: skip
    gone = {"__name__": "aws_cost_today_usd", "account_id": "2", "job": "aws-spend-exporter"}
    assert ended == [[], [gone], []]


@pytest.mark.fault(
    "the endpoint of live samples answers 503", "the push is counted as failed, the next one is newer"
)
def test_what_could_not_be_sent_is_dropped_and_counted(endpoint: RecordingEndpoint) -> None:
    """Live samples are not queued: the next push is newer. A series that ended meanwhile is ended then."""
    pusher, registry = live(endpoint, lambda: SAMPLES)
    pusher.push()
    endpoint.answer = lambda request: (503, "no")
    with pytest.raises(EndpointError):
        pusher.push()
    endpoint.answer = lambda request: (204, "")
    assert pusher.push() == 8
    assert len(endpoint.taken) == 16
    endpoint.answer = lambda request: (400, "out of bounds")
    assert pusher.push() == 0
    assert registry.get_sample_value("aws_spend_exporter_live_write_samples_rejected_total") == 8


@pytest.mark.fault(
    "a filter holds one live series back", "the push is counted as failed, the others are taken"
)
def test_a_push_of_which_a_series_is_held_back_has_failed(endpoint: RecordingEndpoint) -> None:
    def answer(request: Request) -> tuple[int, str]:
        held = any(dict(labels)["__name__"] == "runs_total" for labels, _, _ in request.samples)
        return (400, "<html>Blocked</html>") if held else (204, "")

    endpoint.answer = answer
    pusher, registry = live(endpoint, lambda: SAMPLES)
    with pytest.raises(EndpointError, match="1 of 8 samples were not taken"):
        pusher.push()
    assert len(endpoint.taken) == 7
    last = "aws_spend_exporter_live_write_last_success_timestamp_seconds"
    assert registry.get_sample_value(last) == AT / 1000
    assert registry.get_sample_value("aws_spend_exporter_live_write_samples_rejected_total") == 0


@pytest.mark.fault(
    "a filter refuses a whole batch of live series",
    "the other batches are taken; a series that ended is ended once it is let through",
)
def test_a_batch_that_is_refused_holds_no_other_back(endpoint: RecordingEndpoint) -> None:
    many: list[LiveSample] = [("many", {"number": f"{number:05}"}, 1.0) for number in range(2500)]
    samples = many.copy()
    pusher, _ = live(endpoint, lambda: samples)
    assert pusher.push() == 2501
    samples = many[1:]

    def answer(request: Request) -> tuple[int, str]:
        numbers = [dict(labels).get("number", "") for labels, _, _ in request.samples]
        return (204, "") if all(number >= "02000" for number in numbers) else (400, "<html>Blocked</html>")

    gone = {("number", "00000")}
    endpoint.taken.clear()
    endpoint.answer = answer
    with pytest.raises(EndpointError, match="samples were not taken"):
        pusher.push()
    taken = {dict(labels)["number"] for labels, _, _ in endpoint.taken}
    assert taken >= {f"{number:05}" for number in range(2001, 2500)}
    endpoint.answer = lambda request: (204, "")
    pusher.push()
    ended = [labels for labels, _, value in endpoint.taken if math.isnan(value)]
    assert [gone <= set(labels) for labels in ended] == [True]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"interval": "5m"}, "between 1s and 2m"),
        ({"url": "http://user:password@host/"}, "without user name and password"),
        ({"bearer": {"token_env": "A"}, "sigv4": {"region": "eu-west-1"}}, "at most one of"),
    ],
)
def test_settings_that_cannot_work_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LiveWriteSettings.model_validate(bad)


@pytest.mark.stack
def test_prometheus_holds_what_metrics_shows_though_it_scrapes_nothing(
    make_server: Callable[..., Any], tmp_path: Path
) -> None:
    """An exporter without AWS: it says so itself, pushed, and is `up`; what it no longer says ends."""
    prometheus = make_server()
    config = tmp_path / "config.yaml"
    config.write_text(
        json.dumps(
            {
                "data_dir": str(tmp_path / "data"),
                "server": {"port": 0},
                "aws": {"endpoint_url": "http://127.0.0.1:1"},
                "live_write": {
                    "url": f"http://127.0.0.1:{prometheus.port}/api/v1/write",
                    "interval": "1s",
                    "labels": {"job": "aws-spend-exporter", "cluster": "task"},
                },
            }
        )
    )
    log = tmp_path / "log"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B" * 10,
        **moments.python_path(),
    }  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "aws-spend-exporter", "run", "-c", config],
            env=environment, cwd=tmp_path, stdout=output, stderr=output,
        )  # fmt: skip

    def query(expression: str) -> dict[str, str]:
        url = f"http://127.0.0.1:{prometheus.port}/api/v1/query"
        result = requests.get(url, params={"query": expression}, timeout=60).json()["data"]["result"]
        return {json.dumps(row["metric"], sort_keys=True): row["value"][1] for row in result}

    try:
        labels = {"job": "aws-spend-exporter", "cluster": "task"}
        wanted = {json.dumps({"__name__": "up", **labels}, sort_keys=True): "1"}
        deadline = time.monotonic() + 90
        while query("up") != wanted or len(query('{__name__=~"aws_spend_exporter_.+"}')) < 10:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.3)
        (found,) = query("aws_spend_exporter_build_info")
        assert json.loads(found).items() >= {**labels, "__name__": "aws_spend_exporter_build_info"}.items()
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
