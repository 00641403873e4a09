"""Where it goes: an account's cost by service, region, usage type and resource, a click each."""

from __future__ import annotations

from grafana_foundation_sdk.builders import common, dashboard, stat, table, timeseries
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.dashboard import Dashboard

from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from grafana.builder.collected import COST
from grafana.builder.cuts import (
    CHOSEN,
    FAMILY,
    NOTE,
    NOTES,
    Cut,
    chosen_by_account,
    chosen_by_service,
    command,
    dimensions,
    missing,
    of_range,
)
from grafana.builder.frame import frame, query_variable
from grafana.builder.promql import ACCOUNT, BY_ACCOUNT, END, IS_DATED, drawn
from grafana.builder.style import (
    COLUMNS,
    MUTED,
    STATE,
    USD,
    account_id_column,
    colour_services,
    columns,
    daily_bars,
    fixed,
    hourly_bars,
    instant,
    link,
    money_bar,
    properties,
    ranged,
    rows,
    stat_panel,
    table_panel,
)

_UID = "where"
_ROWS = 20
_RESOURCES = 25
_HALF = COLUMNS // 2
TRANSFER = ".*(?:DataTransfer|NatGateway|(?:In|Out|Regional|Gateway|Endpoint)-Bytes).*"
"""Usage types of data that moves: out of AWS, between regions and zones, through gateways and endpoints."""
_FILTERS = tuple(CHOSEN)
_MOST_HOURS = 10_000  # as many as Prometheus answers at once, so that a step is an hour in any range
_AGE = "As far as the UTC days of the range are written, up to two days behind; all charges."


def _cut(
    dimension: str,
    what: str,
    switch: str,
    most: int = 12,
    collectors: str = "cost_breakdowns|cost_export",
) -> Cut:
    return Cut(
        what=what,
        by=what.replace(" ", "-"),
        without="(no resource id)" if dimension == "resource" else f"(no {what})",
        family=FAMILY.format(dimension),
        label=dimension,
        filters=_FILTERS,
        most=most,
        switch=switch,
        collectors=collectors,
        missing=missing(dimension),
    )


_SWITCH = "off: switch on collectors.cost_breakdowns.by: {}"
_REGION = _cut("region", "region", _SWITCH.format("region"))
_USAGE_TYPE = _cut("usage_type", "usage type", _SWITCH.format("usage_type"))
_CHARGE_TYPE = _cut("charge_type", "charge type", _SWITCH.format("charge_type"), most=15)
_RESOURCE = _cut(
    "resource",
    "resource",
    "only from an export: collectors.cost.source",
    collectors="cost_export",
)

_HOUR = Cut(
    what="hour",
    by="hour",
    without="",
    family="aws_cost_hourly_usd",
    label="service",
    filters=_FILTERS,
    switch="off: switch on collectors.cost_hours",
    collectors="cost_hours|cost_export",
    missing="absent(last_over_time(aws_cost_hourly_usd[3d] @ $complete))",
)


def build() -> Dashboard:
    built = frame(
        _UID,
        "Where it goes",
        "From an account to its services, regions, usage types and resources: each step is a click in a table.",
        regions=(
            _values_of(_REGION, "Region", "Regions with cost in the range."),
            _values_of(_USAGE_TYPE, "Usage type", "Usage types with cost in the range."),
        ),
    )
    built.with_variable(dimensions())
    for cut in (_REGION, _USAGE_TYPE, _CHARGE_TYPE, _RESOURCE):
        built.with_variable(cut.ranking())
    return (
        built.with_panel(_total())
        .with_panel(_transfer_share())
        .with_panel(_beside_usage())
        .with_panel(_accounts())
        .with_panel(_services())
        .with_panel(_days(_REGION))
        .with_panel(_keys(_REGION, "Regions"))
        .with_panel(_days(_USAGE_TYPE))
        .with_panel(_keys(_USAGE_TYPE, "Usage types"))
        .with_panel(_transfer_days())
        .with_panel(_transfer())
        .with_panel(_days(_CHARGE_TYPE))
        .with_panel(_keys(_CHARGE_TYPE, "Charge types"))
        .with_panel(_days(_RESOURCE, _HALF, 10))
        .with_panel(_resources())
        .with_panel(_hours())
        .build()
    )


def _values_of(cut: Cut, label: str, description: str) -> dashboard.QueryVariable:
    """All keys of the range, regardless of what else is chosen but accounts."""
    family = f"{cut.family}{{{ACCOUNT}}}"
    return query_variable(
        cut.label,
        label,
        description,
        3,
        f"query_result(group by ({cut.label}) (last_over_time({family}[1d$__range])))",
    ).regex(f'/{cut.label}="([^"]+)"/')


# Figures


