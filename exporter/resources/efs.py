"""EFS file systems."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import Call, Listing, ResourceFile, add, tags_of

FILE_SYSTEM = "elasticfilesystem:file-system"
_GB = 2**30


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """Nothing can use a file system that has no mount target."""
    for system in ctx.items(target, "efs", "DescribeFileSystems", "FileSystems"):
        size = system["SizeInBytes"]
        warm = "efs.one_zone" if system.get("AvailabilityZoneName") else "efs.standard"
        cold, archived = size.get("ValueInIA", 0), size.get("ValueInArchive", 0)
        yield Resource(
            id=system["FileSystemId"],
            type=FILE_SYSTEM,
            name=system.get("Name", ""),
            state=system["LifeCycleState"],
            created=system["CreationTime"],
            tags=tags_of(system.get("Tags", ())),
            monthly_usd=add(
                ctx.usd(target, warm, Decimal(size["Value"] - cold - archived) / _GB),
                ctx.usd(target, "efs.infrequent", Decimal(cold) / _GB),
                ctx.usd(target, "efs.archive", Decimal(archived) / _GB),
            ),
            unused_reason=None if system["NumberOfMountTargets"] else "no_mount_targets",
        )


RESOURCES = ResourceFile(
    name="efs",
    help="File systems.",
    scope=Scope.REGION,
    service="efs",
    types=(FILE_SYSTEM,),
    iam_actions=("elasticfilesystem:DescribeFileSystems",),
    calls=(Call("DescribeFileSystems"),),
    list=list_resources,
    cost_services={FILE_SYSTEM: "Amazon Elastic File System"},
)
