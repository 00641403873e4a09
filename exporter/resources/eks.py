"""EKS clusters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource, Saving
from exporter.inventory.listing import Call, Listing, ResourceFile, add

CLUSTER = "eks:cluster"

_END_OF_STANDARD_SUPPORT = {
    "1.23": date(2023, 10, 11), "1.24": date(2024, 1, 31), "1.25": date(2024, 5, 1), "1.26": date(2024, 6, 11),
    "1.27": date(2024, 7, 24), "1.28": date(2024, 11, 26), "1.29": date(2025, 3, 23), "1.30": date(2025, 7, 23),
    "1.31": date(2025, 11, 26), "1.32": date(2026, 3, 23), "1.33": date(2026, 7, 29), "1.34": date(2026, 12, 2),
}  # fmt: skip


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """The control plane's price; a version past its standard support costs six times as much."""
    for name in ctx.items(target, "eks", "ListClusters", "clusters"):
        answer = ctx.describe(target, "eks", "DescribeCluster", {"name": name})
        if answer is None:
            continue
        cluster = answer["cluster"]
        version = cluster.get("version", "")
        price = ctx.hourly(target, "eks.cluster")
        savings: tuple[Saving, ...] = ()
        end = _END_OF_STANDARD_SUPPORT.get(version)
        if end is not None and ctx.now.date() > end:
            surcharge = ctx.hourly(target, "eks.extended_support")
            price = add(price, surcharge)
            savings = (Saving("extended_support", surcharge),)
        yield Resource(
            id=name,
            type=CLUSTER,
            name=name,
            state=cluster["status"].lower(),
            created=cluster["createdAt"],
            tags=dict(cluster.get("tags", {})),
            monthly_usd=price,
            savings=savings,
            subtype=version,
        )


RESOURCES = ResourceFile(
    name="eks",
    help="Clusters, and whether their version is in extended support.",
    scope=Scope.REGION,
    service="eks",
    types=(CLUSTER,),
    iam_actions=("eks:DescribeCluster", "eks:ListClusters"),
    calls=(Call("ListClusters"), Call("DescribeCluster", "one for each cluster", 2)),
    list=list_resources,
    cost_services={CLUSTER: "Amazon Elastic Container Service for Kubernetes"},
)
