"""Simulated organisations whose accounts own one of everything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulated_aws import OrganizationSpec, SimulatedAws


@pytest.fixture(scope="session")
def shared_aws() -> Iterator[SimulatedAws]:
    with SimulatedAws(OrganizationSpec(seed=11, accounts=2, days=60, services=5, instances=6)) as aws:
        yield aws


@pytest.fixture
def aws(shared_aws: SimulatedAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedAws]:
    """The shared organisation, whose environment is this process's; its faults end with the test."""
    for name, value in shared_aws.environment().items():
        monkeypatch.setenv(name, value)
    shared_aws.requests.clear()
    yield shared_aws
    shared_aws.faults.clear()
    shared_aws.requests.clear()
