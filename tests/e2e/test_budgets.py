"""AWS Budgets as they are served: what AWS holds, every page, in dollars only, and what is unknown is absent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from running_exporter import InProcess, MakeAws, collectors, in_process, organization
from waiting import wait_for

from simulated_aws import SimulatedAws
from simulated_aws.budgets import SimulatedBudget

pytestmark = pytest.mark.stack

FAMILIES = ("aws_budget_limit_usd", "aws_budget_actual_usd", "aws_budget_forecast_usd")


@contextmanager
def running(folder: Path, aws: SimulatedAws, **settings: Any) -> Iterator[InProcess]:
    config = organization(aws={"endpoint_url": aws.url}, collectors=collectors(budgets=settings))
    with in_process(folder, aws, config) as exporter:
        wait_for("it is ready", exporter.is_ready)
        yield exporter


def served(exporter: InProcess) -> dict[str, dict[str, float]]:
    """Values by budget and family."""
    found: dict[str, dict[str, float]] = {}
    samples = exporter.samples()
    for family in FAMILIES:
        for labels, value in samples.get(family, []):
            found.setdefault(labels["budget"], {})[family] = value
    return found


def left_out(exporter: InProcess) -> Mapping[str, float]:
    return {labels["reason"]: value for labels, value in exporter.samples().get("aws_budgets_left_out", [])}


def test_what_is_served_is_what_aws_holds_and_the_unknown_is_absent(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(accounts=4)
    prod, dev = aws.accounts[1], aws.accounts[2]
    aws.budgets.drawn = [
        SimulatedBudget("all", Decimal("812.345"), Decimal(1000), Decimal("1100.5")),
        SimulatedBudget("no forecast", Decimal(0), Decimal("0.5"), time_unit="DAILY", account_id=prod.id),
        SimulatedBudget(
            "newer", Decimal("-3.5"), Decimal(10), Decimal(12), time_unit="ANNUALLY",
            account_id=dev.id, expression=True,
        ),
        SimulatedBudget("just made", None, Decimal(5), time_unit="QUARTERLY", account_id="999988887777"),
        SimulatedBudget("yuan", Decimal(7), Decimal(8), Decimal(9), unit="CNY"),
        SimulatedBudget("hours", Decimal(7), Decimal(8), unit="Hrs", kind="USAGE"),
        SimulatedBudget("coverage", Decimal(70), Decimal(80), unit="PERCENTAGE", kind="RI_COVERAGE"),
    ]  # fmt: skip
    with running(tmp_path, aws) as exporter:
        limit, actual, forecast = FAMILIES
        assert served(exporter) == {
            "all": {limit: 1000, actual: 812.345, forecast: 1100.5},
            "no forecast": {limit: 0.5, actual: 0},
            "newer": {limit: 10, actual: -3.5, forecast: 12},
            "just made": {limit: 5},
        }
        assert left_out(exporter) == {"type": 2, "currency": 1, "series_limit": 0}
        about = {
            labels["budget"]: (labels["period"], labels.get("account_id"), labels.get("account"))
            for labels, _ in exporter.samples()[limit]
        }
        assert about == {
            "all": ("month", None, None),
            "no forecast": ("day", prod.id, prod.name),
            "newer": ("year", dev.id, dev.name),
            "just made": ("quarter", "999988887777", "999988887777"),
        }
        assert {(entry.region, entry.status) for entry in aws.requests.entries(service="budgets")} == {
            ("us-east-1", 200)
        }


def test_every_page_is_read_and_the_largest_are_served(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=2)
    aws.budgets.drawn = [
        SimulatedBudget(f"budget {number}", Decimal(number), Decimal(10 * number)) for number in range(250)
    ]
    with running(tmp_path, aws, series_limit=240) as exporter:
        assert aws.requests.count("budgets") == 3
        assert set(served(exporter)) == {f"budget {number}" for number in range(10, 250)}
        assert left_out(exporter) == {"type": 0, "currency": 0, "series_limit": 10}


@pytest.mark.fault("AWS Budgets denies", "access_denied, no budget is served")
def test_no_budget_is_told_from_an_answer_that_was_denied(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=2)
    aws.budgets.drawn = []
    denied = aws.faults.add("access_denied", service="budgets")
    with running(tmp_path, aws) as exporter:
        assert exporter.failures("budgets") == {aws.accounts[0].name: {"access_denied"}}
        assert (served(exporter), left_out(exporter)) == ({}, {})

        aws.faults.clear(denied)
        exporter.service.runner.collect_now(exporter.collector("budgets"))
        assert exporter.failures("budgets") == {}
        assert (served(exporter), left_out(exporter)) == ({}, {"type": 0, "currency": 0, "series_limit": 0})


@pytest.mark.parametrize(
    ("fault", "kind"), [("last_page_fails", "server_error"), ("malformed", "malformed_response")]
)
@pytest.mark.fault("a page of AWS Budgets fails", "the last whole answer is served")
def test_a_page_that_fails_leaves_the_last_whole_answer(
    make_aws: MakeAws, tmp_path: Path, fault: str, kind: str
) -> None:
    aws = make_aws(accounts=2)
    aws.budgets.drawn = [SimulatedBudget(str(number), Decimal(number)) for number in range(150)]
    with running(tmp_path, aws) as exporter:
        before = served(exporter)
        aws.budgets.drawn = [SimulatedBudget(str(number), Decimal(1)) for number in range(150)]
        aws.faults.add(fault, service="budgets")
        exporter.service.runner.collect_now(exporter.collector("budgets"))
        assert exporter.failures("budgets") == {aws.accounts[0].name: {kind}}
        assert served(exporter) == before
        assert len(before) == 150


def test_the_budgets_of_the_simulated_organization_are_those_of_its_cost(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(accounts=5)
    with running(tmp_path, aws) as exporter:
        today = aws.clock.now().date()
        spent = aws.truth.total(today.replace(day=1), today)
        whole = served(exporter)["organization"]["aws_budget_actual_usd"]
        assert whole >= float(round(spent, 3))
        assert len(served(exporter)) == 4
        assert left_out(exporter)["type"] == 1
