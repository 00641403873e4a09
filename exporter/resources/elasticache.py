"""ElastiCache clusters."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource, Saving
from exporter.inventory.listing import TAGS_ACTION, TAGS_CALL, Call, Listing, ResourceFile

CLUSTER = "elasticache:cluster"
_PREVIOUS = {"t2": "t3", "m3": "m5", "m4": "m5", "r3": "r5", "r4": "r5", "t1": None, "m1": None, "m2": None}


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """A cluster costs its nodes; serverless caches are paid by use and not listed here."""
    tags = ctx.tags(target, "elasticache:cluster")
    for cluster in ctx.items(target, "elasticache", "DescribeCacheClusters", "CacheClusters"):
        nodes, kind = cluster["NumCacheNodes"], cluster["CacheNodeType"]
        # Memcached costs what Redis does, Valkey less.
        row = "elasticache.valkey" if cluster.get("Engine") == "valkey" else "elasticache"
        price = ctx.hourly(target, f"{row}.{kind}", nodes)
        savings: tuple[Saving, ...] = ()
        family = kind.split(".")[1]
        if family in _PREVIOUS:
            newer = ctx.hourly(target, f"{row}.{kind.replace(family, str(_PREVIOUS[family]))}", nodes)
            saved = price - newer if price and newer is not None and newer < price else None
            savings = (Saving("previous_generation", saved),)
        yield Resource(
            id=cluster["CacheClusterId"],
            type=CLUSTER,
            name=cluster["CacheClusterId"],
            state=cluster["CacheClusterStatus"],
            created=cluster.get("CacheClusterCreateTime"),
            tags=tags.of(cluster.get("ARN", "")),
            monthly_usd=price,
            savings=savings,
            subtype=kind,
        )


RESOURCES = ResourceFile(
    name="elasticache",
    help="Cache clusters.",
    scope=Scope.REGION,
    service="elasticache",
    types=(CLUSTER,),
    iam_actions=("elasticache:DescribeCacheClusters", TAGS_ACTION),
    calls=(Call("DescribeCacheClusters"), TAGS_CALL),
    list=list_resources,
    cost_services={CLUSTER: "Amazon ElastiCache"},
)
