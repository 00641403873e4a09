"""A running simulated AWS and boto3 clients for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from simulated_calls import NOW, Client, client_of

from simulated_aws import OrganizationSpec, SimulatedAws


@pytest.fixture(scope="module")
def shared_aws() -> Iterator[SimulatedAws]:
    """One organisation for the tests of a module; they take back what they change."""
    spec = OrganizationSpec(seed=7, accounts=25, services=6, groups_per_page=7, now=NOW, days=430)
    with SimulatedAws(spec) as aws:
        yield aws


@pytest.fixture
def aws(shared_aws: SimulatedAws) -> Iterator[SimulatedAws]:
    """The shared organisation, put back afterwards."""
    yield shared_aws
    shared_aws.faults.clear()
    shared_aws.clear_injected()
    shared_aws.set_costs(None)
    shared_aws.clock.set(NOW)
    shared_aws.requests.clear()
    settings = shared_aws.cost_explorer.settings
    settings.groups_per_page, settings.currency, settings.changed_data = 7, "USD", False
    settings.disabled.clear()


@pytest.fixture
def client(aws: SimulatedAws) -> Iterator[Client]:
    """Makes boto3 clients for the organisation and closes them."""
    made = []

    def make(service: str, credentials: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        made.append(client_of(aws, service, credentials, **kwargs))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def assume(aws: SimulatedAws, client: Client) -> Callable[..., dict[str, Any]]:
    """Assumes the member role of an account, by its id, and returns the credentials."""
    sts = client("sts")

    def assumed(account_id: str, **kwargs: Any) -> dict[str, Any]:
        arn = f"arn:aws:iam::{account_id}:role/{aws.spec.member_role}"
        answer = sts.assume_role(RoleArn=arn, RoleSessionName="test", **kwargs)
        return dict(answer["Credentials"])

    return assumed
