"""The one way that exporter and relay listen: uvicorn on a thread, so that the main thread is left to signals."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn

from exporter.web.connections import Connection, ConnectionLimits, Connections
from exporter.web.guard import WebConfig

_STARTED_WITHIN_SECONDS = 10.0
_PIECE_BYTES = 1 << 18

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
        self,
        app: AsgiApp,
        host: str,
        port: int,
        web: WebConfig | None = None,
        *,
        grace_seconds: int = 1,
        limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 # frozen
    ) -> None:
        """Nothing listens before `start`."""
        self._host = host
        self._port = port
        self._grace_seconds = grace_seconds
        app = _answering_head(_in_pieces(app))
        connections = Connections(web.ssl_context() if web is not None else None, limits)
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
                http=lambda **given: Connection(connections, **given),  # type: ignore[arg-type]
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
