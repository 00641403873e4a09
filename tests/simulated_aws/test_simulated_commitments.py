"""Commitments and recommendations answer in the shapes and with the limits that AWS documents."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
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
        ("ce", "GetSavingsPlansCoverage", {"TimePeriod": PERIOD, "Granularity": "MONTHLY"}),
        ("ce", "GetReservationUtilization", RESERVED),
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
