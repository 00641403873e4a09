"""Redshift clusters."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import Call, Listing, ResourceFile, tags_of

CLUSTER = "redshift:cluster"


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """A cluster costs its nodes; managed storage is paid by use, also while a cluster is paused."""
    for cluster in ctx.items(target, "redshift", "DescribeClusters", "Clusters"):
        kind, state = cluster["NodeType"], cluster["ClusterStatus"]
        zones = 2 if cluster.get("MultiAZ", "").lower() in ("enabled", "true") else 1
        paused = state == "paused"
        yield Resource(
            id=cluster["ClusterIdentifier"],
            type=CLUSTER,
            name=cluster["ClusterIdentifier"],
            state=state,
            created=cluster.get("ClusterCreateTime"),
            tags=tags_of(cluster.get("Tags", ())),
            monthly_usd=None
            if paused
            else ctx.hourly(target, f"redshift.{kind}", cluster["NumberOfNodes"] * zones),
            unused_reason="paused" if paused else None,
            subtype=kind,
        )


RESOURCES = ResourceFile(
    name="redshift",
    help="Data warehouse clusters.",
    scope=Scope.REGION,
    service="redshift",
    types=(CLUSTER,),
    iam_actions=("redshift:DescribeClusters",),
    calls=(Call("DescribeClusters"),),
    list=list_resources,
    cost_services={CLUSTER: "Amazon Redshift"},
)
