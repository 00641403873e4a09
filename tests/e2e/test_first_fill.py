"""A fill that takes longer than a run, and is killed: no page is paid twice, but for one slice a kill."""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from running_exporter import MakeAws, MakeExporter, collectors
from test_kill import check_ledger, committed_costs, true_costs
from waiting import wait_for

from exporter.aws.clients import Aws, Deadline
from exporter.aws.meter import Meter
from exporter.aws.settings import Ceiling, CeilingSettings
from exporter.collectors import cost
from exporter.core.places import Account, Target
from exporter.declarations.context import Context
from exporter.ledger.file import Ledger
from simulated_aws import LoggedRequest, SimulatedAws

pytestmark = pytest.mark.stack

UNLIMITED = CeilingSettings(cost=Ceiling(day=None, month=None), first_fill=None)
MOST_PAGES = 20
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


@contextmanager
def collecting(aws: SimulatedAws, folder: Path, **settings: Any) -> Iterator[Context[Any]]:
    """The surroundings of the cost collector, with a ledger in `folder`."""
    ledger = Ledger(folder / "ledger.sqlite")
    meter = Meter(ledger.charges, UNLIMITED, aws.clock.now, CollectorRegistry())
    access = Aws(meter, endpoint_url=aws.url, simulated=True)
    payer = Account(aws.payer_id, "payer")
    try:
        yield Context(
            aws=access,
            ledger=ledger,
            clock=aws.clock.now,
            accounts={payer.id: payer},
            settings=cost.CostSettings(**settings),
            names={account.id: account.name for account in aws.accounts},
        )
    finally:
        access.close()
        ledger.close()


def run(ctx: Context[Any], deadline: Deadline | None = None) -> bool:
    """One run; whether another is due at once."""
    (payer,) = ctx.accounts.values()
    bounded: Context[Any] = Context(
        aws=ctx.aws,
        ledger=ctx.ledger,
        clock=ctx.clock,
        accounts=ctx.accounts,
        settings=ctx.settings,
        names=ctx.names,
        deadline=deadline,
    )
    target = Target(payer.id, payer.name, "us-east-1")
    assert list(cost.collect(bounded, target)) == []
    return cost.due(bounded, target) <= ctx.clock()


class AfterSlices(Deadline):
    """Passes once it was looked at so many times."""

    def __init__(self, slices: int) -> None:
        super().__init__(0)
        self._left = slices

    def remaining(self) -> float:
        self._left -= 1
        return float(self._left >= 0)


def slices(entries: list[LoggedRequest]) -> Counter[tuple[str, str, str, str]]:
    """How often each slice was begun: the group-by, the filter, and its days."""
    begun: Counter[tuple[str, str, str, str]] = Counter()
    for entry in entries:
        if entry.params and "NextPageToken" not in entry.params and entry.operation == "GetCostAndUsage":
            period = entry.params["TimePeriod"]
            keys = json.dumps([entry.params["GroupBy"], entry.params.get("Filter")])
            begun[keys, entry.params["Granularity"], period["Start"], period["End"]] += 1
    return begun


def days_asked(begun: Counter[tuple[str, str, str, str]]) -> Counter[tuple[str, date]]:
    """In how many different slices each day of each kind of query is."""
    found: Counter[tuple[str, date]] = Counter()
    for keys, _, start, end in begun:
        day = date.fromisoformat(start)
        while day < date.fromisoformat(end):
            found[keys, day] += 1
            day += timedelta(days=1)
    return found


def booked_requests(path: Path) -> int:
    """The paid requests that the exporter has counted, those of killed processes included."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as db:
        (count,) = db.execute("SELECT COUNT(*) FROM charges").fetchone()
    return int(count)


def pages_of(entries: list[LoggedRequest]) -> list[int]:
    """Pages of each query, in the order in which they were begun."""
    pages: list[int] = []
    for entry in entries:
        if entry.params and entry.operation == "GetCostAndUsage":
            if "NextPageToken" in entry.params:
                pages[-1] += 1
            else:
                pages.append(1)
    return pages


@pytest.mark.fault("a month of the first fill outlasts the deadline of a run", "no page is paid twice")
def test_a_month_that_outlasts_the_run_is_read_in_several_and_no_page_is_paid_twice(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    """Two pages a day, 62 a month, of which a run's deadline lets some 40 pass; 13 months."""
    aws = make_aws(accounts=4, services=4, days=430, groups_per_page=8, now=NOW)
    aws.faults.add("latency", service="ce", seconds=0.005)
    runs = 1
    with collecting(aws, tmp_path, history_months=13) as ctx:
        while run(ctx, Deadline(0.4)):
            runs += 1
            assert runs < 500
        assert cost.missing_days(ctx.ledger, ctx.settings, NOW)[0] == 0

    entries = aws.requests.entries(service="ce")
    assert runs > 5
    assert booked_requests(tmp_path / "ledger.sqlite") == aws.requests.count("ce")
    assert max(slices(entries).values()) == 1
    assert set(days_asked(slices(entries)).values()) == {1}
    costs = [entry for entry in entries if entry.params and "Filter" not in entry.params]
    assert len(costs) > 13 * 55
    # A slice is of pages as they are known before: one more is possible where a day has more groups.
    assert max(pages_of(costs)) <= MOST_PAGES + 1
    assert committed_costs(tmp_path / "ledger.sqlite", NOW) == true_costs(aws, 13)


def test_the_next_process_goes_on_with_slices_as_large_as_the_last(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=4, services=4, days=120, groups_per_page=14, now=NOW)
    with collecting(aws, tmp_path, history_months=1) as ctx:
        assert run(ctx, AfterSlices(1))
    (first,) = pages_of(aws.requests.entries(service="ce"))
    assert first <= 6  # nothing was known: two days
    aws.requests.clear()
    with collecting(aws, tmp_path, history_months=1) as ctx:
        assert run(ctx, AfterSlices(1))
    assert pages_of(aws.requests.entries(service="ce"))[0] >= MOST_PAGES - 3


