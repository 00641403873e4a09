"""Queries as Grafana sends them."""

from __future__ import annotations

import re
import time
from typing import Any

import grafana_lint as lint
import requests

DAY = 86_400
STEPS = {"1d": DAY, "1h": 3600, "1m": 60}

Series = list[dict[str, Any]]


def run(
    url: str, target: lint.Json, values: dict[str, str], days: int = 30, end: float | None = None
) -> Series:
    """One target as Grafana asks it: of so many days until `end`, or now, and of the part of a day that has begun.

    What is counted by the hour or minute is asked of one day.
    """
    end = time.time() if end is None else end
    step = STEPS[target.get("interval", "1d")]
    start = (end - days * DAY) // DAY * DAY if step == DAY else end - DAY
    text = lint.resolve(target["expr"], values | lint.grafana(start, end))
    if target.get("instant"):
        return ask(url, "query", query=text, time=end)
    first, last = (at // step * step for at in (start, end))
    return ask(url, "query_range", query=text, start=first, end=last, step=max(step, 60))


def instant(url: str, text: str, at: float | None = None) -> Series:
    """The answer at a moment, or at this one."""
    return ask(url, "query", query=text, time=time.time() if at is None else at)


def ask(url: str, path: str, **params: Any) -> Series:
    """The result of a query that must succeed."""
    answer = requests.post(f"{url}/api/v1/{path}", data=params, timeout=30).json()
    assert answer["status"] == "success", f"{answer.get('error')}: {params['query']}"
    result: Series = answer["data"]["result"]
    return result


def legend(target: lint.Json, labels: dict[str, str]) -> str:
    """The name that a series gets; a label that it lacks leaves a gap."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], "?"), target["legendFormat"])
