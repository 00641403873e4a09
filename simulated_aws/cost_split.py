"""A day's charges split into hours and resources: what is below Cost Explorer's days, and an export's lines.

The split depends on nothing but the charge and how many hours of the day have been reported, and its parts add up
to the charge in every amount, to the unit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from simulated_aws.service_catalog import region_prefix

RESOURCES = 4
"""The most resources that one charge is split into."""

_HOURS = 24
_WHOLE = 1000  # the weights of a charge's resources add up to it
_AT_A_TIME = 4000  # charges that are split together; a few hundred megabytes at most
_USAGE = frozenset({"Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation"})
_HOURLY = _USAGE | {"SavingsPlanRecurringFee"}

Units = npt.NDArray[np.int64]


class Charge(Protocol):
    """What the split reads of a charge."""

    @property
    def account_id(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def record_type(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def usage_type(self) -> str: ...
    @property
    def billing_entity(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Shares:
    """How one charge is split: its resources' ids ("" for none) with their weights, and a weight for each hour."""

    resources: tuple[str, ...]
    by_resource: tuple[int, ...]
    by_hour: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a day's charges that have any amount, one per position of the arrays.

    `charge` is the position of the charge, `resource` that of the resource in its Shares, `amounts` has a row for
    each part and the columns of the charges' amounts.
    """

    charge: npt.NDArray[np.int64]
    resource: npt.NDArray[np.int64]
    hour: npt.NDArray[np.int64]
    amounts: Units


def reported_hours(day: date, at: datetime) -> int:
    """How many hours of a day an export or Cost Explorer has at a moment: from 1 to 24."""
    begun = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return max(1, min(_HOURS, int((at - begun).total_seconds() // 3600)))


def _draws(*parts: str) -> Iterator[int]:
    state = hashlib.blake2b(":".join(parts).encode(), digest_size=64).digest()
    while True:
        yield from state
        state = hashlib.blake2b(state, digest_size=64).digest()


def shares_of(key: Charge) -> Shares:
    """The shares of a charge; equal for charges that differ in the record type alone, as AWS's negations do."""
    record_type = key.record_type if key.record_type in _HOURLY else ""
    if record_type in _USAGE and key.billing_entity == "AWS":
        return _used(key.account_id, key.service, key.region, key.usage_type)
    by_hour = (1,) * _HOURS if record_type else (1,) + (0,) * (_HOURS - 1)
    return Shares(("",), (_WHOLE,), by_hour)


