"""Cost Explorer answers as botocore's model and AWS's documentation say."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_calls import (
    BY_ACCOUNT,
    BY_RECORD_TYPE,
    BY_SERVICE,
    NOW,
    Client,
    client_of,
    pages,
    query,
    send,
    summed,
)
from simulated_calls import (
    error_code as code,
)

from simulated_aws import METRICS, ExplicitCost, OrganizationSpec, SimulatedAws


def test_the_sum_of_all_pages_is_the_truth(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    aws.cost_explorer.settings.groups_per_page = 100
    for metric in METRICS:
        params = query("2026-03-10", "2026-03-18", BY_ACCOUNT, BY_SERVICE, Metrics=[metric])
        assert summed(ce, metric, **params) == aws.truth.totals(
            date(2026, 3, 10), date(2026, 3, 18), metric=metric
        )


def test_a_service_of_an_account_is_told_by_usage_type_and_operation(
    aws: SimulatedAws, client: Client
) -> None:
    account = aws.accounts[1].id
    service = "Amazon Elastic Compute Cloud - Compute"
    by = ({"Type": "DIMENSION", "Key": "USAGE_TYPE"}, {"Type": "DIMENSION", "Key": "OPERATION"})
    chosen = {
        "And": [
            {"Dimensions": {"Key": "LINKED_ACCOUNT", "Values": [account]}},
            {"Dimensions": {"Key": "SERVICE", "Values": [service]}},
            {"Dimensions": {"Key": "OPERATION", "Values": ["RunInstances", "RunInstances:SV001"]}},
        ]
    }

    def asked() -> dict[tuple[str, ...], Decimal]:
        return summed(client("ce"), **query("2026-03-10", "2026-03-11", *by, Filter=chosen))

    before = asked()
    assert {(usage_type.rpartition("-")[2], operation) for usage_type, operation in before} == {
        ("BoxUsage:m6i.large", "RunInstances"),
        ("SpotUsage:c6g.xlarge", "RunInstances:SV001"),
    }
    truth = aws.truth.totals(
        date(2026, 3, 10),
        date(2026, 3, 11),
        by=("usage_type",),
        where=lambda key: (key.account_id, key.service) == (account, service),
    )
    assert {(usage_type,): usd for (usage_type, _), usd in before.items()} == truth
    aws.inject_spike(account, service, 3, since=date(2026, 3, 10), days=1)
    assert {key: float(usd) for key, usd in asked().items()} == pytest.approx(
        {key: float(usd) * 3 for key, usd in before.items()}, rel=1e-6
    )


def test_a_page_end_splits_a_day_and_an_empty_page_has_a_token(client: Client) -> None:
    found = list(pages(client("ce"), **query("2026-03-01", "2026-03-06", BY_ACCOUNT, BY_SERVICE)))
    days = [[line["TimePeriod"]["Start"] for line in page["ResultsByTime"]] for page in found]
    assert any(before[-1:] == after[:1] != [] for before, after in itertools.pairwise(days))
    sizes = [sum(len(line["Groups"]) for line in page["ResultsByTime"]) for page in found]
    assert max(sizes) == 7
    seen = [(line["TimePeriod"]["Start"], *group["Keys"]) for page in found for line in page["ResultsByTime"]
            for group in line["Groups"]]  # fmt: skip
    assert len(seen) == len(set(seen))


def test_some_queries_have_an_empty_page_in_the_middle(aws: SimulatedAws, client: Client) -> None:
    aws.cost_explorer.settings.groups_per_page = 3
    found = list(pages(client("ce"), **query("2026-03-01", "2026-03-02", BY_ACCOUNT)))
    empty = [page for page in found if not page["ResultsByTime"]]
    assert len(empty) == 1
    assert empty[0]["NextPageToken"]


def test_the_end_is_exclusive_and_months_are_cut_at_the_period(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    daily = ce.get_cost_and_usage(**query("2026-03-10", "2026-03-12"))["ResultsByTime"]
    assert [line["TimePeriod"] for line in daily] == [
        {"Start": "2026-03-10", "End": "2026-03-11"},
        {"Start": "2026-03-11", "End": "2026-03-12"},
    ]
    monthly = ce.get_cost_and_usage(**query("2026-01-15", "2026-03-10", Granularity="MONTHLY"))[
        "ResultsByTime"
    ]
    assert [line["TimePeriod"] for line in monthly] == [
        {"Start": "2026-01-15", "End": "2026-02-01"},
        {"Start": "2026-02-01", "End": "2026-03-01"},
        {"Start": "2026-03-01", "End": "2026-03-10"},
    ]
    assert [line["Estimated"] for line in monthly] == [False, False, True]
    assert [Decimal(line["Total"]["UnblendedCost"]["Amount"]) for line in monthly] == [
        aws.truth.total(date(2026, 1, 15), date(2026, 2, 1)),
        aws.truth.total(date(2026, 2, 1), date(2026, 3, 1)),
        aws.truth.total(date(2026, 3, 1), date(2026, 3, 10)),
    ]


def test_total_is_empty_with_groups_and_groups_are_empty_without(client: Client) -> None:
    ce = client("ce")
    grouped = ce.get_cost_and_usage(**query("2026-03-10", "2026-03-11", BY_RECORD_TYPE))["ResultsByTime"][0]
    total = ce.get_cost_and_usage(**query("2026-03-10", "2026-03-11"))["ResultsByTime"][0]
    assert grouped["Total"] == {}
    assert grouped["Groups"]
    assert total["Groups"] == []
    assert total["Total"]["UnblendedCost"]["Unit"] == "USD"
    assert isinstance(total["Total"]["UnblendedCost"]["Amount"], str)


def test_account_names_come_as_dimension_attributes(aws: SimulatedAws, client: Client) -> None:
    found = {}
    for page in pages(client("ce"), **query("2026-03-10", "2026-03-11", BY_SERVICE, BY_ACCOUNT)):
        for entry in page["DimensionValueAttributes"]:
            found[entry["Value"]] = entry["Attributes"]["description"]
    assert found
    assert found.items() <= {account.id: account.name for account in aws.accounts}.items()


def test_a_month_is_estimated_until_its_bill_closes(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")

    def estimated() -> bool:
        return bool(
            ce.get_cost_and_usage(**query("2026-02-10", "2026-02-11"))["ResultsByTime"][0]["Estimated"]
        )

    aws.clock.set(datetime(2026, 3, 2, 12, tzinfo=UTC))
    open_total = aws.truth.total(date(2026, 2, 1), date(2026, 3, 1))
    assert estimated()
    aws.clock.set(datetime(2026, 3, 8, tzinfo=UTC))
    assert not estimated()
    assert aws.truth.total(date(2026, 2, 1), date(2026, 3, 1)) != open_total


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"TimePeriod": {"Start": "2026-03-10", "End": "2026-03-10"}}, "ValidationException"),
        ({"TimePeriod": {"Start": "2026-03-11", "End": "2026-03-10"}}, "ValidationException"),
        ({"TimePeriod": {"Start": "2026-03-18", "End": "2026-03-19"}}, "ValidationException"),
        ({"TimePeriod": {"Start": "2026-03-18", "End": "2026-04-02"}}, "ValidationException"),
        ({"TimePeriod": {"Start": "2025-01-31", "End": "2025-02-02"}}, "ValidationException"),
        ({"TimePeriod": {"Start": "2026-02-30", "End": "2026-03-02"}}, "ValidationException"),
        ({"TimePeriod": {"Start": "yesterday", "End": "2026-03-02"}}, "ValidationException"),
        ({"Granularity": "HOURLY"}, "ValidationException"),
        ({"Granularity": "WEEKLY"}, "ValidationException"),
        ({"Metrics": ["Unblended"]}, "ValidationException"),
        ({"Metrics": []}, "ValidationException"),
        ({"GroupBy": [BY_ACCOUNT, BY_SERVICE, BY_RECORD_TYPE]}, "ValidationException"),
        ({"GroupBy": [{"Type": "DIMENSION", "Key": "COLOUR"}]}, "ValidationException"),
        ({"GroupBy": [{"Type": "COST_CATEGORY", "Key": "Nothing"}]}, "ValidationException"),
        ({"Filter": {}}, "ValidationException"),
        ({"Filter": {"Dimensions": {"Key": "COLOUR", "Values": ["red"]}}}, "ValidationException"),
        ({"Filter": {"And": [{"Tags": {"Key": "team", "Values": ["x"]}}]}}, "ValidationException"),
        ({"NextPageToken": "bm90IGEgdG9rZW4="}, "InvalidNextTokenException"),
        ({"NextPageToken": "?"}, "InvalidNextTokenException"),
        ({"Metrics": "UnblendedCost"}, "SerializationException"),
        ({"Colour": "red"}, "ValidationException"),
        ({"TimePeriod": {"Start": "2026-03-10"}}, "ValidationException"),
    ],
)
def test_wrong_input_is_refused_with_the_documented_code(
    aws: SimulatedAws, change: dict[str, Any], expected: str
) -> None:
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "AWSInsightsIndexService.GetCostAndUsage",
    }
    body = json.dumps(query("2026-03-10", "2026-03-11") | change).encode()
    answer = send(aws, "ce", headers, body)
    assert (answer.status, answer.json()["__type"]) == (400, expected)


def test_the_oldest_day_and_the_last_end_are_accepted(client: Client) -> None:
    ce = client("ce")
    answer = ce.get_cost_and_usage(**query("2025-02-01", "2026-04-01", Granularity="MONTHLY"))
    assert len(answer["ResultsByTime"]) == 14


def test_months_by_two_keys_follow_what_is_restated(aws: SimulatedAws, client: Client) -> None:
    """All fourteen months that are answered for, by account and service, over several pages."""
    ce = client("ce")
    first, end = date(2025, 2, 1), date(2026, 3, 10)
    asked = query(first.isoformat(), end.isoformat(), BY_ACCOUNT, BY_SERVICE, Granularity="MONTHLY")

    def answered() -> dict[tuple[str, ...], Decimal]:
        found: dict[tuple[str, ...], Decimal] = {}
        token: dict[str, str] = {}
        while True:
            page = ce.get_cost_and_usage(**asked, **token)
            for line in page["ResultsByTime"]:
                for group in line["Groups"]:
                    key = (line["TimePeriod"]["Start"][:7], *group["Keys"])
                    assert key not in found
                    found[key] = Decimal(group["Metrics"]["UnblendedCost"]["Amount"])
            if "NextPageToken" not in page:
                return found
            token = {"NextPageToken": page["NextPageToken"]}

    before = answered()
    assert before == aws.truth.totals(first, end, by=("month", "account", "service"))
    account = next(account for account in aws.accounts if account.name.startswith("prod"))
    change = aws.restate(account.id, "Amazon EC2", date(2025, 6, 17), factor=2)
    after = answered()
    assert after == aws.truth.totals(first, end, by=("month", "account", "service"))
    assert {key for key in after if after[key] != before[key]} == {("2025-06", account.id, change.service)}


def test_a_token_is_bound_to_its_parameters(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    asked = query("2026-03-01", "2026-03-06", BY_ACCOUNT, BY_SERVICE)
    token = ce.get_cost_and_usage(**asked)["NextPageToken"]
    other = query("2026-03-01", "2026-03-07", BY_ACCOUNT, BY_SERVICE)
    assert code(ce.get_cost_and_usage, **other, NextPageToken=token) == "RequestChangedException"
    assert ce.get_cost_and_usage(**asked, NextPageToken=token)["ResultsByTime"]


def test_data_that_moves_between_pages_is_frozen_or_refused(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    asked = query("2026-03-10", "2026-03-16", BY_ACCOUNT, BY_SERVICE)
    before = aws.truth.totals(date(2026, 3, 10), date(2026, 3, 16))
    first = ce.get_cost_and_usage(**asked)
    aws.inject_spike("prod", "Amazon EC2", 5, since=date(2026, 3, 1))
    sums = {tuple(g["Keys"]): Decimal(0) for g in first["ResultsByTime"][0]["Groups"]}
    page = first
    while True:
        for line in page["ResultsByTime"]:
            for group in line["Groups"]:
                keys = tuple(group["Keys"])
                sums[keys] = sums.get(keys, Decimal(0)) + Decimal(group["Metrics"]["UnblendedCost"]["Amount"])
        if not page.get("NextPageToken"):
            break
        page = ce.get_cost_and_usage(**asked, NextPageToken=page["NextPageToken"])
    assert sums == before
    aws.cost_explorer.settings.changed_data = True
    token = first["NextPageToken"]
    assert code(ce.get_cost_and_usage, **asked, NextPageToken=token) == "RequestChangedException"


def test_filters_combine(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    prod, staging = aws.accounts[1].id, aws.accounts[2].id
    wanted = {
        "And": [
            {"Or": [{"Dimensions": {"Key": "LINKED_ACCOUNT", "Values": [prod]}},
                    {"Dimensions": {"Key": "LINKED_ACCOUNT", "Values": [staging]}}]},
            {"Not": {"Dimensions": {"Key": "RECORD_TYPE", "Values": ["Tax", "Credit"]}}},
        ]
    }  # fmt: skip
    assert summed(ce, **query("2026-03-01", "2026-03-05", BY_SERVICE, Filter=wanted)) == aws.truth.totals(
        date(2026, 3, 1),
        date(2026, 3, 5),
        by=("service",),
        where=lambda key: key.account_id in (prod, staging) and key.record_type not in ("Tax", "Credit"),
    )


def test_tags_and_cost_categories_group_with_their_name(client: Client) -> None:
    ce = client("ce")
    teams = summed(ce, **query("2026-03-10", "2026-03-11", {"Type": "TAG", "Key": "team"}))
    assert ("team$",) in teams
    assert ("team$checkout",) in teams
    centers = summed(ce, **query("2026-03-10", "2026-03-11", {"Type": "COST_CATEGORY", "Key": "CostCenter"}))
    assert {("CostCenter$Shop",), ("CostCenter$Analytics",)} <= set(centers)
    assert sum(teams.values()) == sum(centers.values())
    found = ce.get_tags(TimePeriod={"Start": "2026-03-10", "End": "2026-03-11"})["Tags"]
    assert found == ["environment", "team"]


def test_dimension_values_are_paged(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    asked: dict[str, Any] = {
        "TimePeriod": {"Start": "2026-03-10", "End": "2026-03-12"}, "Dimension": "LINKED_ACCOUNT"
    }  # fmt: skip
    values, token = [], None
    while True:
        page = ce.get_dimension_values(**asked, **({"NextPageToken": token} if token else {}))
        values += page["DimensionValues"]
        token = page.get("NextPageToken")
        if not token:
            break
    assert {v["Value"]: v["Attributes"]["description"] for v in values} == {
        account.id: account.name for account in aws.accounts if account.state == "ACTIVE"
    }
    assert (
        code(ce.get_dimension_values, **(asked | {"Dimension": "LINKED_ACCOUNT_NAME"}))
        == "ValidationException"
    )


def test_a_linked_account_sees_only_itself(aws: SimulatedAws, client: Client, assume: Client) -> None:
    prod = aws.accounts[1].id
    ce = client("ce", assume(prod))
    assert set(summed(ce, **query("2026-03-10", "2026-03-11", BY_ACCOUNT))) == {(prod,)}
    aws.cost_explorer.settings.disabled.add(prod)
    assert code(ce.get_cost_and_usage, **query("2026-03-10", "2026-03-11")) == "AccessDeniedException"


def test_another_currency_shows_in_the_unit(aws: SimulatedAws, client: Client) -> None:
    aws.cost_explorer.settings.currency = "CNY"
    total = client("ce").get_cost_and_usage(**query("2026-03-10", "2026-03-11"))["ResultsByTime"][0]["Total"]
    assert total["UnblendedCost"]["Unit"] == "CNY"


def test_a_forecast_continues_the_last_weeks(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    asked: dict[str, Any] = {
        "TimePeriod": {"Start": "2026-03-17", "End": "2026-04-01"},
        "Metric": "UNBLENDED_COST",
        "Granularity": "MONTHLY",
        "PredictionIntervalLevel": 80,
    }
    answer = ce.get_cost_forecast(**asked)
    (month,) = answer["ForecastResultsByTime"]
    mean = Decimal(month["MeanValue"])
    low, high = (Decimal(month[f"PredictionInterval{side}Bound"]) for side in ("Lower", "Upper"))
    assert low < mean < high
    assert answer["Total"] == {"Amount": month["MeanValue"], "Unit": "USD"}
    fortnight = aws.truth.total(date(2026, 3, 2), date(2026, 3, 16))
    assert fortnight / 14 * 15 == pytest.approx(mean, rel=Decimal("0.15"))
    daily = ce.get_cost_forecast(**(asked | {"Granularity": "DAILY"}))["ForecastResultsByTime"]
    assert len(daily) == 15
    for change in (
        {"Metric": "UnblendedCost"},
        {"TimePeriod": {"Start": "2026-03-16", "End": "2026-04-01"}},
        {"TimePeriod": {"Start": "2026-03-17", "End": "2026-07-01"}, "Granularity": "DAILY"},
    ):
        assert code(ce.get_cost_forecast, **(asked | change)) == "ValidationException"


def test_a_young_organisation_has_no_forecast() -> None:
    with SimulatedAws(OrganizationSpec(seed=8, accounts=2, services=2, days=10, now=NOW)) as aws:
        ce = client_of(aws, "ce")
        period = {"Start": "2026-03-17", "End": "2026-04-01"}
        asked = {"TimePeriod": period, "Metric": "UNBLENDED_COST", "Granularity": "MONTHLY"}
        assert code(ce.get_cost_forecast, **asked) == "DataUnavailableException"
        ce.close()


@pytest.fixture(scope="module")
def drawn_aws() -> Iterator[tuple[SimulatedAws, Any]]:
    """An organisation whose cost the property tests draw, and a client."""
    with SimulatedAws(OrganizationSpec(seed=9, accounts=4, services=3, groups_per_page=3, now=NOW)) as aws:
        ce = client_of(aws, "ce")
        yield aws, ce
        ce.close()


FIRST = date(2026, 2, 25)
_amounts = st.integers(-(10**13), 10**13).map(lambda units: Decimal(units).scaleb(-10))
_moments = st.none() | st.integers(0, 20 * 24).map(lambda hours: NOW - timedelta(hours=hours))


def _rows(draw_account: list[str]) -> st.SearchStrategy[list[ExplicitCost]]:
    return st.lists(
        st.builds(
            ExplicitCost,
            day=st.integers(0, 20).map(lambda index: FIRST + timedelta(days=index)),
            account_id=st.sampled_from(draw_account),
            service=st.sampled_from(["AWS Lambda", "Amazon DynamoDB", "EC2 - Other", "Tax"]),
            amounts=_amounts.map(lambda amount: {"UnblendedCost": amount}),
            record_type=st.sampled_from(["Usage", "Tax", "Credit"]),
            visible_from=_moments,
            visible_until=_moments,
        ),
        max_size=30,
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data(), size=st.integers(1, 9), hours=st.integers(0, 480))
def test_any_drawn_truth_equals_the_sum_of_its_pages(
    drawn_aws: tuple[SimulatedAws, Any], data: st.DataObject, size: int, hours: int
) -> None:
    aws, ce = drawn_aws
    rows = data.draw(_rows([account.id for account in aws.accounts]))
    aws.set_costs(rows)
    aws.clock.set(NOW - timedelta(hours=hours))
    aws.cost_explorer.settings.groups_per_page = size
    today = aws.clock.now().date()
    start = min(FIRST, today)
    end = today + timedelta(days=1)
    by_api = summed(ce, **query(start.isoformat(), end.isoformat(), BY_ACCOUNT, BY_SERVICE))
    assert by_api == aws.truth.totals(start, end)
    expected: dict[tuple[str, str], Decimal] = {}
    for row in rows:
        seen = row.visible_from is None or row.visible_from <= aws.clock.now()
        gone = row.visible_until is not None and row.visible_until <= aws.clock.now()
        if start <= row.day < end and seen and not gone:
            key = (row.account_id, row.service)
            expected[key] = expected.get(key, Decimal(0)) + row.amounts["UnblendedCost"]
    assert by_api == expected


_YEARS = datetime(2025, 6, 1), datetime(2026, 12, 31)  # noqa: DTZ001 - hypothesis draws naive times


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(100, 10**6),
    accounts=st.integers(1, 6),
    services=st.integers(1, 8),
    size=st.integers(1, 40),
    now=st.datetimes(*_YEARS).map(lambda moment: moment.replace(tzinfo=UTC)),
)
def test_any_generated_truth_equals_the_sum_of_its_pages(
    seed: int, accounts: int, services: int, size: int, now: datetime
) -> None:
    spec = OrganizationSpec(seed, accounts, services, days=60, groups_per_page=size, now=now)
    with SimulatedAws(spec) as aws:
        ce = client_of(aws, "ce")
        start, end = now.date() - timedelta(days=3), now.date() + timedelta(days=1)
        by_api = summed(
            ce, **query(start.isoformat(), min(end, _month_end(now)).isoformat(), BY_ACCOUNT, BY_SERVICE)
        )
        assert by_api == aws.truth.totals(start, end)
        ce.close()


def _month_end(now: datetime) -> date:
    return (now.date().replace(day=28) + timedelta(days=4)).replace(day=1)
