"""Commitments and recommendations answer in the shapes and with the limits that AWS documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from botocore.model import ListShape, Shape, StructureShape
from simulated_calls import NOW, Client, error_code

from simulated_aws import SimulatedAws
from simulated_aws.wire import AwsCall

TODAY = NOW.date()
PERIOD = {
    "Start": (TODAY - timedelta(days=40)).isoformat(),
    "End": (TODAY - timedelta(days=1)).isoformat(),
}
DATABASES = {"Dimensions": {"Key": "SERVICE", "Values": ["Amazon Relational Database Service"]}}
RESERVED: dict[str, Any] = {"TimePeriod": PERIOD, "Granularity": "MONTHLY", "Filter": DATABASES}

EACH_RESERVED: dict[str, Any] = {
    "TimePeriod": PERIOD,
    "Filter": DATABASES,
    "GroupBy": [{"Type": "DIMENSION", "Key": "SUBSCRIPTION_ID"}],
}


def _answered(aws: SimulatedAws, service: str, operation: str, params: dict[str, Any]) -> dict[str, Any]:
    """What is answered before any SDK leaves out what it does not know."""
    call = AwsCall(service, operation, "us-east-1", "", "json", b"", "", "", {})
    call.account_id, call.params = aws.payer_id, params
    return aws.commitments.answer(call) if service == "ce" else aws.optimization_hub.answer(call)


def _unknown(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """Members that the service's model does not have."""
    if isinstance(shape, StructureShape):
        for name, item in value.items():
            if name in shape.members:
                yield from _unknown(shape.members[name], item, f"{path}.{name}")
            else:
                yield f"{path}.{name}"
    elif isinstance(shape, ListShape):
        for item in value:
            yield from _unknown(shape.member, item, path)


@pytest.mark.parametrize(
    ("service", "operation", "params"),
    [
        ("ce", "GetSavingsPlansUtilization", {"TimePeriod": PERIOD}),
        ("ce", "GetSavingsPlansUtilizationDetails", {"TimePeriod": PERIOD}),
        ("ce", "GetSavingsPlansCoverage", {"TimePeriod": PERIOD, "Granularity": "MONTHLY"}),
        ("ce", "GetReservationUtilization", RESERVED),
        ("ce", "GetReservationUtilization", EACH_RESERVED),
        ("ce", "GetReservationCoverage", {**RESERVED, "Metrics": ["Hour", "Cost"]}),
        ("cost-optimization-hub", "ListRecommendations", {}),
        ("cost-optimization-hub", "ListRecommendationSummaries", {"groupBy": "AccountId"}),
    ],
)
def test_answers_have_no_member_that_aws_does_not_have(
    aws: SimulatedAws, client: Client, service: str, operation: str, params: dict[str, Any]
) -> None:
    answer = _answered(aws, service, operation, params)
    shape = client(service).meta.service_model.operation_model(operation).output_shape
    assert list(_unknown(shape, answer, operation)) == []
    assert set(shape.required_members) <= set(answer)


