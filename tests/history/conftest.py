"""Ledgers, endpoints that record, and real servers that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from history_harness import DAY, Prometheus, Prometheus3, Server, VictoriaMetrics, Writer, today
from recording_endpoint import RecordingEndpoint

from exporter.history.settings import HistorySettings
from exporter.ledger.file import Ledger

MakeServer = Callable[..., Any]
SERVERS = {server.program: server for server in (Prometheus, Prometheus3, VictoriaMetrics)}


@pytest.fixture(autouse=True)
def _yesterday(
    _within_one_day: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may begin before midnight and end after it: yesterday is that of the test, not of the import."""
    if hasattr(request.module, "YESTERDAY"):
        monkeypatch.setattr(request.module, "YESTERDAY", today() - DAY)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


@pytest.fixture
def endpoint() -> Iterator[RecordingEndpoint]:
    endpoint = RecordingEndpoint()
    yield endpoint
    endpoint.close()


@pytest.fixture
def make_writer(ledger: Ledger) -> Iterator[Callable[..., Writer]]:
    """Makes writers on the test's ledger."""
    made: list[Writer] = []

    def make(
        url: str, of: Ledger | None = None, clock: Any = None, stopped: Any = None, **more: Any
    ) -> Writer:
        settings = HistorySettings.model_validate({"write_url": url, "timeout": "60s", **more})
        given = {"clock": clock, "stopped": stopped}
        made.append(Writer(of or ledger, settings, **{name: value for name, value in given.items() if value}))
        return made[-1]

    yield make
    for writer in made:
        writer.close()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """Starts real servers by the name of their program."""
    made: list[Server] = []

    def make(program: str = "prometheus", **options: Any) -> Server:
        made.append(SERVERS[program](tmp_path / f"{program}-{len(made)}", **options))
        return made[-1].start()

    yield make
    for server in made:
        server.stop()
