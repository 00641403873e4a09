"""Inventory and waste: what exists, since when, at which price, and what is unused."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder import inventory
from grafana.builder.collected import (
    COMMITMENTS,
    EC2_INSTANCES,
    INVENTORY,
    LIST_PRICES,
    SAVINGS_OPPORTUNITIES,
)
from grafana.builder.frame import frame
from grafana.builder.promql import PLACE
from grafana.builder.style import (
    COLUMNS,
    account_column,
    account_id_column,
    bars_that_fit,
    columns,
    instant,
    line_panel,
    money_column,
    properties,
    ranged,
    ranking_bars,
    rows,
    stat_panel,
    table_panel,
)

_DAY = 86_400
_AGES = ("1 week", 7), ("1 month", 30), ("3 months", 91), ("1 year", 365)


def build() -> Dashboard:
    return (
        frame(
            "inventory",
            "Inventory and waste",
            "What exists, at list price, and what is unused.",
            start="now-24h",
            without=("service",),
        )
        .with_panel(_count())
        .with_panel(inventory.run_rate(5))
        .with_panel(inventory.waste(9))
        .with_panel(_prices())
        .with_panel(inventory.unused(COLUMNS // 2, 10))
        .with_panel(inventory.savings(COLUMNS // 2, 10))
        .with_panel(_recommended())
        .with_panel(_commitments())
        .with_panel(inventory.most_expensive(COLUMNS, 11))
        .with_panel(inventory.by_type(8, 10))
        .with_panel(_ages())
        .with_panel(_untagged())
        .with_panel(_instances())
        .with_panel(_over_time())
        .build()
    )


def _count() -> stat.Panel:
    panel = (
        stat_panel(
            "Resources",
            "What exists now in the chosen accounts and regions, and how much of it seems unused. Up to an "
            "hour old.",
            width=6,
            height=5,
            named=True,
        )
        .unit("short")
        .decimals(0)
        .with_target(instant("A", INVENTORY.or_zero(f"sum(aws_resources{{{PLACE}}})"), "Exist"))
        .with_target(instant("B", INVENTORY.or_zero(f"sum(aws_resources_unused{{{PLACE}}})"), "Unused"))
    )
    return INVENTORY.in_values(panel, "Resources")


def _prices() -> stat.Panel:
    panel = (
        stat_panel(
            "Age of list prices",
            "Age of the list prices that estimates are made of: since the Pricing API was read, else that of the table "
            "that comes with the exporter.",
            width=4,
            height=5,
        )
        .unit("s")
        .decimals(1)
        .with_target(instant("A", "time() - max(aws_spend_exporter_price_table_timestamp_seconds)", "Age"))
    )
    return LIST_PRICES.in_values(panel, "Age")


def _ages() -> bargauge.Panel:
    age = f"(time() - aws_resource_created_timestamp_seconds{{{PLACE}}})"
    panel = (
        ranking_bars(
            "Ages",
            "How long resources have existed, or since when they are known, among those that are listed one by one: "
            "the most expensive of each account. Up to an hour old.",
            width=8,
            height=10,
        )
        .unit("short")
        .decimals(0)
    )
    least = 0
    for ref, (name, days) in zip("ABCD", _AGES, strict=True):
        counted = INVENTORY.or_zero(f"count({age} >= {least * _DAY} < {days * _DAY})")
        panel.with_target(instant(ref, counted, f"up to {name}"))
        least = days
    counted = INVENTORY.or_zero(f"count({age} >= {least * _DAY})")
    return INVENTORY.in_values(panel.with_target(instant("E", counted, "older")), "inventory")


def _untagged() -> bargauge.Panel:
    panel = (
        ranking_bars(
            "Missing tags",
            f'Resources that lack a required tag, by tag and type, the {bars_that_fit(10)} largest; "no tag at all" counts those without any. '
            "Up to an hour old.",
            width=8,
            height=10,
        )
        .no_value("none missing")
        .unit("short")
        .decimals(0)
        .with_target(
            instant(
                "A",
                f"sort_desc(label_replace(topk({bars_that_fit(10)}, sum by (tag_key, resource_type)"
                f' (aws_resources_untagged{{{PLACE}}}) > 0), "tag_key", "no tag at all", "tag_key", "[*]"))',
                "{{tag_key}}: {{resource_type}}",
            )
        )
    )
    return INVENTORY.in_values(panel, "inventory")


def _instances() -> bargauge.Panel:
    panel = (
        ranking_bars(
            "EC2 instances by type and state",
            f"Instances that exist now, the {bars_that_fit(10)} largest groups. Read every hour.",
            width=COLUMNS // 2,
            height=10,
        )
        .unit("none")
        .decimals(0)
        .with_target(
            instant(
                "A",
                f"sort_desc(topk({bars_that_fit(10)}, sum by (instance_type, state) (aws_ec2_instances{{{PLACE}}}) > 0))",
                "{{instance_type}} {{state}}",
            )
        )
    )
    return EC2_INSTANCES.in_values(panel, "instances")


def _over_time() -> timeseries.Panel:
    by_type = f"sum by (resource_type) (aws_resources{{{PLACE}}})"
    panel = (
        line_panel(
            "Resources over time",
            "How many there were of the eight types that there are most of now, as they were counted: at most hourly, "
            "and only since the exporter runs.",
            width=COLUMNS // 2,
            height=10,
        )
        .unit("short")
        .decimals(0)
        .min(0)
        .with_target(
            ranged(
                "A",
                f"{by_type} and on (resource_type) topk(8, sum by (resource_type)"
                f" (last_over_time(aws_resources{{{PLACE}}}[10m] @ end())))",
                "{{resource_type}}",
                "1m",
            )
        )
    )
    return INVENTORY.in_legend(panel)


def _recommended() -> table.Panel:
    by = "account_id, account, resource_type, action"
    panel = (
        table_panel(
            "What AWS recommends",
            "Estimates of Cost Optimization Hub, the 25 largest: each resource once, after discounts. Recommendations "
            "may overlap; those for commitments do. Read once a day, where it is enabled.",
            width=COLUMNS,
            height=9,
        )
        .no_value("nothing is known")
        .with_target(rows("A", f"topk(25, sum by ({by}) (aws_savings_opportunity_usd{{{PLACE}}}))"))
        .transformations(
            columns(
                {
                    "account": "Account",
                    "account_id": "Account id",
                    "resource_type": "Type",
                    "action": "Action",
                    "Value #A": "Saves a month",
                }
            )
        )
        .override_by_name("Account", account_column())
        .override_by_name("Account id", account_id_column(COLUMNS))
        .override_by_name("Saves a month", money_column())
    )
    return SAVINGS_OPPORTUNITIES.in_rows(panel, "resource_type")


def _commitments() -> table.Panel:
    def of(family: str) -> str:
        return f"sum by (kind, service) (aws_commitment_{family})"

    ratio = properties(unit="percentunit", decimals=1, noValue="–", custom__width=80)
    panel = (
        table_panel(
            "Savings Plans and reservations",
            "Of the whole organization, over 30 days up to two days ago unless configured otherwise: how much of what "
            "is paid for is used, and how much of the eligible use it covers. Read once a day, where it is enabled.",
            width=COLUMNS,
            height=7,
        )
        .no_value("none are known")
        .with_target(rows("A", of("unused_usd")))
        .with_target(rows("B", of("utilization_ratio")))
        .with_target(rows("C", of("coverage_ratio")))
        .with_target(rows("D", of("on_demand_usd")))
        .transformations(
            columns(
                {
                    "kind": "Kind",
                    "service": "Service",
                    "Value #B": "Used",
                    "Value #A": "Unused",
                    "Value #C": "Covered",
                    "Value #D": "On demand",
                }
            )
        )
        .override_by_name("Kind", properties(custom__width=110))
        .override_by_name("Used", ratio)
        .override_by_name("Unused", money_column())
        .override_by_name("Covered", ratio)
        .override_by_name("On demand", money_column())
    )
    return COMMITMENTS.in_rows(panel, "service")
