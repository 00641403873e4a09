"""What is due, done on threads: what has waited longest goes first, and no account can occupy the threads.

An account has at most `per_lane` items running, and only one while it is suspect, that is after one of them
timed out: a hanging account then costs one thread and not the others. All suspects together get at most half
of the threads.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum

log = logging.getLogger(__name__)


class _State(Enum):
    IDLE = 0  # neither due nor running
    QUEUED = 1
    HELD = 2  # due, and its lane has no place
    SUSPENDED = 3  # due, and its lane is suspect
    RUNNING = 4


class Item:
    """Something to do when it is due; queued at most once, and never running twice at a time.

    Items of a lane (an account) share its places; `group` is under whose name waiting is reported.
    """

    __slots__ = ("_again", "_due", "_number", "_state", "group", "lane")

    def __init__(self, lane: str, group: str = "") -> None:
        """It is not due until it is put into a stream."""
        self.lane = lane
        self.group = group
        self._state = _State.IDLE
        self._due = 0.0
        self._number = 0
        self._again: float | None = None

    def run(self) -> bool:
        """Do it, and return whether its lane looks responsive."""
        raise NotImplementedError


class _Call(Item):
    __slots__ = ("_function",)

    def __init__(self, lane: str, function: Callable[[], bool]) -> None:
        super().__init__(lane)
        self._function = function

    def run(self) -> bool:
        return self._function()


class _Lane:
    __slots__ = ("held", "running", "suspect", "waits_for_suspects")

    def __init__(self) -> None:
        self.running = 0
        self.suspect = False
        self.held: list[_Place] = []
        self.waits_for_suspects = False


_Place = tuple[float, int, Item]
"""When it is due, on the monotonic clock; its number; the item. A place whose number is not the item's is void."""


