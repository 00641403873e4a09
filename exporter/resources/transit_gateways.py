"""Transit gateways and what is attached to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import Call, Listing, ResourceFile, tags_of
from exporter.resources.ec2 import PAGE

GATEWAY, ATTACHMENT = "ec2:transit-gateway", "ec2:transit-gateway-attachment"
_PAID = ("vpc", "vpn", "direct-connect-gateway", "peering")
_ATTACHED = ("available", "modifying")
_ENDED = ("deleted", "deleting", "failed", "rejected")


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """Only what the account owns: what another account has attached is listed and paid for there.

    A gateway costs nothing by itself. `unused_reason` is `no_attachments`: its owner sees all of them.
    """
    attachments = list(
        ctx.items(target, "ec2", "DescribeTransitGatewayAttachments", "TransitGatewayAttachments", PAGE)
    )
    used = {each["TransitGatewayId"] for each in attachments if each["State"] not in _ENDED}
    for gateway in ctx.items(target, "ec2", "DescribeTransitGateways", "TransitGateways", PAGE):
        if gateway["OwnerId"] == target.account_id:
            tags = tags_of(gateway.get("Tags", ()))
            is_used = gateway["TransitGatewayId"] in used or gateway["State"] != "available"
            yield Resource(
                id=gateway["TransitGatewayId"],
                type=GATEWAY,
                name=tags.get("Name", ""),
                state=gateway["State"],
                created=gateway["CreationTime"],
                tags=tags,
                monthly_usd=Decimal(0),
                unused_reason=None if is_used else "no_attachments",
            )
    for attachment in attachments:
        if attachment.get("ResourceOwnerId") == target.account_id:
            tags = tags_of(attachment.get("Tags", ()))
            yield Resource(
                id=attachment["TransitGatewayAttachmentId"],
                type=ATTACHMENT,
                name=tags.get("Name", ""),
                state=attachment["State"],
                created=attachment.get("CreationTime"),
                tags=tags,
                monthly_usd=_price(ctx, target, attachment),
                subtype=attachment["ResourceType"],
            )


def _price(ctx: Listing, target: Target, attachment: Mapping[str, Any]) -> Decimal | None:
    if attachment["State"] not in _ATTACHED:
        return Decimal(0)
    return ctx.hourly(target, "tgw.attachment") if attachment["ResourceType"] in _PAID else None


RESOURCES = ResourceFile(
    name="transit_gateways",
    help="Transit gateways and their attachments.",
    scope=Scope.REGION,
    service="ec2",
    types=(GATEWAY, ATTACHMENT),
    iam_actions=("ec2:DescribeTransitGatewayAttachments", "ec2:DescribeTransitGateways"),
    calls=(
        Call("DescribeTransitGatewayAttachments", check={"MaxResults": 5}),
        Call("DescribeTransitGateways"),
    ),
    list=list_resources,
    cost_services={ATTACHMENT: "Amazon Virtual Private Cloud"},
)
