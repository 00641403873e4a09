"""Child processes that never outlive the demo, however it ends."""

import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event
from time import monotonic
from types import TracebackType
from typing import Self, TypeVar

from demo import http, janitor
from demo.errors import DemoError, NotInTimeError, Stopped

T = TypeVar("T")

POLL_SECONDS = 0.05
PROGRESS_SECONDS = 1.0
LAST_LINES = 12
# Below what Linux hands out by itself: no client is given one of them before its server starts.
_FREE_PORTS = range(20_000, 32_000)

__all__ = ["Child", "DemoError", "Processes", "Stopped", "choose_ports"]


class Child:
    """A running process in a separate process group; its output goes to a file."""

    def __init__(
        self, name: str, popen: "subprocess.Popen[bytes]", log: Path, *, optional: bool = False
    ) -> None:
        self.name = name
        self.log = log
        self.optional = optional
        """Whether the others go on without it."""
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    def exit_status(self) -> int | None:
        return self._popen.poll()

    def last_lines(self, count: int = LAST_LINES) -> str:
        with contextlib.suppress(FileNotFoundError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])
        return ""

    def death(self) -> str | None:
        """How it ended; None while it runs."""
        status = self.exit_status()
        if status is None:
            return None
        return f"exit status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)

    def wait(self, timeout: float) -> bool:
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True


class Processes:
    """Children and a temporary folder, all gone when the context ends or when this process is killed."""

    def __init__(self, stop: Event, *, grace_seconds: float = 5.0) -> None:
        self._stop = stop
        self._grace_seconds = grace_seconds
        self._children: list[Child] = []
        self._lost: set[Child] = set()
        self._paths: list[Path] = []
        self.on_lost: Callable[[Child], None] = lambda child: None
        """Called once for each optional child that has died."""

    def __enter__(self) -> Self:
        self._janitor = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-I", "-S", janitor.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.folder = Path(tempfile.mkdtemp(prefix="aws-spend-exporter-demo-"))
        self.remove_at_end(self.folder)
        (self.folder / "logs").mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_children()
        for path in self._paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        self._tell_janitor("done")
        if self._janitor.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._janitor.stdin.close()
        self._janitor.wait()

    def remove_at_end(self, path: Path) -> None:
        self._paths.append(path)
        self._tell_janitor(f"remove {path}")

    def start(
        self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None, *, optional: bool = False
    ) -> Child:
        """Starts a child; raises DemoError when the program cannot be started.

        The death of an optional one is no error: `on_lost` is called.
        """
        log = self.folder / "logs" / f"{name}.log"
        with log.open("ab") as output:
            try:
                popen = subprocess.Popen(  # noqa: S603 - our own programs
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=None if env is None else dict(env),
                    cwd=self.folder,
                    start_new_session=True,
                )
            except OSError as error:
                raise DemoError(f"{name} cannot be started: {error}") from error
        child = Child(name, popen, log, optional=optional)
        self._children.append(child)
        self._tell_janitor(f"group {child.pid}")
        return child

    def check(self) -> None:
        """Raises Stopped when the demo was asked to stop, DemoError when a child has died that is not optional."""
        if self._stop.is_set():
            raise Stopped
        for child in self._children:
            if child in self._lost or (how := child.death()) is None:
                continue
            if not child.optional:
                lines = child.last_lines() or "(it printed nothing)"
                raise DemoError(f"{child.name} has died ({how}). Its last lines:\n{lines}")
            self._lost.add(child)
            self.on_lost(child)

    def wait_until(
        self,
        what: str,
        probe: Callable[[], T | None],
        timeout: float,
        progress: Callable[[], object] | None = None,
    ) -> T:
        """The first answer of `probe` that is not None.

        Raise NotInTimeError after `timeout` seconds, or with `progress` after as many in which its answer has not
        changed: how long a start takes says how much there is to read and how busy the machine is, not that it fails.
        """
        began = monotonic()
        state, asked = None, began
        while True:
            self.check()
            if (answer := probe()) is not None:
                return answer
            now = monotonic()
            if progress is not None and now - asked >= min(PROGRESS_SECONDS, timeout / 4):
                asked = now
                if (current := progress()) != state:
                    state, began = current, now
            if now - began > timeout:
                raise NotInTimeError(
                    f"{what}: {'not' if progress is None else 'no progress'} within {timeout:.3g} s"
                )
            self.pause(POLL_SECONDS)

    def pause(self, seconds: float) -> None:
        """Sleeps, or less when the demo is asked to stop."""
        self._stop.wait(seconds)

    def wait_ready(
        self, child: Child, url: str, timeout: float = 30.0, progress: Callable[[], object] | None = None
    ) -> None:
        """Waits until `url` answers 2xx, as `wait_until` does; a timeout shows the child's last lines."""

        def probe() -> bool | None:
            if child.optional and (how := child.death()) is not None:
                raise DemoError(f"{child.name} has died ({how})")
            return True if http.answers(url) else None

        try:
            self.wait_until(f"{child.name} is not ready ({url})", probe, timeout, progress)
        except NotInTimeError as error:
            raise DemoError(f"{error}. Its last lines:\n{child.last_lines()}") from error

    def _end_children(self) -> None:
        """SIGTERM to all, and SIGKILL to the groups of those that stay."""
        for child in self._children:
            if child.exit_status() is None:
                child.signal(signal.SIGTERM)
        deadline = monotonic() + self._grace_seconds
        for child in self._children:
            if not child.wait(max(0.0, deadline - monotonic())):
                child.signal(signal.SIGKILL)
                child.wait(self._grace_seconds)
            # A child that has ended may have left children in its group.
            child.signal(signal.SIGKILL)

    def _tell_janitor(self, order: str) -> None:
        if self._janitor.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self._janitor.stdin.write(f"{order}\n".encode())
            self._janitor.stdin.flush()


def choose_ports(wanted: Mapping[str, int]) -> dict[str, int]:
    """A port on 127.0.0.1 for each name; 0 asks for a free one, a taken one is a DemoError."""
    ports: dict[str, int] = {}
    free = iter(random.sample(_FREE_PORTS, len(_FREE_PORTS)))
    # Those of the user's choice come first.
    for name, port in sorted(wanted.items(), key=lambda item: item[1], reverse=True):
        if port:
            if (reason := _why_taken(port)) is not None:
                raise DemoError(f"port {port} for {name} cannot be used: {reason}")
            ports[name] = port
            continue
        for candidate in free:
            if candidate not in ports.values() and _reserve(candidate):
                ports[name] = candidate
                break
        else:
            raise DemoError(f"there is no free port for {name}")
    return ports


def _reserve(port: int) -> bool:
    """Keep the port from everyone who chooses one, until this process ends; False if it is taken.

    A server that reuses addresses, as nearly every one does, can listen on it all the same.
    """
    keeper = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        keeper.bind(("127.0.0.1", port))
    except OSError:
        keeper.close()
        return False
    # Only now: before, it would let two who choose have the same.
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    atexit.register(keeper.close)
    return True


def _why_taken(port: int) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror
    return None
