"""Overview, Allocation and Where it goes with cost from a data export: each panel is full, and no request for cost is paid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import asking
import pytest
import test_dashboards_on_demo as on_demo
from demo_stack import FILLED, OPTIONS, filled_stack

from demo import http
from demo.stack import Stack
from grafana import build
from grafana.builder.style import STATE

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

_FILLED = (
    "thirteen months of cost are read",
    "dated history is written",
    "the spike is in the settled day",
    "the spike is in dated history",
    "resources are listed",
    "cost by each dimension is written",
    "untagged usage is written",
    "hours are written",
)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A chain whose exporter reads a data export, which is delivered again with a spike."""
    options = replace(OPTIONS, cost_source="data_export")
    with filled_stack(options, {what: FILLED[what] for what in _FILLED}) as stack:
        yield stack


def test_x(stack: Stack) -> None:
    for name in ("overview", "allocation", "where", "account", "service", "trends"):
        dashboard = json.loads((build.OUTPUT / f"{name}.json").read_text())
        import time
        t=time.time()
        try:
            on_demo.PATIENCE = 5
            on_demo.test_every_query_answers_and_names_its_series(dashboard, stack)
        except AssertionError as e:
            print(name, str(e)[:3000])
        print(name, time.time()-t)
    print(json.dumps(http.get(stack.urls["simulator"]+"/_simulator/requests"))[:3000])
    for each in stack.query('aws_spend_exporter_api_requests_total{service="ce"}'): print(each)
