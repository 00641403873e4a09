"""What is served of an export's lines, by hand: resources, namespaces, list prices; absent where the export does not know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from handmade_months import COST_TYPES, USD, A, B, Pod, Row, by_family, commit, view
from lines_of_months import Line, commit_ledger

from exporter.core.moments import days_between
from exporter.cube import hours as cube_hours
from exporter.cube.answering import answer
from exporter.cube.months import CubeMonths
from exporter.cube.question import Question
from exporter.exports.giving_up import give_up_export
from exporter.exports.sums.families import Periods, periods, render
from exporter.exports.sums.tables import WHOLE_MONTH, list_costs, resource_costs, split_costs
from exporter.ledger.file import Ledger

pytestmark = pytest.mark.clockless

DAY = timedelta(days=1)
MARCH = date(2026, 3, 1)
NOW = datetime(2026, 3, 12, 12, tzinfo=UTC)
TENTH = date(2026, 3, 10)
"""The newest complete day at NOW: of the 11th, AWS has had 12 hours only."""
RESOURCES, SPLIT, UNUSED = "aws_resource_cost_usd", "aws_split_cost_usd", "aws_split_unused_cost_usd"
LISTED, SAVED, RATIO = "aws_cost_list_price_usd", "aws_effective_savings_usd", "aws_effective_savings_ratio"
EC2, OTHER = "ec2:instance", ("other", "other", "other")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


def month_of(first: date, end: date, **row: Any) -> list[Row]:
    """A row for each day of [first, end)."""
    return [Row(day=day, **{"usd": 1.0, **row}) for day in days_between(first, end)]


def served(ledger: Ledger, now: datetime = NOW, **settings: Any) -> dict[str, dict[tuple[str, ...], float]]:
    return by_family(render(view(ledger, now, **settings)))


def test_the_largest_resources_have_series_and_the_rest_of_an_account_is_other(ledger: Ledger) -> None:
    rows = [
        Row(day=TENTH, resource="i-1", usd=5),
        Row(day=TENTH, resource="i-2", usd=3),
        Row(day=TENTH, resource="other", usd=1),
        Row(day=TENTH, resource="", usd=7),
        Row(day=TENTH, account=B, resource="i-9", region="eu-west-1", usd=4),
        Row(day=TENTH, account=B, resource="i-0", usd=0),
    ]
    commit(ledger, [*month_of(MARCH, date(2026, 3, 12), account=B, resource="i-9"), *rows], NOW)
    assert periods(view(ledger, NOW)) == Periods(TENTH, None, MARCH)
    # i-9 has more lines in eu-west-1 by cost.
    assert served(ledger)[RESOURCES] == {
        (A, "us-east-1", EC2, "i-1", "day"): 5,
        (A, "us-east-1", EC2, "i-2", "day"): 3,
        (A, *OTHER, "day"): 1,
        (A, "", "", "", "day"): 7,
        (B, "eu-west-1", EC2, "i-9", "day"): 5,
    }
    assert served(ledger, series_limit=2)[RESOURCES] == {
        (A, "us-east-1", EC2, "i-1", "day"): 5,
        (A, *OTHER, "day"): 4,
        (A, "", "", "", "day"): 7,
        (B, "eu-west-1", EC2, "i-9", "day"): 5,
    }


def test_lines_of_a_version_count_for_its_function(ledger: Ledger) -> None:
    arn = f"arn:aws:lambda:us-east-1:{A}:function:mail"
    rows = [Row(day=TENTH, resource=f"{arn}:{version}", usd=version) for version in (1, 2)]
    commit(ledger, [*month_of(MARCH, date(2026, 3, 12), resource=""), *rows], NOW)
    assert served(ledger)[RESOURCES][A, "us-east-1", "lambda:function", "mail", "day"] == 3


def test_savings_are_list_prices_minus_amortized_usage(ledger: Ledger) -> None:
    rows = [
        Row(day=MARCH, usd=10, listed=10),
        Row(day=MARCH, charge_type="SavingsPlanCoveredUsage", usd=6, listed=10),
        Row(day=MARCH, charge_type="DiscountedUsage", usd=3, listed=5),
        Row(day=MARCH, charge_type="SavingsPlanNegation", usd=0, listed=0),
        Row(day=MARCH, charge_type="SavingsPlanRecurringFee", usd=8, listed=0),
        Row(day=MARCH, charge_type="Tax", usd=100, listed=0),
        Row(day=MARCH, billing_entity="AWS Marketplace", usd=50, listed=0),
    ]
    commit(ledger, [*rows, *month_of(MARCH + DAY, date(2026, 3, 12), account=B, usd=1)], NOW)
    found = served(ledger)
    assert found[LISTED] == {(A, "month_to_date"): 25, (B, "month_to_date"): 10}
    assert found[SAVED] == {(A, "month_to_date"): 6, (B, "month_to_date"): 0}
    assert found[RATIO] == {(A, "month_to_date"): 0.24, (B, "month_to_date"): 0}


def test_split_cost_is_of_the_day_and_the_month_to_date(ledger: Ledger) -> None:
    pods = [
        Pod(day=MARCH, cluster="c", namespace="shop", usd=2, unused=1),
        Pod(day=TENTH, cluster="c", namespace="shop", usd=4, unused=2),
        Pod(day=TENTH, cluster="c", namespace="mail", usd=1, unused=0),
        Pod(day=TENTH, cluster="e", namespace="", kind="ecs", usd=3, unused=1),
    ]
    commit(ledger, month_of(MARCH, date(2026, 3, 12)), NOW, pods=pods)
    assert served(ledger)[SPLIT] == {
        (A, "c", "shop", "eks", "day"): 4,
        (A, "e", "", "ecs", "day"): 3,
        (A, "c", "mail", "eks", "day"): 1,
        (A, "c", "shop", "eks", "month_to_date"): 6,
        (A, "e", "", "ecs", "month_to_date"): 3,
        (A, "c", "mail", "eks", "month_to_date"): 1,
    }
    assert served(ledger)[UNUSED][A, "c", "shop", "eks", "month_to_date"] == 3
    assert served(ledger, series_limit=1)[SPLIT] == {
        (A, "c", "shop", "eks", "day"): 4,
        (A, "other", "other", "ecs", "day"): 3,
        (A, "other", "other", "eks", "day"): 1,
        (A, "c", "shop", "eks", "month_to_date"): 6,
        (A, "other", "other", "ecs", "month_to_date"): 3,
        (A, "other", "other", "eks", "month_to_date"): 1,
    }


@pytest.mark.parametrize(
    ("unknown", "cost_types", "families"),
    [
        ((), COST_TYPES, {RESOURCES, LISTED, SAVED, RATIO}),
        (("resource",), COST_TYPES, {LISTED, SAVED, RATIO}),
        ((), COST_TYPES[:-1], {RESOURCES}),
        ((), ("unblended", "net_unblended"), set()),
    ],
    ids=["all", "no resources", "no list prices", "no amortized cost"],
)
def test_what_the_export_has_no_column_for_is_absent(
    ledger: Ledger, unknown: tuple[str, ...], cost_types: tuple[str, ...], families: set[str]
) -> None:
    rows = month_of(MARCH, date(2026, 3, 12), resource="i-1")
    commit(ledger, rows, NOW, unknown=unknown, cost_types=cost_types)
    assert set(served(ledger)) == families


def test_net_amortized_cost_stands_where_there_is_no_other(ledger: Ledger) -> None:
    rows = month_of(MARCH, date(2026, 3, 12), resource="i-1", usd=2, net=1.5, listed=2)
    commit(ledger, rows, NOW, cost_types=("net_unblended", "net_amortized", "list_cost"))
    found = served(ledger)
    assert found[RESOURCES] == {(A, "us-east-1", EC2, "i-1", "day"): 1.5}
    assert found[RATIO] == {(A, "month_to_date"): 0.25}
    commit(ledger, rows, NOW)
    assert served(ledger)[RESOURCES] == {(A, "us-east-1", EC2, "i-1", "day"): 2}


@pytest.mark.parametrize("february", [date(2026, 2, 1), date(2028, 2, 1)], ids=str)
def test_a_month_is_served_once_its_last_day_is_complete(ledger: Ledger, february: date) -> None:
    january, march = (february - DAY).replace(day=1), (february + 31 * DAY).replace(day=1)
    noon = datetime(march.year, 3, 1, 12, tzinfo=UTC)
    commit(ledger, month_of(january, february, resource="i-1"), noon)
    commit(ledger, month_of(february, march, resource="i-1"), noon)
    assert periods(view(ledger, noon)) == Periods(march - 2 * DAY, january, None), (
        "the bill of March is not there yet"
    )
    key = (A, "us-east-1", EC2, "i-1", "month")
    assert served(ledger, noon)[RESOURCES][key] == 31
    for hours in (24, 48):
        later = noon + timedelta(hours=hours)
        commit(ledger, month_of(february, march, resource="i-1"), later)
        commit(ledger, month_of(march, later.date(), resource="i-1"), later)
    known = periods(view(ledger, later))
    assert known.month == february
    assert known.month_to_date == march
    found = served(ledger, later)
    assert found[RESOURCES][key] == (march - february).days
    assert found[RESOURCES][(*key[:-1], "day")] == 1
    assert set(found[LISTED]) == {(A, "month"), (A, "month_to_date")}


def test_a_month_that_the_export_begins_within_has_days_and_no_sums(ledger: Ledger) -> None:
    before = list(days_between(MARCH, date(2026, 3, 6)))
    lines = [Line(day, A, "AWS Lambda", 10**10) for day in before]
    commit_ledger(ledger, before, lines, NOW - 3 * DAY)
    pods = [Pod(day=TENTH, cluster="c", namespace="shop", usd=4, unused=2)]
    commit(ledger, month_of(date(2026, 3, 6), date(2026, 3, 12), resource="i-1"), NOW, pods=pods)
    assert periods(view(ledger, NOW)) == Periods(TENTH, None, None)
    found = served(ledger)
    assert set(found) == {RESOURCES, SPLIT, UNUSED}
    assert {labels[-1] for of_family in found.values() for labels in of_family} == {"day"}
    later = datetime(2026, 4, 4, 12, tzinfo=UTC)
    commit(ledger, month_of(date(2026, 3, 6), date(2026, 4, 1), resource="i-1"), later)
    commit(ledger, month_of(date(2026, 4, 1), date(2026, 4, 4), resource="i-1"), later)
    assert periods(view(ledger, later)).month is None


def test_a_month_that_is_read_again_replaces_what_was_kept_of_it(ledger: Ledger) -> None:
    pods = [Pod(day=TENTH, cluster="c", namespace="shop", usd=4, unused=2)]
    commit(ledger, month_of(MARCH, date(2026, 3, 12), resource="i-1"), NOW, pods=pods)
    commit(ledger, month_of(MARCH, date(2026, 3, 12), resource="i-2", usd=2), NOW)
    found = served(ledger)
    assert found[RESOURCES] == {(A, "us-east-1", EC2, "i-2", "day"): 2}
    assert SPLIT not in found
    CubeMonths(ledger).forget(MARCH)
    assert served(ledger) == {}


def test_old_months_are_not_kept(ledger: Ledger) -> None:
    pods = [Pod(day=MARCH, cluster="c", namespace="shop", usd=4, unused=2)]
    commit(ledger, month_of(MARCH, date(2026, 3, 12), resource="i-1"), NOW, pods=pods)
    assert resource_costs(ledger, MARCH, WHOLE_MONTH)
    june = datetime(2026, 6, 2, 12, tzinfo=UTC)
    commit(ledger, month_of(date(2026, 6, 1), date(2026, 6, 2), resource="i-1"), june)
    commit(ledger, month_of(date(2026, 2, 1), MARCH, resource="i-1"), june)
    for month in (date(2026, 2, 1), MARCH):
        assert resource_costs(ledger, month, WHOLE_MONTH) == []
        assert split_costs(ledger, month, WHOLE_MONTH) == []
        assert list_costs(ledger, month) == []
    assert resource_costs(ledger, date(2026, 6, 1), WHOLE_MONTH)


def test_the_way_back_to_cost_explorer_keeps_nothing(ledger: Ledger) -> None:
    pods = [Pod(day=TENTH, cluster="c", namespace="shop", usd=4, unused=2)]
    commit(ledger, month_of(MARCH, date(2026, 3, 12), resource="i-1"), NOW, pods=pods)
    give_up_export(ledger, NOW)
    assert resource_costs(ledger, MARCH, WHOLE_MONTH) == []
    assert split_costs(ledger, MARCH, WHOLE_MONTH) == []
    assert list_costs(ledger, MARCH) == []
    assert served(ledger) == {}


def test_an_hour_of_another_month_says_nothing_of_that_month(ledger: Ledger) -> None:
    """A line of March's bill may be of April; the hours of April that are known stay, and none is taken for zero."""
    april, now = datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 4, 3, tzinfo=UTC)
    hour = timedelta(hours=1)
    known = {april: 5.0, april + hour: 6.0}
    commit(ledger, month_of(april.date(), date(2026, 4, 2)), now, hours=known)
    of_march = {april - hour: 4.0, april + hour: 1.0, april + 3 * hour: 1.0}
    commit(ledger, month_of(MARCH, april.date()), now, hours=of_march)
    start, end = april - hour, april + 24 * hour
    assert set(cube_hours.read_hours(ledger, start, end)) == {april - hour, *known}
    assert {at: units for (at, _, _), units in cube_hours.sums(ledger, start, end, "unblended").items()} == {
        april - hour: 4 * USD,
        **{at: round(usd * USD) for at, usd in known.items()},
    }


def test_a_charge_in_advance_makes_no_zero_of_the_days_before_it(ledger: Ledger) -> None:
    renewal = Row(day=date(2026, 3, 31), service="Amazon Registrar", usd=12)
    commit(ledger, [*month_of(MARCH, date(2026, 3, 13)), renewal], NOW)
    asked = Question(date(2026, 3, 11), date(2026, 4, 1), ("day",), {}, "unblended")
    found = answer(ledger, asked)
    assert dict(found.costs) == {
        (day,): usd * USD for day, usd in (("2026-03-11", 1), ("2026-03-12", 1), ("2026-03-31", 12))
    }
    assert found.missing == list(days_between(date(2026, 3, 13), date(2026, 3, 31)))
    by_region = answer(ledger, replace(asked, by=("day", "region")))
    assert (sum(by_region.costs.values()), by_region.missing) == (14 * USD, found.missing)
