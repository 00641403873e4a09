"""A ceiling in dollars cannot be passed: not by retries, not by pages, not by a restart."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from running_exporter import Exporter, MakeAws, MakeExporter, collectors
from waiting import wait_for

from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

ANYWAY = ["--allow-plan-over-ceiling"]  # what is under test is what holds when a plan was wrong


def config(**ceilings: Any) -> dict[str, Any]:
    return {
        "accounts": {"discovery": "payer"},
        "ceilings": ceilings,
        "collectors": collectors(cost={"history_months": 6}),
    }


CASES: dict[str, tuple[dict[str, Any], int, Callable[[SimulatedAws], None]]] = {
    "the day": ({"cost": {"day": 0.05}, "first_fill": 0}, 0, lambda aws: None),
    "the first fill": ({"first_fill": 0.05}, 5, lambda aws: None),
    "retries": (
        {"first_fill": 0.05, "cost": {"day": 0}},
        5,
        lambda aws: aws.faults.add("throttle", service="ce") and None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_request_six_is_never_sent_also_after_a_restart(
    make_aws: MakeAws, make_exporter: MakeExporter, case: str
) -> None:
    ceilings, expected, prepare = CASES[case]
    aws = make_aws(accounts=6, services=6, days=240, groups_per_page=40)
    prepare(aws)
    exporter = make_exporter(aws, config(**ceilings))
    exporter.arguments = ANYWAY
    said: set[str] = set()
    for _ in range(3):
        exporter.start()
        wait_for("cost fails", lambda: exporter.failures("cost"))
        said = set().union(*exporter.failures("cost").values())
        assert aws.requests.count("ce") <= expected
        assert exporter.get("/metrics").status_code == 200
        exporter.stop()
    assert said == {"ceiling_reached"}
    assert aws.requests.count("ce") == expected


def test_refreshes_stop_at_the_ceiling_of_the_day_and_what_is_known_stays_served(
    make_aws: MakeAws, make_exporter: MakeExporter
) -> None:
    aws = make_aws(accounts=3, services=3, days=120)
    whole = config(cost={"day": 0.05}) | {
        "collectors": collectors(cost={"history_months": 1, "interval": "1s", "refresh": "full"})
    }
    exporter = make_exporter(aws, whole)
    exporter.arguments = ANYWAY
    exporter.start()
    remaining = ("aws_spend_exporter_request_ceiling_remaining_usd",)
    wait_for(
        "the day's dollars are spent",
        lambda: exporter.value(*remaining, ceiling="cost", period="day") == 0,
        60,
    )
    wait_for("it is said", lambda: set().union(*exporter.failures("cost").values()) == {"ceiling_reached"})
    sent = aws.requests.count("ce")
    time.sleep(3)  # no storm: refused requests are not tried in a loop
    assert aws.requests.count("ce") == sent
    errors = [
        value
        for labels, value in exporter.samples()["aws_spend_exporter_collector_errors_total"]
        if labels["kind"] == "ceiling_reached"
    ]
    assert errors[0] <= 10  # one an interval of a second, and none of them a request
    exporter.stop()
    exporter.start()
    wait_for("it is said again", lambda: exporter.failures("cost"))
    exporter.stop()
    assert aws.requests.count("ce") == sent
    # The first fill has an allowance of its own: the rest is the day's five.
    charged = charges(exporter)
    assert charged["cost"] == 5
    assert charged["first_fill"] + charged["cost"] == sent


def charges(exporter: Exporter) -> dict[str, int]:
    """The requests in the ledger's books by budget."""
    with closing(sqlite3.connect(exporter.folder / "data" / "ledger.sqlite")) as db:
        return dict(db.execute("SELECT budget, COUNT(*) FROM charges GROUP BY budget"))


def test_a_raised_ceiling_is_taken_over_by_a_reload(make_aws: MakeAws, make_exporter: MakeExporter) -> None:
    aws = make_aws(accounts=3, services=3, days=120)
    exporter = make_exporter(aws, config(first_fill=0))
    exporter.arguments = ANYWAY
    exporter.start()
    wait_for("it is refused", lambda: exporter.failures("cost"))
    assert aws.requests.count("ce") == 0
    exporter.configure(config(first_fill=1))
    assert exporter.reload().status_code == 200
    wait_for("cost is read", lambda: exporter.samples().get("aws_cost_yesterday_usd"))
    wait_for("the failure is over", lambda: not exporter.failures("cost"))
    exporter.stop()
