"""Dashboards whose cost comes from a data export: each panel is full, and no request for cost is paid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from demo_stack import FILLED, OPTIONS, filled_stack
from test_dashboards_on_demo import EMPTY, FEWER_SERVICES, faults_of

from demo import http
from demo.stack import Stack
from grafana import build

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

_FILLED = (
    "dated history is written",
    "the spike is in the settled day",
    "the spike is in dated history",
    "resources are listed",
    "cost by each dimension is written",
    "untagged usage is written",
    "hours are written",
)
_EMPTY = {where for where in EMPTY if EMPTY[where] != "resources need an export"}
# Fees of the 1st, of a marketplace and the like are services, too.
_EITHER = {where for where in EMPTY if EMPTY[where] == FEWER_SERVICES}
_NOT_OF_COST = {
    "GetAnomalies",
    "GetCostForecast",
    "GetReservationCoverage",
    "GetReservationUtilization",
    "GetSavingsPlansCoverage",
    "GetSavingsPlansUtilization",
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A chain whose exporter reads a data export, which is delivered again with a spike."""
    options = replace(OPTIONS, cost_source="data_export", accounts=5, regions=("us-east-1",), days=120)
    with filled_stack(options, {what: FILLED[what] for what in _FILLED}) as stack:
        yield stack


@pytest.mark.parametrize("name", ["overview", "allocation", "where", "account", "service", "trends"])
def test_every_panel_of_cost_is_full(stack: Stack, name: str) -> None:
    dashboard = json.loads((build.OUTPUT / f"{name}.json").read_text(encoding="utf-8"))
    assert faults_of(dashboard, stack, _EMPTY, said=(), no_choice=(), either=_EITHER) == []


def test_no_request_for_cost_is_paid(stack: Stack) -> None:
    """By what the exporter has counted and charged, and by what the simulated AWS was asked."""
    for counter in ("requests_total", "charges_usd_total"):
        found = stack.query(f'sum by (operation) (aws_spend_exporter_api_{counter}{{service="ce"}}) > 0')
        operations = {each["metric"]["operation"] for each in found}
        assert (counter, operations - _NOT_OF_COST) == (counter, set())
        assert "GetAnomalies" in operations
    asked = http.get(stack.urls["simulator"] + "/_simulator/requests")["by_operation"]
    assert {name for name in asked if name.startswith("ce:")} <= {f"ce:{name}" for name in _NOT_OF_COST}
    assert stack.query("min(aws_spend_exporter_export_month_success) == 1")
