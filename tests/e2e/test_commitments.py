"""Savings Plans and reservations equal what AWS holds, cost what the plan says, and are absent where there are none."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from running_exporter import (
    InProcess,
    MakeAws,
    ShiftedClock,
    check_with_promtool,
    collectors,
    in_process,
    organization,
)
from waiting import wait_for

from exporter.aws.errors import AwsError, Kind
from exporter.collectors.commitments import SERVICES, CommitmentsSettings, collect
from exporter.core.places import Target
from exporter.declarations.context import Context
from simulated_aws import LoggedRequest, Reservations, SavingsPlans, SimulatedAws

pytestmark = pytest.mark.stack

START = datetime(2026, 5, 17, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)
OPERATIONS = {
    "GetReservationCoverage",
    "GetReservationUtilization",
    "GetSavingsPlansCoverage",
    "GetSavingsPlansUtilization",
}
PLANS = ("savings_plans", "")
DATABASES = ("reservations", SERVICES["rds"])


def make(make_aws: MakeAws) -> SimulatedAws:
    """A year's plans, and reservations of databases that are 26 days old when the exporter begins."""
    aws = make_aws(now=START, accounts=3, services=3)
    aws.commitments.page_size = 1
    aws.commitments.savings_plans = SavingsPlans(
        Decimal("10.123456789"), Decimal("0.7"), Decimal("14.2"), Decimal("3.3")
    )
    aws.commitments.reservations = {
        SERVICES["rds"]: Reservations(
            Decimal(48),
            Decimal(45),
            Decimal("5.55"),
            Decimal("0.35"),
            Decimal(15),
            Decimal("2.2"),
            since=date(2026, 4, 20),
        )
    }
    return aws


def config(aws: SimulatedAws, **settings: Any) -> dict[str, Any]:
    return organization(aws={"endpoint_url": aws.url}, collectors=collectors(commitments=settings))


def served(exporter: InProcess) -> dict[str, dict[tuple[str, str], float]]:
    """The families by kind and service."""
    return {
        name: {(labels["kind"], labels.get("service", "")): value for labels, value in samples}
        for name, samples in exporter.samples().items()
        if name.startswith("aws_commitment_")
    }


def asked(aws: SimulatedAws) -> list[LoggedRequest]:
    return [entry for entry in aws.requests.entries(service="ce") if entry.operation in OPERATIONS]


