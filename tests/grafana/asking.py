"""Queries as Grafana sends them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from typing import Any

import grafana_lint as lint
import requests

from grafana import build
from grafana.builder.frame import OF_ONE
from grafana.builder.promql import RANKED, complete_through, top_of_range

DAY = 86_400
STEPS = {"1d": DAY, "1h": 3600, "1m": 60}

_RANKED = re.compile(rf"\$({RANKED}(\d+)_(service|account_id)_(all|run|non_usage))\b")

_DERIVED = {
    variable["name"]: variable
    for path in build.OUTPUT.glob("*.json")
    for variable in json.loads(path.read_text(encoding="utf-8"))["templating"]["list"]
    if variable["name"].startswith(RANKED) or variable["name"] in OF_ONE - {"furthest", "named"}
}
"""What follows from the range and is no more than a ranking or a moment; the same on each dashboard that has it."""
_UNKNOWN = "0", ".*"

Series = list[dict[str, Any]]


def run(
    url: str, target: lint.Json, values: dict[str, str], days: float = 30, end: float | None = None
) -> Series:
    """One target as Grafana asks it: of so many days until `end`; or until now, from the begin of a day.

    What is counted by the hour or minute is asked of one day.
    """
    step = STEPS[target.get("interval", "1d")]
    if end is None:
        end = time.time()
        start = (end - days * DAY) // DAY * DAY if step == DAY else end - DAY
    else:
        start = end - days * DAY
    if values.get("complete", "0") == "0":
        values = values | complete(url, start, end)
    for name, most, label, part in _RANKED.findall(target["expr"]):
        if values[name] == ".*":
            ranked = lint.resolve(top_of_range(int(most), label, part), values | lint.grafana(start, end))
            found = [one["metric"][label] for one in instant(url, ranked, end)]
            values = values | {name: _pattern(found + ["none"] * (label == "account_id"))}
    for name in _DERIVED:
        if re.search(rf"\${name}\b", target["expr"]) and values.get(name) in _UNKNOWN:
            values = values | _derived(url, _DERIVED[name], values, start, end)
    text = lint.resolve(target["expr"], values | lint.grafana(start, end))
    if target.get("instant"):
        return ask(url, "query", query=text, time=end)
    first, last = (at // step * step for at in (start, end))
    return ask(url, "query_range", query=text, start=first, end=last, step=max(step, 60))


def instant(url: str, text: str, at: float | None = None) -> Series:
    """The answer at a moment, or at this one."""
    return ask(url, "query", query=text, time=time.time() if at is None else at)


def complete(url: str, start: float, end: float) -> dict[str, str]:
    """The variable that holds the end of the newest complete day of a range."""
    (known,) = instant(url, lint.resolve(complete_through(), lint.grafana(start, end)), end)
    return {"complete": known["value"][1]}


def choose(
    url: str, dashboard: lint.Json, start: float, end: float, **chosen: tuple[str, ...]
) -> dict[str, str]:
    """Each variable as Grafana writes it into a query, with these values chosen and all of the others."""
    values = lint.everything(dashboard) | {name: _pattern(names) for name, names in chosen.items()}
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    for name in ("undated", "complete"):
        (values[name],) = options(url, variables[name], values, start, end)
    if "allocation" in variables:
        values["allocation"] = (
            chosen.get("allocation") or options(url, variables["allocation"], values, start, end)
        )[0]
    ranked = [name for name in variables if name.startswith(RANKED)]
    for name in ("accounts", "live", "furthest", "named", *_OF_ALLOCATION, "dimensions", *ranked):
        if name in variables:
            values |= _derived(url, variables[name], values, start, end)
    return values


_OF_ALLOCATION = "kind", "key_label", "key", "through", "comparable", "total"
"""What follows from what is allocated by, each after those that it needs."""


def _derived(
    url: str, variable: lint.Json, values: dict[str, str], start: float, end: float
) -> dict[str, str]:
    found = options(url, variable, values, start, end)
    if variable.get("multi"):
        return {variable["name"]: _pattern(found)}
    (value,) = found
    return {variable["name"]: value}


def _pattern(values: Iterable[str]) -> str:
    """A variable that may have several values in a regular expression in quotes."""
    escaped = [re.sub(r"[$^*{}\[\]+?.()|]", r"\\\\\g<0>", value.replace("\\", r"\\\\")) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def options(url: str, variable: lint.Json, values: dict[str, str], start: float, end: float) -> list[str]:
    """What a variable can be chosen from, in the order of Grafana."""
    query = lint.resolve(variable["query"]["query"], values | lint.grafana(start, end))
    if found := re.fullmatch(r"label_values\((.*), *(\w+)\)", query):
        return sorted(_get(url, f"label/{found[2]}/values", found[1], start, end))
    pattern = re.compile(re.sub(r"\(\?<(\w+)>", r"(?P<\1>", variable["regex"].strip("/g")))
    listed = []
    for series in instant(url, query[len("query_result(") : -1], end):
        labels = ",".join(f'{name}="{value}"' for name, value in series["metric"].items())
        text = f"{series['metric'].get('__name__', '')}{{{labels}}} {series['value'][1]} {series['value'][0] * 1000:.0f}"
        found = [match[1] for match in pattern.finditer(text) if match[1]]
        # Of several matches Grafana takes each, or the value that goes with a text.
        listed += found[:1] if "<text>" in variable["regex"] else found
    unique = list(dict.fromkeys(listed))
    return sorted(unique) if variable["sort"] else unique


def _get(url: str, path: str, selector: str, start: float, end: float) -> list[str]:
    params: dict[str, Any] = {"match[]": selector, "start": start, "end": end}
    answer = requests.get(f"{url}/api/v1/{path}", params=params, timeout=30).json()
    assert answer["status"] == "success", f"{answer.get('error')}: {selector}"
    found: list[str] = answer["data"]
    return found


def ask(url: str, path: str, **params: Any) -> Series:
    """The result of a query that must succeed."""
    answer = requests.post(f"{url}/api/v1/{path}", data=params, timeout=30).json()
    assert answer["status"] == "success", f"{answer.get('error')}: {params['query']}"
    result: Series = answer["data"]["result"]
    return result


def legend(target: lint.Json, labels: dict[str, str]) -> str:
    """The name that a series gets; a label that it lacks leaves a gap."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], "?"), target["legendFormat"])
