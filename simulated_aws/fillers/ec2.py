"""Fills EC2, its network and its load balancers."""

from __future__ import annotations

from functools import partial
from typing import Any

from moto.elbv2.models import FakeHealthStatus

from simulated_aws.filler import Fill, Filler, listed


def _spec(kind: str, tags: dict[str, str]) -> list[dict[str, Any]]:
    return [{"ResourceType": kind, "Tags": listed(tags)}] if tags else []


def _volume(fill: Filler, days: float, tags: dict[str, str], attach: str | None = None, **spec: Any) -> str:
    client = fill.client("ec2")
    answer = client.create_volume(
        AvailabilityZone=f"{fill.region}a", TagSpecifications=_spec("volume", tags), **spec
    )
    identifier = str(answer["VolumeId"])
    volume = fill.backend("ec2").volumes[identifier]
    volume.create_time = fill.ago(days).replace(tzinfo=None)
    if attach:
        client.attach_volume(VolumeId=identifier, InstanceId=attach, Device="/dev/sdf")
    return identifier


def _snapshot(fill: Filler, volume: str, days: float) -> str:
    identifier = str(fill.client("ec2").create_snapshot(VolumeId=volume)["SnapshotId"])
    fill.backend("ec2").snapshots[identifier].start_time = fill.ago(days).replace(tzinfo=None)
    return identifier


def _note(fill: Filler, kind: str, identifier: str, days: float | None, **more: Any) -> None:
    more.setdefault("name", "")
    created = None if days is None else fill.ago(days)
    fill.add(f"ec2:{kind}", identifier, fill.arn("ec2", f"{kind}/{identifier}"), created, **more)


def ec2(fill: Filler) -> None:
    """Volumes, snapshots, an image, addresses, a NAT gateway and endpoints."""
    instances = fill.instances()
    for identifier in instances:
        _instance(fill, fill.backend("ec2").get_instance(identifier))
    _volumes_and_snapshots(fill, instances)
    if instances:
        _images(fill, instances[0])
    subnets = fill.client("ec2").describe_subnets()["Subnets"]
    _addresses(fill, subnets[0]["SubnetId"])
    _endpoints(fill, subnets)


def _volumes_and_snapshots(fill: Filler, instances: list[str]) -> None:
    """An attached volume, two that nothing uses, and snapshots of one that is there and one that is gone."""
    data = {"Name": f"{fill.prefix}-data", **fill.tags}
    attached = _volume(
        fill, 210, data, instances[0] if instances else None, Size=200, VolumeType="gp3", Iops=4000,
        Throughput=250,
    )  # fmt: skip
    # 200 x 0.08, 1,000 IOPS x 0.005 and 125 MB/s x 0.04
    _note(
        fill, "volume", attached, 210, name=data["Name"], tags=data, price="26.00",
        state="in-use" if instances else "available", unused=None if instances else "unattached",
    )  # fmt: skip
    old = _volume(fill, 500, fill.tags, Size=500, VolumeType="gp2")
    # As gp3 with the same 250 MB/s: 40 + 5
    _note(fill, "volume", old, 500, state="available", tags=fill.tags, price="50.00", unused="unattached",
          savings={"gp2_to_gp3": "5.00"})  # fmt: skip
    fast = _volume(fill, 33, {}, Size=100, VolumeType="io1", Iops=1000)
    _note(fill, "volume", fast, 33, state="available", price="77.50", unused="unattached")

    kept = _snapshot(fill, attached, 200)
    _note(fill, "snapshot", kept, 200, state="completed", price="10.00")
    temporary = _volume(fill, 400, {}, Size=20, VolumeType="gp3")
    for days, unused in ((200, "volume_gone"), (10, None)):
        _note(fill, "snapshot", _snapshot(fill, temporary, days), days, state="completed", price="1.00",
              unused=unused)  # fmt: skip
    fill.client("ec2").delete_volume(VolumeId=temporary)


