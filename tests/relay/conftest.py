"""Fixtures: a Telex channel, and relays that end with the test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from relay_harness import ExporterWire, Relay, Telex


@pytest.fixture
def telex() -> Iterator[Telex]:
    sink = Telex()
    yield sink
    sink.close()


@pytest.fixture
def exporter() -> Iterator[ExporterWire]:
    wire = ExporterWire()
    yield wire
    wire.close()


@pytest.fixture
def start_relay(tmp_path: Path, telex: Telex) -> Iterator[Callable[..., Relay]]:
    started: list[Relay] = []

    def start(url: str | None = None, **settings: Any) -> Relay:
        relay = Relay(tmp_path, url or telex.url, **settings)
        started.append(relay)
        return relay.start()

    yield start
    for relay in started:
        if relay.process is not None and relay.process.poll() is None:
            relay.process.kill()
            relay.process.wait()
