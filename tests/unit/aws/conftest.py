"""What the tests of requests to AWS share; each file has a simulated AWS of its kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simulated_aws import SimulatedAws


@pytest.fixture
def wire(simulated: SimulatedAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedAws]:
    """The file's simulated AWS, without faults and without a past, and credentials for it in the environment."""
    for name, value in simulated.environment().items():
        monkeypatch.setenv(name, value)
    simulated.requests.clear()
    yield simulated
    simulated.faults.clear()
    simulated.requests.clear()
