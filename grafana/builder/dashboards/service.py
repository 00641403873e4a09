"""Service: one service over all accounts, with its resources and their use."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, stat
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder import costs, inventory, usage
from grafana.builder.frame import frame
from grafana.builder.promql import BY_ACCOUNT, Choice, range_cost
from grafana.builder.style import COLUMNS, bars_that_fit, instant, stat_panel


def build() -> Dashboard:
    return (
        frame(
            "service",
            "Service",
            "One service: what it costs, where, and what is behind it.",
            one="service",
            rankings=(costs.chart_ranking("account_id", "all"), costs.table_ranking("account_id")),
        )
        .with_panel(costs.month(9))
        .with_panel(costs.yesterday(4))
        .with_panel(_share())
        .with_panel(_accounts_with_it())
        .with_panel(costs.daily_by_account(COLUMNS, 10, "all"))
        .with_panel(costs.accounts(COLUMNS, 9))
        .with_panel(costs.changed("Movers of a week", 7, "in the week", 14, 9, without=("Service",)))
        .with_panel(_list_ratio())
        .with_panel(usage.usage_of_service(COLUMNS // 2, 9))
        .with_panel(inventory.of_service(COLUMNS // 2, 9))
        .with_panel(usage.unit_costs_of_service(COLUMNS, 8))
        .build()
    )


def _share() -> stat.Panel:
    return costs.share(
        "Share of the bill",
        "What part of the cost of the range of the chosen accounts the service is. Up to the newest day that is written, "
        "which ended up to two days ago.",
        range_cost(""),
        range_cost("", choice=Choice(service=".*")),
        width=5,
    )


def _accounts_with_it() -> stat.Panel:
    return (
        stat_panel(
            "Accounts with it",
            "Accounts in which the service cost something in the range, up to the newest day that is written. Up to two "
            "days behind.",
            width=6,
            height=4,
        )
        .unit("none")
        .decimals(0)
        .with_target(instant("A", f"count({range_cost(BY_ACCOUNT)} > 0)", "Accounts"))
    )


def _list_ratio() -> bargauge.Panel:
    return costs.list_ratio(
        "by account",
        "account_id, account",
        "{{account}} · {{account_id}}",
        most=bars_that_fit(9),
        unknown="not known of this service",
        width=10,
        height=9,
    )
