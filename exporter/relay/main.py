"""The relay as a process: open the memory, listen, drain on SIGTERM."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Mapping
from types import FrameType

import uvicorn

from exporter.relay.app import create_app
from exporter.relay.deliveries import open_deliveries
from exporter.relay.dispatch import Dispatcher
from exporter.relay.metrics import RelayMetrics
from exporter.relay.settings import RelayConfigError, RelaySecrets, RelaySettings, is_loopback

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 4  # with what is left of 5 s for the rest of the shutdown


class RedactSecrets(logging.Filter):
    """Replaces secrets in whatever a handler is about to write, whoever logged it."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        record.msg, record.args = self._redact(text), None
        record.exc_info = record.exc_text = None
        return True

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


class _Server(uvicorn.Server):
    """uvicorn, telling deliveries at once that the process is to end."""

    def __init__(self, config: uvicorn.Config, stopping: threading.Event) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._captured_signals: list[int] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping.set()
        super().handle_exit(sig, frame)
        # uvicorn would raise the signal again once drained; a drained relay exits 0.
        self._captured_signals.clear()


def serve(settings: RelaySettings, *, environ: Mapping[str, str] = os.environ) -> int:
    """
    Run the relay until SIGTERM or SIGINT.

    Answers the process's exit code: 0 drained, 1 cannot listen or cannot keep its memory, 2 configuration.
    """
    try:
        secrets = RelaySecrets(settings, environ)
    except RelayConfigError as error:
        logger.error("%s", error)
        return 2
    _keep_secrets_out_of_logs(secrets)
    try:
        deliveries = open_deliveries(
            settings.state_dir,
            clock=time.time,
            retry_window=settings.retry_window.total_seconds(),
            pending_expiry=settings.pending_expiry.total_seconds(),
        )
    except (OSError, sqlite3.Error) as error:
        logger.error(
            "relay.state_dir: cannot keep the memory of deliveries in %s: %s", settings.state_dir, error
        )
        return 1
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        logger.error("cannot listen on %s port %d: %s", settings.host, settings.port, error.strerror or error)
        deliveries.close()
        return 1

    stopping = threading.Event()
    metrics = RelayMetrics(settings.channels)
    dispatcher = Dispatcher(settings, secrets.channel_urls, deliveries, metrics, stopping)
    app = create_app(
        settings, secrets.auth, dispatcher, metrics, lambda: not stopping.is_set() and deliveries.writable()
    )
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        log_level="warning",
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    if secrets.auth is None and not is_loopback(settings.host):
        logger.warning("anyone who reaches %s can post to Telex: set relay.auth", settings.host)
    host, port = listener.getsockname()[:2]
    logger.info("relay listens on %s port %d for channels: %s", host, port, ", ".join(settings.channels))
    with listener:
        _Server(config, stopping).run(sockets=[listener])
    logger.info("relay ends")
    return 0


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
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


def _keep_secrets_out_of_logs(secrets: RelaySecrets) -> None:
    # urllib3 logs the path of every request at DEBUG, and a Telex path is the secret.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    redact = RedactSecrets(secrets.values())
    for handler in logging.getLogger().handlers:
        handler.addFilter(redact)
