"""Tag backfills and cost category definitions are listed as AWS documents them, and change as a user changes them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
import requests
from simulated_calls import Client, error_code

from simulated_aws import SimulatedAws
from simulated_aws.cost_allocation import CostAllocation
from simulated_aws.wire import Tokens

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def fresh(aws: SimulatedAws) -> None:
    aws.cost_allocation = CostAllocation(aws.organization, aws.clock.now, Tokens())


def _all(call: Any, member: str, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        page = call(**params, **token)
        found += page[member]
        if not page.get("NextToken"):
            return found
        token = {"NextToken": page["NextToken"]}


def test_backfills_are_listed_newest_first_in_pages(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    assert ce.list_cost_allocation_tag_backfill_history()["BackfillRequests"] == []
    for month in (1, 2, 3):
        aws.cost_allocation.request_backfill(date(2026, month, 1))
        aws.clock.advance(DAY)
    listed = _all(ce.list_cost_allocation_tag_backfill_history, "BackfillRequests", MaxResults=1)
    assert [each["BackfillFrom"] for each in listed] == [f"2026-0{month}-01T00:00:00Z" for month in (3, 2, 1)]
    assert listed[-1] == {
        "BackfillFrom": "2026-01-01T00:00:00Z",
        "RequestedAt": "2026-03-17T14:20:00Z",
        "CompletedAt": "2026-03-17T14:20:00Z",
        "LastUpdatedAt": "2026-03-17T14:20:00Z",
        "BackfillStatus": "SUCCEEDED",
    }


def test_a_backfill_is_processed_until_it_ends(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    aws.cost_allocation.request_backfill(date(2025, 4, 1), status="FAILED", takes=timedelta(hours=2))
    (before,) = ce.list_cost_allocation_tag_backfill_history()["BackfillRequests"]
    assert (before["BackfillStatus"], "CompletedAt" in before) == ("PROCESSING", False)
    aws.clock.advance(timedelta(hours=2))
    (after,) = ce.list_cost_allocation_tag_backfill_history()["BackfillRequests"]
    assert (after["BackfillStatus"], after["CompletedAt"]) == ("FAILED", "2026-03-17T16:20:00Z")


def test_a_category_has_its_rules_and_a_change_replaces_them(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    (before,) = ce.list_cost_category_definitions()["CostCategoryReferences"]
    assert (before["Name"], before["NumberOfRules"]) == ("CostCenter", 3)
    assert before["Values"] == ["Shop", "Analytics", "Overhead"]
    arn = before["CostCategoryArn"]
    old = ce.describe_cost_category_definition(CostCategoryArn=arn)["CostCategory"]
    assert old["Rules"][1] == {
        "Value": "Analytics",
        "Type": "REGULAR",
        "Rule": {"Tags": {"Key": "team", "Values": ["data", "research"], "MatchOptions": ["EQUALS"]}},
    }

    aws.cost_allocation.change_category(
        "CostCenter", {"checkout": "Retail"}, effective_start=date(2026, 2, 1), takes=DAY, default="Rest"
    )
    new = ce.describe_cost_category_definition(CostCategoryArn=arn)["CostCategory"]
    assert [rule["Value"] for rule in new["Rules"]] == ["Retail"]
    assert new["EffectiveStart"] == "2026-02-01T00:00:00Z"
    assert new["DefaultValue"] == "Rest"
    assert new["ProcessingStatus"] == [{"Component": "COST_EXPLORER", "Status": "PROCESSING"}]
    # What applies to the cost of January is still the version before.
    january = ce.describe_cost_category_definition(CostCategoryArn=arn, EffectiveOn="2026-01-15T00:00:00Z")
    assert january["CostCategory"]["EffectiveEnd"] == "2026-02-01T00:00:00Z"
    assert january["CostCategory"]["Rules"] == old["Rules"]
    aws.clock.advance(DAY)
    (listed,) = ce.list_cost_category_definitions()["CostCategoryReferences"]
    assert listed["ProcessingStatus"][0]["Status"] == "APPLIED"


def test_categories_come_in_pages_and_a_removed_one_is_not_found(aws: SimulatedAws, client: Client) -> None:
    ce = client("ce")
    for name in ("Team", "Product"):
        aws.cost_allocation.change_category(name, {"data": "x"})
    listed = _all(ce.list_cost_category_definitions, "CostCategoryReferences", MaxResults=1)
    assert [each["Name"] for each in listed] == ["CostCenter", "Team", "Product"]
    aws.cost_allocation.remove_category("Team")
    arn = listed[1]["CostCategoryArn"]
    code = error_code(ce.describe_cost_category_definition, CostCategoryArn=arn)
    assert code == "ResourceNotFoundException"


def test_a_member_account_is_refused(aws: SimulatedAws, client: Client, assume: Any) -> None:
    member = client("ce", assume(aws.organization.find("prod").id))
    assert error_code(member.list_cost_allocation_tag_backfill_history) == "AccessDeniedException"
    assert error_code(member.list_cost_category_definitions) == "AccessDeniedException"


def test_both_can_be_changed_over_http(aws: SimulatedAws, client: Client) -> None:
    control = f"{aws.url}/_simulator"
    made = requests.post(f"{control}/tag-backfill", json={"start": "2026-01-01"}, timeout=10)
    assert made.json() == {"start": "2026-01-01", "status": "SUCCEEDED"}
    body = {"name": "Team", "values": {"data": "D"}, "effective_start": "2025-06-01", "takes_seconds": 60}
    assert requests.post(f"{control}/cost-category", json=body, timeout=10).status_code == 200
    refused = requests.post(f"{control}/tag-backfill", json={"start": "2026-01-02"}, timeout=10)
    assert refused.status_code == 400
    ce = client("ce")
    assert len(ce.list_cost_allocation_tag_backfill_history()["BackfillRequests"]) == 1
    names = [each["Name"] for each in ce.list_cost_category_definitions()["CostCategoryReferences"]]
    assert names == ["CostCenter", "Team"]
