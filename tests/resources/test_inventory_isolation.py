"""What fails in one service, account or region stays there, is seen, and never becomes a zero."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from inventory_harness import world_of

from exporter.demo.simulator import SimulatedAws
from exporter.resources import is_offered

FILES = ["sqs", "sns", "vpc", "s3"]


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
        assert (
            world.total("aws_spend_exporter_collector_success", collector="inventory_sqs", account="prod")
            == 0
        )
        assert (
            world.total("aws_spend_exporter_collector_success", collector="inventory_sns", account="prod")
            == 1
        )


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
        world.store.forget(lambda key: key.account_id != prod)
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
    from exporter.resources.tagging import type_of

    assert type_of(arn) == kind
