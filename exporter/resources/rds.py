"""RDS and Aurora: instances, clusters and manual snapshots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from exporter.model import Resource, Saving, Scope, Target
from exporter.resources import Call, Listing, ResourceFile, add, tags_of

INSTANCE, CLUSTER = "rds:db", "rds:cluster"
SNAPSHOT, CLUSTER_SNAPSHOT = "rds:snapshot", "rds:cluster-snapshot"

_EXTENDED = {"mysql": ("5.7",), "postgres": ("11", "12", "13"), "aurora-postgresql": ("11", "12", "13")}
"""Major versions past the end of standard support, which AWS charges for by the vCPU and hour."""
_PREVIOUS = {"m3": "m5", "m4": "m5", "r3": "r5", "r4": "r5", "t2": "t3", "m1": None, "m2": None, "t1": None}
_VCPUS = {"micro": 2, "small": 2, "medium": 2, "large": 2, "xlarge": 4}


def list_resources(ctx: Listing, target: Target) -> Iterator[Resource]:
    """Instances and clusters, and the snapshots that a person made; AWS's own go with their database."""
    alive = set()
    for instance in ctx.items(target, "rds", "DescribeDBInstances", "DBInstances"):
        alive.add(instance["DBInstanceIdentifier"])
        yield _instance(ctx, target, instance)
    for cluster in ctx.items(target, "rds", "DescribeDBClusters", "DBClusters"):
        alive.add(cluster["DBClusterIdentifier"])
        yield Resource(
            cluster["DBClusterIdentifier"],
            CLUSTER,
            cluster["DBClusterIdentifier"],
            cluster["Status"],
            cluster.get("ClusterCreateTime"),
            tags_of(cluster.get("TagList", ())),
            # Its instances are resources of their own; storage and requests depend on use.
            Decimal(0) if cluster["Engine"].startswith("aurora") else None,
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
            row = "rds.aurora.snapshot" if snapshot["Engine"].startswith("aurora") else "rds.snapshot"
            yield Resource(
                snapshot[identifier],
                kind,
                snapshot[identifier],
                snapshot["Status"],
                created,
                tags_of(snapshot.get("TagList", ())),
                ctx.usd(target, row, snapshot["AllocatedStorage"]),
                "database_gone" if gone and old else None,
                subtype=snapshot["Engine"],
            )


def _instance(ctx: Listing, target: Target, instance: Mapping[str, Any]) -> Resource:
    engine, size, state = instance["Engine"], instance["DBInstanceClass"], instance["DBInstanceStatus"]
    copies = 2 if instance.get("MultiAZ") else 1
    aurora = engine.startswith("aurora")
    storage = Decimal(0) if aurora else _storage(ctx, target, instance)
    stopped = state in ("stopped", "stopping")
    compute = Decimal(0) if stopped else ctx.hourly(target, f"rds.{engine}.{size}")
    price = add(*[compute, storage] * copies)
    savings = []
    if _is_extended(engine, instance.get("EngineVersion", "")) and not stopped:
        surcharge = ctx.hourly(target, "rds.extended_support.vcpu", vcpus(size) * copies)
        price = add(price, surcharge)
        savings.append(Saving("extended_support", surcharge))
    family = size.split(".")[1]
    if family in _PREVIOUS:
        newer = ctx.hourly(target, f"rds.{engine}.{size.replace(family, str(_PREVIOUS[family]))}")
        saved = (compute - newer) * copies if compute and newer is not None and newer < compute else None
        savings.append(Saving("previous_generation", saved))
    return Resource(
        instance["DBInstanceIdentifier"],
        INSTANCE,
        instance["DBInstanceIdentifier"],
        state,
        instance.get("InstanceCreateTime"),
        tags_of(instance.get("TagList", ())),
        price,
        # AWS starts it again after seven days; until then its storage is paid for.
        "stopped" if state == "stopped" else None,
        savings=tuple(savings),
        subtype=size,
    )


def _storage(ctx: Listing, target: Target, instance: Mapping[str, Any]) -> Decimal | None:
    kind, size = instance.get("StorageType", "gp2"), instance["AllocatedStorage"]
    price = ctx.usd(target, f"rds.storage.{kind}", size)
    if kind == "io1":
        price = add(price, ctx.usd(target, "rds.storage.io1.iops", instance.get("Iops", 0)))
    return price


def _is_extended(engine: str, version: str) -> bool:
    return any(version == major or version.startswith(f"{major}.") for major in _EXTENDED.get(engine, ()))


def vcpus(size: str) -> int:
    """The vCPUs of an instance class of a general or memory family, e.g. 8 of db.r6g.2xlarge."""
    last = size.rpartition(".")[2]
    return _VCPUS[last] if last in _VCPUS else int(last.removesuffix("xlarge")) * 4


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
