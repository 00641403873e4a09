"""The columns of AWS's tables of cost, as expressions over the simulated lines (`l`) and their keys (`k`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type in DuckDB, and the expression; NULL where the simulation has no value."""

    name: str
    type: str
    expression: str = "NULL"


_TEXT, _MONEY, _TIME = "VARCHAR", "DOUBLE", "TIMESTAMP"
_MAP = "MAP(VARCHAR, VARCHAR)"
_START = "l.starts"
_END = "l.ends"
_COVERED = "k.record_type = 'SavingsPlanCoveredUsage'"
_PLAN_FEE = "k.record_type = 'SavingsPlanRecurringFee'"
_RESERVED = "k.record_type = 'DiscountedUsage'"
_RESERVATION_FEE = "k.record_type = 'RIFee'"


def _usd(units: str) -> str:
    return f"({units}) / 1e10"


def _when(condition: str, expression: str, otherwise: str = "NULL") -> str:
    return f"CASE WHEN {condition} THEN {expression} ELSE {otherwise} END"


def _net(gross: str, net: str) -> str:
    """A net amount, NULL where no discount makes it differ from the gross one."""
    return _when(f"{gross} <> {net}", _usd(net))


# What a Savings Plan commits to is more than its fee shows where that was paid upfront.
_COMMITTED = _when(
    "k.payment = 'All Upfront'", "l.amortized * 20 + 10000", "greatest(l.unblended, l.amortized)"
)
_RECURRING = _when(
    "k.payment = 'No Upfront'", _COMMITTED, _when("k.payment = 'All Upfront'", "0", f"({_COMMITTED}) // 2")
)
_NET_RATIO = _when("l.amortized <> 0", "l.net_amortized / l.amortized::DOUBLE", "1.0")
_IS_POD = "k.parent <> ''"
_IS_DISCOUNT = "k.line_type LIKE '%Discount'"


def _texts(*names: str) -> list[Column]:
    return [Column(name, _TEXT) for name in names]


