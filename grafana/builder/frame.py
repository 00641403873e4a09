"""What every dashboard has around its panels: variables, links, time range."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from grafana.builder.style import DATASOURCE

RANGES = {
    "Last 24 hours": "now-24h",
    "Last 7 days": "now-7d",
    "Last 30 days": "now-30d",
    "Last 90 days": "now-90d",
    "Last 13 months": "now-13M",
}

# Name and uid of the data source that grafana/provisioning adds.
PROVISIONED = ("AWS spend (Prometheus)", "aws-spend")

# Groups of the configuration are labels of aws_account_info; an account is in each OU above it, too. Cost has
# no such label: it matches while no group is chosen, and so keeps accounts that have left the organization.
_IN_GROUP = '$grouping=~"$group"'
_INFO = "aws_account_info|aws_account_ou_info"
_COST = "aws_cost_month_to_date_usd|aws_cost_last_month_usd"


def frame(
    uid: str,
    title: str,
    description: str,
    *,
    start: str = "now-30d",
    one: str = "",
    without: tuple[str, ...] = (),
) -> dashboard.Dashboard:
    """An empty dashboard; `uid` is permanent.

    `one` names the variable of which one value is chosen. Those that filter nothing here (`without`) are hidden,
    yet there, so that a link to another dashboard keeps them.
    """
    built = (
        dashboard.Dashboard(f"AWS spend / {title}")
        .uid(f"aws-spend-{uid}")
        .description(description)
        .tags(["aws-spend"])
        .timezone("utc")  # a day of cost is a UTC day
        .time(start, "now")
        .refresh("5m")
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .timepicker(
            dashboard.TimePicker()
            .refresh_intervals(["1m", "5m", "30m", "1h"])
            .quick_ranges(
                [
                    dashboard.TimeOption().display(display).from_val(start).to("now")
                    for display, start in RANGES.items()
                ]
            )
        )
        .link(
            dashboard.DashboardLink("AWS spend")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["aws-spend"])
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(_datasource())
    )
    for name, variable in (
        ("grouping", _grouping()),
        ("group", _group()),
        ("members", _members()),
        ("account", _account()),
        ("service", _service()),
        ("region", _region()),
    ):
        if name in without:
            variable.hide(model.VariableHide.HIDE_VARIABLE)
        if name in ("group", "account", "service", "region") and name != one:
            variable.multi(True).include_all(True).all_value(".*").current(_all())
        built.with_variable(variable)
    return built


def _all() -> model.VariableOption:
    return model.VariableOption(text=["All"], value=["$__all"])


def _datasource() -> dashboard.DatasourceVariable:
    return (
        dashboard.DatasourceVariable("datasource")
        .label("Prometheus")
        .description("The Prometheus that scrapes the exporter.")
        .type("prometheus")
        # Where there is no such data source, Grafana chooses the first Prometheus by name.
        .current(model.VariableOption(text=PROVISIONED[0], value=PROVISIONED[1]))
    )


def _query(name: str, label: str, description: str, kind: int, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(DATASOURCE)
        .query({"qryType": kind, "query": query, "refId": name})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    )


def _grouping() -> dashboard.QueryVariable:
    return (
        _query(
            "grouping",
            "Group by",
            "What groups are: organizational units, or a group of the configuration.",
            0,
            "label_names(aws_account_info)",
        )
        .regex("/^(?!__name__$|account$|account_id$|instance$|job$|state$).+$/")
        .current(model.VariableOption(text="ou", value="ou"))
    )


def _group() -> dashboard.QueryVariable:
    return _query(
        "group",
        "Group",
        "Accounts of these groups only; an organizational unit holds those below it.",
        1,
        f'label_values({{__name__=~"{_INFO}"}}, $grouping)',
    )


def _members() -> dashboard.QueryVariable:
    """The accounts of the group, whenever in the range they existed; `account` alone may choose all."""
    return (
        _query(
            "members",
            "Accounts of the group",
            "Ids of the accounts in the chosen groups.",
            1,
            f'label_values({{__name__=~"{_INFO}|{_COST}|aws_cost_daily_usd", {_IN_GROUP}}}, account_id)',
        )
        .multi(True)
        .include_all(True)
        .current(_all())
        .hide(model.VariableHide.HIDE_VARIABLE)
    )


def _account() -> dashboard.QueryVariable:
    """Chooses by account_id, shows name and id: names are not unique."""
    return _query(
        "account",
        "Account",
        "Accounts, by name and id.",
        3,
        f'query_result(label_join(group by (account_id, account) ({{__name__=~"{_INFO}|{_COST}", {_IN_GROUP}}}),'
        ' "text", " · ", "account", "account_id"))',
    ).regex(r'/account_id="(?<value>[^"]+)|text="(?<text>[^"]+)/g')


def _service() -> dashboard.QueryVariable:
    return _query(
        "service",
        "Service",
        "AWS services with cost in this month or the last.",
        1,
        f'label_values({{__name__=~"{_COST}", account_id=~"$account"}}, service)',
    )


def _region() -> dashboard.QueryVariable:
    return _query(
        "region",
        "Region",
        "Regions in which something is counted.",
        1,
        'label_values({__name__=~"aws_resources|aws_ec2_instances", account_id=~"$account"}, region)',
    )
