"""What AWS may answer about commitments, savings, budgets and anomalies, and how each collector reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from recording_endpoint import RecordingEndpoint, Request

from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import Meter
from exporter.aws.settings import CeilingSettings
from exporter.collectors import commitments, savings_opportunities
from exporter.collectors.budgets import ACTUAL, FORECAST, LIMIT, Budget, read_budget
from exporter.collectors.cost_anomaly_detection import attribute
from exporter.core.metric import Sample
from exporter.core.places import Target
from exporter.declarations.calls import Scale
from exporter.declarations.context import Context
from exporter.declarations.view import ViewContext
from exporter.ledger.file import Ledger

NOW = datetime(2026, 5, 17, 9, 30, tzinfo=UTC)
PAYER = Target("111122223333", "payer", "us-east-1", "aws")
RDS = commitments.SERVICES["rds"]
Answer = Mapping[str, Any] | str
"""What is answered, or the code of an error."""


class Wire:
    """AWS that answers each operation from a list, the last one again and again; and a ledger."""

    def __init__(self, endpoint: RecordingEndpoint, ledger: Ledger) -> None:
        self.ledger = ledger
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        endpoint.answer = self._answer
        meter = Meter(MemoryCharges(), CeilingSettings(), lambda: NOW, CollectorRegistry())
        self.aws = Aws(meter, endpoint_url=endpoint.url, simulated=True)

    def _answer(self, request: Request) -> tuple[int, str]:
        operation = request.headers["X-Amz-Target"].rpartition(".")[2]
        self.asked.append((operation, json.loads(request.body)))
        told = self.answers[operation]
        answer = told.pop(0) if len(told) > 1 else told[0]
        if isinstance(answer, str):
            return 400, json.dumps({"__type": answer, "message": "no"})
        return 200, json.dumps(answer)

    def context(self, settings: Any, clock: Callable[[], datetime] = lambda: NOW) -> Context[Any]:
        return Context(aws=self.aws, ledger=self.ledger, clock=clock, accounts={}, settings=settings)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Wire]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    endpoint, ledger = RecordingEndpoint(), Ledger(tmp_path / "ledger.sqlite")
    wire = Wire(endpoint, ledger)
    yield wire
    wire.aws.close()
    ledger.close()
    endpoint.close()


# Commitments

UTILIZATION = {
    "Total": {"Utilization": {"TotalCommitment": "100", "UsedCommitment": "75", "UnusedCommitment": "25"}}
}
COVERAGE = {
    "SavingsPlansCoverages": [{"Coverage": {"SpendCoveredBySavingsPlans": "60", "OnDemandCost": "20"}}]
}
PLANS_ONLY = commitments.CommitmentsSettings(reservations=())


def rendered(wire: Wire, settings: commitments.CommitmentsSettings, now: datetime = NOW) -> dict[str, float]:
    (view,) = commitments.COLLECTOR.views
    found = view.render(ViewContext(ledger=wire.ledger, now=now, settings=settings, names={}))
    return {each.family.name: each.value for each in found if isinstance(each, Sample)}


def test_use_that_is_known_is_told_also_where_coverage_is_not(wire: Wire) -> None:
    wire.answers = {
        "GetSavingsPlansUtilization": [UTILIZATION],
        "GetSavingsPlansCoverage": ["DataUnavailableException"],
    }
    commitments.collect(wire.context(PLANS_ONLY), PAYER)
    assert rendered(wire, PLANS_ONLY) == {
        "aws_commitment_utilization_ratio": 0.75,
        "aws_commitment_used_usd": 75,
        "aws_commitment_unused_usd": 25,
        "aws_commitment_data_through_timestamp_seconds": datetime(2026, 5, 16, tzinfo=UTC).timestamp(),
    }


@pytest.mark.fault(
    "Cost Explorer repeats a page token", "malformed_response after the page that repeats it, paid once"
)
def test_a_token_that_repeats_is_paid_once_and_not_for_ever(wire: Wire) -> None:
    wire.answers = {
        "GetSavingsPlansUtilization": [UTILIZATION],
        "GetSavingsPlansCoverage": [{**COVERAGE, "NextToken": "again"}],
    }
    with pytest.raises(AwsError, match="repeats a page token") as caught:
        commitments.collect(wire.context(PLANS_ONLY), PAYER)
    assert caught.value.kind is Kind.MALFORMED_RESPONSE
    assert [operation for operation, _ in wire.asked].count("GetSavingsPlansCoverage") == 2
    assert rendered(wire, PLANS_ONLY) == {}, "a part of an answer is no answer"


def test_a_service_that_is_named_twice_is_paid_once(wire: Wire) -> None:
    settings = commitments.CommitmentsSettings(savings_plans=False, reservations=("rds", "rds"))
    wire.answers = {"GetReservationUtilization": ["DataUnavailableException"]}
    commitments.collect(wire.context(settings), PAYER)
    assert [(operation, params["Filter"]["Dimensions"]["Values"]) for operation, params in wire.asked] == [
        ("GetReservationUtilization", [RDS])
    ]
    scale = Scale(1, 1, 1, 1, 2000)
    assert sum(call.per_month for call in commitments.paid_calls(settings, scale)) == 60


def test_each_kind_is_due_by_itself(wire: Wire) -> None:
    settings = commitments.CommitmentsSettings(reservations=("rds",))
    now = [NOW]
    context = wire.context(settings, lambda: now[0])
    assert commitments.due(context, PAYER) == NOW
    wire.answers = {
        "GetSavingsPlansUtilization": ["AccessDeniedException", "DataUnavailableException"],
        "GetReservationUtilization": ["DataUnavailableException"],
    }
    with pytest.raises(AwsError):
        commitments.collect(context, PAYER)
    now[0] = NOW + timedelta(hours=1)
    commitments.collect(context, PAYER)
    assert [operation for operation, _ in wire.asked] == [
        "GetSavingsPlansUtilization", "GetReservationUtilization", "GetSavingsPlansUtilization",
    ]  # fmt: skip
    assert commitments.due(context, PAYER) == NOW + settings.interval
    now[0] = NOW + settings.interval
    commitments.collect(context, PAYER)
    assert [operation for operation, _ in wire.asked[3:]] == ["GetReservationUtilization"]


# Single commitments

EACH_PLAN = commitments.CommitmentsSettings(reservations=(), each=True)
EACH_DATABASE = commitments.CommitmentsSettings(savings_plans=False, reservations=("rds",), each=True)
NO_COVERAGE: list[Answer] = ["DataUnavailableException"]


def plan_item(name: str, used: str = "3", **attributes: str) -> dict[str, Any]:
    return {
        "SavingsPlanArn": f"arn:aws:savingsplans::111122223333:savingsplan/{name}",
        "Attributes": attributes,
        "Utilization": {"TotalCommitment": "4", "UsedCommitment": used, "UnusedCommitment": "1"},
    }


def reservation_group(subscription: str, **attributes: str) -> dict[str, Any]:
    use = {
        "PurchasedHours": "24",
        "TotalActualHours": "12",
        "TotalAmortizedFee": "6",
        "RICostForUnusedHours": "3",
    }
    return {"Key": "SUBSCRIPTION_ID", "Value": subscription, "Attributes": attributes, "Utilization": use}


def singles(wire: Wire, settings: commitments.CommitmentsSettings) -> dict[str, dict[str, float]]:
    """The families of single commitments, each by its labels but the account's."""
    (view,) = commitments.COLLECTOR.views
    found: dict[str, dict[str, float]] = {}
    for each in view.render(ViewContext(ledger=wire.ledger, now=NOW, settings=settings, names={})):
        assert isinstance(each, Sample)
        labels = dict(zip(each.family.labels, each.values, strict=True))
        if identifier := labels.get("commitment_id"):
            found.setdefault(identifier, {})[each.family.name] = each.value
            assert labels["kind"] in ("savings_plans", "reservations")
    return found


