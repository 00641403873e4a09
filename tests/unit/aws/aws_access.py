"""Access to a simulated AWS as the exporter has it, without waiting between attempts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws, Backoff
from exporter.aws.meter import Meter
from exporter.aws.settings import CeilingSettings
from exporter.core.moments import utc_now
from exporter.core.places import Account
from simulated_aws import SimulatedAws

ROLE = "aws-spend-exporter-member"


@contextmanager
def access(wire: SimulatedAws, **options: Any) -> Iterator[Aws]:
    """`options` are those of Aws."""
    meter = Meter(MemoryCharges(), CeilingSettings(), utc_now, CollectorRegistry())
    # What is under test is what is retried, not how long it waits.
    quick = {"read_timeout": 30, "backoff": Backoff(0.01)}
    aws = Aws(meter, endpoint_url=wire.url, simulated=True, **(quick | options))
    try:
        yield aws
    finally:
        aws.close()


def member(wire: SimulatedAws, name: str = "prod") -> Account:
    """An account of the organization with its role."""
    account_id = wire.organization.find(name).id
    return Account(account_id, name, role_arn=f"arn:aws:iam::{account_id}:role/{ROLE}")
