"""Units are due by themselves: again within an interval, at once when they are new, never once they are gone."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from runner_world import ACCOUNTS, NOW, World, value
from waiting import wait_for

from exporter.aws.errors import AwsError, Kind
from exporter.collection.due import Patience
from exporter.collection.units import _Unit
from exporter.core.fields import CollectorSettings
from exporter.core.metric import Sample
from exporter.core.places import Account, Scope, Target
from exporter.declarations.collector import Collector


def test_each_unit_is_read_again_and_again(world: World) -> None:
    reads: Counter[tuple[str, str]] = Counter()

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        reads[target.account_id, target.region] += 1
        if target.account_id.startswith("2"):
            raise AwsError(Kind.ACCESS_DENIED, "no")
        return [value(target)]

    world.collect, world.scope = collect, Scope.REGION
    world.name, world.interval = "ec2_instances", "1s"
    runner = world.runner()
    runner.start()
    units = {(account_id, region) for account_id in ACCOUNTS for region in ("eu-west-1", "us-east-1")}
    wait_for("each is read four times", lambda: all(reads[unit] >= 4 for unit in units))
    assert set(reads) == units
    assert runner.stop(30)


def test_an_account_that_joins_is_read_at_once_and_one_that_leaves_no_more(world: World) -> None:
    reads: Counter[str] = Counter()

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        reads[target.account_id] += 1
        return [value(target)]

    world.collect, world.scope = collect, Scope.REGION
    runner = world.runner()
    runner.start()
    wait_for("it is ready", lambda: not runner.unready())
    assert reads == dict.fromkeys(ACCOUNTS, 2)
    world.accounts["444444444444"] = Account("444444444444", "new")
    del world.accounts["333333333333"]
    runner.discovery.run()
    wait_for("the new one is read", lambda: reads["444444444444"] == 2)
    assert reads == dict.fromkeys([*ACCOUNTS, "444444444444"], 2)
    runner._stream.hasten(2 * 3600)
    wait_for("all are read again", lambda: sum(reads.values()) >= 14)
    assert runner.stop(30)
    assert reads == {"111111111111": 4, "222222222222": 4, "333333333333": 2, "444444444444": 4}


def test_what_cannot_be_kept_up_with_is_late_and_nothing_fails(world: World) -> None:
    release, reading = threading.Event(), threading.Event()

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        reading.set()
        release.wait(60)
        return [value(target)]

    world.collect, world.threads = collect, 1
    runner = world.runner()
    runner.start()
    assert reading.wait(60)
    wait_for("the others are late", lambda: runner.seconds_late()["cost"] > 0.05)
    assert runner.unready() == ["3 units of cost have not been read yet"]
    release.set()
    wait_for("it is ready", lambda: not runner.unready())
    assert runner.seconds_late() == {"cost": 0}
    assert {key: result.error for key, result in world.store.results().items() if result.error} == {}
    assert runner.stop(30)


def test_who_asks_between_the_end_of_an_attempt_and_that_of_its_thread_is_answered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a thread still looks busy; the next attempt that is planned may be hours away."""
    read, may_end = threading.Event(), threading.Event()
    run = _Unit.run

    def is_slow_to_end(unit: _Unit) -> bool:
        responsive = run(unit)
        read.set()
        may_end.wait(60)
        return responsive

    monkeypatch.setattr(_Unit, "run", is_slow_to_end)
    world.collect, world.scope = lambda ctx, target: [value(target)], Scope.PAYER
    runner = world.runner()
    runner.start()
    assert read.wait(60)
    reading = runner.units.read_now(world.collector, runner.directory)
    assert reading.pending == 1
    may_end.set()
    runner.units.wait(reading, 60)
    assert reading.pending == 0
    assert runner.stop(30)


def test_who_asks_between_the_start_of_a_thread_and_that_of_its_attempt_has_it_read_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, may_begin = threading.Event(), threading.Event()
    run, reads = _Unit.run, []

    def is_slow_to_begin(unit: _Unit) -> bool:
        taken.set()
        may_begin.wait(60)
        return run(unit)

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        reads.append(1)
        return [value(target)]

    monkeypatch.setattr(_Unit, "run", is_slow_to_begin)
    world.collect, world.scope = collect, Scope.PAYER
    runner = world.runner()
    runner.start()
    assert taken.wait(60)
    reading = runner.units.read_now(world.collector, runner.directory)
    may_begin.set()
    runner.units.wait(reading, 60)
    assert reading.pending == 0
    assert runner.stop(30)
    assert reads == [1]


def test_a_unit_that_hangs_is_waited_for_until_its_interval_is_over(world: World) -> None:
    release = threading.Event()

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        if target.account_id.startswith("2"):
            release.wait(60)
        return [value(target)]

    world.collect, world.name, world.interval = collect, "ec2_instances", "1s"
    runner = world.runner()
    runner.start()
    wait_for("the accounts are known", lambda: runner.directory)
    wait_for("it is ready", lambda: not runner.unready())
    assert "222222222222" not in {key.account_id for key in world.store.results()}
    release.set()
    assert runner.stop(30)


@pytest.mark.parametrize("commits", [True, False], ids=["after a commit", "without a commit"])
def test_what_a_deadline_has_ended_goes_on_at_once_if_something_was_committed(
    world: World, commits: bool
) -> None:
    runs: list[int] = []

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        runs.append(1)
        if commits:
            ctx.committed()
        return ()

    world.collect, world.scope, world.due = collect, Scope.PAYER, lambda ctx, target: NOW
    world.patience = Patience(first_paid_retry=timedelta(hours=1))
    runner = world.runner()
    runner.start()
    if commits:
        wait_for("it goes on", lambda: len(runs) >= 3)
    else:
        wait_for("it is ready", lambda: runs and not runner.unready())
        runner._stream.hasten(3590)
        assert len(runs) == 1
        runner._stream.hasten(20)
        wait_for("it is read again", lambda: len(runs) == 2)
    assert runner.stop(30)


