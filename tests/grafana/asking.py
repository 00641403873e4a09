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


def run(url: str, target: lint.Json, values: dict[str, str], days: int = 30) -> Series:
    """One target: at this moment, or over a range that is aligned to its step."""
    text = lint.resolve(target["expr"], values)
    if target.get("instant"):
        return instant(url, text)
    step = STEPS[target["interval"]]
    end = time.time() // step * step
    start = end - (days * DAY if step == DAY else DAY)
    return ask(url, "query_range", query=text, start=start, end=end, step=max(step, 60))


def instant(url: str, text: str) -> Series:
    """The answer at this moment."""
    return ask(url, "query", query=text, time=time.time())


def ask(url: str, path: str, **params: Any) -> Series:
    """The result of a query that must succeed."""
    answer = requests.post(f"{url}/api/v1/{path}", data=params, timeout=30).json()
    assert answer["status"] == "success", f"{answer.get('error')}: {params['query']}"
    result: Series = answer["data"]["result"]
    return result


def legend(target: lint.Json, labels: dict[str, str]) -> str:
    """The name that a series gets; a label that it lacks leaves a gap."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], "?"), target["legendFormat"])
