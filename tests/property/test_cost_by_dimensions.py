"""Cost by each dimension is, day by day, what AWS holds: after the first fill, restatements, kills and failures."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from dimension_world import DAY, World, drawn_rows, moved, world

from exporter.aws.errors import AwsError, Kind
from exporter.aws.settings import Ceiling, CeilingSettings
from exporter.core.moments import month_start
from simulated_aws import ExplicitCost

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


FEW: dict[str, Any] = {**ALL, "history_months": 3}
COST: dict[str, Any] = {"history_months": 3}


def rows_around(now: datetime, **more: Any) -> Callable[[tuple[str, ...]], list[ExplicitCost]]:
    """Rows of all days from before the history until weeks after `now`."""
    first, end = month_start(now.date(), 4), now.date() + 60 * DAY
    return lambda ids: drawn_rows(ids, first, end, **more)


def restate(made: World, rows: list[ExplicitCost], ages: list[int]) -> list[ExplicitCost]:
    """From now on, a charge of the day of each age is twice as much, and another has moved to a new region and team."""
    today, now = made.now.date(), made.now
    changed = list(rows)
    for age in ages:
        of_day = [row for row in changed if row.day == today - age * DAY and row.visible_until is None]
        doubled, elsewhere = of_day[0], of_day[1]
        changed.remove(doubled)
        changed.remove(elsewhere)
        changed += moved(doubled, now, amounts={name: 2 * usd for name, usd in doubled.amounts.items()})
        amounts = {name: usd + Decimal("0.01") for name, usd in elsewhere.amounts.items()}
        changed += moved(elsewhere, now, region="eu-west-1", tags=(("team", "new"),), amounts=amounts)
    made.simulator.set_costs(changed)
    return changed


def test_restated_days_of_any_age_are_read_again_and_days_roll_over_a_months_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 5, 29, 12, tzinfo=UTC)
    drawn = rows_around(now)
    with world(tmp_path, monkeypatch, now, FEW, rows=drawn, cost_settings=COST) as made:
        made.run(now)
        check(made)
        rows = restate(made, drawn(made.account_ids), [2, 5, 12, 28, 40, 80])
        made.run(now + NOTICED_WITHIN)
        assert made.now.month == 6
        # What was restated is in the ledger and by each dimension; the last hours may not be.
        made.run(datetime(2026, 6, 7, 12, tzinfo=UTC))
        for reading in made.settings.readings():
            found, truth = made.held(reading), made.truth(reading)
            settled = made.now.date() - DAY
            assert {key: v for key, v in found.items() if key[0] < settled} == {
                key: v for key, v in truth.items() if key[0] < settled
            }, reading.name
        made.collect_cost()
        made.simulator.clock.set(made.due())
        made.collect()
        check(made)
        assert rows


def test_a_quiet_day_reads_today_and_yesterday_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"by": ["region"], "tags": ["team"], "untagged": True, "history_months": 2}
    with world(
        tmp_path, monkeypatch, NOW, settings, rows=rows_around(NOW), groups_per_page=500, cost_settings=COST
    ) as made:
        made.run(NOW + 2 * DAY)
        before = len(made.simulator.requests.entries())
        made.run(NOW + 3 * DAY)
        asked = [
            (entry.params["TimePeriod"]["Start"], entry.params["TimePeriod"]["End"])
            for entry in made.simulator.requests.entries()[before:]
            if any(word in str(entry.params) for word in ("'REGION'", "'TAG'", "ABSENT"))
        ]
        assert asked == [("2026-05-22", "2026-05-24")] * 3


def test_cost_that_is_read_after_its_dimensions_has_no_old_day_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"by": ["region"], "tags": ["team"], "untagged": True, "history_months": 2}
    with world(tmp_path, monkeypatch, NOW, settings, rows=rows_around(NOW), cost_settings=COST) as made:
        made.collect()
        made.collect_cost()
        made.simulator.clock.set(NOW + DAY)
        made.collect_cost()
        before = len(made.simulator.requests.entries())
        made.collect()
        starts = [
            entry.params["TimePeriod"]["Start"]
            for entry in made.simulator.requests.entries()[before:]
            if entry.operation == "GetCostAndUsage"
        ]
        assert starts
        assert min(starts) >= "2026-05-18"


def test_moves_between_keys_at_an_equal_sum_are_found_when_the_bill_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 5, 20, 12, tzinfo=UTC)
    settings = {"by": ["region"], "history_months": 1}
    drawn = rows_around(now)
    with world(tmp_path, monkeypatch, now, settings, rows=drawn, cost_settings={"history_months": 1}) as made:
        made.run(now)
        rows = drawn(made.account_ids)
        found = next(row for row in rows if row.day == date(2026, 5, 10) and row.record_type == "Usage")
        rows.remove(found)
        made.simulator.set_costs([*rows, *moved(found, made.now, region="ap-south-1")])
        (reading,) = made.settings.readings()
        made.run(datetime(2026, 6, 10, 23, tzinfo=UTC))
        day = {key: v for key, v in made.truth(reading).items() if key[0] == found.day}
        assert {key: v for key, v in made.held(reading).items() if key[0] == found.day} != day
        made.run(datetime(2026, 6, 12, 1, tzinfo=UTC))
        assert {key: v for key, v in made.held(reading).items() if key[0] == found.day} == day


def test_a_key_that_vanishes_costs_nothing_and_a_new_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 5, 20, 12, tzinfo=UTC)
    settings = {"by": ["region"], "history_months": 1}
    drawn = rows_around(now)
    with world(tmp_path, monkeypatch, now, settings, rows=drawn, cost_settings={"history_months": 1}) as made:
        made.run(now)
        gone = now.date() - DAY
        made.simulator.set_costs([row for row in drawn(made.account_ids) if row.day != gone])
        made.run(now + DAY + timedelta(hours=1))
        (reading,) = made.settings.readings()
        assert not [key for key in made.held(reading) if key[0] == gone]
        check(made)


class KilledError(Exception):
    """The process ends here."""


@pytest.mark.fault("the process, after a slice of a dimension", "at most one slice is paid twice")
def test_a_kill_after_any_slice_pays_at_most_that_slice_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"by": ["region"], "tags": ["team"], "history_months": 2}
    with world(tmp_path, monkeypatch, NOW, settings, rows=rows_around(NOW), groups_per_page=2) as made:
        made.collect()
        paid = made.requests(Granularity="DAILY")
        check(made)
    (tmp_path / "killed").mkdir()
    with world(
        tmp_path / "killed", monkeypatch, NOW, settings, rows=rows_around(NOW), groups_per_page=2
    ) as made:
        commits = 0

        def kill() -> None:
            nonlocal commits
            commits += 1
            if commits % 3 == 0:
                raise KilledError

        made.committed = kill
        kills = 0
        while made.due() <= made.now:
            try:
                made.collect()
            except KilledError:
                kills += 1
                made.restart()
        assert kills > 3
        check(made)
        # A slice is committed before it is announced: nothing is paid twice.
        assert made.requests(Granularity="DAILY") == paid


@pytest.mark.fault("a page of a dimension", "the other dimensions are read, nothing of the slice is kept")
def test_a_page_that_fails_for_good_keeps_nothing_and_holds_up_no_other_dimension(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"by": ["region"], "cost_categories": ["NoSuch"], "history_months": 1}
    with world(tmp_path, monkeypatch, NOW, settings, rows=rows_around(NOW), groups_per_page=4) as made:
        with pytest.raises(AwsError, match="NoSuch"):
            made.collect()
        region, category = made.settings.readings()
        assert made.held(region) == made.truth(region)
        assert made.held(category) == {}

        # The last page of each query fails for good: nothing of the slice is kept.
        made.simulator.clock.set(NOW + DAY)
        fault = made.simulator.faults.add("last_page_fails", service="ce")
        before, pages = made.held(region), made.requests_of(region)
        with pytest.raises(AwsError) as failure:
            made.collect()
        assert failure.value.retryable
        assert made.requests_of(region) > pages + 1
        assert made.held(region) == before
        made.simulator.faults.clear(fault)
        with pytest.raises(AwsError, match="NoSuch"):
            made.collect()
        assert made.held(region) == made.truth(region)


def test_the_first_fill_has_its_ceiling_and_refreshes_go_on_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"by": ["region"], "history_months": 2}
    with world(tmp_path, monkeypatch, NOW, settings, rows=rows_around(NOW), groups_per_page=5) as made:
        made.ceilings = CeilingSettings(cost=Ceiling(day=None, month=None), first_fill=Decimal("0.10"))
        made.restart()
        with pytest.raises(AwsError, match=r"ceilings\.first_fill") as failure:
            made.collect()
        assert failure.value.kind is Kind.CEILING_REACHED
        assert made.requests() == 10
        made.simulator.clock.set(NOW + DAY)
        with pytest.raises(AwsError, match=r"ceilings\.first_fill"):
            made.collect()
        check(made, NOW.date())
        made.ceilings = CeilingSettings(cost=Ceiling(day=None, month=None), first_fill=None)
        made.restart()
        made.collect()
        check(made)


def test_old_days_give_way_to_the_refreshes_where_the_ceilings_leave_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"tags": ["team"], "by": [], "history_months": 3}
    with world(tmp_path, monkeypatch, NOW, settings, rows=rows_around(NOW), groups_per_page=40) as made:
        made.collect()
        made.needed_usd = lambda: Decimal(10)
        made.ceilings = CeilingSettings(cost=Ceiling(day=None, month=Decimal(3)), first_fill=None)
        made.restart()
        made.simulator.cost_allocation.request_backfill(date(2026, 2, 1))
        at = NOW + DAY + timedelta(hours=13)
        made.simulator.clock.set(at)
        made.collect()
        made.simulator.clock.set(at + DAY)
        before = len(made.simulator.requests.entries())
        made.collect()
        starts = [
            entry.params["TimePeriod"]["Start"]
            for entry in made.simulator.requests.entries()[before:]
            if entry.params and "TimePeriod" in entry.params
        ]
        assert starts
        assert min(starts) >= "2026-04-01"  # not those before last month
        assert made.due() > made.now

        made.needed_usd = lambda: Decimal("0.10")
        made.collect()
        starts = [
            entry.params["TimePeriod"]["Start"]
            for entry in made.simulator.requests.entries()[before:]
            if entry.params and "TimePeriod" in entry.params
        ]
        assert min(starts) == "2026-02-01"
