"""The bench of the dashboards asks what Grafana would ask when a page is opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.dashboards import Size, Variables, group_of, queries
from bench.prometheus_growth import Prometheus

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


class _Answers(BaseHTTPRequestHandler):
    """Two series to any query."""

    def do_GET(self) -> None:
        series = [
            {"metric": {"account_id": "100000000001", "ids": "(1|2|3)"}, "value": [1000, "7"]},
            {"metric": {"account_id": "100000000002"}, "value": [1000, "5"]},
        ]
        body = json.dumps({"status": "success", "data": {"result": series}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield cast("Prometheus", SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", cpu_seconds=0.0))
    server.shutdown()
    thread.join(10)
    server.server_close()


def query(name: str, regex: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "query", "query": {"query": f"query_result({name})"}, "regex": regex} | more


def test_a_value_that_is_no_option_gives_way_to_the_first(prometheus: Prometheus) -> None:
    """`$complete` is saved as 0: with that, queries would find no day, and cost nothing."""
    variables = Variables(prometheus, START, END, "page")
    variables.add(query("complete", r"/\} (\d+)/", current={"value": "0"}))
    variables.add(query("kept", r"/\} (\d+)/", current={"value": "5"}))
    assert (variables.values["complete"], variables.values["kept"]) == ("7", "5")


def test_all_of_a_list_are_taken_also_of_one_text(prometheus: Prometheus) -> None:
    variables = Variables(prometheus, START, END, "page")
    for name, regex in (("ids", r"/[(|](\d)(?=[)|])/g"), ("first", r"/[(|](\d)(?=[)|])/")):
        variables.add(query(name, regex, multi=True, includeAll=True, current={"value": ["$__all"]}))
    assert (variables.values["ids"], variables.values["first"]) == ("(1|2|3)", "1")


def test_what_is_chosen_stands_in_queries_and_their_bytes_count(prometheus: Prometheus) -> None:
    page = {
        "templating": {
            "list": [
                query(
                    "rest",
                    r"/account_id=\"(\d+)\"/",
                    multi=True,
                    includeAll=True,
                    current={"value": ["$__all"]},
                )
                | {"query": {"query": "query_result(x{account_id=~'$account'})"}},
                query("account", r"/account_id=\"(\d+)\"/", multi=True, current={}),
            ]
        },
        "panels": [{"type": "stat", "title": "Sum", "targets": [{"expr": 'sum(x{account_id=~"$account"})'}]}],
    }
    variables = Variables(prometheus, START, END, "page", {"account": ["100000000002", "gone"]})
    (found,) = queries(page, "page", variables, 31)
    assert found.text == 'sum(x{account_id=~"100000000002"})'
    assert [(each.panel, each.query_bytes, each.series) for each in variables.asked] == [
        ("$account", len("query_result(account)"), 2),
        ("$rest", len("query_result(x{account_id=~'100000000002'})"), 2),
    ]


def test_groups_hold_at_least_so_many_accounts() -> None:
    """Twenty teams of fifteen accounts, which are chosen by name."""
    found = group_of(100, Size(accounts=300, services=20))
    assert len(found) == 7
    assert group_of(1, Size(accounts=300, services=20)) == found[:1]
