"""Accounts take turns on the threads, and none of them can take them all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from waiting import wait_for

from exporter.collection.pool import Pool


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What blocked tasks wait for; set at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


class Counted:
    """Tasks that count how many of an account run at once."""

    def __init__(self, release: threading.Event) -> None:
        self.release = release
        self.lock = threading.Lock()
        self.running: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.finished: list[str] = []

    def task(self, account: str, *, hangs: bool = False, responsive: bool = True, seconds: float = 0.01):  # type: ignore[no-untyped-def]
        def run() -> bool:
            with self.lock:
                self.running[account] = self.running.get(account, 0) + 1
                self.most[account] = max(self.most.get(account, 0), self.running[account])
            if hangs:
                self.release.wait(60)
            else:
                time.sleep(seconds)
            with self.lock:
                self.running[account] -= 1
                self.finished.append(account)
            return responsive

        return run

    def wait(self, number: int, timeout: float = 60.0) -> None:
        end = time.monotonic() + timeout
        while len(self.finished) < number:
            assert time.monotonic() < end, self.finished
            time.sleep(0.005)


def test_an_account_has_its_share_and_no_more(release: threading.Event) -> None:
    pool, counted = Pool(8, 3), Counted(release)
    for _ in range(20):
        pool.submit("a", counted.task("a"))
    counted.wait(20)
    assert counted.most == {"a": 3}
    assert pool.close(30)


def test_a_hanging_account_leaves_threads_to_the_others(release: threading.Event) -> None:
    pool, counted = Pool(8, 4), Counted(release)
    for _ in range(10):
        pool.submit("hangs", counted.task("hangs", hangs=True))
    for account in ("b", "c", "d"):
        for _ in range(5):
            pool.submit(account, counted.task(account))
    counted.wait(15)
    assert counted.most["hangs"] == 4
    assert not pool.close(0.1)


def test_an_account_that_timed_out_gets_one_thread_until_it_answers(release: threading.Event) -> None:
    pool, counted = Pool(8, 4), Counted(release)
    pool.submit("slow", counted.task("slow", responsive=False))
    wait_for("it is suspect", lambda: pool._suspects and not pool._running)
    for _ in range(6):
        pool.submit("slow", counted.task("slow", responsive=False))
    counted.wait(7)
    assert counted.most["slow"] == 1
    pool.submit("slow", counted.task("slow"))
    wait_for("it is trusted again", lambda: not pool._suspects and not pool._running)
    for _ in range(12):
        pool.submit("slow", counted.task("slow", hangs=True))
    wait_for("four are in work", lambda: counted.running["slow"] == 4)
    release.set()
    counted.wait(20)
    assert counted.most["slow"] == 4
    assert pool.close(30)


def test_many_hanging_accounts_get_half_of_the_threads_together(release: threading.Event) -> None:
    pool, counted = Pool(6, 4), Counted(release)
    suspects = [f"hangs-{number}" for number in range(12)]
    for account in suspects:
        pool.submit(account, counted.task(account, responsive=False))
    wait_for("all are suspect", lambda: len(pool._suspects) == 12 and not pool._running)
    for account in suspects:
        for _ in range(3):
            pool.submit(account, counted.task(account, hangs=True, responsive=False))
    for _ in range(10):
        pool.submit("healthy", counted.task("healthy"))
    counted.wait(22)
    assert sum(counted.running[account] for account in suspects) == 3
    assert not pool.close(0.1)


def test_accounts_take_turns(release: threading.Event) -> None:
    pool, counted = Pool(1, 1), Counted(release)
    gate = threading.Event()
    pool.submit("first", lambda: gate.wait(60))
    for _ in range(50):
        pool.submit("large", counted.task("large", seconds=0))
    pool.submit("small", counted.task("small", seconds=0))
    gate.set()
    counted.wait(51)
    assert counted.finished.index("small") <= 1
    assert pool.close(30)


def test_a_task_that_raises_costs_no_thread(
    release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    pool, counted = Pool(1, 1), Counted(release)

    def broken() -> bool:
        raise RuntimeError("ours")

    for _ in range(3):
        pool.submit("a", broken)
    pool.submit("a", counted.task("a"))
    counted.wait(1)
    assert pool.close(30)
    assert caplog.text.count("a task failed account_id=a") == 3


def test_close_drops_what_waits_and_ends_the_threads(release: threading.Event) -> None:
    before = threading.active_count()
    pool, counted = Pool(4, 2), Counted(release)
    for _ in range(50):
        pool.submit("a", counted.task("a", seconds=0.3))
    assert pool.close(30)
    assert len(counted.finished) <= 4
    end = time.monotonic() + 60
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_close_gives_up_after_its_time_and_when_told(release: threading.Event) -> None:
    pool, counted = Pool(2, 2), Counted(release)
    pool.submit("a", counted.task("a", hangs=True))
    wait_for("it hangs", lambda: counted.running)
    began = time.monotonic()
    assert not pool.close(0.3)
    assert 0.25 < time.monotonic() - began < 5  # the task would hang for longer
    began = time.monotonic()
    assert not pool.close(60, give_up=lambda: time.monotonic() - began > 0.2)
    assert time.monotonic() - began < 10
