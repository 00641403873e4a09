"""Translates ids of bills and of the Tagging API into the inventory's: the type and the id of a resource."""

from __future__ import annotations

from typing import NamedTuple

_WITHOUT_TYPE = {"s3": "bucket", "sqs": "queue", "sns": "topic"}
_BALANCER = "elasticloadbalancing:loadbalancer"
_ARN_IS_ID = frozenset({"secretsmanager:secret"})
_QUALIFIED = frozenset({"lambda:function", "dynamodb:table", "kafka:cluster"})
"""Types whose name is followed by a version, an index or a UUID."""
_BY_LAST_PART = frozenset({"mq:broker"})
_KINDS_OF_BALANCERS = ("app/", "net/", "gwy/")
_TYPES_BY_PREFIX = (
    ("i-", "ec2:instance"),
    ("vol-", "ec2:volume"),
    ("snap-", "ec2:snapshot"),
    ("ami-", "ec2:image"),
    ("nat-", "ec2:natgateway"),
    ("vpce-", "ec2:vpc-endpoint"),
    ("eipalloc-", "ec2:elastic-ip"),
    ("tgw-attach-", "ec2:transit-gateway-attachment"),
    ("tgw-", "ec2:transit-gateway"),
)
_S3 = "Amazon Simple Storage Service"
_GLOBAL = frozenset({"cloudfront"})


class BilledResource(NamedTuple):
    """A resource of a bill by the labels that it has in the inventory; its type is empty where it is not known."""

    region: str
    type: str
    id: str


def type_of(arn: str) -> str:
    """A resource's type as service and kind, e.g. `glue:job`; by the forms that ARNs have.

    Where AWS names a type otherwise than the inventory, that of the inventory counts.
    """
    service, resource = arn.split(":", 5)[2], arn.split(":", 5)[5]
    if service in _WITHOUT_TYPE:
        return f"{service}:{_WITHOUT_TYPE[service]}"
    kind = resource.replace("/", ":").lstrip(":").partition(":")[0]
    return f"{service}:{kind}"


def billed_resource(resource: str, service: str, region: str) -> BilledResource:
    """The resource of a line, by its resource id, service and region as they are on the bill.

    An id that is of no known form stays as it is.
    """
    if not resource.startswith("arn:") or resource.count(":") < 5:
        kind = next((kind for prefix, kind in _TYPES_BY_PREFIX if resource.startswith(prefix)), "")
        return BilledResource(region, kind or ("s3:bucket" if service == _S3 else ""), resource)
    _, _, owner, own_region, _, rest = resource.split(":", 5)
    if owner in _GLOBAL:
        region = "global"
    elif own_region:
        region = own_region
    kind = type_of(resource)
    name = rest if owner in _WITHOUT_TYPE else rest.lstrip("/")[len(kind.partition(":")[2]) + 1 :]
    if kind == _BALANCER:
        # Those of today are listed by their ARN, classic ones by their name.
        if name.startswith(_KINDS_OF_BALANCERS):
            return BilledResource(region, kind, resource)
        return BilledResource(region, "elasticloadbalancing:classic-loadbalancer", name)
    if not name or kind in _ARN_IS_ID:
        return BilledResource(region, kind, resource)
    if kind in _QUALIFIED:
        name = name.replace("/", ":").partition(":")[0]
    elif kind in _BY_LAST_PART:
        name = name.rpartition(":")[2]
    return BilledResource(region, kind, name.removesuffix(":*"))
