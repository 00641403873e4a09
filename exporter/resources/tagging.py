"""The catch-all: what the Tagging API knows of types that have no file here.

It lists only what bears a tag or once bore one, without state, age or price.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
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


_WITHOUT_TYPE = {"s3": "bucket", "sqs": "queue", "sns": "topic"}


def type_of(arn: str) -> str:
    """A resource's type as service and kind, e.g. `glue:job`; by the forms that ARNs have.

    Where AWS names a type otherwise than the files here, theirs is the one that counts.
    """
    service, resource = arn.split(":", 5)[2], arn.split(":", 5)[5]
    if service in _WITHOUT_TYPE:
        return f"{service}:{_WITHOUT_TYPE[service]}"
    kind = resource.replace("/", ":").lstrip(":").partition(":")[0]
    return f"{service}:{kind}"


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