def test_a_unit_that_fails_is_tried_again_without_the_others(world: World) -> None:
    reads: Counter[str] = Counter()

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        reads[target.account_id] += 1
        if target.account_id.startswith("2"):
            raise AwsError(Kind.THROTTLED, "slower")
        return [value(target)]

    world.collect, world.due = collect, lambda ctx, target: NOW + timedelta(hours=1)
    world.patience = Patience(first_paid_retry=timedelta(seconds=0.05))
    runner = world.runner()
    runner.start()
    wait_for("it is tried again", lambda: reads["222222222222"] >= 4)
    assert (reads["111111111111"], reads["333333333333"]) == (1, 1)
    assert runner.stop(30)


@pytest.mark.fault(
    "Cost Explorer that was enabled just now has no data at all",
    "data_unavailable, and it is paid for four times a day at most",
)
def test_a_unit_without_data_is_not_asked_again_each_hour(world: World) -> None:
    reads: list[int] = []

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        reads.append(1)
        raise AwsError(Kind.DATA_UNAVAILABLE, "not yet")

    world.collect, world.scope, world.due = collect, Scope.PAYER, lambda ctx, target: NOW
    runner = world.runner()
    runner.start()
    wait_for("it is ready", lambda: reads and not runner.unready())
    assert runner.problems() == ["cost of name-111111111111 (111111111111): data_unavailable"]
    runner._stream.hasten(6 * 3600 - 60)
    time.sleep(0.2)
    assert len(reads) == 1
    runner._stream.hasten(61)
    wait_for("it is asked again", lambda: len(reads) == 2)
    assert runner.stop(30)


def test_what_follows_a_collector_is_due_after_each_of_its_commits_unless_it_fails(world: World) -> None:
    read: list[bool] = []
    fails = threading.Event()

    def follow(ctx: Any, target: Target) -> Iterable[Sample]:
        read.append(not fails.is_set())
        if fails.is_set():
            raise AwsError(Kind.ACCESS_DENIED, "no")
        return ()

    def commit(ctx: Any, target: Target) -> Iterable[Sample]:
        ctx.committed()
        return ()

    follower = Collector(
        name="forecast",
        help="",
        scope=Scope.PAYER,
        settings=CollectorSettings,
        families=(),
        iam_actions=(),
        collect=follow,
        due=lambda ctx, target: NOW + timedelta(days=1),
        follows=("cost",),
    )
    world.collect, world.scope, world.more = commit, Scope.PAYER, (follower,)
    runner = world.runner()
    runner.start()
    wait_for("it is ready", lambda: not runner.unready())

    def after_a_commit() -> int:
        before = len(read)
        assert runner.collect_now(world.collector) == 0
        return before

    for _ in range(2):
        before = after_a_commit()
        wait_for("it follows", lambda before=before: len(read) > before)
    fails.set()
    after_a_commit()
    wait_for("it fails", lambda: runner.problems())
    failed = len(read)
    after_a_commit()
    time.sleep(0.2)
    assert runner.stop(30)
    # What fails is tried again after a minute, which has not passed.
    assert len(read) == failed


def denying(world: World, asked: list[str], denied: set[str]) -> None:
    """A collector of regions that policies deny some of."""

    def collect(ctx: Any, target: Target) -> Iterable[Sample]:
        asked.append(target.region)
        if target.region in denied:
            raise AwsError(Kind.REGION_DENIED, "with an explicit deny in a service control policy")
        return [value(target)]

    world.collect, world.scope, world.interval = collect, Scope.REGION, "1s"
    world.name = "ec2_instances"
    world.accounts = {id_: ACCOUNTS[id_] for id_ in ("111111111111",)}


def test_a_denied_region_is_asked_again_after_its_time_and_not_at_the_interval(world: World) -> None:
    asked: list[str] = []
    denied = {"eu-west-1"}
    denying(world, asked, denied)
    runner = world.runner()
    runner.start()
    wait_for("the other region is read again and again", lambda: asked.count("us-east-1") >= 4)
    assert asked.count("eu-west-1") == 1
    assert runner.stop(30)


def test_a_denied_region_that_is_allowed_by_then_is_read_at_the_interval_again(world: World) -> None:
    asked: list[str] = []
    denied = {"eu-west-1"}
    denying(world, asked, denied)
    world.patience = Patience(denied_region=timedelta(seconds=3))
    runner = world.runner()
    runner.start()
    wait_for("it is asked", lambda: asked.count("eu-west-1") == 1)
    wait_for("it is shown", runner.denied_regions)
    denied.clear()
    wait_for("it is read again and again", lambda: asked.count("eu-west-1") >= 4)
    assert runner.denied_regions() == []
    assert runner.problems() == []
    assert runner.stop(30)


def test_sets_of_denied_regions_are_lines_however_many_accounts_have_them(world: World) -> None:
    denying(world, [], {"eu-west-1", "us-east-1"})
    world.accounts = {
        f"{number:012}": Account(f"{number:012}", f"name-{number:02}") for number in range(1, 9)
    }
    runner = world.runner()
    assert runner.collect_now(world.collector) == 0
    names = ", ".join(f"name-{number:02} ({number:012})" for number in range(1, 6))
    assert runner.denied_regions() == [f"eu-west-1, us-east-1 of {names} and 3 more accounts"]
    assert {result.error for result in world.store.results().values()} == {"region_denied"}
    assert world.errors("region_denied", world.name) == 0
