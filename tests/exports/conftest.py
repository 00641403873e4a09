"""Simulated organisations with exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from simulated_aws import OrganizationSpec, SimulatedAws

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
MakeAws = Callable[..., SimulatedAws]


@pytest.fixture
def make_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeAws]:
    """Starts simulated organisations; this process' environment becomes that of the last one."""
    made: list[SimulatedAws] = []

    def make(**spec: Any) -> SimulatedAws:
        defaults = {"seed": 11, "accounts": 3, "services": 4, "now": NOW, "days": 50, "varied_charges": True}
        aws = SimulatedAws(OrganizationSpec(**(defaults | spec)))
        aws.start()
        made.append(aws)
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        return aws

    yield make
    for aws in made:
        aws.stop()
