"""Folded months against a separate computation in Decimal, for drawn lines in drawn files."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from export_lines import CUR2_DEFAULTS, cur2_line, write_csv, write_parquet
from hypothesis import given, settings
from hypothesis import strategies as st
from month_folds import fold, query

from exporter.exports import month_tables
from exporter.exports.charge_types import record_type
from exporter.exports.cur2 import CUR2
from exporter.exports.line_file import LineFile
from exporter.exports.line_sql import COST_TYPES, LineSql

pytestmark = pytest.mark.clockless

Keys = tuple[date, str, str, str, str]
"""Day, account, charge type, resource, team."""

TYPES = (
    "Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation", "SavingsPlanRecurringFee",
    "SavingsPlanUpfrontFee", "RIFee", "Fee", "Tax", "Credit", "Refund", "EdpDiscount", "FlatRateSubscription", "Unheard",
)  # fmt: skip
NULL_OR = {
    "blended": "line_item_blended_cost",
    "net": "line_item_net_unblended_cost",
    "covered": "savings_plan_savings_plan_effective_cost",
    "net covered": "savings_plan_net_savings_plan_effective_cost",
    "committed": "savings_plan_total_commitment_to_date",
    "used": "savings_plan_used_commitment",
    "reserved": "reservation_effective_cost",
    "net reserved": "reservation_net_effective_cost",
    "unused upfront": "reservation_unused_amortized_upfront_fee_for_billing_period",
    "net unused upfront": "reservation_net_unused_amortized_upfront_fee_for_billing_period",
    "unused recurring": "reservation_unused_recurring_fee",
    "net unused recurring": "reservation_net_unused_recurring_fee",
}
RECURRING = "savings_plan_recurring_commitment_for_billing_period"
NET_RECURRING = "savings_plan_net_recurring_commitment_for_billing_period"


def usd(least: int = -(10**14), most: int = 10**14) -> st.SearchStrategy[float]:
    """Amounts with the ten decimals of AWS, up to 10,000 USD; the floats next to them, as an export has them."""
    return st.integers(least, most).map(lambda units: float(Decimal(units).scaleb(-10)))


@st.composite
def drawn_line(draw: st.DrawFn) -> dict[str, Any]:
    amounts = {column: draw(st.none() | usd()) for column in NULL_OR.values()}
    # A share of 1, 0.75 or 0.5 has no digits to round.
    recurring, share = draw(st.sampled_from([None, 0.0, 24.0])), draw(st.sampled_from([None, 1.0, 0.75, 0.5]))
    is_refund_of_plan = draw(st.booleans())
    return {
        **cur2_line(
            type=draw(st.sampled_from(TYPES)),
            account=draw(st.sampled_from(["1", "2"])),
            code="ComputeSavingsPlans" if is_refund_of_plan else "AmazonS3",
            description="Refund for one-time fee for Savings Plan ID: 1" if is_refund_of_plan else draw(st.sampled_from(["", "x"])),
            start=datetime(2026, 11, draw(st.integers(1, 3)), draw(st.integers(0, 23)), tzinfo=UTC),
            resource=draw(st.sampled_from(["", None, "a", "b"])),
            tags=draw(st.sampled_from([{}, {"user_team": "web"}, {"user_team": "data", "user_stage": "x"}])),
            reservation=draw(st.sampled_from(["", None, "arn"])),
            unblended=draw(usd()),
        ),
        **amounts,
        RECURRING: recurring,
        NET_RECURRING: None if recurring is None or share is None else recurring * share,
    }  # fmt: skip


def units(amount: float | None) -> int | None:
    return None if amount is None else int(Decimal(repr(amount)).scaleb(10).to_integral_value())


def expected_amounts(line: dict[str, Any]) -> tuple[int, int, int, int, int]:
    """The five cost types of a line by AWS's published cases, net amounts falling back to gross ones."""

    def first(*names: str) -> int:
        return next((found for name in names if (found := units(line[NULL_OR[name]])) is not None), 0)

    unblended = units(line["line_item_unblended_cost"]) or 0
    net_unblended = found if (found := units(line[NULL_OR["net"]])) is not None else unblended
    unused = first("committed") - first("used")
    share = Decimal(1)
    if line[RECURRING] and line[NET_RECURRING] is not None:
        share = Decimal(line[NET_RECURRING]) / Decimal(line[RECURRING])
    net_unused = int((unused * share).to_integral_value(ROUND_HALF_UP))  # halves away from zero
    amortized, net_amortized = unblended, net_unblended
    match line["line_item_line_item_type"]:
        case "DiscountedUsage":
            amortized, net_amortized = first("reserved"), first("net reserved", "reserved")
        case "SavingsPlanCoveredUsage":
            amortized, net_amortized = first("covered"), first("net covered", "covered")
        case "SavingsPlanRecurringFee":
            amortized, net_amortized = unused, net_unused
        case "SavingsPlanNegation" | "SavingsPlanUpfrontFee":
            amortized = net_amortized = 0
        case "RIFee":
            amortized = first("unused upfront") + first("unused recurring")
            net_amortized = first("net unused upfront", "unused upfront")
            net_amortized += first("net unused recurring", "unused recurring")
        case "Fee" if line["reservation_reservation_a_r_n"]:
            amortized = net_amortized = 0
        case "Refund" if line["line_item_product_code"] == "ComputeSavingsPlans":
            amortized = net_amortized = 0
    return unblended, first("blended"), amortized, net_unblended, net_amortized


