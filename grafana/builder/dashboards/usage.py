"""Usage: what is used, and what it costs."""

from __future__ import annotations

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder import usage
from grafana.builder.collected import USAGE
from grafana.builder.frame import frame
from grafana.builder.promql import PLACE
from grafana.builder.style import BAD, COLUMNS, WARNING, fixed, hourly_bars, properties, ranged


def build() -> Dashboard:
    built = frame(
        "usage", "Usage", "What is used, with its dollars beside it.", start="now-14d", without=("service",)
    )
    built.with_panel(usage.unit_costs(COLUMNS, 6))
    for shown in usage.USAGES:
        built.with_panel(usage.usage_panel(shown, COLUMNS // 2, 8))
    return built.with_panel(_lambda_trouble()).with_panel(usage.levels(COLUMNS, 9)).build()


def _lambda_trouble() -> timeseries.Panel:
    panel = (
        hourly_bars(
            "Lambda errors and throttles",
            "Invocations that ended in an error and that were throttled, on each complete UTC day in the chosen "
            "regions. Read hourly, written a day later; needs dated history.",
            width=COLUMNS,
            height=8,
        )
        .unit("short")
        .decimals(0)
        .with_target(ranged("A", usage.Daily("aws_lambda_errors", "").expr(PLACE), "Errors", "1d"))
        .with_target(ranged("B", usage.Daily("aws_lambda_throttles", "").expr(PLACE), "Throttles", "1d"))
        .override_by_name("Errors", properties(color=fixed(BAD)))
        .override_by_name("Throttles", properties(color=fixed(WARNING)))
    )
    return USAGE.in_legend(panel)
