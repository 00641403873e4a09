"""Clients of the JSON API, however many, hold up neither scrapes nor readiness, and get an answer or a time to ask again."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from running_exporter import MakeAws, MakeExporter, collectors
from waiting import wait_for

from exporter.core.amounts import Amounts
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

pytestmark = [pytest.mark.stack, pytest.mark.alone]

CLIENTS = 60
SCRAPES = 8
SCRAPE_SECONDS = 10  # the longest that Prometheus waits by default
ACCOUNTS, SERVICES, DAYS = 200, 10, 62


def fill(path: Path) -> None:
    """Cost of an organization that takes a while to answer about."""
    now = datetime.now(UTC)
    ledger = Ledger(path)
    for back in range(DAYS):
        day = now.date() - timedelta(days=back)
        costs = {
            (day, f"{account:012}", f"service {service}"): Amounts(unblended=Decimal(account + service + 1))
            for account in range(ACCOUNTS)
            for service in range(SERVICES)
        }
        ledger.reads.commit(CostRead(now, {day: False}, costs))
    ledger.close()


@pytest.mark.fault(
    "sixty clients of the JSON API at once",
    "scrapes and readiness do not wait; 503 with Retry-After beyond the queue",
)
def test_sixty_clients_do_not_starve_scrapes(make_aws: MakeAws, make_exporter: MakeExporter) -> None:
    exporter = make_exporter(
        make_aws(accounts=2), {"accounts": {"discovery": "payer"}, "collectors": collectors(budgets={})}
    )
    fill(exporter.folder / "data" / "ledger.sqlite")
    exporter.start()
    wait_for("it is ready", exporter.is_ready)
    ended = threading.Event()
    first = datetime.now(UTC).date() - timedelta(days=DAYS)
    answers: Counter[int] = Counter()

    def ask(number: int) -> Counter[int]:
        found: Counter[int] = Counter()
        with requests.Session() as session:
            turn = 0
            while not ended.is_set():
                turn += 1
                # What no one has asked before: no answer is kept of it.
                path = f"costs?by=account&by=service&start={first - timedelta(days=turn * CLIENTS + number)}"
                answer = session.get(f"{exporter.url}/api/v1/{path}", timeout=120)
                found[answer.status_code] += 1
                if answer.status_code == 503:
                    ended.wait(int(answer.headers["Retry-After"]))
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        try:
            clients = [pool.submit(ask, number) for number in range(CLIENTS)]
            for _ in range(SCRAPES):
                for path in ("/metrics", "/-/healthy", "/-/ready"):
                    assert exporter.get(path, timeout=SCRAPE_SECONDS).status_code == 200
                ended.wait(1)
        finally:
            ended.set()
        for client in clients:
            answers += client.result()
    assert set(answers) == {200, 503}, answers
