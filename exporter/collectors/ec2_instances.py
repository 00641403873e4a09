"""EC2 instances by type, state and lifecycle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta

from pydantic import Field

from exporter.aws.errors import reading
from exporter.core.fields import CollectorSettings, Duration
from exporter.core.metric import Family, Sample
from exporter.core.places import Scope, Target
from exporter.declarations.calls import CheckCall
from exporter.declarations.collector import Collector
from exporter.declarations.context import Context
from exporter.resources.ec2 import PAGE

INSTANCES = Family(
    "aws_ec2_instances",
    "EC2 instances by type, state and lifecycle (on-demand, spot, scheduled or capacity-block).",
    ("account_id", "account", "region", "instance_type", "state", "lifecycle"),
)


class Ec2InstancesSettings(CollectorSettings):
    """EC2 instance counts."""

    interval: Duration = Field(default=timedelta(hours=1), description="Time between two runs.")


def collect(ctx: Context[Ec2InstancesSettings], target: Target) -> Iterable[Sample]:
    """Count every instance that DescribeInstances returns, terminated ones included while it does."""
    with reading("an answer about instances"):
        counts = Counter(
            (
                instance["InstanceType"],
                instance["State"]["Name"],
                # AWS leaves the member out for on-demand instances.
                instance.get("InstanceLifecycle", "on-demand"),
            )
            for page in ctx.paginate(target, "ec2", "DescribeInstances", PAGE)
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
        )
    yield from samples(target, counts)


def samples(target: Target, counts: Mapping[tuple[str, str, str], int]) -> Iterable[Sample]:
    """`aws_ec2_instances` of counts by type, state and lifecycle."""
    for (instance_type, state, lifecycle), count in sorted(counts.items()):
        yield INSTANCES(
            count,
            account_id=target.account_id,
            account=target.account,
            region=target.region,
            instance_type=instance_type,
            state=state,
            lifecycle=lifecycle,
        )


COLLECTOR = Collector(
    name="ec2_instances",
    help=INSTANCES.help,
    scope=Scope.REGION,
    settings=Ec2InstancesSettings,
    families=(INSTANCES,),
    iam_actions=("ec2:DescribeInstances",),
    check=CheckCall(service="ec2", operation="DescribeInstances", params=lambda target: {"MaxResults": 5}),
    collect=collect,
)
