"""FSx file systems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import Call, Listing, ResourceFile, add, tags_of

FILE_SYSTEM = "fsx:file-system"


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """File systems of every kind; those for Windows and Lustre have a price."""
    for system in ctx.items(target, "fsx", "DescribeFileSystems", "FileSystems"):
        tags = tags_of(system.get("Tags", ()))
        kind = system["FileSystemType"]
        price = {"WINDOWS": _windows, "LUSTRE": _lustre}.get(kind)
        yield Resource(
            id=system["FileSystemId"],
            type=FILE_SYSTEM,
            name=tags.get("Name", ""),
            state=system["Lifecycle"].lower(),
            created=system["CreationTime"],
            tags=tags,
            monthly_usd=None if price is None else price(ctx, target, system),
            subtype=kind.lower(),
        )


def _windows(ctx: Listing, target: Target, system: Mapping[str, Any]) -> Decimal | None:
    """Storage and throughput; the price of IOPS beyond those that come with the storage is not in the table."""
    config = system["WindowsConfiguration"]
    if config.get("DiskIopsConfiguration", {}).get("Mode") == "USER_PROVISIONED":
        return None
    row = f"fsx.windows.{'multi_az' if config['DeploymentType'] == 'MULTI_AZ_1' else 'single_az'}"
    return add(
        ctx.usd(target, f"{row}.{system.get('StorageType', 'SSD').lower()}", system["StorageCapacity"]),
        ctx.usd(target, f"{row}.throughput", config["ThroughputCapacity"]),
    )


def _lustre(ctx: Listing, target: Target, system: Mapping[str, Any]) -> Decimal | None:
    """Storage by its throughput; the price of metadata IOPS and of caches is not in the table."""
    config = system["LustreConfiguration"]
    extra = config.get("MetadataConfiguration", {}).get("Mode") == "USER_PROVISIONED"
    if extra or config.get("DriveCacheType", "NONE") != "NONE":
        return None
    kind, storage = config["DeploymentType"].lower(), system.get("StorageType", "SSD").lower()
    throughput = config.get("PerUnitStorageThroughput")
    row = "scratch" if kind.startswith("scratch") else f"{kind}.{storage}.{throughput}"
    return ctx.usd(target, f"fsx.lustre.{row}", system["StorageCapacity"])


RESOURCES = ResourceFile(
    name="fsx",
    help="File systems for Windows, Lustre, ONTAP and OpenZFS.",
    scope=Scope.REGION,
    service="fsx",
    types=(FILE_SYSTEM,),
    iam_actions=("fsx:DescribeFileSystems",),
    calls=(Call("DescribeFileSystems"),),
    list=list_resources,
    cost_services={FILE_SYSTEM: "Amazon FSx"},
)
