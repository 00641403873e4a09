"""SIGKILL at any moment: the ledger stays whole, and what was committed is never paid for again."""

# ruff: noqa: S608 # the names of columns are those of the ledger

from __future__ import annotations

import json
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from running_exporter import Exporter, MakeAws, MakeExporter, collectors
from waiting import wait_for

from exporter.core.amounts import AMOUNTS
from simulated_aws import LoggedRequest, SimulatedAws

pytestmark = pytest.mark.stack

MONTHS = 6
CONFIG: dict[str, Any] = {
    "accounts": {"discovery": "payer"},
    "ceilings": {"cost": {"day": None, "month": None}, "first_fill": None},
    "collectors": collectors(cost={"history_months": MONTHS}),
}


def queries(requests: Iterable[LoggedRequest]) -> list[str]:
    """Each answered Cost Explorer request, by what was asked; a page's token stands for the page."""
    return [
        json.dumps(entry.params, sort_keys=True, default=str)
        for entry in requests
        if entry.service == "ce" and entry.status == 200
    ]


def check_ledger(path: Path) -> None:
    if not path.exists():
        return
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def committed_days(path: Path) -> set[date]:
    """The days whose cost is in the ledger."""
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'days'").fetchone():
            return set()
        return {
            date.fromordinal(day) for (day,) in db.execute("SELECT day FROM days WHERE read_at IS NOT NULL")
        }


def asked_days(requests: Iterable[LoggedRequest]) -> set[date]:
    """The days that queries by account and service, of everything, were about."""
    found: set[date] = set()
    for entry in requests:
        if entry.params and "Filter" not in entry.params and len(entry.params.get("GroupBy", ())) == 2:
            day = date.fromisoformat(entry.params["TimePeriod"]["Start"])
            while day < date.fromisoformat(entry.params["TimePeriod"]["End"]):
                found.add(day)
                day += timedelta(days=1)
    return found


def kill_and_restart(aws: SimulatedAws, exporter: Exporter, kills: int, capsys: Any) -> int:
    """Kill at random moments; what was committed before is not asked for after. The kills that met the fill."""
    seed = random.randrange(10**6)
    with capsys.disabled():
        sys.stdout.write(f" [seed {seed}]")
    moments = random.Random(seed)
    ledger = exporter.folder / "data" / "ledger.sqlite"
    committed: set[date] = set()
    met = 0
    for number in range(kills):
        before = aws.requests.count()
        if number % 3 == 0:
            exporter.start(wait=False)
            time.sleep(moments.uniform(0.2, 2.0))
        else:
            exporter.start()
            time.sleep(moments.uniform(0.1, 1.5))
        exporter.kill()
        check_ledger(ledger)
        asked = asked_days(aws.requests.entries()[before:])
        assert not asked & committed, (seed, number)
        met += bool(asked)
        committed = committed_days(ledger)
    before = aws.requests.count()
    exporter.start()
    wait_for("the fill is over", exporter.is_ready)
    assert not asked_days(aws.requests.entries()[before:]) & committed
    exporter.stop()
    check_ledger(ledger)
    return met


def repeated(asked: list[str]) -> int:
    return len(asked) - len(set(asked))


def committed_costs(path: Path, first: datetime) -> dict[tuple[str, str, str], Decimal]:
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(
            "SELECT day, account_id, service, total_unblended FROM cost JOIN series ON series.id = cost.series"
        ).fetchall()
    return {
        (datetime.fromordinal(day).date().isoformat(), account, service): Decimal(units).scaleb(-10)
        for day, account, service, units in rows
        if units
    }