_CUR_2 = [
    Column("bill_bill_type", _TEXT, "k.bill_type"),
    Column("bill_billing_entity", _TEXT, "k.billing_entity"),
    Column("bill_billing_period_end_date", _TIME, "l.period_end"),
    Column("bill_billing_period_start_date", _TIME, "l.period_start"),
    Column("bill_invoice_id", _TEXT, "l.invoice"),
    Column("bill_invoicing_entity", _TEXT, "k.legal_entity"),
    Column("bill_payer_account_id", _TEXT, "l.payer"),
    Column("bill_payer_account_name", _TEXT, "l.payer_name"),
    Column("cost_category", _MAP, "k.categories"),
    Column(
        "discount",
        "MAP(VARCHAR, DOUBLE)",
        _when("l.net_unblended <> l.unblended", f"MAP {{'edp_discount': {_usd('l.net_unblended - l.unblended')}}}",
              "MAP {}::MAP(VARCHAR, DOUBLE)"),
    ),
    Column("discount_bundled_discount", _MONEY, "0.0"),
    Column("discount_total_discount", _MONEY, _usd("l.net_unblended - l.unblended")),
    Column("identity_line_item_id", _TEXT, "md5(concat_ws(':', l.salt, l.day, l.hour, l.key, l.resource))"),
    Column(
        "identity_time_interval",
        _TEXT,
        f"strftime({_START}, '%Y-%m-%dT%H:%M:%SZ') || '/' || strftime({_END}, '%Y-%m-%dT%H:%M:%SZ')",
    ),
    Column("line_item_availability_zone", _TEXT),
    Column("line_item_blended_cost", _MONEY, _when(f"{_IS_DISCOUNT} AND l.blended = 0", "NULL", _usd("l.blended"))),
    *_texts("line_item_blended_rate"),
    Column("line_item_currency_code", _TEXT, "l.currency"),
    Column("line_item_legal_entity", _TEXT, "k.legal_entity"),
    Column("line_item_line_item_description", _TEXT, "k.description"),
    Column("line_item_line_item_type", _TEXT, "k.line_type"),
    Column("line_item_net_unblended_cost", _MONEY, _net("l.unblended", "l.net_unblended")),
    *_texts("line_item_net_unblended_rate"),
    Column("line_item_normalization_factor", _MONEY),
    Column("line_item_normalized_usage_amount", _MONEY),
    Column("line_item_operation", _TEXT, "k.operation"),
    Column("line_item_product_code", _TEXT, "k.product_code"),
    Column("line_item_resource_id", _TEXT, "k.resources[l.resource + 1]"),
    *_texts("line_item_tax_type", "line_item_unblended_rate"),
    Column("line_item_unblended_cost", _MONEY, _usd("l.unblended")),
    Column("line_item_usage_account_id", _TEXT, "k.account_id"),
    Column("line_item_usage_account_name", _TEXT, "k.account_name"),
    Column("line_item_usage_amount", _MONEY, _usd("l.quantity")),
    Column("line_item_usage_end_date", _TIME, _END),
    Column("line_item_usage_start_date", _TIME, _START),
    Column("line_item_usage_type", _TEXT, "k.usage_type"),
    Column("pricing_currency", _TEXT, "l.currency"),
    *_texts("pricing_lease_contract_length", "pricing_offering_class"),
    Column("pricing_public_on_demand_cost", _MONEY, _usd("l.list_cost")),
    *_texts("pricing_public_on_demand_rate", "pricing_purchase_option", "pricing_rate_code", "pricing_rate_id"),
    Column("pricing_term", _TEXT, _when(_RESERVED, "'Reserved'", "'OnDemand'")),
    *_texts("pricing_unit"),
    Column("product", _MAP, "k.product"),
    *_texts(
        "product_comment", "product_fee_code", "product_fee_description", "product_from_location",
        "product_from_location_type", "product_from_region_code", "product_instance_family", "product_instance_type",
        "product_instancesku", "product_location", "product_location_type",
    ),
    Column("product_operation", _TEXT, "k.operation"),
    *_texts("product_pricing_unit", "product_product_family"),
    # An empty text and NULL both occur where a line has no region.
    Column("product_region_code", _TEXT, _when("k.region = '' AND l.hour % 2 = 0 AND l.key % 2 = 0", "NULL", "k.region")),
    Column("product_servicecode", _TEXT, "k.service_code"),
    *_texts("product_sku", "product_to_location", "product_to_location_type", "product_to_region_code"),
    Column("product_usagetype", _TEXT, "k.usage_type"),
    Column("reservation_amortized_upfront_cost_for_usage", _MONEY, _when(_RESERVED, _usd("l.amortized // 3"))),
    Column("reservation_amortized_upfront_fee_for_billing_period", _MONEY),
    *_texts("reservation_availability_zone"),
    Column("reservation_effective_cost", _MONEY, _when(_RESERVED, _usd("l.amortized"), "0.0")),
    Column("reservation_end_time", _TEXT, "nullif(k.reservation_end, '')"),
    *_texts("reservation_modification_status"),
    Column("reservation_net_amortized_upfront_cost_for_usage", _MONEY, _when(_RESERVED, _usd("l.net_amortized // 3"))),
    Column("reservation_net_amortized_upfront_fee_for_billing_period", _MONEY),
    Column("reservation_net_effective_cost", _MONEY, _when(_RESERVED, _net("l.amortized", "l.net_amortized"))),
    Column(
        "reservation_net_recurring_fee_for_usage", _MONEY, _when(_RESERVED, _usd("l.net_amortized - l.net_amortized // 3"))
    ),
    Column(
        "reservation_net_unused_amortized_upfront_fee_for_billing_period",
        _MONEY,
        _when(f"{_RESERVATION_FEE} AND l.net_amortized <> l.amortized", _usd("l.net_amortized // 3")),
    ),
    Column(
        "reservation_net_unused_recurring_fee",
        _MONEY,
        _when(
            f"{_RESERVATION_FEE} AND l.net_amortized <> l.amortized", _usd("l.net_amortized - l.net_amortized // 3")
        ),
    ),
    Column("reservation_net_upfront_value", _MONEY),
    *_texts("reservation_normalized_units_per_reservation", "reservation_number_of_reservations"),
    Column("reservation_recurring_fee_for_usage", _MONEY, _when(_RESERVED, _usd("l.amortized - l.amortized // 3"))),
    Column("reservation_reservation_a_r_n", _TEXT, _when("l.hour % 2 = 1", "nullif(k.reservation, '')", "k.reservation")),
    *_texts(
        "reservation_start_time", "reservation_subscription_id", "reservation_total_reserved_normalized_units",
        "reservation_total_reserved_units", "reservation_units_per_reservation",
    ),
    Column(
        "reservation_unused_amortized_upfront_fee_for_billing_period",
        _MONEY,
        _when(_RESERVATION_FEE, _usd("l.amortized // 3"), "0.0"),
    ),
    Column("reservation_unused_normalized_unit_quantity", _MONEY),
    Column("reservation_unused_quantity", _MONEY),
    Column(
        "reservation_unused_recurring_fee", _MONEY, _when(_RESERVATION_FEE, _usd("l.amortized - l.amortized // 3"), "0.0")
    ),
    Column("reservation_upfront_value", _MONEY),
    Column("resource_tags", _MAP, "k.tags"),
    Column(
        "savings_plan_amortized_upfront_commitment_for_billing_period",
        _MONEY,
        _when(_PLAN_FEE, _usd(f"({_COMMITTED}) - ({_RECURRING})")),
    ),
    Column("savings_plan_end_time", _TEXT, "nullif(k.plan_end, '')"),
    *_texts("savings_plan_instance_type_family"),
    Column(
        "savings_plan_net_amortized_upfront_commitment_for_billing_period",
        _MONEY,
        _when(_PLAN_FEE, f"{_usd(f'({_COMMITTED}) - ({_RECURRING})')} * {_NET_RATIO}"),
    ),
    Column(
        "savings_plan_net_recurring_commitment_for_billing_period",
        _MONEY,
        _when(_PLAN_FEE, f"{_usd(_RECURRING)} * {_NET_RATIO}"),
    ),
    Column(
        "savings_plan_net_savings_plan_effective_cost", _MONEY, _when(_COVERED, _net("l.amortized", "l.net_amortized"))
    ),
    Column("savings_plan_offering_type", _TEXT, _when("k.plan <> ''", "'ComputeSavingsPlans'")),
    Column("savings_plan_payment_option", _TEXT, _when("k.plan <> ''", "k.payment")),
    Column("savings_plan_purchase_term", _TEXT, _when("k.plan <> ''", "k.term")),
    Column("savings_plan_recurring_commitment_for_billing_period", _MONEY, _when(_PLAN_FEE, _usd(_RECURRING))),
    *_texts("savings_plan_region"),
    Column("savings_plan_savings_plan_a_r_n", _TEXT, "k.plan"),
    Column("savings_plan_savings_plan_effective_cost", _MONEY, _when(_COVERED, _usd("l.amortized"), "0.0")),
    Column("savings_plan_savings_plan_rate", _MONEY),
    *_texts("savings_plan_start_time"),
    Column("savings_plan_total_commitment_to_date", _MONEY, _when(_PLAN_FEE, _usd(_COMMITTED), "0.0")),
    Column(
        "savings_plan_used_commitment", _MONEY, _when(_PLAN_FEE, _usd(f"({_COMMITTED}) - l.amortized"), "0.0")
    ),
    Column("split_line_item_actual_usage", _MONEY, _when(_IS_POD, _usd("l.quantity"))),
    Column("split_line_item_net_split_cost", _MONEY, _when(_IS_POD, _usd("l.net_split_cost"))),
    Column("split_line_item_net_unused_cost", _MONEY, _when(_IS_POD, _usd("l.net_unused_cost"))),
    Column("split_line_item_parent_resource_id", _TEXT, _when(_IS_POD, "k.parent")),
    Column("split_line_item_public_on_demand_split_cost", _MONEY),
    Column("split_line_item_public_on_demand_unused_cost", _MONEY),
    Column("split_line_item_reserved_usage", _MONEY, _when(_IS_POD, _usd("l.quantity"))),
    Column("split_line_item_split_cost", _MONEY, _when(_IS_POD, _usd("l.split_cost"))),
    Column("split_line_item_split_usage", _MONEY, _when(_IS_POD, _usd("l.quantity"))),
    Column("split_line_item_split_usage_ratio", _MONEY),
    Column("split_line_item_unused_cost", _MONEY, _when(_IS_POD, _usd("l.unused_cost"))),
]  # fmt: skip

