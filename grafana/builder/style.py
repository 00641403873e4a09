"""The one visual language of the dashboards: queries, panels, colours by meaning."""

from __future__ import annotations

from typing import TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as prometheus_model

COLUMNS = 24
USD = "currencyUSD"
DATASOURCE = common_model.DataSourceRef(type_val="prometheus", uid="${datasource}")

# Green is well, red is not; blue is a plain figure, grey what matters less, yellow dollars beside other units.
GOOD, WARNING, BAD, NEUTRAL, MUTED, MONEY = "green", "orange", "red", "blue", "#8e8e8e", "yellow"

SERIES = NEUTRAL, "purple", "green", "orange", MUTED
# A service has its colour wherever it is shown; what is not here takes the next of Grafana's palette.
SERVICES = {
    "Amazon Elastic Compute Cloud - Compute": "#FF9830",
    "EC2 - Other": "#FFCB7D",
    "Amazon Relational Database Service": "#5794F2",
    "Amazon Simple Storage Service": "#73BF69",
    "AWS Lambda": "#E0B400",
    "AmazonCloudWatch": "#FF7383",
    "Amazon DynamoDB": "#8AB8FF",
    "Amazon Elastic Load Balancing": "#B877D9",
    "Amazon CloudFront": "#A352CC",
    "Amazon Virtual Private Cloud": "#DEB6F2",
    "Amazon Elastic Container Service": "#37872D",
    "Amazon Elastic Container Service for Kubernetes": "#C8F2C2",
    "Amazon ElastiCache": "#1F60C4",
    "Amazon Redshift": "#C4162A",
    "Tax": "#8F8F8F",
    "AWS Support (Business)": "#C7C7C7",
}

BY_THRESHOLD = dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS)

Threshold = tuple[float | None, str]
STATE = "S"
"""The query of a panel that says why there is nothing to show; see `grafana.builder.collected`."""
MONEY_WIDTH = 120
"""Pixels of a column that hold dollars, and a header of a dozen letters with its arrow."""
NARROW_MONEY_WIDTH = 100
"""The same of $999.99 Mil, which is as long as Grafana writes them, where names need the room."""
_NAME_WIDTH = 80
"""Pixels that a column of names keeps where a table is narrow; it takes what the others leave."""
_BAR_HEIGHT, _BAR_SPACING = 16, 10  # in pixels; Grafana draws the spacing
_GRID_ROW, _FRAME_OF_A_PANEL = 38, 64  # in pixels: a row of the grid, and title and padding of a panel
_BAR = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}

_Panel = TypeVar("_Panel", barchart.Panel, bargauge.Panel, stat.Panel, table.Panel, timeseries.Panel)
_Chart = TypeVar("_Chart", barchart.Panel, timeseries.Panel)


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


def thresholds(*levels: Threshold) -> dashboard.ThresholdsConfig:
    """The same for a whole panel."""
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps(*levels).steps)


def properties(**values: object) -> list[model.DynamicConfigValue]:
    """Field properties of an override; `__` in a name stands for a dot."""
    return [
        model.DynamicConfigValue(id_val=name.replace("__", "."), value=value)
        for name, value in values.items()
    ]


def when_unknown(text: str) -> model.SpecialValueMap:
    """The mapping that shows no value as a grey text, regardless of the thresholds."""
    return model.SpecialValueMap(
        options=model.DashboardSpecialValueMapOptions(
            match=model.SpecialValueMatch.NULL_AND_NAN,
            result=model.ValueMappingResult(text=text, color=MUTED),
        )
    )


def fixed(color: str) -> dict[str, str]:
    """The `color` property of a series that has one meaning."""
    return {"mode": "fixed", "fixedColor": color}


