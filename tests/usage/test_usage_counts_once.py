"""Whatever happens between polls, a counter is what CloudWatch has counted since its epoch."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from usage_harness import DAY, NOW, Poller, true_sum

from exporter.aws.clients import Aws
from exporter.aws.errors import AwsError
from simulated_aws import SimulatedAws, cloudwatch

FAMILIES = ("aws_lambda_invocations_total", "aws_dynamodb_consumed_read_capacity_units_total")
OUTAGES = (None, None, None, "ListMetrics", "GetMetricData")


@dataclass(frozen=True)
class Step:
    """What happens before a poll: time passes, and perhaps a restart, an outage, or small pages."""

    minutes: int
    restart: bool
    outage: str | None
    points_a_page: int
    query_fails: bool


@dataclass(frozen=True)
class Scenario:
    """One life of an exporter."""

    start: datetime
    period: str
    delay: int
    late_window: int
    late: int
    steps: tuple[Step, ...]


def scenarios() -> st.SearchStrategy[Scenario]:
    steps = st.builds(
        Step,
        minutes=st.sampled_from((5, 55, 60, 61, 180, 700)) | st.integers(5, 3000),
        restart=st.booleans(),
        outage=st.sampled_from(OUTAGES),
        points_a_page=st.sampled_from((100_800, 100_800, 333)),
        query_fails=st.sampled_from((False, False, True)),
    )

    @st.composite
    def scenario(draw: st.DrawFn) -> Scenario:
        late_window = draw(st.integers(1, 12))
        return Scenario(
            NOW + timedelta(minutes=draw(st.integers(0, 1440))),
            draw(st.sampled_from(("5m", "15m", "1h", "1h"))),
            draw(st.integers(1, 40)),
            late_window,
            # Data that is later than the window is lost, and so documented.
            draw(st.integers(0, late_window * 3600)),
            tuple(draw(st.lists(steps, min_size=2, max_size=8))),
        )

    return scenario()


def check(shared_aws: SimulatedAws, client: Aws, scenario: Scenario) -> int:
    """Live a scenario; returns how many polls were compared."""
    compared = 0
    seconds = {"5m": 300, "15m": 900, "1h": 3600}[scenario.period]
    with tempfile.TemporaryDirectory() as name, mock.patch.object(cloudwatch, "_POINTS", 100_800):
        folder = Path(name)

        def start() -> Poller:
            return Poller(
                shared_aws,
                client,
                folder,
                metrics=FAMILIES,
                interval="1m",
                period=scenario.period,
                delay=f"{scenario.delay}m",
                late_window=f"{scenario.late_window}h",
                first_read_days=7,
            )

        shared_aws.clock.set(scenario.start)
        shared_aws.metrics.late_seconds = scenario.late
        poller = start()
        epoch: datetime | None = None
        least = 0
        before = dict.fromkeys(FAMILIES, 0.0)
        try:
            for step in scenario.steps:
                cloudwatch._POINTS = step.points_a_page
                if step.restart:
                    poller.close()
                    poller = start()
                if step.outage:
                    shared_aws.faults.add("access_denied", service="cloudwatch", operation=step.outage)
                if step.query_fails:
                    shared_aws.faults.add(
                        "query_fails", service="cloudwatch", operation="GetMetricData", count=1
                    )
                answered = True
                try:
                    poller.poll()
                except AwsError:
                    # Not each poll asks for what is away: what was listed is remembered for hours.
                    answered = False
                    assert step.outage
                finally:
                    shared_aws.faults.clear()
                if answered:
                    now = shared_aws.clock.now()
                    read = int((now - timedelta(minutes=scenario.delay)).timestamp()) // seconds * seconds
                    through = datetime.fromtimestamp(read, UTC)
                    if epoch is None:
                        # Just after midnight, what is old enough to be read may end before it.
                        epoch, least = through, (through.date() - (now.date() - 7 * DAY)).days
                    shown = poller.show()
                    for family in FAMILIES:
                        assert shown[family, "", ""] == true_sum(shared_aws, family, epoch, through)
                        assert shown[family, "", ""] >= before[family]
                        before[family] = shown[family, "", ""]
                        days = poller.days(family.removesuffix("_total") + "_daily")
                        assert len(days) >= least >= 6
                        for day, value in days.items():
                            at = datetime(day.year, day.month, day.day, tzinfo=UTC)
                            assert at + DAY <= through
                            assert value == true_sum(shared_aws, family, at, at + DAY)
                    compared += 1
                shared_aws.clock.advance(timedelta(minutes=step.minutes))
        finally:
            poller.close()
            shared_aws.faults.clear()
    return compared


def run(shared_aws: SimulatedAws, client: Aws, examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(scenarios())
    def lives(scenario: Scenario) -> None:
        check(shared_aws, client, scenario)

    try:
        lives()
    finally:
        shared_aws.metrics.late_seconds = 600
        shared_aws.clock.set(NOW)


def test_counters_and_days_are_what_cloudwatch_has(shared_aws: SimulatedAws, client: Aws) -> None:
    run(shared_aws, client, 12)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_counters_and_days_are_what_cloudwatch_has_in_many_lives(
    shared_aws: SimulatedAws, client: Aws
) -> None:
    run(shared_aws, client, 200)
