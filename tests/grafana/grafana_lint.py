"""What every dashboard must keep, as one function from a dashboard's JSON to its faults."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import combinations
from typing import Any

import promql_parser
from promql_parser import (
    AggModifierType,
    AggregateExpr,
    BinaryExpr,
    Call,
    Expr,
    LabelModifierType,
    MatchOp,
    MatrixSelector,
    ParenExpr,
    SubqueryExpr,
    UnaryExpr,
    VectorSelector,
)

from grafana.builder.cuts import CHOSEN
from grafana.builder.frame import DERIVED, OF_ONE
from grafana.builder.promql import RANKED
from grafana.builder.style import STATE

Json = dict[str, Any]
Declared = dict[str, set[str]]  # metric name to its labels

COLUMNS = 24
SCREEN_WIDTH, PANEL_PADDING, LEAST_COLUMN_WIDTH = 1600, 16, 150  # in pixels; the least is Grafana's own
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
PROVISIONED = "aws-spend"  # uid of the data source in grafana/provisioning
MOST_TARGETS_OF_A_STAT = 3
MOST_PANELS = 20
DATED = re.compile(r"aws_cost_daily_\w+|aws_\w+_daily")

VARIABLES = {"datasource": "datasource"} | dict.fromkeys(
    ("grouping", "group", "account", "service", "region", *DERIVED - OF_ONE), "query"
)
HIDDEN = 2  # Grafana's hideVariable
HANDED_ON = VARIABLES.keys() - DERIVED


def grafana(start: float, end: float) -> dict[str, str]:
    """What Grafana puts in the place of its own variables in a range of time, in seconds, at steps of a day."""
    return {
        "__interval": "1d",
        "__interval_ms": "86400000",
        "__rate_interval": "4m",
        "__range": f"{end - start:.0f}s",
        "__range_s": f"{end - start:.0f}",
        "__range_ms": f"{1000 * (end - start):.0f}",
        "__from": f"{start:.0f}",
        "__to": f"{end:.0f}",
    }


GRAFANA = grafana(1_800_000_000 - 30 * 86_400, 1_800_000_000)


def resolve(text: str, values: dict[str, str]) -> str:
    """Replace $name, ${name} and ${name:format}; an unknown variable raises KeyError."""
    if re.search(r"\$(__from|__to)\b|\$\{(__from|__to)(?!:date:(seconds|iso)\})", text):
        raise AssertionError(f"a moment that is neither in seconds nor a date of UTC: {text}")
    known = values.copy()
    known.update({name: value for name, value in GRAFANA.items() if name not in values})
    return re.sub(
        r"\$(?:([A-Za-z_]\w*)|\{(\w+)(?::[\w:]+)?\})", lambda found: known[found[1] or found[2]], text
    )


def everything(dashboard: Json) -> dict[str, str]:
    """Each variable with "All" chosen where it may be, else with its default, else with anything.

    No accounts are chosen: Grafana writes `()` for a variable that has no value. There is dated history.
    """
    values = {variable["name"]: _widest(variable) for variable in dashboard["templating"]["list"]}
    return values | {"accounts": "()", "named": "()", "live": "none"}


def _widest(variable: Json) -> str:
    default = variable.get("current", {}).get("value")
    return default if isinstance(default, str) else str(variable.get("allValue", ".*"))


def panels(dashboard: Json) -> Iterator[Json]:
    """All panels, also those inside collapsed rows, without the rows."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def expressions(dashboard: Json) -> Iterator[tuple[str, str]]:
    """(where, PromQL with Grafana's variables still in it) of panels, annotations and query variables."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield f"{panel['title']}/{target['refId']}", target["expr"]
    for annotation in dashboard["annotations"].get("list", []):
        yield f"annotation {annotation['name']}", annotation["target"]["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            query = variable["query"]["query"]
            inner = re.fullmatch(
                r"query_result\((.*)\)|label_values\((.*), *[$\w]+\)|label_names\((.*)\)", query
            )
            if inner is None:
                raise AssertionError(f"variable {variable['name']}: a query of an unknown kind")
            # Only query_result is evaluated; the others ask the index for labels.
            kind = "variable" if inner[1] else "labels of variable"
            yield f"{kind} {variable['name']}", inner[1] or inner[2] or inner[3]


def metrics(expression: Expr) -> set[str]:
    """Names of the families that an expression reads."""
    names: set[str] = set()
    for node, _ in _walk(expression):
        if isinstance(node, VectorSelector):
            names |= _names(node)
    return names


def faults(dashboard: Json, declared: Declared) -> list[str]:
    """Everything wrong with a dashboard; empty when nothing is. `declared` holds the known metrics."""
    return [
        *_frame(dashboard),
        *_layout(dashboard),
        *(fault for panel in panels(dashboard) for fault in _panel(panel)),
        *(
            f"{where}: {fault}"
            for where, text in expressions(dashboard)
            for fault in _expression(text, everything(dashboard), declared)
            if not (where.startswith("labels of") and fault.startswith("dated history outside"))
        ),
    ]


def _frame(dashboard: Json) -> Iterator[str]:
    if not re.fullmatch(r"aws-spend-[a-z-]{1,30}", dashboard.get("uid", "")):
        yield "uid is not aws-spend-..."
    if not dashboard.get("description"):
        yield "no description"
    if dashboard.get("timezone") != "utc":
        yield "timezone is not pinned to UTC"
    if dashboard.get("editable", True):
        yield "a provisioned dashboard must not be editable"
    if "aws-spend" not in dashboard.get("tags", []):
        yield "tag aws-spend is missing"
    yield from _variables(dashboard)
    yield from _links(dashboard)


def _variables(dashboard: Json) -> Iterator[str]:
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    for name, kind in VARIABLES.items():
        if variables.get(name, {}).get("type") != kind:
            yield f"variable {name} is missing or not of type {kind}"
    shown = " ".join(text for _, text in expressions(dashboard)) + " ".join(
        variable["query"]["query"] for variable in variables.values() if variable["type"] == "query"
    )
    shown += json.dumps([panel.get("datasource") for panel in dashboard["panels"]])
    for name, variable in variables.items():
        used = re.search(rf"\$(\{{{name}\b|{name}\b)", shown)
        if not used and variable.get("hide", 0) != HIDDEN:
            yield f"variable {name} is shown and filters nothing"
    for name, variable in variables.items():
        if not variable.get("label") or not variable.get("description"):
            yield f"variable {name} has no label or description"
        if variable.get("skipUrlSync", False) != _follows(name):
            yield f"variable {name} is handed on, though it follows from others, or is not"
        if variable["type"] == "query" and variable.get("datasource") != DATASOURCE:
            yield f"variable {name} has a fixed datasource"
        if variable["type"] == "datasource" and variable.get("current", {}).get("value") != PROVISIONED:
            yield f"variable {name} does not begin with the provisioned data source"


def _follows(name: str) -> bool:
    """Whether a variable follows from others and the range."""
    return name in DERIVED or name.startswith(RANKED)


def _links(dashboard: Json) -> Iterator[str]:
    """The way to the other dashboards, and from columns to them: filters go along, and the range if it is of days."""
    is_of_days = not dashboard["time"]["from"].endswith("h")
    kept = [
        (link["type"], link["tags"], link["keepTime"], link["includeVars"])
        for link in dashboard.get("links", [])
    ]
    if kept != [("dashboards", ["aws-spend"], is_of_days, True)]:
        yield "no links to the other dashboards that keep range and filters"
    if any("placement" in link for link in dashboard.get("links", [])):
        yield "a placement, which hides links in a menu or altogether"
    own = {v["name"] for v in dashboard["templating"]["list"] if not _follows(v["name"])} - HANDED_ON
    for panel in panels(dashboard):
        for link in column_links(panel):
            url = link["url"]
            # To the dashboard itself, what is chosen there alone goes along, too.
            handed_on = HANDED_ON | (own if f"/{dashboard['uid']}?" in url else set())
            inside = url.startswith("/d/aws-spend-")
            chosen = set(re.findall(r"var-(\w+)=", url)) | set(re.findall(r"\$\{(\w+):queryparam\}", url))
            if inside and (("${__url_time_range}" in url) != is_of_days or chosen != handed_on):
                yield f"{panel['title']}: the link {link['title']} loses range or filters"
            if any(not name.endswith(":percentencode}") for name in re.findall(r"=(\$\{__data[^}]+\})", url)):
                yield f"{panel['title']}: the link {link['title']} breaks at an & in a name"
            if not inside and not url.startswith(("https://", "${__data.fields")):
                yield f"{panel['title']}: the link {link['title']} leads nowhere"


def column_links(panel: Json) -> Iterator[Json]:
    """The links of a table's columns."""
    for override in panel.get("fieldConfig", {}).get("overrides", []):
        for setting in override["properties"]:
            if setting["id"] == "links":
                yield from setting["value"]