def stat_panel(title: str, description: str, *, width: int, height: int, named: bool = False) -> stat.Panel:
    """One to three numbers without sparklines. Several are `named`, or one that alone has a value would lose its name."""
    return (
        framed(stat.Panel(), title, description, width, height)
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .color_mode(common_model.BigValueColorMode.VALUE)
        .text_mode(
            common_model.BigValueTextMode.VALUE_AND_NAME if named else common_model.BigValueTextMode.AUTO
        )
        .wide_layout(False)  # names above numbers: beside them, in a low panel, both shrink
        .reduce_options(_last())
        .color_scheme(BY_THRESHOLD)
        .thresholds(thresholds((None, NEUTRAL)))
    )


def line_panel(title: str, description: str, *, width: int, height: int) -> timeseries.Panel:
    """Lines over time, with their last values in the legend; the caller sets the unit."""
    return (
        _time_panel(title, description, width=width, height=height)
        .draw_style(common_model.GraphDrawStyle.LINE)
        .line_width(2)
        .fill_opacity(8)
        # What began a moment ago is no line yet, and Grafana's "auto" shows a point only where it stands alone.
        .show_points(common_model.VisibilityMode.ALWAYS)
        .point_size(4)
        .span_nulls(False)
        .legend(legend_below("lastNotNull"))
    )


def daily_bars(title: str, description: str, *, width: int, height: int) -> timeseries.Panel:
    """Stacked bars of dollars, one a UTC day, beginning at midnight."""
    return (
        _time_panel(title, description, width=width, height=height)
        .unit(USD)
        .decimals(2)
        .no_value("no day that begins in this range is known")
        .draw_style(common_model.GraphDrawStyle.BARS)
        .bar_alignment(common_model.BarAlignment.AFTER)
        .bar_width_factor(0.9)
        .line_width(0)
        .fill_opacity(80)
        .axis_soft_min(0)  # credits reach below
        .stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL).group("A"))
        .legend(legend("sum", "Total"))
    )


def hourly_bars(title: str, description: str, *, width: int, height: int) -> timeseries.Panel:
    """Stacked bars, one an hour, for counters; the legend is below."""
    return daily_bars(title, description, width=width, height=height).legend(legend_below("sum"))


def hourly_counts(title: str, description: str, *, width: int, height: int) -> timeseries.Panel:
    """The same of whole numbers."""
    return hourly_bars(title, description, width=width, height=height).unit("locale").decimals(0)


def units_and_dollars(
    title: str, description: str, unit: str, *, width: int, height: int
) -> timeseries.Panel:
    """Daily bars in a unit on the left, and what they cost as a line (named "Cost") on the right."""
    return (
        daily_bars(title, description, width=width, height=height)
        .unit(unit)
        .decimals(1)
        .legend(legend_below("sum"))
        .override_by_name(
            "Cost",
            properties(
                unit=USD,
                decimals=2,
                color=fixed(MONEY),
                custom__drawStyle="line",
                custom__lineInterpolation="stepAfter",
                custom__lineWidth=2,
                custom__fillOpacity=0,
                custom__stacking={"mode": "none", "group": "B"},
                custom__axisPlacement="right",
            ),
        )
    )


def colour_services(panel: timeseries.Panel) -> timeseries.Panel:
    """Known services in their colours."""
    for service, colour in SERVICES.items():
        panel.override_by_name(service, properties(color=fixed(colour)))
    return panel


def line_over_bars(color: str, *, points: bool = False) -> list[model.DynamicConfigValue]:
    """The properties of a series that is drawn as a line over daily bars; with points, also where a day stands alone."""
    return properties(
        custom__showPoints="always" if points else "never",
        custom__pointSize=8,
        color=fixed(color),
        custom__drawStyle="line",
        custom__lineWidth=2,
        custom__fillOpacity=0,
        custom__stacking={"mode": "none", "group": "B"},
    )


def _time_panel(title: str, description: str, *, width: int, height: int) -> timeseries.Panel:
    return of_many_series(framed(timeseries.Panel(), title, description, width, height))


def framed(panel: _Panel, title: str, description: str, width: int, height: int) -> _Panel:
    """What every panel has."""
    return (
        panel.title(title)
        .description(description)
        .datasource(DATASOURCE)
        .span(width)
        .height(height)
        .no_value("no data")
    )


