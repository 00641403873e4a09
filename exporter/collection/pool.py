"""Worker threads that no single account can occupy.

An account has at most `per_account` tasks running, and only one while it is suspect, that is
after a task of it timed out: a hanging account then costs one thread and not the pool. All
suspects together get at most half of the threads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

Task = Callable[[], bool]
"""Does its work, never raises, and returns whether its account looks responsive."""


class Pool:
    """Daemon threads: a call that hangs never delays the end of the process."""

    def __init__(self, threads: int, per_account: int) -> None:
        """`threads` in all, `per_account` for one that responds."""
        self._per_account = per_account
        self._for_suspects = max(1, threads // 2)
        self._condition = threading.Condition()
        self._queues: dict[str, deque[Task]] = {}  # in turn: the first with a free place goes next
        self._running: dict[str, int] = {}
        self._suspects: set[str] = set()
        self._closed = False
        for number in range(threads):
            threading.Thread(target=self._work, name=f"collect-{number}", daemon=True).start()

    def submit(self, account_id: str, task: Task) -> None:
        """Queue a task behind the account's others."""
        with self._condition:
            self._queues.setdefault(account_id, deque()).append(task)
            self._condition.notify()

    def close(self, timeout: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Drop what is queued and wait for what runs; False if something still does after `timeout` seconds.

        It waits no longer once `give_up` returns True.
        """
        end = time.monotonic() + timeout
        with self._condition:
            self._closed = True
            self._queues.clear()
            self._condition.notify_all()
            while self._running:
                remaining = end - time.monotonic()
                if remaining <= 0 or give_up():
                    return False
                self._condition.wait(min(remaining, 0.1))
        return True

    def _next(self) -> tuple[str, Task] | None:
        suspects_running = sum(account_id in self._suspects for account_id in self._running)
        for account_id, queue in self._queues.items():
            limit = self._per_account
            if account_id in self._suspects:
                limit = 1 if suspects_running < self._for_suspects else 0
            if self._running.get(account_id, 0) < limit:
                task = queue.popleft()
                del self._queues[account_id]
                if queue:
                    self._queues[account_id] = queue  # to the end: accounts take turns
                return account_id, task
        return None

    def _work(self) -> None:
        while True:
            with self._condition:
                while (found := self._next()) is None:
                    if self._closed:
                        return
                    self._condition.wait()
                account_id, task = found
                self._running[account_id] = self._running.get(account_id, 0) + 1
            responsive = True
            try:
                responsive = task()
            except Exception:
                log.exception("a task failed", extra={"account_id": account_id})
            finally:
                with self._condition:
                    self._running[account_id] -= 1
                    if not self._running[account_id]:
                        del self._running[account_id]
                    if responsive:
                        self._suspects.discard(account_id)
                    else:
                        self._suspects.add(account_id)
                    self._condition.notify_all()
