"""Fills Managed Streaming for Apache Kafka."""

from __future__ import annotations

from typing import Any

from simulated_aws.filler import Fill, Filler


def kafka(fill: Filler) -> None:
    """A cluster of three brokers, one with provisioned throughput, and a serverless one."""
    client, backend = fill.client("kafka"), fill.backend("kafka")
    subnets = [subnet["SubnetId"] for subnet in fill.client("ec2").describe_subnets()["Subnets"][:3]]

    def brokers(kind: str, volume: dict[str, Any]) -> dict[str, Any]:
        group = {
            "InstanceType": kind, "ClientSubnets": subnets, "StorageInfo": {"EbsStorageInfo": volume},
        }  # fmt: skip
        return {
            "Provisioned": {"BrokerNodeGroupInfo": group, "KafkaVersion": "3.7.x", "NumberOfBrokerNodes": 3}
        }

    fast = {"VolumeSize": 1000, "ProvisionedThroughput": {"Enabled": True, "VolumeThroughput": 500}}
    kinds: tuple[tuple[str, dict[str, Any], float, dict[str, str], str | None], ...] = (
        # 3 x 0.21 x 730 + 3 x 500 x 0.10
        ("events", brokers("kafka.m5.large", {"VolumeSize": 500}), 333, fill.tags, "609.90"),
        ("metrics", brokers("kafka.m5.xlarge", fast), 60, {}, None),
        ("audit", {"Serverless": {"VpcConfigs": [{"SubnetIds": subnets}]}}, 12, fill.tags, None),
    )  # fmt: skip
    for name, spec, days, tags, price in kinds:
        cluster = f"{fill.prefix}-{name}"
        arn = client.create_cluster_v2(ClusterName=cluster, **spec)["ClusterArn"]
        made = backend.clusters.pop(arn)
        # moto's clusters never become active, are made at a local time, and their ARNs lack the name.
        made.state, made.creation_time = "ACTIVE", fill.ago(days).isoformat()
        made.arn = arn = fill.arn("kafka", f"cluster/{cluster}/{made.cluster_id}-1")
        backend.clusters[arn] = made
        if tags:
            client.tag_resource(ResourceArn=arn, Tags=tags)
        fill.add("kafka:cluster", cluster, arn, fill.ago(days), tags=tags, price=price)


FILLS = {"kafka": Fill(kafka)}
