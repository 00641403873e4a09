"""One simulated organisation for a module, put back after each test, and exporters that are closed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from usage_harness import NOW, REGION, MakePoller, Poller

from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws
from exporter.aws.meter import Meter
from exporter.aws.settings import CeilingSettings
from simulated_aws import OrganizationSpec, SimulatedAws


@pytest.fixture(scope="module")
def shared_aws() -> Iterator[SimulatedAws]:
    # A seed of its own: moto's backends are those of the process, by account id.
    spec = OrganizationSpec(seed=13, accounts=3, services=2, now=NOW, days=120, instances=3)
    with SimulatedAws(spec, costs=()) as aws, pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment().items():
            patch.setenv(name, value)
        yield aws


@pytest.fixture
def aws(shared_aws: SimulatedAws) -> Iterator[SimulatedAws]:
    late = shared_aws.metrics.late_seconds
    yield shared_aws
    shared_aws.metrics.late_seconds = late
    shared_aws.faults.clear()
    shared_aws.clock.set(NOW)
    shared_aws.requests.clear()


@pytest.fixture(scope="module")
def client(shared_aws: SimulatedAws) -> Iterator[Aws]:
    meter = Meter(MemoryCharges(), CeilingSettings(), shared_aws.clock.now, CollectorRegistry())
    client = Aws(meter, region=REGION, endpoint_url=shared_aws.url, simulated=True)
    yield client
    client.close()


@pytest.fixture
def make_poller(tmp_path: Path, aws: SimulatedAws, client: Aws) -> Iterator[MakePoller]:
    """Makes pollers; each new one has a ledger of its own unless a folder is named twice."""
    made: list[Poller] = []

    def make(name: str = "ledger", **more: Any) -> Poller:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        made.append(Poller(aws, client, folder, **more))
        return made[-1]

    yield make
    for poller in made:
        poller.close()
