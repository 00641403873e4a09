"""Lines of CUR 2.0, and what each counts in the five cost types of Cost Explorer.

The cases of amortized cost are those that AWS publishes (summary_view of its Cloud Intelligence Dashboards); the cases of
net amortized are the same with the net columns, which AWS fills only in months with a discount.
"""

from __future__ import annotations

from collections.abc import Collection

from exporter.exports.line_columns import LineColumns, identifier, whole
from exporter.exports.line_sql import AMOUNTS, LineFormat, LineSql, first_of, or_zero
from exporter.exports.tag_keys import COST_CATEGORY, TAG, all_tags_names, category_names, tag_names

_TYPE = "line_item_line_item_type"
_UNBLENDED = "line_item_unblended_cost"
_BLENDED = "line_item_blended_cost"
_NET_UNBLENDED = "line_item_net_unblended_cost"
_LIST = "pricing_public_on_demand_cost"
_PLAN = "savings_plan_savings_plan_a_r_n"
_PLAN_COST = "savings_plan_savings_plan_effective_cost"
_PLAN_NET_COST = "savings_plan_net_savings_plan_effective_cost"
_PLAN_COMMITTED = "savings_plan_total_commitment_to_date"
_PLAN_USED = "savings_plan_used_commitment"
_PLAN_UPFRONT = "savings_plan_amortized_upfront_commitment_for_billing_period"
_PLAN_NET_UPFRONT = "savings_plan_net_amortized_upfront_commitment_for_billing_period"
_PLAN_RECURRING = "savings_plan_recurring_commitment_for_billing_period"
_PLAN_NET_RECURRING = "savings_plan_net_recurring_commitment_for_billing_period"
_RESERVATION = "reservation_reservation_a_r_n"
_RESERVED_COST = "reservation_effective_cost"
_RESERVED_NET_COST = "reservation_net_effective_cost"
_UNUSED_UPFRONT = "reservation_unused_amortized_upfront_fee_for_billing_period"
_UNUSED_NET_UPFRONT = "reservation_net_unused_amortized_upfront_fee_for_billing_period"
_UNUSED_RECURRING = "reservation_unused_recurring_fee"
_UNUSED_NET_RECURRING = "reservation_net_unused_recurring_fee"
_MONEY = (
    _UNBLENDED, _BLENDED, _NET_UNBLENDED, _LIST, _PLAN_COST, _PLAN_NET_COST, _PLAN_COMMITTED, _PLAN_USED,
    _PLAN_UPFRONT, _PLAN_NET_UPFRONT, _PLAN_RECURRING, _PLAN_NET_RECURRING, _RESERVED_COST, _RESERVED_NET_COST,
    _UNUSED_UPFRONT, _UNUSED_NET_UPFRONT, _UNUSED_RECURRING, _UNUSED_NET_RECURRING, "split_line_item_split_cost",
    "split_line_item_unused_cost", "split_line_item_net_split_cost", "split_line_item_net_unused_cost",
)  # fmt: skip
_TEXT = (
    _TYPE, "line_item_usage_account_id", "line_item_product_code", "product_region_code", "line_item_usage_type",
    "line_item_operation", "line_item_resource_id", "line_item_currency_code", "line_item_line_item_description",
    "bill_billing_entity", _PLAN, _RESERVATION, "savings_plan_end_time", "reservation_end_time",
    "split_line_item_parent_resource_id",
)  # fmt: skip
_MAPS = ("resource_tags", "cost_category", "tags")
_START = "line_item_usage_start_date"
_PERIOD = "bill_billing_period_start_date"
_AMORTIZED_FROM = {
    "SavingsPlanCoveredUsage": (_PLAN_COST,),
    "SavingsPlanRecurringFee": (_PLAN_COMMITTED, _PLAN_USED),
    "DiscountedUsage": (_RESERVED_COST,),
    "RIFee": (_UNUSED_UPFRONT, _UNUSED_RECURRING),
}
_SPLIT_OPERATIONS = "('EKSPod-EC2', 'ECSTask-EC2')"
_REFUND_OF_PLAN = "Refund for one-time fee for Savings Plan ID%"
_LEGACY = (
    "is a legacy Cost and Usage Report, whose columns differ; create a CUR 2.0 export in AWS Data Exports "
    "(docs/data-exports.md)"
)