def _layout(dashboard: Json) -> Iterator[str]:
    shown = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    if len(shown) > MOST_PANELS:
        yield f"a wall: {len(shown)} panels"
    for what in ("id", "title"):
        counts = Counter(panel.get(what) for panel in panels(dashboard))
        yield from (f"panel {what} {value!r} occurs {n} times" for value, n in counts.items() if n > 1)
        if None in counts:
            yield f"a panel has no {what}"
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        if at["x"] < 0 or at["w"] < 1 or at["h"] < 1 or at["x"] + at["w"] > COLUMNS:
            yield f"{panel['title']}: outside of the grid"
    for one, other in combinations(dashboard["panels"], 2):
        a, b = one["gridPos"], other["gridPos"]
        if (
            a["x"] < b["x"] + b["w"]
            and b["x"] < a["x"] + a["w"]
            and a["y"] < b["y"] + b["h"]
            and b["y"] < a["y"] + a["h"]
        ):
            yield f"{one['title']} overlaps {other['title']}"


def _panel(panel: Json) -> Iterator[str]:
    title = panel["title"]
    if panel["type"] == "text":
        return
    if len(panel.get("description", "")) < 40:
        yield f"{title}: the description does not say what is shown and how old it may be"
    if panel.get("datasource") != DATASOURCE:
        yield f"{title}: fixed datasource"
    defaults = panel["fieldConfig"]["defaults"]
    if not defaults.get("noValue"):
        yield f"{title}: says nothing when there is no data"
    yield from _units(panel)
    yield from _fit(panel)
    yield from _told_apart(panel)
    yield from _targets(panel)


