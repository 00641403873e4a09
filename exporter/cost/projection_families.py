"""Families of the own projection; without numpy, for declarations that every command reads."""

from __future__ import annotations

from exporter.core.metric import Family

MONTH_PROJECTION = Family(
    "aws_cost_month_projection_usd",
    "Expected cost of the whole current calendar month, UTC: what is reported of it, and our own projection"
    " of the rest.",
    ("account_id", "account", "service"),
)
FORECAST_DAILY = Family(
    "aws_cost_forecast_daily_usd",
    "Our own projection of the organization's cost on the UTC day so many days after today.",
    ("days_ahead",),
)
FAMILIES = (MONTH_PROJECTION, FORECAST_DAILY)
