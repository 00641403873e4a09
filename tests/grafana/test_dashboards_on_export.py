"""Dashboards whose cost comes from a data export: each panel is full, and no request for cost is paid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from demo_stack import FILLED, OPTIONS, filled_stack
from test_dashboards_on_demo import EMPTY, faults_of

from demo import http
from demo.stack import Stack
from grafana import build

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
_EMPTY = {where for where in EMPTY if EMPTY[where] != "resources need an export"}
_COST = {
    "GetCostAndUsage",
    "GetCostAndUsageWithResources",
    "GetTags",
    "GetCostCategories",
    "GetDimensionValues",
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A chain whose exporter reads a data export, which is delivered again with a spike."""
    options = replace(OPTIONS, cost_source="data_export", accounts=5, regions=("us-east-1",))
    with filled_stack(options, {what: FILLED[what] for what in _FILLED}) as stack:
        yield stack


@pytest.mark.parametrize("name", ["overview", "allocation", "where", "account", "trends"])
def test_every_panel_of_cost_is_full(stack: Stack, name: str) -> None:
    dashboard = json.loads((build.OUTPUT / f"{name}.json").read_text(encoding="utf-8"))
    assert faults_of(dashboard, stack, _EMPTY, said=(), no_choice=()) == []


def test_no_request_for_cost_is_paid(stack: Stack) -> None:
    """By what the exporter counts, and by what AWS was asked: the forecast and AWS's own findings are paid."""
    requests = stack.query('sum by (operation) (aws_spend_exporter_api_requests_total{service="ce"}) > 0')
    counted = {each["metric"]["operation"] for each in requests}
    assert "GetAnomalies" in counted
    assert counted & _COST == set()
    charged = stack.query('sum by (operation) (aws_spend_exporter_api_charges_usd_total{service="ce"}) > 0')
    assert {each["metric"]["operation"] for each in charged} & _COST == set()
    asked = http.get(stack.urls["simulator"] + "/_simulator/requests")["by_operation"]
    assert asked.keys() & {f"ce:{operation}" for operation in _COST} == set()
    assert asked["s3:GetObject"] > 14
