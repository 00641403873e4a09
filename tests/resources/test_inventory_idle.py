"""What had no traffic for a week is unused; a day that is not known says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from inventory_harness import World, world_of

from exporter.dated import Value, put
from exporter.demo.simulator import SimulatedAws

NAT, BALANCER = "aws_nat_gateway_out_bytes_daily", "aws_alb_requests_daily"
NAT_TYPE, BALANCER_TYPE = "ec2:natgateway", "elasticloadbalancing:loadbalancer"
REGION = "us-east-1"


@pytest.fixture
def world(shared_aws: SimulatedAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in shared_aws.environment().items():
        monkeypatch.setenv(name, value)
    with world_of(tmp_path, shared_aws, {"services": ["vpc", "elbv2"]}) as world:
        yield world


def used(world: World, account_id: str, family: str, values: dict[int, float]) -> None:
    """The daily totals, by days ago."""
    today = world.now.date()
    rows = [
        Value(today - timedelta(days=ago), family, account_id, REGION, value) for ago, value in values.items()
    ]
    put(world.ledger, rows, world.now)


def reasons(world: World, account_id: str, unit: str, kind: str) -> set[tuple[str | None, Decimal | None]]:
    """Why the resources of a type that are older than a week are unused, and what that wastes."""
    held = world.held(unit, account_id, REGION)
    assert held is not None
    week_ago = world.now - timedelta(days=9)
    return {
        (each.unused_reason, each.wasted_usd if each.unused_reason else None)
        for each in held.resources
        if each.type == kind and each.created is not None and each.created < week_ago and each.monthly_usd
    }


def test_a_nat_gateway_and_a_balancer_without_a_weeks_traffic_are_unused(world: World) -> None:
    assert world.collect() == 0
    account = next(
        account
        for account in sorted(world.runner.directory.accounts)  # type: ignore[union-attr]
        if reasons(world, account, "vpc", NAT_TYPE) and reasons(world, account, "elbv2", BALANCER_TYPE)
    )
    before = reasons(world, account, "elbv2", BALANCER_TYPE)
    assert reasons(world, account, "vpc", NAT_TYPE) == {(None, None)}
    assert (None, None) in before

    week = dict.fromkeys(range(1, 8), 0.0)
    for family in (NAT, BALANCER):
        used(world, account, family, {ago: 0.0 for ago in week if ago != 3})
    assert world.collect() == 0
    assert reasons(world, account, "vpc", NAT_TYPE) == {(None, None)}, "a day is not known"

    for family in (NAT, BALANCER):
        used(world, account, family, {3: 1.0})
    assert world.collect() == 0
    assert reasons(world, account, "vpc", NAT_TYPE) == {(None, None)}, "a day had traffic"
    assert reasons(world, account, "elbv2", BALANCER_TYPE) == before

    for family in (NAT, BALANCER):
        used(world, account, family, {3: 0.0})
    assert world.collect() == 0
    ((reason, wasted),) = reasons(world, account, "vpc", NAT_TYPE)
    assert reason == "no_traffic"
    assert wasted is not None
    assert wasted > 0
    after = {reason for reason, _ in reasons(world, account, "elbv2", BALANCER_TYPE)}
    assert after == ({reason for reason, _ in before} - {None}) | {"no_traffic"} | (
        # A balancer of another kind has traffic of its own.
        {None} if None in after else set()
    )
