"""RDS and Aurora: instances, clusters and manual snapshots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from exporter.core.places import Scope, Target
from exporter.core.resource import Resource, Saving
from exporter.inventory.listing import Activity, Call, Listing, ResourceFile, add, tags_of

INSTANCE, CLUSTER = "rds:db", "rds:cluster"
SNAPSHOT, CLUSTER_SNAPSHOT = "rds:snapshot", "rds:cluster-snapshot"

_EXTENDED = {
    "mysql": {"5.7": date(2024, 3, 1), "8.0": date(2026, 8, 1)},
    "postgres": {
        "11": date(2024, 4, 1), "12": date(2025, 3, 1), "13": date(2026, 3, 1), "14": date(2027, 3, 1),
    },
    "aurora-mysql": {"5.7": date(2024, 12, 1)},
    "aurora-postgresql": {
        "11": date(2024, 4, 1), "12": date(2025, 3, 1), "13": date(2026, 3, 1), "14": date(2027, 3, 1),
    },
}  # fmt: skip
"""From when on AWS charges for extended support of a major version, by the vCPU and hour."""
_DOUBLED_AFTER_YEARS = 2
_PREVIOUS = {"m3": "m5", "m4": "m5", "r3": "r5", "r4": "r5", "t2": "t3", "m1": None, "m2": None, "t1": None}
_VCPUS = {"micro": 2, "small": 2, "medium": 2, "large": 2, "xlarge": 4}
_OTHER_SERVICES = ("docdb", "neptune")
"""Engines that RDS lists and that are other services on the bill, with other prices."""
_WITH_LICENCE = ("oracle", "sqlserver")
"""Engines that cost more by the hour where the licence is AWS's."""
_LARGE_GP3 = {"oracle": 200, "sqlserver": None}
"""From how many GB on gp3 includes 12,000 IOPS and 500 MB/s, where that is not 400."""


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """Instances and clusters, and the snapshots that a person made; AWS's own go with their database."""
    alive = set()
    connections = ctx.activity(target, "aws_rds_database_connections")
    for instance in ctx.items(target, "rds", "DescribeDBInstances", "DBInstances"):
        alive.add(instance["DBInstanceIdentifier"])
        yield _instance(ctx, target, instance, connections)
    for cluster in ctx.items(target, "rds", "DescribeDBClusters", "DBClusters"):
        alive.add(cluster["DBClusterIdentifier"])
        yield Resource(
            id=cluster["DBClusterIdentifier"],
            type=CLUSTER,
            name=cluster["DBClusterIdentifier"],
            state=cluster["Status"],
            created=cluster.get("ClusterCreateTime"),
            tags=tags_of(cluster.get("TagList", ())),
            # Its instances are listed as resources; storage and requests depend on use.
            monthly_usd=Decimal(0) if cluster["Engine"].startswith("aurora") else None,
            subtype=cluster["Engine"],
        )
    kinds = (
        (SNAPSHOT, "DescribeDBSnapshots", "DBSnapshots", "DBSnapshotIdentifier", "DBInstanceIdentifier"),
        (
            CLUSTER_SNAPSHOT,
            "DescribeDBClusterSnapshots",
            "DBClusterSnapshots",
            "DBClusterSnapshotIdentifier",
            "DBClusterIdentifier",
        ),
    )
    for kind, operation, member, identifier, source in kinds:
        for snapshot in ctx.items(target, "rds", operation, member, {"SnapshotType": "manual"}):
            created = snapshot.get("SnapshotCreateTime")
            gone = snapshot[source] not in alive
            old = created is not None and created <= ctx.now - ctx.snapshot_age
            engine = snapshot["Engine"]
            row = "rds.aurora.snapshot" if engine.startswith("aurora") else "rds.snapshot"
            yield Resource(
                id=snapshot[identifier],
                type=kind,
                name=snapshot[identifier],
                state=snapshot["Status"],
                created=created,
                tags=tags_of(snapshot.get("TagList", ())),
                monthly_usd=None
                if engine.startswith(_OTHER_SERVICES)
                else ctx.usd(target, row, snapshot["AllocatedStorage"]),
                unused_reason="database_gone" if gone and old else None,
                subtype=engine,
            )


