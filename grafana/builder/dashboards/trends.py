"""Trends and forecast: where cost has been going, and where it goes."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, stat, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builder.frame import frame
from grafana.builder.promql import COST, complete_days, complete_through, daily_cost, direction, top_of_range
from grafana.builder.style import (
    BAD,
    COLUMNS,
    GOOD,
    MUTED,
    NEUTRAL,
    USD,
    WARNING,
    colour_services,
    daily_bars,
    fixed,
    instant,
    legend,
    line_over_bars,
    line_panel,
    properties,
    ranged,
    ranking_bars,
    stat_panel,
    thresholds,
)

# Complete days within the range, as steps of a subquery.
COMPLETE_DAYS = (
    complete_days(f"sum(last_over_time(aws_cost_daily_usd{{{COST}}}[1d]))") + "[$__range:1d] offset -1ms"
)
# Of bars that begin a day each: those of complete days. The range ends at the last midnight, as the bars do.
_IS_COMPLETE = f"on () (vector(time()) < on () {complete_through('[3d] @ end() offset -1d')})"


# The average of the seven days that end with each complete day.
AVERAGE = f"avg_over_time(({daily_cost('')})[7d:1d] offset -1ms) and {_IS_COMPLETE}"


def build() -> Dashboard:
    return (
        frame(
            "trends",
            "Trends and forecast",
            "Where cost has been going, and where it goes.",
            start="now-90d",
            without=("region",),
        )
        .with_panel(_range())
        .with_panel(_direction())
        .with_panel(_month_end())
        .with_panel(_average())
        .with_panel(_weeks())
        .with_panel(_coming_days())
        .with_panel(_projection_by_service())
        .build()
    )


def _range() -> stat.Panel:
    return (
        stat_panel(
            "Complete days of the range",
            "Total, average and standard deviation of the cost of the complete UTC days in the chosen range: the newest "
            "one ended up to two days ago. Needs dated history.",
            width=11,
            height=5,
        )
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", f"sum_over_time({COMPLETE_DAYS})", "Total"))
        .with_target(instant("B", f"avg_over_time({COMPLETE_DAYS})", "Average day"))
        .with_target(instant("C", f"stddev_over_time({COMPLETE_DAYS})", "Deviation"))
        .override_by_name("Deviation", properties(color=fixed(MUTED)))
    )


def _direction() -> stat.Panel:
    return (
        stat_panel(
            "Direction",
            "Cost of the newest 28 complete UTC days against the 28 days before those: whole weeks, so that weekends weigh "
            "the same. The newest complete day ended one or two days ago. Needs eight weeks of history, dated or scraped.",
            width=4,
            height=5,
        )
        .no_value("not yet known")
        .unit("percentunit")
        .decimals(1)
        .thresholds(thresholds((None, GOOD), (0.02, NEUTRAL), (0.1, WARNING), (0.25, BAD)))
        .with_target(instant("A", direction(28), "Four weeks"))
    )


def _month_end() -> stat.Panel:
    return (
        stat_panel(
            "Month end",
            "Our own projection of this UTC month, which follows the filters, beside the forecast of Cost Explorer "
            "and its upper bound, which are of the whole organization. The one is at most six hours old, the other a day.",
            width=9,
            height=5,
        )
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", f"sum(aws_cost_month_projection_usd{{{COST}}})", "Projection"))
        .with_target(instant("B", "max(aws_cost_month_forecast_usd)", "AWS forecast"))
        .with_target(instant("C", "max(aws_cost_month_forecast_upper_usd)", "AWS upper bound"))
        .override_by_regexp("/^AWS/", properties(color=fixed(MUTED)))
    )


def _average() -> timeseries.Panel:
    return (
        daily_bars(
            "Daily cost and its moving average",
            "Cost of each UTC day, and the average of the seven days that end with it, which evens out weekends and ends with "
            "the newest complete day. Days before the first scrape need dated history; the last two days still grow.",
            width=COLUMNS,
            height=11,
        )
        .legend(legend("mean", "Mean"))
        .with_target(ranged("A", daily_cost(""), "Day", "1d"))
        .with_target(ranged("B", AVERAGE, "Average of 7 days", "1d"))
        .override_by_name("Day", properties(color=fixed(MUTED)))
        .override_by_name("Average of 7 days", line_over_bars(NEUTRAL))
    )


def _weeks() -> timeseries.Panel:
    def days(function: str, by: str) -> str:
        return f"{function}_over_time(({daily_cost(by)})[7d:1d] offset -1ms)"

    # A service without cost on a day has no value then: its average is over the days that are known at all, and
    # zero where it had none on any of them.
    known = days("count", "")
    largest = top_of_range(6, "service")
    weekly = f"{days('sum', 'service')} / on () group_left () {known} or on (service) (0 * {largest} and on () {known})"
    return colour_services(
        line_panel(
            "Services, average of 7 days",
            "The six services that cost most this month: average cost of the seven UTC days that end with each complete day, "
            "the newest of which ended one or two days ago.",
            width=COLUMNS // 2,
            height=10,
        )
        .unit(USD)
        .decimals(2)
        .with_target(
            ranged("A", f"({weekly}) and on (service) {largest} and {_IS_COMPLETE}", "{{service}}", "1d")
        )
    )


def _coming_days() -> bargauge.Panel:
    return (
        ranking_bars(
            "The coming days",
            "Our own projection of the organization's cost on each of the coming UTC days, regardless of the filters. A "
            "high one may be the 1st, with its fees, tax and support. At most six hours old.",
            width=4,
            height=10,
        )
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", "max by (days_ahead) (aws_cost_forecast_daily_usd)", "+{{days_ahead}} d"))
    )


def _projection_by_service() -> bargauge.Panel:
    return (
        ranking_bars(
            "Projected month by service",
            "The ten services for which the projection of this UTC month is highest. At most six hours old.",
            width=8,
            height=10,
        )
        .unit(USD)
        .decimals(2)
        .with_target(
            instant(
                "A",
                f"sort_desc(topk(10, sum by (service) (aws_cost_month_projection_usd{{{COST}}})))",
                "{{service}}",
            )
        )
    )
