"""Seconds that EC2 instances have run: what can be shown, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto.ec2.models import ec2_backends
from usage_harness import DAY, HOUR, NOW, REGION, MakePoller, Poller

from exporter.collectors import ec2_running
from exporter.usage.metrics import RUNNING
from simulated_aws import SimulatedAws

TYPE = "c7g.metal"  # none of the generated instances has it
Start = Callable[[datetime], str]


@pytest.fixture
def start(aws: SimulatedAws) -> Iterator[Start]:
    """Starts instances of a type of the test's own, which are gone afterwards."""
    backend = ec2_backends[aws.payer_id][REGION]
    ec2 = boto3.session.Session().client("ec2", endpoint_url=aws.url, region_name=REGION)
    made: list[str] = []

    def run(at: datetime) -> str:
        (answer,) = ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1, InstanceType=TYPE)["Instances"]
        made.append(answer["InstanceId"])
        backend.get_instance(made[-1]).launch_time = at
        return made[-1]

    yield run
    for reservation in list(backend.reservations.values()):
        if any(instance.id in made for instance in reservation.instances):
            del backend.reservations[reservation.id]
    ec2.close()


def end(aws: SimulatedAws, instance_id: str, at: datetime, state: str = "stopped") -> None:
    instance: Any = ec2_backends[aws.payer_id][REGION].get_instance(instance_id)
    (instance.stop if state == "stopped" else instance.terminate)()
    instance._reason = f"User initiated ({at:%Y-%m-%d %H:%M:%S} GMT)"


def seconds(poller: Poller) -> float:
    return poller.ran()[RUNNING, "", TYPE]


def test_running_instances_add_the_time_between_polls(
    aws: SimulatedAws, make_poller: MakePoller, start: Start
) -> None:
    poller = make_poller()
    start(NOW - 10 * DAY)
    start(NOW - HOUR)
    poller.running()
    assert seconds(poller) == 0  # what was before the first look is no increment
    aws.clock.advance(timedelta(minutes=15))
    start(NOW + timedelta(minutes=10))
    poller.running()
    assert seconds(poller) == 2 * 900 + 300


def test_an_instance_that_ended_counts_until_the_moment_that_aws_names(
    aws: SimulatedAws, make_poller: MakePoller, start: Start
) -> None:
    poller = make_poller()
    stopped, terminated = start(NOW - DAY), start(NOW - DAY)
    poller.running()
    aws.clock.advance(timedelta(minutes=15))
    end(aws, stopped, NOW + timedelta(minutes=5))
    end(aws, terminated, NOW + timedelta(minutes=7), "terminated")
    poller.running()
    assert seconds(poller) == 300 + 420
    aws.clock.advance(timedelta(minutes=15))
    poller.running()
    assert seconds(poller) == 300 + 420


def test_a_restart_and_a_late_poll_lose_nothing_of_what_is_still_there(
    aws: SimulatedAws, make_poller: MakePoller, start: Start
) -> None:
    poller = make_poller()
    start(NOW - DAY)
    poller.running()
    assert seconds(poller) == 0
    poller.close()
    aws.clock.advance(timedelta(minutes=50))
    again = make_poller()
    again.running()
    assert seconds(again) == 3000
    aws.clock.advance(5 * HOUR)
    again.running()
    assert seconds(again) == 3000 + 5 * 3600


def test_an_instance_that_stopped_before_the_last_look_adds_nothing(
    aws: SimulatedAws, make_poller: MakePoller, start: Start
) -> None:
    poller = make_poller()
    stopped = start(NOW - DAY)
    end(aws, stopped, NOW - HOUR)
    start(NOW - DAY)
    poller.running()
    aws.clock.advance(timedelta(minutes=30))
    poller.running()
    assert seconds(poller) == 1800


def test_days_are_written_when_they_were_watched_from_beginning_to_end(
    aws: SimulatedAws, make_poller: MakePoller, start: Start
) -> None:
    family = "aws_ec2_instance_running_seconds_daily"
    aws.clock.set(datetime(2026, 3, 17, 23, 40, tzinfo=UTC))
    poller = make_poller()
    start(NOW - DAY)
    generated = 2  # of the organisation's own three instances, two run: the fifth would be stopped

    def watch(until: datetime) -> None:
        while aws.clock.now() < until:
            aws.clock.advance(timedelta(minutes=30))
            poller.running()

    poller.running()
    watch(datetime(2026, 3, 19, 0, 40, tzinfo=UTC))
    days = poller.days(family)
    assert list(days) == [date(2026, 3, 18)]  # the 17th was watched for its last minutes only
    assert days[date(2026, 3, 18)] == (1 + generated + 1) * 86_400
    # The exporter is away for two hours on the 19th: that day is not known.
    aws.clock.advance(2 * HOUR)
    watch(datetime(2026, 3, 21, 0, 40, tzinfo=UTC))
    assert list(poller.days(family)) == [date(2026, 3, 18), date(2026, 3, 20)]


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("running", "", ("t3.micro", NOW, None)),
        (
            "stopped",
            "User initiated (2026-03-17 15:00:00 GMT)",
            ("t3.micro", NOW, NOW.replace(hour=15, minute=0)),
        ),
        ("terminated", "Server.SpotInstanceTermination", None),
        ("pending", "", None),
    ],
)
def test_when_an_instance_ran(state: str, reason: str, expected: Any) -> None:
    instance = {
        "InstanceType": "t3.micro",
        "LaunchTime": NOW,
        "State": {"Name": state},
        "StateTransitionReason": reason,
    }
    assert ec2_running.ran(instance) == expected
