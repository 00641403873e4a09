"""What had nothing to do for a week is unused, each for itself; what is not known says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from inventory_harness import World, world_of

from simulated_aws import OrganizationSpec, SimulatedAws

REGION = "us-east-1"
FILES = ["ec2", "vpc", "elbv2", "rds", "dynamodb", "kinesis"]
METRICS = [
    "aws_nat_*", "aws_alb_*", "aws_nlb_*", "aws_dynamodb_*", "aws_kinesis_*", "aws_rds_database_connections",
    "aws_ec2_*",
]  # fmt: skip
TRAFFIC = {"no_traffic", "no_connections", "idle"}


@pytest.fixture(scope="module")
def idle_aws() -> Iterator[SimulatedAws]:
    """One account, one region, and an instance that is old enough to be idle."""
    spec = OrganizationSpec(seed=14, accounts=1, days=30, services=3, instances=6, regions=(REGION,))
    with SimulatedAws(spec, costs=()) as aws:
        yield aws


@pytest.fixture
def world(idle_aws: SimulatedAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in idle_aws.environment().items():
        monkeypatch.setenv(name, value)
    collectors = {"usage": {"enabled": True, "metrics": METRICS}}
    with world_of(tmp_path, idle_aws, {"services": FILES}, collectors=collectors) as world:
        yield world
    idle_aws.faults.clear()


def reasons(world: World) -> dict[tuple[str, str], str]:
    """What only traffic tells, by type and name."""
    found = world.resources(world.aws.payer_id, REGION)
    return {
        (kind, each.name or identifier): each.unused_reason
        for (kind, identifier), each in found.items()
        if each.unused_reason in TRAFFIC
    }


def test_each_is_found_beside_what_is_busy(world: World) -> None:
    assert world.collect() == 0
    assert reasons(world) == {}  # nothing was polled: nothing is known
    assert world.collect("usage") == 0
    assert world.collect() == 0
    ids = world.aws.inventory.instance_ids(world.aws.payer_id, REGION, create=True)
    forgotten = world.resources(world.aws.payer_id, REGION)["ec2:instance", ids[3]]
    assert forgotten.state == "running"
    # An orders table, a stream of clicks, a database, balancers and a gateway have work and are not named.
    assert reasons(world) == {
        ("dynamodb:table", "management-sessions"): "no_traffic",
        ("kinesis:stream", "management-audit"): "no_traffic",
        ("rds:db", "management-reports"): "no_connections",
        ("ec2:instance", forgotten.name): "idle",
    }
    assert world.total("aws_resources_unused", reason="no_traffic") == 2
    wasted = world.total("aws_resources_unused_estimated_monthly_cost_usd", reason="no_traffic")
    assert wasted == pytest.approx(29.20)


def test_what_is_not_known_for_a_week_says_nothing(world: World) -> None:
    assert world.collect("usage") == 0
    world.now += timedelta(days=3)  # polls have stopped: the last days are not known
    assert world.collect() == 0
    assert reasons(world) == {}


def test_a_family_that_is_not_polled_says_nothing(world: World, tmp_path: Path) -> None:
    collectors = {"usage": {"enabled": True, "metrics": ["aws_kinesis_*"]}}
    folder = tmp_path / "less"
    folder.mkdir()
    with world_of(folder, world.aws, {"services": FILES}, collectors=collectors) as less:
        assert less.collect("usage") == 0
        assert less.collect() == 0
        assert reasons(less) == {("kinesis:stream", "management-audit"): "no_traffic"}


def test_days_of_resources_are_kept_no_longer_than_they_are_asked_for(world: World) -> None:
    assert world.collect("usage") == 0
    with world.ledger.connection() as db:
        per_series = db.execute("SELECT COUNT(*) FROM usage_series_days GROUP BY series").fetchall()
    assert max(per_series) <= (9,)
