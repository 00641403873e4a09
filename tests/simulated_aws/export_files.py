"""Reads files of an export back into the amounts of Cost Explorer by AWS's published formulas, in DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb

from simulated_aws import SimulatedAws

RECORD_TYPES = {
    "EdpDiscount": "Enterprise Discount Program Discount",
    "PrivateRateDiscount": "Private Rate Card Discount",
    "BundledDiscount": "Bundled Discount",
}
_INSTANCES = "BoxUsage|SpotUsage|DedicatedUsage|HostUsage|UnusedBox|ReservedHostUsage|HeavyUsage"
_NET_UNBLENDED = "coalesce(line_item_net_unblended_cost, line_item_unblended_cost)"
_IS_REFUND = (
    "line_item_line_item_type = 'Refund' AND line_item_product_code = 'ComputeSavingsPlans' "
    "AND line_item_line_item_description LIKE 'Refund for one-time fee for Savings Plan ID%'"
)
_UNUSED = "(savings_plan_total_commitment_to_date - savings_plan_used_commitment)"
_RATIO = """coalesce(
    savings_plan_net_amortized_upfront_commitment_for_billing_period
        / nullif(savings_plan_amortized_upfront_commitment_for_billing_period, 0),
    savings_plan_net_recurring_commitment_for_billing_period
        / nullif(savings_plan_recurring_commitment_for_billing_period, 0), 1)"""
METRICS = {
    "UnblendedCost": "line_item_unblended_cost",
    "BlendedCost": "coalesce(line_item_blended_cost, 0)",
    "NetUnblendedCost": _NET_UNBLENDED,
    "AmortizedCost": f"""CASE line_item_line_item_type
        WHEN 'SavingsPlanCoveredUsage' THEN savings_plan_savings_plan_effective_cost
        WHEN 'SavingsPlanRecurringFee' THEN {_UNUSED}
        WHEN 'SavingsPlanNegation' THEN 0 WHEN 'SavingsPlanUpfrontFee' THEN 0
        WHEN 'DiscountedUsage' THEN reservation_effective_cost
        WHEN 'RIFee' THEN reservation_unused_amortized_upfront_fee_for_billing_period + reservation_unused_recurring_fee
        ELSE CASE WHEN {_IS_REFUND} THEN 0
            WHEN line_item_line_item_type = 'Fee' AND coalesce(reservation_reservation_a_r_n, '') <> '' THEN 0
            ELSE line_item_unblended_cost END END""",
    "NetAmortizedCost": f"""CASE line_item_line_item_type
        WHEN 'SavingsPlanCoveredUsage'
            THEN coalesce(savings_plan_net_savings_plan_effective_cost, savings_plan_savings_plan_effective_cost)
        WHEN 'SavingsPlanRecurringFee' THEN {_UNUSED} * {_RATIO}
        WHEN 'SavingsPlanNegation' THEN 0 WHEN 'SavingsPlanUpfrontFee' THEN 0
        WHEN 'DiscountedUsage' THEN coalesce(reservation_net_effective_cost, reservation_effective_cost)
        WHEN 'RIFee' THEN coalesce(reservation_net_unused_amortized_upfront_fee_for_billing_period,
                reservation_unused_amortized_upfront_fee_for_billing_period)
            + coalesce(reservation_net_unused_recurring_fee, reservation_unused_recurring_fee)
        ELSE CASE WHEN {_IS_REFUND} THEN 0
            WHEN line_item_line_item_type = 'Fee' AND coalesce(reservation_reservation_a_r_n, '') <> '' THEN 0
            ELSE {_NET_UNBLENDED} END END""",
    "ListCost": "CASE WHEN line_item_line_item_type = 'SavingsPlanNegation' THEN 0 ELSE pricing_public_on_demand_cost END",
    "UsageQuantity": "line_item_usage_amount",
}
DIMENSIONS = {
    "day": "strftime(line_item_usage_start_date, '%Y-%m-%d')",
    "hour": "strftime(line_item_usage_start_date, '%Y-%m-%dT%H:%M:%SZ')",
    "account": "line_item_usage_account_id",
    "service": f"""CASE WHEN line_item_line_item_type = 'Tax' THEN 'Tax'
        WHEN line_item_product_code = 'AmazonEC2' AND regexp_matches(line_item_usage_type, '{_INSTANCES}')
            THEN 'Amazon Elastic Compute Cloud - Compute'
        WHEN line_item_product_code = 'AmazonEC2' THEN 'EC2 - Other'
        WHEN line_item_product_code = 'AWSELB' THEN 'Amazon Elastic Load Balancing'
        ELSE product['product_name'] END""",
    "region": "coalesce(nullif(product_region_code, ''), 'NoRegion')",
    "usage_type": "coalesce(nullif(line_item_usage_type, ''), 'NoUsageType')",
    "operation": "coalesce(nullif(line_item_operation, ''), 'NoOperation')",
    "record_type": f"""CASE WHEN line_item_product_code LIKE 'AWSSupport%' THEN 'Support'
        ELSE coalesce(MAP {RECORD_TYPES}[line_item_line_item_type], line_item_line_item_type) END""",
    "billing_entity": "bill_billing_entity",
    "resource": "coalesce(line_item_resource_id, '')",
    "tag:team": "coalesce(resource_tags['user_team'], '')",
    "tag:environment": "coalesce(resource_tags['user_environment'], '')",
    "cost_category:CostCenter": "coalesce(cost_category['CostCenter'], '')",
}  # fmt: skip
FOCUS_METRICS = {
    "NetUnblendedCost": "BilledCost",
    "NetAmortizedCost": "EffectiveCost",
    "ListCost": "ListCost",
}
FOCUS_DIMENSIONS = {
    "day": "strftime(ChargePeriodStart, '%Y-%m-%d')",
    "account": "SubAccountId",
    "region": "coalesce(RegionId, 'NoRegion')",
    "operation": "coalesce(nullif(x_Operation, ''), 'NoOperation')",
    "resource": "coalesce(ResourceId, '')",
    "tag:team": "coalesce(Tags['team'], '')",
}


def month_files(aws: SimulatedAws, month: date, name: str = "cost") -> list[Path]:
    """The files that lie in the folder of a month."""
    export = aws.exports.find(name)
    return [
        stored.path for _, stored in aws.exports.buckets.list(export.bucket, export.folder("data", month))
    ]


def totals(
    files: Sequence[Path], by: Sequence[str], metric: str, *, focus: bool = False
) -> dict[tuple[str, ...], Decimal]:
    """The sums over files, by keys in the order of `by`, without those that are zero."""
    dimensions, metrics = (FOCUS_DIMENSIONS, FOCUS_METRICS) if focus else (DIMENSIONS, METRICS)
    selected = "".join(f"{dimensions[name]} AS by{i}, " for i, name in enumerate(by))
    keys = "".join(f"by{i}, " for i in range(len(by)))
    amount = f"({metrics[metric]})::DECIMAL(28, 10)"
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute(
            f"SELECT {keys}sum(amount) FROM (SELECT {selected}{amount} AS amount FROM read_parquet(?)) GROUP BY ALL",  # noqa: S608 - names of ours
            [[str(path) for path in files]],
        ).fetchall()
    return {tuple(row[:-1]): row[-1] for row in rows if row[-1]}
