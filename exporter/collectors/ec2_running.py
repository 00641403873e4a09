"""Seconds that EC2 instances have run, which no CloudWatch metric says, from DescribeInstances.

An instance that runs has run since its launch time, which is set again at each start; one that has stopped
says when. So polls may be late, and the exporter may have been away: what can be shown to have run is
counted, and nothing else. Instances that began and ended unseen are missing, which takes more than the hour
for which EC2 still shows terminated ones; days with such a gap get no dated total.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field

from exporter.aws.errors import reading
from exporter.core.fields import CollectorSettings, Duration
from exporter.core.metric import Family, Sample
from exporter.core.places import Scope, Target
from exporter.declarations.calls import CheckCall
from exporter.declarations.collector import Collector, RestoredSamples
from exporter.declarations.context import Context
from exporter.resources.ec2 import PAGE
from exporter.usage import counters as usage_ledger
from exporter.usage.counters import Form, Poll, Reading, Series
from exporter.usage.metrics import DAY, LABELS, RUNNING, RUNNING_HELP
from exporter.usage.samples import Served, restored

SOURCE = "ec2"

RUNNING_SECONDS = Family(
    RUNNING,
    f"{RUNNING_HELP} Per account, region and instance type.",
    (*LABELS, "instance_type"),
    "counter",
)

_SHOWN = timedelta(hours=1)  # how long EC2 shows a terminated instance
_ENDED = ("stopping", "stopped", "shutting-down", "terminated")
_AT = re.compile(r"\((\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}) GMT\)")


class Ec2RunningSettings(CollectorSettings):
    """EC2 running time; free requests."""

    longest_interval = timedelta(minutes=45)
    longest_because = "terminated instances are shown for an hour"

    interval: Duration = Field(
        default=timedelta(minutes=15), description="Time between two runs; at most 45m."
    )


def ran(instance: Mapping[str, Any]) -> tuple[str, datetime, datetime | None] | None:
    """Instance type, start and end (None: still running) of an instance's last stretch; None if it never ran.

    An instance that ended without saying when counts as not running.
    """
    state = instance["State"]["Name"]
    launched: datetime = instance["LaunchTime"]
    if state == "running":
        return instance["InstanceType"], launched, None
    match = _AT.search(instance.get("StateTransitionReason") or "")
    if state not in _ENDED or match is None:
        return None
    ended = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return instance["InstanceType"], launched, ended


def _by_day(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The part of [begin, end) in each UTC day, as its beginning and its seconds."""
    while begin < end:
        until = min(end, begin // DAY * DAY + DAY)
        yield begin, until - begin
        begin = until


def collect(ctx: Context[Ec2RunningSettings], target: Target) -> Iterable[Sample]:
    """Add what has run since the last poll."""
    now = ctx.clock()
    through = int(now.timestamp())
    seconds: defaultdict[str, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
    state = usage_ledger.target_of(ctx.ledger, SOURCE, target.account_id, target.region)
    since = state.read_through if state is not None and state.read_through is not None else through
    with reading("an answer about instances"):
        for page in ctx.paginate(target, "ec2", "DescribeInstances", PAGE):
            for reservation in page["Reservations"]:
                for instance in reservation["Instances"]:
                    stretch = ran(instance)
                    if stretch is None:
                        continue
                    kind, begin, end = stretch
                    last = through if end is None else min(through, int(end.timestamp()))
                    if end is None:
                        seconds[kind]  # a type that runs has a counter before it has run
                    for at, part in _by_day(max(since, int(begin.timestamp())), last):
                        # One key a day, whenever in it instances began.
                        seconds[kind][max(since, at // DAY * DAY)] += part
    found = [Series(RUNNING, variant=kind) for kind in sorted(seconds)]
    state = usage_ledger.list_series(ctx.ledger, SOURCE, target.account_id, target.region, found, now)
    numbers = {listed.series.variant: listed.id for listed in usage_ledger.listed(ctx.ledger, state, now)}
    readings = [Reading(numbers[kind], RUNNING, Form.SUMS, amounts) for kind, amounts in seconds.items()]
    gap = now - datetime.fromtimestamp(since, UTC) > _SHOWN
    usage_ledger.commit(
        ctx.ledger,
        state,
        target.account_id,
        target.region,
        Poll(now, through if gap else since, through, through, 1, readings, gap=gap),
    )
    ctx.committed()
    return ()


def restore(ctx: Context[Ec2RunningSettings], target: Target) -> RestoredSamples | None:
    """The counters of a target as the ledger has them."""
    state = usage_ledger.target_of(ctx.ledger, SOURCE, target.account_id, target.region)
    if state is None or state.polled_at is None:
        return None
    return restored(ctx.ledger, [state], target, {RUNNING: Served(RUNNING_SECONDS, "instance_type")})


COLLECTOR = Collector(
    name="ec2_running",
    help=RUNNING_HELP,
    scope=Scope.REGION,
    settings=Ec2RunningSettings,
    families=(RUNNING_SECONDS,),
    iam_actions=("ec2:DescribeInstances",),
    check=CheckCall(service="ec2", operation="DescribeInstances", params=lambda target: {"MaxResults": 5}),
    collect=collect,
    restore=restore,
)