_PURCHASES = (
    "('Fee', 'RIFee', 'SavingsPlanRecurringFee', 'SavingsPlanUpfrontFee', 'FlatRateSubscription', 'Support')"
)
_CATEGORY = f"""CASE WHEN k.is_unused THEN 'Usage' WHEN k.record_type IN {_PURCHASES} THEN 'Purchase'
    WHEN k.record_type = 'Tax' THEN 'Tax' WHEN k.record_type = 'Credit' THEN 'Credit'
    WHEN k.record_type = 'Refund' OR k.line_type LIKE '%Discount' THEN 'Adjustment' ELSE 'Usage' END"""
_COMMITMENT = "nullif(coalesce(nullif(k.plan, ''), k.reservation), '')"

_FOCUS: list[Column] = [
    Column("AvailabilityZone", _TEXT),
    Column("BilledCost", _MONEY, _usd("l.net_unblended")),
    Column("BillingAccountId", _TEXT, "l.payer"),
    Column("BillingAccountName", _TEXT, "l.payer_name"),
    Column("BillingCurrency", _TEXT, "l.currency"),
    Column("BillingPeriodEnd", _TIME, "l.period_end"),
    Column("BillingPeriodStart", _TIME, "l.period_start"),
    Column("ChargeCategory", _TEXT, _CATEGORY),
    Column("ChargeClass", _TEXT),
    Column("ChargeDescription", _TEXT, "k.description"),
    Column(
        "ChargeFrequency",
        _TEXT,
        "CASE WHEN k.record_type IN ('SavingsPlanRecurringFee', 'RIFee', 'FlatRateSubscription') THEN 'Recurring' "
        "WHEN k.record_type IN ('Fee', 'SavingsPlanUpfrontFee', 'Credit', 'Refund', 'Tax') THEN 'One-Time' "
        "ELSE 'Usage-Based' END",
    ),
    Column("ChargePeriodEnd", _TIME, _END),
    Column("ChargePeriodStart", _TIME, _START),
    Column("CommitmentDiscountCategory", _TEXT, _when("k.plan <> ''", "'Spend'", _when("k.reservation <> ''", "'Usage'"))),
    Column("CommitmentDiscountId", _TEXT, _COMMITMENT),
    Column("CommitmentDiscountName", _TEXT),
    Column(
        "CommitmentDiscountStatus",
        _TEXT,
        _when("k.is_unused", "'Unused'", _when("k.record_type IN ('SavingsPlanCoveredUsage', 'DiscountedUsage')", "'Used'")),
    ),
    Column(
        "CommitmentDiscountType",
        _TEXT,
        _when("k.plan <> ''", "'Compute Savings Plans'", _when("k.reservation <> ''", "'Reserved Instances'")),
    ),
    Column("ConsumedQuantity", _MONEY, _when(f"{_CATEGORY} = 'Usage'", _usd("l.quantity"))),
    Column("ConsumedUnit", _TEXT),
    Column("ContractedCost", _MONEY, _when(f"{_CATEGORY} = 'Usage'", _usd("l.list_cost"), _usd("l.net_unblended"))),
    Column("ContractedUnitPrice", _MONEY),
    Column("EffectiveCost", _MONEY, _usd("l.net_amortized")),
    Column("InvoiceIssuerName", _TEXT, "k.legal_entity"),
    Column("ListCost", _MONEY, _usd("l.list_cost")),
    Column("ListUnitPrice", _MONEY),
    Column(
        "PricingCategory",
        _TEXT,
        _when("k.record_type IN ('SavingsPlanCoveredUsage', 'DiscountedUsage')", "'Committed'", "'Standard'"),
    ),
    Column("PricingQuantity", _MONEY, _usd("l.quantity")),
    Column("PricingUnit", _TEXT),
    Column("ProviderName", _TEXT, "'AWS'"),
    Column("PublisherName", _TEXT, _when("k.billing_entity = 'AWS'", "'AWS'", "k.legal_entity")),
    Column("RegionId", _TEXT, "nullif(k.region, '')"),
    Column("RegionName", _TEXT, "nullif(k.region, '')"),
    Column("ResourceId", _TEXT, "nullif(k.resources[l.resource + 1], '')"),
    Column("ResourceName", _TEXT),
    Column("ResourceType", _TEXT),
    Column("ServiceCategory", _TEXT, "k.category"),
    Column("ServiceName", _TEXT, "k.product_name"),
    Column("SkuId", _TEXT),
    Column("SkuPriceId", _TEXT),
    Column("SubAccountId", _TEXT, "k.account_id"),
    Column("SubAccountName", _TEXT, "k.account_name"),
    Column("Tags", _MAP, "k.plain_tags"),
    Column("x_Discounts", "MAP(VARCHAR, DOUBLE)", "MAP {}::MAP(VARCHAR, DOUBLE)"),
    Column("x_Operation", _TEXT, "k.operation"),
    Column("x_ServiceCode", _TEXT, "k.product_code"),
]  # fmt: skip

