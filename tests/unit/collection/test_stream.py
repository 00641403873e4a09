"""What has waited longest goes first, once at a time, and no account can take all threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import wait_for

from exporter.collection.stream import Item, Stream


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


class Named(Item):
    """Writes its name down when it is done."""

    def __init__(  # type: ignore[no-untyped-def]
        self,
        name: str,
        done: list[str],
        lane: str = "lane",
        group: str = "",
        *,
        release=None,
        responsive=True,
    ) -> None:
        super().__init__(lane, group)
        self.name, self.done, self.release, self.responsive = name, done, release, responsive
        self.running = self.most = 0

    def run(self) -> bool:
        self.running += 1
        self.most = max(self.most, self.running)
        if self.release is not None:
            self.release.wait(60)
        self.running -= 1
        self.done.append(self.name)
        return self.responsive


def suspect_lanes(stream: Stream) -> int:
    return sum(lane.suspect for lane in stream._lanes.values())


def test_an_account_has_its_share_and_no_more(release: threading.Event) -> None:
    stream, counted = Stream(8, 3), Counted(release)
    for _ in range(20):
        stream.put_call("a", counted.task("a"))
    counted.wait(20)
    assert counted.most == {"a": 3}
    assert stream.close(30)


def test_a_hanging_account_leaves_threads_to_the_others(release: threading.Event) -> None:
    stream, counted = Stream(8, 4), Counted(release)
    for _ in range(10):
        stream.put_call("hangs", counted.task("hangs", hangs=True))
    for account in ("b", "c", "d"):
        for _ in range(5):
            stream.put_call(account, counted.task(account))
    counted.wait(15)
    assert counted.most["hangs"] == 4
    assert not stream.close(0.1)


def test_an_account_that_timed_out_gets_one_thread_until_it_answers(release: threading.Event) -> None:
    stream, counted = Stream(8, 4), Counted(release)
    stream.put_call("slow", counted.task("slow", responsive=False))
    wait_for("it is suspect", lambda: suspect_lanes(stream) == 1 and not stream._running)
    for _ in range(6):
        stream.put_call("slow", counted.task("slow", responsive=False))
    counted.wait(7)
    assert counted.most["slow"] == 1
    stream.put_call("slow", counted.task("slow"))
    wait_for("it is trusted again", lambda: not suspect_lanes(stream) and not stream._running)
    for _ in range(12):
        stream.put_call("slow", counted.task("slow", hangs=True))
    wait_for("four are in work", lambda: counted.running["slow"] == 4)
    release.set()
    counted.wait(20)
    assert counted.most["slow"] == 4
    assert stream.close(30)


def test_many_hanging_accounts_get_half_of_the_threads_together(release: threading.Event) -> None:
    stream, counted = Stream(6, 4), Counted(release)
    suspects = [f"hangs-{number}" for number in range(12)]
    for account in suspects:
        stream.put_call(account, counted.task(account, responsive=False))
    wait_for("all are suspect", lambda: suspect_lanes(stream) == 12 and not stream._running)
    for account in suspects:
        for _ in range(3):
            stream.put_call(account, counted.task(account, hangs=True, responsive=False))
    for _ in range(10):
        stream.put_call("healthy", counted.task("healthy"))
    counted.wait(22)
    assert sum(counted.running[account] for account in suspects) == 3
    assert not stream.close(0.1)


def test_what_waits_for_a_suspect_is_not_late_and_what_waits_for_a_thread_is(
    release: threading.Event,
) -> None:
    stream, counted = Stream(2, 2), Counted(release)
    stream.put_call("hangs", counted.task("hangs", responsive=False))
    wait_for("it is suspect", lambda: suspect_lanes(stream) == 1 and not stream._running)
    stream.put_call("hangs", counted.task("hangs", hangs=True, responsive=False))
    stream.put(Named("behind it", [], lane="hangs", group="suspended"))
    wait_for("it hangs", lambda: counted.running["hangs"] == 1)
    stream.put_call("other", counted.task("other", hangs=True))
    wait_for("all threads are taken", lambda: counted.running.get("other") == 1)
    stream.put(Named("waits", [], group="late"), -30)
    stream.put(Named("is not due", [], group="early"), 30)
    late = stream.seconds_late()
    assert 30 <= late["late"] < 300
    assert late["early"] == late["suspended"] == 0
    release.set()
    wait_for("nothing is late", lambda: not any(stream.seconds_late().values()))
    assert stream.close(30)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(-9, 0), st.sampled_from(["put", "drop"])), max_size=40),
    st.integers(0, 9),
)
@settings(max_examples=60, deadline=None)
def test_what_has_waited_longest_goes_first(changes: list[tuple[int, int, str]], hastened: int) -> None:
    """Of puts and drops while the only thread is busy, the earliest due time of each item counts."""
    stream, done, gate = Stream(1, 1), [], threading.Event()
    items = [Named(str(number), done, lane=str(number)) for number in range(10)]
    stream.put_call("gate", lambda: gate.wait(60))
    wait_for("the thread is busy", lambda: stream._running)
    expected: dict[int, float] = {}
    for number, seconds, change in changes:
        if change == "put":
            stream.put(items[number], seconds)
            expected[number] = min(seconds, expected.get(number, 1))
        else:
            stream.drop([items[number]])
            expected.pop(number, None)
    stream.hasten(hastened)
    gate.set()
    wait_for("all is done", lambda: len(done) == len(expected))
    assert stream.close(30)
    assert set(done) == set(map(str, expected))
    due = [expected[int(name)] for name in done]
    assert due == sorted(due)


def test_what_is_put_while_it_runs_runs_again_and_never_twice_at_a_time(release: threading.Event) -> None:
    stream, done = Stream(4, 4), []
    item = Named("a", done, release=release)
    stream.put(item)
    wait_for("it runs", lambda: item.running)
    for _ in range(5):
        stream.put(item)
    release.set()
    wait_for("it ran again", lambda: len(done) == 2)
    assert stream.close(30)
    assert (done, item.most) == (["a", "a"], 1)


def test_what_is_dropped_while_it_runs_ends_and_does_not_run_again(release: threading.Event) -> None:
    stream, done = Stream(4, 4), []
    item = Named("a", done, release=release)
    stream.put(item)
    wait_for("it runs", lambda: item.running)
    stream.put(item)
    stream.drop([item])
    release.set()
    wait_for("it has ended", lambda: done and not stream.is_running(item))
    stream.put_call("b", lambda: done.append("b") or True)
    wait_for("the other ran", lambda: "b" in done)
    assert stream.close(30)
    assert done == ["a", "b"]


def test_what_is_due_later_is_done_then_and_at_once_when_the_clock_was_set() -> None:
    stream, done = Stream(2, 2), []
    began = time.monotonic()
    stream.put(Named("soon", done, lane="soon"), 0.2)
    stream.put(Named("in an hour", done, lane="later"), 3600)
    wait_for("the first is done", lambda: done)
    assert time.monotonic() - began >= 0.2
    assert done == ["soon"]
    stream.hasten(3600)
    wait_for("the second is done", lambda: len(done) == 2)
    assert stream.close(30)


def test_every_item_runs_however_lanes_and_suspects_are_mixed() -> None:
    """Lanes change between suspect and trusted all the time; nothing is forgotten."""
    random, done = Random(15), []
    stream = Stream(8, 2)
    items = [
        Named(str(number), done, lane=f"lane-{random.randrange(9)}", responsive=random.random() < 0.6)
        for number in range(600)
    ]
    for item in items:
        stream.put(item, random.random() / 5)
    wait_for("all are done", lambda: len(done) == len(items))
    assert stream.close(30)
    assert max(item.most for item in items) == 1


def test_a_task_that_raises_costs_no_thread(
    release: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    stream, counted = Stream(1, 1), Counted(release)

    def broken() -> bool:
        raise RuntimeError("ours")

    for _ in range(3):
        stream.put_call("a", broken)
    stream.put_call("a", counted.task("a"))
    counted.wait(1)
    assert stream.close(30)
    assert caplog.text.count("a task failed lane=a") == 3


def test_close_drops_what_waits_and_ends_the_threads(release: threading.Event) -> None:
    before = threading.active_count()
    stream, counted = Stream(4, 2), Counted(release)
    for _ in range(50):
        stream.put_call("a", counted.task("a", seconds=0.3))
    assert stream.close(30)
    assert len(counted.finished) <= 4
    end = time.monotonic() + 60
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_close_gives_up_after_its_time_and_when_told(release: threading.Event) -> None:
    stream, counted = Stream(2, 2), Counted(release)
    stream.put_call("a", counted.task("a", hangs=True))
    wait_for("it hangs", lambda: counted.running)
    began = time.monotonic()
    assert not stream.close(0.3)
    assert 0.25 < time.monotonic() - began < 5  # the task would hang for longer
    began = time.monotonic()
    assert not stream.close(60, give_up=lambda: time.monotonic() - began > 0.2)
    assert time.monotonic() - began < 10