@pytest.mark.parametrize(
    ("operation", "params", "code"),
    [
        ("get_savings_plans_utilization", {"End": TODAY.isoformat()}, "ValidationException"),
        ("get_savings_plans_coverage", {"End": TODAY.isoformat()}, "ValidationException"),
        ("get_savings_plans_utilization", {"End": PERIOD["Start"]}, "ValidationException"),
        ("get_savings_plans_utilization", {"Start": "2020-01-01"}, "ValidationException"),
        ("get_savings_plans_utilization_details", {"End": TODAY.isoformat()}, "ValidationException"),
        ("get_reservation_utilization", {"End": PERIOD["End"]}, "DataUnavailableException"),  # of EC2
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_as_documented(
    client: Client, operation: str, params: dict[str, str], code: str
) -> None:
    assert error_code(getattr(client("ce"), operation), TimePeriod=PERIOD | params) == code


def test_a_member_account_has_none(client: Client, assume: Any, aws: SimulatedAws) -> None:
    member = client("ce", assume(aws.organization.find("prod").id))
    assert error_code(member.get_savings_plans_utilization, TimePeriod=PERIOD) == "DataUnavailableException"


def test_days_are_told_two_days_late_and_pages_sum_up(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    late = ce.get_reservation_utilization(
        TimePeriod={"Start": (TODAY - timedelta(days=3)).isoformat(), "End": TODAY.isoformat()},
        Granularity="DAILY",
        Filter=DATABASES,
    )
    assert [each["TimePeriod"]["Start"] for each in late["UtilizationsByTime"]] == [
        (TODAY - timedelta(days=days)).isoformat() for days in (3, 2)
    ]
    found: list[str] = []
    token: dict[str, str] = {}
    while True:
        page = ce.get_savings_plans_coverage(TimePeriod=PERIOD, Granularity="DAILY", **token)
        found += [each["TimePeriod"]["Start"] for each in page["SavingsPlansCoverages"]]
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
    assert found == [(TODAY - timedelta(days=days)).isoformat() for days in range(40, 1, -1)]


def test_recommendations_are_one_for_each_resource_unless_all_are_asked_for(
    aws: SimulatedAws, client: Client
) -> None:
    hub = client("cost-optimization-hub", region_name="us-east-1")
    pages = hub.get_paginator("list_recommendations")
    one = [item for page in pages.paginate() for item in page["items"]]
    every = [item for page in pages.paginate(includeAllRecommendations=True) for item in page["items"]]
    assert len(one) < len(every) == len(aws.optimization_hub.recommendations)
    assert len({(item["accountId"], item["resourceId"]) for item in one}) == len(one)
    total = hub.list_recommendation_summaries(groupBy="ActionType")["estimatedTotalDedupedSavings"]
    assert total == pytest.approx(sum(item["estimatedMonthlySavings"] for item in one) - 12.5)


def _sums(items: list[Mapping[str, str]], *names: str) -> list[Decimal]:
    return [sum((Decimal(item[name]) for item in items), Decimal(0)) for name in names]


def test_single_plans_add_up_to_what_is_told_of_all(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    details: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        page = ce.get_savings_plans_utilization_details(TimePeriod=PERIOD, MaxResults=1, **token)
        details += page["SavingsPlansUtilizationDetails"]
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
    assert len({each["SavingsPlanArn"] for each in details}) == len(aws.commitments.plans) == 3
    names = ("TotalCommitment", "UsedCommitment", "UnusedCommitment")
    whole = ce.get_savings_plans_utilization(TimePeriod=PERIOD)["Total"]["Utilization"]
    assert _sums([each["Utilization"] for each in details], *names) == _sums([whole], *names)
    assert _sums([page["Total"]["Utilization"]], *names) == _sums([whole], *names)
    assert {each["Attributes"]["PaymentOption"] for each in details} == {
        "All Upfront", "No Upfront", "Partial Upfront",
    }  # fmt: skip


def test_single_reservations_add_up_to_what_is_told_of_all(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    groups: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        page = ce.get_reservation_utilization(**EACH_RESERVED, MaxResults=1, **token)
        groups += page["UtilizationsByTime"][0]["Groups"]
        if not page.get("NextPageToken"):
            break
        token = {"NextPageToken": page["NextPageToken"]}
    names = ("PurchasedHours", "TotalActualHours", "TotalAmortizedFee", "RICostForUnusedHours")
    whole = ce.get_reservation_utilization(**RESERVED)["Total"]
    assert len(groups) == 2
    assert _sums([each["Utilization"] for each in groups], *names) == _sums([whole], *names)
    assert {each["Value"] for each in groups} == {each["Attributes"]["subscriptionId"] for each in groups}
    assert error_code(ce.get_reservation_utilization, **EACH_RESERVED, Granularity="DAILY") == (
        "ValidationException"
    )


def test_a_commitment_counts_on_the_days_of_its_term_only(aws: SimulatedAws, client: Client) -> None:
    held = aws.commitments.plans
    ends = NOW - timedelta(days=5)
    aws.commitments.plans = [
        replace(held[0], end=ends, commitment=Decimal(7), unused=Decimal(1)),
        replace(held[1], start=NOW + timedelta(days=1)),
    ]
    ce = client("ce")
    days = {"Start": (TODAY - timedelta(days=8)).isoformat(), "End": (TODAY - timedelta(days=1)).isoformat()}
    (only,) = ce.get_savings_plans_utilization_details(TimePeriod=days)["SavingsPlansUtilizationDetails"]
    assert _sums([only["Utilization"]], "TotalCommitment", "UnusedCommitment") == [21, 3]
    assert only["Attributes"]["Status"] == "Retired"
    later = days | {"Start": (TODAY - timedelta(days=4)).isoformat()}
    code = error_code(ce.get_savings_plans_utilization_details, TimePeriod=later)
    aws.commitments.plans = held
    assert code == "DataUnavailableException"
