"""With cost alone, every panel of something else says that it is off, and how to switch it on."""

from __future__ import annotations

import json
import re
from typing import Any

import cost_alone
import drawing
import pytest
import requests
import yaml

from demo.stack import Stack
from grafana import build
from grafana.builder.style import STATE

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

Json = dict[str, Any]

_ALWAYS = "aws_cost_daily_by_account_usd"
_RECORDED = {
    rule["record"]: rule["expr"]
    for path in (cost_alone.ROOT / "prometheus" / "rules").glob("*.yml")
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "record" in rule
}


@pytest.fixture(scope="module")
def drawn(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """Every dashboard of an installation whose exporter reads cost alone."""
    if (reason := drawing.missing()) is not None:
        pytest.skip(f"{reason}; `make browser` sees to it")
    served = requests.get(stack.urls["exporter"] + "/metrics", timeout=60).text
    with cost_alone.prometheus(
        cost_alone.without_others(served), tmp_path_factory.mktemp("cost_alone")
    ) as url:
        jobs = {name: {"dashboard": name, "to": "now"} for name in drawing.DASHBOARDS}
        jobs |= {_to_come(name): {"dashboard": name, "to": "now+1d"} for name in drawing.DASHBOARDS}
        return dict(zip(jobs, drawing.draw(url, list(jobs.values()), timeout=500), strict=True))


@pytest.mark.parametrize("name", drawing.DASHBOARDS)
@pytest.mark.fault("collectors are off", "panels name what is off and how to switch it on")
def test_panels_of_what_is_off_say_so(name: str, drawn: dict[str, Json]) -> None:
    faults = []
    panels = json.loads(build.render()[f"{name}.json"])["panels"]
    for panel, shown in zip(panels, drawn[name]["panels"], strict=True):
        off = set().union(*(_owners(target["expr"]) for target in _targets(panel))) & cost_alone.OFF
        said = set(re.findall(r"off: switch on collectors\.(\w+)(?: or collectors\.(\w+))?", shown["text"]))
        if panel["type"] == "barchart" and off:  # without bars it has one text, for whichever reason
            assert "the table of values says why" in shown["text"]
        elif off and not off & {collector for pair in said for collector in pair}:
            faults.append(f"{panel['title']}: {sorted(off)} off, and it shows {shown['text']!r}")
        if not off and said:
            faults.append(f"{panel['title']}: needs nothing that is off, and it shows {shown['text']!r}")
        faults += [f"{panel['title']}: cut: {cut['text']}" for cut in shown["cut"] if "off: " in cut["text"]]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", drawing.DASHBOARDS)
def test_a_range_that_ends_in_the_future_says_so(name: str, drawn: dict[str, Json]) -> None:
    """As "This month" does in Grafana: the exporter is scraped, yet not at that end."""
    said = "nothing was scraped at the end of the range"
    faults = []
    panels = json.loads(build.render()[f"{name}.json"])["panels"]
    for panel, shown in zip(panels, drawn[_to_come(name)]["panels"], strict=True):
        if STATE in {target["refId"] for target in panel.get("targets", ())} and said not in shown["text"]:
            faults.append(f"{panel['title']}: {shown['text']!r}")
        faults += [f"{panel['title']}: cut: {cut['text']}" for cut in shown["cut"] if said in cut["text"]]
    assert not faults, "\n".join(faults)


def _to_come(name: str) -> str:
    return f"{name} to come"


def _targets(panel: Json) -> list[Json]:
    return [target for target in panel["targets"] if target["refId"] != STATE]


def _owners(expr: str) -> set[str]:
    """The collectors whose families an expression needs, also through recording rules and dated history."""
    for record, of in _RECORDED.items():
        expr = expr.replace(record, f"({of})")
    # What is allocated by is a tag or a cost category: one collector reads both.
    names = set(re.findall(r"\b\w+\b", expr.replace("${kind}", "tag")))
    if _ALWAYS in names:
        # One of several families, by what is chosen: without a filter, the one that cost alone has.
        names -= cost_alone.BY_DIMENSION
    names |= {name.removesuffix("_daily") + end for name in names for end in ("", "_total")}
    owners = {cost_alone.OWNERS[name] for name in names if name in cost_alone.OWNERS}
    if any(name.startswith("aws_unit_cost") for name in names):
        owners.add("ec2_running")  # counts the hours of EC2, which may be the service that is chosen
    return owners
