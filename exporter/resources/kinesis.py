"""Kinesis data streams."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import TAGS_ACTION, TAGS_CALL, UNKNOWN, Call, Listing, ResourceFile

STREAM = "kinesis:stream"


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """A provisioned stream costs its shards, an on-demand stream itself; both beside what flows."""
    tags = ctx.tags(target, "kinesis")
    incoming = ctx.activity(target, "aws_kinesis_incoming_bytes_total")
    names = ctx.items(target, "kinesis", "ListStreams", "StreamNames")
    for name, answer in ctx.describe_each(
        target, "kinesis", "DescribeStreamSummary", names, lambda name: {"StreamName": name}
    ):
        if answer is None:
            arn = f"arn:{target.partition}:kinesis:{target.region}:{target.account_id}:stream/{name}"
            yield Resource(id=name, type=STREAM, name=name, state=UNKNOWN, tags=tags.of(arn))
            continue
        stream = answer["StreamDescriptionSummary"]
        on_demand = stream.get("StreamModeDetails", {}).get("StreamMode") == "ON_DEMAND"
        price = (
            ctx.hourly(target, "kinesis.on_demand")
            if on_demand
            else ctx.hourly(target, "kinesis.shard", stream["OpenShardCount"])
        )
        yield Resource(
            id=name,
            type=STREAM,
            name=name,
            state=stream["StreamStatus"].lower(),
            created=stream["StreamCreationTimestamp"],
            tags=tags.of(stream["StreamARN"]),
            monthly_usd=price,
            unused_reason="no_traffic" if incoming.none(stream["StreamCreationTimestamp"], name) else None,
            subtype="on-demand" if on_demand else "provisioned",
        )


RESOURCES = ResourceFile(
    name="kinesis",
    help="Data streams.",
    scope=Scope.REGION,
    service="kinesis",
    types=(STREAM,),
    iam_actions=("kinesis:DescribeStreamSummary", "kinesis:ListStreams", TAGS_ACTION),
    calls=(Call("ListStreams"), Call("DescribeStreamSummary", "one for each stream", 5), TAGS_CALL),
    list=list_resources,
    cost_services={STREAM: "Amazon Kinesis"},
)
