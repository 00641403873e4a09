"""What every dashboard must keep, as one function from a dashboard's JSON to its faults."""

from __future__ import annotations

import re
from collections import Counter
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

Json = dict[str, Any]
Declared = dict[str, set[str]]  # metric name to its labels

COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
MOST_TARGETS_OF_A_STAT = 3
MOST_PANELS = 20
DATED = re.compile(r"aws_cost_daily_usd|aws_account_ou_info|aws_\w+_daily")

# What Grafana puts in the place of its own variables, at a range of 30 days.
GRAFANA = {
    "__interval": "1d",
    "__rate_interval": "4m",
    "__range": "30d",
    "__range_s": "2592000",
    "__interval_ms": "86400000",
}


def resolve(text: str, values: dict[str, str]) -> str:
    """Replace $name, ${name} and ${name:format}; an unknown variable raises KeyError."""
    known = GRAFANA | values
    return re.sub(r"\$(?:(\w+)|\{(\w+)(?::\w+)?\})", lambda found: known[found[1] or found[2]], text)


def everything(dashboard: Json) -> dict[str, str]:
    """Each variable with "All" chosen."""
    return {variable["name"]: variable.get("allValue", ".*") for variable in dashboard["templating"]["list"]}


def panels(dashboard: Json) -> Iterator[Json]:
    """All panels, also those inside collapsed rows, without the rows."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel


def expressions(dashboard: Json) -> Iterator[tuple[str, str]]:
    """(where, PromQL with Grafana's variables still in it) of panels and query variables."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield f"{panel['title']}/{target['refId']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            query = variable["query"]["query"]
            inner = re.fullmatch(r"query_result\((.*)\)|label_values\((.*), *\w+\)", query)
            if inner is None:
                raise AssertionError(f"variable {variable['name']}: not query_result or label_values")
            yield f"variable {variable['name']}", inner[1] or inner[2]


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
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    for name, kind in {"datasource": "datasource", "account": "query", "service": "query"}.items():
        if variables.get(name, {}).get("type") != kind:
            yield f"variable {name} is missing or not of type {kind}"
    for name, variable in variables.items():
        if not variable.get("label") or not variable.get("description"):
            yield f"variable {name} has no label or description"
        if variable["type"] == "query" and variable.get("datasource") != DATASOURCE:
            yield f"variable {name} has a fixed datasource"
        if variable["type"] == "datasource" and variable.get("current"):
            yield f"variable {name} has a fixed choice"


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
    targets = panel.get("targets", [])
    if not targets:
        yield f"{title}: no query"
    if panel["type"] == "stat" and len(targets) > MOST_TARGETS_OF_A_STAT:
        yield f"{title}: a wall of {len(targets)} numbers"
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
        if not shown:
            yield f"{panel['title']}: columns are not named"
    elif "unit" not in defaults:
        yield f"{panel['title']}: no unit"
    money = all("_usd" in target["expr"] for target in panel.get("targets", []))
    if panel["type"] != "table" and money and defaults.get("unit") != "currencyUSD":
        yield f"{panel['title']}: money without its unit"


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
            if by and "account" in labels and "account_id" not in labels:
                yield "aggregates by account alone"
            if not by and "account_id" in labels and "account" not in labels:
                yield "aggregates by account alone"
        elif isinstance(node, BinaryExpr):
            matching = node.modifier.matching if node.modifier else None
            if (
                matching is not None
                and matching.type == LabelModifierType.Include
                and "account" in matching.labels
                and "account_id" not in matching.labels
            ):
                yield "matches on account alone"
        elif isinstance(node, VectorSelector):
            names = _names(node)
            if not names:
                yield f"selector without a metric name: {node}"
            yield from (f"undeclared metric {name}" for name in sorted(names - declared.keys()))
            selected = {matcher.name for matcher in node.matchers.matchers} - {"__name__"}
            for name in sorted(names & declared.keys()):
                yield from (f"{name} has no label {label}" for label in sorted(selected - declared[name]))
            if any(DATED.fullmatch(name) for name in names) and not _dated_idiom(parents):
                yield f"dated history outside of last_over_time(...[1d]): {node}"


def _dated_idiom(parents: list[Expr]) -> bool:
    """Whether a selector stands in last_over_time(x[1d]); anything else adds revisions or misses days."""
    matrix, call = (parents[-1:] or [None])[0], (parents[-2:-1] or [None])[0]
    return (
        isinstance(matrix, MatrixSelector)
        and matrix.range == timedelta(days=1)
        and isinstance(call, Call)
        and call.func.name == "last_over_time"
    )


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
