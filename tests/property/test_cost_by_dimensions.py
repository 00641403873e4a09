"""Cost by each dimension is, day by day, what AWS holds: after the first fill, restatements, kills and failures."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dimension_world import DAY, World, world

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
ALL: dict[str, Any] = {
    "by": ["region", "charge_type", "usage_type", "operation", "billing_entity"],
    "tags": ["team"],
    "cost_categories": ["CostCenter"],
    "services": ["region", "tag:team"],
    "untagged": True,
}
NOTICED_WITHIN = timedelta(days=8, hours=6)
"""A week between two comparisons of months, a refresh of cost before it, and a day until the dimension follows."""


def check(made: World, start: date | None = None) -> None:
    """Every day by every reading, in all five cost types, to the last unit."""
    for reading in made.settings.readings():
        truth = made.truth(reading, start)
        assert truth, reading.name
        assert made.held(reading, start) == truth, reading.name


def test_the_whole_history_by_each_dimension_is_what_aws_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generated organization, thirteen months, many pages a day."""
    with world(tmp_path, monkeypatch, NOW, ALL, services=6, days=430, groups_per_page=30) as made:
        made.collect()
        check(made)
        assert made.due() == NOW + DAY  # nothing is left
