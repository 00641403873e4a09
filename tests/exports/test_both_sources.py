"""Cost from an export equals Cost Explorer's, to the unit: every day, account, service, dimension and cost type."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Literal

import pytest
from export_reader import DAY, reading, truth

from exporter.core.amounts import AMOUNTS
from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack
MakeAws = Callable[..., SimulatedAws]

MARCH = date(2026, 3, 1)
NAMES = {"charge_type": "record_type"}
DIMENSIONS = (
    "region", "usage_type", "operation", "charge_type", "billing_entity", "resource",
    "tag:team", "tag:environment", "cost_category:CostCenter",
)  # fmt: skip


def test_the_month_of_an_export_is_cost_explorers_to_the_unit(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=4, services=8)
    aws.exports.create(manual_discounts=True)
    with reading(aws, tmp_path) as reader:
        reader.read()
        end = aws.clock.now().date() + DAY
        for cost_type in AMOUNTS:
            assert reader.cost(MARCH, end, cost_type) == truth(
                aws, MARCH, end, cost_type, "day", "account", "service"
            ), cost_type
        besides: tuple[Literal["account", "service"], ...] = ("account", "service")
        for name in DIMENSIONS:
            for beside in besides:
                for cost_type in AMOUNTS:
                    found = reader.values(name, beside, MARCH, end, cost_type)
                    expected = truth(aws, MARCH, end, cost_type, "day", beside, NAMES.get(name, name))
                    assert found == expected, (name, beside, cost_type)
        assert aws.requests.count("ce") == 0
