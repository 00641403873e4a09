"""The dashboards on chains whose simulated AWS, exporter and relay are at another hour of Prometheus' day.

The hour decides which day is settled and assessed, so a panel can be right after noon and empty before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import grafana_lint as lint
import pytest
import test_dashboards_on_demo as on_demo
from demo_stack import filled_stack, options_at
from moments import HOURS

from exporter.demo.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

_OTHER_SIDE_OF_NOON = "the other side of noon"
_A_CHAIN_TAKES_SECONDS = 480
_DAY_SECONDS = 86_400


@pytest.fixture(
    scope="module",
    params=[_OTHER_SIDE_OF_NOON, *(pytest.param(hour, marks=pytest.mark.long) for hour in HOURS)],
)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """One chain at a time; neither its own day nor that of Prometheus may end before it does."""
    left = _DAY_SECONDS - time.time() % _DAY_SECONDS
    if left < _A_CHAIN_TAKES_SECONDS:
        time.sleep(left)
    hour = request.param
    if hour == _OTHER_SIDE_OF_NOON:
        hour = "06:00" if datetime.now(UTC).hour >= 12 else "18:00"
    with filled_stack(options_at(hour)) as running:
        yield running


@pytest.fixture(autouse=True)
def _in_one_day(stack: Stack) -> Iterator[None]:
    """A chain at 23:55 has five minutes: on a machine that needs more, say so rather than something else."""
    yield
    assert stack.simulator.today() == stack.today, "the chain's day has ended before its tests"


def test_every_query_answers(dashboard: lint.Json, stack: Stack) -> None:
    on_demo.test_every_query_answers_and_names_its_series(dashboard, stack)


def test_a_value_of_each_panel_is_right(dashboard: lint.Json, stack: Stack) -> None:
    on_demo.test_a_value_of_each_panel_is_what_the_ledger_or_the_exporter_says(dashboard, stack)
