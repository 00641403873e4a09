"""Both sources of a month are compared by service where an export takes over, and what was found is served, bounded and kept."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from handmade_months import A, B, Row, by_family, commit, view

from exporter.core.amounts import NET_COST_TYPES, Amounts, Units
from exporter.core.moments import days_between
from exporter.cost.settings import CostSettings
from exporter.declarations.sections import Sections
from exporter.exports.giving_up import give_up_export
from exporter.exports.sums.comparison import (
    SourceComparison,
    comparisons,
    leave,
    remember,
    render,
    take_left,
)
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

pytestmark = pytest.mark.clockless

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
NOW = datetime(2026, 3, 12, 12, tzinfo=UTC)
TENTH = date(2026, 3, 10)
"""The newest day that has been over for 36 hours at NOW."""
EC2, S3 = "Amazon Elastic Compute Cloud - Compute", "Amazon Simple Storage Service"
USD = 10**10
DIFFERENCE, COMPARED = "aws_cost_source_difference_usd", "aws_cost_source_compared_usd"
DATES = "aws_spend_exporter_export_month_compared_dates"
AT = "aws_spend_exporter_export_month_compared_timestamp_seconds"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


def read_cost_explorer(
    ledger: Ledger,
    first: date,
    last: date,
    usd: Mapping[tuple[str, str], str],
    at: datetime = NOW,
) -> None:
    """What Cost Explorer reports of each day, by account and service; net cost is half of it."""
    days = dict.fromkeys(days_between(first, last + DAY), True)
    costs = {
        (day, *key): Amounts(*[Decimal(text)] * 3, *[Decimal(text) / 2] * 2)
        for day in days
        for key, text in usd.items()
    }
    ledger.reads.commit(CostRead(at, days, costs))


def read_export(ledger: Ledger, first: date, last: date, usd: Mapping[tuple[str, str], float]) -> list[Row]:
    return [
        Row(day=day, account=account, service=service, usd=cost, net=cost / 2)
        for day in days_between(first, last + DAY)
        for (account, service), cost in usd.items()
    ]


def served(ledger: Ledger, cost_type: str = "unblended") -> dict[str, dict[tuple[str, ...], float]]:
    settings = CostSettings.model_validate({"cost_type": cost_type})
    return by_family(render(replace(view(ledger, NOW), sections=Sections(settings))))


def compared_days(ledger: Ledger) -> list[date]:
    return [day for found in comparisons(ledger) for day in found.days]


def test_the_days_that_an_export_takes_over_are_compared_by_service(ledger: Ledger) -> None:
    read_cost_explorer(ledger, MARCH, date(2026, 3, 12), {(A, EC2): "1", (B, EC2): "2", (A, S3): "0.5"})
    other = {(A, EC2): 1.0, (B, EC2): 2.25, (A, "Named otherwise"): 0.5}
    commit(ledger, read_export(ledger, MARCH, date(2026, 3, 12), other), NOW)
    assert served(ledger) == {
        DIFFERENCE: {
            ("2026-03", S3): -5.0, ("2026-03", "Named otherwise"): 5.0, ("2026-03", EC2): 2.5, ("2026-03", "other"): 0,
        },
        COMPARED: {("2026-03",): 35.0},
        DATES: {("2026-03",): 10},
        AT: {("2026-03",): NOW.timestamp()},
    }  # fmt: skip
    assert served(ledger, "net_amortized")[DIFFERENCE] == {
        ("2026-03", S3): -2.5, ("2026-03", "Named otherwise"): 2.5, ("2026-03", EC2): 1.25, ("2026-03", "other"): 0,
    }  # fmt: skip


def test_a_month_that_is_delivered_again_is_compared_with_nothing(ledger: Ledger) -> None:
    read_cost_explorer(ledger, MARCH, TENTH, {(A, EC2): "1"})
    commit(ledger, read_export(ledger, MARCH, TENTH, {(A, EC2): 1.5}), NOW)
    before = served(ledger)
    assert before[DIFFERENCE] == {("2026-03", EC2): 5.0, ("2026-03", "other"): 0}
    commit(ledger, read_export(ledger, MARCH, TENTH, {(A, EC2): 7}), NOW + DAY)
    assert served(ledger) == before


def test_only_days_that_both_sources_have_booked_are_compared(ledger: Ledger) -> None:
    eleventh = TENTH + DAY
    read_cost_explorer(
        ledger, MARCH, date(2026, 3, 3), {(A, EC2): "1"}, at=datetime(2026, 3, 3, 11, tzinfo=UTC)
    )
    read_cost_explorer(ledger, date(2026, 3, 5), eleventh, {(A, EC2): "1"})
    commit(ledger, read_export(ledger, MARCH, eleventh, {(A, EC2): 2}), NOW)
    # The first days were read while they were new, the 4th never, and the 11th has just ended.
    assert compared_days(ledger) == [*days_between(date(2026, 3, 5), eleventh)]
    assert served(ledger)[COMPARED] == {("2026-03",): 6.0}


def test_a_day_that_was_seen_to_have_changed_is_left_out(ledger: Ledger) -> None:
    read_cost_explorer(ledger, MARCH, TENTH, {(A, EC2): "1"})
    fifth = date(2026, 3, 5)
    ledger.reads.commit_scan("account", NOW, (fifth,), {(fifth, A): Amounts(*[Decimal(3)] * 5)})
    commit(ledger, read_export(ledger, MARCH, TENTH, {(A, EC2): 1.5}), NOW)
    assert compared_days(ledger) == [day for day in days_between(MARCH, TENTH + DAY) if day != fifth]
    assert served(ledger)[DIFFERENCE] == {("2026-03", EC2): 4.5, ("2026-03", "other"): 0}


def test_an_early_scan_that_agrees_later_makes_a_day_comparable(ledger: Ledger) -> None:
    third = date(2026, 3, 3)
    read_cost_explorer(ledger, third, third, {(A, EC2): "1"}, at=datetime(2026, 3, 4, 1, tzinfo=UTC))
    ledger.reads.commit_scan(
        "account", NOW, (third,), {(third, A): Amounts(*[Decimal(1)] * 3, *[Decimal("0.5")] * 2)}
    )
    commit(ledger, read_export(ledger, MARCH, TENTH, {(A, EC2): 1}), NOW)
    assert compared_days(ledger) == [third]


def test_nothing_is_served_of_a_month_that_only_one_source_has(ledger: Ledger) -> None:
    commit(ledger, read_export(ledger, MARCH, TENTH, {(A, EC2): 1}), NOW)
    assert served(ledger) == {}


def test_a_cost_type_that_the_export_lacks_is_absent(ledger: Ledger) -> None:
    read_cost_explorer(ledger, MARCH, TENTH, {(A, EC2): "1"})
    rows = read_export(ledger, MARCH, TENTH, {(A, EC2): 1.5})
    commit(ledger, rows, NOW, cost_types=NET_COST_TYPES)
    assert served(ledger) == {}
    assert served(ledger, "net_amortized")[DIFFERENCE] == {("2026-03", EC2): 2.5, ("2026-03", "other"): 0}


def test_the_way_back_and_forth_compares_again(ledger: Ledger) -> None:
    read_cost_explorer(ledger, MARCH, TENTH, {(A, EC2): "1"})
    commit(ledger, read_export(ledger, MARCH, TENTH, {(A, EC2): 1.5}), NOW)
    give_up_export(ledger, NOW)
    later = NOW + DAY
    read_cost_explorer(ledger, MARCH, TENTH, {(A, EC2): "1"}, at=later)
    commit(ledger, read_export(ledger, MARCH, TENTH, {(A, EC2): 1}), later + HOUR)
    assert served(ledger)[DIFFERENCE] == {("2026-03", "other"): 0}
    assert served(ledger)[AT] == {("2026-03",): (later + HOUR).timestamp()}


def compared(month: date, differences: Mapping[str, int], at: datetime = NOW) -> SourceComparison:
    return SourceComparison(
        days=(month,),
        compared_at=at,
        cost_types=("unblended",),
        exported={name: Units(unblended=USD + units) for name, units in differences.items()},
        reported=dict.fromkeys(differences, Units(unblended=USD)),
    )


def test_the_largest_differences_have_series_and_their_sum_is_the_whole(ledger: Ledger) -> None:
    units = {f"service {number}": (-1) ** number * number * USD for number in range(1, 41)}
    small = {"a cent": USD // 100, "less than a cent": -(USD // 100 - 1)}
    remember(ledger, compared(MARCH, units), NOW)
    remember(ledger, compared(date(2026, 2, 1), small), NOW)
    found = served(ledger)[DIFFERENCE]
    of_march = {service: usd for (month, service), usd in found.items() if month == "2026-03"}
    assert of_march.keys() == {*(f"service {number}" for number in range(21, 41)), "other"}
    assert sum(of_march.values()) == sum(units.values()) / USD
    of_february = {service: usd for (month, service), usd in found.items() if month == "2026-02"}
    assert of_february == {"a cent": 0.01, "other": -0.0099999999}


def test_months_are_kept_for_as_long_as_the_history_and_the_last_comparison_of_each_counts(
    ledger: Ledger,
) -> None:
    oldest = date(2025, 2, 1)
    assert remember(ledger, compared(oldest, {"a": USD}), NOW)
    assert not remember(ledger, compared(date(2025, 1, 1), {"a": USD}), NOW)
    assert not remember(ledger, compared(oldest, {"a": 2 * USD}, at=NOW - HOUR), NOW)
    assert not remember(ledger, compared(oldest, {"a": 2 * USD}), NOW)
    assert [found.differences("unblended") for found in comparisons(ledger)] == [{"a": USD}]
    assert remember(ledger, compared(MARCH, {}), datetime(2026, 3, 31, tzinfo=UTC) + DAY)
    assert [found.month for found in comparisons(ledger)] == [MARCH]


def test_what_the_doctor_leaves_is_taken_once_and_what_is_damaged_hides_nothing(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    folder = ledger.path.parent
    found = compared(MARCH, {"a": 3 * USD, "b": -(10**25)})
    leave(folder, found)
    for name, text in (("2025-12", "{"), ("2026-01", "[]"), ("2026-02", '{"days": []}')):
        (folder / f"compared-{name}.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert take_left(ledger, NOW)
    assert comparisons(ledger) == [found]
    assert sorted(path.name for path in folder.glob("*compared*")) == [
        "compared-2025-12.json", "compared-2026-01.json", "compared-2026-02.json",
    ]  # fmt: skip
    assert len(caplog.records) == 3
    assert not take_left(ledger, NOW)