def test_a_plan_that_a_moving_list_names_twice_counts_once(wire: Wire) -> None:
    wire.answers = {
        "GetSavingsPlansUtilizationDetails": [
            {"SavingsPlansUtilizationDetails": [plan_item("a"), plan_item("b")], "NextToken": "2"},
            {"SavingsPlansUtilizationDetails": [plan_item("b", used="2")]},
        ],
        "GetSavingsPlansCoverage": NO_COVERAGE,
    }
    commitments.collect(wire.context(EACH_PLAN), PAYER)
    assert {name: found["aws_commitment_used_by_id_usd"] for name, found in singles(wire, EACH_PLAN).items()} == {
        "a": 3, "b": 2,
    }  # fmt: skip
    assert rendered(wire, EACH_PLAN)["aws_commitment_used_usd"] == 5
    # It is asked for the whole of the days, which has no granularity.
    assert all("Granularity" not in params for operation, params in wire.asked if "Details" in operation)


def test_a_plan_without_attributes_is_of_the_account_in_its_arn_and_has_no_expiry(wire: Wire) -> None:
    wire.answers = {
        "GetSavingsPlansUtilizationDetails": [{"SavingsPlansUtilizationDetails": [plan_item("a")]}],
        "GetSavingsPlansCoverage": NO_COVERAGE,
    }
    commitments.collect(wire.context(EACH_PLAN), PAYER)
    assert set(singles(wire, EACH_PLAN)["a"]) == {
        "aws_commitment_utilization_by_id_ratio",
        "aws_commitment_used_by_id_usd",
        "aws_commitment_unused_by_id_usd",
        "aws_commitment_info",
    }


