"""Fills what works and what connects: functions, containers, queues, topics, distributions, secrets and keys."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any

from simulated_aws.filler import Fill, Filler, Reach, listed


def functions(fill: Filler) -> None:
    """Four functions, one of them without a tag."""
    role = f"{fill.region}-functions"
    fill.client("iam").create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("f.py", "")
    for work, days in (("checkout", 3), ("thumbnails", 130), ("nightly-report", 420), ("retired", 700)):
        name = f"{fill.prefix}-{work}"
        tags = {} if work == "retired" else fill.tags
        made = fill.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.12",
            Role=f"arn:aws:iam::{fill.account.id}:role/{role}",
            Handler="f.f",
            Code={"ZipFile": code.getvalue()},
            Tags=tags,
        )
        function = fill.backend("lambda").get_function_by_arn(made["FunctionArn"])
        function.last_modified = fill.ago(days).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        fill.add("lambda:function", name, made["FunctionArn"], None, tags=tags, existed_by=fill.ago(days))


def ecs(fill: Filler) -> None:
    """A cluster with a service on Fargate and one that is scaled to zero, and an empty cluster."""
    client, backend = fill.client("ecs"), fill.backend("ecs")
    subnet = fill.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
    tags = [{"key": key, "value": value} for key, value in fill.tags.items()]
    for name, tagged in ((fill.prefix, True), (f"{fill.prefix}-trial", False)):
        client.create_cluster(clusterName=name, **({"tags": tags} if tagged else {}))
        fill.add("ecs:cluster", name, fill.arn("ecs", f"cluster/{name}"), None,
                 tags=fill.tags if tagged else {}, price="0", unused=None if tagged else "empty")  # fmt: skip
    client.register_task_definition(
        family="web",
        cpu="512",
        memory="1024",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        containerDefinitions=[{"name": "web", "image": "web"}],
    )
    for name, count, days, tagged, price in (
        # 2 x (0.5 x 0.04048 + 1 x 0.004445) x 730
        ("web", 2, 77, True, "36.0401"),
        ("batch", 0, 200, False, "0"),
    ):
        client.create_service(
            cluster=fill.prefix,
            serviceName=name,
            taskDefinition="web",
            desiredCount=count,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": []}},
            **({"tags": tags} if tagged else {}),
        )
        (service,) = (
            each
            for each in backend.services.values()
            if (each.cluster_name, each.name) == (fill.prefix, name)
        )
        service.created_at = fill.ago(days)
        service.running_count = count
        fill.add("ecs:service", f"{fill.prefix}/{name}", fill.arn("ecs", f"service/{fill.prefix}/{name}"),
                 fill.ago(days), name=name, tags=fill.tags if tagged else {}, price=price,
                 unused=None if count else "scaled_to_zero")  # fmt: skip


def eks(fill: Filler) -> None:
    """A cluster of a supported version and one in extended support."""
    client, backend = fill.client("eks"), fill.backend("eks")
    subnets = [subnet["SubnetId"] for subnet in fill.client("ec2").describe_subnets()["Subnets"][:2]]
    for name, version, days, tags, price, savings in (
        (fill.prefix, "1.36", 50, fill.tags, "73.00", {}),
        (f"{fill.prefix}-old", "1.27", 900, {}, "438.00", {"extended_support": "365.00"}),
    ):
        client.create_cluster(
            name=name,
            version=version,
            roleArn=f"arn:aws:iam::{fill.account.id}:role/eks",
            resourcesVpcConfig={"subnetIds": subnets},
            tags=tags,
        )
        backend.clusters[name].created_at = fill.ago(days)
        fill.add("eks:cluster", name, fill.arn("eks", f"cluster/{name}"), fill.ago(days), tags=tags,
                 price=price, savings=savings)  # fmt: skip


def sqs(fill: Filler) -> None:
    """Three queues, the dead letters without a tag."""
    for name, days in (("events", 260), ("emails", 31), ("dead-letters", 260)):
        queue = f"{fill.prefix}-{name}"
        tags = {} if name == "dead-letters" else fill.tags
        fill.client("sqs").create_queue(QueueName=queue, **({"tags": tags} if tags else {}))
        fill.backend("sqs").queues[queue].created_timestamp = fill.ago(days).timestamp()
        fill.add("sqs:queue", queue, fill.arn("sqs", queue), fill.ago(days), tags=tags)


def sns(fill: Filler) -> None:
    """Two topics, one of them without a tag."""
    for name, tags in (("alerts", fill.tags), ("orders", {})):
        topic = f"{fill.prefix}-{name}"
        made = fill.client("sns").create_topic(Name=topic, **({"Tags": listed(tags)} if tags else {}))
        fill.add("sns:topic", topic, made["TopicArn"], None, tags=tags)


def cloudfront(fill: Filler) -> None:
    """A distribution that serves and one that is switched off."""
    client, backend = fill.client("cloudfront", "us-east-1"), fill.backend("cloudfront", "aws")
    for comment, enabled in (("shop", True), ("campaign", False)):
        made: dict[str, Any] = client.create_distribution_with_tags(
            DistributionConfigWithTags={
                "Tags": {"Items": listed(fill.tags) if enabled else []},
                "DistributionConfig": {
                    "CallerReference": f"{fill.prefix}-{comment}",
                    "Comment": f"{fill.prefix} {comment}",
                    "Enabled": enabled,
                    "Origins": {
                        "Quantity": 1,
                        "Items": [
                            {
                                "Id": "assets",
                                "DomainName": f"{fill.prefix}-assets-{fill.suffix}.s3.amazonaws.com",
                                "S3OriginConfig": {"OriginAccessIdentity": ""},
                            }
                        ],
                    },
                    "DefaultCacheBehavior": {
                        "TargetOriginId": "assets",
                        "ViewerProtocolPolicy": "allow-all",
                        "MinTTL": 0,
                        "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
                    },
                },
            }
        )["Distribution"]
        # The name under which CloudWatch knows the first one.
        identifier = f"E{fill.suffix.upper()}" if enabled else made["Id"]
        distribution = backend.distributions.pop(made["Id"])
        distribution.id = distribution.distribution_id = identifier
        distribution.arn = f"arn:aws:cloudfront::{fill.account.id}:distribution/{identifier}"
        distribution.last_modified_time = fill.ago(25)
        backend.distributions[identifier] = distribution
        fill.add("cloudfront:distribution", identifier, distribution.arn, None, region="global",
                 name=f"{fill.prefix} {comment}", state="deployed", tags=fill.tags if enabled else {},
                 unused=None if enabled else "disabled", existed_by=fill.ago(25))  # fmt: skip


def secretsmanager(fill: Filler) -> None:
    """A secret that is read, one that is not any more and a new one that was not read yet."""
    client, backend = fill.client("secretsmanager"), fill.backend("secretsmanager")
    for name, days, read, tags, unused in (
        ("db-password", 300, 1, fill.tags, None),
        ("old-token", 800, 200, {}, "not_accessed"),
        ("new-token", 3, None, fill.tags, None),
    ):
        secret = f"{fill.prefix}/{name}"
        made = client.create_secret(
            Name=secret, SecretString="simulated", **({"Tags": listed(tags)} if tags else {})
        )
        stored = backend.secrets[secret]
        stored.created_date = fill.ago(days).timestamp()
        # moto never says when a secret was read.
        stored.to_dict = partial(
            _with_last_read, stored.to_dict, fill.ago(read).timestamp() if read else None
        )
        fill.add("secretsmanager:secret", made["ARN"], made["ARN"], fill.ago(days), name=secret, tags=tags,
                 price="0.40", unused=unused)  # fmt: skip


def _with_last_read(to_dict: Callable[[], dict[str, Any]], read: float | None) -> dict[str, Any]:
    return {**to_dict(), "LastAccessedDate": read}


def kms(fill: Filler) -> None:
    """A key with an alias, a disabled one and one that waits to be deleted."""
    client, backend = fill.client("kms"), fill.backend("kms")
    for name, days, state, tags, price, unused in (
        ("app", 650, "enabled", fill.tags, "1.00", None),
        ("", 900, "disabled", {}, "1.00", "disabled"),
        ("", 910, "pendingdeletion", {}, "0", None),
    ):
        wanted = [{"TagKey": key, "TagValue": value} for key, value in tags.items()]
        made = client.create_key(**({"Tags": wanted} if wanted else {}))["KeyMetadata"]
        if name:
            client.create_alias(AliasName=f"alias/{fill.prefix}-{name}", TargetKeyId=made["KeyId"])
        if state == "disabled":
            client.disable_key(KeyId=made["KeyId"])
        elif state == "pendingdeletion":
            client.schedule_key_deletion(KeyId=made["KeyId"])
        backend.keys[made["KeyId"]].creation_date = fill.ago(days).timestamp()
        fill.add("kms:key", made["KeyId"], made["Arn"], fill.ago(days), state=state, tags=tags, price=price,
                 name=f"{fill.prefix}-{name}" if name else "", unused=unused)  # fmt: skip


FILLS = {
    "lambda": Fill(functions),
    "ecs": Fill(ecs),
    "eks": Fill(eks),
    "sqs": Fill(sqs),
    "sns": Fill(sns),
    "cloudfront": Fill(cloudfront, Reach.GLOBAL),
    "secretsmanager": Fill(secretsmanager),
    "kms": Fill(kms),
}
