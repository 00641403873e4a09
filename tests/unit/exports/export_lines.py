"""Writes the lines of an export as AWS does: Parquet with its column names and types, or gzipped CSV."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

Line = Mapping[str, Any]

_MAPS = ("resource_tags", "cost_category", "tags", "product", "Tags", "x_CostCategories")
_MOMENTS = ("_start_date", "_end_date", "PeriodStart", "PeriodEnd")
_MONEY = ("_cost", "_commitment", "_to_date", "_fee", "_for_billing_period", "_amount", "Cost", "Quantity")

CUR2_DEFAULTS: dict[str, Any] = {
    "bill_billing_period_start_date": datetime(2026, 11, 1, tzinfo=UTC),
    "bill_billing_entity": "AWS",
    "bill_payer_account_id": "100000000001",
    "line_item_usage_account_id": "200000000002",
    "line_item_usage_start_date": datetime(2026, 11, 1, tzinfo=UTC),
    "line_item_currency_code": "USD",
    "line_item_line_item_type": "Usage",
    "line_item_product_code": "AmazonS3",
    "line_item_usage_type": "",
    "line_item_operation": "",
    "line_item_resource_id": "",
    "line_item_line_item_description": "",
    "line_item_usage_amount": None,
    "line_item_unblended_cost": 0.0,
    "line_item_blended_cost": None,
    "line_item_net_unblended_cost": None,
    "pricing_public_on_demand_cost": None,
    "product_region_code": "",
    "product": {},
    "resource_tags": {},
    "cost_category": {},
    "savings_plan_savings_plan_a_r_n": "",
    "savings_plan_savings_plan_effective_cost": None,
    "savings_plan_net_savings_plan_effective_cost": None,
    "savings_plan_total_commitment_to_date": None,
    "savings_plan_used_commitment": None,
    "savings_plan_amortized_upfront_commitment_for_billing_period": None,
    "savings_plan_net_amortized_upfront_commitment_for_billing_period": None,
    "savings_plan_recurring_commitment_for_billing_period": None,
    "savings_plan_net_recurring_commitment_for_billing_period": None,
    "savings_plan_end_time": "",
    "reservation_reservation_a_r_n": "",
    "reservation_effective_cost": None,
    "reservation_net_effective_cost": None,
    "reservation_unused_amortized_upfront_fee_for_billing_period": None,
    "reservation_net_unused_amortized_upfront_fee_for_billing_period": None,
    "reservation_unused_recurring_fee": None,
    "reservation_net_unused_recurring_fee": None,
    "reservation_end_time": "",
}
"""The columns of a CUR 2.0 line that matter here, and what a line has in them if it says nothing else."""


def cur2_line(**fields: Any) -> dict[str, Any]:
    """A line of CUR 2.0 by short names: `type`, `code`, `account`, `start` and the columns' own."""
    short = {
        "type": "line_item_line_item_type",
        "code": "line_item_product_code",
        "account": "line_item_usage_account_id",
        "start": "line_item_usage_start_date",
        "usage_type": "line_item_usage_type",
        "operation": "line_item_operation",
        "resource": "line_item_resource_id",
        "unblended": "line_item_unblended_cost",
        "blended": "line_item_blended_cost",
        "net": "line_item_net_unblended_cost",
        "description": "line_item_line_item_description",
        "listed": "pricing_public_on_demand_cost",
        "region": "product_region_code",
        "tags": "resource_tags",
        "plan": "savings_plan_savings_plan_a_r_n",
        "reservation": "reservation_reservation_a_r_n",
    }
    return {short.get(name, name): value for name, value in fields.items()}


def _type(column: str) -> str:
    if column in _MAPS:
        return "MAP(VARCHAR, VARCHAR)"
    if column.endswith(_MOMENTS):
        return "TIMESTAMP"
    return "DOUBLE" if column.endswith(_MONEY) else "VARCHAR"


def write_parquet(
    path: Path,
    lines: Sequence[Line],
    defaults: Mapping[str, Any] = CUR2_DEFAULTS,
    *,
    without: Iterable[str] = (),
) -> Path:
    """Write a Parquet file with the columns of `defaults`, and any that a line has beside them, less `without`."""
    columns = _columns(lines, defaults, without)
    values, texts = [], []
    for column in columns:
        kind = _type(column)
        found = [line.get(column, defaults.get(column)) for line in lines]
        if kind.startswith("MAP"):
            values.append([json.dumps(value or {}) for value in found])
            texts.append(f'CAST(CAST(unnest(CAST(? AS VARCHAR[])) AS JSON) AS {kind}) AS "{column}"')
        else:
            values.append(found)
            texts.append(f'unnest(CAST(? AS {kind}[])) AS "{column}"')
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute(f"CREATE TABLE lines AS SELECT {', '.join(texts)}", values)
        db.table("lines").write_parquet(str(path), compression="snappy")
    return path


def write_csv(
    path: Path,
    lines: Sequence[Line],
    defaults: Mapping[str, Any] = CUR2_DEFAULTS,
    *,
    without: Iterable[str] = (),
) -> Path:
    """The same lines as gzipped CSV: maps as JSON, moments in ISO 8601, nothing where a value is missing."""
    columns = _columns(lines, defaults, without)
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for line in lines:
            writer.writerow(_cell(line.get(column, defaults.get(column))) for column in columns)
    return path


def _columns(lines: Sequence[Line], defaults: Mapping[str, Any], without: Iterable[str]) -> list[str]:
    left_out = set(without)
    return [
        name
        for name in dict.fromkeys([*defaults, *(name for line in lines for name in line)])
        if name not in left_out
    ]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return repr(value) if isinstance(value, float) else str(value)