@pytest.mark.parametrize(
    "attributes",
    [{"EndDateTime": "soon"}, {"EndDateTime": "2026-06-01T00:00:00"}],
    ids=["no time", "no zone"],
)
def test_an_end_that_is_no_time_is_a_malformed_answer(wire: Wire, attributes: dict[str, str]) -> None:
    item = plan_item("a", **attributes)
    wire.answers = {"GetSavingsPlansUtilizationDetails": [{"SavingsPlansUtilizationDetails": [item]}]}
    with pytest.raises(AwsError) as caught:
        commitments.collect(wire.context(EACH_PLAN), PAYER)
    assert caught.value.kind is Kind.MALFORMED_RESPONSE
    assert singles(wire, EACH_PLAN) == {}


def test_reservations_are_named_by_their_lease_unless_it_has_several(wire: Wire) -> None:
    groups = [
        reservation_group("1", leaseId="ri-1", startDateTime="2023-06-02T00:00:00.000Z",
                          endDateTime="2026-06-01T23:59:59.000Z"),
        reservation_group("2", leaseId="ri-2"),
        reservation_group("3", leaseId="ri-2"),
        reservation_group("4"),
    ]  # fmt: skip
    times = [{"Groups": groups, "Total": {}, "TimePeriod": {}}]
    wire.answers = {
        "GetReservationUtilization": [{"UtilizationsByTime": times}],
        "GetReservationCoverage": NO_COVERAGE,
    }
    commitments.collect(wire.context(EACH_DATABASE), PAYER)
    found = singles(wire, EACH_DATABASE)
    assert set(found) == {"ri-1", "2", "3", "4"}
    assert found["ri-1"]["aws_commitment_expiry_timestamp_seconds"] == 1780358399
    assert rendered(wire, EACH_DATABASE)["aws_commitment_unused_usd"] == 12
    ((_, asked), _) = wire.asked
    assert asked["GroupBy"] == [{"Type": "DIMENSION", "Key": "SUBSCRIPTION_ID"}]
    assert "Granularity" not in asked


# Savings


def recommendation(number: str, usd: float, currency: str = "USD") -> dict[str, Any]:
    return {
        "recommendationId": number,
        "accountId": "444455556666",
        "region": "eu-west-1",
        "currentResourceType": "Ec2Instance",
        "actionType": "Stop",
        "estimatedMonthlySavings": usd,
        "currencyCode": currency,
    }


def saved(wire: Wire, *pages: list[dict[str, Any]], **summary: Any) -> dict[str, float]:
    more = [{"nextToken": str(number)} for number in range(1, len(pages))] + [{}]
    wire.answers = {
        "ListRecommendations": [{"items": page, **token} for page, token in zip(pages, more, strict=True)],
        "ListRecommendationSummaries": [summary],
    }
    found = savings_opportunities.collect(
        wire.context(savings_opportunities.SavingsOpportunitiesSettings()), PAYER
    )
    return {each.family.name: each.value for each in found if isinstance(each, Sample)}


def test_a_recommendation_that_moves_to_the_next_page_counts_once(wire: Wire) -> None:
    first, second = [recommendation("1", 10.1), recommendation("2", 0.2)], [recommendation("2", 0.2)]
    assert saved(wire, first, second, estimatedTotalDedupedSavings=9.3, currencyCode="USD") == {
        "aws_savings_opportunity_deduplicated_usd": 9.3,
        "aws_savings_opportunity_usd": 10.3,
    }