def expected(lines: Sequence[dict[str, Any]]) -> dict[Keys, list[int]]:
    sums: defaultdict[Keys, list[int]] = defaultdict(lambda: [0] * 5)
    has_team = any(line["resource_tags"] for line in lines)
    for line in lines:
        keys = (
            line["line_item_usage_start_date"].date(),
            line["line_item_usage_account_id"],
            record_type(line["line_item_line_item_type"], line["line_item_product_code"]),
            line["line_item_resource_id"] or "",
            line["resource_tags"].get("user_team", "") if has_team else None,
        )
        sums[keys] = [one + other for one, other in zip(sums[keys], expected_amounts(line), strict=True)]
    return dict(sums)


def folded(files: Sequence[Sequence[dict[str, Any]]], *, csv: bool = False) -> dict[Keys, list[int]]:
    with tempfile.TemporaryDirectory() as made:
        folder, paths = Path(made), {}
        for number, lines in enumerate(files):
            name = f"{number}.csv.gz" if csv else f"{number}.parquet"
            paths[name] = (write_csv if csv else write_parquet)(folder / name, lines)
        result = fold(folder, paths, tags=("team",))
        assert result.lines == sum(map(len, files))
        chosen = ", ".join(f"sum({name})" for name in COST_TYPES)
        rows = query(
            result.paths["lines"],
            f'SELECT day, account_id, charge_type, resource, "tag:team", {chosen} FROM lines GROUP BY ALL',  # noqa: S608 # columns
        )
    return {row[:5]: list(row[5:]) for row in rows}


files_of_lines = st.lists(st.lists(drawn_line(), max_size=6), min_size=1, max_size=4)


@settings(max_examples=15)
@given(files_of_lines)
def test_a_fold_is_the_sum_of_its_lines(files):
    assert folded(files) == expected([line for lines in files for line in lines])


@settings(max_examples=8)
@given(files_of_lines)
def test_a_fold_of_csv_is_the_sum_of_its_lines(files):
    assert folded(files, csv=True) == expected([line for lines in files for line in lines])


@pytest.mark.long
@settings(max_examples=100)
@given(files_of_lines, st.booleans())
def test_a_fold_is_the_sum_of_its_lines_for_many(files, csv):
    assert folded(files, csv=csv) == expected([line for lines in files for line in lines])


def lines_of_every_type() -> list[dict[str, Any]]:
    """A line of each type, with another amount in each of its columns."""
    made = []
    for number, kind in enumerate(TYPES):
        amounts = {column: number + place / 100 + 0.001 for place, column in enumerate(NULL_OR.values(), 1)}
        shares = {RECURRING: 24.0, NET_RECURRING: 18.0}
        line = cur2_line(type=kind, unblended=number + 0.9, reservation="arn", tags={"user_team": "a"})
        made.append({**CUR2_DEFAULTS, **line, **amounts, **shares})
    return made


def test_a_dropped_file_and_one_read_twice_are_caught():
    lines = lines_of_every_type()
    files = [lines[:5], lines[5:9], lines[9:]]
    assert folded(files) == expected(lines)
    for number in range(3):
        assert folded([*files[:number], *files[number + 1 :]]) != expected(lines)
        assert folded([*files, files[number]]) != expected(lines)


@pytest.mark.parametrize("cost_type", ["amortized", "net_amortized"])
@pytest.mark.parametrize(
    "kind",
    ["DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation", "SavingsPlanRecurringFee",
     "SavingsPlanUpfrontFee", "RIFee", "Fee"],
)  # fmt: skip
def test_a_line_type_in_the_wrong_cost_type_is_caught(
    monkeypatch: pytest.MonkeyPatch, kind: str, cost_type: str
):
    """The comparison sees a fold that counts what a line type bills where its commitment's cost belongs."""

    def wrong(file: LineFile) -> LineSql:
        sql = CUR2.sql(file)
        billed = f"CASE WHEN {sql.line_type} = '{kind}' THEN {sql.amounts['unblended']} ELSE {sql.amounts[cost_type]} END"
        return replace(sql, amounts={**sql.amounts, cost_type: billed})

    lines = lines_of_every_type()
    monkeypatch.setitem(month_tables._FORMATS, "cur2", replace(CUR2, sql=wrong))
    assert folded([lines]) != expected(lines)
