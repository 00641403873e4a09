"""SIGKILL at any moment: the ledger stays whole, and what was committed is never paid for again."""

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
