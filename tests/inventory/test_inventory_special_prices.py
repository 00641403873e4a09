"""What costs other than its kind usually does is priced so, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from inventory_harness import World, world_of
from moto.dynamodb.models import dynamodb_backends
from moto.ec2.models import ec2_backends
from moto.elasticache.models import elasticache_backends

from exporter.resources.rds import vcpus
from simulated_aws import OrganizationSpec, SimulatedAws
from simulated_aws.in_process import AccountClient

REGION = "us-east-1"


@pytest.fixture
def own_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedAws]:
    """An organisation for one test, which puts more into it."""
    spec = OrganizationSpec(seed=12, accounts=1, days=30, services=3, instances=2, regions=(REGION,))
    with SimulatedAws(spec) as aws:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        yield aws


def found(aws: SimulatedAws, tmp_path: Path, file: str) -> World:
    with world_of(tmp_path, aws, {"services": [file]}) as world:
        assert world.collect() == 0, world.failures()
        return world


def client(aws: SimulatedAws, service: str) -> AccountClient:
    aws.inventory.truth(aws.payer_id, service, REGION)  # what is there already comes first
    return AccountClient(aws.payer_id, service, REGION)


def test_databases(own_aws: SimulatedAws, tmp_path: Path) -> None:
    rds = client(own_aws, "rds")
    login = {"MasterUsername": "admin", "MasterUserPassword": "simulated-password"}

    def create(name: str, **spec: Any) -> None:
        rds.create_db_instance(DBInstanceIdentifier=name, **{**login, **spec})

    rds.create_db_cluster(
        DBClusterIdentifier="capacity", Engine="aurora-postgresql", EngineVersion="12.22", **login
    )
    create("serverless", DBClusterIdentifier="capacity", DBInstanceClass="db.serverless",
           Engine="aurora-postgresql", EngineVersion="12.22")  # fmt: skip
    create("fast", DBInstanceClass="db.r6g.large", Engine="mysql", EngineVersion="8.4.5",
           AllocatedStorage=100, StorageType="gp3", Iops=5000)  # fmt: skip
    create("large", DBInstanceClass="db.r6g.large", Engine="mysql", EngineVersion="8.4.5",
           AllocatedStorage=400, StorageType="gp3", Iops=12_000)  # fmt: skip
    create("old", DBInstanceClass="db.r6g.large", Engine="mysql", EngineVersion="5.7.44",
           AllocatedStorage=100, StorageType="gp2")  # fmt: skip
    world = found(own_aws, tmp_path, "rds")
    resources = {key[1]: each for key, each in world.resources(own_aws.payer_id, REGION).items()}
    # By capacity, which moves: neither the hour nor the surcharge has a price.
    assert resources["serverless"].monthly_usd is None
    assert [(saving.kind, saving.monthly_usd) for saving in resources["serverless"].savings] == [
        ("extended_support", None)
    ]
    hours = Decimal("0.215") * 730
    assert resources["fast"].monthly_usd == hours + 100 * Decimal("0.115") + 2000 * Decimal("0.02")
    assert resources["large"].monthly_usd == hours + 400 * Decimal("0.115")
    # The third year of extended support costs twice as much as the first two.
    assert [saving.monthly_usd for saving in resources["old"].savings] == [2 * Decimal("0.2") * 730]


def test_the_vcpus_of_a_class_are_known_by_its_name_or_not_at_all() -> None:
    sizes = ("db.r6g.large", "db.r6g.2xlarge", "db.m5.24xlarge", "db.serverless", "db.x2.metal")
    assert [vcpus(size) for size in sizes] == [2, 8, 96, None, None]


def test_tables_of_the_infrequent_access_class(own_aws: SimulatedAws, tmp_path: Path) -> None:
    client(own_aws, "dynamodb").create_table(
        TableName="archive",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        ProvisionedThroughput={"ReadCapacityUnits": 10, "WriteCapacityUnits": 10},
    )
    table = dynamodb_backends[own_aws.payer_id][REGION].tables["archive"]
    described = table.describe("Table")
    described["Table"]["TableClassSummary"] = {"TableClass": "STANDARD_INFREQUENT_ACCESS"}
    # moto forgets the class.
    table.describe = lambda *_, **__: described  # type: ignore[method-assign]
    resources = found(own_aws, tmp_path, "dynamodb").resources(own_aws.payer_id, REGION)
    assert resources["dynamodb:table", "archive"].monthly_usd == 10 * Decimal("0.00097") * 730


def test_valkey_is_not_priced_as_redis(own_aws: SimulatedAws, tmp_path: Path) -> None:
    client(own_aws, "elasticache").create_cache_cluster(
        CacheClusterId="valkey", CacheNodeType="cache.r6g.large", Engine="valkey", NumCacheNodes=1
    )
    # moto counts the nodes of other engines only.
    elasticache_backends[own_aws.payer_id][REGION].cache_clusters["valkey"].num_cache_nodes = 1
    resources = found(own_aws, tmp_path, "elasticache").resources(own_aws.payer_id, REGION)
    assert resources["elasticache:cluster", "valkey"].monthly_usd is None


def test_a_copied_snapshot_is_not_called_an_orphan(own_aws: SimulatedAws, tmp_path: Path) -> None:
    ec2 = client(own_aws, "ec2")
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=10, VolumeType="gp3")["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    made = ec2_backends[own_aws.payer_id][REGION].snapshots[snapshot]
    made.start_time = made.start_time - timedelta(days=400)
    # What AWS says of a snapshot that was copied from elsewhere.
    made.volume = type("Volume", (), {**vars(made.volume), "id": "vol-ffffffff"})()
    resources = found(own_aws, tmp_path, "ec2").resources(own_aws.payer_id, REGION)
    assert resources["ec2:snapshot", snapshot].unused_reason is None


def test_fargate_tasks_on_windows_have_no_known_price(own_aws: SimulatedAws, tmp_path: Path) -> None:
    ecs = client(own_aws, "ecs")
    subnet = AccountClient(own_aws.payer_id, "ec2", REGION).describe_subnets()["Subnets"][0]["SubnetId"]
    ecs.create_cluster(clusterName="windows")
    ecs.register_task_definition(
        family="iis", cpu="1024", memory="2048", networkMode="awsvpc",
        runtimePlatform={"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"},
        requiresCompatibilities=["FARGATE"], containerDefinitions=[{"name": "iis", "image": "iis"}],
    )  # fmt: skip
    ecs.create_service(
        cluster="windows", serviceName="iis", taskDefinition="iis", desiredCount=1, launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": []}},
    )  # fmt: skip
    resources = found(own_aws, tmp_path, "ecs").resources(own_aws.payer_id, REGION)
    assert resources["ecs:service", "windows/iis"].monthly_usd is None
