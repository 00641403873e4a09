"""Exporters that are stopped and simulated organisations that are closed, whatever a test does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from running_exporter import Exporter, MakeAws, MakeExporter

from simulated_aws import OrganizationSpec, SimulatedAws


@pytest.fixture
def make_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeAws]:
    """Starts simulated organisations; this process' environment becomes that of the last one."""
    made: list[SimulatedAws] = []

    def make(**spec: Any) -> SimulatedAws:
        defaults = {"seed": 3, "accounts": 10, "services": 5, "days": 120, "instances": 1}
        aws = SimulatedAws(OrganizationSpec(**(defaults | spec)))
        aws.start()
        made.append(aws)
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        return aws

    yield make
    for aws in made:
        aws.stop()


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
