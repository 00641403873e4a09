"""VPC: elastic IP addresses, NAT gateways and endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.inventory.listing import Call, Listing, ResourceFile, tags_of
from exporter.resources.ec2 import PAGE

ADDRESS, NAT, ENDPOINT = "ec2:elastic-ip", "ec2:natgateway", "ec2:vpc-endpoint"
_ENDING = ("deleting", "deleted", "failed")


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """Addresses that nothing is associated with are unused, and NAT gateways that let nothing out."""
    for address in ctx.call(target, "ec2", "DescribeAddresses")["Addresses"]:
        # Addresses that the account has brought along are free.
        own = address.get("PublicIpv4Pool", "").startswith("ipv4pool-ec2-")
        used = bool(address.get("AssociationId") or address.get("InstanceId"))
        tags = tags_of(address.get("Tags", ()))
        yield Resource(
            id=address.get("AllocationId") or address["PublicIp"],
            type=ADDRESS,
            name=tags.get("Name") or address["PublicIp"],
            state="associated" if used else "unassociated",
            tags=tags,
            monthly_usd=Decimal(0) if own else ctx.hourly(target, "vpc.public_ipv4"),
            unused_reason=None if used else "unassociated",
        )
    sent = ctx.activity(target, "aws_nat_gateway_out_bytes_total")
    for gateway in ctx.items(target, "ec2", "DescribeNatGateways", "NatGateways", PAGE):
        tags = tags_of(gateway.get("Tags", ()))
        yield Resource(
            id=gateway["NatGatewayId"],
            type=NAT,
            name=tags.get("Name", ""),
            state=gateway["State"],
            created=gateway["CreateTime"],
            tags=tags,
            monthly_usd=Decimal(0) if gateway["State"] in _ENDING else ctx.hourly(target, "nat.hour"),
            unused_reason="no_traffic"
            if gateway["State"] == "available" and sent.none(gateway["CreateTime"], gateway["NatGatewayId"])
            else None,
        )
    for endpoint in ctx.items(target, "ec2", "DescribeVpcEndpoints", "VpcEndpoints", PAGE):
        tags = tags_of(endpoint.get("Tags", ()))
        kind = endpoint.get("VpcEndpointType", "Gateway")
        zones = len(endpoint.get("SubnetIds", ()))
        price = Decimal(0) if kind == "Gateway" else ctx.hourly(target, f"vpc.endpoint.{kind.lower()}", zones)
        yield Resource(
            id=endpoint["VpcEndpointId"],
            type=ENDPOINT,
            name=tags.get("Name") or endpoint["ServiceName"],
            state=endpoint["State"].lower(),
            created=endpoint.get("CreationTimestamp"),
            tags=tags,
            monthly_usd=price,
            subtype=kind,
        )


_VPC, _OTHER = "Amazon Virtual Private Cloud", "EC2 - Other"

RESOURCES = ResourceFile(
    name="vpc",
    help="Elastic IP addresses, NAT gateways and VPC endpoints.",
    scope=Scope.REGION,
    service="ec2",
    types=(ADDRESS, NAT, ENDPOINT),
    iam_actions=("ec2:DescribeAddresses", "ec2:DescribeNatGateways", "ec2:DescribeVpcEndpoints"),
    calls=(Call("DescribeAddresses", "one"), Call("DescribeNatGateways"), Call("DescribeVpcEndpoints")),
    list=list_resources,
    cost_services={ADDRESS: _VPC, NAT: _OTHER, ENDPOINT: _VPC},
)
