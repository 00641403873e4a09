"""Each Savings Plan and reservation of an export, by hand: used and unused of the days that are asked for, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from handmade_months import B, Row, Use, by_family, commit, view

from exporter.collectors import commitments, cost_export
from exporter.collectors.commitments import CommitmentsSettings
from exporter.core.moments import days_between
from exporter.cost.commitments import Commitment, keep
from exporter.cost.settings import CostSettings
from exporter.declarations.sections import Sections
from exporter.exports.delivery.looks import Look, remember_look
from exporter.exports.sums.commitments import render_commitments
from exporter.ledger.file import Ledger

pytestmark = pytest.mark.clockless

DAY = timedelta(days=1)
MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
NOW = datetime(2026, 4, 2, 12, tzinfo=UTC)
"""Ten days up to two days ago are those from 22 to 31 March."""
RESERVATION = f"arn:aws:rds:eu-west-1:{B}:reserved-instances/ri-1"
PLAN = f"arn:aws:savingsplans::{B}:savingsplan/sp-1"
RESERVED = (B, "reservations", "ri-1")
PLANNED = (B, "savings_plans", "sp-1")
USED, UNUSED = "aws_commitment_used_by_id_usd", "aws_commitment_unused_by_id_usd"
RATIO, EXPIRY = "aws_commitment_utilization_by_id_ratio", "aws_commitment_expiry_timestamp_seconds"
INFO, LEFT_OUT = "aws_commitment_info", "aws_commitments_left_out"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


def rows(first: date = MARCH, end: date = APRIL) -> list[Row]:
    return [Row(day=day, usd=1) for day in days_between(first, end)]


def uses(end_time: str = "2027-01-01T00:00:00.000Z") -> list[Use]:
    """A reservation of $3 a day of which $1 is unused, and a plan of $4 a day of which the last three days' are unused."""
    found = [Use(day=MARCH, arn=RESERVATION, unused=31, end_time=end_time)]
    for day in days_between(MARCH, APRIL):
        found.append(Use(day=day, arn=RESERVATION, used=2, end_time=end_time))
        is_used = day < date(2026, 3, 29)
        found.append(Use(day=day, arn=PLAN, kind="savings_plan", used=4 * is_used, unused=4 * (not is_used)))
    return found


def served(ledger: Ledger, days: int = 10, limit: int = 200) -> dict[str, dict[tuple[str, ...], float]]:
    return by_family(render_commitments(view(ledger, NOW), days, limit))


def test_used_and_unused_are_of_the_days(ledger: Ledger) -> None:
    """What a reservation leaves unused is one fee a month, spread over its days."""
    commit(ledger, rows(), NOW, uses=uses())
    found = served(ledger)
    assert found[USED] == {RESERVED: 20, PLANNED: 28}
    assert found[UNUSED] == {RESERVED: 10, PLANNED: 12}
    assert found[RATIO] == {RESERVED: pytest.approx(20 / 30), PLANNED: 0.7}
    assert found[EXPIRY] == {RESERVED: datetime(2027, 1, 1, tzinfo=UTC).timestamp()}, (
        "the plan's is not known"
    )
    nothing = ("",) * 3
    assert set(found[INFO]) == {
        (*RESERVED, "Amazon Relational Database Service", *nothing, "eu-west-1", "", ""),
        (*PLANNED, "", *nothing, "", "", ""),
    }
    assert found[LEFT_OUT] == {("reservations",): 0, ("savings_plans",): 0}


def test_a_fee_is_of_the_days_before_the_term_ends(ledger: Ledger) -> None:
    ended = [
        use if use.day == MARCH and use.unused else replace(use, used=0.0)
        for use in uses("2026-03-25T00:00:00.000Z")
    ]
    commit(ledger, rows(), NOW, uses=[replace(use, unused=24) if use.unused == 31 else use for use in ended])
    assert served(ledger)[UNUSED][RESERVED] == 3, "of 22, 23 and 24 March"


def test_parts_of_a_fee_are_exactly_the_whole(ledger: Ledger) -> None:
    thirds = [Use(day=MARCH, arn=RESERVATION, unused=10.0000000001)]
    commit(ledger, rows(), NOW, uses=thirds)
    assert served(ledger, days=31)[UNUSED][RESERVED] == 10.0000000001


def test_use_is_absent_where_a_day_is_not_known(ledger: Ledger) -> None:
    commit(ledger, rows(), NOW, uses=uses())
    found = served(ledger, days=32)
    assert set(found) == {EXPIRY, INFO, LEFT_OUT}
    commit(ledger, rows(date(2026, 2, 1), MARCH), NOW)
    assert served(ledger, days=32)[USED] == {RESERVED: 62, PLANNED: 112}


def test_the_largest_are_served_and_the_others_counted(ledger: Ledger) -> None:
    commit(ledger, rows(), NOW, uses=uses())
    found = served(ledger, limit=1)
    assert set(found[USED]) == {PLANNED}
    assert found[LEFT_OUT] == {("reservations",): 1, ("savings_plans",): 0}


def test_what_was_read_again_replaces_its_month(ledger: Ledger) -> None:
    commit(ledger, rows(), NOW, uses=uses())
    commit(ledger, rows(), NOW, uses=[use for use in uses() if use.arn == PLAN])
    assert set(served(ledger)[USED]) == {PLANNED}


def view_of(sections: Sections, settings: Any, ledger: Ledger) -> Any:
    return replace(view(ledger, NOW), sections=sections, settings=settings)


@pytest.mark.parametrize(
    ("chosen", "source", "by"),
    [
        ({}, "data_export", "cost_export"),
        ({"enabled": True}, "data_export", "cost_export"),
        ({"enabled": True, "each": True}, "data_export", "commitments"),
        ({"enabled": True, "each": True}, "cost_explorer", "commitments"),
        ({"enabled": True}, "cost_explorer", "commitments"),
    ],
)
def test_one_collector_at_a_time_serves_the_families(
    ledger: Ledger, chosen: dict[str, Any], source: str, by: str
) -> None:
    """Those of a collector that is off are not rendered at all."""
    settings = CommitmentsSettings(**chosen)
    sections = Sections(CostSettings.model_validate({"source": source}), settings)
    remember_look(ledger, Look(MARCH, NOW))
    keep(ledger, Commitment("savings_plans", "", settings.days, MARCH, NOW))
    serving = []
    if settings.enabled:
        of_cost_explorer = view_of(sections, settings, ledger)
        (declared,) = [each for each in commitments.COLLECTOR.views if each.name == "commitments_by_id"]
        if declared.read_at(of_cost_explorer) is not None:
            serving.append("commitments")
    if source == "data_export":
        of_export = view_of(sections, view(ledger, NOW).settings, ledger)
        (declared_too,) = [each for each in cost_export.COLLECTOR.views if each.name == "commitments_by_id"]
        if declared_too.read_at(of_export) is not None:
            serving.append("cost_export")
    assert serving == [by]
