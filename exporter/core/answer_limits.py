"""A deadline and a bound on the size of a whole answer, for every HTTP client that stands on urllib3.

A client's own time-outs are of one read: a peer that sends a byte now and then holds it for ever. Here each read
of a connection looks at what is left of the answer that the calling thread waits for.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Literal

import urllib3


class AnswerTooLargeError(OSError):
    """More came than an answer may hold."""


class AnswerLimit:
    """What is left of the time and the size of one answer."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        """The time runs from now; `max_bytes` are counted as they travel, headers included."""
        self.seconds = seconds
        self.max_bytes = max_bytes
        self.exceeded: Literal["seconds", "bytes"] | None = None
        """What ended the answer, whichever exception the client makes of it."""
        self._end = time.monotonic() + seconds
        self._bytes = 0

    @property
    def reason(self) -> str:
        """The limit that was passed, in words."""
        if self.exceeded == "bytes":
            return f"the answer is larger than {self.max_bytes} bytes"
        return f"the whole answer did not come within {self.seconds:g} s"

    def remaining(self) -> float:
        """Seconds left; TimeoutError once there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            self.exceeded = "seconds"
            raise TimeoutError(self.reason)
        return left

    def count(self, received: int) -> None:
        """Add what has come; AnswerTooLargeError if it is too much."""
        self._bytes += received
        if self._bytes > self.max_bytes:
            self.exceeded = "bytes"
            raise AnswerTooLargeError(self.reason)


_current: ContextVar[AnswerLimit | None] = ContextVar("answer_limit", default=None)


@contextmanager
def answer_within(seconds: float, max_bytes: int) -> Iterator[AnswerLimit]:
    """Limit what this thread reads from limited connections while inside: one answer, and one only."""
    limit = AnswerLimit(seconds, max_bytes)
    token = _current.set(limit)
    try:
        yield limit
    finally:
        _current.reset(token)


@cache  # a class for each, however often it is asked for
def limited_pool(pool: type[urllib3.HTTPConnectionPool]) -> type[urllib3.HTTPConnectionPool]:
    """A connection pool of urllib3, or of what is built on it, whose connections heed `answer_within`."""
    connection = type(f"Limited{pool.ConnectionCls.__name__}", (_LimitedConnection, pool.ConnectionCls), {})
    return type(f"Limited{pool.__name__}", (pool,), {"ConnectionCls": connection})


class _LimitedConnection:
    """Comes before a connection of urllib3 among the bases of a class."""

    sock: Any

    def _new_conn(self) -> _LimitedSocket:
        return _LimitedSocket(super()._new_conn())  # type: ignore[misc] # of the connection

    def connect(self) -> None:
        super().connect()  # type: ignore[misc] # of the connection
        if not isinstance(self.sock, _LimitedSocket):  # TLS has taken its place
            self.sock = _LimitedSocket(self.sock)


class _LimitedSocket:
    """A connected socket, or TLS on one, that waits no longer than the current answer may take."""

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def makefile(self, mode: str, buffering: int | None = None) -> io.RawIOBase | io.BufferedReader:
        """As a socket's, for reading bytes, which is what http.client asks for."""
        if mode != "rb":
            raise ValueError(f"a limited socket is read as bytes, not as {mode!r}")
        raw = socket.SocketIO(self, "r")  # type: ignore[arg-type] # it is one but for its class
        self._wrapped._io_refs += 1  # closing the file lets go of it, as of a socket's own
        if buffering == 0:
            return raw
        return io.BufferedReader(raw, buffering if buffering and buffering > 0 else io.DEFAULT_BUFFER_SIZE)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """As a socket's."""
        with self._waiting() as limit:
            received: bytes = self._wrapped.recv(bufsize, flags)
        if limit is not None:
            limit.count(len(received))
        return received

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As a socket's."""
        with self._waiting() as limit:
            received: int = self._wrapped.recv_into(buffer, nbytes, flags)
        if limit is not None:
            limit.count(received)
        return received

    def sendall(self, data: Any, flags: int = 0) -> None:
        """As a socket's."""
        with self._waiting():
            self._wrapped.sendall(data, flags)

    @contextmanager
    def _waiting(self) -> Iterator[AnswerLimit | None]:
        limit = _current.get()
        usual = self._wrapped.gettimeout()
        left = limit.remaining() if limit is not None else None
        if limit is None or left is None or (usual is not None and usual <= left):
            yield limit
            return
        self._wrapped.settimeout(left)
        try:
            yield limit
        except TimeoutError:
            limit.exceeded = "seconds"
            raise
        finally:
            self._wrapped.settimeout(usual)