def of_many_series(panel: _Chart) -> _Chart:
    """A colour for each series, and all of them where the mouse points, largest first."""
    return panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC)).tooltip(
        common.VizTooltipOptions()
        .mode(common_model.TooltipDisplayMode.MULTI)
        .sort(common_model.SortOrder.DESCENDING)
        .hide_zeros(True)
    )


def legend(calc: str, column: str) -> common.VizLegendOptions:
    """A table on the right with one figure a series, largest first."""
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(common_model.LegendDisplayMode.TABLE)
        .placement(common_model.LegendPlacement.RIGHT)
        .calcs([calc])
        .sort_by(column)
        .sort_desc(True)
    )


def legend_below(calc: str) -> common.VizLegendOptions:
    """A list below with one figure a series."""
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(common_model.LegendDisplayMode.LIST)
        .placement(common_model.LegendPlacement.BOTTOM)
        .calcs([calc])
    )


def ranking_bars(title: str, description: str, *, width: int, height: int) -> bargauge.Panel:
    """Horizontal bars, longest first: the query sorts."""
    return (
        framed(bargauge.Panel(), title, description, width, height)
        .no_value("none")
        .min(0)
        .orientation(common_model.VizOrientation.HORIZONTAL)
        .display_mode(common_model.BarGaugeDisplayMode.BASIC)
        .name_placement(common_model.BarGaugeNamePlacement.LEFT)
        .value_mode(common_model.BarGaugeValueMode.TEXT)
        .show_unfilled(False)
        .sizing(common_model.BarGaugeSizing.MANUAL)
        .max_viz_height(28)
        .min_viz_height(_BAR_HEIGHT)
        .min_viz_width(8)
        .text(common.VizTextDisplayOptions().title_size(12).value_size(14))
        .reduce_options(_last())
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color(NEUTRAL))
    )


def bars_that_fit(height: int) -> int:
    """How many bars a panel of this height, in rows of the grid, shows without scrolling."""
    return (height * _GRID_ROW - _FRAME_OF_A_PANEL + _BAR_SPACING) // (_BAR_HEIGHT + _BAR_SPACING)


def table_panel(title: str, description: str, *, width: int, height: int) -> table.Panel:
    """A table; units go on named columns, never on the panel, or an account id would read as money."""
    return (
        framed(table.Panel(), title, description, width, height)
        .show_header(True)
        .cell_options(common_model.TableAutoCellOptions())
        .cell_height(common_model.TableCellHeight.SM)
        # What has no such label; the panel's own text is for a table without rows.
        .override_by_field_type("string", properties(noValue="–", custom__minWidth=_NAME_WIDTH))
    )


def money_column(**more: object) -> list[model.DynamicConfigValue]:
    """Dollars in a table."""
    return properties(unit=USD, noValue="–", **{"decimals": 2, "custom__width": MONEY_WIDTH} | more)


def money_bar() -> list[model.DynamicConfigValue]:
    """Dollars in a table, with a bar that shows their share of the largest."""
    return money_column(
        min=0,
        fieldMinMax=True,
        color=fixed(NEUTRAL),
        custom__cellOptions=_BAR,
        custom__width=MONEY_WIDTH + 50,
    )


KEPT = "datasource", "grouping", "group", "account", "service", "region"
"""Variables that lead from one dashboard to another."""


def link(
    title: str, dashboard_uid: str, variable: str, field: str, more: tuple[str, ...] = ()
) -> list[dict[str, object]]:
    """The `links` property of a column that leads to the dashboard of its row; range and filters are kept.

    `more` are variables that the dashboard has beside those of all.
    """
    kept = "&".join(f"${{{name}:queryparam}}" for name in (*KEPT, *more) if name != variable)
    # In a URL, names of the AWS Marketplace hold what would end a parameter: "&", "+", "#".
    value = f'${{__data.fields["{field}"]:percentencode}}'
    return [
        {
            "title": title,
            "url": f"/d/{dashboard_uid}?var-{variable}={value}&{kept}&${{__url_time_range}}",
            "targetBlank": False,
        }
    ]