def _total() -> stat.Panel:
    return (
        stat_panel(
            "In the range",
            "Cost of the UTC days of the range, all charges, as far as they are written, up to two days behind: of the chosen accounts, "
            "and of one of service, region and usage type. No two of these are known together here.",
            width=8,
            height=4,
        )
        .no_value("not known: fewer filters, or dated history is missing")
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", of_range(chosen_by_account()), "Total"))
    )


def _part(title: str, description: str, cut: Cut, more: str) -> stat.Panel:
    part = cut.in_range("", more)
    panel = (
        stat_panel(title, description, width=8, height=4, named=True)
        .no_value("none that has a name")
        .unit(USD)
        .decimals(2)
        .with_target(instant("A", part, "Dollars"))
        .with_target(instant("B", f"{part} / ({cut.in_range('')} != 0)", "Share"))
        .override_by_name("Share", properties(unit="percentunit", decimals=1))
    )
    return cut.in_values(panel, "Dollars")


def _transfer_share() -> stat.Panel:
    return _part(
        "Data transfer",
        f"Cost of usage types that move data (out, between regions and zones, through gateways and endpoints), and its share. Those "
        f"that are among the largest of their account and month; smaller ones are in `other`. {_AGE}",
        _USAGE_TYPE,
        f', usage_type=~"{TRANSFER}"',
    )


def _beside_usage() -> stat.Panel:
    return _part(
        "Not usage",
        f"Cost of charge types that are no usage: tax, fees, credits, refunds, discounts; and its share. {_AGE}",
        _CHARGE_TYPE,
        f', charge_type!~"{"|".join(USAGE_RECORD_TYPES)}"',
    )


# Steps


def _step(title: str, variable: str, field: str) -> list[model.DynamicConfigValue]:
    """A column that chooses its value in this dashboard."""
    return properties(
        links=link(title, f"aws-spend-{_UID}", variable, field, ("usage_type",)), custom__wrapText=True
    )


def _accounts() -> table.Panel:
    cost = of_range(chosen_by_account(), BY_ACCOUNT)
    return (
        table_panel(
            "Accounts",
            f"The {_ROWS} accounts that cost most in the range, of what is chosen; a click chooses the account. {_AGE}",
            width=_HALF,
            height=9,
        )
        .no_value("not known: fewer filters, or dated history is missing")
        .with_target(rows("A", f"sort_desc(topk({_ROWS}, {cost}))"))
        .transformations(columns({"account": "Account", "account_id": "Account id", "Value": "In the range"}))
        .sort_by([common.TableSortByFieldState().display_name("In the range").desc(True)])
        .override_by_name("Account", _step('Only ${__data.fields["Account id"]}', "account", "Account id"))
        .override_by_name("Account id", account_id_column(COLUMNS))
        .override_by_name("In the range", money_bar())
    )


def _services() -> table.Panel:
    cost = of_range(chosen_by_service(), "service")
    return (
        table_panel(
            "Services",
            f"The {_ROWS} services that cost most in the range, of what is chosen; a click chooses the service. {_AGE}",
            width=_HALF,
            height=9,
        )
        .no_value("no dated history in this range")
        .with_target(rows("A", f"sort_desc(topk({_ROWS}, {cost}))"))
        .with_target(
            rows(
                STATE,
                f"({COST.state(NOTE)}) unless on () {IS_DATED} or {command('service', ('region', 'usage_type'))}",
            )
        )
        .transformations(columns({"service": "Service", "Value #A": "In the range"} | NOTES))
        .sort_by([common.TableSortByFieldState().display_name("In the range").desc(True)])
        .override_by_name("Service", _step("Only this service", "service", "Service"))
        .override_by_name("Note", properties(custom__wrapText=True))
        .override_by_name("In the range", money_bar())
    )


def _keys(cut: Cut, title: str) -> table.Panel:
    """A dimension's keys; a click chooses one, where there is a variable of them."""
    column = cut.what.capitalize()
    cost = cut.in_range(cut.label, f', {cut.label}!=""')
    click = f"; a click chooses the {cut.what}" if cut.label in CHOSEN else ""
    panel = (
        table_panel(
            title,
            f"The {_ROWS} {cut.what}s that cost most in the range{click}; `other` is the sum of those that are not among the largest of "
            f"their account and month. {_AGE}",
            width=9,
            height=9,
        )
        .no_value("nothing in this range")
        .with_target(rows("A", f"sort_desc(topk({_ROWS}, {cost} != 0))"))
        .transformations(columns({cut.label: column, "Value #A": "In the range"} | NOTES))
        .sort_by([common.TableSortByFieldState().display_name("In the range").desc(True)])
        .override_by_name(
            column,
            _step(f"Only this {cut.what}", cut.label, column)
            if cut.label in CHOSEN
            else properties(custom__wrapText=True),
        )
        .override_by_name("In the range", money_bar())
    )
    return cut.in_rows(panel)


