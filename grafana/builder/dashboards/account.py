"""Account: one account, its services, resources and their use."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, stat
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder import costs, inventory, usage
from grafana.builder.frame import frame
from grafana.builder.promql import organization_cost, range_cost
from grafana.builder.style import COLUMNS

_ACCOUNT = "Account", "Account id"


def build() -> Dashboard:
    return (
        frame(
            "account",
            "Account",
            "One account: what it costs, and what runs in it.",
            one="account",
            without=("region",),
            rankings=(costs.chart_ranking("service", "run"), costs.table_ranking("service")),
        )
        .with_panel(costs.month(8))
        .with_panel(costs.budget(5))
        .with_panel(costs.yesterday(4))
        .with_panel(costs.in_range(7))
        .with_panel(costs.daily_by_service(13, 10))
        .with_panel(costs.changed("Movers of a week", 7, "in the week", 11, 10, without=_ACCOUNT))
        .with_panel(costs.services(COLUMNS, 9))
        .with_panel(costs.non_usage(14, 8))
        .with_panel(_list_ratio())
        .with_panel(_share())
        .with_panel(inventory.run_rate(8).height(4))
        .with_panel(inventory.waste(10).height(4))
        .with_panel(inventory.most_expensive(COLUMNS, 9, without=_ACCOUNT))
        .with_panel(inventory.by_type(COLUMNS // 2, 9))
        .with_panel(inventory.unused(COLUMNS // 2, 9, without=_ACCOUNT))
        .with_panel(usage.usage_panel(usage.USAGES[1], COLUMNS // 2, 8))
        .with_panel(usage.usage_panel(usage.USAGES[2], COLUMNS // 2, 8))
        .with_panel(usage.unit_costs(COLUMNS, 4))
        .with_panel(usage.levels(COLUMNS, 4))
        .build()
    )


def _share() -> stat.Panel:
    return costs.share(
        "Share of the organization",
        "What part of the organization's cost of the range the account is, of the chosen services in it. Up to the newest "
        "day that is written, which ended up to two days ago; needs dated history.",
        range_cost(""),
        organization_cost(),
        width=6,
    )


def _list_ratio() -> bargauge.Panel:
    return costs.list_ratio(
        "the highest services",
        "service",
        "{{service}}",
        most=5,
        unknown="not yet known",
        width=10,
        height=8,
    )