def true_costs(aws: SimulatedAws, months: int) -> dict[tuple[str, str, str], Decimal]:
    today = aws.clock.now().date()
    index = today.year * 12 + today.month - 1 - months
    day = today.replace(year=index // 12, month=index % 12 + 1, day=1)
    found = {}
    while day <= today:
        totals = aws.truth.totals(day, day + timedelta(days=1), aws.clock.now(), ("account", "service"))
        found |= {(day.isoformat(), *keys): amount for keys, amount in totals.items() if amount}
        day += timedelta(days=1)
    return found


@pytest.mark.parametrize(
    "kills", [pytest.param(6), pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
@pytest.mark.fault(
    "SIGKILL at any moment, start-up included", "the ledger is whole, and nothing committed is paid again"
)
@pytest.mark.fault("SIGKILL of the exporter at any moment", "nothing committed is lost or paid for again")
def test_nothing_committed_is_lost_or_paid_again(
    make_aws: MakeAws, make_exporter: MakeExporter, capsys: pytest.CaptureFixture[str], kills: int
) -> None:
    # The clock stands still, so that nothing falls due again; an hour of real time passes unnoticed.
    now = datetime.now(UTC).replace(microsecond=0)
    aws = make_aws(accounts=4, services=4, days=240, groups_per_page=150, now=now)
    # So slow that the fill outlasts the kills.
    aws.faults.add("latency", service="ce", seconds=0.15 if kills < 10 else 0.6)
    exporter = make_exporter(aws, CONFIG)
    met = kill_and_restart(aws, exporter, kills, capsys)

    ledger = exporter.folder / "data" / "ledger.sqlite"
    assert committed_costs(ledger, now) == true_costs(aws, MONTHS)

    asked = queries(aws.requests.entries(service="ce"))
    with capsys.disabled():
        sys.stdout.write(f" [{len(asked)} pages, {repeated(asked)} of them twice, {met} kills met the fill]")
    assert met
    pages_of_a_query = Counter(
        json.dumps({k: v for k, v in json.loads(text).items() if k != "NextPageToken"}, sort_keys=True)
        for text in set(asked)
    )
    # Each kill repeats at most the pages of the one query that it met.
    assert repeated(asked) <= kills * max(pages_of_a_query.values())
    assert_only_killed_queries_were_asked_again(exporter, aws, kills)

    # Every request that was sent is in the books, killed ones included: the ceiling counts them.
    with closing(sqlite3.connect(ledger)) as db:
        (charged,) = db.execute("SELECT COUNT(*) FROM charges").fetchone()
    sent = aws.requests.count("ce")
    assert sent <= charged <= sent + kills

    # A restart within the interval asks nothing.
    aws.faults.clear()
    aws.requests.clear()
    exporter.start()
    wait_for("it is ready", exporter.is_ready)
    assert exporter.samples()["aws_cost_yesterday_usd"]
    exporter.stop()
    assert aws.requests.count("ce") == 0


def assert_only_killed_queries_were_asked_again(exporter: Exporter, aws: SimulatedAws, kills: int) -> None:
    """A query is begun anew at most once for each kill: what a kill did not meet is never asked again."""
    firsts = [
        json.dumps(entry.params, sort_keys=True, default=str)
        for entry in aws.requests.entries(service="ce")
        if entry.params and "NextPageToken" not in entry.params
    ]
    assert repeated(firsts) <= kills


Rows = dict[tuple[Any, ...], tuple[Any, ...]]


def committed_rows(path: Path) -> Rows:
    """What a kill must not lose: all amounts of the days that have been read, by kind of query, and every charge."""
    if not path.exists():
        return {}
    rows: Rows = {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'refresh_rest'").fetchone():
            return {}
        db.execute("BEGIN")  # one state of the ledger, while the exporter commits
        for kind, read_at in (("total", "read_at"), ("other", "other_read_at")):
            amounts = ", ".join(f"{kind}_{name}" for name in AMOUNTS)
            days = db.execute(f"SELECT day, {read_at} FROM days WHERE {read_at} IS NOT NULL").fetchall()
            rows |= {(kind, day): (at,) for day, at in days}
            found = db.execute(
                f"SELECT cost.day, account_id, service, {amounts} FROM cost JOIN series ON series.id = cost.series"
                f" JOIN days USING (day) WHERE {read_at} IS NOT NULL"
            )
            rows |= {(kind, *row[:3]): row[3:] for row in found}
        found = db.execute("SELECT rowid, at, budget, service, operation, units FROM charges")
        rows |= {("charge", row[0]): row[1:] for row in found}
    return rows


def lost(before: Rows, after: Rows) -> Rows:
    """The rows that are gone, or are others."""
    return {key: row for key, row in before.items() if after.get(key) != row}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [pytest.param(4), pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.fault(
    "SIGKILL at random moments of the first fill, a slice being committed before each",
    "no committed row is lost, and no request is missing from the books",
)
def test_no_committed_row_is_lost_between_slices(
    make_aws: MakeAws, make_exporter: MakeExporter, capsys: pytest.CaptureFixture[str], kills: int
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    aws = make_aws(accounts=4, services=4, days=430, groups_per_page=8, now=now)
    # Two pages a day and twenty a slice: a slice takes half a second, and the fill some sixty of them.
    aws.faults.add("latency", service="ce", seconds=0.02)
    config = CONFIG | {"collectors": collectors(cost={"history_months": 13})}
    exporter = make_exporter(aws, config)
    path = exporter.folder / "data" / "ledger.sqlite"
    seed = random.randrange(10**6)
    moments = random.Random(seed)
    seen: Rows = {}
    for number in range(kills):
        exporter.start(wait=False)
        wanted = days_read(seen) + moments.randrange(1, 20)
        wait_for("slices are committed", lambda wanted=wanted: days_read(committed_rows(path)) >= wanted)  # type: ignore[misc]
        time.sleep(moments.uniform(0, 0.6))
        before = committed_rows(path)
        exporter.kill()
        check_ledger(path)
        after = committed_rows(path)
        assert not lost(seen | before, after), (seed, number)
        assert days_read(before) > days_read(seen), (seed, number)
        seen = after
    assert days_read(seen) < days_read_of_all(now), "each kill met the first fill"
    exporter.start()
    wait_for("the fill is over", exporter.is_ready)
    exporter.stop()
    with capsys.disabled():
        sys.stdout.write(f" [seed {seed}: {len(seen)} committed rows when it was killed last]")
    assert not lost(seen, committed_rows(path)), seed
    assert committed_costs(path, now) == true_costs(aws, 13)
    charged = sum(key[0] == "charge" for key in committed_rows(path))
    sent = aws.requests.count("ce")
    # A request is in the books before it is sent; one may have been killed in between.
    assert sent <= charged <= sent + kills


def days_read(rows: Rows) -> int:
    """The days of which all cost, or the non-usage charges, have been read, counted by kind."""
    return sum(key[0] in ("total", "other") and len(key) == 2 for key in rows)


def days_read_of_all(now: datetime) -> int:
    """The same of thirteen months before this one, and this one."""
    first = now.date().replace(day=1)
    for _ in range(13):
        first = (first - timedelta(days=1)).replace(day=1)
    return 2 * ((now.date() - first).days + 1)
