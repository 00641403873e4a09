"""What is wrong with a dashboard that a Grafana server showed, and whether its values are those of Prometheus."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import grafana_lint as lint
import requests

Json = dict[str, Any]
Values = dict[tuple[tuple[str, str], ...], float]  # labels to the newest value

PATIENCE = 30.0
_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SAME = {"rel_tol": 1e-9, "abs_tol": 1e-9}


class RefusedError(Exception):
    """Prometheus has refused what Grafana has answered."""


def faults(
    report: Json,
    dashboard: Json,
    *,
    may_be_empty: Mapping[str, str] | None = None,
    may_be_cut: Mapping[str, str] | None = None,
) -> list[str]:
    """Everything wrong with what was shown; the two mappings give a reason for each title."""
    found = list(report["complaints"])
    ids = {panel["id"] for panel in _shown(dashboard)}
    for each in report["answers"]:
        if each["panel"] not in ids:
            found += [f"a variable or an annotation: {error}" for error in _errors(each)]
    seen = {panel["title"]: panel for panel in report["panels"]}
    for panel in _shown(dashboard):
        title = next((each for each in seen if _is_called(panel["title"], each)), None)
        if title is None:
            found.append(f"{panel['title']}: not on the page")
            continue
        shown = seen[title]
        answers = [each for each in report["answers"] if each["panel"] == panel["id"]]
        errors = [error for each in answers for error in _errors(each)]
        if shown["error"] and not errors:
            errors = ["it is marked as failed"]
        found += [f"{title}: {error}" for error in errors]
        if panel.get("targets") and not errors:
            if not answers:
                found.append(f"{title}: nothing was asked")
            elif not any(_frames(each) for each in answers) and panel["title"] not in (may_be_empty or {}):
                found.append(f"{title}: empty")
        if not shown["drawn"] and not errors:
            found.append(f"{title}: nothing is drawn")
        if panel["title"] not in (may_be_cut or {}):
            found += [f"{title}: {text!r} is cut off" for text in dict.fromkeys(shown["cut"])]
    return found


def of_the_range(expression: str, start: str, end: str) -> str:
    """The expression with what Grafana puts for the range, of which both ends are milliseconds since 1970."""
    first, last = int(float(start)) // 1000, int(float(end)) // 1000
    for name, value in (
        ("${__to:date:seconds}", str(last)),
        ("${__from:date:seconds}", str(first)),
        ("$__range_s", str(last - first)),
        ("$__range", f"{last - first}s"),
    ):
        expression = expression.replace(name, value)
    return expression


def asked_without_a_browser(dashboard: Json, data_source: str, start: str, end: str) -> list[Json]:
    """The queries of each panel as a page would send them, with every variable at its widest."""
    values = lint.everything(dashboard) | {"datasource": data_source}
    return [
        {
            "panel": panel["id"],
            "body": {
                "from": start,
                "to": end,
                "queries": [
                    target
                    | {
                        "expr": lint.resolve(of_the_range(target["expr"], start, end), values),
                        "datasource": {"type": "prometheus", "uid": data_source},
                        "intervalMs": 60_000,
                        "maxDataPoints": 1000,
                        "utcOffsetSec": 0,
                    }
                    for target in panel["targets"]
                ],
            },
        }
        for panel in _shown(dashboard)
        if panel.get("targets")
    ]


def compare(grafana: str, prometheus: str, dashboard: Json, asked: list[Json]) -> tuple[set[str], list[str]]:
    """Ask Grafana and Prometheus the same, until both agree or patience ends.

    Returns the titles of the panels of which a value was compared, and what differs.
    """
    titles = {panel["id"]: panel["title"] for panel in _shown(dashboard)}
    compared, found = set(), []
    for each in asked:
        if each["panel"] not in titles:  # a variable or an annotation
            continue
        title = titles[each["panel"]]
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = ask_grafana(grafana, dashboard["uid"], each)
            differences = list(_differences(prometheus, each["body"], answer))
            if not differences or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        found += [f"{title}: {difference}" for difference in differences]
        if _frames(answer):
            compared.add(title)
    return compared, found


def ask_grafana(grafana: str, uid: str, asked: Json) -> Json:
    """The answer to the same body once more: `status` and `answer`, as a page's report has them."""
    answer = requests.post(
        f"{grafana}/api/ds/query",
        json=asked["body"],
        headers={"X-Dashboard-Uid": uid, "X-Panel-Id": str(asked["panel"])},
        timeout=60,
    )
    return {"status": answer.status_code, "answer": answer.json(), "panel": asked["panel"]}


