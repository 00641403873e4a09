"""Account: one account, its services, resources and their use."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, stat
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder import costs, inventory, usage
from grafana.builder.frame import frame
from grafana.builder.promql import ACCOUNT
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
        )
        .with_panel(costs.yesterday(4))
        .with_panel(costs.month(10))
        .with_panel(costs.budget("account", f"{ACCOUNT}", width=4))
        .with_panel(_share())
        .with_panel(costs.daily_by_service(COLUMNS, 10))
        .with_panel(costs.services(COLUMNS // 2, 10))
        .with_panel(costs.changed("Movers of a week", 7, "in the week", 12, 10, without=_ACCOUNT))
        .with_panel(inventory.run_rate(5))
        .with_panel(inventory.waste(9))
        .with_panel(_list_ratio())
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
        "What part of the organization's cost of this UTC month the account is, all services counted. Up to a day "
        "behind.",
        f"{{{ACCOUNT}}}",
        "",
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
        height=5,
    )
