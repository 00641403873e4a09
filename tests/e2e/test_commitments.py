"""Savings Plans and reservations equal what AWS holds, cost what the plan says, and are absent where there are none."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
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
from simulated_aws import (
    LoggedRequest,
    Reservation,
    Reservations,
    SavingsPlan,
    SavingsPlans,
    SimulatedAws,
)

pytestmark = pytest.mark.stack

START = datetime(2026, 5, 17, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)
OPERATIONS = {
    "GetReservationCoverage",
    "GetReservationUtilization",
    "GetSavingsPlansCoverage",
    "GetSavingsPlansUtilization",
    "GetSavingsPlansUtilizationDetails",
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
        if name.startswith("aws_commitment_") and not any("commitment_id" in labels for labels, _ in samples)
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


# One by one

LARGE, SMALL = "a0000000-0000-4000-8000-000000000001", "a0000000-0000-4000-8000-000000000002"
OLD, NEW = "ri-2025-06-01-001", "ri-2026-05-10-002"
SINGLE = "aws_commitment_unused_by_id_usd"


def moment(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def make_singles(make_aws: MakeAws) -> SimulatedAws:
    """Two plans and two reservations of databases; one of each was in effect on some of the days only."""
    aws = make(make_aws)
    prod = aws.organization.accounts[1].id
    aws.commitments.plans = [
        SavingsPlan(
            id=SMALL,
            account_id=prod,
            commitment=Decimal("2.4"),
            unused=Decimal("0.6"),
            on_demand=Decimal(4),
            start=moment(2025, 5, 11, 18),
            end=moment(2026, 5, 10, 18),
            kind="EC2InstanceSavingsPlans",
            payment_option="All Upfront",
            region="eu-west-1",
            family="m6i",
        ),
        SavingsPlan(
            id=LARGE,
            account_id=aws.payer_id,
            commitment=Decimal("24.000000001"),
            unused=Decimal(0),
            on_demand=Decimal(40),
            start=moment(2024, 7, 2, 9),
            end=moment(2027, 7, 2, 9),
            term="3yr",
        ),
    ]
    reservation: dict[str, Any] = {
        "account_id": prod,
        "service": SERVICES["rds"],
        "instance_type": "db.r6g.large",
    }
    aws.commitments.reserved = [
        Reservation(
            id=OLD,
            subscription_id="1000000001",
            purchased_hours=Decimal(48),
            used_hours=Decimal(36),
            fee=Decimal(8),
            unused_fee=Decimal(2),
            start=moment(2025, 6, 1),
            end=moment(2026, 6, 1),
            count=2,
            payment_option="Partial Upfront",
            offering="convertible",
            **reservation,
        ),
        Reservation(
            id=NEW,
            subscription_id="1000000002",
            purchased_hours=Decimal(24),
            used_hours=Decimal(24),
            fee=Decimal(3),
            unused_fee=Decimal(0),
            start=moment(2026, 5, 10),
            end=moment(2027, 5, 10),
            **reservation,
        ),
    ]
    return aws


def by_id(exporter: InProcess, family: str) -> dict[str, float]:
    """The values of a family of single commitments, by their id."""
    return {labels["commitment_id"]: value for labels, value in exporter.samples().get(family, ())}


def left_out(exporter: InProcess) -> dict[str, float]:
    samples = exporter.samples().get("aws_commitments_left_out", ())
    return {labels["kind"]: value for labels, value in samples}


def test_each_commitment_is_served_as_aws_holds_it_at_the_price_of_its_pages(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_singles(make_aws)
    clock = ShiftedClock(START)
    each = config(aws, each=True, reservations=["rds", "ec2"])
    with in_process(tmp_path, aws, each, clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        # 30 days from 2026-04-16: 24 of the plan that ended, 6 of the reservation that began.
        assert by_id(exporter, "aws_commitment_used_by_id_usd") == {
            LARGE: 720.00000003, SMALL: 43.2, OLD: 180, NEW: 18,
        }  # fmt: skip
        assert by_id(exporter, SINGLE) == {LARGE: 0, SMALL: 14.4, OLD: 60, NEW: 0}
        assert by_id(exporter, "aws_commitment_utilization_by_id_ratio") == {
            LARGE: 1, SMALL: 0.75, OLD: 0.75, NEW: 1,
        }  # fmt: skip
        assert by_id(exporter, "aws_commitment_expiry_timestamp_seconds") == {
            LARGE: moment(2027, 7, 2, 9).timestamp(),
            SMALL: moment(2026, 5, 10, 18).timestamp(),
            OLD: moment(2026, 6, 1).timestamp(),
            NEW: moment(2027, 5, 10).timestamp(),
        }
        assert left_out(exporter) == {"savings_plans": 0, "reservations": 0}
        # The sums of the kind are those of its single ones.
        sums = served(exporter)
        assert sums["aws_commitment_unused_usd"] == {PLANS: 14.4, DATABASES: 60}
        assert sums["aws_commitment_used_usd"] == {PLANS: 763.20000003, DATABASES: 198}
        assert sums["aws_commitment_utilization_ratio"][DATABASES] == pytest.approx(
            (1080 + 144) / (1440 + 144)
        )
        infos = {
            labels.pop("commitment_id"): labels
            for labels, value in exporter.samples()["aws_commitment_info"]
            if value == 1
        }
        prod = aws.organization.accounts[1]
        owner = {"account_id": prod.id, "account": prod.name}
        assert infos[SMALL] == owner | {
            "kind": "savings_plans", "type": "EC2InstanceSavingsPlans", "term": "1yr",
            "payment_option": "All Upfront", "region": "eu-west-1", "instance": "m6i",
        }  # fmt: skip
        assert infos[OLD] == owner | {
            "kind": "reservations", "service": SERVICES["rds"], "type": "convertible", "term": "1yr",
            "payment_option": "Partial Upfront", "region": "us-east-1", "instance": "db.r6g.large", "instances": "2",
        }  # fmt: skip
        assert (infos[LARGE]["account_id"], infos[LARGE]["term"]) == (aws.payer_id, "3yr")
        assert "region" not in infos[LARGE], "a plan of any region"
        check_with_promtool(exporter.get("/metrics").text)
    # Pages of one: two plans, two reservations; the sums of a kind cost nothing more.
    requests = asked(aws)
    counts = Counter(entry.operation for entry in requests)
    assert counts["GetSavingsPlansUtilizationDetails"] == 2
    assert counts["GetSavingsPlansUtilization"] == 0
    assert counts["GetReservationUtilization"] == 2 + 1

    with in_process(tmp_path, aws, each, clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert by_id(exporter, SINGLE) == {LARGE: 0, SMALL: 14.4, OLD: 60, NEW: 0}
        assert len(asked(aws)) == len(requests)


def test_the_largest_are_served_and_the_others_counted(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_singles(make_aws)
    limited = config(aws, each=True, reservations=["rds"], series_limit=2)
    with in_process(tmp_path, aws, limited, ShiftedClock(START)) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert set(by_id(exporter, SINGLE)) == {LARGE, OLD}
        assert left_out(exporter) == {"savings_plans": 1, "reservations": 1}
        assert served(exporter)["aws_commitment_unused_usd"] == {PLANS: 14.4, DATABASES: 60}


def test_switched_on_they_are_read_at_once_and_switched_off_they_are_gone(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_singles(make_aws)
    families = (SINGLE, "aws_commitment_info", "aws_commitments_left_out")
    for each, ids in ((False, set()), (True, {LARGE, SMALL}), (False, set())):
        before = len(asked(aws))
        settings = config(aws, each=each, reservations=[])
        with in_process(tmp_path, aws, settings, ShiftedClock(START)) as exporter:
            wait_for("it is ready", exporter.is_ready)
            assert set(by_id(exporter, SINGLE)) == ids
            if not each:
                assert not set(families) & set(exporter.samples())
        new = [entry.operation for entry in asked(aws)[before:]]
        assert ("GetSavingsPlansUtilizationDetails" in new) is each


def test_without_any_nothing_fails_and_none_are_left_out(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make(make_aws)
    aws.commitments.plans, aws.commitments.reserved = [], []
    with in_process(
        tmp_path, aws, config(aws, each=True, reservations=["rds"]), ShiftedClock(START)
    ) as exporter:
        wait_for("it is ready", exporter.is_ready)
        assert served(exporter) == {}
        assert left_out(exporter) == {"savings_plans": 0, "reservations": 0}
        assert exporter.failures("commitments") == {}
        exporter.service.runner.collect_now(exporter.collector("commitments"))
        assert len(asked(aws)) == 2


@pytest.mark.fault(
    "Cost Explorer fails on the last page of single Savings Plans",
    "the kind fails as a whole and keeps what it had; the other kind is read",
)
def test_half_of_the_plans_is_no_answer(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_singles(make_aws)
    clock = ShiftedClock(START)
    with in_process(tmp_path, aws, config(aws, each=True, reservations=["rds"]), clock) as exporter:
        wait_for("it is ready", exporter.is_ready)
        aws.commitments.plans = [replace(plan, unused=Decimal(1)) for plan in aws.commitments.plans]
        aws.commitments.reserved = [replace(aws.commitments.reserved[0], unused_fee=Decimal(1))]
        aws.faults.add("access_denied", operation="GetSavingsPlansUtilizationDetails")
        # Denied for the first page; then for the second one only.
        for broken in ("first", "second"):
            if broken == "second":
                aws.faults.clear()
                aws.faults.add("last_page_fails", operation="GetSavingsPlansUtilizationDetails")
            aws.clock.advance(DAY)
            clock.advance(DAY)
            exporter.service.runner.collect_now(exporter.collector("commitments"))
            assert set(exporter.failures("commitments")) == {"management"}
            found = by_id(exporter, SINGLE)
            assert (found[LARGE], found[SMALL], found[OLD]) == (0, 14.4, 30)
            assert NEW not in found
        # After three intervals without a read, they are not served any more; those of the other kind are.
        aws.clock.advance(DAY)
        clock.advance(DAY)
        exporter.service.runner.collect_now(exporter.collector("commitments"))
        assert set(by_id(exporter, SINGLE)) == {OLD}
        assert left_out(exporter) == {"reservations": 0}
        aws.faults.clear()
        exporter.service.runner.collect_now(exporter.collector("commitments"))
        assert exporter.failures("commitments") == {}
        assert by_id(exporter, SINGLE)[LARGE] == 30
