"""Keys that AWS rewrites at unchanged cost: tag backfills, changed cost categories, and what a tag is before its activation."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dimension_world import DAY, World, drawn_rows, world

from exporter.aws.errors import AwsError, Kind
from exporter.core.moments import days_between, month_start
from exporter.cube import values
from exporter.cube.dimensions import Dimension
from exporter.cube.untagged import DatedUntagged
from exporter.ledger.daily_values import totals

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
BY: dict[str, Any] = {"by": ["region"], "tags": ["team"], "untagged": True, "history_months": 3}
FIRST, ACTIVE = date(2026, 2, 1), date(2026, 5, 1)


def rows(ids: tuple[str, ...]) -> Any:
    return drawn_rows(ids, month_start(NOW.date(), 4), NOW.date() + 30 * DAY)


def check(made: World, start: date) -> None:
    """Every reading from a day on."""
    for reading in made.settings.readings():
        assert made.held(reading, start) == made.truth(reading, start), reading.name


def old_days_asked(made: World, first: int) -> set[tuple[str, str]]:
    """The keys and first days, before April, of the requests by a dimension since the `first` one."""
    return {
        (entry.params["GroupBy"][-1]["Key"], entry.params["TimePeriod"]["Start"])
        for entry in made.simulator.requests.entries()[first:]
        if entry.operation == "GetCostAndUsage"
        and entry.params["TimePeriod"]["Start"] < "2026-04-01"
        and (
            entry.params["GroupBy"][-1]["Key"] in ("team", "REGION", "CostCenter")
            or "ABSENT" in str(entry.params)
        )
    }


def test_a_tag_is_unknown_before_its_activation_until_a_backfill_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path, monkeypatch, NOW, BY, rows=rows, cost_settings={"history_months": 3}) as made:
        allocation = made.simulator.cost_allocation
        allocation.activate_tag("team", ACTIVE)
        made.run(NOW)
        region, team, untagged = made.settings.readings()
        check(made, ACTIVE)
        for reading in (team, untagged):
            assert min(values.states(made.ledger, reading.dimension, "account", FIRST, NOW.date())) == ACTIVE
            assert min(day for day, _, _ in made.held(reading, FIRST)) >= ACTIVE
        assert min(day for day, _, _ in made.held(region, FIRST)) < ACTIVE
        # A day without a value is read once all the same.
        made.collect()
        first = len(made.simulator.requests.entries())
        made.run(NOW + 2 * DAY)
        assert old_days_asked(made, first) == set()

        allocation.request_backfill(date(2026, 3, 1), takes=timedelta(hours=5))
        first = len(made.simulator.requests.entries())
        made.run(NOW + 6 * DAY)
        check(made, date(2026, 3, 1))
        assert {key for key, _ in old_days_asked(made, first)} == {"team", "LINKED_ACCOUNT"}
        assert min(start for _, start in old_days_asked(made, first)) == "2026-03-01"
        assert min(values.states(made.ledger, team.dimension, "account", FIRST, NOW.date())) == date(
            2026, 3, 1
        )
        # It is read again once.
        first = len(made.simulator.requests.entries())
        made.run(NOW + 8 * DAY)
        assert old_days_asked(made, first) == set()


def test_a_backfill_is_read_when_cost_explorer_shows_it_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path, monkeypatch, NOW, BY, rows=rows, cost_settings={"history_months": 3}) as made:
        made.collect()
        made.simulator.cost_allocation.request_backfill(date(2026, 3, 1), takes=timedelta(hours=23))
        made.simulator.cost_allocation.request_backfill(date(2026, 2, 1), status="FAILED")
        first = len(made.simulator.requests.entries())
        for hours in (24, 46):
            made.simulator.clock.set(NOW + timedelta(hours=hours))
            made.collect()
        assert old_days_asked(made, first) == set()
        assert made.due() == NOW + timedelta(hours=47)  # a day after it ended
        made.simulator.clock.set(made.due())
        made.collect()
        assert {key for key, _ in old_days_asked(made, first)} == {"team", "LINKED_ACCOUNT"}
        assert min(start for _, start in old_days_asked(made, first)) == "2026-03-01"


def test_a_changed_cost_category_has_its_days_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"by": ["region"], "cost_categories": ["CostCenter"], "history_months": 3}
    with world(tmp_path, monkeypatch, NOW, settings, rows=rows) as made:
        allocation = made.simulator.cost_allocation
        made.collect()
        check(made, FIRST)
        assert made.requests(CostCategoryArn=allocation.versions[0].arn) == 1
        allocation.change_category(
            "CostCenter", {"checkout": "Web", "data": "Web"}, effective_start=date(2026, 3, 1), takes=2 * DAY
        )
        first = len(made.simulator.requests.entries())
        made.simulator.clock.set(NOW + DAY)
        made.collect()
        assert old_days_asked(made, first) == set()  # AWS still processes it
        made.simulator.clock.set(NOW + 3 * DAY)
        made.collect()
        assert {key for key, _ in old_days_asked(made, first)} == {"CostCenter"}
        assert min(start for _, start in old_days_asked(made, first)) == "2026-03-01"
        (category,) = [each for each in made.settings.readings() if each.dimension.kind == "cost_category"]
        assert made.held(category) == made.truth(category)
        # The list of categories is asked for once, the definition once a day.
        assert [
            entry.operation for entry in made.simulator.requests.entries() if "CostCategor" in entry.operation
        ] == ["ListCostCategoryDefinitions", *["DescribeCostCategoryDefinition"] * 3]

        allocation.remove_category("CostCenter")
        made.simulator.clock.set(NOW + 4 * DAY)
        with pytest.raises(AwsError, match="there is no cost category 'CostCenter'"):
            made.collect()
        (region, _) = made.settings.readings()
        assert made.held(region) == made.truth(region)


def test_what_may_not_be_looked_for_fails_visibly_and_holds_up_no_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path, monkeypatch, NOW, {**BY, "history_months": 1}, rows=rows) as made:
        made.simulator.faults.add(
            "access_denied", service="ce", operation="ListCostAllocationTagBackfillHistory"
        )
        with pytest.raises(AwsError, match="ListCostAllocationTagBackfillHistory") as failure:
            made.collect()
        assert failure.value.kind is Kind.ACCESS_DENIED
        check(made, date(2026, 4, 1))


def test_the_untagged_share_of_each_day_is_that_of_its_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path, monkeypatch, NOW, BY, rows=rows, cost_settings={"history_months": 3}) as made:
        made.simulator.cost_allocation.activate_tag("team", date(2026, 3, 1))
        made.run(NOW)
        made.run(NOW + 2 * DAY)
        dated = DatedUntagged(made.ledger, timedelta(days=400), 3, made.simulator.clock.now)
        assert not dated.update()
        truth: dict[tuple[date, str, str, str], int] = {}
        for day in days_between(FIRST, made.now.date()):
            for key, amounts in made.simulator.truth.source.charges(day, made.now):
                if key.record_type in ("Tax", "Credit"):
                    continue
                places = [("aws_cost_daily_taggable_usd", key.account_id, "")]
                if not dict(key.tags).get("team") and day >= date(2026, 3, 1):
                    places.append(("aws_cost_daily_untagged_usd", key.account_id, "team"))
                for place in places:
                    truth[day, *place] = truth.get((day, *place), 0) + amounts[2]
        families = ["aws_cost_daily_untagged_usd", "aws_cost_daily_taggable_usd"]
        found = {
            (day, *rest): value
            for day, *rest, value in totals(made.ledger, FIRST, made.now.date(), families)
            if value
        }
        wanted = {key: units / 10**10 for key, units in truth.items() if units}
        assert found.keys() == wanted.keys()
        assert found == pytest.approx(wanted, abs=0.0001)
        assert Dimension("tag", "team").name in values.read_dimensions(made.ledger, "account")
