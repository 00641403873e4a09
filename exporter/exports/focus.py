"""Lines of FOCUS 1.0 and 1.2, as AWS exports them.

FOCUS has cost after discounts only: what is billed is net unblended, what is effective net amortized. It has no blended cost
and no cost before discounts; 1.2 has no usage type. None of these is ever zero: they are not available.
"""

from __future__ import annotations

from collections.abc import Collection

from exporter.cube.dimensions import MARKETPLACE
from exporter.exports.line_columns import UNKNOWN, LineColumns
from exporter.exports.line_sql import LineFormat, LineSql, first_of, or_zero
from exporter.exports.tag_keys import COST_CATEGORY, TAG, category_names, snake, tag_names

_TEXT = (
    "subaccountid", "billingcurrency", "chargecategory", "chargefrequency", "commitmentdiscountid",
    "commitmentdiscountstatus", "commitmentdiscounttype", "publishername", "regionid", "resourceid", "servicename",
    "x_operation", "x_servicecode", "x_usagetype",
)  # fmt: skip
_MONEY = ("billedcost", "effectivecost", "listcost")
_MOMENTS = ("chargeperiodstart", "billingperiodstart")
_MAPS = ("tags", "x_costcategories")
_NOT_AVAILABLE = frozenset({"unblended", "blended", "amortized"})
_NO_AMOUNT = "CAST(NULL AS BIGINT)"


def _sql(file: LineColumns) -> LineSql:
    name = file.text("servicename")
    unused = f"coalesce({file.text('commitmentdiscountstatus')}, '') = 'Unused'"
    return LineSql(
        start=file.moment("chargeperiodstart"),
        period_start=file.moment("billingperiodstart"),
        currency=file.text("billingcurrency"),
        line_type=_line_type(file, unused),
        account_id=file.text("subaccountid"),
        product_code=first_of(f"nullif({file.text('x_servicecode')}, '')", name),
        product_name=name,
        region=file.text("regionid"),
        usage_type=file.text("x_usagetype"),
        operation=file.text("x_operation"),
        billing_entity=_billing_entity(file),
        resource=file.text("resourceid"),
        usage=file.number("consumedquantity"),
        amounts={
            **dict.fromkeys(_NOT_AVAILABLE, _NO_AMOUNT),
            "net_unblended": or_zero(file.units("billedcost")),
            "net_amortized": or_zero(file.units("effectivecost")),
            # A commitment has a list price too, when it is bought; what it covers has it again.
            "list_cost": (
                f"CASE WHEN {file.text('chargecategory')} = 'Usage' AND NOT {unused}"
                f" THEN {or_zero(file.units('listcost'))} ELSE 0 END"
                if file.has("listcost")
                else _NO_AMOUNT
            ),
        },
        arn=file.text("commitmentdiscountid"),
        end_time=UNKNOWN,
        splits={},
    )


def _line_type(file: LineColumns, unused: str) -> str:
    """CUR's line type for a charge: Cost Explorer's charge types, which the cube has, are made of these."""
    category = file.text("chargecategory")
    commitment = f"coalesce({file.text('commitmentdiscountid')}, '')"
    plan = f"(lower(coalesce({file.text('commitmentdiscounttype')}, '')) LIKE '%savings plan%' OR {commitment} LIKE '%:savingsplan/%')"
    once = f"coalesce({file.text('chargefrequency')}, '') = 'One-Time'"
    fee = f"CASE WHEN {plan} THEN 'SavingsPlanRecurringFee' ELSE 'RIFee' END"
    return (
        f"CASE WHEN {category} = 'Usage' THEN CASE WHEN {commitment} = '' THEN 'Usage' WHEN {unused} THEN {fee}"
        f" WHEN {plan} THEN 'SavingsPlanCoveredUsage' ELSE 'DiscountedUsage' END"
        f" WHEN {category} = 'Purchase' THEN CASE WHEN {commitment} = '' THEN 'Fee' WHEN NOT {once} THEN {fee}"
        f" WHEN {plan} THEN 'SavingsPlanUpfrontFee' ELSE 'Fee' END"
        f" WHEN {category} = 'Adjustment' THEN 'Refund'"
        f" ELSE {category} END"
    )


def _billing_entity(file: LineColumns) -> str:
    publisher = file.text("publishername")
    if publisher == UNKNOWN:
        return UNKNOWN
    return (
        f"CASE WHEN coalesce({publisher}, '') = '' OR lower({publisher}) LIKE 'amazon%' OR lower({publisher}) LIKE 'aws%' THEN 'AWS'"
        f" ELSE '{MARKETPLACE}' END"
    )


def _unavailable(file: LineColumns, line_types: Collection[str]) -> frozenset[str]:
    return _NOT_AVAILABLE if file.has("listcost") else _NOT_AVAILABLE | {"list_cost"}


def _refusal(file: LineColumns) -> str | None:
    if file.has("line_item_unblended_cost") or file.has("lineitem/unblendedcost"):
        return "is a Cost and Usage Report, not FOCUS"
    return None


def _names_of(column: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if column.startswith(TAG):
        return (("tags", tag_names(column.removeprefix(TAG))),)
    name = column.removeprefix(COST_CATEGORY)
    return (
        ("x_costcategories", category_names(name)),
        (
            "tags",
            (f"cost_category_{snake(name)}", *(f"costCategory/{each}" for each in category_names(name))),
        ),
    )


FOCUS = LineFormat(
    title="FOCUS",
    needed={
        **dict.fromkeys(_TEXT, "VARCHAR"),
        **dict.fromkeys(_MONEY, "DECIMAL(27,10)"),
        **dict.fromkeys(_MAPS, "MAP"),
        **dict.fromkeys(_MOMENTS, "TIMESTAMP"),
        "consumedquantity": "DECIMAL(30,8)",
    },
    required=(
        "chargeperiodstart",
        "subaccountid",
        "servicename",
        "chargecategory",
        "billedcost",
        "effectivecost",
    ),
    refusal=_refusal,
    names_of=_names_of,
    sql=_sql,
    unavailable=_unavailable,
)
