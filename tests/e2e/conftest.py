"""Exporters and simulated organizations that end with their test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from organizations import MakeAws, making_aws
from running_exporter import Exporter, MakeExporter

from simulated_aws import SimulatedAws


@pytest.fixture
def make_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeAws]:
    """Starts simulated organizations."""
    with making_aws(monkeypatch, seed=3, accounts=10, services=5, days=120, instances=1) as make:
        yield make


@pytest.fixture
def make_exporter(tmp_path: Path) -> Iterator[MakeExporter]:
    """Makes exporters as processes; the folder of each is `name` below the test's own."""
    made: list[Exporter] = []

    def make(
        aws: SimulatedAws | Mapping[str, str], config: Mapping[str, Any], name: str = "exporter"
    ) -> Exporter:
        environment = aws.environment() if isinstance(aws, SimulatedAws) else aws
        made.append(Exporter(tmp_path / name, environment, config))
        return made[-1]

    yield make
    for exporter in made:
        exporter.kill()
