"""Amazon MQ brokers."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import TAGS_ACTION, TAGS_CALL, Call, Listing, ResourceFile

BROKER = "mq:broker"
_INSTANCES = {"SINGLE_INSTANCE": 1, "ACTIVE_STANDBY_MULTI_AZ": 2, "CLUSTER_MULTI_AZ": 3}


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """A broker costs its instances; its storage is paid by use."""
    tags = ctx.tags(target, BROKER)
    for broker in ctx.items(target, "mq", "ListBrokers", "BrokerSummaries"):
        kind = broker["HostInstanceType"]
        yield Resource(
            id=broker["BrokerId"],
            type=BROKER,
            name=broker["BrokerName"],
            state=broker["BrokerState"].lower(),
            created=broker["Created"],
            tags=tags.of(broker["BrokerArn"]),
            monthly_usd=ctx.hourly(target, f"mq.{kind}", _INSTANCES[broker["DeploymentMode"]]),
            subtype=kind,
        )


RESOURCES = ResourceFile(
    name="mq",
    help="Message brokers.",
    scope=Scope.REGION,
    service="mq",
    types=(BROKER,),
    iam_actions=("mq:ListBrokers", TAGS_ACTION),
    calls=(Call("ListBrokers"), TAGS_CALL),
    list=list_resources,
    cost_services={BROKER: "Amazon MQ"},
)
