"""Bars of calendar months."""

from __future__ import annotations

from grafana_foundation_sdk.builders import barchart, common
from grafana_foundation_sdk.models import common as common_model

from grafana.builder.style import USD, framed, of_many_series, properties


def monthly_bars(title: str, description: str, *, width: int, height: int) -> barchart.Panel:
    """Stacked bars of dollars, one a UTC month: twelve months and this one, or those that a range in the past touches."""
    return (
        of_many_series(framed(barchart.Panel(), title, description, width, height))
        .time_from("12M")
        .hide_time_override(True)
        .unit(USD)
        .decimals(2)
        .stacking(common_model.StackingMode.NORMAL)
        .show_value(common_model.VisibilityMode.NEVER)
        .x_tick_label_spacing(50)
        .axis_soft_min(0)
        .fill_opacity(80)
        .line_width(0)
        .group_width(0.8)
        .bar_width(0.95)
        .legend(
            common.VizLegendOptions()
            .show_legend(False)
            .display_mode(common_model.LegendDisplayMode.HIDDEN)
            .placement(common_model.LegendPlacement.BOTTOM)
        )
        .override_by_name("Time", properties(unit="time:MMM YYYY"))
    )
