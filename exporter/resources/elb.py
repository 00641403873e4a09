"""Classic load balancers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import TAGS_ACTION, TAGS_CALL, Call, Listing, ResourceFile

BALANCER = "elasticloadbalancing:classic-loadbalancer"


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """`unused_reason` is `no_targets` or `no_healthy_targets`; None if in use."""
    # Its ARN is like that of the newer generation, but for the kind and the id at its end.
    tags = ctx.tags(target, "elasticloadbalancing:loadbalancer")
    where = f"arn:{target.partition}:elasticloadbalancing:{target.region}:{target.account_id}"
    for balancer in ctx.items(target, "elb", "DescribeLoadBalancers", "LoadBalancerDescriptions"):
        name = balancer["LoadBalancerName"]
        yield Resource(
            id=name,
            type=BALANCER,
            name=name,
            state="active",
            created=balancer["CreatedTime"],
            tags=tags.of(f"{where}:loadbalancer/{name}"),
            monthly_usd=ctx.hourly(target, "elb.classic"),
            unused_reason=_unused(ctx, target, balancer),
        )


def _unused(ctx: Listing, target: Target, balancer: Mapping[str, Any]) -> str | None:
    if not balancer.get("Instances"):
        return "no_targets"
    named = {"LoadBalancerName": balancer["LoadBalancerName"]}
    health = ctx.describe(target, "elb", "DescribeInstanceHealth", named)
    if health is None or any(each["State"] == "InService" for each in health["InstanceStates"]):
        return None
    return "no_healthy_targets"


RESOURCES = ResourceFile(
    name="elb",
    help="Classic load balancers, and whether any of their instances is healthy.",
    scope=Scope.REGION,
    service="elb",
    types=(BALANCER,),
    iam_actions=(
        "elasticloadbalancing:DescribeInstanceHealth",
        "elasticloadbalancing:DescribeLoadBalancers",
        TAGS_ACTION,
    ),
    calls=(
        Call("DescribeLoadBalancers"),
        Call("DescribeInstanceHealth", "one for each load balancer with instances", 2),
        TAGS_CALL,
    ),
    list=list_resources,
    cost_services={BALANCER: "Amazon Elastic Load Balancing"},
)
