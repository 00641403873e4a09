"""Each dashboard in the Grafana on the PATH, with the product's provisioning, on the demo's data: `make grafana`.

Skipped where there is no Grafana. Without Chromium, what needs a page is skipped and the rest is asked over the API.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grafana_lint as lint
import judging
import opening
import promql_parser
import pytest
import servers
from waiting import wait_for

from demo import configs, grafana
from demo.errors import DemoError
from demo.stack import Stack

pytestmark = [pytest.mark.grafana, pytest.mark.stack, pytest.mark.timeout(2400)]

Json = dict[str, Any]

DASHBOARDS: dict[str, Json] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((configs.project_folder() / "grafana" / "dashboards").glob("*.json"))
}
# Panels that show nothing in the demo while nothing is wrong, in every range.
MAY_BE_EMPTY = {
    "exporter": {"Dollars left for AWS requests": "the demo has no ceilings"},
    "service": {
        "Unit cost": "the first service of all may have none",
        "Bill against list price": "the first service of all may have none",
    },
    "where": {"Daily cost by resource": "resources need an export"},
}
# In a past month only.
_NO_USAGE = "the demo reads the usage of eight days, and its bill does not name the service"
MAY_BE_EMPTY_IN_THE_PAST = {
    "usage": dict.fromkeys(
        (
            "API and CDN requests",
            "Messages",
            "Streams and network load balancers",
            "Lambda errors and throttles",
        ),
        _NO_USAGE,
    )
}
# Cells that may be shortened, and why. None: what is known to be cut is to be fixed.
MAY_BE_CUT: dict[str, dict[str, str]] = {}


def _milliseconds(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1000))


def _past_month() -> tuple[str, str]:
    """The calendar month before the last one: settled, and long before the demo began."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    end = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    start = (end - timedelta(days=1)).replace(day=1)
    return _milliseconds(start), _milliseconds(end - timedelta(seconds=1))


def _thirteen_months() -> tuple[str, str]:
    end = datetime.now(UTC)
    return _milliseconds(end - timedelta(days=396)), _milliseconds(end)


RANGES: dict[str, Callable[[], tuple[str, str]] | None] = {
    "now": None,  # what the dashboard opens with
    "a past month": _past_month,
    "13 months": _thirteen_months,
}
# Where there is no page, "now" is a day.
_DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Grafana beside the demo's chain; the chain is only started where there is a Grafana."""
    try:
        installation = servers.real()
    except DemoError as error:
        pytest.skip(str(error))
    stack: Stack = request.getfixturevalue("stack")
    data = tmp_path_factory.mktemp("grafana")
    with servers.running(installation, data, stack.urls["prometheus"]) as url:
        servers.wait_for_dashboards(url, {each["uid"] for each in DASHBOARDS.values()}, wait_for)
        yield url


@pytest.fixture(scope="module")
def opened(server: str) -> Callable[[str], dict[str, Json]]:
    """Reports by dashboard, for a range; each range is opened once."""
    done: dict[str, dict[str, Json]] = {}

    def reports(when: str) -> dict[str, Json]:
        if (reason := opening.missing()) is not None:
            pytest.skip(f"{reason}; `make browser` sees to it")
        if when not in done:
            limits = RANGES[when]
            visits = [
                opening.Visit(
                    each["uid"], *(limits() if limits else (each["time"]["from"], each["time"]["to"]))
                )
                for each in DASHBOARDS.values()
            ]
            done[when] = dict(zip(DASHBOARDS, opening.open_dashboards(server, visits), strict=True))
        return done[when]

    return reports


def begins_with_the_demo(panel: Json, values: dict[str, str]) -> bool:
    """Whether all that a panel shows are live metrics: the past holds none of a chain that was started minutes ago."""
    families: set[str] = set()
    for target in panel.get("targets", []):
        families |= lint.metrics(promql_parser.parse(lint.resolve(target["expr"], values)))
    return not any(lint.DATED.fullmatch(family) for family in families)


def may_be_empty(name: str, when: str) -> dict[str, str]:
    dashboard = DASHBOARDS[name]
    values = lint.everything(dashboard)
    live = {
        panel["title"]: "live metrics begin with the demo"
        for panel in lint.panels(dashboard)
        if when == "a past month" and begins_with_the_demo(panel, values)
    }
    past = MAY_BE_EMPTY_IN_THE_PAST.get(name, {}) if when == "a past month" else {}
    return live | past | MAY_BE_EMPTY.get(name, {})


@pytest.mark.parametrize("when", RANGES)
@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_shows_something_whole(
    name: str, when: str, opened: Callable[[str], dict[str, Json]]
) -> None:
    """No error, no empty panel and no cut cell, at 1280 x 800."""
    found = judging.faults(
        opened(when)[name],
        DASHBOARDS[name],
        may_be_empty=may_be_empty(name, when),
        may_be_cut=MAY_BE_CUT.get(name),
    )
    assert found == [], "\n".join(found)


@pytest.mark.parametrize("when", RANGES)
@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_shows_what_prometheus_has(
    name: str, when: str, server: str, request: pytest.FixtureRequest
) -> None:
    """What the page asked, else every query over the API: the newest value of each series."""
    stack: Stack = request.getfixturevalue("stack")  # after `server`, which skips
    dashboard = DASHBOARDS[name]
    if opening.missing() is None:
        asked = request.getfixturevalue("opened")(when)[name]["answers"]
    else:
        limits = RANGES[when]
        now = time.time()
        start, end = (
            limits() if limits else (str(int((now - _DAY.total_seconds()) * 1000)), str(int(now * 1000)))
        )
        source = grafana.data_source(servers.PROJECT)
        asked = judging.asked_without_a_browser(dashboard, source, start, end)
    compared, differences = judging.compare(server, stack.urls["prometheus"], dashboard, asked)
    assert differences == [], "\n".join(differences)
    wanted = {panel["title"] for panel in lint.panels(dashboard) if panel.get("targets")}
    assert wanted - compared - may_be_empty(name, when).keys() == set()


def test_grafana_is_healthy_and_its_home_page_is_overview(server: str) -> None:
    assert servers.get(server, "/api/health")["database"] == "ok"
    home = servers.get(server, "/api/dashboards/home")
    assert home["dashboard"]["uid"] == "aws-spend-overview"


def test_dashboards_are_provisioned_and_read_only(server: str) -> None:
    for dashboard in DASHBOARDS.values():
        answer = servers.get(server, f"/api/dashboards/uid/{dashboard['uid']}")
        assert answer["meta"]["provisioned"] is True
        assert answer["meta"]["folderTitle"] == "AWS spend"
        assert answer["dashboard"]["title"] == dashboard["title"]


def test_no_reason_is_left_over() -> None:
    """Needs no server."""
    for reasons in (MAY_BE_EMPTY, MAY_BE_EMPTY_IN_THE_PAST, MAY_BE_CUT):
        for name, titles in reasons.items():
            known = {panel["title"] for panel in lint.panels(DASHBOARDS[name])}
            assert titles.keys() - known == set()