def _targets(panel: Json) -> Iterator[str]:
    title, targets = panel["title"], panel.get("targets", [])
    if not targets:
        yield f"{title}: no query"
    numbers = [target for target in targets if target["refId"] != STATE]
    if panel["type"] == "stat" and len(numbers) > MOST_TARGETS_OF_A_STAT:
        yield f"{title}: a wall of {len(numbers)} numbers"
    references = [target["refId"] for target in targets]
    if len(references) != len(set(references)):
        yield f"{title}: refIds repeat"
    for target in targets:
        where = f"{title}/{target['refId']}"
        if target.get("datasource") != DATASOURCE:
            yield f"{where}: fixed datasource"
        if panel["type"] != "table" and target.get("legendFormat", "") in {"", "__auto"}:
            yield f"{where}: the legend names nothing"
        if target.get("range") and "[1d]" in target["expr"] and target.get("interval") != "1d":
            yield f"{where}: days need a min step of 1d"


def _overridden(panel: Json, setting: str) -> dict[str, Any]:
    """The value of a field property by the name that it is overridden for."""
    return {
        override["matcher"]["options"]: found["value"]
        for override in panel["fieldConfig"]["overrides"]
        for found in override["properties"]
        if found["id"] == setting and override["matcher"]["id"] == "byName"
    }


