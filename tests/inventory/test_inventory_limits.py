"""Fifty thousand resources: series stay under their limits, and no dollar and no resource is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from inventory_harness import World, world_of

from exporter.collectors import inventory
from exporter.core.folding import OTHER, fold
from exporter.core.metric import Family, Folded, Sample
from exporter.core.places import Scope
from exporter.core.resource import Resource
from exporter.inventory.listing import Call, Listing, ResourceFile
from simulated_aws import SimulatedAws

COUNT = 50_000
CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def many(ctx: Listing, target: Any) -> Iterator[Resource]:
    """A quarter of the resources for each of two accounts in two regions; a third without a price."""
    for number in range(COUNT // 4):
        yield Resource(
            id=f"thing-{number}",
            type="test:thing",
            name=f"name-{number}",
            state="active",
            created=CREATED,
            tags={"team": "x"} if number % 2 else {},
            monthly_usd=None if number % 3 == 0 else Decimal(number) / 100,
            unused_reason="idle" if number % 5 == 0 else None,
        )


FILE = ResourceFile(
    name="sqs", help="Many.", scope=Scope.REGION, service="sqs", types=("test:thing",), iam_actions=(),
    calls=(Call("ListQueues"),),
    list=many, cost_services={},
)  # fmt: skip


@pytest.fixture
def crowd(aws: SimulatedAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(inventory, "all_resource_files", lambda: (FILE,))
    with world_of(tmp_path, aws, {"services": ["sqs"]}, series={"per_account": 500}) as world:
        assert world.collect() == 0, world.failures()
        yield world


def test_series_stay_under_the_limit_and_totals_are_conserved(crowd: World) -> None:
    served = crowd.samples()
    with_id = [
        dict(labels)
        for name in (
            "aws_resource_info",
            "aws_resource_created_timestamp_seconds",
            "aws_resource_estimated_monthly_cost_usd",
        )
        for labels in served[name]
    ]
    own = Counter(labels["account_id"] for labels in with_id)
    assert len(own) == 2
    assert all(340 < count <= 380 for count in own.values())
    prices = [Decimal(number) / 100 for _ in range(4) for number in range(COUNT // 4) if number % 3]
    assert crowd.total("aws_resources") == COUNT
    assert crowd.total("aws_resource_estimated_monthly_cost_usd") == pytest.approx(float(sum(prices)))
    assert crowd.total("aws_estimated_run_rate_usd_per_hour") * 730 == pytest.approx(float(sum(prices)))
    assert crowd.total("aws_resources_unpriced") == COUNT - len(prices)
    assert crowd.total("aws_resources_unused") == COUNT / 5
    assert crowd.total("aws_resources_untagged", tag_key="*") == COUNT / 2
    detailed = {
        value
        for labels, value in served["aws_resource_estimated_monthly_cost_usd"].items()
        if dict(labels)["resource_id"] != OTHER
    }
    # The most expensive ones are those that are listed one by one.
    count = len(served["aws_resource_info"])
    assert detailed == {float(usd) for usd in sorted(prices, reverse=True)[:count]}
    assert crowd.total("aws_spend_exporter_folded_series", collector="inventory_resources") == (
        2 * COUNT + len(prices) - 3 * count
    )


def test_every_series_of_the_inventory_is_counted(crowd: World) -> None:
    served = crowd.samples()
    shown = sum(
        len(series)
        for name, series in served.items()
        if name.startswith(("aws_resource", "aws_estimated", "aws_spend_exporter_price"))
    )
    counted = sum(
        value
        for labels, value in served["aws_spend_exporter_series"].items()
        if dict(labels)["collector"].startswith("inventory_")
    )
    assert shown == counted


FAMILY = Family("test_value", "For the test.", ("account", "type"))


def samples(values: dict[tuple[str, str], float]) -> list[Sample]:
    return [Sample(FAMILY, key, value) for key, value in values.items()]


def shown(found: list[Sample | Folded]) -> tuple[dict[tuple[str, ...], float], int]:
    kept = {each.values: each.value for each in found if isinstance(each, Sample)}
    return kept, sum(each.series for each in found if isinstance(each, Folded))


def test_the_smallest_are_summed_up_and_the_labels_that_are_left_stay_true() -> None:
    values = {("a", "t1"): 5.0, ("a", "t2"): 3.0, ("a", "t3"): 1.0, ("b", "t1"): 4.0, ("b", "t2"): 2.0}
    assert shown(fold(samples(values), ("type",), 5)) == (values, 0)
    assert shown(fold(samples(values), ("type",), 4)) == (
        {("a", "t1"): 5.0, ("b", "t1"): 4.0, ("a", OTHER): 4.0, ("b", OTHER): 2.0},
        3,
    )


def test_more_sums_than_the_limit_end_in_one_that_is_other_throughout() -> None:
    values = {(f"a{number}", "t"): float(number) for number in range(1, 11)}
    kept, folded = shown(fold(samples(values), ("type",), 3))
    assert kept == {("a10", OTHER): 10.0, ("a9", OTHER): 9.0, (OTHER, OTHER): 36.0}
    assert folded == 10


def test_what_is_called_other_by_itself_joins_the_sum() -> None:
    values = {("a", OTHER): 100.0, ("a", "t1"): 5.0, ("a", "t2"): 3.0, ("a", "t3"): 1.0}
    kept, _ = shown(fold(samples(values), ("type",), 3))
    assert kept == {("a", "t1"): 5.0, ("a", "t2"): 3.0, ("a", OTHER): 101.0}


def test_a_unit_is_named_after_its_collector_and_file() -> None:
    units = inventory.COLLECTOR.units(inventory.InventorySettings(services=("sns", "s3")))
    assert [(unit.name, unit.scope) for unit in units] == [
        ("inventory_s3", Scope.ACCOUNT),
        ("inventory_sns", Scope.REGION),
    ]
