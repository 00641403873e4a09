"""CloudWatch log groups."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import TAGS_ACTION, TAGS_CALL, Call, Listing, ResourceFile

GROUP = "logs:log-group"
_GB = 2**30


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """A group without retention keeps everything without end."""
    tags = ctx.tags(target, "logs")
    for group in ctx.items(target, "logs", "DescribeLogGroups", "logGroups"):
        arn = group["arn"].removesuffix(":*")
        yield Resource(
            id=group["logGroupName"],
            type=GROUP,
            name=group["logGroupName"],
            state="active",
            created=datetime.fromtimestamp(group["creationTime"] / 1000, UTC),
            tags=tags.of(arn),
            monthly_usd=ctx.usd(target, "logs.storage", Decimal(group.get("storedBytes", 0)) / _GB),
            unused_reason=None if group.get("retentionInDays") else "no_retention",
        )


RESOURCES = ResourceFile(
    name="logs",
    help="CloudWatch log groups.",
    scope=Scope.REGION,
    service="logs",
    types=(GROUP,),
    iam_actions=("logs:DescribeLogGroups", TAGS_ACTION),
    calls=(Call("DescribeLogGroups", "a page for fifty groups", 4), TAGS_CALL),
    list=list_resources,
    cost_services={},  # AmazonCloudWatch is mostly ingestion and metrics
)
