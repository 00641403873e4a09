"""EC2: instances, volumes, snapshots and images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource, Saving
from exporter.inventory.listing import Activity, Call, Listing, ResourceFile, add, tags_of

INSTANCE, VOLUME, SNAPSHOT, IMAGE = "ec2:instance", "ec2:volume", "ec2:snapshot", "ec2:image"

PAGE = {"MaxResults": 500}
"""EC2 otherwise answers all at once, which times out in large accounts."""

_TEMPLATES = {"Versions": ["$Latest", "$Default"], "MaxResults": 200}

_STOPPED_AT = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")
_SUCCESSORS = {
    # The newest family that runs the same images and has the same sizes.
    "t1": None, "t2": "t3", "m1": None, "m2": None, "m3": "m5", "m4": "m5", "c1": None, "c3": "c5", "c4": "c5",
    "r3": "r5", "r4": "r5", "i2": "i3", "d2": "d3", "g2": None, "g3": "g4dn", "p2": None, "x1": "x2idn",
}  # fmt: skip
_OF_A_COPY = "vol-ffffffff"
"""The volume that AWS names for a copied snapshot; it says nothing."""
_IDLE = {
    "aws_ec2_cpu_utilization_ratio": 0.05,
    "aws_ec2_network_in_bytes_total": 5_000_000,
    "aws_ec2_network_out_bytes_total": 5_000_000,
}
"""What an idle instance does at most, on each day: in its busiest hour, or in all."""
_GP3_FREE_IOPS, _GP3_FREE_THROUGHPUT = 3000, 125


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """Instances first: what their disks cost, and which images and snapshots are in use, follows from them."""
    volumes = list(ctx.items(target, "ec2", "DescribeVolumes", "Volumes", PAGE))
    prices = {volume["VolumeId"]: volume_usd(ctx, target, volume) for volume in volumes}
    work = [(ctx.activity(target, family), limit) for family, limit in _IDLE.items()]
    launched = set()
    for reservation in ctx.items(target, "ec2", "DescribeInstances", "Reservations", PAGE):
        for instance in reservation["Instances"]:
            launched.add(instance.get("ImageId"))
            yield _instance(ctx, target, instance, prices, work)
    for volume in volumes:
        yield _volume(ctx, target, volume, prices[volume["VolumeId"]])
    images = list(ctx.items(target, "ec2", "DescribeImages", "Images", {"Owners": ["self"], **PAGE}))
    for version in ctx.items(
        target, "ec2", "DescribeLaunchTemplateVersions", "LaunchTemplateVersions", _TEMPLATES
    ):
        launched.add(version["LaunchTemplateData"].get("ImageId"))
    used = {snapshot for image in images for snapshot in _snapshots_of(image)}
    snapshot_prices = {}
    for snapshot in ctx.items(
        target, "ec2", "DescribeSnapshots", "Snapshots", {"OwnerIds": ["self"], **PAGE}
    ):
        if snapshot["OwnerId"] == target.account_id:
            found = _snapshot(ctx, target, snapshot, prices.keys(), used)
            snapshot_prices[found.id] = found.monthly_usd
            yield found
    for image in images:
        if image.get("OwnerId", target.account_id) == target.account_id:
            yield _image(ctx, image, launched, snapshot_prices)


def _instance(
    ctx: Listing,
    target: Target,
    instance: Mapping[str, Any],
    volume_prices: Mapping[str, Decimal | None],
    work: Sequence[tuple[Activity, float]],
) -> Resource:
    kind, state = instance["InstanceType"], instance["State"]["Name"]
    lifecycle = instance.get("InstanceLifecycle", "on-demand")
    tags = tags_of(instance.get("Tags", ()))
    price = None
    if state in ("stopped", "stopping", "terminated", "shutting-down"):
        price = Decimal(0)  # its volumes are paid for
    elif (
        lifecycle == "on-demand"
        and instance.get("PlatformDetails", "Linux/UNIX") == "Linux/UNIX"
        and instance.get("Placement", {}).get("Tenancy", "default") == "default"
    ):
        price = ctx.hourly(target, f"ec2.{kind}")
    disks = {
        mapping["DeviceName"]: mapping["Ebs"]
        for mapping in instance.get("BlockDeviceMappings", ())
        if "Ebs" in mapping
    }
    reason, wasted = None, None
    identifier = instance["InstanceId"]
    if state == "running" and all(
        activity.at_most(instance["LaunchTime"], identifier, limit) for activity, limit in work
    ):
        reason = "idle"
    if state == "stopped" and ctx.is_idle(_stopped_at(instance)):
        reason = "stopped"
        wasted = add(*(volume_prices.get(disk["VolumeId"]) for disk in disks.values()))
    savings: tuple[Saving, ...] = ()
    family, _, size = kind.partition(".")
    if family in _SUCCESSORS and state not in ("terminated", "shutting-down"):
        successor = ctx.hourly(target, f"ec2.{_SUCCESSORS[family]}.{size}") if price else None
        saved = price - successor if price and successor is not None else None
        savings = (Saving("previous_generation", saved if saved is None or saved > 0 else None),)
    # LaunchTime changes with each start; the root disk was attached when the instance was made.
    created = disks.get(instance.get("RootDeviceName", ""), {}).get("AttachTime")
    return Resource(
        id=identifier,
        type=INSTANCE,
        name=tags.get("Name", ""),
        state=state,
        created=created or instance["LaunchTime"],
        tags=tags,
        monthly_usd=price,
        unused_reason=reason,
        unused_usd=wasted,
        savings=savings,
        subtype=kind,
        lifecycle=lifecycle,
    )


def _stopped_at(instance: Mapping[str, Any]) -> datetime | None:
    found = _STOPPED_AT.search(instance.get("StateTransitionReason", ""))
    return datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC) if found else None


def volume_usd(ctx: Listing, target: Target, volume: Mapping[str, Any]) -> Decimal | None:
    """List price of a month of a volume: its size, and the IOPS and throughput that are paid beside it."""
    kind, size, iops = volume["VolumeType"], volume["Size"], volume.get("Iops", 0)
    price = ctx.usd(target, f"ebs.{kind}", size)
    if kind == "gp3":
        return _gp3(ctx, target, size, iops, volume.get("Throughput", 0))
    if kind in ("io1", "io2"):
        price = add(price, ctx.usd(target, f"ebs.{kind}.iops", iops))
    return price


def _gp3(ctx: Listing, target: Target, size: int, iops: int, throughput: int) -> Decimal | None:
    return add(
        ctx.usd(target, "ebs.gp3", size),
        ctx.usd(target, "ebs.gp3.iops", max(0, iops - _GP3_FREE_IOPS)),
        ctx.usd(target, "ebs.gp3.throughput", max(0, throughput - _GP3_FREE_THROUGHPUT)),
    )


def _volume(ctx: Listing, target: Target, volume: Mapping[str, Any], price: Decimal | None) -> Resource:
    tags = tags_of(volume.get("Tags", ()))
    savings: tuple[Saving, ...] = ()
    if volume["VolumeType"] == "gp2":
        size = volume["Size"]
        # What a gp2 volume of this size does without end: three IOPS a GB, and 250 MB/s above 170 GB.
        same = _gp3(ctx, target, size, min(16_000, 3 * size), 250 if size > 170 else 125)
        if price is None or same is None:
            savings = (Saving("gp2_to_gp3"),)
        elif same < price:
            savings = (Saving("gp2_to_gp3", price - same),)
    return Resource(
        id=volume["VolumeId"],
        type=VOLUME,
        name=tags.get("Name", ""),
        state=volume["State"],
        created=volume["CreateTime"],
        tags=tags,
        monthly_usd=price,
        unused_reason="unattached" if volume["State"] == "available" else None,
        savings=savings,
        subtype=volume["VolumeType"],
    )


def _snapshot(ctx: Listing, target: Target, snapshot: Mapping[str, Any], volumes: Any, used: Any) -> Resource:
    tags = tags_of(snapshot.get("Tags", ()))
    orphan = (
        snapshot["StartTime"] <= ctx.now - ctx.snapshot_age
        and snapshot.get("VolumeId") not in volumes
        and snapshot.get("VolumeId") != _OF_A_COPY
        and snapshot["SnapshotId"] not in used
    )
    # An upper bound: snapshots are incremental, and AWS tells what a full one would hold, or the size of the volume.
    full = snapshot.get("FullSnapshotSizeInBytes")
    size = snapshot["VolumeSize"] if full is None else Decimal(full) / 2**30
    tier = "snapshot.archive" if snapshot.get("StorageTier") == "archive" else "snapshot"
    return Resource(
        id=snapshot["SnapshotId"],
        type=SNAPSHOT,
        name=tags.get("Name", ""),
        state=snapshot["State"],
        created=snapshot["StartTime"],
        tags=tags,
        monthly_usd=ctx.usd(target, f"ebs.{tier}", size),
        unused_reason="volume_gone" if orphan else None,
    )


def _snapshots_of(image: Mapping[str, Any]) -> list[str]:
    disks = (mapping.get("Ebs", {}) for mapping in image.get("BlockDeviceMappings", ()))
    return [disk["SnapshotId"] for disk in disks if "SnapshotId" in disk]


def _image(
    ctx: Listing, image: Mapping[str, Any], launched: Any, snapshot_prices: Mapping[str, Decimal | None]
) -> Resource:
    created = _moment(image.get("CreationDate"))
    newest = max(filter(None, (created, _moment(image.get("LastLaunchedTime")))), default=None)
    # AWS names the last launch since 2017, a day late. Who else launches a public image is not known.
    unused = (
        image["State"] == "available"
        and not image.get("Public")
        and image["ImageId"] not in launched
        and newest is not None
        and newest <= ctx.now - ctx.snapshot_age
    )
    return Resource(
        id=image["ImageId"],
        type=IMAGE,
        name=image.get("Name", ""),
        state=image["State"],
        created=created,
        tags=tags_of(image.get("Tags", ())),
        monthly_usd=Decimal(0),  # its snapshots are paid for
        unused_reason="not_launched" if unused else None,
        unused_usd=add(*(snapshot_prices.get(snapshot) for snapshot in _snapshots_of(image)))
        if unused
        else None,
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


_COMPUTE, _OTHER = "Amazon Elastic Compute Cloud - Compute", "EC2 - Other"

RESOURCES = ResourceFile(
    name="ec2",
    help="Instances, EBS volumes, snapshots and images of the account's own.",
    scope=Scope.REGION,
    service="ec2",
    types=(INSTANCE, VOLUME, SNAPSHOT, IMAGE),
    iam_actions=(
        "ec2:DescribeImages",
        "ec2:DescribeInstances",
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:DescribeSnapshots",
        "ec2:DescribeVolumes",
    ),
    calls=(
        Call("DescribeInstances", check={"MaxResults": 5}),
        Call("DescribeVolumes"),
        Call("DescribeSnapshots"),
        Call("DescribeImages"),
        Call("DescribeLaunchTemplateVersions"),
    ),
    list=list_resources,
    cost_services={INSTANCE: _COMPUTE, VOLUME: _OTHER, SNAPSHOT: _OTHER},
)
