"""Fills transit gateways."""

from __future__ import annotations

from simulated_aws.filler import Fill, Filler, listed


def transit_gateways(fill: Filler) -> None:
    """A gateway with a network attached to it, and one without any."""
    client, backend = fill.client("ec2"), fill.backend("ec2")
    subnet = client.describe_subnets()["Subnets"][0]
    for name, days, tagged in (("backbone", 700, True), ("old", 1600, False)):
        tags = {"Name": f"{fill.prefix}-{name}", **(fill.tags if tagged else {})}
        gateway = client.create_transit_gateway(Description=name)["TransitGateway"]["TransitGatewayId"]
        client.create_tags(Resources=[gateway], Tags=listed(tags))
        backend.transit_gateways[gateway]._created_at = fill.ago(days)
        fill.add("ec2:transit-gateway", gateway, fill.arn("ec2", f"transit-gateway/{gateway}"), fill.ago(days),
                 name=tags["Name"], state="available", tags=tags, price="0",
                 unused=None if tagged else "no_attachments")  # fmt: skip
        if not tagged:
            continue
        attachment = client.create_transit_gateway_vpc_attachment(
            TransitGatewayId=gateway, VpcId=subnet["VpcId"], SubnetIds=[subnet["SubnetId"]]
        )["TransitGatewayVpcAttachment"]["TransitGatewayAttachmentId"]
        client.create_tags(Resources=[attachment], Tags=listed(tags))
        backend.transit_gateway_attachments[attachment]._created_at = fill.ago(days - 1)
        # 0.05 x 730
        fill.add("ec2:transit-gateway-attachment", attachment,
                 fill.arn("ec2", f"transit-gateway-attachment/{attachment}"), fill.ago(days - 1),
                 name=tags["Name"], state="available", tags=tags, price="36.50")  # fmt: skip


FILLS = {"ec2": Fill(transit_gateways)}
