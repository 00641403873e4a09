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
from moto.fsx.models import fsx_backends
from moto.redshift.models import redshift_backends

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


def test_search_domains_cost_every_kind_of_node_and_what_volumes_do_beyond_their_size(
    own_aws: SimulatedAws, tmp_path: Path
) -> None:
    opensearch = client(own_aws, "opensearch")

    def create(name: str, volume: dict[str, Any], **nodes: Any) -> None:
        opensearch.create_domain(
            DomainName=name,
            ClusterConfig={"InstanceType": "m6g.large.search", "InstanceCount": 2, **nodes},
            EBSOptions={"EBSEnabled": True, "VolumeType": "gp3", **volume},
        )

    coordinating = {"Enabled": True, "Type": "m5.large.search", "Count": 2}
    create("nodes", {"VolumeSize": 100}, WarmEnabled=True, WarmType="ultrawarm1.medium.search", WarmCount=2,
           NodeOptions=[{"NodeType": "coordinator", "NodeConfig": coordinating}])  # fmt: skip
    create("large", {"VolumeSize": 2000, "Iops": 3000, "Throughput": 125})
    # More than 1,024 GB includes more, and how much is not known here.
    create("larger", {"VolumeSize": 2000, "Iops": 9000, "Throughput": 125})
    resources = found(own_aws, tmp_path, "opensearch").resources(own_aws.payer_id, REGION)
    data, gigabyte = 2 * Decimal("0.128") * 730, Decimal("0.122")
    others = 2 * (Decimal("0.238") + Decimal("0.142")) * 730
    assert resources["es:domain", "nodes"].monthly_usd == data + others + 2 * 100 * gigabyte
    assert resources["es:domain", "large"].monthly_usd == data + 2 * 2000 * gigabyte
    assert resources["es:domain", "larger"].monthly_usd is None


def test_a_warehouse_in_two_zones_costs_twice_its_nodes(own_aws: SimulatedAws, tmp_path: Path) -> None:
    client(own_aws, "redshift").create_cluster(
        ClusterIdentifier="zones", NodeType="ra3.4xlarge", ClusterType="multi-node", NumberOfNodes=2,
        MasterUsername="simulated", MasterUserPassword="Simulated-passw0rd",
    )  # fmt: skip
    # moto forgets the zones.
    vars(redshift_backends[own_aws.payer_id][REGION].clusters["zones"])["MultiAZ"] = "Enabled"
    resources = found(own_aws, tmp_path, "redshift").resources(own_aws.payer_id, REGION)
    assert resources["redshift:cluster", "zones"].monthly_usd == 2 * 2 * Decimal("3.26") * 730


def test_file_systems_are_priced_by_how_they_are_built(own_aws: SimulatedAws, tmp_path: Path) -> None:
    fsx = client(own_aws, "fsx")
    windows = {"ThroughputCapacity": 64, "DeploymentType": "MULTI_AZ_1"}
    iops = {"DiskIopsConfiguration": {"Mode": "USER_PROVISIONED", "Iops": 9000}}
    lustre = {"DeploymentType": "PERSISTENT_1", "PerUnitStorageThroughput": 12}
    metadata = {"DeploymentType": "PERSISTENT_2", "PerUnitStorageThroughput": 125,
                "MetadataConfiguration": {"Mode": "USER_PROVISIONED", "Iops": 12_000}}  # fmt: skip
    named = {}
    for name, kind, storage, config in (
        ("zones", "WINDOWS", "HDD", {"WindowsConfiguration": windows}),
        ("iops", "WINDOWS", "SSD", {"WindowsConfiguration": {**windows, **iops}}),
        ("slow", "LUSTRE", "HDD", {"LustreConfiguration": {**lustre, "DriveCacheType": "NONE"}}),
        ("cached", "LUSTRE", "HDD", {"LustreConfiguration": {**lustre, "DriveCacheType": "READ"}}),
        ("metadata", "LUSTRE", "SSD", {"LustreConfiguration": metadata}),
    ):
        made = fsx.create_file_system(
            FileSystemType=kind,
            StorageCapacity=6000,
            StorageType=storage,
            SubnetIds=["subnet-00000001"],
            **config,
        )["FileSystem"]
        named[name] = made["FileSystemId"]
        system = fsx_backends[own_aws.payer_id][REGION].file_systems[made["FileSystemId"]]
        # moto's file systems have no state and no age.
        described = {**system.to_dict(), "Lifecycle": "AVAILABLE", "CreationTime": 1_700_000_000}
        system.to_dict = lambda described=described: described  # type: ignore[method-assign]
    resources = found(own_aws, tmp_path, "fsx").resources(own_aws.payer_id, REGION)
    prices = {name: resources["fsx:file-system", each].monthly_usd for name, each in named.items()}
    assert prices == {
        "zones": 6000 * Decimal("0.025") + 64 * Decimal("4.5"),
        "iops": None,
        "slow": 6000 * Decimal("0.025"),
        "cached": None,
        "metadata": None,
    }


def test_attachments_of_a_transit_gateway_cost_their_owner_while_they_last(
    own_aws: SimulatedAws, tmp_path: Path
) -> None:
    ec2 = client(own_aws, "ec2")
    backend = ec2_backends[own_aws.payer_id][REGION]
    gateway = ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
    named = {}
    for number, (name, changes) in enumerate(
        {
            "kept": {},
            "ended": {"state": "deleted"},
            "connect": {"resource_type": "connect"},
            "foreign": {"resource_owner_id": "999999999999"},
        }.items()
    ):
        vpc = ec2.create_vpc(CidrBlock=f"10.{number}.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.{number}.0.0/24")["Subnet"]["SubnetId"]
        made = ec2.create_transit_gateway_vpc_attachment(
            TransitGatewayId=gateway, VpcId=vpc, SubnetIds=[subnet]
        )["TransitGatewayVpcAttachment"]["TransitGatewayAttachmentId"]
        named[made] = name
        vars(backend.transit_gateway_attachments[made]).update(changes)
    # Of another account, which shares it.
    shared = ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
    of_others = type("Shared", (type(backend.transit_gateways[shared]),), {"owner_id": "999999999999"})
    backend.transit_gateways[shared].__class__ = of_others
    resources = found(own_aws, tmp_path, "transit_gateways").resources(own_aws.payer_id, REGION)
    assert {
        named[key]: each.monthly_usd for (_, key), each in resources.items() if key in named
    } == {"kept": Decimal("36.50"), "ended": Decimal(0), "connect": None}  # fmt: skip
    assert resources["ec2:transit-gateway", gateway].unused_reason is None
    assert ("ec2:transit-gateway", shared) not in resources
