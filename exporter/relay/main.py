"""The relay as a process: open the memory, listen, drain on SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Mapping

from exporter.redaction import install, keep_secret
from exporter.relay.app import create_app
from exporter.relay.deliveries import open_deliveries
from exporter.relay.dispatch import Dispatcher
from exporter.relay.metrics import RelayMetrics
from exporter.relay.settings import RelayConfigError, RelaySecrets, RelaySettings, is_loopback
from exporter.web_config import WebConfigError, open_web_config
from exporter.web_server import Server

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 4  # with what is left of 5 s for the rest of the shutdown


def serve(settings: RelaySettings, *, environ: Mapping[str, str] = os.environ) -> int:
    """
    Run the relay until SIGTERM or SIGINT.

    Answers the process's exit code: 0 drained, 1 cannot listen or cannot keep its memory, 2 configuration.
    """
    try:
        secrets = RelaySecrets(settings, environ)
        web = open_web_config(settings.web_config_file)
    except RelayConfigError as error:
        logger.error("%s", error)
        return 2
    except WebConfigError as error:
        logger.error("relay.web_config_file: %s", error)
        return 2
    if web is not None and web.users and secrets.auth is not None:
        logger.error(
            "relay.auth: found it beside basic_auth_users of web_config_file, expected one of the two"
        )
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
    stopping = threading.Event()
    metrics = RelayMetrics(settings.channels)
    dispatcher = Dispatcher(settings, secrets.channel_urls, deliveries, metrics, stopping)
    app = create_app(
        settings, secrets.auth, dispatcher, metrics, lambda: not stopping.is_set() and deliveries.writable()
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    server = Server(app, settings.host, settings.port, web, grace_seconds=DRAIN_SECONDS)
    try:
        port = server.start()
    except OSError as error:
        logger.error("cannot listen on %s port %d: %s", settings.host, settings.port, error.strerror or error)
        deliveries.close()
        return 1
    if secrets.auth is None and not (web is not None and web.users) and not is_loopback(settings.host):
        logger.warning("anyone who reaches %s can post to Telex: set relay.auth", settings.host)
    logger.info(
        "relay listens on %s port %d for channels: %s", settings.host, port, ", ".join(settings.channels)
    )
    # In steps, because a signal that another thread takes does not wake this one.
    while not stopping.wait(0.2):
        pass
    server.stop()
    logger.info("relay ends")
    return 0


def _keep_secrets_out_of_logs(secrets: RelaySecrets) -> None:
    # urllib3 logs the path of every request at DEBUG, and a Telex path is the secret.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    keep_secret(secrets.values())
    install()