def test_what_is_served_is_what_aws_holds_and_a_restart_pays_nothing(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make(make_aws)
    through = datetime(2026, 5, 16, tzinfo=UTC).timestamp()
    truth = {
        "aws_commitment_utilization_ratio": {
            PLANS: pytest.approx(9.423456789 / 10.123456789, abs=1e-9),
            DATABASES: 45 / 48,
        },
        "aws_commitment_used_usd": {PLANS: 282.70370367, DATABASES: 135.2},
        "aws_commitment_unused_usd": {PLANS: 21, DATABASES: 9.1},
        "aws_commitment_coverage_ratio": {
            PLANS: pytest.approx(14.2 / 17.5, abs=1e-9),
            DATABASES: 0.75,
        },
        "aws_commitment_on_demand_usd": {PLANS: 99, DATABASES: 57.2},
        "aws_commitment_data_through_timestamp_seconds": {PLANS: through, DATABASES: through},
    }
    clock = ShiftedClock(START)
    with in_process(tmp_path, aws, config(aws), clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert served(exporter) == truth
        check_with_promtool(exporter.get("/metrics").text)
        assert exporter.failures("commitments") == {}
    requests = asked(aws)
    # Two months of days in pages of one: coverage and reservations take two each, what is not held one.
    assert sorted(entry.operation for entry in requests) == sorted(
        ["GetSavingsPlansUtilization", *2 * ["GetSavingsPlansCoverage"], *2 * ["GetReservationCoverage"]]
        + (len(CommitmentsSettings().reservations) + 1) * ["GetReservationUtilization"]
    )
    assert {entry.params and repr(entry.params["TimePeriod"]) for entry in requests} == {
        repr({"Start": "2026-04-16", "End": "2026-05-16"})
    }

    clock.advance(timedelta(hours=5))
    with in_process(tmp_path, aws, config(aws), clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert served(exporter) == truth
        exporter.service.runner.collect_now(exporter.collector("commitments"))
        assert len(asked(aws)) == len(requests)

        aws.clock.advance(DAY)
        clock.advance(DAY)
        exporter.service.runner.collect_now(exporter.collector("commitments"))
        assert len(asked(aws)) == 2 * len(requests)
        assert served(exporter)["aws_commitment_data_through_timestamp_seconds"] == {
            PLANS: through + 86400,
            DATABASES: through + 86400,
        }


@pytest.mark.parametrize("day", [1, 2, 3])
def test_the_days_do_not_begin_anew_with_the_month(make_aws: MakeAws, tmp_path: Path, day: int) -> None:
    aws = make(make_aws)
    now = datetime(2026, 6, day, 0, 30, tzinfo=UTC)
    aws.clock.set(now)
    with in_process(tmp_path, aws, config(aws, days=7), ShiftedClock(now)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        found = served(exporter)
    assert found["aws_commitment_unused_usd"] == {PLANS: 4.9, DATABASES: 2.45}


def test_without_commitments_nothing_is_served_and_nothing_fails(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make(make_aws)
    aws.commitments.savings_plans, aws.commitments.reservations = None, {}
    with in_process(tmp_path, aws, config(aws), ShiftedClock(START)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert served(exporter) == {}
        assert exporter.failures("commitments") == {}
        # Of what is not held, coverage is not asked for; and the answer holds for the interval.
        exporter.service.runner.collect_now(exporter.collector("commitments"))
        assert len(asked(aws)) == 1 + len(CommitmentsSettings().reservations)


def test_plans_that_commit_to_nothing_are_none(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make(make_aws)
    aws.commitments.savings_plans = SavingsPlans(*4 * [Decimal(0)])
    with in_process(tmp_path, aws, config(aws, reservations=[]), ShiftedClock(START)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert served(exporter) == {}
        assert exporter.failures("commitments") == {}


def test_what_is_denied_fails_alone_and_goes_absent_after_three_intervals(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make(make_aws)
    clock = ShiftedClock(START)
    with in_process(tmp_path, aws, config(aws, reservations=["rds"]), clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        commitments = exporter.collector("commitments")
        aws.faults.add("access_denied", operation="GetSavingsPlansUtilization")
        for passed, kinds in ((1, {PLANS, DATABASES}), (2, {PLANS, DATABASES}), (3, {DATABASES})):
            aws.clock.set(START + passed * DAY)
            clock.advance(DAY)
            exporter.service.runner.collect_now(commitments)
            assert exporter.failures("commitments") == {"management": {"access_denied"}}
            found = served(exporter)
            assert set(found["aws_commitment_unused_usd"]) == kinds
            read = found["aws_commitment_data_through_timestamp_seconds"][DATABASES]
            assert read == (datetime(2026, 5, 16, tzinfo=UTC) + passed * DAY).timestamp()

        aws.faults.clear()
        exporter.service.runner.collect_now(commitments)
        assert set(served(exporter)["aws_commitment_unused_usd"]) == {PLANS, DATABASES}
        assert exporter.failures("commitments") == {}


def test_what_is_no_number_is_a_failure(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make(make_aws)
    aws.commitments.savings_plans = SavingsPlans(*4 * [Decimal("NaN")])
    with in_process(tmp_path, aws, config(aws), ShiftedClock(START)) as exporter:
        wait_for(
            "it fails", lambda: exporter.failures("commitments") == {"management": {"malformed_response"}}
        )
        assert set(served(exporter)["aws_commitment_used_usd"]) == {DATABASES}


def test_other_days_are_asked_for_anew(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make(make_aws)
    for days, unused in ((30, 21), (10, 7)):
        with in_process(
            tmp_path, aws, config(aws, days=days, reservations=[]), ShiftedClock(START)
        ) as exporter:
            wait_for("it is ready", exporter.is_ready)
            assert served(exporter)["aws_commitment_unused_usd"] == {PLANS: unused}


def test_in_the_regions_of_another_currency_nothing_is_asked() -> None:
    class Unasked:
        def call(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("it was asked")

    context: Context[CommitmentsSettings] = Context(
        aws=cast(Any, Unasked()),
        ledger=cast(Any, None),
        clock=lambda: START,
        accounts={},
        settings=CommitmentsSettings(),
    )
    with pytest.raises(AwsError) as caught:
        list(collect(context, Target("1", "payer", "cn-north-1", "aws-cn")))
    assert caught.value.kind is Kind.CURRENCY
