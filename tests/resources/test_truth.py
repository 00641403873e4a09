"""What is listed is what was put there: each count, age, price, unused reason and missing tag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from inventory_harness import World, world_of

from exporter.demo.simulator import SimulatedAws
from exporter.demo.simulator.estate import TrueResource, fills
from exporter.resources import all_resource_files

SINCE = "AWS does not tell"


@pytest.fixture(scope="module")
def world(shared_aws: SimulatedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    patch = pytest.MonkeyPatch()
    for name, value in shared_aws.environment().items():
        patch.setenv(name, value)
    settings = {"required_tags": ["team", "owner"], "info_tags": ["team", "cost-center"]}
    with world_of(tmp_path_factory.mktemp("truth"), shared_aws, settings) as world:
        assert world.collect() == 0, world.failures()
        yield world
    patch.undo()


def truth(aws: SimulatedAws, account_id: str, region: str) -> dict[tuple[str, str], TrueResource]:
    return {
        (each.type, each.id): each
        for service in fills()
        for each in aws.inventory.truth(account_id, service, "us-east-1" if region == "global" else region)
        if each.region == region
    }


def shown(resource: Any, *, prices: bool) -> dict[str, Any]:
    """The parts that both sides know."""
    if isinstance(resource, TrueResource):
        created, unused, savings = resource.created, resource.unused, dict(resource.savings)
        wasted = resource.unused_usd if resource.unused_usd is not None else resource.monthly_usd
    else:
        created, unused = resource.created, resource.unused_reason
        savings = {saving.kind: saving.monthly_usd or Decimal(0) for saving in resource.savings}
        wasted = resource.wasted_usd
        if resource.first_seen:
            created = None
    return {
        "name": resource.name,
        "state": resource.state,
        "created": created,
        "tags": dict(resource.tags),
        "unused": unused,
        "savings": savings if prices else set(savings),
        "monthly_usd": resource.monthly_usd if prices else resource.monthly_usd is None,
        "wasted_usd": wasted if prices and unused else None,
    }


def accounts(aws: SimulatedAws) -> list[str]:
    return [account.id for account in aws.accounts if account.state == "ACTIVE"]


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "global"])
def test_every_resource_is_listed_as_it_was_put_there(world: World, region: str) -> None:
    for account_id in accounts(world.aws):
        expected = truth(world.aws, account_id, region)
        found = world.resources(account_id, region)
        assert Counter(kind for kind, _ in found) == Counter(kind for kind, _ in expected)
        # What was worked out by hand holds in us-east-1.
        prices = region == "us-east-1"
        for key, resource in expected.items():
            assert shown(found[key], prices=prices) == shown(resource, prices=prices), key
