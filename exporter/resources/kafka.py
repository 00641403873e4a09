"""Managed Streaming for Apache Kafka (MSK)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import Call, Listing, ResourceFile, add

CLUSTER = "kafka:cluster"


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """A cluster costs its brokers and their volumes; serverless ones are paid by use."""
    for cluster in ctx.items(target, "kafka", "ListClustersV2", "ClusterInfoList"):
        provisioned = cluster.get("Provisioned")
        yield Resource(
            id=cluster["ClusterName"],
            type=CLUSTER,
            name=cluster["ClusterName"],
            state=cluster["State"].lower(),
            created=cluster["CreationTime"],
            tags=cluster.get("Tags", {}),
            monthly_usd=None if provisioned is None else _brokers(ctx, target, provisioned),
            subtype="serverless"
            if provisioned is None
            else provisioned["BrokerNodeGroupInfo"]["InstanceType"],
        )


def _brokers(ctx: Listing, target: Target, cluster: Mapping[str, Any]) -> Decimal | None:
    brokers, count = cluster["BrokerNodeGroupInfo"], cluster["NumberOfBrokerNodes"]
    volume = brokers.get("StorageInfo", {}).get("EbsStorageInfo")
    # Express brokers store by use; what provisioned throughput costs is not in the table.
    if volume is None or volume.get("ProvisionedThroughput", {}).get("Enabled"):
        return None
    return add(
        ctx.hourly(target, f"msk.{brokers['InstanceType']}", count),
        ctx.usd(target, "msk.storage", volume["VolumeSize"] * count),
    )


RESOURCES = ResourceFile(
    name="kafka",
    help="Kafka clusters.",
    scope=Scope.REGION,
    service="kafka",
    types=(CLUSTER,),
    iam_actions=("kafka:ListClustersV2",),
    calls=(Call("ListClustersV2"),),
    list=list_resources,
    cost_services={CLUSTER: "Amazon Managed Streaming for Apache Kafka"},
)