def _sql(file: LineColumns) -> LineSql:
    region = file.text("product_region_code")
    if file.has("product"):
        of_product = file.value("product", ("region_code", "region"))
        region = (
            first_of(f"nullif({region}, '')", of_product) if file.has("product_region_code") else of_product
        )
    operation = file.text("line_item_operation")
    return LineSql(
        start=file.moment(_START),
        period_start=file.moment(_PERIOD),
        currency=file.text("line_item_currency_code"),
        line_type=file.text(_TYPE),
        account_id=file.text("line_item_usage_account_id"),
        product_code=file.text("line_item_product_code"),
        product_name=file.value("product", ("product_name",)),
        region=region,
        usage_type=file.text("line_item_usage_type"),
        operation=operation,
        billing_entity=file.text("bill_billing_entity"),
        resource=file.text("line_item_resource_id"),
        usage=file.number("line_item_usage_amount"),
        amounts=_amounts(file),
        split=(
            f"coalesce({operation} IN {_SPLIT_OPERATIONS}, FALSE)"
            f" OR coalesce({file.text('split_line_item_parent_resource_id')}, '') <> ''"
        ),
        arn=first_of(f"nullif({file.text(_PLAN)}, '')", file.text(_RESERVATION)),
        end_time=first_of(
            f"nullif({file.text('savings_plan_end_time')}, '')", file.text("reservation_end_time")
        ),
        splits=_splits(file),
    )


def _amounts(file: LineColumns) -> dict[str, str]:
    unblended = or_zero(file.units(_UNBLENDED))
    net_unblended = or_zero(file.units(_NET_UNBLENDED), file.units(_UNBLENDED))
    unused_of_plan = f"({or_zero(file.units(_PLAN_COMMITTED))} - {or_zero(file.units(_PLAN_USED))})"
    return {
        "unblended": unblended,
        "blended": or_zero(file.units(_BLENDED)) if file.has(_BLENDED) else file.units(_BLENDED),
        "amortized": _amortized(
            file,
            covered=or_zero(file.units(_PLAN_COST)),
            unused_of_plan=unused_of_plan,
            reserved=or_zero(file.units(_RESERVED_COST)),
            unused_of_reservation=f"{or_zero(file.units(_UNUSED_UPFRONT))} + {or_zero(file.units(_UNUSED_RECURRING))}",
            otherwise=unblended,
        ),
        "net_unblended": net_unblended,
        "net_amortized": _amortized(
            file,
            covered=or_zero(file.units(_PLAN_NET_COST), file.units(_PLAN_COST)),
            unused_of_plan=whole(f"{unused_of_plan} * {_net_share_of_plan(file)}"),
            reserved=or_zero(file.units(_RESERVED_NET_COST), file.units(_RESERVED_COST)),
            unused_of_reservation=(
                f"{or_zero(file.units(_UNUSED_NET_UPFRONT), file.units(_UNUSED_UPFRONT))}"
                f" + {or_zero(file.units(_UNUSED_NET_RECURRING), file.units(_UNUSED_RECURRING))}"
            ),
            otherwise=net_unblended,
        ),
        # What covered usage would have cost is on the line itself, not on its negation.
        "list_cost": (
            f"CASE {file.text(_TYPE)} WHEN 'SavingsPlanNegation' THEN 0 ELSE {or_zero(file.units(_LIST))} END"
            if file.has(_LIST)
            else file.units(_LIST)
        ),
    }


def _amortized(
    file: LineColumns,
    *,
    covered: str,
    unused_of_plan: str,
    reserved: str,
    unused_of_reservation: str,
    otherwise: str,
) -> str:
    reserved_upfront = f"coalesce({file.text(_RESERVATION)}, '') <> ''"
    refund_of_plan = (
        f"{file.text('line_item_product_code')} = 'ComputeSavingsPlans'"
        f" AND {file.text('line_item_line_item_description')} LIKE '{_REFUND_OF_PLAN}'"
    )
    return (
        f"CASE {file.text(_TYPE)}"
        f" WHEN 'SavingsPlanCoveredUsage' THEN {covered}"
        f" WHEN 'SavingsPlanRecurringFee' THEN {unused_of_plan}"
        " WHEN 'SavingsPlanNegation' THEN 0"
        " WHEN 'SavingsPlanUpfrontFee' THEN 0"
        f" WHEN 'DiscountedUsage' THEN {reserved}"
        f" WHEN 'RIFee' THEN {unused_of_reservation}"
        f" WHEN 'Fee' THEN CASE WHEN {reserved_upfront} THEN 0 ELSE {otherwise} END"
        f" WHEN 'Refund' THEN CASE WHEN {refund_of_plan} THEN 0 ELSE {otherwise} END"
        f" ELSE {otherwise} END"
    )