def _fit(panel: Json) -> Iterator[str]:
    """A table whose columns are wider than its panel scrolls sideways, and what is beside it is not seen."""
    for transformation in panel.get("transformations", []):
        if transformation["id"] == "organize":
            widths, hidden = _overridden(panel, "custom.width"), _overridden(panel, "custom.hideFrom")
            names = [
                name for name in transformation["options"]["renameByName"].values() if name not in hidden
            ]
            needed = sum(widths.get(name) or LEAST_COLUMN_WIDTH for name in names)
            if needed > panel["gridPos"]["w"] * SCREEN_WIDTH / COLUMNS - PANEL_PADDING:
                yield f"{panel['title']}: {needed} pixels of columns do not fit into the panel"


def _told_apart(panel: Json) -> Iterator[str]:
    """What is drawn beside dollars has a separate colour."""
    colours = _overridden(panel, "color")
    if "Cost" not in colours or panel["type"] != "timeseries":
        return
    names = {
        name
        for target in panel["targets"]
        for name in re.findall(r'"what", "([^"]+)"', target["expr"]) or [target["legendFormat"]]
        if "{{" not in name and name != "Cost"
    }
    for name in sorted(names):
        if name not in colours or colours[name] == colours["Cost"]:
            yield f"{panel['title']}: {name} may have the colour of Cost"


def _units(panel: Json) -> Iterator[str]:
    defaults = panel["fieldConfig"]["defaults"]
    overridden = {
        override["matcher"]["options"]: setting["value"]
        for override in panel["fieldConfig"]["overrides"]
        for setting in override["properties"]
        if setting["id"] == "unit"
    }
    if panel["type"] == "table":
        if "unit" in defaults:
            yield f"{panel['title']}: a unit on the whole table also falls on ids"
        shown = [
            name
            for transformation in panel.get("transformations", [])
            if transformation["id"] == "organize"
            for field, name in transformation["options"]["renameByName"].items()
            if field.startswith("Value")
        ]
        yield from (
            f"{panel['title']}: column {name} has no unit" for name in shown if name not in overridden
        )
        left_out = any(
            transformation["options"].get("excludeByName", {}).get("Value")
            for transformation in panel.get("transformations", [])
        )
        if not shown and not left_out:
            yield f"{panel['title']}: columns are not named"
    elif "unit" not in defaults:
        yield f"{panel['title']}: no unit"
    if panel["type"] == "table":
        return
    for target in panel.get("targets", []):
        if target["refId"] == STATE:
            continue  # a text
        unit = overridden.get(target.get("legendFormat"), defaults.get("unit"))
        try:
            dollars = _is_money(promql_parser.parse(resolve(target["expr"], defaultdict(lambda: "x"))))
        except ValueError:
            continue  # reported elsewhere
        if dollars != (unit == "currencyUSD"):
            yield f"{panel['title']}/{target['refId']}: {'money' if dollars else 'no money'}, but the unit is {unit}"


def _is_money(node: Expr) -> bool:
    """Whether an expression's value is in dollars."""
    if isinstance(node, VectorSelector):
        return any(re.search(r"_usd(_total|_per_hour|:\w+(?<!ratio))?$", name) for name in _names(node))
    if isinstance(node, AggregateExpr):
        return str(node.op) not in {"count", "group", "count_values"} and _is_money(node.expr)
    if isinstance(node, BinaryExpr):
        left, right = _is_money(node.lhs), _is_money(node.rhs)
        operator = str(node.op)
        if operator == "/":
            return left and not right
        return left if operator in {"and", "unless", "==", "!=", "<", ">", "<=", ">=", "%"} else left or right
    if isinstance(node, Call):
        if node.func.name in {"count_over_time", "present_over_time", "timestamp", "absent"}:
            return False
        return any(_is_money(argument) for argument in node.args)
    if isinstance(node, ParenExpr | SubqueryExpr | UnaryExpr):
        return _is_money(node.expr)
    return isinstance(node, MatrixSelector) and _is_money(node.vector_selector)


