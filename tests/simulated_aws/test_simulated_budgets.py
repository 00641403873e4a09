"""AWS Budgets and Cost Anomaly Detection as an SDK sees them: shapes, pages and refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError
from simulated_calls import NOW, Client

from simulated_aws import SimulatedAws
from simulated_aws.anomaly_detection import RootCause, SimulatedAnomaly
from simulated_aws.budgets import SimulatedBudget

TODAY = NOW.date()


@pytest.fixture(autouse=True)
def drawn(aws: SimulatedAws) -> Iterator[None]:
    yield
    aws.budgets.drawn = aws.anomaly_detection.drawn = None


def refused(call: Callable[..., Any], **params: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**params)
    return str(caught.value.response["Error"]["Code"])


def test_budgets_come_in_pages_that_only_their_own_request_continues(
    aws: SimulatedAws, client: Client
) -> None:
    budgets = client("budgets")
    aws.budgets.drawn = [SimulatedBudget(str(number), Decimal(number), Decimal(9)) for number in range(5)]
    pages = budgets.get_paginator("describe_budgets").paginate(
        AccountId=aws.payer_id, PaginationConfig={"PageSize": 2}
    )
    found = [[budget["BudgetName"] for budget in page["Budgets"]] for page in pages]
    assert found == [["0", "1"], ["2", "3"], ["4"]]

    first = budgets.describe_budgets(AccountId=aws.payer_id, MaxResults=2)
    assert first["Budgets"][1]["CalculatedSpend"] == {"ActualSpend": {"Amount": "1", "Unit": "USD"}}
    token = first["NextToken"]
    refusals = {
        refused(budgets.describe_budgets, AccountId=aws.payer_id, MaxResults=2, NextToken="x"),
        refused(budgets.describe_budgets, AccountId=aws.payer_id, MaxResults=3, NextToken=token),
    }
    assert refusals == {"InvalidNextTokenException"}
    assert refused(budgets.describe_budgets, AccountId=aws.accounts[1].id) == "AccessDeniedException"


def test_an_account_of_the_organization_has_neither_budgets_nor_anomalies(
    aws: SimulatedAws, client: Client, assume: Callable[..., dict[str, Any]]
) -> None:
    member = aws.accounts[1].id
    keys = assume(member)
    aws.anomaly_detection.drawn = [SimulatedAnomaly("a", TODAY, TODAY, 1.0)]
    assert client("budgets", keys).describe_budgets(AccountId=member)["Budgets"] == []
    asked = {"StartDate": TODAY.isoformat()}
    assert client("ce", keys).get_anomalies(DateInterval=asked)["Anomalies"] == []
    assert len(client("ce").get_anomalies(DateInterval=asked)["Anomalies"]) == 1


def test_anomalies_are_chosen_by_their_end_and_come_in_pages(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    account = aws.accounts[1]
    aws.anomaly_detection.drawn = [
        SimulatedAnomaly(
            str(number),
            TODAY - timedelta(days=30),
            TODAY - timedelta(days=number),
            2.5,
            (RootCause(account.id, "AWS Lambda", 2.5),),
        )
        for number in range(6)
    ]
    interval = {
        "StartDate": (TODAY - timedelta(days=4)).isoformat(),
        "EndDate": (TODAY - timedelta(days=1)).isoformat(),
    }
    first = ce.get_anomalies(DateInterval=interval, MaxResults=3)
    second = ce.get_anomalies(DateInterval=interval, MaxResults=3, NextPageToken=first["NextPageToken"])
    assert [a["AnomalyId"] for a in first["Anomalies"] + second["Anomalies"]] == ["1", "2", "3", "4"]
    assert "NextPageToken" not in second
    (cause,) = first["Anomalies"][0]["RootCauses"]
    assert (cause["LinkedAccount"], cause["LinkedAccountName"], cause["Impact"]) == (
        account.id,
        account.name,
        {"Contribution": 2.5},
    )
    old = {"StartDate": (TODAY - timedelta(days=91)).isoformat()}
    assert refused(ce.get_anomalies, DateInterval=old) == "ValidationException"
    assert refused(ce.get_anomalies, DateInterval={"StartDate": "yesterday"}) == "ValidationException"
    assert refused(ce.get_anomalies, DateInterval=interval, NextPageToken="x") == "InvalidNextTokenException"
