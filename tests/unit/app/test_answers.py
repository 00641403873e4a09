"""Answers of the JSON API: few at a time, kept while they are true."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from prometheus_client import CollectorRegistry
from waiting import wait_for

from exporter.api.endpoints import all_endpoints
from exporter.api.source import AnyEndpoint, Source
from exporter.app import answers
from exporter.app.answers import Answers, AnswerSource, Version
from exporter.app.endpoints import Probes, create_app
from exporter.collection.refreshed import Refreshed
from exporter.collection.result import CollectionResult, Key
from exporter.collection.store import Store
from exporter.config.model import Config
from exporter.core.amounts import Amounts
from exporter.core.metric import Family
from exporter.core.moments import utc_now
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead
from exporter.web.server import Server

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
DAY = (NOW - timedelta(days=1)).date()
PROD = "111122223333"


class Process:
    """What answers are made of, and how often one was made."""

    def __init__(self, path: Path) -> None:
        self.writer, self.ledger = Ledger(path), Ledger(path, read_only=True)
        self.now = NOW
        self.names = {PROD: "prod"}
        self.reloads = 0
        self.store = Store(lambda: self.now)
        self.made: Counter[str] = Counter()

    def source(self, endpoint: AnyEndpoint) -> Source:
        self.made[endpoint.name] += 1
        return Source(
            ledger=self.ledger,
            config=Config(),
            now=self.now,
            names=self.names,
            samples=self.store.samples(endpoint.families),
            published_resources=self.store.published_resources(),
        )

    def version(self, endpoint: AnyEndpoint) -> Version:
        store = self.store.version(None if endpoint.reads_resources else endpoint.families)
        minute = self.now.replace(second=0, microsecond=0)
        return Version(minute, self.reloads, self.names, self.ledger.data_version(), store)

    def commit(self, usd: str, service: str = "S3") -> None:
        amounts = Amounts(unblended=Decimal(usd))
        self.writer.reads.commit(CostRead(self.now, {DAY: False}, {(DAY, PROD, service): amounts}))

    def close(self) -> None:
        self.writer.close()
        self.ledger.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path / "ledger.sqlite")
    process.commit("1.5")
    yield process
    process.close()


@contextmanager
def served(source: AnswerSource) -> Iterator[str]:
    probes = Probes(
        unready=list,
        problems=list,
        denied_regions=list,
        reload=lambda: None,
        refresh=lambda name, _: Refreshed(collector=name),
        status=dict,
        answers=source,
    )
    server = Server(create_app(Store(utc_now), CollectorRegistry(), probes), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.start()}"
    finally:
        server.stop()


@pytest.fixture
def url(process: Process) -> Iterator[str]:
    with served(AnswerSource(process.source, process.version)) as url:
        yield url


def total(url: str) -> str:
    usd: str = requests.get(f"{url}/api/v1/costs", timeout=60).json()["total_usd"]
    return usd


def test_an_answer_is_made_once_between_commits(process: Process, url: str) -> None:
    assert [total(url) for _ in range(3)] == ["1.5000000000"] * 3
    assert process.made["costs"] == 1
    process.commit("2")
    assert [total(url), total(url)] == ["2.0000000000"] * 2
    assert process.made["costs"] == 2
    requests.get(f"{url}/api/v1/costs?by=day", timeout=60)
    assert process.made["costs"] == 3, "another question has another answer"


def test_an_answer_follows_names_reloads_and_the_time(process: Process, url: str) -> None:
    def account() -> str:
        (row,) = requests.get(f"{url}/api/v1/costs", timeout=60).json()["rows"]
        name: str = row["account"]
        return name

    assert account() == "prod"
    process.names = {PROD: "production"}
    assert account() == "production"
    made = process.made["costs"]
    process.reloads += 1
    account()
    process.now += timedelta(seconds=59)
    account()
    assert process.made["costs"] == made + 1
    # At midnight yesterday is another day.
    process.now = datetime(2026, 3, 18, tzinfo=UTC)
    assert requests.get(f"{url}/api/v1/costs", timeout=60).json()["end"] == "2026-03-17"


def test_an_answer_follows_what_is_served(process: Process, url: str) -> None:
    info = Family("aws_account_info", "An account.", ("account_id", "account", "state", "ou"))
    other = Family("aws_other", "Something else.", ())

    def publish(family: Family, *values: str) -> None:
        sample = family(1, **dict(zip(family.labels, values, strict=True)))
        process.store.publish(
            Key(family.name),
            CollectionResult(samples=(sample,), attempted_at=process.now, succeeded_at=process.now),
            interval=timedelta(seconds=20),
        )

    def state() -> str | None:
        (row,) = requests.get(f"{url}/api/v1/accounts", timeout=60).json()["rows"]
        state: str | None = row["state"]
        return state

    assert state() is None
    publish(info, PROD, "prod", "ACTIVE", "/")
    assert state() == "ACTIVE"
    publish(other)
    assert state() == "ACTIVE"
    assert process.made["accounts"] == 2
    publish(info, PROD, "prod", "SUSPENDED", "/")
    assert state() == "SUSPENDED"
    process.now = process.now.replace(second=59)  # within the minute, and not expired
    assert (state(), process.made["accounts"]) == ("SUSPENDED", 3)


def test_what_is_no_longer_served_is_not_in_an_answer(process: Process, url: str) -> None:
    info = Family("aws_account_info", "An account.", ("account_id", "account", "state", "ou"))
    sample = info(1, account_id=PROD, account="prod", state="ACTIVE", ou="/")
    process.store.publish(
        Key("accounts"),
        CollectionResult(
            samples=(sample,),
            attempted_at=NOW,
            succeeded_at=NOW,
            valid_until=NOW + timedelta(seconds=30),
        ),
        interval=None,
    )
    for after, state in ((29, "ACTIVE"), (30, None)):
        process.now = NOW + timedelta(seconds=after)
        (row,) = requests.get(f"{url}/api/v1/accounts", timeout=60).json()["rows"]
        assert row["state"] == state


@pytest.mark.parametrize(
    "path",
    ["summary", f"reread?start={DAY}&end={DAY}", "inventory?older_than=1d"],
    ids=["summary", "reread", "age"],
)
def test_an_answer_that_holds_the_moment_is_made_each_time(process: Process, url: str, path: str) -> None:
    name = path.partition("?")[0]
    for turn in range(1, 4):
        answer = requests.get(f"{url}/api/v1/{path}", timeout=60)
        assert (answer.status_code, process.made[name]) == (200, turn)


def test_every_other_endpoint_is_cached(process: Process, url: str) -> None:
    made_again = set()
    for endpoint in all_endpoints():
        query = {"reread": {"start": DAY, "end": DAY}}.get(endpoint.name)
        for _ in range(2):
            requests.get(f"{url}/api/v1/{endpoint.name}", params=query, timeout=60)
        if process.made[endpoint.name] != 1:
            made_again.add(endpoint.name)
    assert made_again == {"summary", "reread"}


def test_what_is_kept_is_bounded(process: Process) -> None:
    one = 1100  # bytes that an answer about a day takes at least, with what it is kept with
    kept = Answers(AnswerSource(process.source, process.version), most_bytes=20 * one)
    (endpoint,) = (each for each in all_endpoints() if each.name == "costs")
    days = [DAY - timedelta(days=back) for back in range(200)]
    for day in days:
        kept._answer(endpoint, endpoint.query(start=day, end=day))
    assert 1 < len(kept._kept) <= 20
    assert 0 < kept._bytes <= 20 * one
    made = process.made["costs"]
    kept._answer(endpoint, endpoint.query(start=days[-1], end=days[-1]))
    assert process.made["costs"] == made, "the newest is kept"
    kept._answer(endpoint, endpoint.query(start=days[0], end=days[0]))
    assert process.made["costs"] == made + 1, "the oldest is not"


@pytest.mark.fault(
    "sixty clients of the JSON API at once",
    "scrapes and readiness do not wait; 503 with Retry-After beyond the queue",
)
def test_beyond_a_short_queue_clients_are_sent_away_and_scrapes_go_on(process: Process) -> None:
    release, asked = threading.Event(), threading.Semaphore(0)

    def slow(endpoint: AnyEndpoint) -> Source:
        asked.release()
        release.wait(120)
        return process.source(endpoint)

    clients = 60
    room = answers._AT_ONCE + answers._MOST_WAITING
    with served(AnswerSource(slow, process.version)) as url, ThreadPoolExecutor(clients) as pool:
        try:
            paths = ("/api/v1/costs", "/api/v1/accounts", "/api/v1/services")
            sent = [
                pool.submit(requests.get, url + paths[number % len(paths)], timeout=120)
                for number in range(clients)
            ]
            wait_for("the others are sent away", lambda: sum(one.done() for one in sent) == clients - room)
            refused = [one.result() for one in sent if one.done()]
            assert {answer.status_code for answer in refused} == {503}
            assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
            assert requests.get(f"{url}/api/v1/status", timeout=60).status_code == 503
            for path in ("/metrics", "/-/healthy", "/-/ready"):
                assert requests.get(url + path, timeout=60).status_code == 200
        finally:
            release.set()
        statuses = Counter(one.result().status_code for one in sent)
        assert statuses == {200: room, 503: clients - room}
        assert requests.get(f"{url}/api/v1/status", timeout=60).status_code == 200


def test_versions_differ_by_each_part() -> None:
    version = Version(NOW, 1, {PROD: "prod"}, 1, 1)
    assert version == replace(version, names={PROD: "prod"})
    others = [
        replace(version, minute=NOW + timedelta(minutes=1)),
        replace(version, reloads=2),
        replace(version, names={}),
        replace(version, ledger=2),
        replace(version, store=2),
    ]
    assert version not in others