def _images(fill: Filler, instance: str) -> None:
    """An image that nothing was launched from, one that is in use and one of a launch template."""
    client, backend = fill.client("ec2"), fill.backend("ec2")
    for kind, days, last_launch, unused in (
        ("golden", 300, None, "not_launched"),
        ("current", 200, 2, None),
        ("template", 250, None, None),
    ):
        name = f"{fill.prefix}-{kind}"
        image = str(client.create_image(InstanceId=instance, Name=name)["ImageId"])
        (found,) = (each for each in backend.amis.values() if each.id == image)
        found.creation_date = fill.ago(days)
        found.public = False
        if last_launch:
            found.last_launched_time = fill.ago(last_launch).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        if kind == "template":
            client.create_launch_template(
                LaunchTemplateName=name, LaunchTemplateData={"ImageId": image, "InstanceType": "t3.small"}
            )
        snapshot = backend.snapshots[found.ebs_snapshot.id]
        snapshot.start_time = fill.ago(days).replace(tzinfo=None)
        # Its snapshot is what costs: 15 GB.
        _note(fill, "image", image, days, name=name, state="available", price="0", unused=unused,
              unused_price="0.75" if unused else None)  # fmt: skip
        # Old, and its volume is gone, but the image needs it.
        _note(fill, "snapshot", snapshot.id, days, state="completed", price="0.75")


def _addresses(fill: Filler, subnet: str) -> None:
    """A NAT gateway with its address, and an address that nothing uses."""
    client, backend = fill.client("ec2"), fill.backend("ec2")
    used = client.allocate_address(Domain="vpc", TagSpecifications=_spec("elastic-ip", fill.tags))
    spare = client.allocate_address(Domain="vpc")
    tags = {"Name": f"{fill.prefix}-nat", **fill.tags}
    gateway = client.create_nat_gateway(
        SubnetId=subnet,
        AllocationId=used["AllocationId"],
        TagSpecifications=_spec("natgateway", tags),
    )["NatGateway"]["NatGatewayId"]
    # The name under which CloudWatch knows it.
    nat = backend.nat_gateways.pop(gateway)
    nat.id = f"nat-0{fill.suffix}"
    nat._created_at = fill.ago(150)
    backend.nat_gateways[nat.id] = nat
    backend.tags[nat.id] = backend.tags.pop(gateway, {})
    _note(fill, "elastic-ip", used["AllocationId"], None, name=used["PublicIp"], state="associated",
          price="3.65", tags=fill.tags)  # fmt: skip
    _note(fill, "elastic-ip", spare["AllocationId"], None, name=spare["PublicIp"], state="unassociated",
          price="3.65", unused="unassociated")  # fmt: skip
    _note(fill, "natgateway", nat.id, 150, name=tags["Name"], state="available", price="32.85", tags=tags)


def _endpoints(fill: Filler, subnets: list[dict[str, Any]]) -> None:
    """A gateway endpoint, which is free, and an interface in two zones."""
    client, backend = fill.client("ec2"), fill.backend("ec2")
    for service, kind, zones, price in (("s3", "Gateway", 0, "0"), ("sqs", "Interface", 2, "14.60")):
        name = f"com.amazonaws.{fill.region}.{service}"
        endpoint = client.create_vpc_endpoint(
            VpcId=subnets[0]["VpcId"],
            ServiceName=name,
            VpcEndpointType=kind,
            SubnetIds=[subnet["SubnetId"] for subnet in subnets[:zones]],
            TagSpecifications=_spec("vpc-endpoint", fill.tags),
        )["VpcEndpoint"]["VpcEndpointId"]
        backend.vpc_end_points[endpoint].creation_timestamp = fill.ago(90)
        _note(fill, "vpc-endpoint", endpoint, 90, name=name, state="available", price=price, tags=fill.tags)


_HOURLY = {
    "m6i.large": "70.08", "t3.medium": "30.368", "c6g.xlarge": "99.28", "r6g.large": "73.584",
    "m5.2xlarge": "280.32", "t2.small": "16.79",
}  # fmt: skip


