"""The demo's whole chain, filled with something for every panel; one for all tests that look at dashboards."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from threading import Event

import pytest
from rich.console import Console

from demo import http
from demo.display import Progress
from demo.options import Options
from demo.processes import Processes, choose_ports
from demo.stack import Stack
from demo.telex_sink import TelexSink
from demo.thresholds import factor_needed

SPIKED = ("prod", "Amazon Elastic Compute Cloud - Compute")
_LEAST_FACTOR = Decimal(4)
DENIED = "sandbox"
_PATIENCE = 200
# A second is too short for a scrape on a busy machine, and one that fails would empty a dashboard for that long.
OPTIONS = Options(grafana=False, inventory=True, scrape_seconds=5, patience=_PATIENCE)
_OLDEST = "390d"
"""Stands for ten days after the first one with cost."""
# Each is true once the chain has carried everything that the dashboards show.
FILLED = {
    "thirteen months of cost are read": "aws_spend_exporter_ledger_missing_dates == 0",
    "dated history is written": "count(count by (account_id) (last_over_time(aws_cost_daily_usd[1d] offset 390d))) > 3",
    "the spike is in the settled day": "max(aws_cost_threshold_usd{scope='organization', period='day'})"
    " < on () sum(aws_cost_assessed_day_usd)",
    "the spike is in dated history": "max(aws_cost_threshold_usd{scope='organization', period='day'})"
    " < on () sum(last_over_time(last_over_time(aws_cost_daily_usd[1d])[1d:1d] offset 1d))",
    "what was expected of the past is written": "count(last_over_time(aws_cost_daily_expected_usd[1d] offset 40d)) > 3",
    "the spike is in the newest of it": "max(last_over_time(aws_cost_daily_deviation_score[8d])) > 20",
    "resources are listed": "count(count by (resource_type) (aws_resources)) > 15",
    "usage is written": "count(last_over_time(aws_lambda_invocations_daily[1d] offset 6d)) > 3",
    "cost by each dimension is written": "count(count by (__name__) (last_over_time({__name__=~"
    "'aws_cost_daily_by_(region|usage_type|charge_type|tag|cost_category)_usd'}[1d] offset 390d))) == 5",
    "untagged usage is written": "count(count by (tag_key) (last_over_time(aws_cost_daily_untagged_usd[1d] offset 40d))) == 2",
    "hours are written": "count(last_over_time(aws_cost_hourly_usd[1h] offset 5d)) > 3",
    "unit costs are recorded": "account:aws_s3_terabyte_month_usd:mean7d",
    "the spike is found, and its causes": "aws_cost_anomaly_cause_usd",
    "an account is denied, again and again": "increase(aws_spend_exporter_collector_errors_total[1h]) > 0",
    "a message has reached Telex": "sum(aws_spend_exporter_relay_deliveries_total) > 0",
    "a rate is known on two full minutes, which make a line": "count_over_time((sum(rate("
    "aws_spend_exporter_collector_duration_seconds_count{collector='cost'}[4m])) > 0)[4m:1m]) > 1",
}


@contextmanager
def filled_stack(options: Options = OPTIONS, filled: Mapping[str, str] = FILLED) -> Iterator[Stack]:
    """The chain with a spike, an account that denies a collector, and thirteen months of history, once it is `filled`."""
    with TelexSink(choose_ports({"telex": 0})["telex"]) as sink, Processes(Event()) as processes:
        with Progress(Console(file=io.StringIO())) as progress:
            stack = Stack(options, processes, progress, sink).start()
        stack.simulator.spike(*SPIKED, _factor(stack))
        http.post(
            f"{stack.urls['simulator']}/_simulator/faults",
            {"kind": "access_denied", "account": DENIED, "service": "ec2"},
        )
        for what, query in filled.items():
            asked = query.replace(_OLDEST, f"{options.days - 10}d")
            processes.wait_until(f"not so: {what}", lambda asked=asked: stack.query(asked) or None, _PATIENCE)
        yield stack


def _factor(stack: Stack) -> Decimal:
    """Enough for the organization's limit, which leaves room for fees in the first days of a month."""
    account = next(account for account, name in stack.simulator.member_names().items() if name == SPIKED[0])
    limit = stack.thresholds.organization
    needed = factor_needed(stack.costs, limit, account, SPIKED[1], stack.today, organization=True)
    assert needed is not None, "the service costs nothing on a day that may be the newest settled one"
    return max(_LEAST_FACTOR, needed)


_USERS = (
    "tests/browser/",
    "tests/grafana/test_dashboards_on_demo.py",
    "tests/grafana_server/test_dashboards_on_grafana.py",
)
_RUNNING = ExitStack()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One running chain for every test of dashboards; they run in one process (tests/conftest.py)."""
    with _RUNNING:
        yield _RUNNING.enter_context(filled_stack())


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """A chain keeps a processor busy: in a process of xdist it ends with the last test that needs it."""
    if hasattr(item.config, "workerinput") and nextitem and not nextitem.nodeid.startswith(_USERS):
        _RUNNING.close()