@lru_cache(maxsize=65_536)
def _used(account_id: str, service: str, region: str, usage_type: str) -> Shares:
    draws = _draws(account_id, service, region, usage_type)
    hours = [20 + next(draws) % 40 for _ in range(_HOURS)]
    by_hour = tuple(weight + (30 if 8 <= hour < 18 else 0) for hour, weight in enumerate(hours))
    plain = usage_type.removeprefix(region_prefix(region))
    kind = next((name for part, name in _KINDS if part in plain), "")
    if service.endswith("(ECR)"):  # it is stored as S3's objects are
        kind = "arn:aws:ecr:{region}:{account}:repository/repository-{id}"
    if not kind:
        return Shares(("",), (_WHOLE,), by_hour)
    weights = [1 + next(draws) % 100 for _ in range(1 + next(draws) % RESOURCES)]
    whole = [weight * _WHOLE // sum(weights) for weight in weights]
    whole[0] += _WHOLE - sum(whole)
    place = "" if region == "global" else region
    names = ["".join(f"{next(draws):02x}" for _ in range(8)) for _ in whole]
    resources = tuple(kind.format(region=place, account=account_id, id=name) for name in names)
    return Shares(resources, tuple(whole), by_hour)


# What has a resource id, by a part of the usage type; what is left out, such as metrics and requests, has none.
_KINDS = (
    ("BoxUsage", "i-0{id}"),
    ("SpotUsage", "i-0{id}"),
    ("EBS:VolumeUsage", "vol-0{id}"),
    ("NatGateway", "arn:aws:ec2:{region}:{account}:natgateway/nat-0{id}"),
    ("InstanceUsage", "arn:aws:rds:{region}:{account}:db:db-{id}"),
    ("RDS:", "arn:aws:rds:{region}:{account}:db:db-{id}"),
    ("TimedStorage", "bucket-{id}"),
    ("Lambda-GB", "arn:aws:lambda:{region}:{account}:function:fn-{id}"),
    ("CapacityUnit", "arn:aws:dynamodb:{region}:{account}:table/table-{id}"),
    ("LoadBalancerUsage", "arn:aws:elasticloadbalancing:{region}:{account}:loadbalancer/app/lb/{id}"),
    ("LCUUsage", "arn:aws:elasticloadbalancing:{region}:{account}:loadbalancer/app/lb/{id}"),
    ("NodeUsage", "arn:aws:elasticache:{region}:{account}:cluster:cache-{id}"),
    ("Node:ra3", "arn:aws:redshift:{region}:{account}:cluster:warehouse-{id}"),
    ("AmazonEKS-Hours", "arn:aws:eks:{region}:{account}:cluster/cluster-{id}"),
    ("ESInstance", "arn:aws:es:{region}:{account}:domain/domain-{id}"),
    ("DataTransfer-Out", "arn:aws:cloudfront::{account}:distribution/E{id}"),
    ("Host:ml", "arn:aws:sagemaker:{region}:{account}:endpoint/endpoint-{id}"),
)


def split(
    keys: Sequence[Charge], amounts: Iterable[Sequence[int]], hours: int, *, hourly: bool, resources: bool
) -> Iterator[Parts]:
    """The charges of a day, of which `hours` are reported, in parts; several Parts for many charges.

    Without `hourly` a part is of the whole day (its hour is 0), without `resources` of all resources (0).
    """
    rows: Any = np.array(list(amounts), dtype=np.int64)
    for start in range(0, len(keys), _AT_A_TIME):
        found = [shares_of(key) for key in keys[start : start + _AT_A_TIME]]
        yield _split(found, rows[start : start + _AT_A_TIME], start, hours, hourly, resources)


def _split(
    found: Sequence[Shares], rows: Units, start: int, hours: int, hourly: bool, resources: bool
) -> Parts:
    padded = [(*each.by_resource, *(0,) * (RESOURCES - len(each.by_resource))) for each in found]
    parts = share(rows, np.array(padded, dtype=np.int64))  # charge, resource, amount
    if hourly:
        weights = np.array([each.by_hour[:hours] for each in found], dtype=np.int64)
        parts = share(parts, weights[:, None, :])  # charge, resource, hour, amount
    else:
        parts = parts[:, :, None, :]
    if not resources:
        parts = parts.sum(axis=1, keepdims=True)
    charge, resource, hour = np.nonzero(parts.any(axis=3))
    return Parts(charge + start, resource, hour, parts[charge, resource, hour])


def share(whole: Units, weights: Units) -> Units:
    """Split each amount by the weights: `whole` is (..., amounts), `weights` (..., n), the answer (..., n, amounts).

    What is taken back is split as what was charged: the parts of -x are those of x, negated.
    """
    cumulated = np.cumsum(weights, axis=-1)[..., None]
    total = cumulated[..., -1:, :]
    # The weights' sum divides first: an amount times a weight would not fit into 64 bits.
    quotient, rest = np.divmod(np.abs(whole)[..., None, :], total)
    until = quotient * cumulated + rest * cumulated // total
    shared: Units = np.diff(until, axis=-2, prepend=0) * np.sign(whole)[..., None, :]
    return shared


def hour_text(day: date, hour: int) -> str:
    """An hour as Cost Explorer writes it, e.g. 2026-11-30T05:00:00Z."""
    return f"{day.isoformat()}T{hour:02d}:00:00Z"
