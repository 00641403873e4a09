"""Split cost allocation: the rows that share out the cost of instances among pods of EKS and tasks of ECS."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from simulated_aws.charges import Amounts, CostKey
from simulated_aws.service_catalog import COMPUTE, region_prefix

EKS = "Amazon Elastic Container Service for Kubernetes"
ECS = "Amazon Elastic Container Service"
COSTS = ("split_cost", "unused_cost", "net_split_cost", "net_unused_cost")
"""What a row has in units of 1e-10 USD: the share of a pod, and its part of what is idle, before and after discounts."""

_NAMESPACES = ("checkout", "search", "kube-system")
_PODS = 2
_ON_CONTAINERS = 40  # percent of an account's instances in a region that run the pods, or the tasks, of it
_USED = 75  # percent of those that pods have asked for; the rest is unused
_BY_RESOURCE = (("vCPU-Hours", 60), ("GB-Hours", 40))  # percent by what is shared out
_INSTANCES = ("Usage", "SavingsPlanCoveredUsage")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of EKS or a task of ECS, whose `namespace` is empty; `kind` is eks or ecs."""

    kind: str
    account_id: str
    region: str
    cluster: str
    namespace: str
    name: str

    @property
    def arn(self) -> str:
        """The resource id of its rows."""
        if self.kind == "ecs":
            return f"arn:aws:ecs:{self.region}:{self.account_id}:task/{self.cluster}/{self.name}"
        place = f"{self.cluster}/{self.namespace}/{self.name}/{_hex(self.name)}"
        return f"arn:aws:eks:{self.region}:{self.account_id}:pod/{place}"

    @property
    def operation(self) -> str:
        """The operation of its rows, which no other line has."""
        return "EKSPod-EC2" if self.kind == "eks" else "ECSTask-EC2"

    def usage_type(self, resource: str) -> str:
        """The usage type of its row for vCPU-Hours or GB-Hours."""
        return f"{region_prefix(self.region)}{self.kind.upper()}-EC2-{resource}"


def pod_costs(
    charges: Iterable[tuple[CostKey, Amounts]],
) -> Iterator[tuple[Pod, str, tuple[int, int, int, int]]]:
    """The rows of a day: pod, what is shared out (vCPU-Hours, GB-Hours), and the amounts of COSTS.

    The cost of instances is the amortized one of on-demand and Savings Plans usage, in accounts that have a cluster.
    """
    instances: dict[tuple[str, str], list[int]] = {}
    clusters: dict[tuple[str, str, str], None] = {}
    for key, amounts in charges:
        place = (key.account_id, key.region)
        if key.service in (EKS, ECS) and key.record_type == "Usage":
            clusters["eks" if key.service == EKS else "ecs", *place] = None
        elif key.service == COMPUTE and key.record_type in _INSTANCES:
            cost = instances.setdefault(place, [0, 0])
            cost[0] += amounts[2]
            cost[1] += amounts[4]
    for kind, *where in clusters:
        cost = instances.get((where[0], where[1]), [0, 0])
        yield from _shared_out(_pods(kind, where[0], where[1]), cost[0], cost[1])


def _shared_out(
    pods: tuple[Pod, ...], amortized: int, net: int
) -> Iterator[tuple[Pod, str, tuple[int, int, int, int]]]:
    each, each_net = (cost * _ON_CONTAINERS // 100 // len(pods) for cost in (amortized, net))
    for pod in pods:
        for resource, percent in _BY_RESOURCE:
            cost, net_cost = each * percent // 100, each_net * percent // 100
            used, net_used = cost * _USED // 100, net_cost * _USED // 100
            yield pod, resource, (used, cost - used, net_used, net_cost - net_used)


@lru_cache(maxsize=4096)
def _pods(kind: str, account_id: str, region: str) -> tuple[Pod, ...]:
    cluster = f"{kind}-{_hex(account_id, region)[:6]}"
    namespaces = _NAMESPACES if kind == "eks" else ("",)
    return tuple(
        Pod(
            kind,
            account_id,
            region,
            cluster,
            namespace,
            f"{namespace or 'task'}-{_hex(cluster, namespace, str(i))[:10]}",
        )
        for namespace in namespaces
        for i in range(_PODS)
    )


def _hex(*parts: str) -> str:
    return hashlib.blake2b(":".join(parts).encode(), digest_size=16).hexdigest()
