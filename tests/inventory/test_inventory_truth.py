"""What is listed is what was put there: each count, age, price, unused reason and missing tag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from inventory_harness import World, world_of

from exporter.resources import all_resource_files
from simulated_aws import SimulatedAws
from simulated_aws.filler import TrueResource
from simulated_aws.fillers import fills


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
            if key[0] == "ecs:service" and region == "eu-west-1" and resource.monthly_usd:
                # No source has what Fargate costs there.
                resource = replace(resource, monthly_usd=None)
            assert shown(found[key], prices=prices) == shown(resource, prices=prices), key


def everything(world: World) -> list[TrueResource]:
    return [
        resource
        for account_id in accounts(world.aws)
        for region in (*world.aws.spec.regions, "global")
        for resource in truth(world.aws, account_id, region).values()
    ]


def test_the_simulated_accounts_own_every_type(world: World) -> None:
    assert {each.type for each in everything(world)} == {
        kind for file in all_resource_files() for kind in file.types
    }


def test_the_counts_are_those_of_what_was_put_there(world: World) -> None:
    counts, unused, untagged, saving = Counter(), Counter(), Counter(), Counter()  # type: ignore[var-annotated]
    for each in everything(world):
        place = (each.account_id, each.region, each.type)
        counts[*place, each.state] += 1
        if each.unused:
            unused[*place, each.unused] += 1
        for key in ("team", "owner"):
            if key not in each.tags:
                untagged[*place, key] += 1
        if not each.tags:
            untagged[*place, "*"] += 1
        for kind in each.savings:
            saving[*place, kind] += 1
    for name, last, expected in (
        ("aws_resources", "state", counts),
        ("aws_resources_unused", "reason", unused),
        ("aws_resources_untagged", "tag_key", untagged),
        ("aws_resources_saving", "kind", saving),
    ):
        found = {
            (labels["account_id"], labels["region"], labels["resource_type"], labels[last]): value
            for labels, value in ((dict(key), value) for key, value in world.samples()[name].items())
        }
        assert found == expected, name


def test_the_dollars_are_those_of_what_was_put_there(world: World) -> None:
    """In us-east-1, where they were worked out by hand."""
    for account_id in accounts(world.aws):
        here = [
            each for each in everything(world) if (each.account_id, each.region) == (account_id, "us-east-1")
        ]
        at = {"account_id": account_id, "region": "us-east-1"}
        monthly = sum(each.monthly_usd for each in here if each.monthly_usd is not None)
        rate = world.total("aws_estimated_run_rate_usd_per_hour", **at)
        assert rate * 730 == pytest.approx(float(monthly))
        assert world.total("aws_resource_estimated_monthly_cost_usd", **at) == pytest.approx(float(monthly))
        wasted = sum(
            each.unused_usd if each.unused_usd is not None else each.monthly_usd or Decimal(0)
            for each in here
            if each.unused
        )
        found = world.total("aws_resources_unused_estimated_monthly_cost_usd", **at)
        assert found == pytest.approx(float(wasted))
        saved = sum(sum(each.savings.values()) for each in here)
        assert world.total("aws_resources_saving_estimated_monthly_usd", **at) == pytest.approx(float(saved))
        unpriced = sum(each.monthly_usd is None for each in here)
        assert world.total("aws_resources_unpriced", **at) == unpriced


def test_each_resource_is_served_with_its_name_its_tags_and_its_age(world: World) -> None:
    served = world.samples()
    infos = {
        (labels["account_id"], labels["region"], labels["resource_type"], labels["resource_id"]): labels
        for labels in map(dict, served["aws_resource_info"])
    }
    created = {
        (labels["account_id"], labels["region"], labels["resource_type"], labels["resource_id"]): value
        for labels, value in (
            (dict(key), value) for key, value in served["aws_resource_created_timestamp_seconds"].items()
        )
    }
    for each in everything(world):
        key = (each.account_id, each.region, each.type, each.id)
        assert infos.pop(key).get("tag_team", "") == each.tags.get("team", "")
        if each.created:
            assert created[key] == each.created.timestamp()
    assert infos == {}


def test_what_aws_gives_no_date_for_was_first_seen_now_or_existed_by_its_last_change(world: World) -> None:
    undated = [each for each in everything(world) if each.created is None]
    assert {each.existed_by is None for each in undated} == {True, False}
    for each in undated:
        found = world.resources(each.account_id, each.region)[each.type, each.id]
        assert found.created is not None
        expected = each.existed_by or world.now
        assert abs(found.created - expected) < timedelta(hours=1), each.type


def test_instances_are_counted_from_the_same_request(world: World) -> None:
    states = Counter(each.state for each in everything(world) if each.type == "ec2:instance")
    for state, count in states.items():
        assert world.total("aws_ec2_instances", state=state) == count
    asked = Counter(
        (entry.account_id, entry.region)
        for entry in world.aws.requests.entries(service="ec2", operation="DescribeInstances")
    )
    assert set(asked.values()) == {1}


def test_nothing_paid_and_nothing_that_writes_was_asked(world: World) -> None:
    operations = {(entry.service, entry.operation) for entry in world.aws.requests.entries()}
    assert {
        operation for _, operation in operations if not operation.startswith(("Describe", "Get", "List"))
    } == {"AssumeRole"}
    assert not {service for service, _ in operations} & {"ce", "cloudwatch"}