class Stream:
    """Daemon threads over a queue by due time: a call that hangs never delays the end of the process.

    All times are seconds on the monotonic clock; every change costs the logarithm of what waits.
    """

    def __init__(self, threads: int, per_lane: int) -> None:
        """`threads` in all, `per_lane` for a lane that responds."""
        self._per_lane = per_lane
        self._for_suspects = max(1, threads // 2)
        # Guards everything below; items run without it.
        self._condition = threading.Condition()
        self._queue: list[_Place] = []
        self._numbers = itertools.count(1)
        self._lanes: dict[str, _Lane] = {}
        self._suspects_running = 0  # lanes
        self._suspects_waiting: deque[str] = deque()
        self._waiting: dict[str, list[_Place]] = {}  # by group
        self._running = 0
        self._closed = False
        self._wakes_at = math.inf
        for number in range(threads):
            threading.Thread(target=self._work, name=f"collect-{number}", daemon=True).start()

    # What is due

    def put(self, item: Item, seconds: float = 0.0) -> None:
        """Make `item` due in so many seconds, unless it is due earlier already; while it runs, once it has ended."""
        due = time.monotonic() + seconds
        with self._condition:
            if self._closed:
                return
            if item._state is _State.RUNNING:
                item._again = due if item._again is None else min(item._again, due)
            elif item._state is _State.IDLE or due < item._due:
                self._enter(item, due)
                self._condition.notify()

    def put_call(self, lane: str, function: Callable[[], bool]) -> None:
        """Call a function once, as an item of `lane`; it returns whether the lane looks responsive."""
        self.put(_Call(lane, function))

    def drop(self, items: Iterable[Item]) -> None:
        """Forget that these are due; those that run end."""
        with self._condition:
            for item in items:
                item._again = None
                if item._state is not _State.RUNNING:
                    item._state = _State.IDLE
                    item._number = 0

    def hasten(self, seconds: float) -> None:
        """Everything is due so many seconds earlier: the wall clock was set forward, or the machine slept."""
        with self._condition:
            self._queue = [(due - seconds, number, item) for due, number, item in self._queue]
            self._waiting = {
                group: [(due - seconds, number, item) for due, number, item in places]
                for group, places in self._waiting.items()
            }
            for lane in self._lanes.values():
                lane.held = [(due - seconds, number, item) for due, number, item in lane.held]
            for due, number, item in self._queue:
                if item._number == number:
                    item._due = due
            self._condition.notify_all()

    def is_running(self, item: Item) -> bool:
        """Whether an item is being done now."""
        with self._condition:
            return item._state is _State.RUNNING

    def seconds_late(self) -> dict[str, float]:
        """For how long what has waited longest of each group is due, 0 where nothing is.

        What waits for a suspect lane is not counted: that account reports its own failures.
        """
        now = time.monotonic()
        with self._condition:
            late = {}
            for group in self._waiting:
                first = self._first_of(group)
                late[group] = 0.0 if first is None else max(0.0, now - first)
            return late

    def _first_of(self, group: str) -> float | None:
        places = self._waiting[group]
        while places:
            due, number, item = places[0]
            if item._number == number and item._state in (_State.QUEUED, _State.HELD):
                return due
            heapq.heappop(places)
        return None

    def _enter(self, item: Item, due: float) -> None:
        item._state, item._due, item._number = _State.QUEUED, due, next(self._numbers)
        place = (due, item._number, item)
        heapq.heappush(self._queue, place)
        if item.group:
            heapq.heappush(self._waiting.setdefault(item.group, []), place)

    # Doing it

    def _take(self) -> tuple[Item | None, float | None]:
        """What is to be done now, taken; or else in how many seconds something is due, None if nothing is."""
        now = time.monotonic()
        while self._queue:
            due, number, item = self._queue[0]
            if item._number != number or item._state is not _State.QUEUED:
                heapq.heappop(self._queue)
                continue
            if due > now:
                return None, due - now
            place = heapq.heappop(self._queue)
            lane = self._lanes.setdefault(item.lane, _Lane())
            if self._hold(lane, place):
                continue
            self._running += 1
            self._count_running(lane, 1)
            item._state, item._number = _State.RUNNING, 0
            if item.group:
                self._first_of(item.group)  # what is void must not pile up
            if self._queue:
                self._condition.notify()  # another thread looks after what comes next
            return item, None
        return None, None

    def _hold(self, lane: _Lane, place: _Place) -> bool:
        """Keep what is due out of the queue while its lane has no place; returns whether it has none."""
        item = place[2]
        if lane.suspect:
            full = self._suspects_running >= self._for_suspects
            if not lane.running and not full:
                return False
            item._state = _State.SUSPENDED
            if not lane.running and not lane.waits_for_suspects:
                lane.waits_for_suspects = True
                self._suspects_waiting.append(item.lane)
        elif lane.running < self._per_lane:
            return False
        else:
            item._state = _State.HELD
        heapq.heappush(lane.held, place)
        return True

    def _release(self, lane: _Lane) -> None:
        """Put back what a lane has places for now."""
        places = 1 if lane.suspect else self._per_lane - lane.running
        while lane.held and places > 0:
            place = heapq.heappop(lane.held)
            number, item = place[1:]
            if item._number != number:
                continue
            if item._state is _State.SUSPENDED and item.group:
                heapq.heappush(self._waiting.setdefault(item.group, []), place)
            item._state = _State.QUEUED
            heapq.heappush(self._queue, place)
            self._condition.notify()
            places -= 1

    def _count_running(self, lane: _Lane, change: int, *, suspect: bool | None = None) -> None:
        self._suspects_running -= lane.suspect and lane.running > 0
        lane.running += change
        if suspect is not None:
            lane.suspect = suspect
        self._suspects_running += lane.suspect and lane.running > 0

    def _end(self, item: Item, *, responsive: bool) -> None:
        lane = self._lanes[item.lane]
        self._running -= 1
        self._count_running(lane, -1, suspect=not responsive)
        item._state = _State.IDLE
        if item._again is not None and not self._closed:
            self._enter(item, item._again)
        item._again = None
        if not lane.suspect or not lane.running:
            self._release(lane)
        if not lane.running and not lane.suspect and not lane.held:
            del self._lanes[item.lane]
        while self._suspects_waiting and self._suspects_running < self._for_suspects:
            waiting = self._lanes.get(self._suspects_waiting.popleft())
            if waiting is not None:
                waiting.waits_for_suspects = False
                self._release(waiting)
                break

    def _work(self) -> None:
        while True:
            with self._condition:
                while True:
                    if self._closed:
                        return
                    item, seconds = self._take()
                    if item is not None:
                        break
                    self._rest(seconds)
            responsive = True
            try:
                responsive = item.run()
            except Exception:
                log.exception("a task failed", extra={"lane": item.lane})
            finally:
                with self._condition:
                    self._end(item, responsive=responsive)

    def _rest(self, seconds: float | None) -> None:
        """Wait to be notified; one thread alone wakes by itself when the next item is due."""
        at = math.inf if seconds is None else time.monotonic() + seconds
        if at >= self._wakes_at:
            self._condition.wait()
            return
        self._wakes_at = at
        self._condition.wait(seconds)
        if self._wakes_at == at:
            self._wakes_at = math.inf

    def close(self, timeout: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Drop what is due and wait for what runs; False if something still does after `timeout` seconds.

        It waits no longer once `give_up` returns True.
        """
        end = time.monotonic() + timeout
        with self._condition:
            self._closed = True
            self._queue.clear()
            self._waiting.clear()
            self._condition.notify_all()
            while self._running:
                remaining = end - time.monotonic()
                if remaining <= 0 or give_up():
                    return False
                self._condition.wait(min(remaining, 0.1))
        return True