def account_column(panel_width: int = COLUMNS) -> list[model.DynamicConfigValue]:
    """Names of accounts that lead to the account's dashboard, by the column `Account id`.

    In a narrow panel they leave the room to the names of services, and take two lines where they are long.
    """
    title = 'Account ${__data.fields["Account id"]}'  # names are not unique
    links = properties(links=link(title, "aws-spend-account", "account", "Account id"))
    return links if panel_width == COLUMNS else links + properties(custom__width=110, custom__wrapText=True)


def account_id_column(panel_width: int) -> list[model.DynamicConfigValue]:
    """Twelve digits, where the panel has room beside names and amounts; else links alone use them."""
    return properties(custom__width=115) if panel_width == COLUMNS else hidden()


def service_column() -> list[model.DynamicConfigValue]:
    """Names of services that lead to the service's dashboard.

    In several lines where they are long: "Amazon Elastic Co" begins the names of two services.
    """
    return properties(links=link("Service", "aws-spend-service", "service", "Service"), custom__wrapText=True)


def hidden() -> list[model.DynamicConfigValue]:
    """A column that links need and that is not shown: Grafana 12 honours `hidden`, 13 `hideFrom`."""
    return properties(custom__hidden=True, custom__hideFrom={"viz": True, "tooltip": True, "legend": True})


def without_columns(panel: table.Panel, names: tuple[str, ...]) -> table.Panel:
    """The table without columns that say the same in each row, because one account or service is chosen."""
    for name in names:
        panel.override_by_name(name, hidden())
    return panel


_SIZE = "Size"  # of a change: rows are sorted by it, and it is not shown
_UNNAMED = "Time", "Value", "Value #A", f"Value #{STATE}", _SIZE


def columns(names: dict[str, str]) -> list[model.DataTransformerConfig]:
    """Join the table's queries on their labels, then show these columns in this order under these names.

    A single query's value is shown where it has a name.
    """
    return [
        model.DataTransformerConfig(id_val="merge", options={}),
        model.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {name: True for name in _UNNAMED if name not in names},
                "indexByName": {name: index for index, name in enumerate(names)},
                "renameByName": names,
            },
        ),
    ]


def difference(alias: str, left: str, operator: str, right: str) -> model.DataTransformerConfig:
    """A column that is calculated from two others; what is missing counts as 0."""
    return model.DataTransformerConfig(
        id_val="calculateField",
        options={
            "mode": "binary",
            "alias": alias,
            "binary": {"left": left, "operator": operator, "right": right},
        },
    )


def largest_first(field: str) -> tuple[model.DataTransformerConfig, ...]:
    """Rows by the size of a change, rises and falls alike."""
    return (
        model.DataTransformerConfig(
            id_val="calculateField",
            options={"mode": "unary", "alias": _SIZE, "unary": {"operator": "abs", "fieldName": field}},
        ),
        model.DataTransformerConfig(id_val="sortBy", options={"sort": [{"field": _SIZE, "desc": True}]}),
    )


def calculated(
    shown: list[model.DataTransformerConfig], *calculations: model.DataTransformerConfig
) -> list[model.DataTransformerConfig]:
    """The transformations of `columns` with calculations, which have the names of the queries."""
    merge, organize = shown
    return [merge, *calculations, organize]


_NOTABLE_PART = 0.1


def part_column() -> list[model.DynamicConfigValue]:
    """By which part something changed, in a word where it began or ended.

    Coloured from a tenth on.
    """
    return properties(
        unit="percentunit",
        custom__cellOptions={"type": "color-text"},
        thresholds=steps((None, GOOD), (-_NOTABLE_PART, "text"), (_NOTABLE_PART, BAD)),
        decimals=1,
        noValue="–",
        custom__width=85,
        mappings=[
            {"type": "special", "options": {"match": "null+nan", "result": {"text": "–"}}},
            {"type": "range", "options": {"from": 1e6, "to": None, "result": {"text": "new"}}},
            {"type": "range", "options": {"from": None, "to": -0.999999, "result": {"text": "ended"}}},
        ],
    )


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields("")
