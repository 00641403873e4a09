"""The ids of the resources that charges are split into: those of the inventory, where it has some of the kind."""

from __future__ import annotations

from simulated_aws.charges import CostKey
from simulated_aws.cost_split import shares_of
from simulated_aws.inventory import Inventory
from simulated_aws.service_catalog import region_prefix

# By a part of the usage type: the service and type in the inventory, and whether a line has the ARN or the plain id.
_KINDS = (
    ("BoxUsage", "ec2", "ec2:instance", False),
    ("SpotUsage", "ec2", "ec2:instance", False),
    ("EBS:VolumeUsage", "ec2", "ec2:volume", False),
    ("NatGateway", "ec2", "ec2:natgateway", True),
    ("InstanceUsage", "rds", "rds:db", True),
    ("RDS:", "rds", "rds:db", True),
    ("TimedStorage", "s3", "s3:bucket", False),
    ("Lambda-GB", "lambda", "lambda:function", True),
    ("CapacityUnit", "dynamodb", "dynamodb:table", True),
    ("LoadBalancerUsage", "elbv2", "elasticloadbalancing:loadbalancer", True),
    ("LCUUsage", "elbv2", "elasticloadbalancing:loadbalancer", True),
    ("NodeUsage", "elasticache", "elasticache:cluster", True),
    ("Node:ra3", "redshift", "redshift:cluster", True),
    ("AmazonEKS-Hours", "eks", "eks:cluster", True),
    ("ESInstance", "opensearch", "es:domain", True),
)


class ResourceIds:
    """Names resources; what the inventory has is put into its accounts when it is asked for first."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._found: dict[tuple[str, str, str], tuple[str, ...]] = {}

    def __call__(self, key: CostKey) -> tuple[str, ...]:
        """The ids of a charge's resources in the order of its shares; "" where it has none."""
        drawn = shares_of(key).resources
        usage_type = key.usage_type.removeprefix(region_prefix(key.region))
        if drawn == ("",) or key.service.endswith("(ECR)"):
            return drawn
        for part, service, kind, by_arn in _KINDS:
            if part in usage_type:
                known = self._known(key.account_id, key.region, service, kind, by_arn)
                # On-demand and spot instances are not the same ones.
                known = known[::-1] if part == "SpotUsage" else known
                return (*known[: len(drawn)], *drawn[len(known) :])
        return drawn

    def _known(self, account_id: str, region: str, service: str, kind: str, by_arn: bool) -> tuple[str, ...]:
        place = (account_id, region, kind)
        if place not in self._found:
            resources = self._inventory.truth(account_id, service, region)
            self._found[place] = tuple(
                each.arn if by_arn else each.id for each in resources if each.type == kind
            )
        return self._found[place]
