"""The relay as a process: open the memory, listen, drain on SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastapi import FastAPI

from exporter.core.moments import utc_now
from exporter.core.redaction import install, keep_secret
from exporter.ledger.file import LedgerLockedError
from exporter.relay import digest, message
from exporter.relay.app import create_app
from exporter.relay.deliveries import Deliveries, open_deliveries
from exporter.relay.digest import Digest
from exporter.relay.dispatch import Dispatcher
from exporter.relay.exporter_api import ExporterApi
from exporter.relay.integration import answer
from exporter.relay.integration.running import Integration
from exporter.relay.message import Links
from exporter.relay.metrics import RelayMetrics
from exporter.relay.settings import RelaySecrets, RelaySettings
from exporter.relay.templating import Templates
from exporter.web.addresses import is_loopback
from exporter.web.config import WebConfigError
from exporter.web.credentials import RelayConfigError
from exporter.web.guard import open_web_config
from exporter.web.server import Server

if TYPE_CHECKING:
    from exporter.aws.settings import AwsSettings

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 3  # with what is left of 5 s for the rest of the shutdown


def serve(
    settings: RelaySettings, aws: AwsSettings | None = None, *, environ: Mapping[str, str] = os.environ
) -> int:
    """
    Run the relay until SIGTERM or SIGINT; `aws` is for ticks of Telex that bring AWS keys.

    Answers the process's exit code: 0 drained, 1 cannot listen or cannot keep its memory, 2 configuration.
    """
    try:
        secrets = RelaySecrets(settings, environ)
        metrics = RelayMetrics(settings.channels)
        templates = read_templates(settings, metrics)
        web = open_web_config(settings.web_config_file)
    except RelayConfigError as error:
        logger.error("%s", error)
        return 2
    except WebConfigError as error:
        logger.error("relay.web_config_file: %s", error)
        return 2
    if web is not None and web.users:
        for key, auth in (("auth", secrets.auth), ("integration.auth", secrets.integration_auth)):
            if auth is not None:
                logger.error(
                    "relay.%s: found it beside basic_auth_users of web_config_file, expected one of the two",
                    key,
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
    try:
        app, integration = assemble(settings, secrets, deliveries, metrics, templates, stopping, aws)
    except (OSError, sqlite3.Error, LedgerLockedError) as error:
        logger.error("relay.state_dir: cannot keep charges in %s: %s", settings.state_dir, error)
        deliveries.close()
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    server = Server(app, settings.host, settings.port, web, grace_seconds=DRAIN_SECONDS)
    try:
        port = server.start()
    except OSError as error:
        logger.error("cannot listen on %s port %d: %s", settings.host, settings.port, error.strerror or error)
        stopping.set()
        integration.close(0)
        deliveries.close()
        return 1
    open_to_all = not (web is not None and web.users) and not is_loopback(settings.host)
    if open_to_all and secrets.auth is None:
        logger.warning("anyone who reaches %s can post to Telex: set relay.auth", settings.host)
    if open_to_all and settings.integration.enabled and secrets.integration_auth is None:
        logger.warning(
            "anyone who reaches %s can have spend posted to a channel of their own: set relay.integration.auth",
            settings.host,
        )
    logger.info(
        "relay listens on %s port %d for channels: %s", settings.host, port, ", ".join(settings.channels)
    )
    # In steps, because a signal that another thread takes does not wake this one.
    while not stopping.wait(0.2):
        pass
    end = time.monotonic() + DRAIN_SECONDS
    server.stop()
    integration.close(max(0.0, end - time.monotonic()))
    logger.info("relay ends")
    return 0


def assemble(
    settings: RelaySettings,
    secrets: RelaySecrets,
    deliveries: Deliveries,
    metrics: RelayMetrics,
    templates: Templates,
    stopping: threading.Event,
    aws: AwsSettings | None,
) -> tuple[FastAPI, Integration]:
    """
    Wire everything and start the digest, where it is on; the integration is to be closed at the end.

    Raises OSError, sqlite3.Error and LedgerLockedError where the integration cannot keep its charges.
    """
    dispatcher = Dispatcher(settings, secrets.channel_urls, deliveries, metrics, stopping, templates)
    api = ExporterApi(settings, secrets.exporter_auth)
    integration = Integration(settings, secrets, api, metrics, templates, stopping, aws)
    app = create_app(
        settings,
        secrets.auth,
        dispatcher,
        metrics,
        lambda: not stopping.is_set(),
        integration.add_routes if settings.integration.enabled else None,
    )
    if settings.digest.schedule is not None:
        Digest(settings, api.summary, dispatcher, deliveries, metrics, templates, stopping, utc_now).start()
    return app, integration


def read_templates(settings: RelaySettings, metrics: RelayMetrics) -> Templates:
    """The templates in force, each tried on samples. Raises RelayConfigError."""
    templates = Templates(
        settings.templates.model_dump(), lambda name: metrics.template_failures.labels(name).inc()
    )
    templates.check("alert", message.samples(Links(settings.dashboard_url, settings.runbook_url)))
    templates.check("digest", digest.samples())
    templates.check("spend", answer.samples(utc_now()))
    return templates


def _keep_secrets_out_of_logs(secrets: RelaySecrets) -> None:
    # urllib3 logs the path of every request at DEBUG, and a Telex path is the secret; botocore logs keys.
    for name in ("urllib3", "botocore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    keep_secret(secrets.values())
    install()
