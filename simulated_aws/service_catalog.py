"""The AWS services that the organisation uses, with Cost Explorer's own names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

TAX = "Tax"
SUPPORT = "AWS Support (Business)"
COMPUTE = "Amazon Elastic Compute Cloud - Compute"
OTHER_EC2 = "EC2 - Other"
SAVINGS_PLANS = "Savings Plans for AWS Compute usage"
AWS = "AWS"
MARKETPLACE = "AWS Marketplace"


@dataclass(frozen=True, slots=True)
class CatalogService:
    """A service: its share of an account's cost and how it behaves; shares are in millionths."""

    name: str
    share_ppm: int
    usage_types: tuple[tuple[str, int], ...]
    weekend_drop: float = 0.1
    spread: float = 0.06
    is_global: bool = False


def _service(
    name: str,
    share: float,
    *usage: tuple[str, float],
    weekend: float = 0.1,
    spread: float = 0.06,
    world: bool = False,
) -> CatalogService:
    return CatalogService(
        name, round(share * 10**6), tuple((u, round(s * 10**6)) for u, s in usage), weekend, spread, world
    )


_SERVICES = (
    _service(
        "Amazon Elastic Compute Cloud - Compute",
        0.33,
        ("BoxUsage:m6i.large", 0.8),
        ("SpotUsage:c6g.xlarge", 0.2),
        weekend=0.3,
    ),
    _service(
        "Amazon Relational Database Service",
        0.17,
        ("InstanceUsage:db.r6g.large", 0.75),
        ("RDS:GP3-Storage", 0.25),
    ),
    _service(
        "Amazon Simple Storage Service",
        0.09,
        ("TimedStorage-ByteHrs", 0.8),
        ("Requests-Tier1", 0.2),
        spread=0.03,
    ),
    _service("EC2 - Other", 0.09, ("EBS:VolumeUsage.gp3", 0.6), ("NatGateway-Hours", 0.4), spread=0.03),
    _service("AWS Lambda", 0.05, ("Lambda-GB-Second", 0.85), ("Request", 0.15), weekend=0.5, spread=0.15),
    _service("AmazonCloudWatch", 0.045, ("DataProcessing-Bytes", 0.7), ("CW:MetricMonitorUsage", 0.3)),
    _service(
        "Amazon DynamoDB", 0.04, ("ReadCapacityUnit-Hrs", 0.6), ("WriteCapacityUnit-Hrs", 0.4), weekend=0.2
    ),
    _service("Amazon Elastic Load Balancing", 0.035, ("LoadBalancerUsage", 0.7), ("LCUUsage", 0.3)),
    _service("Amazon CloudFront", 0.035, ("DataTransfer-Out-Bytes", 1.0), spread=0.12, world=True),
    _service("Amazon Virtual Private Cloud", 0.03, ("PublicIPv4:InUseAddress", 1.0), spread=0.02),
    _service("AWS Key Management Service", 0.006, ("KMS-Keys", 0.9), ("KMS-Requests", 0.1), spread=0.02),
    _service("Amazon Simple Queue Service", 0.0, ("Requests-RBP", 1.0), weekend=0.4, spread=0.3),
    _service("Amazon Elastic Container Service", 0.04, ("Fargate-vCPU-Hours:perCPU", 1.0), weekend=0.2),
    _service("Amazon ElastiCache", 0.03, ("NodeUsage:cache.r6g.large", 1.0), spread=0.02),
    _service("Amazon Redshift", 0.05, ("Node:ra3.xlplus", 1.0), spread=0.05),
    _service(
        "Amazon Elastic Container Service for Kubernetes",
        0.025,
        ("AmazonEKS-Hours:perCluster", 1.0),
        spread=0.01,
    ),
    _service("AWS Glue", 0.02, ("ETL-DPU-Hour", 1.0), weekend=0.6, spread=0.3),
    _service("Amazon Athena", 0.01, ("DataScannedInTB", 1.0), weekend=0.7, spread=0.4),
    _service("Amazon OpenSearch Service", 0.03, ("ESInstance:r6g.large", 1.0), spread=0.02),
    _service("Amazon Kinesis", 0.012, ("Storage-ShardHour", 1.0)),
    _service("Amazon API Gateway", 0.01, ("ApiGatewayRequest", 1.0), weekend=0.3, spread=0.1),
    _service("AWS Secrets Manager", 0.003, ("AWSSecretsManager-Secrets", 1.0), spread=0.01),
    _service("Amazon Route 53", 0.004, ("HostedZone", 0.6), ("DNS-Queries", 0.4), world=True),
    _service("AWS CloudTrail", 0.004, ("PaidEventsRecorded", 1.0)),
    _service("Amazon SageMaker", 0.06, ("Host:ml.m5.large", 1.0), weekend=0.4, spread=0.2),
    _service("AWS Config", 0.008, ("ConfigurationItemRecorded", 1.0), spread=0.2),
    _service("Amazon GuardDuty", 0.01, ("PaidEventsAnalyzed-Bytes", 1.0)),
    _service("Amazon Simple Notification Service", 0.0, ("Requests-Tier1", 1.0), spread=0.3),
    _service("AWS Step Functions", 0.002, ("StateTransition", 1.0), weekend=0.5, spread=0.2),
    _service("Amazon EC2 Container Registry (ECR)", 0.003, ("TimedStorage-ByteHrs", 1.0), spread=0.02),
)


class CATALOG:  # a namespace, not an object: the services are constants
    """The known services, most expensive first."""

    @staticmethod
    def first(count: int) -> tuple[CatalogService, ...]:
        """The first `count` services; past the known ones, marketplace products."""
        extra = (
            _service(f"Marketplace Product {number}", 0.002, ("Subscription", 1.0), spread=0.02)
            for number in range(1, count - len(_SERVICES) + 1)
        )
        return (*_SERVICES[:count], *extra)


_PREFIXES = {
    "us-east-1": "", "us-east-2": "USE2-", "us-west-1": "USW1-", "us-west-2": "USW2-", "eu-west-1": "EU-",
    "eu-west-2": "EUW2-", "eu-west-3": "EUW3-", "eu-central-1": "EUC1-", "eu-north-1": "EUN1-",
    "ap-southeast-1": "APS1-", "ap-southeast-2": "APS2-", "ap-northeast-1": "APN1-", "ap-south-1": "APS3-",
    "sa-east-1": "SAE1-", "ca-central-1": "CAN1-", "global": "Global-",
}  # fmt: skip


_OF_INSTANCES = re.compile(
    "BoxUsage|SpotUsage|DedicatedUsage|HostUsage|UnusedBox|ReservedHostUsage|HeavyUsage"
)


def is_of_instances(usage_type: str) -> bool:
    """Whether a usage type of EC2 belongs to its Compute service in Cost Explorer, not to EC2 - Other."""
    return _OF_INSTANCES.search(usage_type) is not None


def usage_type_in(service: str, region: str, usage_type: str) -> str:
    """A usage type that Cost Explorer files under the service: the given one, unless EC2's two services differ in it."""
    if service == COMPUTE and not is_of_instances(usage_type):
        return region_prefix(region) + "BoxUsage:m6i.large"
    if service == OTHER_EC2 and is_of_instances(usage_type):
        return region_prefix(region) + "EBS:VolumeUsage.gp3"
    return usage_type


def is_marketplace(service: str) -> bool:
    """Whether a service of the catalog is sold by the marketplace."""
    return service.startswith("Marketplace Product ")


def region_prefix(region: str) -> str:
    """What a usage type begins with in a region; nothing in us-east-1."""
    if region in _PREFIXES:
        return _PREFIXES[region]
    return "".join(part[0] for part in region.split("-")).upper() + "-"


_OPERATIONS = (
    ("BoxUsage", "RunInstances"), ("SpotUsage", "RunInstances:SV001"), ("InstanceUsage", "CreateDBInstance:0016"),
    ("RDS:", "CreateDBInstance"), ("TimedStorage", "StandardStorage"), ("Requests-Tier1", "PutObject"),
    ("EBS:VolumeUsage.gp3", "CreateVolume-Gp3"), ("NatGateway", "NatGateway"), ("Lambda-GB", "Invoke"),
    ("LoadBalancerUsage", "LoadBalancing:Application"), ("LCUUsage", "LoadBalancing:Application"),
    ("PublicIPv4", "AllocateAddressVPC"), ("Fargate", "FargateTask"), ("NodeUsage", "CreateCacheCluster:0002"),
)  # fmt: skip


def operation_of(usage_type: str) -> str:
    """What Cost Explorer reports as the operation of a usage type."""
    return next((name for part, name in _OPERATIONS if part in usage_type), "NoOperation")


_ALIASES = {
    "ec2": "Amazon Elastic Compute Cloud - Compute", "compute": "Amazon Elastic Compute Cloud - Compute",
    "rds": "Amazon Relational Database Service", "s3": "Amazon Simple Storage Service",
    "ebs": "EC2 - Other", "nat": "EC2 - Other", "elb": "Amazon Elastic Load Balancing",
    "vpc": "Amazon Virtual Private Cloud", "kms": "AWS Key Management Service",
    "sqs": "Amazon Simple Queue Service", "sns": "Amazon Simple Notification Service",
    "ecs": "Amazon Elastic Container Service", "fargate": "Amazon Elastic Container Service",
    "eks": "Amazon Elastic Container Service for Kubernetes",
}  # fmt: skip


def resolve_service(name: str, known: Iterable[str]) -> str:
    """Cost Explorer's name for what people say: "Amazon EC2", "lambda", "S3".

    Raises KeyError, naming the known services, when nothing or more than one fits.
    """
    names = list(known)
    by_lower = {candidate.lower(): candidate for candidate in names}
    wanted = re.sub(r"\s+", " ", name.strip().lower())
    if wanted in by_lower:
        return by_lower[wanted]
    short = re.sub(r"^(amazon|aws)\s*", "", wanted)
    if short in _ALIASES and _ALIASES[short] in names:
        return _ALIASES[short]
    fitting = [
        candidate
        for candidate in names
        if re.sub(r"^(amazon|aws)\s*", "", candidate.lower()).startswith(short)
    ] or [candidate for candidate in names if short and short in candidate.lower()]
    if len(fitting) == 1:
        return fitting[0]
    reason = "is ambiguous" if fitting else "is unknown"
    raise KeyError(f"service {name!r} {reason}; try one of: {'; '.join(fitting or names)}")
