"""The one way that exporter and relay listen: uvicorn on a thread, so that the main thread is left to signals."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from exporter.web_config import WebConfig

_STARTED_WITHIN_SECONDS = 10.0
_PIECE_BYTES = 1 << 18

HEADER_SECONDS = 10.0
"""From the connection, or from the last answer on it, to the whole header of a request; with the TLS handshake."""

ANSWER_SECONDS = 60.0
"""For the peer to take an answer: no scrape is given longer than that."""

MOST_CONNECTIONS = 256
"""At once. A process has 1024 files where nobody raised that, and AWS and the ledger need some of them."""

AsgiApp = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]


class Server:
    """One listening server; `web` adds TLS, basic authentication and headers."""

    def __init__(
        self, app: AsgiApp, host: str, port: int, web: WebConfig | None = None, *, grace_seconds: int = 1
    ) -> None:
        """Nothing listens before `start`."""
        self._host = host
        self._port = port
        self._grace_seconds = grace_seconds
        app = _answering_head(_in_pieces(app))
        connections = _Connections(web.ssl_context() if web is not None else None)
        self.scheme = "https" if connections.tls is not None else "http"
        self._server = uvicorn.Server(
            uvicorn.Config(
                web.guard(app) if web is not None else app,
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                lifespan="off",
                timeout_graceful_shutdown=grace_seconds,
                # It is called as the class would be, with uvicorn's own arguments.
                http=lambda **given: _Connection(connections, **given),  # type: ignore[arg-type]
                ws="none",
            )
        )
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Listen and return the port; OSError if the address cannot be used."""
        listener = listen(self._host, self._port)
        port: int = listener.getsockname()[1]
        self._thread = threading.Thread(
            target=lambda: self._server.run(sockets=[listener]), name="server", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _STARTED_WITHIN_SECONDS
        while time.monotonic() < deadline and self._thread.is_alive():
            if self._server.started:
                return port
            time.sleep(0.01)
        raise OSError(f"the server did not start within {_STARTED_WITHIN_SECONDS:.0f} s")

    def stop(self) -> None:
        """Finish what is being answered, for the grace and a second at most."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(self._grace_seconds + 1)


class _Connections:
    """The open connections, and which of them wait for their peer, the longest first."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.tls = tls
        self.open: set[_Connection] = set()
        self.waiting: dict[_Connection, None] = {}

    def make_room(self) -> bool:
        """Whether there is room for another one, which the one that has waited longest may have to make.

        Who has sent a whole request keeps its place: slow peers only take those of each other.
        """
        if len(self.open) >= MOST_CONNECTIONS and self.waiting:
            next(iter(self.waiting)).cut_off()
        return len(self.open) < MOST_CONNECTIONS


class _Connection(H11Protocol):
    """Uvicorn's connection, which alone would wait for its peer for ever, in the handshake for a minute."""

    def __init__(self, connections: _Connections, **given: Any) -> None:
        super().__init__(**given)
        self._connections = connections
        self._wire: asyncio.Transport
        self._securing: asyncio.Task[None] | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._answer_by: float | None = None
        self._ready = False
        self._early = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        self._wire = transport
        if not self._connections.make_room():
            transport.abort()
            return
        self._connections.open.add(self)
        self._wait_for_peer()
        if self._connections.tls is None:
            self._begin(transport)
        else:
            # By hand: asyncio's listener would show a connection only after its handshake.
            self._securing = self.loop.create_task(self._secure(transport, self._connections.tls))

    async def _secure(self, transport: asyncio.Transport, tls: ssl.SSLContext) -> None:
        try:
            secured = await self.loop.start_tls(
                transport, self, tls, server_side=True, ssl_handshake_timeout=HEADER_SECONDS
            )
        except OSError:  # no TLS, a certificate that is not accepted, gone
            self.cut_off()
            return
        if secured is None or transport.is_closing():
            self.cut_off()
            return
        self._begin(secured)
        if self._early:
            super().data_received(self._early)

    def _begin(self, transport: asyncio.Transport) -> None:
        self._ready = True
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._ready:
            super().data_received(data)
        else:  # it came with the end of the handshake
            self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        if self._ready:
            super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        # Who sends more requests than it reads answers of is still the one that is waited for.
        if self.cycle is not before and not self._unsent():
            self._answer_by = None
            self._stop_waiting()

    def on_response_complete(self) -> None:
        self._wait_for_peer()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None:
            self.cycle.disconnected = True  # the request ends here: what answers it may not write any more
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._wait_for_peer()
            super().send_400_response(msg)
        else:
            self.cut_off()  # an answer has begun

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: uvicorn would advise to install something, in two lines for each request."""

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_peer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()

    def shutdown(self) -> None:
        # Uvicorn would wait for what a peer that has nothing to get may never say: that TLS ends.
        if self in self._connections.waiting and not self._unsent():
            self.cut_off()
        else:
            super().shutdown()

    def cut_off(self) -> None:
        """End the connection at once, whatever is unsent."""
        self._forget()
        self._wire.abort()

    def _wait_for_peer(self) -> None:
        self._stop_waiting()
        self._connections.waiting[self] = None
        end = self.loop.time() + HEADER_SECONDS
        if self._unsent():
            # One limit for the whole answer, however often it stalls.
            end = self._answer_by = self._answer_by or self.loop.time() + ANSWER_SECONDS
        self._limit = self.loop.call_at(end, self.cut_off)

    def _unsent(self) -> int:
        """Bytes that the peer has not taken; those that TLS has encrypted count only on the wire."""
        own = self.transport.get_write_buffer_size() if self._connections.tls and self._ready else 0
        return own + self._wire.get_write_buffer_size()

    def _stop_waiting(self) -> None:
        self._connections.waiting.pop(self, None)
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _forget(self) -> None:
        self._stop_waiting()
        self._connections.open.discard(self)


def _answering_head(app: AsgiApp) -> AsgiApp:
    """HEAD as GET, as Prometheus' own servers do: probes ask so. Uvicorn leaves the body out."""

    async def answer(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await app(scope, receive, send)

    return answer


def _in_pieces(app: AsgiApp) -> AsgiApp:
    """A large body piece by piece: else what a slow reader has not taken is copied for each of them."""

    async def answer(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        async def send_pieces(message: MutableMapping[str, Any]) -> None:
            body = message.get("body", b"")
            for start in range(0, len(body) - _PIECE_BYTES, _PIECE_BYTES):
                await send({**message, "body": body[start : start + _PIECE_BYTES], "more_body": True})
            if len(body) > _PIECE_BYTES:
                message = {**message, "body": body[start + _PIECE_BYTES :]}
            await send(message)

        await app(scope, receive, send_pieces)

    return answer


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; OSError if there cannot be one."""
    # The protocol is named, not 0: asyncio turns Nagle's 40 ms off only for sockets that say TCP.
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener
