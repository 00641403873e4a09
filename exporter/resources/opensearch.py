"""OpenSearch and Elasticsearch domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import TAGS_ACTION, TAGS_CALL, Call, Listing, ResourceFile, add, batches

DOMAIN = "es:domain"
_MOST_DOMAINS = 5
_IOPS, _THROUGHPUT, _LARGE = 3000, 125, 1024
"""What a gp3 volume includes; one of more GB than the last includes more than that."""


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """AWS does not tell when a domain was made."""
    tags = ctx.tags(target, DOMAIN)
    names = ctx.call(target, "opensearch", "ListDomainNames")["DomainNames"]
    for batch in batches((each["DomainName"] for each in names), _MOST_DOMAINS):
        found = ctx.call(target, "opensearch", "DescribeDomains", {"DomainNames": batch})
        for domain in found["DomainStatusList"]:
            yield Resource(
                id=domain["DomainName"],
                type=DOMAIN,
                name=domain["DomainName"],
                state=_state(domain),
                tags=tags.of(domain["ARN"]),
                monthly_usd=add(_nodes(ctx, target, domain), _volumes(ctx, target, domain)),
                subtype=domain["ClusterConfig"]["InstanceType"],
            )


def _state(domain: Mapping[str, Any]) -> str:
    if domain.get("Deleted"):
        return "deleting"
    return "processing" if domain.get("Processing") or domain.get("UpgradeProcessing") else "active"


def _nodes(ctx: Listing, target: Target, domain: Mapping[str, Any]) -> Decimal | None:
    """The hours of data nodes, and of dedicated masters, warm and coordinating nodes where there are any."""
    config = domain["ClusterConfig"]
    nodes = [(config["InstanceType"], config["InstanceCount"])]
    if config.get("DedicatedMasterEnabled"):
        nodes.append((config["DedicatedMasterType"], config["DedicatedMasterCount"]))
    if config.get("WarmEnabled"):
        nodes.append((config["WarmType"], config["WarmCount"]))
    for option in config.get("NodeOptions", ()):
        if option.get("NodeConfig", {}).get("Enabled"):
            nodes.append((option["NodeConfig"]["Type"], option["NodeConfig"]["Count"]))
    return add(*(ctx.hourly(target, f"opensearch.{kind}", count) for kind, count in nodes))


def _volumes(ctx: Listing, target: Target, domain: Mapping[str, Any]) -> Decimal | None:
    """A volume for each data node; nodes without one have local disks."""
    volume = domain.get("EBSOptions", {})
    if not volume.get("EBSEnabled"):
        return Decimal(0)
    count, kind, size = domain["ClusterConfig"]["InstanceCount"], volume["VolumeType"], volume["VolumeSize"]
    price = ctx.usd(target, f"opensearch.storage.{kind}", size * count)
    iops, throughput = volume.get("Iops") or 0, volume.get("Throughput") or 0
    if kind == "gp3" and (iops > _IOPS or throughput > _THROUGHPUT):
        return None if size > _LARGE else add(
            price,
            ctx.usd(target, "opensearch.storage.gp3.iops", max(0, iops - _IOPS) * count),
            ctx.usd(target, "opensearch.storage.gp3.throughput", max(0, throughput - _THROUGHPUT) * count),
        )  # fmt: skip
    return price


RESOURCES = ResourceFile(
    name="opensearch",
    help="Search domains.",
    scope=Scope.REGION,
    service="opensearch",
    types=(DOMAIN,),
    iam_actions=("es:DescribeDomains", "es:ListDomainNames", TAGS_ACTION),
    calls=(Call("ListDomainNames", "one"), Call("DescribeDomains", "one for five domains"), TAGS_CALL),
    list=list_resources,
    cost_services={DOMAIN: "Amazon OpenSearch Service"},
)