def _days(cut: Cut, width: int = 15, height: int = 9) -> timeseries.Panel:
    panel = (
        daily_bars(
            f"Daily cost by {cut.what}",
            f"Cost of each UTC day that is written, all charges: the {cut.most} {cut.what}s that cost most in the range, the sum of the "
            "others, and what has none. Up to two days behind; AWS restates the month until about the 7th of the next.",
            width=width,
            height=height,
        )
        .with_target(ranged("A", cut.named(lambda by, more: drawn(cut.days(by, more))), "{{key}}", "1d"))
        .override_by_name(cut.others, properties(color=fixed(MUTED)))
        .override_by_name(cut.without, properties(color=fixed("#6e6e6e")))
    )
    return cut.in_legend(panel)


def _transfer_days() -> timeseries.Panel:
    days = _USAGE_TYPE.named(
        lambda by, more: drawn(_USAGE_TYPE.days(by, more)), f', usage_type=~"{TRANSFER}"'
    )
    panel = (
        daily_bars(
            "Daily data transfer",
            f"Cost of each UTC day of usage types that move data: those among the {_USAGE_TYPE.most} that cost most of all, and the sum of the "
            "others. Up to two days behind.",
            width=15,
            height=9,
        )
        .with_target(ranged("A", days, "{{key}}", "1d"))
        .override_by_name(_USAGE_TYPE.others, properties(color=fixed(MUTED)))
    )
    return _USAGE_TYPE.in_legend(panel)


def _transfer() -> table.Panel:
    by = f"{BY_ACCOUNT}, usage_type"
    cost = _USAGE_TYPE.in_range(by, f', usage_type=~"{TRANSFER}"')
    panel = (
        table_panel(
            "Data transfer by account",
            f"The {_ROWS} usage types that move data within an account that cost most in the range; a click chooses the account. {_AGE}",
            width=9,
            height=9,
        )
        .no_value("none among the largest usage types of the range")
        .with_target(rows("A", f"sort_desc(topk({_ROWS}, {cost}))"))
        .transformations(
            columns(
                {
                    "account": "Account",
                    "account_id": "Account id",
                    "usage_type": "Usage type",
                    "Value #A": "In the range",
                }
                | NOTES
            )
        )
        .sort_by([common.TableSortByFieldState().display_name("In the range").desc(True)])
        .override_by_name(
            "Account",
            _step('Only ${__data.fields["Account id"]}', "account", "Account id")
            + properties(custom__width=110),
        )
        .override_by_name("Account id", account_id_column(9))
        .override_by_name("Usage type", properties(custom__wrapText=True))
        .override_by_name("In the range", money_bar())
    )
    return _USAGE_TYPE.in_rows(panel)


def _resources() -> table.Panel:
    by = f"{BY_ACCOUNT}, resource"
    cost = _RESOURCE.in_range(by, ', resource!~"|other"')
    panel = (
        table_panel(
            "Resources",
            f"The {_RESOURCES} resources that cost most in the range, as they are billed; a click chooses the account. Only from an export: "
            "Cost Explorer does not report them. Much has no resource, as tax, support and Savings Plans. "
            f"{_AGE}",
            width=_HALF,
            height=10,
        )
        .no_value("nothing in this range")
        .with_target(rows("A", f"sort_desc(topk({_RESOURCES}, {cost}))"))
        .transformations(
            columns(
                {
                    "resource": "Resource",
                    "account": "Account",
                    "account_id": "Account id",
                    "Value #A": "In the range",
                }
                | NOTES
            )
        )
        .sort_by([common.TableSortByFieldState().display_name("In the range").desc(True)])
        .override_by_name("Resource", properties(custom__wrapText=True))
        .override_by_name(
            "Account",
            _step('Only ${__data.fields["Account id"]}', "account", "Account id")
            + properties(custom__width=110),
        )
        .override_by_name("Account id", account_id_column(_HALF))
        .override_by_name("In the range", money_bar())
    )
    return _RESOURCE.in_rows(panel)


def _hours() -> timeseries.Panel:
    """An hour is written at its middle."""
    hours = f"last_over_time({_HOUR.selector()}[1h] offset -1h)"
    panel = (
        hourly_bars(
            "Hourly cost by service",
            "Cost of each UTC hour of the last fourteen days, all charges, where a source has hours: an export of that granularity, or "
            "collectors.cost_hours. A bar begins with its hour. Up to two days behind.",
            width=COLUMNS,
            height=9,
        )
        .no_value("no hour in this range, or filters that hours do not know")
        .max_data_points(_MOST_HOURS)
        .with_target(
            ranged("A", f"sum by (service) ({hours}) and on () (vector(time()) < {END})", "{{service}}", "1h")
        )
    )
    return _HOUR.in_legend(colour_services(panel))
