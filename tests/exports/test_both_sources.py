"""Cost from an export equals Cost Explorer's, to the unit: every day, account, service, dimension and cost type."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import pytest
from export_reader import DAY, reading, truth
from organizations import MakeAws

from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from exporter.core.amounts import AMOUNTS
from exporter.core.moments import days_between
from exporter.core.money import to_usd
from exporter.cube import hours, values
from exporter.cube.dimensions import untagged

pytestmark = pytest.mark.stack

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
        subjects: tuple[Literal["account", "service"], ...] = ("account", "service")
        for name in DIMENSIONS:
            for beside in subjects:
                for cost_type in AMOUNTS:
                    found = reader.values(name, beside, MARCH, end, cost_type)
                    expected = truth(aws, MARCH, end, cost_type, "day", beside, NAMES.get(name, name))
                    assert found == expected, (name, beside, cost_type)
        assert len(reader.cost(MARCH, end, "unblended")) > 300
        assert aws.requests.count("ce") == 0


def test_usage_without_a_tag_is_that_of_the_bill_at_each_cost_type(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=4, services=8)
    aws.exports.create(manual_discounts=True)
    with reading(aws, tmp_path) as reader:
        reader.read()
        end = aws.clock.now().date() + DAY
        for position, cost_type in enumerate(AMOUNTS):
            wanted: dict[tuple[date, str, str], int] = {}
            for day in days_between(MARCH, end):
                for key, amounts in aws.truth.source.charges(day, aws.exports.refreshed("cost")):
                    if key.record_type in USAGE_RECORD_TYPES and not dict(key.tags).get("team"):
                        place = (day, key.account_id, "")
                        wanted[place] = wanted.get(place, 0) + amounts[position]
            found = values.sums(
                reader.ledger, untagged("team"), "account", MARCH, end, cost_type, by_day=True
            )
            assert {place: units for place, units in found.items() if units} == {
                place: units for place, units in wanted.items() if units
            }
        assert wanted


def test_the_hours_of_the_last_two_weeks_are_those_of_the_bill(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws()
    aws.exports.create(manual_discounts=True)
    with reading(aws, tmp_path) as reader:
        reader.read()
        now = aws.clock.now()
        first = now.replace(minute=0, second=0, microsecond=0) - hours.HOURS_KEPT
        for cost_type in AMOUNTS:
            expected = {
                key: usd
                for key, usd in truth(
                    aws, first.date(), now.date() + DAY, cost_type, "hour", "account", "service"
                ).items()
                if key[0] >= f"{first:%Y-%m-%dT%H:%M:%SZ}"
            }
            found = {
                (f"{hour:%Y-%m-%dT%H:%M:%SZ}", account_id, service): to_usd(units)
                for (hour, account_id, service), units in hours.sums(
                    reader.ledger, first, now, cost_type
                ).items()
                if units
            }
            assert found == expected, cost_type
            assert len(found) > 1_000
        known = hours.read_hours(reader.ledger, first, now)
        assert min(known) == first
        assert {state.source for state in known.values()} == {"data_export"}
        assert len(known) == (max(known) - min(known)) // timedelta(hours=1) + 1


def test_a_daily_export_has_no_hours(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws()
    aws.exports.create(manual_discounts=True, hourly=False)
    with reading(aws, tmp_path) as reader:
        reader.read()
        now = aws.clock.now()
        assert hours.read_hours(reader.ledger, now - hours.HOURS_KEPT, now) == {}
