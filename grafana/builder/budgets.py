"""Budgets of AWS."""

from __future__ import annotations

from grafana_foundation_sdk.builders import common, prometheus, table

from grafana.builder.collected import AWS_BUDGETS
from grafana.builder.promql import SUBJECT
from grafana.builder.style import columns, money_column, properties, rows, table_panel


def aws_budgets(width: int, height: int) -> table.Panel:
    """Limits, spend and AWS's forecast."""

    def row(ref: str, family: str) -> prometheus.Dataquery:
        largest = f"topk(50, max by (budget) (aws_budget_limit_usd{{{SUBJECT}}}))"
        return rows(ref, f"max by (budget, period) ({family}{{{SUBJECT}}}) and on (budget) {largest}")

    panel = (
        table_panel(
            "AWS Budgets",
            "Cost budgets of AWS in their current period: limit, spend and AWS's forecast; the 50 with the highest limits. "
            "Asked every hour; AWS updates them up to three times a day.",
            width=width,
            height=height,
        )
        .no_value("no budgets")
        .transformations(
            columns(
                {
                    "budget": "Budget",
                    "period": "Period",
                    "Value #A": "Limit",
                    "Value #B": "Actual",
                    "Value #C": "Forecast",
                }
            )
        )
        .sort_by([common.TableSortByFieldState().display_name("Limit").desc(True)])
        .override_by_name("Budget", properties(custom__wrapText=True))
        .override_by_name("Period", properties(custom__width=75))
    )
    for ref, name in (("A", "limit"), ("B", "actual"), ("C", "forecast")):
        panel.with_target(row(ref, f"aws_budget_{name}_usd"))
        panel.override_by_name(name.capitalize(), money_column())
    return AWS_BUDGETS.in_rows(panel, "budget")
