"""Fills what stores data: databases, tables, caches, buckets, file systems, streams and logs."""

from __future__ import annotations

from datetime import date
from typing import Any

from moto.s3.models import s3_backends

from simulated_aws.filler import Fill, Filler, Reach, listed

_LOGIN = {"MasterUsername": "admin", "MasterUserPassword": "simulated-password"}


def rds(fill: Filler) -> None:
    """A database in two zones, an old one that is stopped, one in extended support, Aurora, and snapshots."""
    # 2 x (0.215 x 730 + 100 GB x 0.115)
    _database(
        fill, f"{fill.prefix}-db", 380, fill.tags, "336.90", DBInstanceClass="db.r6g.large", Engine="mysql",
        EngineVersion="8.4.5", AllocatedStorage=100, StorageType="gp3", MultiAZ=True, **_LOGIN,
    )  # fmt: skip
    # Stopped: 20 GB x 0.115
    _database(
        fill, f"{fill.prefix}-old", 900, {}, "2.30", DBInstanceClass="db.t3.medium", Engine="postgres",
        EngineVersion="16.4", AllocatedStorage=20, StorageType="gp2", state="stopped", unused="stopped", **_LOGIN,
    )  # fmt: skip
    # 0.072 x 730 + 50 GB x 0.115 + 2 vCPU x 0.10 x 730; the third year costs twice as much
    third_year = fill.now.date() >= date(2027, 3, 1)
    _database(
        fill, f"{fill.prefix}-reports", 1500, fill.tags, "350.31" if third_year else "204.31",
        DBInstanceClass="db.t3.medium", Engine="postgres", EngineVersion="12.22", AllocatedStorage=50,
        StorageType="gp2", savings={"extended_support": "292.00" if third_year else "146.00"}, **_LOGIN,
    )  # fmt: skip
    _aurora(fill, f"{fill.prefix}-aurora")
    _database_snapshot(fill, f"{fill.prefix}-before-upgrade", f"{fill.prefix}-db", 300, "9.50")
    gone, client = f"{fill.prefix}-trial", fill.client("rds")
    client.create_db_instance(
        DBInstanceIdentifier=gone,
        DBInstanceClass="db.t3.micro",
        Engine="mysql",
        AllocatedStorage=40,
        **_LOGIN,
    )
    _database_snapshot(fill, f"{gone}-final", gone, 200, "3.80", "database_gone")
    client.delete_db_instance(DBInstanceIdentifier=gone, SkipFinalSnapshot=True)


def _database(fill: Filler, name: str, days: float, tags: dict[str, str], price: str, **spec: Any) -> None:
    client, backend = fill.client("rds"), fill.backend("rds")
    more = {key: spec.pop(key) for key in ("state", "unused", "savings") if key in spec}
    made = client.create_db_instance(
        DBInstanceIdentifier=name, **({"Tags": listed(tags)} if tags else {}), **spec
    )
    database = backend.databases[made["DBInstance"]["DBInstanceIdentifier"]]
    database.instance_create_time = fill.ago(days)
    more.setdefault("state", "available")
    if more["state"] == "stopped":
        client.stop_db_instance(DBInstanceIdentifier=name)
    fill.add("rds:db", name, fill.arn("rds", f"db:{name}"), fill.ago(days), tags=tags, price=price, **more)


def _database_snapshot(
    fill: Filler, name: str, source: str, days: float, price: str, unused: str | None = None
) -> None:
    fill.client("rds").create_db_snapshot(DBInstanceIdentifier=source, DBSnapshotIdentifier=name)
    fill.backend("rds").database_snapshots[name].created = fill.ago(days)
    fill.add("rds:snapshot", name, fill.arn("rds", f"snapshot:{name}"), fill.ago(days), state="available",
             price=price, unused=unused)  # fmt: skip


def _aurora(fill: Filler, cluster: str) -> None:
    """A cluster of one instance, and a snapshot of it."""
    client, backend = fill.client("rds"), fill.backend("rds")
    client.create_db_cluster(
        DBClusterIdentifier=cluster, Engine="aurora-mysql", EngineVersion="8.0.mysql_aurora.3.08.0",
        Tags=listed(fill.tags), **_LOGIN,
    )  # fmt: skip
    backend.clusters[cluster].cluster_create_time = fill.ago(100)
    fill.add("rds:cluster", cluster, fill.arn("rds", f"cluster:{cluster}"), fill.ago(100), tags=fill.tags,
             state="available", price="0")  # fmt: skip
    _database(
        fill, f"{cluster}-1", 100, fill.tags, "189.80", DBClusterIdentifier=cluster,
        DBInstanceClass="db.r6g.large", Engine="aurora-mysql",
    )  # fmt: skip
    name = f"{cluster}-weekly"
    client.create_db_cluster_snapshot(DBClusterIdentifier=cluster, DBClusterSnapshotIdentifier=name)
    backend.cluster_snapshots[name].created = fill.ago(7)
    # moto's clusters hold 1 GB.
    fill.add("rds:cluster-snapshot", name, fill.arn("rds", f"cluster-snapshot:{name}"), fill.ago(7),
             state="available", price="0.021")  # fmt: skip


def dynamodb(fill: Filler) -> None:
    """A provisioned table and one on demand."""
    client, backend = fill.client("dynamodb"), fill.backend("dynamodb")
    key: dict[str, Any] = {
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    }
    for name, days, mode, tags, price in (
        # 100 x 0.00013 x 730 + 50 x 0.00065 x 730
        ("orders", 700, "PROVISIONED", fill.tags, "33.215"),
        ("sessions", 20, "PAY_PER_REQUEST", {}, None),
    ):
        table = f"{fill.prefix}-{name}"
        throughput = {"ReadCapacityUnits": 100, "WriteCapacityUnits": 50}
        client.create_table(
            TableName=table,
            BillingMode=mode,
            **key,
            **({"ProvisionedThroughput": throughput} if mode == "PROVISIONED" else {}),
            **({"Tags": listed(tags)} if tags else {}),
        )
        backend.tables[table].created_at = fill.ago(days)
        fill.add("dynamodb:table", table, fill.arn("dynamodb", f"table/{table}"), fill.ago(days), tags=tags,
                 price=price)  # fmt: skip


