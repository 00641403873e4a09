"""A running exporter's usage: born at zero, failing by region, for nothing after a restart, asked for as JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from running_exporter import (
    InProcess,
    MakeAws,
    ShiftedClock,
    collectors,
    in_process,
    organization,
    warm,
)
from waiting import wait_for

from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

HOUR = timedelta(hours=1)
START = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
LAMBDA = "aws_lambda_invocations_total"
REGIONS = ("us-east-1", "eu-west-1")
SETTINGS = {"metrics": [LAMBDA, "aws_s3_bucket_size_bytes"], "first_read_days": 7}
PATIENT = {"read_timeout": "30s"}


class Running:
    """An exporter and an organisation that live by one clock."""

    def __init__(self, exporter: InProcess, aws: SimulatedAws, clock: ShiftedClock) -> None:
        self.exporter = exporter
        self.aws = aws
        self.clock = clock

    def advance(self, by: timedelta) -> None:
        """Let time pass, and poll; the scheduler itself lives by the real clock."""
        self.clock.advance(by)
        self.aws.clock.advance(by)
        self.exporter.service.runner.collect_now(self.exporter.collector("usage"))

    def invocations(self, account: str, region: str) -> float | None:
        return self.exporter.value(LAMBDA, account=account, region=region)

    def true(self, account: str, region: str, start: datetime, end: datetime) -> float:
        return sum(
            value
            for key, series in self.aws.metrics.series(self.aws.organization.find(account).id, region).items()
            if key[:2] == ("AWS/Lambda", "Invocations")
            for _, value in self.aws.metrics.values(
                series, int(start.timestamp()), int(end.timestamp()), self.aws.clock.now()
            )
        )


def test_usage_through_its_life(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=3, services=2, days=60)
    warm(aws)
    aws.clock.set(START, running=True)
    clock = ShiftedClock(START)
    config = organization(collectors=collectors(usage=SETTINGS), regions=list(REGIONS), aws=PATIENT)
    epoch = START.replace(minute=0)

    with in_process(tmp_path, aws, config, clock) as exporter:
        running = Running(exporter, aws, clock)
        wait_for("it is ready", exporter.is_ready)

        # Nobody has scraped it yet: two scrapes see zero, then what was counted meanwhile.
        running.advance(2 * HOUR)
        counted = running.true("prod", "eu-west-1", epoch, epoch + 2 * HOUR)
        assert counted > 0
        assert [running.invocations("prod", "eu-west-1") for _ in range(2)] == [0, 0]
        wait_for("the counter is born", lambda: running.invocations("prod", "eu-west-1") == counted)
        everywhere = exporter.samples()[LAMBDA]
        assert len(everywhere) == 3 * len(REGIONS)
        assert {frozenset(labels) for labels, _ in everywhere} == {
            frozenset({"account_id", "account", "region"})
        }

        # One region of one account fails: it is visible, keeps its value for three intervals, and goes absent.
        aws.faults.add("access_denied", account="prod", service="cloudwatch", region="eu-west-1")
        running.advance(HOUR)
        assert exporter.failures("usage") == {"prod": {"access_denied"}}
        assert running.invocations("prod", "eu-west-1") == counted
        moved = running.true("prod", "us-east-1", epoch, epoch + 3 * HOUR)
        assert running.invocations("prod", "us-east-1") == moved
        running.advance(2 * HOUR)
        assert running.invocations("prod", "eu-west-1") is None
        assert running.invocations("prod", "us-east-1") is not None
        aws.faults.clear()
        running.advance(HOUR)
        assert exporter.failures("usage") == {}
        counted = running.true("prod", "eu-west-1", epoch, epoch + 6 * HOUR)
        assert running.invocations("prod", "eu-west-1") == counted

        answer = exporter.get("/api/v1/usage", params={"by": ["account", "region"]}).json()
        rows = {(row["metric"], row["account"], row["region"]): row for row in answer["rows"]}
        day = START.replace(hour=0, minute=0)
        invoked = running.true("prod", "eu-west-1", day - timedelta(days=7), day)
        assert rows["aws_lambda_invocations_daily", "prod", "eu-west-1"] == {
            "metric": "aws_lambda_invocations_daily",
            "account_id": aws.organization.find("prod").id,
            "account": "prod",
            "region": "eu-west-1",
            "total": invoked,
            "mean": invoked / 7,
            "days": 7,
        }
        stored = rows["aws_s3_bucket_size_bytes_daily", "prod", "eu-west-1"]
        assert stored["days"] > 1
        assert stored["total"] is None, "the same bytes would count on each day"
        by_day = exporter.get("/api/v1/usage", params={"by": ["account", "region", "day"]}).json()["rows"]
        of_a_day = [
            row["total"]
            for row in by_day
            if all(row[key] == stored[key] for key in ("metric", "account", "region"))
        ]
        assert stored["mean"] == pytest.approx(sum(of_a_day) / len(of_a_day))
        assert exporter.get("/api/v1/usage", params={"metric": "aws_lambda"}).status_code == 422

    # A restart within the interval costs nothing, and the counter goes on where it was, not from zero.
    aws.requests.clear()
    with in_process(tmp_path, aws, config, clock) as exporter:
        running = Running(exporter, aws, clock)
        wait_for("it is ready", exporter.is_ready)
        assert running.invocations("prod", "eu-west-1") == counted
        assert aws.requests.count("cloudwatch") == 0


def test_what_was_read_is_served_after_a_restart_while_aws_is_away(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=2, services=2, days=60)
    warm(aws)
    aws.clock.set(START, running=True)
    clock = ShiftedClock(START)
    config = organization(collectors=collectors(usage=SETTINGS), regions=["us-east-1"], aws=PATIENT)
    with in_process(tmp_path, aws, config, clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
    aws.faults.add("access_denied", service="cloudwatch")
    clock.advance(HOUR)
    aws.clock.advance(HOUR)
    with in_process(tmp_path, aws, config, clock) as exporter:
        denied = {"management": {"access_denied"}, "prod": {"access_denied"}}
        wait_for("both have failed", lambda: exporter.failures("usage") == denied)
        assert len(exporter.samples()[LAMBDA]) == 2
        clock.advance(3 * HOUR)
        assert LAMBDA not in exporter.samples()


def test_a_plan_of_usage_over_its_ceiling_does_not_keep_cost_from_being_read(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    """Discovery shows how large the plan really is."""
    aws = make_aws(accounts=10, services=2, days=60)
    config = organization(
        collectors=collectors(cost={"history_months": 1}, usage={}),
        regions=["us-east-1"],
        ceilings={"usage": {"day": 1, "month": 0.5}, "first_fill": 5},
    )
    with in_process(tmp_path, aws, config) as exporter:
        wait_for("cost is served", lambda: "aws_cost_yesterday_usd" in exporter.samples())
        wait_for("usage is refused", lambda: exporter.failures("usage"))
        assert exporter.failures("usage") == {"management": {"plan_over_ceiling"}}
        assert exporter.failures("cost") == {}
        assert aws.requests.count("cloudwatch") == 0