def _differences(prometheus: str, body: Json, answer: Json) -> Iterator[str]:
    yield from _errors(answer)
    for query in body["queries"]:
        result = answer["answer"].get("results", {}).get(query["refId"], {})
        if "error" in result:
            continue
        shown = newest(result.get("frames", []))
        try:
            known = ask_prometheus(prometheus, query, body, result.get("frames", []))
        except RefusedError as error:
            yield str(error)
            continue
        for labels in shown.keys() | known.keys():
            one, other = shown.get(labels, math.nan), known.get(labels, math.nan)
            if not math.isclose(one, other, **_SAME):
                name = ", ".join(f"{label}={value}" for label, value in labels) or "the value"
                yield f"{query['refId']}: {name} is {one} in Grafana and {other} in Prometheus"


def newest(frames: list[Json]) -> Values:
    """The newest value of each series; labels stand at the number, or in a table in columns of text."""
    found: Values = {}
    for frame in frames:
        columns = list(zip(frame["schema"]["fields"], frame["data"]["values"], strict=True))
        texts = [(field["name"], values) for field, values in columns if field["type"] == "string"]
        for field, values in columns:
            if field["type"] != "number":
                continue
            for at, value in enumerate(values):
                if value is None:
                    continue
                labels = field.get("labels") or {name: column[at] for name, column in texts}
                found[_key(labels)] = float(value)
    return found


def ask_prometheus(prometheus: str, query: Json, body: Json, frames: list[Json]) -> Values:
    """The same of Prometheus itself: of the moment at the range's end, or of the range that Grafana asked."""
    expression, step = _executed(query, frames)
    start, end = (int(body[name]) / 1000 for name in ("from", "to"))
    if query.get("instant"):
        path, arguments = "query", {"time": end}
    else:
        offset = query.get("utcOffsetSec", 0)
        path = "query_range"
        arguments = {
            "start": (start + offset) // step * step - offset,
            "end": (end + offset) // step * step - offset,
            "step": step,
        }
    answer = requests.post(
        f"{prometheus}/api/v1/{path}", data={"query": expression} | arguments, timeout=60
    ).json()
    if answer["status"] != "success":
        raise RefusedError(f"Prometheus: {answer['error']}: {expression}")
    data = answer["data"]
    if data["resultType"] == "scalar":
        data = {"result": [{"metric": {}, "value": data["result"]}]}
    found: Values = {}
    for series in data["result"]:
        samples = series["values"] if "values" in series else [series["value"]]
        finite = [float(value) for _, value in samples if math.isfinite(float(value))]
        if finite:
            found[_key(series["metric"])] = finite[-1]
    return found


def _executed(query: Json, frames: list[Json]) -> tuple[str, float]:
    """The expression and the step in seconds that Grafana's server came to."""
    for frame in frames:
        text = frame["schema"].get("meta", {}).get("executedQueryString", "")
        if found := re.fullmatch(r"Expr: (.*)\nStep: (\S+)", text, re.DOTALL):
            return found[1], _duration(found[2])
    # An empty answer says nothing of them.
    return query["expr"], max(_duration(query.get("interval") or ""), query.get("intervalMs", 60_000) / 1000)


def _duration(text: str) -> float:
    """Seconds of Go's notation, e.g. 24h0m0s, or of Grafana's, e.g. 1d."""
    return sum(float(count) * _UNITS[unit] for count, unit in re.findall(r"([\d.]+)(ms|d|h|m|s)", text))


def _key(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in labels.items() if value and name != "Time"))


def _errors(answer: Json) -> list[str]:
    results = answer["answer"].get("results", {})
    errors = [str(result["error"]) for result in results.values() if result.get("error")]
    return errors or ([f"status {answer['status']}"] if answer["status"] >= 400 else [])


def _frames(answer: Json) -> Values:
    return {
        labels: value
        for result in answer["answer"].get("results", {}).values()
        for labels, value in newest(result.get("frames", [])).items()
    }


def _shown(dashboard: Json) -> Iterator[Json]:
    """The panels that a viewer sees: those of a collapsed row are not there."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from () if panel.get("collapsed") else panel.get("panels", [])
        else:
            yield panel


def _is_called(title: str, shown: str) -> bool:
    """Whether that is the title, with its variables filled in."""
    pattern = re.sub(r"\\\$(\w+|\\\{[^}]*\})", ".*", re.escape(title))
    return re.fullmatch(pattern, shown) is not None