def test_a_total_that_is_not_told_is_absent_and_not_zero(wire: Wire) -> None:
    assert saved(wire, [recommendation("1", 0.0, "EUR")]) == {"aws_savings_opportunity_usd": 0.0}


@pytest.mark.parametrize("currency", ["EUR", None])
def test_savings_are_dollars(wire: Wire, currency: str | None) -> None:
    with pytest.raises(AwsError) as caught:
        saved(wire, [recommendation("1", 5.0)], estimatedTotalDedupedSavings=5.0, currencyCode=currency)
    assert caught.value.kind is Kind.CURRENCY


# Budgets


def spend(amount: str, unit: str = "USD") -> dict[str, str]:
    return {"Amount": amount, "Unit": unit}


def budget(**more: Any) -> dict[str, Any]:
    return {"BudgetName": "b", "BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": spend("5"), **more}


def linked(*accounts: str) -> dict[str, Any]:
    return {"Dimensions": {"Key": "LINKED_ACCOUNT", "Values": list(accounts)}}


@pytest.mark.parametrize(
    ("more", "account_id"),
    [
        ({}, ""),
        ({"CostFilters": {"LinkedAccount": ["1"]}}, "1"),
        ({"CostFilters": {"LinkedAccount": ["1", "2"]}}, ""),
        ({"CostFilters": {"Service": ["Amazon RDS"]}}, ""),
        ({"FilterExpression": linked("1")}, "1"),
        ({"FilterExpression": linked("1"), "CostFilters": {"LinkedAccount": ["1"]}}, "1"),
        ({"FilterExpression": {"Dimensions": {"Key": "SERVICE", "Values": ["Amazon RDS"]}}}, ""),
        ({"FilterExpression": {"And": [{"Dimensions": {"Key": "SERVICE", "Values": ["x"]}}, linked("1")]}}, "1"),
        ({"FilterExpression": {"Not": linked("1")}}, ""),
        ({"FilterExpression": {"Or": [linked("1"), {"Dimensions": {"Key": "SERVICE", "Values": ["x"]}}]}}, ""),
    ],
)  # fmt: skip
def test_a_budget_is_of_an_account_if_its_filter_names_that_one_alone(
    more: dict[str, Any], account_id: str
) -> None:
    assert read_budget(budget(**more)) == Budget("b", "month", account_id, {LIMIT: Decimal(5)})


def test_what_a_budget_does_not_say_is_unknown() -> None:
    spent = {"ActualSpend": spend("7.25"), "ForecastedSpend": spend("9")}
    found = read_budget(budget(BudgetLimit=None, TimeUnit="CUSTOM", CalculatedSpend=spent))
    assert found == Budget("b", "custom", "", {ACTUAL: Decimal("7.25"), FORECAST: Decimal(9)})
    assert isinstance(found, Budget)
    assert found.size == Decimal("7.25"), "without a limit, what is spent tells its size"


def test_a_budget_whose_amounts_are_not_all_dollars_is_left_out() -> None:
    assert read_budget(budget(CalculatedSpend={"ActualSpend": spend("7", "EUR")})) == "currency"


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "much", None])
def test_a_budget_of_no_number_is_an_error(amount: Any) -> None:
    with pytest.raises(AwsError) as caught:
        read_budget(budget(BudgetLimit=spend(amount)))
    assert caught.value.kind is Kind.MALFORMED_RESPONSE


# Anomalies


def test_what_rounding_leaves_goes_to_the_largest_cause_and_more_stays_unattributed() -> None:
    one, two = ("1", "Tax"), ("2", "Tax")
    causes = [(one, Decimal("60.004")), (two, Decimal("39.991"))]
    assert attribute(Decimal(100), causes) == {one: Decimal("60.009"), two: Decimal("39.991")}
    assert attribute(Decimal("100.005"), causes) == {
        one: Decimal("60.004"),
        two: Decimal("39.991"),
        ("", "Tax"): Decimal("0.010"),
    }


def test_causes_of_one_account_and_service_add_up() -> None:
    """As those of several regions do."""
    one, two = ("1", "Tax"), ("2", "EC2")
    causes = [(one, Decimal(3)), (one, Decimal(4)), (two, None)]
    assert attribute(Decimal(10), causes) == {one: Decimal(7), ("", ""): Decimal(3)}
