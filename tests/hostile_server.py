"""A server of plain sockets that answers as no honest server would: byte by byte, without end, or not at all."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType

Answer = Callable[["Caller"], None]
"""What is done with one connection once the header of its request has come."""


class Caller:
    """One connection, as an answer sees it."""

    def __init__(self, wire: socket.socket, request: bytes, gone: threading.Event) -> None:
        self.wire = wire
        self.request = request
        """What has been read of the request: its header, and perhaps some of its body."""
        self._gone = gone

    def send(self, data: bytes) -> None:
        """Send all; OSError once the caller has hung up."""
        self.wire.sendall(data)

    def wait(self, seconds: float) -> None:
        """Wait; OSError if the server is stopped meanwhile."""
        if self._gone.wait(seconds):
            raise OSError("the server is stopped")


def whole(data: bytes) -> Answer:
    """Answer at once."""
    return lambda caller: caller.send(data)


def drip(data: bytes, *, head: bytes = b"", seconds: float = 0.05) -> Answer:
    """`head` at once, then `data` again and again, a byte at a time, until the caller hangs up."""

    def answer(caller: Caller) -> None:
        caller.send(head)
        while True:
            for byte in data:
                caller.send(bytes([byte]))
                caller.wait(seconds)

    return answer


def endless(data: bytes, *, head: bytes) -> Answer:
    """`head`, then `data` as fast as it is taken, until the caller hangs up or 2 GiB have gone."""

    def answer(caller: Caller) -> None:
        caller.send(head)
        for _ in range((2 << 30) // len(data)):
            caller.send(data)

    return answer


def stall(data: bytes) -> Answer:
    """`data`, then nothing until the caller hangs up."""

    def answer(caller: Caller) -> None:
        caller.send(data)
        caller.wait(60.0)

    return answer


class HostileServer:
    """Listens on 127.0.0.1 while it is entered; every connection gets `answer`, which may be replaced."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.calls = 0
        """How many requests have come."""
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._gone = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The address without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> HostileServer:
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gone.set()
        # Closing alone would leave its thread in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for wire in [*self._open]:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
        for thread in [*self._threads]:
            thread.join(10)

    def _spawn(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="hostile", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._gone.is_set():
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            self._spawn(lambda wire=wire: self._serve(wire))  # type: ignore[misc] # bound now

    def _serve(self, wire: socket.socket) -> None:
        self._open.add(wire)
        try:
            with contextlib.suppress(OSError):
                secured = self._tls.wrap_socket(wire, server_side=True) if self._tls else wire
                self._open.add(secured)
                with secured:
                    self._answer(secured)
        finally:
            wire.close()

    def _answer(self, wire: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            data = wire.recv(65536)
            if not data:
                return
            request += data
        self.calls += 1
        self.answer(Caller(wire, request, self._gone))
        # What is left of the request is read first: closing over it would reset the connection.
        wire.shutdown(socket.SHUT_WR)
        while wire.recv(65536):
            pass
