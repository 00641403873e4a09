"""What `plan` promises of cost by dimensions is what the simulated AWS is asked for, reading by reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from dimension_world import World, world

from exporter.cost.refresh_plan import known_scale, seen_groups
from exporter.cube.reading import month_of_pages
from exporter.declarations.calls import Scale

START = datetime(2026, 4, 1, 13, tzinfo=UTC)
BY: dict[str, Any] = {
    "by": ["region", "charge_type", "usage_type"],
    "tags": ["team"],
    "services": ["region"],
    "untagged": True,
    "history_months": 2,
}


def scale_of(made: World) -> Scale:
    return replace(known_scale(made.ledger, made.now).as_scale(), groups=seen_groups(made.ledger))


def run(made: World, days: int) -> int:
    """Refreshes every six hours from `START` on, after the first fill; returns how many requests there were before."""
    made.simulator.clock.set(START - timedelta(hours=6))
    made.collect_cost()
    made.collect()
    before = len(made.simulator.requests.entries())
    for number in range(days * 4):
        made.simulator.clock.set(START + number * timedelta(hours=6))
        made.collect_cost()
        made.collect()
    return before


def compare(made: World, before: int, days: int) -> Mapping[str, tuple[Decimal, Decimal]]:
    """Planned and asked pages of 30 days by reading."""
    scale = scale_of(made)
    found = {
        reading.name: (
            month_of_pages(reading, scale, made.settings.interval),
            Decimal(made.requests_of(reading, before)) * 30 / days,
        )
        for reading in made.settings.readings()
    }
    for name, (planned, asked) in found.items():
        print(f"{name}: planned {planned:.0f}, asked {asked:.0f}")
    return found


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("accounts", "groups_per_page"), [(8, 60), (8, 5000), (40, 2000)])
def test_a_month_takes_what_was_planned(
    accounts: int, groups_per_page: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = {"accounts": accounts, "services": 8, "groups_per_page": groups_per_page, "days": 120}
    with world(tmp_path, monkeypatch, START, BY, cost_settings={"history_months": 2}, **size) as made:
        found = compare(made, run(made, 30), 30)
        planned, asked = (sum(pages[position] for pages in found.values()) for position in (0, 1))
        assert abs(planned - asked) <= asked / 10
        for name, (of_plan, of_aws) in found.items():
            assert abs(of_plan - of_aws) <= max(of_aws * 3 / 10, Decimal(5)), name


def test_nine_days_take_what_was_planned_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short form: the 11th, when a month is read once more, is not reached."""
    size = {"accounts": 6, "services": 6, "groups_per_page": 40, "days": 100}
    with world(tmp_path, monkeypatch, START, BY, cost_settings={"history_months": 1}, **size) as made:
        found = compare(made, run(made, 9), 9)
        planned, asked = (sum(pages[position] for pages in found.values()) for position in (0, 1))
        assert abs(planned - asked) <= asked / 4
