"""The runner: a unit that fails takes neither the others with it nor the next run."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from runner_world import ACCOUNTS, NOW, World, value
from waiting import wait_for

from exporter.aws.errors import AwsError, Kind
from exporter.collection.discovery import DISCOVERY
from exporter.collection.due import Patience
from exporter.collection.store import Key
from exporter.core.metric import Family, Sample
from exporter.core.places import Scope, Target
from exporter.declarations.view import View


def test_one_failure_is_one_failed_unit(world: World) -> None:
    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        yield value(target)
        if target.account_id.startswith("2"):
            raise AwsError(Kind.ACCESS_DENIED, "no")
        if target.account_id.startswith("3"):
            raise ZeroDivisionError("ours")

    world.collect = collect
    runner = world.runner()
    assert runner.collect_now(world.collector) == 2
    results = world.store.results()
    assert {key.account_id[0]: result.error for key, result in results.items()} == {
        "1": None,
        "2": "access_denied",
        "3": "internal",
    }
    # Half of a result is no result.
    assert [len(results[key].samples) for key in sorted(results, key=str)] == [1, 0, 0]
    assert (world.errors("access_denied"), world.errors("internal")) == (1, 1)


def test_what_fails_is_a_line_an_account_and_kind_however_many_regions_it_has(world: World) -> None:
    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        if target.account_id.startswith("2") or (
            target.account_id.startswith("3") and target.region == "us-east-1"
        ):
            raise AwsError(Kind.ACCESS_DENIED, "no")
        yield value(target)

    world.collect, world.scope = collect, Scope.REGION
    runner = world.runner()
    assert runner.collect_now(world.collector) == 3
    assert runner.problems() == [
        "cost of name-222222222222 (222222222222): access_denied",
        "cost of name-333333333333 (333333333333) in us-east-1: access_denied",
    ]


@pytest.mark.parametrize(
    "samples",
    [
        lambda target: [value(target), value(target)],
        lambda target: [Family("test_other", "Undeclared.")(1)],
    ],
    ids=["a series twice", "an undeclared family"],
)
def test_a_collector_that_breaks_the_contract_fails_and_the_last_good_samples_stay(
    world: World, samples: Callable[[Target], Iterable[Sample]]
) -> None:
    world.collect = lambda ctx, target: [value(target)]
    runner = world.runner()
    assert runner.collect_now(world.collector) == 0
    good = world.store.exposition()[0]
    world.collect = lambda ctx, target: samples(target)
    assert runner.collect_now(world.collector) == 3
    assert [
        line for line in world.store.exposition()[0].decode().splitlines() if line.startswith("test_")
    ] == [line for line in good.decode().splitlines() if line.startswith("test_")]
    assert {result.error for result in world.store.results().values()} == {"internal"}


def test_a_unit_that_hangs_is_not_read_twice_at_a_time_and_the_others_are(world: World) -> None:
    release = threading.Event()
    started: list[str] = []
    finished: list[str] = []

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        started.append(target.account_id)
        if target.account_id.startswith("2"):
            release.wait(60)
        finished.append(target.account_id)
        return [value(target)]

    world.collect = collect
    runner = world.runner()
    runner.discovery.ensure()
    try:
        for _ in range(3):
            began = time.monotonic()
            runner.collect(world.collector, 0.2)
            assert time.monotonic() - began < 30  # it hangs for a minute
            wait_for(
                "the others are read",
                lambda: len(finished) % 2 == 0 and len(finished) // 2 == started.count("111111111111"),
            )
        counts = {id_[0]: started.count(id_) for id_ in ACCOUNTS}
        assert counts == {"1": 3, "2": 1, "3": 3}
    finally:
        release.set()
    wait_for("it has ended", lambda: "222222222222" in finished)
    assert runner.collect_now(world.collector) == 0
    assert 2 <= started.count("222222222222") <= 3


@pytest.mark.parametrize("scope", [Scope.ACCOUNT, Scope.REGION, Scope.PAYER])
def test_a_refresh_waits_for_what_is_being_read_already_and_says_how_that_went(
    world: World, scope: Scope
) -> None:
    reading, release = threading.Event(), threading.Event()

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        reading.set()
        release.wait(60)
        raise AwsError(Kind.ACCESS_DENIED, "no")

    world.collect, world.scope = collect, scope
    world.accounts = {id_: ACCOUNTS[id_] for id_ in ("111111111111",)}
    runner = world.runner()
    runner.discovery.ensure()
    run = threading.Thread(target=runner.collect, args=(world.collector,))
    run.start()
    assert reading.wait(60)
    assert runner.refresh("cost", timedelta(seconds=0.3)).reason == "cost is still being read after 0 s"
    answers: list[str | None] = []
    refresh = threading.Thread(
        target=lambda: answers.append(runner.refresh("cost", timedelta(minutes=1)).reason)
    )
    refresh.start()
    refresh.join(0.5)
    assert answers == []
    release.set()
    refresh.join(60)
    run.join(60)
    units = "2 units" if scope is Scope.REGION else "1 unit"
    assert answers == [f"{units} of cost failed: access_denied"]


def test_an_account_that_leaves_while_it_is_read_leaves_nothing(world: World) -> None:
    reading, release = threading.Event(), threading.Event()

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        if target.account_id.startswith("3"):
            reading.set()
            release.wait(60)
        return [value(target)]

    world.collect = collect
    runner = world.runner()
    runner.discovery.ensure()
    thread = threading.Thread(target=runner.collect, args=(world.collector,))
    thread.start()
    assert reading.wait(60)
    del world.accounts["333333333333"]
    runner.discovery.run()
    release.set()
    thread.join(60)
    assert {key.account_id for key in world.store.results()} == {"", "111111111111", "222222222222"}


def test_a_stopped_runner_publishes_nothing_more(world: World) -> None:
    reading, release = threading.Event(), threading.Event()

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        reading.set()
        release.wait(60)
        return [value(target)]

    world.collect = collect
    runner = world.runner()
    runner.discovery.ensure()
    thread = threading.Thread(target=runner.collect, args=(world.collector,))
    thread.start()
    assert reading.wait(60)
    world.stop.set()
    release.set()
    thread.join(60)
    assert runner.stop(30)
    assert world.store.results() == {}


def test_what_is_due_at_once_after_it_succeeded_is_no_loop(world: World) -> None:
    runs: list[float] = []

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        runs.append(time.monotonic())
        return ()

    world.collect, world.due, world.scope = collect, lambda ctx, target: NOW, Scope.PAYER
    runner = world.runner()
    runner.start()
    wait_for("it is so", lambda: runs)
    time.sleep(1)
    assert len(runs) == 1
    assert runner.stop(30)


@pytest.mark.parametrize("what", ["due", "discovery"])
def test_a_disk_that_takes_nothing_does_not_end_the_schedule(
    world: World, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    soon = timedelta(seconds=0.1)
    world.patience = Patience(first_retry=soon, first_paid_retry=soon)
    broken = threading.Event()
    broken.set()
    runs: list[int] = []

    def full(*_: Any) -> Any:
        if broken.is_set():
            raise sqlite3.OperationalError("database or disk is full")
        return NOW + timedelta(hours=1)

    def write(query_only: str) -> None:
        with world.ledger.connection() as db:
            db.execute(f"PRAGMA query_only = {query_only}")

    world.collect, world.scope = lambda ctx, target: runs.append(1) or (), Scope.PAYER
    world.due = full if what == "due" else lambda ctx, target: NOW + timedelta(hours=1)
    runner = world.runner()
    if what == "discovery":
        write("ON")
    runner.start()
    if what == "due":
        wait_for("it is so", lambda: len(runs) >= 3)
    else:
        wait_for("it is so", lambda: world.discoveries >= 3)
        assert world.errors("ledger", DISCOVERY) >= 2
        assert runner.unready() == ["account discovery failed: ledger"]
    broken.clear()
    write("OFF")
    wait_for("it is so", lambda: not runner.unready())
    assert ("disk is full" if what == "due" else "attempt to write a readonly database") in caplog.text
    assert runner.stop(30)


def test_nothing_is_paid_for_that_the_disk_could_not_hold(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []
    world.collect, world.scope = lambda ctx, target: asked.append(target.account_id) or (), Scope.PAYER
    world.due = lambda ctx, target: NOW + timedelta(hours=1)
    runner = world.runner()
    world.free_bytes = (32 << 20) - 1
    assert runner.collect_now(world.collector) == 1
    assert asked == []
    assert world.errors("ledger") == 1
    assert "31 MiB are left on the disk of data_dir" in caplog.text
    world.free_bytes += 1
    assert runner.collect_now(world.collector) == 0
    assert len(asked) == 1


def test_a_clock_that_is_set_delays_nothing(world: World) -> None:
    runs: list[int] = []
    world.collect, world.scope = lambda ctx, target: runs.append(1) or (), Scope.PAYER
    world.due = lambda ctx, target: NOW + timedelta(hours=1)
    runner = world.runner()
    runner.start()
    wait_for("it is so", lambda: runs and not runner.unready())
    wait_for("it is so", lambda: runner.schedule.planned(DISCOVERY))
    runner.clock_was_set(timedelta(hours=-1))  # it stays as far away as it was
    runner.clock_was_set(timedelta(minutes=59))
    time.sleep(0.3)
    assert len(runs) == 1
    # What is due an hour from then has become due.
    runner.clock_was_set(timedelta(minutes=1))
    wait_for("it is so", lambda: len(runs) == 2)
    assert runner.stop(30)


def test_a_discovery_that_fails_keeps_the_accounts(world: World) -> None:
    runner = world.runner()
    runner.discovery.run()
    assert runner.directory is not None
    world.discovery_error = AwsError(Kind.THROTTLED, "slower")
    runner.discovery.run()
    assert set(runner.directory.accounts) == set(ACCOUNTS)
    assert world.store.results()[Key(DISCOVERY)].error == "throttled"
    world.discovery_error = None
    runner.discovery.run()
    assert world.store.results()[Key(DISCOVERY)].error is None


def test_regions_are_units_of_their_own(world: World) -> None:
    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        if (target.account_id[0], target.region) == ("2", "eu-west-1"):
            raise AwsError(Kind.REGION_DISABLED, "opt in")
        return [value(target)]

    world.collect, world.scope = collect, Scope.REGION
    runner = world.runner()
    assert runner.collect_now(world.collector) == 1
    text = world.store.exposition()[0].decode()
    assert text.count("\ntest_value{") == 5
    assert (
        'collector_failure_info{collector="cost",account_id="222222222222",account="name-222222222222",'
        'unit="cost",region="eu-west-1",kind="region_disabled"} 1\n'
    ) in text


def test_the_last_success_stays_known_when_the_regions_cannot_be_listed(world: World) -> None:
    world.collect, world.scope = lambda ctx, target: [value(target)], Scope.REGION
    runner = world.runner()
    assert runner.collect_now(world.collector) == 0
    assert (
        'collector_last_success_timestamp_seconds{collector="cost"}' in world.store.exposition()[0].decode()
    )
    series = 'collector_last_success_timestamp_seconds{collector="cost",account_id="222222222222"'

    world.regions_error = AwsError(Kind.ACCESS_DENIED, "no")
    assert runner.collect_now(world.collector) == 0, "regions are kept for a day"
    world.now += timedelta(days=1)
    assert runner.collect_now(world.collector) == 3
    text = world.store.exposition()[0].decode()
    # An alert on stale data compares with it: absent, it would never fire.
    assert series in text
    assert (
        'collector_success{collector="cost",account_id="222222222222",account="name-222222222222"} 0' in text
    )


def test_a_damaged_ledger_takes_its_views_and_nothing_else(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def damaged(view: Any) -> Any:
        raise sqlite3.DatabaseError("database disk image is malformed")

    world.collect = lambda ctx, target: [value(target)]
    world.views = (
        View(name="read", families=(), render=lambda view: (), read_at=damaged),
        View(name="shown", families=(), render=damaged, read_at=lambda view: NOW),
    )
    runner = world.runner()
    runner.start()
    assert world.errors("ledger") >= 2
    assert (
        'a view cannot be rendered view=shown kind=ledger error="the view shown: database disk image'
        in caplog.text
    )
    wait_for("it is so", lambda: not runner.unready())
    assert {
        key.account_id: result.error for key, result in world.store.results().items() if key.account_id
    } == dict.fromkeys(ACCOUNTS, "ledger")
    assert runner.stop(30)


@pytest.mark.parametrize(("dollars", "expected"), [(0.01, 1), (1000, 0)])
def test_the_log_has_what_waits_for_a_ceiling_once(
    world: World, caplog: pytest.LogCaptureFixture, dollars: float, expected: int
) -> None:
    world.ceilings = {"cost": {"day": None, "month": dollars}}
    runner = world.runner()
    runner.start()
    wait_for("accounts are discovered", lambda: not runner.unready())
    runner.discovery.run()
    assert runner.stop(30)
    found = [
        record for record in caplog.records if record.msg == "old days are read less often than configured"
    ]
    assert len(found) == expected
    if found:
        assert "months are not compared" in vars(found[0])["reason"]


def test_views_follow_the_commits_and_never_slow_them_down(world: World) -> None:
    """A first fill commits a month at a time: rendering after each took longer than reading."""
    rendered = []

    def render(view: Any) -> Iterable[Sample]:
        rendered.append(commits)
        time.sleep(0.05)
        return ()

    commits = 0

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        nonlocal commits
        for _ in range(30):
            commits += 1
            ctx.committed()
        return ()

    world.collect = collect
    world.views = (View(name="slow", families=(), render=render, read_at=lambda view: NOW),)
    runner = world.runner()
    assert runner.collect_now(world.collector) == 0
    assert rendered[0] <= 3, "the first commit shows at once"
    assert rendered[-1] == commits, "the last one, too"
    assert len(rendered) < commits / 3
