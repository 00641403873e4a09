"""The suite of `make grafana` finds what it looks for: proven on a stand-in for Grafana, with a real Prometheus."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import fake_grafana
import judging
import opening
import pytest
import requests
import servers
from waiting import wait_for

from demo import grafana

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]

Json = dict[str, Any]

UID = "aws-spend-overview"
NOW = ("now-15m", "now")


def panel(number: int, title: str, kind: str, *targets: Json) -> Json:
    return {"id": number, "title": title, "type": kind, "targets": list(targets)}


DASHBOARD: Json = {
    "uid": UID,
    "title": "Made up",
    "tags": ["aws-spend"],
    "templating": {"list": [{"name": "job", "type": "custom", "current": {"value": "itself"}}]},
    "panels": [
        panel(1, "Up", "stat", {"refId": "A", "expr": 'up{job="$job"}', "instant": True}),
        panel(2, "Builds of $job", "table", {"refId": "A", "expr": "count by (version) (prometheus_build_info)", "instant": True}),
        panel(3, "Samples", "timeseries", {"refId": "A", "expr": "scrape_samples_scraped", "interval": "5s"}),
        {"id": 4, "title": "Read me", "type": "text"},
        panel(5, "Half", "stat", {"refId": "A", "expr": "absent(up)", "instant": True},
              {"refId": "B", "expr": "vector(7)", "instant": True}),
    ],
}  # fmt: skip
TITLES = ("Up", "Builds of $job", "Samples", "Half")


@pytest.fixture(scope="module")
def prometheus() -> Iterator[str]:
    with servers.running_prometheus() as url:

        def has_a_step() -> bool:
            # A range of steps of five seconds is not empty.
            query = {"query": "scrape_samples_scraped", "time": time.time() // 5 * 5}
            answer = requests.get(f"{url}/api/v1/query", params=query, timeout=60).json()
            return bool(answer["data"]["result"])

        wait_for("a step begins after a scrape", has_a_step)
        yield url


@pytest.fixture(scope="module")
def server(prometheus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("grafana")
    dashboards = folder / "dashboards"
    dashboards.mkdir()
    (dashboards / "overview.json").write_text(json.dumps(DASHBOARD))
    installation = grafana.Installation.of(str(fake_grafana.install(folder / "installed")), {})
    with servers.running(installation, folder / "data", prometheus, DASHBOARDS_PATH=str(dashboards)) as url:
        yield url


@pytest.fixture
def broken(server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The panel that is broken while the test runs, as the marker says."""
    kind, title = request.param
    requests.post(f"{server}/fake/fault", json={"kind": kind, "panel": title}, timeout=60)
    yield title
    requests.post(f"{server}/fake/fault", json={}, timeout=60)


def seen(server: str) -> Json:
    if (reason := opening.missing()) is not None:
        pytest.skip(f"{reason}; `make browser` sees to it")
    (report,) = opening.open_dashboards(server, [opening.Visit(UID, *NOW)], patience=30)
    return report


def judged(server: str) -> list[str]:
    return judging.faults(seen(server), DASHBOARD)


def asked() -> list[Json]:
    end = int(time.time() * 1000)
    return judging.asked_without_a_browser(DASHBOARD, "aws-spend", str(end - 900_000), str(end))


def test_a_page_without_faults_has_none(server: str, prometheus: str) -> None:
    report = seen(server)
    assert judging.faults(report, DASHBOARD) == []
    assert {each["title"] for each in report["panels"]} == {
        "Up",
        "Builds of $job",
        "Samples",
        "Read me",
        "Half",
    }
    # What the page asked is what is compared.
    compared, differences = judging.compare(server, prometheus, DASHBOARD, report["answers"])
    assert (compared, differences) == (set(TITLES), [])


