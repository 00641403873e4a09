"""Service: one service over all accounts, with its resources and their use."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, stat
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder import costs, inventory, usage
from grafana.builder.frame import frame
from grafana.builder.promql import ACCOUNT, COST
from grafana.builder.style import COLUMNS, instant, stat_panel


def build() -> Dashboard:
    return (
        frame(
            "service",
            "Service",
            "One service: what it costs, where, and what is behind it.",
            one="service",
        )
        .with_panel(costs.yesterday(4))
        .with_panel(costs.month(10))
        .with_panel(_share())
        .with_panel(_accounts_with_it())
        .with_panel(costs.daily_by_account(COLUMNS, 10))
        .with_panel(costs.accounts(COLUMNS // 2, 10))
        .with_panel(costs.changed("Movers of a week", 7, "in the week", 12, 10, without=("Service",)))
        .with_panel(usage.usage_of_service(COLUMNS // 2, 9))
        .with_panel(inventory.of_service(COLUMNS // 2, 9))
        .with_panel(usage.unit_costs_of_service(COLUMNS // 2, 8))
        .with_panel(_list_ratio())
        .build()
    )


def _share() -> stat.Panel:
    return costs.share(
        "Share of the bill",
        "What part of this UTC month's cost of the chosen accounts the service is. Up to a day behind.",
        f"{{{COST}}}",
        f"{{{ACCOUNT}}}",
        width=5,
    )


def _accounts_with_it() -> stat.Panel:
    return (
        stat_panel(
            "Accounts with it",
            "Accounts in which the service cost something in this UTC month. Up to a day behind.",
            width=5,
            height=5,
        )
        .unit("none")
        .decimals(0)
        .with_target(
            instant("A", f"count(sum by (account_id) (aws_cost_month_to_date_usd{{{COST}}}) > 0)", "Accounts")
        )
    )


def _list_ratio() -> bargauge.Panel:
    return costs.list_ratio(
        "by account",
        "account_id, account",
        "{{account}} · {{account_id}}",
        most=12,
        unknown="not known of this service",
        width=COLUMNS // 2,
        height=8,
    )
