"""A region that a service control policy denies is a state that is shown, and takes nothing else with it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from inventory_harness import World, world_of

from exporter.aws.errors import Kind
from simulated_aws import SimulatedAws

HOME, DENIED = "us-east-1", "eu-west-1"
POLICY = "service_control_policy"


def errors(world: World) -> float:
    """Failures that were counted."""
    return sum(
        sample.value
        for family in world.registry.collect()
        for sample in family.samples
        if sample.name == "aws_spend_exporter_collector_errors_total"
    )


@pytest.mark.fault(
    "service control policy that denies a region of the inventory",
    "the other regions are read, no collector fails, and nothing of the region is zero",
)
def test_a_denied_region_fails_nothing_and_is_shown(
    aws: SimulatedAws, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prod = aws.accounts[1]
    aws.faults.add(POLICY, region=DENIED)
    with world_of(tmp_path, aws, {"services": ["sqs", "sns", "rds", "ec2", "lambda"]}) as world:
        for _ in range(3):
            assert world.collect() == 0
        assert world.failures() == set()
        assert errors(world) == 0
        assert {kind for kind, _ in world.resources(prod.id, HOME)} >= {"sqs:queue", "rds:db", "ec2:instance"}
        assert world.resources(prod.id, DENIED) == {}
        served = world.samples()
        for name, series in served.items():
            for labels in map(dict, series):
                assert (labels.get("account_id"), labels.get("region")) != (prod.id, DENIED), name
        assert served["aws_spend_exporter_denied_regions"] == {
            frozenset({("account_id", prod.id), ("account", "prod")}): 1
        }
        # The collector has no failing account, and is as fresh as the regions that it reads.
        assert set(served["aws_spend_exporter_collector_success"].values()) == {1}
        assert "aws_spend_exporter_collector_failure_info" not in served
        assert served["aws_spend_exporter_collector_last_success_timestamp_seconds"] == {
            frozenset({("collector", "inventory")}): world.now.timestamp()
        }
        assert world.runner.problems() == []
        assert world.runner.denied_regions() == [f"{DENIED} of prod ({prod.id})"]
        assert caplog.text.count("a service control policy denies the region") == 1
        assert "collection failed" not in caplog.text


def test_a_refresh_says_what_is_denied_and_is_no_failure(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.faults.add(POLICY, region=DENIED)
    with world_of(tmp_path, aws, {"services": ["sqs"]}) as world:
        world.runner.discovery.ensure()
        done = world.runner.refresh("inventory")
        assert done.reason is None
        units = {each.account: dict(each.outcomes) for each in done.accounts}
        assert units == {"management": {"read": 2}, "prod": {"read": 1, "denied": 1}}
        aws.faults.add("access_denied", account="prod", region=HOME, service="sqs")
        assert world.runner.refresh("inventory").reason == "1 unit of inventory failed: access_denied"


@pytest.mark.fault(
    "service control policy that denies a service in every region",
    "the collector fails with access_denied, as for a permission that is missing",
)
def test_a_service_that_a_policy_denies_everywhere_is_a_failure(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.faults.add(POLICY, service="sqs")
    aws.faults.add(POLICY, region=DENIED)
    with world_of(tmp_path, aws, {"services": ["sqs", "sns"]}) as world:
        assert world.collect() == 1
        assert world.failures() == {("inventory_sqs", "prod", HOME, "access_denied")}
        assert world.runner.denied_regions() == [f"{DENIED} of prod ({aws.accounts[1].id})"]


@pytest.mark.fault(
    "service control policy that denies tags, but not the service (KMS)",
    "the resources are listed, and their tags are unknown instead of missing",
)
def test_what_a_policy_leaves_out_is_listed_without_tags(aws: SimulatedAws, tmp_path: Path) -> None:
    prod = aws.accounts[1].id
    aws.faults.add(POLICY, region=DENIED)
    with world_of(tmp_path, aws, {"services": ["kms"], "required_tags": ["team"]}) as world:
        assert world.collect() == 0
        there = aws.inventory.truth(prod, "kms", DENIED)
        found = world.resources(prod, DENIED)
        assert {identifier for _, identifier in found} == {each.id for each in there} != set()
        assert {each.tags for each in found.values()} == {None}
        assert world.total("aws_resources_untagged", account_id=prod, region=DENIED) == 0
        assert {each.tags is None for each in world.resources(prod, HOME).values()} == {False}


@pytest.mark.parametrize("service", ["cloudfront", "s3"])
@pytest.mark.fault(
    "service control policy that denies us-east-1, where the tags of {service} are asked for",
    "its resources are listed, and their tags are unknown instead of missing",
)
def test_global_resources_are_listed_without_the_tags_of_a_denied_region(
    aws: SimulatedAws, tmp_path: Path, service: str
) -> None:
    prod = aws.accounts[1].id
    aws.faults.add(POLICY, region=HOME)
    with world_of(
        tmp_path, aws, {"services": [service], "required_tags": ["team"]}, regions=[DENIED]
    ) as world:
        assert world.collect() == 0
        assert world.failures() == set()
        # The simulated S3 lists buckets without their regions, which are asked for where it is denied.
        place = "global" if service == "cloudfront" else "unknown"
        found = world.resources(prod, place)
        assert found
        assert {each.tags for each in found.values()} == {None}
        assert world.total("aws_resources", account_id=prod, region=place) == len(found)
        assert world.total("aws_resources_untagged", account_id=prod, region=place) == 0
        # A permission that is missing is another matter.
        aws.faults.clear()
        aws.faults.add("access_denied", account="prod", operation="GetResources")
        assert world.collect() == 1
        assert world.failures() == {(f"inventory_{service}", "prod", "", "access_denied")}


def test_a_global_service_that_is_denied_is_a_failure(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.faults.add(POLICY, region=HOME)
    aws.faults.add(POLICY, service="s3", operation="ListBuckets", region=HOME)
    with world_of(tmp_path, aws, {"services": ["s3"]}, regions=[DENIED]) as world:
        assert world.collect() == 1
        assert world.failures() == {("inventory_s3", "prod", "", Kind.ACCESS_DENIED)}
        assert errors(world) == 1


def test_what_was_read_before_a_region_was_denied_stays_as_after_a_failure(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    prod = aws.accounts[1].id
    with world_of(tmp_path, aws, {"services": ["sqs"], "interval": "1h"}) as world:
        assert world.collect() == 0
        read = set(world.resources(prod, DENIED))
        assert read
        policy = aws.faults.add(POLICY, region=DENIED)
        world.now += timedelta(hours=1)
        assert world.collect() == 0
        assert set(world.resources(prod, DENIED)) == read
        # It is neither old nor failing: the collector is as fresh as what it reads.
        served = world.samples()
        assert served["aws_spend_exporter_collector_last_success_timestamp_seconds"] == {
            frozenset({("collector", "inventory")}): world.now.timestamp()
        }
        world.now += timedelta(hours=2, minutes=1)
        assert world.collect() == 0
        assert world.resources(prod, DENIED) == {}
        assert world.total("aws_spend_exporter_denied_regions") == 1
        aws.faults.clear(policy)
        assert world.collect() == 0
        assert set(world.resources(prod, DENIED)) == read
        assert "aws_spend_exporter_denied_regions" not in world.samples()
        assert world.runner.denied_regions() == []


def test_a_failure_that_turns_out_to_be_a_denied_region_is_over(aws: SimulatedAws, tmp_path: Path) -> None:
    fault = aws.faults.add("server_error", account="prod", region=DENIED, service="sqs")
    with world_of(tmp_path, aws, {"services": ["sqs"]}) as world:
        assert world.collect() == 1
        assert world.total("aws_spend_exporter_collector_success", account="prod", collector="inventory") == 0
        assert "aws_spend_exporter_collector_failure_info" in world.samples()
        aws.faults.clear(fault)
        aws.faults.add(POLICY, region=DENIED)
        assert world.collect() == 0
        served = world.samples()
        assert "aws_spend_exporter_collector_failure_info" not in served
        assert set(served["aws_spend_exporter_collector_success"].values()) == {1}
        aws.faults.clear()
        aws.faults.add("server_error", account="prod", region=DENIED, service="sqs")
        assert world.collect() == 1
        served = world.samples()
        assert "aws_spend_exporter_collector_failure_info" in served
        assert "aws_spend_exporter_denied_regions" not in served


def test_an_account_that_leaves_takes_its_denied_regions_with_it(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.faults.add(POLICY, region=DENIED)
    with world_of(tmp_path, aws, {"services": ["sqs"]}) as world:
        world.collect()
        assert world.total("aws_spend_exporter_denied_regions") == 1
        world.store.forget_accounts({aws.payer_id})
        assert "aws_spend_exporter_denied_regions" not in world.samples()
        assert world.store.denied() == []
