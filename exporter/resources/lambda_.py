"""Lambda functions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import TAGS_ACTION, TAGS_CALL, Call, Listing, ResourceFile

FUNCTION = "lambda:function"


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """Paid by use; AWS tells only when a function was changed last."""
    tags = ctx.tags(target, "lambda:function")
    for function in ctx.items(target, "lambda", "ListFunctions", "Functions"):
        yield Resource(
            id=function["FunctionName"],
            type=FUNCTION,
            name=function["FunctionName"],
            # Listing leaves the state out; a function that is listed exists.
            state=function.get("State", "Active").lower(),
            tags=tags.of(function["FunctionArn"]),
            subtype=function.get("Runtime", function.get("PackageType", "")),
            existed_by=_moment(function["LastModified"]),
        )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00").replace("+0000", "+00:00"))


RESOURCES = ResourceFile(
    name="lambda",
    help="Functions.",
    scope=Scope.REGION,
    service="lambda",
    types=(FUNCTION,),
    iam_actions=("lambda:ListFunctions", TAGS_ACTION),
    calls=(Call("ListFunctions"), TAGS_CALL),
    list=list_resources,
    cost_services={},
)