def test_the_page_is_as_large_as_the_screen_that_amounts_must_fit(server: str) -> None:
    """Panels below it are reached by scrolling."""
    assert (opening.WIDTH, opening.HEIGHT) == (1280, 800)
    assert [panel["visible"] for panel in seen(server)["panels"]] == [1] * 5


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (("error", "Up"), "Up: bad_data: it is broken"),
        (("empty", "Samples"), "Samples: empty"),
        (("blank", "Half"), "Half: nothing is drawn"),
    ],
    indirect=["broken"],
    ids=["error", "empty", "blank"],
)
def test_a_broken_panel_is_found(broken: str, fault: str, server: str) -> None:
    assert judged(server) == [fault]


@pytest.mark.parametrize("broken", [("cut", "Builds of $job")], indirect=True, ids=["cut"])
def test_a_cut_cell_is_found(broken: str, server: str) -> None:
    report = seen(server)
    found = judging.faults(report, DASHBOARD)
    assert len(found) == 1
    assert found[0].startswith(f"{broken}: '")
    assert found[0].endswith("' is cut off")
    assert judging.faults(report, DASHBOARD, may_be_cut={broken: "names may be long"}) == []


@pytest.mark.parametrize("broken", [("empty", "Up")], indirect=True, ids=["empty"])
def test_a_panel_may_be_empty_for_a_reason(broken: str, server: str) -> None:
    assert judging.faults(seen(server), DASHBOARD, may_be_empty={broken: "the demo has none"}) == []


@pytest.mark.parametrize("broken", [("wrong", "Up")], indirect=True, ids=["wrong"])
def test_a_wrong_value_is_found(
    broken: str, server: str, prometheus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "PATIENCE", 0.5)
    compared, differences = judging.compare(server, prometheus, DASHBOARD, asked())
    assert len(differences) == 1
    assert differences[0].startswith("Up: A: ")
    assert differences[0].endswith(" is 1.5 in Grafana and 1.0 in Prometheus")
    assert broken in compared


def test_a_panel_that_is_missing_or_never_asked_is_found(server: str) -> None:
    report = seen(server)
    report["panels"] = [each for each in report["panels"] if each["title"] != "Read me"]
    report["answers"] = [each for each in report["answers"] if each["panel"] != 1]
    assert judging.faults(report, DASHBOARD) == ["Up: nothing was asked", "Read me: not on the page"]


def test_an_error_of_a_variable_is_found(server: str) -> None:
    report = seen(server)
    answer = {"results": {"account": {"error": "bad_data: no match[] given", "status": 400}}}
    report["answers"].append({"panel": 0, "body": {}, "status": 400, "answer": answer})
    fault = "a variable or an annotation: bad_data: no match[] given"
    assert judging.faults(report, DASHBOARD) == [fault]


def test_without_a_browser_the_same_is_asked_over_the_api(server: str, prometheus: str) -> None:
    compared, differences = judging.compare(server, prometheus, DASHBOARD, asked())
    assert (compared, differences) == (set(TITLES), [])
    up = next(each for each in asked() if each["panel"] == 1)
    assert [query["expr"] for query in up["body"]["queries"]] == ['up{job="itself"}']


def test_a_step_is_read_in_the_notation_of_go() -> None:
    frame = {"schema": {"meta": {"executedQueryString": "Expr: sum(\n  up)\nStep: 24h0m0s"}, "fields": []}}
    assert judging._executed({"expr": "x"}, [frame]) == ("sum(\n  up)", 86_400.0)
    assert judging._executed({"expr": "x", "interval": "1d", "intervalMs": 60_000}, []) == ("x", 86_400.0)
    assert judging._duration("1m30s") == 90
    assert judging._duration("500ms") == 0.5


def test_the_range_stands_in_an_expression_as_grafana_writes_it() -> None:
    text = "x[$__range] @ ${__to:date:seconds} + $__range_s"
    assert judging.of_the_range(text, "1000000", "1060000.5") == "x[60s] @ 1060 + 60"


def test_labels_may_stand_in_columns() -> None:
    frame = {
        "schema": {
            "fields": [
                {"name": "Time", "type": "time"},
                {"name": "service", "type": "string"},
                {"name": "Value", "type": "number"},
            ]
        },
        "data": {"values": [[1, 1], ["a", "b"], [2.0, None]]},
    }
    assert judging.newest([frame]) == {(("service", "a"),): 2.0}
