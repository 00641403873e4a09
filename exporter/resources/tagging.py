"""The catch-all: what the Tagging API knows of types that have no file here.

It lists only what bears a tag or once bore one, without state, age or price.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.arns import type_of
from exporter.inventory.listing import TAGS_ACTION, TAGS_CALL, Listing, ResourceFile, tags_of
from exporter.resources import all_resource_files


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """Every tagged resource whose type no other file lists."""
    listed = {kind for file in all_resource_files() for kind in file.types}
    items = ctx.items(target, "resourcegroupstaggingapi", "GetResources", "ResourceTagMappingList")
    for item in items:
        arn = item["ResourceARN"]
        kind = type_of(arn)
        if kind not in listed:
            tags = tags_of(item.get("Tags", ()))
            yield Resource(id=arn, type=kind, name=tags.get("Name", ""), state="tagged", tags=tags)


RESOURCES = ResourceFile(
    name="tagging",
    help="Tagged resources of types that no other file lists.",
    scope=Scope.REGION,
    service="resourcegroupstaggingapi",
    types=(),
    iam_actions=(TAGS_ACTION,),
    calls=(TAGS_CALL,),
    list=list_resources,
    cost_services={},
    optional=True,
)