def _instance(fill: Filler, instance: Any) -> None:
    """An instance, which is there already, and its root disk of 8 GB."""
    tags = {tag["key"]: tag["value"] for tag in instance.get_tags()}
    running = instance.state == "running"
    spot = instance.lifecycle == "spot"
    ((_, disk),) = instance.get_block_device_mapping
    made = disk.attach_time
    stopped_days = None
    if not running:
        stopped_days = (fill.now - instance.stopped_on).days
    unused = stopped_days is not None and stopped_days >= 14
    price = "0" if not running else None if spot else _HOURLY[instance.instance_type]
    savings = {}
    if instance.instance_type.startswith("t2."):
        # t3.small costs 0.0208 an hour.
        savings = {"previous_generation": "1.606" if running and not spot else "0"}
    fill.add(
        "ec2:instance",
        instance.id,
        fill.arn("ec2", f"instance/{instance.id}"),
        made,
        name=tags["Name"],
        state=instance.state,
        tags=tags,
        price=price,
        unused="stopped" if unused else None,
        unused_price="0.80" if unused else None,
        savings=savings,
    )
    fill.add(
        "ec2:volume",
        disk.volume_id,
        fill.arn("ec2", f"volume/{disk.volume_id}"),
        made,
        name="",
        state="in-use",
        price="0.80",
        savings={"gp2_to_gp3": "0.16"},
    )


def elbv2(fill: Filler) -> None:
    """A load balancer that serves, one whose target is ill, one without any, and a network load balancer."""
    client, backend = fill.client("elbv2"), fill.backend("elbv2")
    subnets = fill.client("ec2").describe_subnets()["Subnets"]
    instances = fill.instances()
    for name, kind, health, days in (
        (fill.prefix, "application", "healthy", 240),
        (f"{fill.prefix}-old", "application", "unhealthy", 800),
        (f"{fill.prefix}-idle", "application", None, 60),
        (f"{fill.prefix}-tcp", "network", "healthy", 120),
    ):
        (balancer,) = client.create_load_balancer(
            Name=name[:32].strip("-"),
            Type=kind,
            Subnets=[subnet["SubnetId"] for subnet in subnets[:2]],
        )["LoadBalancers"]
        made = backend.load_balancers.pop(balancer["LoadBalancerArn"])
        # The name under which CloudWatch knows it.
        path = f"{ {'application': 'app', 'network': 'net'}[kind] }/{made.name}/{fill.suffix}"
        made.arn = arn = fill.arn("elasticloadbalancing", f"loadbalancer/{path}")
        made.created_time, made.state = fill.ago(days), "active"
        backend.load_balancers[arn] = made
        tags = fill.tags if health == "healthy" else {}
        if tags:
            client.add_tags(ResourceArns=[arn], Tags=listed(tags))
        served = health if instances else None
        if served:
            _target(fill, arn, f"{name[:24].strip('-')}-{kind[:3]}", kind, instances[0], served)
        reason = {None: "no_targets", "healthy": None, "unhealthy": "no_healthy_targets"}[served]
        fill.add("elasticloadbalancing:loadbalancer", arn, arn, fill.ago(days), name=name[:32].strip("-"),
                 tags=tags, price="16.425", unused=reason)  # fmt: skip


def _target(fill: Filler, balancer: str, name: str, kind: str, instance: str, health: str) -> None:
    """Let a load balancer serve an instance of this health."""
    client = fill.client("elbv2")
    protocol = {"application": "HTTP", "network": "TCP"}[kind]
    vpc = fill.client("ec2").describe_subnets()["Subnets"][0]["VpcId"]
    (group,) = client.create_target_group(Name=name, Protocol=protocol, Port=80, VpcId=vpc)["TargetGroups"]
    arn = group["TargetGroupArn"]
    client.create_listener(
        LoadBalancerArn=balancer,
        Protocol=protocol,
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
    )
    client.register_targets(TargetGroupArn=arn, Targets=[{"Id": instance, "Port": 80}])
    # moto's targets are healthy by their instance's state.
    fill.backend("elbv2").target_groups[arn].health_for = partial(
        lambda state, target, _: FakeHealthStatus(target["Id"], "80", "80", state), health
    )


FILLS = {
    "ec2": Fill(ec2),
    "elbv2": Fill(elbv2),
}
