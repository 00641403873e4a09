"""Partitions of AWS: which one a region or a role is of, its global region, and what the exporter may ask there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from exporter.aws.errors import AwsError, Kind
from exporter.aws.service_models import session_with_small_models

_ASKED_IN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "bcm-data-exports": ("AWS Data Exports", ("aws",)),
    "budgets": ("AWS Budgets", ("aws", "aws-cn")),
    "ce": ("Cost Explorer", ("aws", "aws-cn")),
    "cost-optimization-hub": ("Cost Optimization Hub", ("aws",)),
    "pricing": ("the Pricing API", ("aws",)),
}
"""Billing services by IAM prefix: the name, and the partitions whose endpoint and currency are known.

The cost of AWS GovCloud (US) is on the bill of the commercial account that each of its accounts belongs to.
"""


@cache
def _partitions() -> Mapping[str, Mapping[str, Any]]:
    """botocore's partitions by name."""
    loader = session_with_small_models().get_component("data_loader")
    return {str(each["id"]): each for each in loader.load_data("partitions")["partitions"]}


def names() -> tuple[str, ...]:
    """Every partition that botocore has, `aws` first."""
    return tuple(_partitions())


def global_region(partition: str, otherwise: str) -> str:
    """The region in which a partition answers for its global services; `otherwise` if botocore lacks the partition."""
    known = _partitions().get(partition)
    return str(known["outputs"]["implicitGlobalRegion"]) if known else otherwise


def of_region(region: str) -> str | None:
    """The partition that a region is of by its name; None if botocore has none for it."""
    for name, each in _partitions().items():
        if region in each["regions"] or re.match(each["regionRegex"], region):
            return name
    return None


@cache
def regions_beside(region: str) -> tuple[str, ...]:
    """The regions of the same partition, its global region first; none if botocore has no partition for it."""
    partition = of_region(region)
    if partition is None:
        return ()
    first = global_region(partition, region)
    found = session_with_small_models().get_available_regions("ec2", partition)
    return tuple(sorted((str(each) for each in found), key=lambda each: (each != first, each)))


def of_arn(arn: str) -> str:
    """The partition of a resource."""
    return arn.split(":", 2)[1]


def not_offered(iam_actions: Iterable[str], partition: str) -> str | None:
    """The billing service among those asked that is not supported in a partition, by its name; None if all are."""
    for prefix in sorted({action.partition(":")[0] for action in iam_actions}):
        name, offered = _ASKED_IN.get(prefix, ("", ()))
        if name and partition not in offered:
            return name
    return None


def billing_region(service: str, partition: str) -> str:
    """Where a billing service, by its IAM prefix, answers in a partition.

    AwsError(NOT_OFFERED) where it is not supported: nothing has been asked or paid then.
    """
    if name := not_offered((f"{service}:",), partition):
        raise AwsError(Kind.NOT_OFFERED, f"{name} is not supported in the partition {partition}")
    return global_region(partition, "us-east-1")
