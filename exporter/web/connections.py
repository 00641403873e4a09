"""Limits on what a slow, silent or broken peer holds of the web server: uvicorn has none on headers."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What peers may take of a server."""

    header_seconds: float = 10.0
    """From the connection, or from the last answer on it, to the whole header of a request; with the TLS handshake."""
    answer_seconds: float = 60.0
    """For the peer to take an answer: no scrape is given longer than that."""
    connections: int = 256
    """At once. A process has 1024 files by default, and AWS and the ledger need some of them."""


class Connections:
    """The open connections, and which of them wait for their peer, the longest first."""

    def __init__(self, tls: ssl.SSLContext | None, limits: ConnectionLimits) -> None:
        self.tls = tls
        self.limits = limits
        self.open: set[Connection] = set()
        self.waiting: dict[Connection, None] = {}

    def make_room(self) -> bool:
        """Whether there is room for another one, which the one that has waited longest may have to make.

        Who has sent a whole request keeps its place: slow peers only take those of each other.
        """
        if len(self.open) >= self.limits.connections and self.waiting:
            next(iter(self.waiting)).cut_off()
        return len(self.open) < self.limits.connections


class Connection(H11Protocol):
    """Uvicorn's connection, which alone would wait for its peer for ever, in the handshake for a minute."""

    def __init__(self, connections: Connections, **given: Any) -> None:
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
                transport,
                self,
                tls,
                server_side=True,
                ssl_handshake_timeout=self._connections.limits.header_seconds,
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
        """End the connection at once, with all that is unsent."""
        self._forget()
        self._wire.abort()

    def _wait_for_peer(self) -> None:
        self._stop_waiting()
        self._connections.waiting[self] = None
        limits, now = self._connections.limits, self.loop.time()
        end = now + limits.header_seconds
        if self._unsent():
            # One limit for the whole answer, however often it stalls.
            end = self._answer_by = self._answer_by or now + limits.answer_seconds
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
