"""The inventory as JSON: filters, order, and what is not known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from inventory_harness import World, world_of

from exporter.api.endpoints.inventory import ENDPOINT, Query
from exporter.api.source import Source
from simulated_aws import SimulatedAws


@pytest.fixture(scope="module")
def world(shared_aws: SimulatedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    patch = pytest.MonkeyPatch()
    for name, value in shared_aws.environment().items():
        patch.setenv(name, value)
    settings = {"services": ["ec2", "secretsmanager", "s3"], "required_tags": ["environment"]}
    with world_of(tmp_path_factory.mktemp("api"), shared_aws, settings) as world:
        assert world.collect() == 0
        yield world
    patch.undo()


def ask(world: World, **query: Any) -> dict[str, Any]:
    source = Source(
        ledger=world.ledger,
        config=world.config,
        now=world.now,
        names={},
        samples=(),
        published_resources=world.store.published_resources(),
    )
    return ENDPOINT.answer(source, Query(**query))


def test_everything_with_its_sum_the_most_expensive_first(world: World) -> None:
    answer = ask(world)
    prices = [Decimal(row["estimated_monthly_usd"] or 0) for row in answer["rows"]]
    assert answer["count"] == len(answer["rows"]) == world.total("aws_resources")
    assert prices == sorted(prices, reverse=True)
    assert Decimal(answer["estimated_monthly_usd"]) == sum(prices)
    assert answer["priced"] == answer["count"] - world.total("aws_resources_unpriced")
    assert answer["failing"] == []


def test_one_row_says_all_that_is_known(world: World) -> None:
    prod = world.aws.accounts[1]
    (row,) = (
        row
        for row in ask(world, account_id=prod.id, region="us-east-1", type="ec2:volume", unused=True)["rows"]
        if row["subtype"] == "gp2"
    )
    (true,) = (
        each
        for each in world.aws.inventory.truth(prod.id, "ec2", "us-east-1")
        if each.type == "ec2:volume" and each.unused and each.savings
    )
    assert true.created is not None
    assert row == {
        "account_id": prod.id,
        "account": "prod",
        "region": "us-east-1",
        "type": "ec2:volume",
        "id": true.id,
        "name": "",
        "state": "available",
        "subtype": "gp2",
        "created": true.created.isoformat(),
        "created_is_first_seen": False,
        "tags": dict(true.tags),
        "missing_tags": [],
        "estimated_monthly_usd": row["estimated_monthly_usd"],
        "unused_reason": "unattached",
        "unused_monthly_usd": row["estimated_monthly_usd"],
        "savings": row["savings"],
        "read_at": world.now.isoformat(),
    }
    assert Decimal(row["estimated_monthly_usd"]) == 50
    assert {kind: Decimal(usd) for kind, usd in row["savings"].items()} == {"gp2_to_gp3": 5}


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ({"service": "s3"}, lambda row: row["type"] == "s3:bucket"),
        ({"region": "eu-west-1"}, lambda row: row["region"] == "eu-west-1"),
        ({"unused": True}, lambda row: row["unused_reason"] is not None),
        ({"unused": False}, lambda row: row["unused_reason"] is None),
        ({"untagged": True}, lambda row: bool(row["missing_tags"])),
        ({"untagged": False}, lambda row: row["missing_tags"] == []),
        ({"older_than": timedelta(days=500)}, None),
        ({"service": "secretsmanager", "unused": True}, lambda row: row["unused_reason"] == "not_accessed"),
    ],
)
def test_a_filter_keeps_exactly_what_matches(world: World, query: dict[str, Any], holds: Any) -> None:
    every = ask(world)["rows"]
    found = ask(world, **query)["rows"]
    if "older_than" in query:
        border = (world.now - query["older_than"]).isoformat()
        holds = lambda row: row["created"] is not None and row["created"] <= border  # noqa: E731 - a filter
    wanted = [row for row in every if holds(row) and row["type"].startswith(query.get("service", ""))]
    assert found == wanted
    assert 0 < len(found) < len(every)


def test_a_limit_shortens_the_rows_and_not_the_sums(world: World) -> None:
    answer, every = ask(world, limit=3), ask(world)
    assert answer["rows"] == every["rows"][:3]
    assert (answer["count"], answer["estimated_monthly_usd"]) == (
        every["count"],
        every["estimated_monthly_usd"],
    )


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"service": "lamda"}, r"service: found 'lamda', expected one of .*did you mean lambda"),
        ({"type": "volume"}, r"type: found 'volume', expected one of .*did you mean ec2:volume"),
    ],
)
def test_a_misspelt_filter_is_refused_rather_than_answered_with_nothing(
    world: World, wrong: dict[str, str], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        ask(world, **wrong)