def _expression(text: str, values: dict[str, str], declared: Declared) -> Iterator[str]:
    try:
        expression = promql_parser.parse(resolve(text, values))
    except KeyError as error:
        yield f"unknown variable {error}"
        return
    except ValueError as error:
        yield f"does not parse: {error}"
        return
    for node, parents in _walk(expression):
        if isinstance(node, AggregateExpr):
            labels = set(node.modifier.labels) if node.modifier else set()
            by = node.modifier is None or node.modifier.type == AggModifierType.By
            kept, other = ("account", "account_id") if by else ("account_id", "account")
            if kept in labels and other not in labels:
                yield "aggregates by account alone"
        elif isinstance(node, BinaryExpr):
            if _matches_on_account_alone(node):
                yield "matches on account alone"
        elif isinstance(node, VectorSelector):
            yield from _selector(node, values, declared)
            if any(DATED.fullmatch(name) for name in _names(node)) and not _dated_idiom(parents):
                yield f"dated history outside of last_over_time(...[1d]): {node}"


def _matches_on_account_alone(node: BinaryExpr) -> bool:
    matching = node.modifier.matching if node.modifier else None
    return (
        matching is not None
        and matching.type == LabelModifierType.Include
        and "account" in matching.labels
        and "account_id" not in matching.labels
    )


def _selector(node: VectorSelector, values: dict[str, str], declared: Declared) -> Iterator[str]:
    names = _names(node)
    if not names:
        yield f"selector without a metric name: {node}"
    yield from (f"undeclared metric {name}" for name in sorted(names - declared.keys()))
    # What accounts are grouped by is chosen; cost lacks it, and so matches while no group is.
    selected = {matcher.name for matcher in node.matchers.matchers} - {"__name__", values.get("grouping")}
    # Sums beside what they are of lack labels: of several families one has each.
    had = [declared[name] for name in sorted(names & declared.keys())]
    # Cost by one dimension lacks the others: it matches while nothing is chosen of them, and is not found otherwise.
    if any(re.fullmatch(r"aws_cost_(daily|hourly)(_\w+)?_usd", name) for name in names):
        selected -= {
            matcher.name
            for matcher in node.matchers.matchers
            if matcher.name in CHOSEN and matcher.op in (MatchOp.Re, MatchOp.NotRe)
        }
    if had:
        name = "|".join(sorted(names & declared.keys()))
        yield from (f"{name} has no label {label}" for label in sorted(selected - set.union(*had)))


def _dated_idiom(parents: list[Expr]) -> bool:
    """Whether a selector stands in last_over_time(x[1d]); anything else adds revisions or misses days.

    Only which series there are may be asked of a longer time, as `group` shows no value.
    """
    matrix, call = (parents[-1:] or [None])[0], (parents[-2:-1] or [None])[0]
    if not isinstance(matrix, MatrixSelector) or not isinstance(call, Call):
        return False
    shows_no_value = any(isinstance(node, AggregateExpr) and str(node.op) == "group" for node in parents)
    if shows_no_value and call.func.name in {"last_over_time", "max_over_time", "min_over_time"}:
        return True
    return call.func.name == "last_over_time" and matrix.range == timedelta(days=1)


def _names(selector: VectorSelector) -> set[str]:
    if selector.name:
        return {selector.name}
    return {
        name
        for matcher in selector.matchers.matchers
        if matcher.name == "__name__" and matcher.op in (MatchOp.Equal, MatchOp.Re)
        for name in matcher.value.split("|")
    }


def _walk(node: Any, parents: list[Expr] | None = None) -> Iterator[tuple[Expr, list[Expr]]]:
    """Each node with the path from the root to it."""
    parents = parents or []
    yield node, parents
    below = [*parents, node]
    children: list[Any] = []
    if isinstance(node, AggregateExpr):
        children = [node.expr] + ([node.param] if isinstance(node.param, Expr) else [])
    elif isinstance(node, BinaryExpr):
        children = [node.lhs, node.rhs]
    elif isinstance(node, ParenExpr | SubqueryExpr | UnaryExpr):
        children = [node.expr]
    elif isinstance(node, MatrixSelector):
        children = [node.vector_selector]
    elif isinstance(node, Call):
        children = list(node.args)
    for child in children:
        yield from _walk(child, below)
