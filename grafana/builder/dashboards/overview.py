"""Overview: what it cost, where, and whether the figures can be trusted."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, common, stat, table, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder.promql import ACCOUNT, COST, daily_cost, top_accounts, top_services
from grafana.builder.style import (
    BAD,
    COLUMNS,
    GOOD,
    MUTED,
    NEUTRAL,
    USD,
    WARNING,
    columns,
    daily_bars,
    fixed,
    frame,
    instant,
    properties,
    ranged,
    ranking_bars,
    rows,
    stat_panel,
    steps,
    table_panel,
)

_TOP_SERVICES = 12
_TOP_ACCOUNTS = 20
_DAY = 86_400


def build() -> Dashboard:
    """The whole dashboard."""
    return (
        frame("aws-spend-overview", "AWS spend / Overview", "Cost of the whole AWS organization at a glance.")
        .with_panel(_yesterday())
        .with_panel(_months())
        .with_panel(_health())
        .with_panel(_daily())
        .with_panel(_accounts())
        .with_panel(_instances())
        .build()
    )


def _yesterday() -> stat.Panel:
    return (
        stat_panel(
            "Yesterday",
            "Cost of the previous UTC day as AWS reports it now. AWS reports up to a day late and is "
            "asked every six hours, so it still grows during today.",
            width=5,
            height=5,
        )
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", f"sum(aws_cost_yesterday_usd{{{COST}}})", "Yesterday"))
    )


def _months() -> stat.Panel:
    return (
        stat_panel(
            "This month against last month",
            "Cost of this UTC calendar month so far, beside the whole of last month. Up to a day behind; "
            "AWS restates last month until about the 7th.",
            width=9,
            height=5,
        )
        .unit(USD)
        .decimals(0)
        .with_target(instant("A", f"sum(aws_cost_month_to_date_usd{{{COST}}})", "Month to date"))
        .with_target(instant("B", f"sum(aws_cost_last_month_usd{{{COST}}})", "Last month"))
        .override_by_name("Last month", properties(color=fixed(MUTED)))
    )


def _health() -> stat.Panel:
    # Without an exporter the count of failing collectors is unknown, not zero.
    failing = (
        "count(aws_spend_exporter_collector_failure_info) or 0 * count(aws_spend_exporter_collector_success)"
    )
    return (
        stat_panel(
            "Can I trust this?",
            "Age of the newest complete day of cost, age of the collection that has waited longest for a "
            "success, and number of failing collections, over all accounts. As old as the last scrape. "
            "Complete cost is normally less than two days old.",
            width=10,
            height=5,
        )
        .unit("s")
        .with_target(
            instant("A", "time() - max(aws_cost_data_through_timestamp_seconds)", "Complete cost ended")
        )
        .with_target(
            instant(
                "B",
                "time() - min(aws_spend_exporter_collector_last_success_timestamp_seconds)",
                "Oldest collection",
            )
        )
        .with_target(instant("C", failing, "Failing collections"))
        .override_by_name(
            "Complete cost ended",
            properties(
                decimals=1,
                thresholds=steps((None, GOOD), (2 * _DAY, WARNING), (3 * _DAY, BAD)),
            ),
        )
        .override_by_name(
            "Oldest collection",
            properties(
                decimals=1,
                thresholds=steps((None, GOOD), (_DAY / 2, WARNING), (_DAY, BAD)),
            ),
        )
        .override_by_name(
            "Failing collections",
            properties(unit="none", decimals=0, thresholds=steps((None, GOOD), (1, BAD))),
        )
    )


def _daily() -> timeseries.Panel:
    daily = f"({daily_cost('service')})"
    top = top_services(_TOP_SERVICES)
    return (
        daily_bars(
            "Daily cost by service",
            f"Cost of each UTC day by the {_TOP_SERVICES} largest services and the sum of the rest. Days "
            "before the first scrape need dated history. The last two days still grow, and AWS restates the "
            "month until about the 7th of the next.",
            width=COLUMNS,
            height=11,
        )
        .with_target(ranged("A", f"{daily} and on (service) {top}", "{{service}}", "1d"))
        .with_target(ranged("B", f"sum({daily} unless on (service) {top})", "Other services", "1d"))
        .override_by_name("Other services", properties(color=fixed(MUTED)))
    )


def _accounts() -> table.Panel:
    top = top_accounts(_TOP_ACCOUNTS)

    def cost(family: str) -> str:
        return f"sum by (account_id, account) ({family}{{{COST}}}) and on (account_id, account) {top}"

    return (
        table_panel(
            "Accounts",
            f"The {_TOP_ACCOUNTS} accounts that cost most this UTC month, with yesterday and today so far. "
            "Both are partial until AWS has reported them, up to a day late.",
            width=14,
            height=10,
        )
        .with_target(rows("A", top))
        .with_target(rows("B", cost("aws_cost_yesterday_usd")))
        .with_target(rows("C", cost("aws_cost_today_usd")))
        .transformations(
            columns(
                {
                    "account": "Account",
                    "account_id": "Account id",
                    "Value #A": "Month to date",
                    "Value #B": "Yesterday",
                    "Value #C": "Today so far",
                }
            )
        )
        .sort_by([common.TableSortByFieldState().display_name("Month to date").desc(True)])
        .override_by_name("Account id", properties(custom__width=130))
        .override_by_name(
            "Month to date",
            properties(
                unit=USD,
                decimals=2,
                min=0,
                color=fixed(NEUTRAL),
                custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
            ),
        )
        .override_by_name("Yesterday", properties(unit=USD, decimals=2, custom__width=110))
        .override_by_name("Today so far", properties(unit=USD, decimals=2, custom__width=110))
    )


def _instances() -> bargauge.Panel:
    return (
        ranking_bars(
            "EC2 instances by type and state",
            "Instances that exist now, the 15 largest groups, whatever the service filter. Read every hour.",
            width=10,
            height=10,
        )
        .unit("none")
        .decimals(0)
        .with_target(
            instant(
                "A",
                f"sort_desc(topk(15, sum by (instance_type, state) (aws_ec2_instances{{{ACCOUNT}}}) > 0))",
                "{{instance_type}} {{state}}",
            )
        )
        .override_by_regexp("/ running$/", properties(color=fixed(GOOD)))
        .override_by_regexp("/ stopped$/", properties(color=fixed(MUTED)))
    )