def elasticache(fill: Filler) -> None:
    """A cluster of three nodes, and one of the previous generation."""
    client, backend = fill.client("elasticache"), fill.backend("elasticache")
    for name, kind, engine, nodes, days, tags, price, savings in (
        ("sessions", "cache.r6g.large", "memcached", 3, 120, fill.tags, "451.14", {}),
        # cache.m5.large costs 0.156 an hour.
        ("legacy", "cache.r4.large", "redis", 1, 1400, {}, "166.44", {"previous_generation": "8.76"}),
    ):
        cluster = f"{fill.prefix}-{name}"[:50]
        client.create_cache_cluster(
            CacheClusterId=cluster,
            CacheNodeType=kind,
            Engine=engine,
            NumCacheNodes=nodes,
            **({"Tags": listed(tags)} if tags else {}),
        )
        backend.cache_clusters[cluster].cache_cluster_create_time = fill.ago(days)
        fill.add("elasticache:cluster", cluster, fill.arn("elasticache", f"cluster:{cluster}"), fill.ago(days),
                 state="available", tags=tags, price=price, savings=savings)  # fmt: skip


def s3(fill: Filler) -> None:
    """Three buckets, one of them without a tag."""
    client = fill.client("s3")
    for content, days in (("assets", 600), ("logs", 450), ("backups", 45)):
        bucket = f"{fill.prefix}-{content}-{fill.suffix}"
        where = {"CreateBucketConfiguration": {"LocationConstraint": fill.region}}
        if bucket not in fill.backend("s3", "aws").buckets:
            # moto remembers the names of buckets for the whole process, also of an organisation that is gone.
            s3_backends.bucket_accounts.pop(bucket, None)
            client.create_bucket(Bucket=bucket, **(where if fill.region != "us-east-1" else {}))
        tags = {} if content == "logs" else fill.tags
        if tags:
            client.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": listed(tags)})
        fill.backend("s3", "aws").buckets[bucket].creation_date = fill.ago(days)
        fill.add("s3:bucket", bucket, f"arn:aws:s3:::{bucket}", fill.ago(days), tags=tags)


def efs(fill: Filler) -> None:
    """A file system of 50 GB that is mounted, and one that nothing can reach."""
    client, backend = fill.client("efs"), fill.backend("efs")
    subnet = fill.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    for name, days, gigabytes, mounted, price in (
        ("home", 365, 50, True, "15.00"),
        ("old", 90, 10, False, "3.00"),
    ):
        tags = {"Name": f"{fill.prefix}-{name}", **(fill.tags if mounted else {})}
        made = client.create_file_system(CreationToken=tags["Name"], Tags=listed(tags))
        system = backend.file_systems_by_id[made["FileSystemId"]]
        system.creation_time = fill.ago(days).timestamp()
        system._size_value = gigabytes * 2**30
        if mounted:
            client.create_mount_target(FileSystemId=made["FileSystemId"], SubnetId=subnet)
        fill.add("elasticfilesystem:file-system", made["FileSystemId"], made["FileSystemArn"], fill.ago(days),
                 name=tags["Name"], state="available", tags=tags, price=price,
                 unused=None if mounted else "no_mount_targets")  # fmt: skip


def kinesis(fill: Filler) -> None:
    """A stream of three shards and one on demand."""
    client, backend = fill.client("kinesis"), fill.backend("kinesis")
    for name, days, tags, price, spec in (
        ("clicks", 200, fill.tags, "32.85", {"ShardCount": 3}),
        ("audit", 15, {}, "29.20", {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}),
    ):
        stream = f"{fill.prefix}-{name}"
        client.create_stream(StreamName=stream, **spec)
        backend.streams[stream].creation_datetime = fill.ago(days)
        fill.add("kinesis:stream", stream, fill.arn("kinesis", f"stream/{stream}"), fill.ago(days), tags=tags,
                 price=price)  # fmt: skip


def logs(fill: Filler) -> None:
    """A group that forgets and one that keeps 200 GB without end."""
    client, backend = fill.client("logs"), fill.backend("logs")
    for name, days, retention, gigabytes, tags, price in (
        (f"/aws/lambda/{fill.prefix}-checkout", 500, 30, 10, fill.tags, "0.30"),
        (f"/{fill.prefix}/application", 1000, None, 200, {}, "6.00"),
    ):
        client.create_log_group(logGroupName=name, **({"tags": tags} if tags else {}))
        if retention:
            client.put_retention_policy(logGroupName=name, retentionInDays=retention)
        group = backend.groups[name]
        group.creation_time = fill.ago(days).replace(tzinfo=None)
        # moto's groups hold what their streams hold.
        client.create_log_stream(logGroupName=name, logStreamName="stream")
        group.streams["stream"].stored_bytes = gigabytes * 2**30
        fill.add("logs:log-group", name, fill.arn("logs", f"log-group:{name}"), fill.ago(days), tags=tags,
                 price=price, unused=None if retention else "no_retention")  # fmt: skip


FILLS = {
    "rds": Fill(rds),
    "dynamodb": Fill(dynamodb),
    "elasticache": Fill(elasticache),
    "s3": Fill(s3, Reach.ACCOUNT),
    "efs": Fill(efs),
    "kinesis": Fill(kinesis),
    "logs": Fill(logs),
}
