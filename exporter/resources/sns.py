"""SNS topics."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import TAGS_ACTION, TAGS_CALL, Call, Listing, ResourceFile

TOPIC = "sns:topic"


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """Paid by use; AWS does not tell when a topic was made."""
    tags = ctx.tags(target, "sns")
    for topic in ctx.items(target, "sns", "ListTopics", "Topics"):
        arn = topic["TopicArn"]
        name = arn.rpartition(":")[2]
        yield Resource(id=name, type=TOPIC, name=name, state="active", tags=tags.of(arn))


RESOURCES = ResourceFile(
    name="sns",
    help="Topics.",
    scope=Scope.REGION,
    service="sns",
    types=(TOPIC,),
    iam_actions=("sns:ListTopics", TAGS_ACTION),
    calls=(Call("ListTopics"), TAGS_CALL),
    list=list_resources,
    cost_services={},
)