_FOCUS_1_0 = sorted(
    [
        *_FOCUS,
        Column("x_CostCategories", _MAP, "k.categories"),
        Column("x_UsageType", _TEXT, "k.usage_type"),
    ],
    key=lambda column: (column.name.startswith("x_"), column.name),
)

_FOCUS_1_2 = sorted(
    [
        *_FOCUS,
        Column("BillingAccountType", _TEXT, "'Management account'"),
        Column("CapacityReservationId", _TEXT),
        Column("CapacityReservationStatus", _TEXT),
        Column("CommitmentDiscountQuantity", _MONEY),
        Column("CommitmentDiscountUnit", _TEXT),
        Column("InvoiceId", _TEXT, "l.invoice"),
        Column("PricingCurrency", _TEXT, "l.currency"),
        Column("PricingCurrencyContractedUnitPrice", _MONEY),
        Column("PricingCurrencyEffectiveCost", _MONEY, _usd("l.net_amortized")),
        Column("PricingCurrencyListUnitPrice", _MONEY),
        Column("ServiceSubcategory", _TEXT),
        Column("SkuMeter", _TEXT),
        Column("SkuPriceDetails", _TEXT),
        Column("SubAccountType", _TEXT, "'Member account'"),
    ],
    key=lambda column: (column.name.startswith("x_"), column.name),
)

CUR_2 = "COST_AND_USAGE_REPORT"
FOCUS_1_0 = "FOCUS_1_0_AWS"
FOCUS_1_2 = "FOCUS_1_2_AWS"

TABLES: Mapping[str, list[Column]] = {CUR_2: _CUR_2, FOCUS_1_0: _FOCUS_1_0, FOCUS_1_2: _FOCUS_1_2}
"""The columns of each table, by its name in a query statement."""


def columns_of(table: str, *, resources: bool = True, split_costs: bool = False) -> list[Column]:
    """The columns of a table under its configuration."""
    columns = TABLES[table]
    if table == CUR_2 and not resources:
        columns = [column for column in columns if column.name != "line_item_resource_id"]
    if not split_costs:
        columns = [column for column in columns if not column.name.startswith("split_line_item_")]
    return columns
