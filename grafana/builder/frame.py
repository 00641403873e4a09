"""What every dashboard has around its panels: variables, links, time range."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from grafana.builder.promql import (
    ACCOUNT,
    IS_DATED,
    RANGE,
    Ranking,
    complete_through,
    range_cost,
    select,
    top_of_range,
    total,
)
from grafana.builder.style import DATASOURCE

# Whole days: a bar of which only a part lies in the range is not drawn, and yet counted in the legend.
DAYS = {
    "Last 7 days": "now-7d/d",
    "Last 30 days": "now-30d/d",
    "Last 90 days": "now-90d/d",
    "Last 13 months": "now-13M/d",
}
HOURS = {"Last 24 hours": "now-24h"}

# Name and uid of the data source that grafana/provisioning adds.
PROVISIONED = ("AWS spend (Prometheus)", "aws-spend")

# Groups of the configuration are labels of aws_account_info; an account is in each OU above it, too. Cost has
# no such label: it matches while no group is chosen, and so keeps accounts that have left the organization.
_IN_GROUP = '$grouping=~"$group"'
_INFO = "aws_account_info|aws_account_ou_info"
# Matches all ids while neither accounts nor groups are chosen, and no id otherwise: ids have twelve digits.
_NOTHING_CHOSEN = ".(?:$account)(?:$group){13}"
_NO_ACCOUNT = "none"

CHOSEN_IDS = 'label_replace(vector(1), "ids", "$accounts", "", "")'
"""A value with the chosen accounts in a label."""

OF_ONE = frozenset(
    {"comparable", "dimensions", "furthest", "key", "key_label", "kind", "named", "through", "total"}
)
"""Hidden variables that not every dashboard has."""
DERIVED = frozenset({"accounts", "complete", "live", "undated"}) | OF_ONE
"""Hidden variables that follow from the others and the range. Further ones are of rankings."""


def frame(
    uid: str,
    title: str,
    description: str,
    *,
    start: str = "now-30d",
    one: str = "",
    without: tuple[str, ...] = (),
    rankings: tuple[Ranking, ...] = (),
    first: tuple[dashboard.QueryVariable, ...] = (),
    regions: tuple[dashboard.QueryVariable, ...] = (),
) -> dashboard.Dashboard:
    """An empty dashboard; `uid` is permanent.

    `one` names the variable of which one value is chosen. Those that filter nothing here (`without`) are hidden,
    yet there, so that a link to another dashboard keeps them. `rankings` are those that its panels refer to. What is
    chosen `first` is of this dashboard alone; of `regions` the first replaces the
    variable of this name, and others follow it.
    """
    is_of_days = not start.endswith("h")
    built = (
        dashboard.Dashboard(title)
        .uid(f"aws-spend-{uid}")
        .description(description)
        .tags(["aws-spend"])
        .timezone("utc")  # a day of cost is a UTC day
        .time(f"{start}/d" if is_of_days else start, "now")
        .refresh("5m")
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .timepicker(
            dashboard.TimePicker()
            .refresh_intervals(["1m", "5m", "30m", "1h"])
            .quick_ranges(
                [
                    dashboard.TimeOption().display(display).from_val(start).to("now")
                    for display, start in (DAYS if is_of_days else HOURS | DAYS).items()
                ]
            )
        )
        .link(
            dashboard.DashboardLink("AWS spend")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags(["aws-spend"])
            # A range of hours shows nothing of what is counted in days.
            .keep_time(is_of_days)
            .include_vars(True)
        )
    )
    for variable in first:
        built.with_variable(variable)
    # Grafana shows them in this order, and asks those first that others depend on.
    for name, variable in (
        ("account", _account()),
        ("service", _service()),
        ("group", _group()),
        ("grouping", _grouping()),
        ("region", regions[0] if regions else _region()),
    ):
        if name in without:
            variable.hide(model.VariableHide.HIDE_VARIABLE)
        if name == one:
            # Several values, or a name would stand unescaped in a regular expression.
            variable.multi(True)
        elif name != "grouping":
            several(variable)
        built.with_variable(variable)
    for variable in regions[1:]:
        built.with_variable(several(variable))
    for derived in (_accounts(), _complete(), _undated(), _live(), *map(_ranked, rankings)):
        built.with_variable(derived.hide(model.VariableHide.HIDE_VARIABLE))
    return built.with_variable(_datasource())


def several(variable: dashboard.QueryVariable) -> dashboard.QueryVariable:
    """Of which several values can be chosen, or all: a regular expression that matches each, and where there is none."""
    return variable.multi(True).include_all(True).all_value(".*").current(_all())


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


def query_variable(name: str, label: str, description: str, kind: int, query: str) -> dashboard.QueryVariable:
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
    """The labels of groups, read from whole series.

    Prometheus does not list labels and their values of what was written out of order until it is compacted.
    """
    return (
        query_variable(
            "grouping",
            "Group by",
            "What groups are: organizational units, or a group of the configuration.",
            3,
            f"query_result({_infos()})",
        )
        .regex(r"/[{,](?!__name__=|account=|account_id=|instance=|job=|state=)(\w+)=/g")
        .current(model.VariableOption(text="ou", value="ou"))
        # Where no account is known, there is no label: an empty name would be an error.
        .include_all(True)
        .all_value("ou")
    )


def _group() -> dashboard.QueryVariable:
    return query_variable(
        "group",
        "Group",
        "Accounts of these groups only; an organizational unit holds those below it.",
        3,
        f"query_result(group by ($grouping) ({_infos()}))",
    ).regex('/="([^"]+)"/')


def _infos() -> str:
    """The groups of each account, as written for the range and as served at its end."""
    family = f'{{__name__=~"{_INFO}", job'
    return f'last_over_time({family}=""}}[$__range]) or {family}!=""}}'


def _account() -> dashboard.QueryVariable:
    """Chooses by account_id, shows the newest name in the range and the id: names are not unique."""
    by = "account_id, account"
    dated = f'{{__name__=~"{_INFO}|aws_cost_daily_by_account_usd", job="", {_IN_GROUP}}}'
    served = f'{{__name__=~"{_INFO}|aws_cost_today_by_account_usd", job!="", {_IN_GROUP}}}'
    chosen = f"group by (account_id) (last_over_time({dated}[$__range]) or {served})"
    # A name at the end of the range, or else of the newest day with cost, or else one that an account without cost had:
    # to look up each account at each day of a year is most of the work.
    infos = 'last_over_time(aws_account_info{job=""}'
    days = "timestamp(last_over_time(aws_cost_daily_by_account_usd[1d]))"
    newest = (
        f"topk by (account_id) (1, timestamp(group by ({by}) ({served} or {infos}[2d])))"
        f" or max by ({by}) (max_over_time({days}{RANGE})) or 0 * group by ({by}) ({infos}[$__range])))"
    )
    cost = f"sum by (account_id) (sum_over_time(last_over_time(aws_cost_daily_by_account_usd[1d]){RANGE}))"
    known = f"group by (account_id) ({infos}[$__range]) or {served})"
    most = f"0 * {newest} + on (account_id) group_left () (({cost} or 0 * {known}) and {chosen})"
    return (
        query_variable(
            "account",
            "Account",
            "Accounts of the range, by name and id, most expensive first.",
            3,
            f'query_result(sort_desc(label_join({most}, "text", " · ", "account", "account_id")))',
        )
        .regex(r'/account_id="(?<value>[^"]+)|text="(?<text>.+?)"[,}]/g')
        .sort(model.VariableSort.DISABLED)
    )


def _service() -> dashboard.QueryVariable:
    chosen = f"({range_cost('service')} or {total('service', select('aws_cost_today', 'service'))} * 0)"
    everything = chosen.replace('service=~"$service"', 'service=~".+"')
    return (
        query_variable(
            "service",
            "Service",
            "AWS services with cost in the range, most expensive first.",
            3,
            f"query_result(sort_desc({everything}))",
        )
        .regex('/service="([^"]+)"/')
        .sort(model.VariableSort.DISABLED)
    )


def _region() -> dashboard.QueryVariable:
    return query_variable(
        "region",
        "Region",
        "Regions in which something is counted.",
        1,
        f'label_values({{__name__=~"aws_resources|aws_ec2_instances", {ACCOUNT}}}, region)',
    )


def _accounts() -> dashboard.QueryVariable:
    """The accounts of the groups and accounts that are chosen; without a value while neither are, see `promql`.

    What is chosen and holds no account has an id that is none, and finds nothing.
    """
    chosen = f'{_IN_GROUP}, account_id=~"$account", account_id!~"{_NOTHING_CHOSEN}"'
    dated = f'{{__name__=~"{_INFO}|aws_cost_daily_by_account_usd", job="", {chosen}}}'
    served = f'{{__name__=~"{_INFO}|aws_cost_today_by_account_usd", job!="", {chosen}}}'
    none = f'label_replace(vector(1), "account_id", "{_NO_ACCOUNT}", "", "")'
    none = f'label_replace({none}, "account_id", "", "account_id", "{_NOTHING_CHOSEN}")'
    return hidden_list(
        "accounts",
        "Accounts chosen",
        "Ids of the chosen accounts in the chosen groups.",
        f"group by (account_id) (last_over_time({dated}[$__range])) or group by (account_id) ({served}) or {none}",
        rf'/account_id="(\d{{12}}|{_NO_ACCOUNT})"/',
    )


def hidden_list(name: str, label: str, description: str, expr: str, regex: str) -> dashboard.QueryVariable:
    """A hidden variable that holds all that `regex` finds in the answer to an instant query at the end of the range."""
    return (
        query_variable(name, label, description, 3, f"query_result({expr})")
        .regex(regex)
        .multi(True)
        .include_all(True)
        .current(_all())
        .hide(model.VariableHide.HIDE_VARIABLE)
    )


def _ranked(ranking: Ranking) -> dashboard.QueryVariable:
    what = "Services" if ranking.label == "service" else "Accounts"
    largest = f"group by ({ranking.label}) ({top_of_range(ranking.most, ranking.label, ranking.part)})"
    if ranking.label == "service":
        pattern = r'/service="([^"]+)"/'
    else:
        # Without a value, it would be as if no account was chosen.
        largest += f' or label_replace(vector(1), "account_id", "{_NO_ACCOUNT}", "", "")'
        pattern = rf'/account_id="(\d{{12}}|{_NO_ACCOUNT})"/'
    return hidden_list(
        ranking.name,
        f"Largest {what.lower()}",
        f"{what} that cost most in the range, the {ranking.most} largest: those that panels show apart.",
        largest,
        pattern,
    )


def _complete() -> dashboard.QueryVariable:
    return (
        query_variable(
            "complete",
            "Complete through",
            "End of the newest complete day of the range, in seconds.",
            3,
            f"query_result({complete_through()})",
        )
        .regex(r"/\} (\d+)/")
        .current(model.VariableOption(text="0", value="0"))
    )


def _undated() -> dashboard.QueryVariable:
    """A regular expression that matches everything where there is no dated history in the range, and else nothing.

    Nor in the week before it: of a range of hours no day is written yet, and what looks further back would count
    the days before it twice, as they are written and as they were served.
    """
    none = 'label_replace(vector(1), "which", ".*", "", "")'
    return (
        query_variable(
            "undated",
            "Without dated history",
            "Whether the range has no dated history, so that live gauges stand for it.",
            3,
            f'query_result({none} unless on () {IS_DATED} or label_replace({IS_DATED}, "which", "dated", "", ""))',
        )
        .regex('/which="([^"]+)"/')
        .current(model.VariableOption(text="dated", value="dated"))
    )


def chosen_accounts(name: str, label: str, description: str, expr: str) -> dashboard.QueryVariable:
    """A hidden variable of the ids in a label `ids` of the answer, which may hold `$accounts` as it is written."""
    return hidden_list(name, label, description, expr, rf'/[("|](\d{{12}}|{_NO_ACCOUNT})(?=[)"|])/g')


def _live() -> dashboard.QueryVariable:
    """The chosen accounts where there is no dated history in the range; else an id that is none, and finds nothing.

    Ids of chosen accounts are most of what a query consists of: they are left out of the live gauges that only stand
    for dated history.
    """
    return chosen_accounts(
        "live",
        "Accounts chosen without dated history",
        "Ids of the chosen accounts, for live gauges that stand for dated history where the range has none.",
        f'{CHOSEN_IDS} unless on () {IS_DATED} or label_replace({IS_DATED}, "ids", "{_NO_ACCOUNT}", "", "")',
    )
