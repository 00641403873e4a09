"""Application, network and gateway load balancers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import Call, Listing, ResourceFile, batches, tags_of

BALANCER = "elasticloadbalancing:loadbalancer"
_MOST_ARNS = 20
_TRAFFIC = {"application": "aws_alb_requests_total", "network": "aws_nlb_processed_bytes_total"}


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """List the load balancers of one region.

    `unused_reason` is `no_targets`, `no_healthy_targets` or `no_traffic`; None if in use or unknown.
    """
    balancers = list(ctx.items(target, "elbv2", "DescribeLoadBalancers", "LoadBalancers"))
    tags: dict[str, dict[str, str]] = {}
    for arns in batches((balancer["LoadBalancerArn"] for balancer in balancers), _MOST_ARNS):
        for described in _tags(ctx, target, arns):
            tags[described["ResourceArn"]] = tags_of(described["Tags"])
    balancers = [balancer for balancer in balancers if balancer["LoadBalancerArn"] in tags]
    states: defaultdict[str, list[str]] = defaultdict(list)
    for group in ctx.items(target, "elbv2", "DescribeTargetGroups", "TargetGroups"):
        arns = group.get("LoadBalancerArns", ())
        if not arns:
            continue
        health = ctx.describe(
            target, "elbv2", "DescribeTargetHealth", {"TargetGroupArn": group["TargetGroupArn"]}
        )
        if health is None:
            continue
        found = [
            # A Lambda function without health checks is "unavailable", and serves.
            "healthy" if group.get("TargetType") == "lambda" else each["TargetHealth"]["State"]
            for each in health["TargetHealthDescriptions"]
        ]
        for arn in arns:
            states[arn] += found
    traffic = {kind: ctx.activity(target, family) for kind, family in _TRAFFIC.items()}
    for balancer in balancers:
        arn, kind = balancer["LoadBalancerArn"], balancer["Type"]
        reason = None if "healthy" in states[arn] else "no_healthy_targets" if states[arn] else "no_targets"
        # CloudWatch names it by the end of its ARN.
        name = arn.partition(":loadbalancer/")[2]
        if reason is None and kind in traffic and traffic[kind].none(balancer["CreatedTime"], name):
            reason = "no_traffic"
        yield Resource(
            id=arn,
            type=BALANCER,
            name=balancer["LoadBalancerName"],
            state=balancer["State"]["Code"],
            created=balancer["CreatedTime"],
            tags=tags.get(arn, {}),
            monthly_usd=ctx.hourly(target, f"elb.{kind}"),
            unused_reason=reason,
            subtype=kind,
        )


def _tags(ctx: Listing, target: Target, arns: list[str]) -> list[dict[str, Any]]:
    """The tags of each load balancer; those that were deleted since they were listed are left out."""
    answer = ctx.describe(target, "elbv2", "DescribeTags", {"ResourceArns": arns})
    if answer is not None:
        return list(answer["TagDescriptions"])
    # One that is gone fails the whole request.
    return [found for arn in arns for found in _tags(ctx, target, [arn])] if len(arns) > 1 else []


RESOURCES = ResourceFile(
    name="elbv2",
    help="Load balancers, and whether any of their targets is healthy.",
    scope=Scope.REGION,
    service="elbv2",
    types=(BALANCER,),
    iam_actions=(
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeTags",
        "elasticloadbalancing:DescribeTargetGroups",
        "elasticloadbalancing:DescribeTargetHealth",
    ),
    calls=(
        Call("DescribeLoadBalancers"),
        Call("DescribeTags", "one for twenty load balancers"),
        Call("DescribeTargetGroups"),
        Call("DescribeTargetHealth", "one for each target group", 10),
    ),
    list=list_resources,
    cost_services={BALANCER: "Amazon Elastic Load Balancing"},
)
