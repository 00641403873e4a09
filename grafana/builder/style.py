"""The one visual language of the dashboards: frame, variables, queries, panels, colours by meaning."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as prometheus_model

COLUMNS = 24
USD = "currencyUSD"
DATASOURCE = common_model.DataSourceRef(type_val="prometheus", uid="${datasource}")

GOOD, WARNING, BAD, NEUTRAL, MUTED = "green", "orange", "red", "blue", "#8e8e8e"

Threshold = tuple[float | None, str]


def frame(uid: str, title: str, description: str) -> dashboard.Dashboard:
    """An empty dashboard with the variables and habits that all share; `uid` is permanent."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["aws-spend"])
        .timezone("utc")  # a day of cost is a UTC day
        .time("now-30d", "now")
        .refresh("5m")
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .timepicker(
            dashboard.TimePicker()
            .refresh_intervals(["1m", "5m", "30m", "1h"])
            .quick_ranges(
                [
                    dashboard.TimeOption().display(display).from_val(start).to("now")
                    for display, start in (
                        ("Last 24 hours", "now-24h"),
                        ("Last 7 days", "now-7d"),
                        ("Last 30 days", "now-30d"),
                        ("Last 90 days", "now-90d"),
                        ("Last 13 months", "now-13M"),
                    )
                ]
            )
        )
        .with_variable(_datasource())
        .with_variable(_account())
        .with_variable(_service())
    )


def _datasource() -> dashboard.DatasourceVariable:
    return (
        dashboard.DatasourceVariable("datasource")
        .label("Prometheus")
        .description("The Prometheus that scrapes the exporter.")
        .type("prometheus")
    )


def _all() -> model.VariableOption:
    return model.VariableOption(text=["All"], value=["$__all"])


def _account() -> dashboard.QueryVariable:
    """Chooses by account_id, shows name and id: names are not unique."""
    query = (
        "query_result(label_join("
        "group by (account_id, account) (aws_cost_month_to_date_usd)"
        " or on (account_id) group by (account_id, account) (aws_account_info),"
        ' "text", " · ", "account", "account_id"))'
    )
    return (
        dashboard.QueryVariable("account")
        .label("Account")
        .description("Accounts, by name and id.")
        .datasource(DATASOURCE)
        .query({"qryType": 3, "query": query, "refId": "account"})
        .regex(r'/account_id="(?<value>[^"]+)|text="(?<text>[^"]+)/g')
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(_all())
    )


def _service() -> dashboard.QueryVariable:
    query = 'label_values({__name__=~"aws_cost_month_to_date_usd|aws_cost_last_month_usd",' + (
        ' account_id=~"$account"}, service)'
    )
    return (
        dashboard.QueryVariable("service")
        .label("Service")
        .description("AWS services with cost in this month or the last.")
        .datasource(DATASOURCE)
        .query({"qryType": 1, "query": query, "refId": "service"})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(_all())
    )


def instant(ref: str, expr: str, legend: str) -> prometheus.Dataquery:
    """The value at the end of the range."""
    return _query(ref, expr).instant().legend_format(legend)


def ranged(ref: str, expr: str, legend: str, min_step: str) -> prometheus.Dataquery:
    """A series over the range, at steps of at least `min_step`."""
    return _query(ref, expr).range().legend_format(legend).interval(min_step)


def rows(ref: str, expr: str) -> prometheus.Dataquery:
    """One table row a series, labels as columns."""
    return _query(ref, expr).instant().format(prometheus_model.PromQueryFormat.TABLE)


def _query(ref: str, expr: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .ref_id(ref)
        .expr(expr)
        .datasource(DATASOURCE)
        .editor_mode(prometheus_model.QueryEditorMode.CODE)
    )


def steps(*steps: Threshold) -> model.ThresholdsConfig:
    """The `thresholds` property: colour from each value up; the first step has no value."""
    return model.ThresholdsConfig(
        mode=model.ThresholdsMode.ABSOLUTE,
        steps=[model.Threshold(value=value, color=color) for value, color in steps],
    )


def properties(**values: object) -> list[model.DynamicConfigValue]:
    """Field properties of an override; `__` in a name stands for a dot."""
    return [
        model.DynamicConfigValue(id_val=name.replace("__", "."), value=value)
        for name, value in values.items()
    ]


def fixed(color: str) -> dict[str, str]:
    """The `color` property of a series that has one meaning."""
    return {"mode": "fixed", "fixedColor": color}


def stat_panel(title: str, description: str, *, width: int, height: int) -> stat.Panel:
    """One to three numbers without sparklines; names show where there is more than one."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .span(width)
        .height(height)
        .no_value("no data")
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .color_mode(common_model.BigValueColorMode.VALUE)
        .text_mode(common_model.BigValueTextMode.AUTO)
        .reduce_options(_last())
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .thresholds(
            dashboard.ThresholdsConfig()
            .mode(model.ThresholdsMode.ABSOLUTE)
            .steps(steps((None, NEUTRAL)).steps)
        )
    )


def daily_bars(title: str, description: str, *, width: int, height: int) -> timeseries.Panel:
    """Stacked bars, one a UTC day, beginning at midnight."""
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .span(width)
        .height(height)
        .no_value("no data")
        .unit(USD)
        .decimals(2)
        .draw_style(common_model.GraphDrawStyle.BARS)
        .bar_alignment(common_model.BarAlignment.AFTER)
        .bar_width_factor(0.9)
        .line_width(0)
        .fill_opacity(80)
        .stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL).group("A"))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_model.LegendDisplayMode.TABLE)
            .placement(common_model.LegendPlacement.RIGHT)
            .calcs(["sum"])
            .sort_by("Total")
            .sort_desc(True)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(common_model.TooltipDisplayMode.MULTI)
            .sort(common_model.SortOrder.DESCENDING)
            .hide_zeros(True)
        )
    )


def ranking_bars(title: str, description: str, *, width: int, height: int) -> bargauge.Panel:
    """Horizontal bars, longest first: the query sorts."""
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .span(width)
        .height(height)
        .no_value("none")
        .min(0)
        .orientation(common_model.VizOrientation.HORIZONTAL)
        .display_mode(common_model.BarGaugeDisplayMode.BASIC)
        .name_placement(common_model.BarGaugeNamePlacement.LEFT)
        .value_mode(common_model.BarGaugeValueMode.TEXT)
        .show_unfilled(False)
        .sizing(common_model.BarGaugeSizing.MANUAL)
        .max_viz_height(28)
        .min_viz_height(16)
        .min_viz_width(8)
        .reduce_options(_last())
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color(NEUTRAL))
    )


def table_panel(title: str, description: str, *, width: int, height: int) -> table.Panel:
    """A table; units go on named columns, never on the panel, or an account id would read as money."""
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .span(width)
        .height(height)
        .no_value("no data")
        .show_header(True)
        .cell_options(common_model.TableAutoCellOptions())
        .cell_height(common_model.TableCellHeight.SM)
    )


def columns(names: dict[str, str]) -> list[model.DataTransformerConfig]:
    """Join the table's queries on their labels, then show these columns in this order under these names."""
    return [
        model.DataTransformerConfig(id_val="merge", options={}),
        model.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: index for index, name in enumerate(names)},
                "renameByName": names,
            },
        ),
    ]


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields("")
