"""ECS: clusters and services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import Call, Listing, ResourceFile, add, batches, tags_of

CLUSTER, SERVICE = "ecs:cluster", "ecs:service"
_MOST_CLUSTERS, _MOST_SERVICES = 100, 10


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """A cluster itself is free; a service on Fargate costs what its running tasks ask for."""
    arns = list(ctx.items(target, "ecs", "ListClusters", "clusterArns"))
    sizes: dict[str, tuple[Decimal, Decimal, bool] | None] = {}
    for batch in batches(arns, _MOST_CLUSTERS):
        found = ctx.call(target, "ecs", "DescribeClusters", {"clusters": batch, "include": ["TAGS"]})
        for cluster in found["clusters"]:
            idle = not any(
                cluster.get(count)
                for count in (
                    "activeServicesCount",
                    "runningTasksCount",
                    "pendingTasksCount",
                    "registeredContainerInstancesCount",
                )
            )
            yield Resource(
                id=cluster["clusterName"],
                type=CLUSTER,
                name=cluster["clusterName"],
                state=cluster["status"].lower(),
                tags=_tags(cluster),
                monthly_usd=Decimal(0),
                unused_reason="empty" if idle else None,
            )
    for arn in arns:
        services = ctx.items_of(target, "ecs", "ListServices", "serviceArns", {"cluster": arn})
        for batch in batches(services, _MOST_SERVICES):
            params = {"cluster": arn, "services": batch, "include": ["TAGS"]}
            answer = ctx.describe(target, "ecs", "DescribeServices", params)
            for service in answer["services"] if answer is not None else ():
                yield _service(ctx, target, arn, service, sizes)


def _service(
    ctx: Listing,
    target: Target,
    cluster: str,
    service: Mapping[str, Any],
    sizes: dict[str, tuple[Decimal, Decimal, bool] | None],
) -> Resource:
    price: Decimal | None = Decimal(0)  # on EC2 its instances are paid for
    providers = {each["capacityProvider"] for each in service.get("capacityProviderStrategy", ())}
    if "FARGATE_SPOT" in providers:
        price = None
    elif service.get("launchType") == "FARGATE" or "FARGATE" in providers:
        # Where an external controller deploys, each of its task sets has its own.
        definition = service.get("taskDefinition")
        if definition is not None and definition not in sizes:
            answer = ctx.call(target, "ecs", "DescribeTaskDefinition", {"taskDefinition": definition})
            sizes[definition] = _size(answer["taskDefinition"])
        size = sizes[definition] if definition is not None else None
        price = _fargate(ctx, target, service["runningCount"], size) if size else None
    return Resource(
        id=f"{cluster.rpartition('/')[2]}/{service['serviceName']}",
        type=SERVICE,
        name=service["serviceName"],
        state=service["status"].lower(),
        created=service.get("createdAt"),
        tags=_tags(service),
        monthly_usd=price,
        unused_reason="scaled_to_zero" if not service["desiredCount"] else None,
        subtype=service.get("launchType", ""),
    )


def _size(definition: Mapping[str, Any]) -> tuple[Decimal, Decimal, bool] | None:
    """vCPUs, GB and whether it is ARM; None where their price is not known."""
    platform = definition.get("runtimePlatform", {})
    if not definition.get("cpu") or not definition.get("memory"):
        return None
    if platform.get("operatingSystemFamily", "LINUX") != "LINUX":
        return None  # Windows costs more, and a licence beside it
    arm = platform.get("cpuArchitecture") == "ARM64"
    return Decimal(definition["cpu"]) / 1024, Decimal(definition["memory"]) / 1024, arm


def _fargate(ctx: Listing, target: Target, tasks: int, size: tuple[Decimal, Decimal, bool]) -> Decimal | None:
    if not tasks:
        return Decimal(0)  # also where the price is not known
    vcpus, gigabytes, arm = size
    row = "fargate.arm" if arm else "fargate"
    return add(
        ctx.hourly(target, f"{row}.vcpu", vcpus * tasks), ctx.hourly(target, f"{row}.gb", gigabytes * tasks)
    )


def _tags(described: Mapping[str, Any]) -> dict[str, str]:
    return tags_of(described.get("tags", ()), "key", "value")


RESOURCES = ResourceFile(
    name="ecs",
    help="Clusters and services.",
    scope=Scope.REGION,
    service="ecs",
    types=(CLUSTER, SERVICE),
    iam_actions=(
        "ecs:DescribeClusters",
        "ecs:DescribeServices",
        "ecs:DescribeTaskDefinition",
        "ecs:ListClusters",
        "ecs:ListServices",
    ),
    calls=(
        Call("ListClusters"),
        Call("DescribeClusters", "one for a hundred clusters"),
        Call("ListServices", "one for each cluster", 3),
        Call("DescribeServices", "one for ten services", 3),
        Call("DescribeTaskDefinition", "one for each task definition on Fargate", 10),
    ),
    list=list_resources,
    cost_services={SERVICE: "Amazon Elastic Container Service"},
)