def _net_share_of_plan(file: LineColumns) -> str:
    """What of a Savings Plan's commitment is paid after discounts; there is no net column for its unused part."""
    return first_of(
        _share(file, _PLAN_NET_UPFRONT, _PLAN_UPFRONT),
        _share(file, _PLAN_NET_RECURRING, _PLAN_RECURRING),
        "CAST(1 AS DOUBLE)",  # without a discount net is gross
    )


def _share(file: LineColumns, net: str, gross: str) -> str:
    if not file.has(net, gross):
        return "CAST(NULL AS DOUBLE)"
    return f"CAST({identifier(net)} AS DOUBLE) / nullif(CAST({identifier(gross)} AS DOUBLE), 0)"


def _splits(file: LineColumns) -> dict[str, str]:
    if not file.has("split_line_item_split_cost"):
        return {}
    resource = file.text("line_item_resource_id")
    kind = f"CASE WHEN {file.text('line_item_operation')} = 'ECSTask-EC2' THEN 'ecs' ELSE 'eks' END"
    service = file.value("resource_tags", ("aws_ecs_service_name", "aws:ecs:serviceName"))
    split, unused = file.units("split_line_item_split_cost"), file.units("split_line_item_unused_cost")
    return {
        "cluster": _part(resource, 2),
        # arn:aws:eks:REGION:ACCOUNT:pod/CLUSTER/NAMESPACE/POD/UID; a task of ECS has no namespace but its service.
        "namespace": f"CASE {kind} WHEN 'eks' THEN {_part(resource, 3)} ELSE coalesce({service}, '') END",
        "pod": f"CASE {kind} WHEN 'eks' THEN {_part(resource, 4)} ELSE {_part(resource, 3)} END",
        "kind": kind,
        "split_cost": or_zero(split),
        "unused_cost": or_zero(unused),
        "net_split_cost": or_zero(file.units("split_line_item_net_split_cost"), split),
        "net_unused_cost": or_zero(file.units("split_line_item_net_unused_cost"), unused),
    }


def _part(text: str, place: int) -> str:
    """What stands between slashes; Athena has NULL, and DuckDB no text, where there are fewer."""
    return f"coalesce(split_part({text}, '/', {place}), '')"


def _unavailable(file: LineColumns, line_types: Collection[str]) -> frozenset[str]:
    missing = {name for name, column in (("blended", _BLENDED), ("list_cost", _LIST)) if not file.has(column)}
    if any(not file.has(*columns) for kind, columns in _AMORTIZED_FROM.items() if kind in line_types):
        missing |= {"amortized", "net_amortized"}
    return frozenset(missing).intersection(AMOUNTS)


def _refusal(file: LineColumns) -> str | None:
    legacy = ("lineitem/", "identity/", "bill/")
    if any(name.startswith((*legacy, "resource_tags_")) for name in file.columns) or file.has(
        "product_product_name"
    ):
        return _LEGACY
    if file.has("billedcost"):
        return "is a FOCUS export, not CUR 2.0"
    return None


def _names_of(column: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if column.startswith(TAG):
        key = column.removeprefix(TAG)
        return ("resource_tags", tag_names(key)), ("tags", all_tags_names(key, category=False))
    name = column.removeprefix(COST_CATEGORY)
    return ("cost_category", category_names(name)), ("tags", all_tags_names(name, category=True))


CUR2 = LineFormat(
    title="CUR 2.0",
    needed={
        **dict.fromkeys(_TEXT, "VARCHAR"),
        **dict.fromkeys(_MONEY, "DECIMAL(27,10)"),
        **dict.fromkeys((*_MAPS, "product"), "MAP"),
        **dict.fromkeys((_START, _PERIOD), "TIMESTAMP"),
        "line_item_usage_amount": "DECIMAL(30,8)",
    },
    required=(_START, "line_item_usage_account_id", "line_item_product_code", _TYPE, _UNBLENDED),
    refusal=_refusal,
    names_of=_names_of,
    sql=_sql,
    unavailable=_unavailable,
)
