"""Trends and forecast: where cost has been going, and where it goes."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, common, stat, table, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from exporter.cost.projection_view import DAYS_AHEAD
from grafana.builder import costs
from grafana.builder.collected import FORECAST
from grafana.builder.frame import frame
from grafana.builder.promql import (
    COST,
    Ranking,
    average_day,
    average_of_week,
    coming_days,
    daily_cost,
    deviation_of_days,
    direction,
    drawn,
    range_cost,
)
from grafana.builder.style import (
    BAD,
    COLUMNS,
    GOOD,
    MUTED,
    NEUTRAL,
    USD,
    WARNING,
    bars_that_fit,
    colour_services,
    columns,
    daily_bars,
    fixed,
    hidden,
    instant,
    legend,
    line_over_bars,
    line_panel,
    money_bar,
    properties,
    ranged,
    ranking_bars,
    rows,
    stat_panel,
    table_panel,
    thresholds,
)

_HEIGHT = 10
_LARGEST = Ranking(most=5, label="service", part="run")


def build() -> Dashboard:
    return (
        frame(
            "trends",
            "Trends and forecast",
            "Where cost has been going, and where it goes.",
            start="now-90d",
            without=("region",),
            rankings=(_LARGEST,),
        )
        .with_panel(_range())
        .with_panel(_direction())
        .with_panel(_month_end())
        .with_panel(_average())
        .with_panel(_weeks())
        .with_panel(_coming_days())
        .with_panel(_projection_by_service())
        .with_panel(costs.non_usage(COLUMNS, 8))
        .build()
    )


def _range() -> stat.Panel:
    return (
        stat_panel(
            "The range shown",
            "Cost of the UTC days of the range, all charges, as far as they are over; average and standard deviation of what runs on its complete "
            "days, without tax, support, fees and credits. The newest complete day of a range that ends now ended up to two "
            "days ago. Needs dated history.",
            width=11,
            height=4,
            named=True,
        )
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", range_cost(""), "Total"))
        .with_target(instant("B", average_day(), "Run a day"))
        .with_target(instant("C", deviation_of_days(), "Deviation"))
        .override_by_name("Deviation", properties(color=fixed(MUTED)))
    )


def _direction() -> stat.Panel:
    return (
        stat_panel(
            "Direction",
            "The run of the newest 28 complete UTC days of the range against the 28 days before those: whole weeks, so that weekends weigh "
            "the same, and without tax, support, fees and credits, so that a 1st of a month weighs nothing. The newest complete day ended one or "
            "two days ago. Needs eight weeks of history, dated or scraped.",
            width=4,
            height=4,
        )
        .no_value("not yet known")
        .unit("percentunit")
        .decimals(1)
        .thresholds(thresholds((None, GOOD), (0.02, NEUTRAL), (0.1, WARNING), (0.25, BAD)))
        .with_target(instant("A", direction(28), "Four weeks"))
    )


def _month_end() -> stat.Panel:
    panel = (
        stat_panel(
            "Month end",
            "Our own projection of this UTC month, which follows the filters, beside the forecast of Cost Explorer "
            "and its upper bound, which are of the whole organization. The one is at most six hours old, the other a day. Only of a "
            "range that ends now.",
            width=9,
            height=4,
            named=True,
        )
        .no_value("of now only: choose a range that ends now")
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", f"sum(aws_cost_month_projection_usd{{{COST}}})", "Projection"))
        .with_target(instant("B", "max(aws_cost_month_forecast_usd)", "AWS forecast"))
        .with_target(instant("C", "max(aws_cost_month_forecast_upper_usd)", "AWS upper bound"))
        .override_by_regexp("/^AWS/", properties(color=fixed(MUTED)))
    )
    return FORECAST.in_values(panel, "AWS forecast")


def _average() -> timeseries.Panel:
    return (
        daily_bars(
            "Daily run and its moving average",
            "What runs on each UTC day, without tax, support, fees and credits, and the average of the seven days that end with it, "
            "which evens out weekends and ends with the newest complete day. Days before the first scrape need dated "
            "history; the last two days still grow.",
            width=COLUMNS,
            height=11,
        )
        .legend(legend("mean", "Mean"))
        .with_target(ranged("A", drawn(daily_cost("", "run")), "Day", "1d"))
        .with_target(ranged("B", average_of_week(""), "Average of 7 days", "1d"))
        .override_by_name("Day", properties(color=fixed(MUTED)))
        .override_by_name("Average of 7 days", line_over_bars(NEUTRAL))
    )


def _weeks() -> timeseries.Panel:
    return colour_services(
        line_panel(
            "Services, average of 7 days",
            "The five services that ran up most in the range: average run of the seven UTC days that end with each complete day, "
            "the newest of which ended one or two days ago. Only where all seven are known.",
            width=10,
            height=_HEIGHT,
        )
        .no_value("no complete day in this range")
        .unit(USD)
        .decimals(2)
        .with_target(ranged("A", average_of_week("service", _LARGEST.them()), "{{service}}", "1d"))
    )


def _coming_days() -> table.Panel:
    return (
        table_panel(
            "The coming days",
            "Our own projection of the organization's cost on each of the coming UTC days, regardless of the filters. A "
            "high one may be the 1st, with its fees, tax and support. At most six hours old; only of a range that ends now.",
            width=7,
            height=_HEIGHT,
        )
        .no_value("of now only: choose a range that ends now")
        .with_target(rows("A", "max by (days_ahead) (aws_cost_forecast_daily_usd)"))
        .with_target(rows("B", coming_days(DAYS_AHEAD)))
        .transformations(columns({"Value #B": "Day", "Value #A": "Cost"}))
        .sort_by([common.TableSortByFieldState().display_name("Day").desc(False)])
        .override_by_name("days_ahead", hidden())
        .override_by_name("Day", properties(unit="time:ddd D MMM", custom__width=95, custom__align="left"))
        .override_by_name("Cost", money_bar())
    )


def _projection_by_service() -> bargauge.Panel:
    return (
        ranking_bars(
            "Projected month by service",
            "The services for which the projection of this UTC month is highest. At most six hours old; only of a range "
            "that ends now.",
            width=7,
            height=_HEIGHT,
        )
        .no_value("of now only: choose a range that ends now")
        .unit(USD)
        .decimals(2)
        .with_target(
            instant(
                "A",
                f"sort_desc(topk({bars_that_fit(_HEIGHT)}, sum by (service) (aws_cost_month_projection_usd{{{COST}}})))",
                "{{service}}",
            )
        )
    )
