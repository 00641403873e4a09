"""Overview: what it cost, where, and whether the figures can be trusted."""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder import costs, inventory
from grafana.builder.frame import frame
from grafana.builder.style import (
    BAD,
    COLUMNS,
    GOOD,
    WARNING,
    instant,
    properties,
    stat_panel,
    steps,
)

_DAY = 86_400


def build() -> Dashboard:
    return (
        frame(
            "overview",
            "Overview",
            "What happened, what it costs, and where: the whole AWS organization at a glance.",
            without=("region",),
            rankings=(
                costs.chart_ranking("service", "run"),
                costs.chart_ranking("account_id", "run"),
                costs.table_ranking("service"),
                costs.table_ranking("account_id"),
            ),
        )
        .with_panel(costs.month(8))
        .with_panel(costs.budget(5))
        .with_panel(inventory.waste(5).height(4))
        .with_panel(_health())
        .with_panel(costs.anomalies(10, 8))
        .with_panel(costs.changed("Movers of a week", 7, "in the week", 14, 8))
        .with_panel(costs.daily_by_service(16, 10))
        .with_panel(costs.monthly_by_service(8, 10))
        .with_panel(costs.in_range(16))
        .with_panel(costs.yesterday(8))
        .with_panel(costs.daily_by_account(16, 9))
        .with_panel(costs.non_usage(8, 9))
        .with_panel(costs.accounts(COLUMNS, 10))
        .with_panel(costs.services(COLUMNS, 10))
        .with_panel(costs.changed("Movers of a day", 1, "on the day", 14, 10))
        .with_panel(costs.pairs(10, 10))
        .build()
    )


def _health() -> stat.Panel:
    # Without an exporter the count of failing collectors is unknown, not zero.
    failing = (
        "count(aws_spend_exporter_collector_failure_info) or 0 * count(aws_spend_exporter_collector_success)"
    )
    return (
        stat_panel(
            "Can I trust this?",
            "Time since the end of the newest UTC day with cost, which may still grow for a day; age of the collection that has waited "
            "longest for a success, and number of failing collections, over all accounts. As old as the last scrape. "
            "Cost is normally less than two days old.",
            width=6,
            height=4,
            named=True,
        )
        .no_value("of now only: choose a range that ends now")
        .unit("s")
        .with_target(instant("A", "time() - max(aws_cost_data_through_timestamp_seconds)", "Cost ended"))
        .with_target(
            instant(
                "B",
                "time() - min(aws_spend_exporter_collector_last_success_timestamp_seconds)",
                "Oldest read",
            )
        )
        .with_target(instant("C", failing, "Failing"))
        .override_by_name(
            "Cost ended",
            properties(decimals=1, thresholds=steps((None, GOOD), (2 * _DAY, WARNING), (3 * _DAY, BAD))),
        )
        .override_by_name(
            "Oldest read",
            properties(decimals=1, thresholds=steps((None, GOOD), (_DAY / 2, WARNING), (_DAY, BAD))),
        )
        .override_by_name(
            "Failing",
            properties(unit="none", decimals=0, thresholds=steps((None, GOOD), (1, BAD))),
        )
    )
