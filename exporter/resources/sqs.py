"""SQS queues."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import TAGS_ACTION, TAGS_CALL, UNKNOWN, Call, Listing, ResourceFile

QUEUE = "sqs:queue"


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """Paid by use; when a queue was made only its attributes tell."""
    tags = ctx.tags(target, "sqs")
    # Without MaxResults AWS answers at most a thousand and no token.
    urls = ctx.items(target, "sqs", "ListQueues", "QueueUrls", {"MaxResults": 1000})
    for url, answer in ctx.describe_each(
        target,
        "sqs",
        "GetQueueAttributes",
        urls,
        lambda url: {"QueueUrl": url, "AttributeNames": ["CreatedTimestamp", "QueueArn"]},
    ):
        name = url.rpartition("/")[2]
        if answer is None:
            arn = f"arn:{target.partition}:sqs:{target.region}:{target.account_id}:{name}"
            yield Resource(id=name, type=QUEUE, name=name, state=UNKNOWN, tags=tags.of(arn))
            continue
        attributes = answer["Attributes"]
        yield Resource(
            id=name,
            type=QUEUE,
            name=name,
            state="active",
            created=datetime.fromtimestamp(float(attributes["CreatedTimestamp"]), UTC),
            tags=tags.of(attributes["QueueArn"]),
        )


RESOURCES = ResourceFile(
    name="sqs",
    help="Queues.",
    scope=Scope.REGION,
    service="sqs",
    types=(QUEUE,),
    iam_actions=("sqs:GetQueueAttributes", "sqs:ListQueues", TAGS_ACTION),
    calls=(Call("ListQueues"), Call("GetQueueAttributes", "one for each queue", 20), TAGS_CALL),
    list=list_resources,
    cost_services={},
)