@pytest.mark.parametrize("refresh", ["full", "scan"])
@pytest.mark.fault(
    "a refresh ends between two slices, with its process", "the next process goes on with the next slice"
)
def test_a_refresh_that_is_cut_between_its_slices_goes_on_and_ends_once(
    make_aws: MakeAws, tmp_path: Path, refresh: str
) -> None:
    """Each slice by another process. The refresh counts with the last one, and a scan with all of its days."""
    aws = make_aws(accounts=5, services=4, days=120, groups_per_page=4, now=NOW)
    with collecting(aws, tmp_path, history_months=1, refresh=refresh) as ctx:
        run(ctx)
        before = ctx.ledger.reads.scanned_at("refresh")
    later = NOW + timedelta(days=1)
    aws.clock.set(later)
    aws.requests.clear()
    booked = booked_requests(tmp_path / "ledger.sqlite")
    ended = []
    while True:
        with collecting(aws, tmp_path, history_months=1, refresh=refresh) as ctx:
            again = run(ctx, AfterSlices(1))
            ended.append(ctx.ledger.reads.scanned_at("refresh") != before)
            if not again:
                break
            assert len(ended) < 200
    assert booked_requests(tmp_path / "ledger.sqlite") - booked == aws.requests.count("ce")
    begun = slices(aws.requests.entries(service="ce"))
    assert max(begun.values()) == 1
    asked = days_asked(begun)
    if refresh == "full":
        assert max(asked.values()) == 1
    else:
        scanned = {key[1] for key in asked if "LINKED_ACCOUNT" not in key[0]}
        assert len(scanned) == (later.date() - date(2026, 4, 1)).days + 1
    assert ended.index(True) >= 2  # the refresh had several slices, and none but the last ended it
    assert max(pages_of(aws.requests.entries(service="ce"))) <= MOST_PAGES + 1
    assert committed_costs(tmp_path / "ledger.sqlite", later) == true_costs(aws, 1)


@pytest.mark.fault("Cost Explorer's data change between two pages", "one slice is read again")
def test_a_change_of_the_data_restarts_the_slice_alone(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=4, services=4, days=120, groups_per_page=14, now=NOW)
    with collecting(aws, tmp_path, history_months=1) as ctx:
        run(ctx, AfterSlices(2))
        aws.requests.clear()
        booked = booked_requests(tmp_path / "ledger.sqlite")
        aws.faults.add("request_changed", service="ce", count=1)
        run(ctx)
        assert booked_requests(tmp_path / "ledger.sqlite") - booked == aws.requests.count("ce")
    begun = slices(aws.requests.entries(service="ce"))
    assert sorted(begun.values())[-2:] == [1, 2]
    assert committed_costs(tmp_path / "ledger.sqlite", NOW) == true_costs(aws, 1)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("kills", "months"), [(2, 4), pytest.param(10, 13, marks=pytest.mark.long)], ids=["two", "ten"]
)
@pytest.mark.fault(
    "SIGKILL while a slice of the first fill is read", "at most one slice a kill is paid twice"
)
def test_kills_have_at_most_one_slice_each_paid_twice(
    make_aws: MakeAws,
    make_exporter: MakeExporter,
    capsys: pytest.CaptureFixture[str],
    kills: int,
    months: int,
) -> None:
    """SIGKILL at random moments of a fill of months of 62 pages."""
    now = datetime.now(UTC).replace(microsecond=0)
    aws = make_aws(accounts=4, services=4, days=430, groups_per_page=8, now=now)
    aws.faults.add("latency", service="ce", seconds=0.02)
    config = {
        "accounts": {"discovery": "payer"},
        "ceilings": {"cost": {"day": None, "month": None}, "first_fill": None},
        "collectors": collectors(cost={"history_months": months}),
    }
    exporter = make_exporter(aws, config)
    seed = random.randrange(10**6)
    moments = random.Random(seed)
    for number in range(kills):
        pages = aws.requests.count("ce") + moments.randrange(1, 60)
        exporter.start()
        wait_for("it has read on", lambda pages=pages: aws.requests.count("ce") >= pages)  # type: ignore[misc]
        if number == 0:
            # One kill meets a page on its way for certain; the others may come between two slices.
            page = aws.faults.add("hang", service="ce", count=1)
            wait_for("a page is on its way", lambda page=page: aws.faults.hits(page))  # type: ignore[misc]
        time.sleep(moments.uniform(0, 0.1))
        exporter.kill()
        check_ledger(exporter.folder / "data" / "ledger.sqlite")
    exporter.start()
    wait_for("the fill is over", exporter.is_ready)
    exporter.stop()

    sent = aws.requests.count("ce")
    # A request is in the books before it is sent; a kill may come in between.
    assert sent <= booked_requests(exporter.folder / "data" / "ledger.sqlite") <= sent + kills
    entries = aws.requests.entries(service="ce")
    begun, pages = slices(entries), pages_of(entries)
    again = sum(begun.values()) - len(begun)
    with capsys.disabled():
        sys.stdout.write(f" [seed {seed}: {sum(pages)} pages in {len(pages)} slices, {again} of them again]")
    # What was killed is asked for again as it was: no other slice has its days.
    assert set(days_asked(begun).values()) == {1}
    assert 0 < again <= kills
    assert max(pages) <= MOST_PAGES + 1
    assert committed_costs(exporter.folder / "data" / "ledger.sqlite", now) == true_costs(aws, months)
