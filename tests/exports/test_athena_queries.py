"""Queries of Athena are bounded, paid for once, and given up in time; after any failure, the last good month stays."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from athena_reader import (
    CUTOFF,
    LEAST,
    MARCH,
    NOON,
    QUERIES,
    RESERVED,
    asking,
    booked,
    charged,
    held_by_aws,
    organization_with_athena,
    served,
    started,
)
from export_reader import Reader, refused
from organizations import MakeAws

from exporter.aws.clients import Aws, Backoff
from exporter.aws.errors import Kind
from exporter.aws.meter import Meter
from simulated_aws import SimulatedAws
from simulated_aws.athena import WorkGroup

pytestmark = pytest.mark.stack


@pytest.fixture
def aws(make_aws: MakeAws) -> SimulatedAws:
    return organization_with_athena(make_aws)


def meanwhile(condition: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """A thread that acts once a condition holds; to be joined."""

    def wait() -> None:
        until(condition)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def until(condition: Callable[[], bool]) -> None:
    """Wait for it, a minute at most."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it does not come about")


# What is paid


def test_each_query_is_charged_by_what_it_scans_and_an_unchanged_month_asks_for_none(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    with asking(aws, tmp_path) as reader:
        reader.read()
        assert served(reader) == held_by_aws(aws)
        assert sorted(booked(reader)) == list(QUERIES)
        assert {state for state, _ in booked(reader).values()} == {"done"}
        assert charged(reader) == len(QUERIES) * LEAST
        asked = started(aws)
        assert asked == len(QUERIES)
        aws.clock.set(NOON + timedelta(hours=2))
        reader.read()
        assert started(aws) == asked
        assert charged(reader) == len(QUERIES) * LEAST
        # The table reads all of its folder: what no manifest names is not summed.
        bucket = aws.exports.buckets
        export = aws.exports.find("cost")
        key, stored = bucket.list(export.bucket, export.folder("data", MARCH))[0]
        older = stored.path.read_bytes()
        aws.exports.hold(False)
        aws.clock.set(NOON + timedelta(hours=14))
        aws.exports.deliver(force=True)
        aws.exports.hold()
        bucket.put(export.bucket, key.replace("00001", "00999"), older)
        before = served(reader)
        reader.read()
        assert served(reader) == held_by_aws(aws) != before


def test_more_scanned_bytes_cost_more(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.athena.size_factor = 200
    with asking(aws, tmp_path, usd_per_terabyte=100) as reader:
        reader.read()
        scanned = sum(
            each.outcome.scanned for each in aws.athena._executions.values() if each.outcome is not None
        )
        assert scanned > len(QUERIES) * (10 << 20)
        assert Decimal(0) <= charged(reader) - Decimal(scanned) / 10**10 < Decimal("0.01")


def test_no_query_is_sent_that_could_pass_the_ceiling(aws: SimulatedAws, tmp_path: Path) -> None:
    with asking(aws, tmp_path, ceiling=RESERVED - Decimal("0.0000001")) as reader:
        refused(reader, Kind.CEILING_REACHED, "ceilings.athena.day", "StartQueryExecution would cost")
        assert started(aws) == 0
        assert charged(reader) == 0
    with asking(aws, tmp_path, ceiling=RESERVED + 4 * LEAST) as reader:
        # What was reserved and not scanned is free again for the next query.
        refused(reader, Kind.CEILING_REACHED, "ceilings.athena.day")
        assert started(aws) == 5
        assert charged(reader) == 5 * LEAST


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"cutoff": None}, "BytesScannedCutoffPerQuery"),
        ({"enabled": False}, "is disabled"),
        ({"managed_results": True}, "query result location"),
        ({"output": ""}, "athena.results"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_workgroup_that_bounds_nothing_or_keeps_no_results_is_refused(
    aws: SimulatedAws, tmp_path: Path, changed: dict[str, Any], text: str
) -> None:
    aws.athena.workgroups["costs"] = WorkGroup(
        "costs", **{"cutoff": CUTOFF, "output": "s3://results/", **changed}
    )
    with asking(aws, tmp_path) as reader:
        refused(reader, Kind.EXPORT, "the workgroup costs of Athena", text)
        assert started(aws) == 0


def test_results_may_have_a_place_that_the_workgroup_does_not_name(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.athena.workgroups["costs"] = WorkGroup("costs", cutoff=CUTOFF, enforced=False)
    with asking(aws, tmp_path, results="s3://results/mine") as reader:
        reader.read()
        assert served(reader) == held_by_aws(aws)
        assert aws.exports.buckets.list("results", "mine/aws-spend-exporter/2026-03/")


@pytest.mark.fault("a query of Athena over its workgroup's limit", "it is paid for once, not at each attempt")
def test_a_query_over_the_limit_is_charged_and_not_sent_again(aws: SimulatedAws, tmp_path: Path) -> None:
    with asking(aws, tmp_path) as reader:
        aws.athena.size_factor = 10**6
        refused(reader, Kind.EXPORT, "2026-03: ", f"more than the {CUTOFF:,} bytes", "Bytes scanned limit")
        once, paid = started(aws), charged(reader)
        assert RESERVED <= paid < RESERVED + 6 * LEAST
        refused(reader, Kind.EXPORT, "not sent again")
        assert (started(aws), charged(reader)) == (once, paid)
        aws.athena.workgroups["costs"] = WorkGroup("costs", cutoff=10**15, output="s3://results/athena/")
        reader.read()
        assert served(reader) == held_by_aws(aws)


# What fails


@pytest.mark.fault(
    "a query of Athena that fails", "the last good month is served, and what has ended is not paid again"
)
def test_a_query_that_fails_says_why_and_only_it_is_sent_again(aws: SimulatedAws, tmp_path: Path) -> None:
    with asking(aws, tmp_path) as reader:
        reader.read()
        good = served(reader)
        aws.exports.hold(False)
        aws.clock.set(NOON + timedelta(hours=14))
        aws.exports.deliver(force=True)
        aws.exports.hold()
        before = started(aws)
        aws.faults.add("query_fails", service="athena", operation="StartQueryExecution", count=1)
        refused(
            reader,
            Kind.EXPORT,
            "2026-03: Athena's query for the columns",
            "failed",
            "Query exhausted resources",
        )
        assert served(reader) == good
        aws.clock.set(NOON + timedelta(hours=15))
        reader.read()
        assert served(reader) == held_by_aws(aws) != good
        assert started(aws) == before + 1 + len(QUERIES)


def test_a_table_that_is_not_there_or_has_other_files_is_named(aws: SimulatedAws, tmp_path: Path) -> None:
    with asking(aws, tmp_path / "none", table="missing") as reader:
        refused(reader, Kind.EXPORT, "failed", "TABLE_NOT_FOUND")
    aws.exports.create("other", manual_discounts=True, months=0)
    aws.exports.hold(False)
    aws.exports.deliver()
    aws.exports.hold()
    with asking(aws, tmp_path / "other", table="other") as reader:
        refused(
            reader, Kind.EXPORT, "The table billing.other", "has no lines of", "files that the manifest names"
        )
        assert served(reader) == {}


def test_a_table_of_another_kind_is_refused(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.exports.create("focus", table="FOCUS_1_0_AWS", hourly=False, months=0)
    aws.exports.create("text", manual_discounts=True, format="csv", months=0)
    aws.exports.hold(False)
    aws.exports.deliver()
    aws.exports.hold()
    with asking(aws, tmp_path / "focus", table="focus") as reader:
        refused(reader, Kind.EXPORT, "The table billing.focus", "is a FOCUS export")
    with asking(aws, tmp_path / "text", table="text") as reader:
        refused(reader, Kind.EXPORT, "The table billing.text", "has text in")
    assert started(aws) == 2


@pytest.mark.fault("Athena that throttles", "nothing that was not started is charged")
def test_what_athena_throttles_is_not_charged(aws: SimulatedAws, tmp_path: Path) -> None:
    with asking(aws, tmp_path) as reader:
        fault = aws.faults.add("throttle", service="athena", operation="StartQueryExecution")
        refused(reader, Kind.THROTTLED, "2026-03: ", "TooManyRequestsException")
        assert charged(reader) == 0
        assert booked(reader) == {}
        aws.faults.clear(fault.id)
        reader.read()
        assert served(reader) == held_by_aws(aws)


@pytest.mark.fault("a query of Athena that does not end", "it is stopped, and charged")
def test_a_query_that_does_not_end_is_stopped_and_charged(aws: SimulatedAws, tmp_path: Path) -> None:
    with asking(aws, tmp_path, timeout="1s") as reader:
        aws.faults.add("query_hangs", service="athena", operation="GetQueryExecution", count=10**6)
        aws.athena.running_polls = 10**6
        thread = threading.Thread(
            target=lambda: (
                until(lambda: bool(aws.requests.count("athena", "StopQueryExecution"))) or aws.faults.clear()
            )
        )
        thread.start()
        refused(reader, Kind.EXPORT, "was stopped, because it had not ended", "athena.timeout")
        thread.join()
        assert aws.requests.count("athena", "StopQueryExecution") == 1
        assert charged(reader) in (LEAST, RESERVED)
        assert served(reader) == {}


# What is picked up


@pytest.mark.fault("a kill while Athena runs a query", "no query is paid twice")
@pytest.mark.parametrize("answered", [True, False], ids=["id kept", "killed before the answer"])
def test_a_query_of_a_process_that_died_is_picked_up(
    aws: SimulatedAws, tmp_path: Path, answered: bool
) -> None:
    with asking(aws, tmp_path) as reader:
        fault = aws.faults.add("access_denied", service="athena", operation="GetQueryExecution")
        refused(reader, Kind.ACCESS_DENIED)
        ((state, query_id),) = booked(reader).values()
        assert state == "open"
        assert charged(reader) == RESERVED
        if not answered:
            with reader.ledger.transaction() as db:
                db.execute("UPDATE athena_queries SET query_id = NULL")
    aws.faults.clear(fault.id)
    with asking(aws, tmp_path) as reader:
        reader.read()
        assert served(reader) == held_by_aws(aws)
        assert query_id in {each for _, each in booked(reader).values()}
        assert started(aws) == len(QUERIES)
        assert charged(reader) == len(QUERIES) * LEAST


@pytest.mark.fault(
    "a stop of the exporter while Athena runs a query", "Athena stops, and what it scanned is charged"
)
def test_a_stop_ends_the_query_and_the_next_start_charges_it(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.athena.running_polls = 10**6
    stop = threading.Event()
    with asking(aws, tmp_path) as reader:
        reader.client = _stoppable(aws, reader, stop)
        thread = meanwhile(lambda: aws.requests.count("athena", "GetQueryExecution") > 2, stop.set)
        refused(reader, Kind.STOPPED)
        thread.join()
        assert aws.requests.count("athena", "StopQueryExecution") == 1
        assert charged(reader) == RESERVED
    aws.athena.running_polls = 1
    with asking(aws, tmp_path) as reader:
        reader.read()
        assert served(reader) == held_by_aws(aws)
        assert started(aws) == len(QUERIES) + 1
        assert charged(reader) == (len(QUERIES) + 1) * LEAST


def _stoppable(aws: SimulatedAws, reader: Reader, stop: threading.Event) -> Aws:
    meter: Meter = reader.client.meter
    reader.client.close()
    return Aws(meter, endpoint_url=aws.url, simulated=True, backoff=Backoff(0.01, 0.01), stop=stop)


@pytest.mark.fault("a delivery while Athena reads a month", "no half of a month is served")
def test_a_delivery_between_two_queries_makes_no_mixture(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.clock.set(NOON + timedelta(hours=14))

    with asking(aws, tmp_path) as reader:
        thread = meanwhile(lambda: started(aws) > 2, lambda: aws.exports.deliver(force=True))
        reader.read()
        thread.join()
        assert served(reader) == held_by_aws(aws)
        month = reader.month(MARCH)
        export = aws.exports.find("cost")
        assert month is not None
        _, body = aws.exports.buckets.read(
            export.bucket, f"{export.folder('metadata', MARCH)}cost-Manifest.json"
        )
        assert month.details["execution_id"] == json.loads(body).get("executionId", "")
        assert started(aws) > len(QUERIES)


def test_results_that_are_gone_are_asked_for_again(aws: SimulatedAws, tmp_path: Path) -> None:
    with asking(aws, tmp_path) as reader:
        reader.read()
        good = served(reader)
        from exporter.cube.months import CubeMonths

        CubeMonths(reader.ledger).forget(MARCH)
        for key, _ in aws.exports.buckets.list("results", ""):
            aws.exports.buckets.delete("results", key)
        before = started(aws)
        for _ in range(len(QUERIES) - 1):  # one is found to be gone at each attempt
            refused(reader, Kind.EXPORT, "a result of Athena is gone")
        reader.read()
        assert served(reader) == good
        assert started(aws) == before + len(QUERIES) - 1