def _instance(ctx: Listing, target: Target, instance: Mapping[str, Any], connections: Activity) -> Resource:
    engine, size, state = instance["Engine"], instance["DBInstanceClass"], instance["DBInstanceStatus"]
    copies = 2 if instance.get("MultiAZ") else 1
    aurora = engine.startswith("aurora")
    storage = Decimal(0) if aurora else _storage(ctx, target, instance)
    stopped = state in ("stopped", "stopping")
    # I/O-Optimized costs more by the hour, and its price is not in the table.
    listed = instance.get("StorageType") != "aurora-iopt1"
    own_licence = instance.get("LicenseModel") == "bring-your-own-license"
    row_name = f"{engine}.byol" if own_licence and engine.startswith(_WITH_LICENCE) else engine
    compute = Decimal(0) if stopped else ctx.hourly(target, f"rds.{row_name}.{size}") if listed else None
    price = add(*[compute, storage] * copies)
    savings = []
    row = None if stopped else _extended_support(ctx, instance)
    if row is not None:
        # Serverless databases pay by capacity, which moves.
        count = vcpus(size)
        surcharge = None if count is None else ctx.hourly(target, row, count * copies)
        price = add(price, surcharge)
        savings.append(Saving("extended_support", surcharge))
    family = size.split(".")[1]
    if family in _PREVIOUS:
        newer = ctx.hourly(target, f"rds.{row_name}.{size.replace(family, str(_PREVIOUS[family]))}")
        saved = (compute - newer) * copies if compute and newer is not None and newer < compute else None
        savings.append(Saving("previous_generation", saved))
    # AWS starts a stopped one again after seven days; until then its storage is paid for.
    reason = "stopped" if state == "stopped" else None
    created = instance.get("InstanceCreateTime")
    if state == "available" and created and connections.at_most(created, instance["DBInstanceIdentifier"], 0):
        reason = "no_connections"
    return Resource(
        id=instance["DBInstanceIdentifier"],
        type=INSTANCE,
        name=instance["DBInstanceIdentifier"],
        state=state,
        created=created,
        tags=tags_of(instance.get("TagList", ())),
        monthly_usd=price,
        unused_reason=reason,
        savings=tuple(savings),
        subtype=size,
    )


def _storage(ctx: Listing, target: Target, instance: Mapping[str, Any]) -> Decimal | None:
    kind, size = instance.get("StorageType", "gp2"), instance["AllocatedStorage"]
    price = ctx.usd(target, f"rds.storage.{kind}", size)
    iops = instance.get("Iops", 0)
    if kind == "gp3":
        family = instance["Engine"].partition("-")[0]
        large_from = _LARGE_GP3.get(family, 400)
        large = large_from is not None and size >= large_from
        more = max(0, iops - (12_000 if large else 3_000))
        faster = max(0, instance.get("StorageThroughput", 0) - (500 if large else 125))
        price = add(
            price,
            ctx.usd(target, "rds.storage.gp3.iops", more),
            ctx.usd(target, "rds.storage.gp3.throughput", faster),
        )
    elif kind in ("io1", "io2"):
        price = add(price, ctx.usd(target, f"rds.storage.{kind}.iops", iops))
    return price


def _extended_support(ctx: Listing, instance: Mapping[str, Any]) -> str | None:
    """The row of what AWS charges for the instance's version; None while it is in standard support."""
    if instance.get("EngineLifecycleSupport") == "open-source-rds-extended-support-disabled":
        return None
    engine, version = instance["Engine"], instance.get("EngineVersion", "")
    today = ctx.now.date()
    for major, since in _EXTENDED.get(engine, {}).items():
        if version.split(".")[: major.count(".") + 1] == major.split(".") and today >= since:
            # AWS ends Aurora MySQL 5.7 before its third year.
            doubled = (
                today >= since.replace(year=since.year + _DOUBLED_AFTER_YEARS) and engine != "aurora-mysql"
            )
            return "rds.extended_support.vcpu.year3" if doubled else "rds.extended_support.vcpu"
    return None


def vcpus(size: str) -> int | None:
    """The vCPUs of an instance class, e.g. 8 of db.r6g.2xlarge; None where its name does not tell."""
    last = size.rpartition(".")[2]
    if last in _VCPUS:
        return _VCPUS[last]
    number = last.removesuffix("xlarge")
    return int(number) * 4 if number != last and number.isdigit() else None


RESOURCES = ResourceFile(
    name="rds",
    help="Databases of RDS and Aurora, and snapshots made by hand.",
    scope=Scope.REGION,
    service="rds",
    types=(INSTANCE, CLUSTER, SNAPSHOT, CLUSTER_SNAPSHOT),
    iam_actions=(
        "rds:DescribeDBClusterSnapshots",
        "rds:DescribeDBClusters",
        "rds:DescribeDBInstances",
        "rds:DescribeDBSnapshots",
    ),
    calls=(
        Call("DescribeDBInstances"),
        Call("DescribeDBClusters"),
        Call("DescribeDBSnapshots"),
        Call("DescribeDBClusterSnapshots"),
    ),
    list=list_resources,
    cost_services=dict.fromkeys((INSTANCE, SNAPSHOT, CLUSTER_SNAPSHOT), "Amazon Relational Database Service"),
)
