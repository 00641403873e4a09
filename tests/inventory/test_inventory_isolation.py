"""What fails in one service, account or region stays there, is seen, and never becomes a zero."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from inventory_harness import world_of

from exporter.inventory.listing import is_offered
from simulated_aws import SimulatedAws

FILES = ["sqs", "sns", "vpc", "s3"]


@pytest.mark.fault(
    "one service of an account is denied", "it is absent and shown, the other services are read"
)
def test_a_service_that_an_scp_denies_is_absent_and_the_others_are_there(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    prod, payer = aws.accounts[1], aws.accounts[0]
    aws.faults.add("access_denied", account="prod", service="sqs")
    with world_of(tmp_path, aws, {"services": FILES}) as world:
        assert world.collect() == 2
        assert world.failures() == {
            ("inventory_sqs", "prod", region, "access_denied") for region in aws.spec.regions
        }
        types = {kind for kind, _ in world.resources(prod.id, "us-east-1")}
        assert types == {"sns:topic", "ec2:elastic-ip", "ec2:natgateway", "ec2:vpc-endpoint", "s3:bucket"}
        assert ("sqs:queue") in {kind for kind, _ in world.resources(payer.id, "us-east-1")}
        # Unknown is never zero: not one series speaks of the account's queues.
        for name, series in world.samples().items():
            for labels in map(dict, series):
                if labels.get("account_id") == prod.id and name.startswith("aws_resource"):
                    assert labels["resource_type"] != "sqs:queue"
        own = {("account_id", prod.id), ("account", "prod"), ("collector", "inventory")}
        served = world.samples()
        assert {
            labels
            for labels in served["aws_spend_exporter_collector_success"]
            if labels >= {("account", "prod")}
        } == {frozenset(own)}
        # All regions, and one unit.
        assert served["aws_spend_exporter_collector_failure_info"] == {
            frozenset({*own, ("unit", "inventory_sqs"), ("kind", "access_denied")}): 1
        }


@pytest.mark.fault("a region of an account fails", "it is absent and shown, the others are read")
def test_a_region_that_fails_is_absent_and_visible(aws: SimulatedAws, tmp_path: Path) -> None:
    prod = aws.accounts[1]
    aws.faults.add("server_error", account="prod", region="eu-west-1")
    with world_of(tmp_path, aws, {"services": ["sqs", "sns"]}) as world:
        assert world.collect() == 2
        assert world.failures() == {
            (f"inventory_{unit}", "prod", "eu-west-1", "server_error") for unit in ("sqs", "sns")
        }
        assert world.resources(prod.id, "eu-west-1") == {}
        assert len(world.resources(prod.id, "us-east-1")) == 5


@pytest.mark.fault("the last page of a list of resources fails", "nothing of the list is served")
def test_half_of_a_list_is_no_list(aws: SimulatedAws, tmp_path: Path) -> None:
    """The file reads addresses and gateways before its last request is refused."""
    aws.faults.add("access_denied", account="prod", operation="DescribeVpcEndpoints")
    with world_of(tmp_path, aws, {"services": ["vpc"]}) as world:
        assert world.collect() == 2
        assert world.held("vpc", aws.accounts[1].id, "us-east-1") is None


def test_what_was_read_stays_for_three_intervals_and_then_goes_everywhere(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    prod = aws.accounts[1].id
    with world_of(tmp_path, aws, {"services": ["sqs", "sns"], "interval": "1h"}) as world:
        assert world.collect() == 0
        aws.faults.add("access_denied", account="prod", service="sqs")
        world.now += timedelta(hours=1)
        assert world.collect() == 2
        assert world.total("aws_resources", account_id=prod, resource_type="sqs:queue") == 6
        assert world.total("aws_resource_info", account_id=prod, resource_type="sqs:queue") == 6
        world.now += timedelta(hours=1)
        world.collect()
        world.now += timedelta(hours=1)
        world.collect()
        assert world.total("aws_resources", account_id=prod, resource_type="sqs:queue") == 0
        assert world.total("aws_resource_info", account_id=prod, resource_type="sqs:queue") == 0
        assert world.total("aws_resource_info", account_id=prod, resource_type="sns:topic") == 4
        assert {unit for unit, *_ in world.failures()} == {"inventory_sqs"}


@pytest.mark.parametrize("code", ["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"])
def test_what_was_deleted_since_it_was_listed_is_gone_and_no_failure(
    aws: SimulatedAws, tmp_path: Path, code: str
) -> None:
    aws.faults.add(
        "access_denied",
        account="prod",
        region="us-east-1",
        operation="GetQueueAttributes",
        code=code,
        count=1,
    )
    with world_of(tmp_path, aws, {"services": ["sqs"]}) as world:
        assert world.collect() == 0
        assert len(world.resources(aws.accounts[1].id, "us-east-1")) == 2


DENIED = [
    # file, operation, the end of the name of what is denied, resource type
    ("kms", "DescribeKey", None, "kms:key"),
    ("sqs", "GetQueueAttributes", "prod-emails", "sqs:queue"),
    ("dynamodb", "DescribeTable", "prod-orders", "dynamodb:table"),
    ("kinesis", "DescribeStreamSummary", "prod-clicks", "kinesis:stream"),
]


@pytest.mark.parametrize(("unit", "operation", "name", "kind"), DENIED, ids=[each[0] for each in DENIED])
@pytest.mark.fault("the policy of a resource denies its description", "it is listed with its state unknown")
def test_what_its_own_policy_denies_is_listed_with_its_state_unknown(
    aws: SimulatedAws, tmp_path: Path, unit: str, operation: str, name: str | None, kind: str
) -> None:
    prod = aws.accounts[1].id
    there = aws.inventory.truth(prod, unit, "us-east-1")
    denied = next(each for each in there if name is None or each.name == name)
    aws.faults.add("access_denied", account="prod", operation=operation, resource=denied.id)
    with world_of(tmp_path, aws, {"services": [unit]}) as world:
        assert world.collect() == 0
        found = world.resources(prod, "us-east-1")
        assert {key for key, _ in found} == {kind}
        assert {identifier for _, identifier in found} == {each.id for each in there}
        shown = found[kind, denied.id]
        assert (shown.state, shown.monthly_usd, shown.unused_reason) == ("unknown", None, None)
        assert (shown.tags, shown.name) == (denied.tags, denied.name)
        assert {each.state for key, each in found.items() if key != (kind, denied.id)} <= {
            each.state for each in there
        }


def test_a_single_key_that_its_policy_denies_is_listed_too(aws: SimulatedAws, tmp_path: Path) -> None:
    """AWS says that it is the policy of the resource."""
    prod = aws.accounts[1].id
    for each in aws.inventory.truth(prod, "kms", "us-east-1"):
        aws.faults.add("access_denied", account="prod", operation="DescribeKey", resource=each.id)
    with world_of(tmp_path, aws, {"services": ["kms"]}) as world:
        assert world.collect() == 0
        assert {each.state for each in world.resources(prod, "us-east-1").values()} == {"unknown"}


@pytest.mark.fault("the role may list resources but describe none", "access_denied")
def test_a_role_that_may_describe_nothing_fails(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.faults.add("access_denied", account="prod", operation="DescribeKey", region="us-east-1")
    with world_of(tmp_path, aws, {"services": ["kms"]}) as world:
        assert world.collect() == 1
        assert world.failures() == {("inventory_kms", "prod", "us-east-1", "access_denied")}
        assert world.resources(aws.accounts[1].id, "us-east-1") == {}


GONE = [
    # file, operation, code, how many resources are left out
    ("dynamodb", "DescribeTable", "ResourceNotFoundException", 1),
    ("kinesis", "DescribeStreamSummary", "ResourceNotFoundException", 1),
    ("eks", "DescribeCluster", "ResourceNotFoundException", 1),
    ("kms", "DescribeKey", "NotFoundException", 1),
    ("ecs", "ListServices", "ClusterNotFoundException", 2),
    ("ecs", "DescribeServices", "ClusterNotFoundException", 2),
    ("s3", "GetBucketLocation", "NoSuchBucket", 1),
    ("elbv2", "DescribeTargetHealth", "TargetGroupNotFound", 0),
    ("elb", "DescribeInstanceHealth", "LoadBalancerNotFound", 0),
]


@pytest.mark.parametrize(("unit", "operation", "code", "fewer"), GONE, ids=[each[1] for each in GONE])
@pytest.mark.fault(
    "a resource is deleted between listing and describing", "it is left out, and nothing fails"
)
def test_what_vanishes_between_listing_and_describing_fails_nothing(
    aws: SimulatedAws, tmp_path: Path, unit: str, operation: str, code: str, fewer: int
) -> None:
    prod = aws.accounts[1].id
    region = None if unit == "s3" else "us-east-1"
    aws.faults.add("access_denied", account="prod", region=region, operation=operation, code=code, count=1)
    there = sum(len(aws.inventory.truth(prod, unit, each)) for each in aws.spec.regions)
    with world_of(tmp_path, aws, {"services": [unit]}) as world:
        assert world.collect() == 0
        assert sum(len(world.resources(prod, each)) for each in aws.spec.regions) == there - fewer


def test_a_load_balancer_that_vanishes_leaves_the_others_their_tags(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    prod = aws.accounts[1].id
    gone, *others = aws.inventory.truth(prod, "elbv2", "us-east-1")
    aws.faults.add(
        "access_denied",
        account="prod",
        operation="DescribeTags",
        code="LoadBalancerNotFound",
        resource=gone.arn,
    )
    with world_of(tmp_path, aws, {"services": ["elbv2"]}) as world:
        assert world.collect() == 0
        found = world.resources(prod, "us-east-1")
        assert {key[1]: each.tags for key, each in found.items()} == {each.id: each.tags for each in others}


def test_a_bucket_that_its_policy_denies_has_no_known_region(aws: SimulatedAws, tmp_path: Path) -> None:
    prod = aws.accounts[1].id
    denied, *others = aws.inventory.truth(prod, "s3", "us-east-1")
    aws.faults.add("access_denied", account="prod", operation="GetBucketLocation", resource=denied.id)
    with world_of(tmp_path, aws, {"services": ["s3"]}) as world:
        assert world.collect() == 0
        assert {key[1] for key in world.resources(prod, "us-east-1")} == {each.id for each in others}
        (found,) = world.resources(prod, "unknown").values()
        assert (found.id, found.created, found.tags) == (denied.id, denied.created, None)
        # Tags that are not known are not called missing.
        assert world.total("aws_resources_untagged", region="unknown") == 0


def test_buckets_in_a_region_that_an_scp_denies_are_listed_without_their_tags(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    prod = aws.accounts[1].id
    aws.faults.add("access_denied", account="prod", operation="GetResources", region="eu-west-1")
    with world_of(tmp_path, aws, {"services": ["s3"], "required_tags": ["team"]}) as world:
        assert world.collect() == 0
        assert {each.tags for each in world.resources(prod, "eu-west-1").values()} == {None}
        assert world.total("aws_resources", account_id=prod, region="eu-west-1") == 3
        assert world.total("aws_resources_untagged", account_id=prod, region="eu-west-1") == 0
        assert world.total("aws_resources_untagged", account_id=prod, region="us-east-1", tag_key="team") == 1
        aws.faults.add("access_denied", account="prod", operation="GetResources")
        assert world.collect() == 1  # nowhere: that is the role


def test_tags_are_not_asked_for_where_nothing_is_listed(aws: SimulatedAws, tmp_path: Path) -> None:
    prod = aws.accounts[1].id
    aws.faults.add("access_denied", account="prod", operation="GetQueueAttributes", code="QueueDoesNotExist")
    with world_of(tmp_path, aws, {"services": ["sqs"]}) as world:
        assert world.collect() == 0
        asked = aws.requests.entries(service="resourcegroupstaggingapi")
        assert prod not in {entry.account_id for entry in asked}


def test_first_seen_dates_outlive_the_process(aws: SimulatedAws, tmp_path: Path) -> None:
    with world_of(tmp_path, aws, {"services": ["sns"]}) as world:
        world.collect()
        first = world.resources(aws.accounts[1].id, "us-east-1")
    with world_of(tmp_path, aws, {"services": ["sns"]}) as world:
        world.now += timedelta(days=40)
        world.collect()
        again = world.resources(aws.accounts[1].id, "us-east-1")
    assert {key: found.created for key, found in again.items()} == {
        key: found.created for key, found in first.items()
    }
    assert all(found.first_seen for found in again.values())


def test_a_service_that_a_region_lacks_is_not_asked_for(aws: SimulatedAws, tmp_path: Path) -> None:
    assert is_offered("sqs", "eu-west-1")
    # botocore knows the region, and that the service is not there.
    assert not is_offered("pricing", "eu-west-1")
    # It knows neither: whether it works, only asking tells.
    assert is_offered("sqs", "zz-future-1")
    assert is_offered("a-service-of-tomorrow", "eu-west-1")


def test_an_account_that_leaves_takes_its_resources_with_it(aws: SimulatedAws, tmp_path: Path) -> None:
    prod = aws.accounts[1].id
    with world_of(tmp_path, aws, {"services": ["sns"]}) as world:
        world.collect()
        assert world.total("aws_resource_info", account_id=prod) == 4
        world.store.forget(world.store.keys_of(prod))
        world.runner.views.render_resources()
        assert world.total("aws_resource_info", account_id=prod) == 0
        assert world.total("aws_resource_info") == 4


def test_the_catch_all_lists_what_has_no_file(aws: SimulatedAws, tmp_path: Path) -> None:
    with world_of(tmp_path, aws, {"services": ["tagging"]}) as world:
        assert world.collect() == 0
        assert world.total("aws_resources") == 0  # each simulated type has a file


@pytest.mark.parametrize(
    ("arn", "kind"),
    [
        ("arn:aws:glue:us-east-1:111111111111:job/nightly", "glue:job"),
        ("arn:aws:sqs:us-east-1:111111111111:events", "sqs:queue"),
        ("arn:aws:s3:::bucket", "s3:bucket"),
        ("arn:aws:apigateway:us-east-1::/restapis/abc", "apigateway:restapis"),
        ("arn:aws:states:us-east-1:111111111111:stateMachine:orders", "states:stateMachine"),
        ("arn:aws:logs:us-east-1:111111111111:log-group:/aws/lambda/f", "logs:log-group"),
    ],
)
def test_a_type_follows_from_an_arn(arn: str, kind: str) -> None:
    from exporter.inventory.arns import type_of

    assert type_of(arn) == kind
