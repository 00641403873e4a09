"""The relay as a process: open the memory, listen, drain on SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fastapi import FastAPI

from exporter.core.moments import utc_now
from exporter.core.redaction import install, keep_secret
from exporter.ledger.database import LedgerLockedError
from exporter.relay import digest, message
from exporter.relay.app import create_app
from exporter.relay.deliveries import Deliveries
from exporter.relay.digest import Digest
from exporter.relay.dispatch import Dispatcher
from exporter.relay.exporter_api import ExporterApi
from exporter.relay.gate import BODY_SECONDS, Gate
from exporter.relay.integration import answer
from exporter.relay.integration.running import Integration
from exporter.relay.message import Links
from exporter.relay.metrics import RelayMetrics
from exporter.relay.settings import RelayConfigError, RelaySecrets, RelaySettings
from exporter.relay.templating import Templates
from exporter.web.addresses import is_loopback
from exporter.web.config import WebConfigError
from exporter.web.guard import WebConfig, open_web_config
from exporter.web.server import Server

if TYPE_CHECKING:
    from exporter.aws.settings import AwsSettings

log = logging.getLogger(__name__)

DRAIN_SECONDS = 3  # with what is left of 5 s for the rest of the shutdown


class _StartError(Exception):
    """Why the relay does not start, without a secret, and the process's exit code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def serve(
    settings: RelaySettings, aws: AwsSettings | None = None, *, environ: Mapping[str, str] = os.environ
) -> int:
    """Run the relay until SIGTERM or SIGINT; `aws` is for ticks that bring AWS keys.

    Returns the process's exit code: 0 drained, 1 cannot listen or another relay has its folder, 2 configuration.
    """
    stopping = threading.Event()
    try:
        secrets, metrics, templates, web = _configured(settings, environ)
        with ExitStack() as opened:
            deliveries = open_deliveries(settings, metrics)
            opened.callback(deliveries.close)
            app, integration = _assembled(settings, secrets, deliveries, metrics, templates, stopping, aws)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stopping.set())
            server = Server(app, settings.host, settings.port, web, grace_seconds=DRAIN_SECONDS)
            try:
                port = server.start()
            except OSError as error:
                stopping.set()
                integration.close(0)
                where = f"{settings.host} port {settings.port}"
                raise _StartError(1, f"cannot listen on {where}: {error.strerror or error}") from None
            opened.pop_all()  # at exit a delivery may still be at work with the memory
    except _StartError as error:
        log.error("relay does not start", extra={"reason": str(error)})
        return error.code
    _warn_of_open_routes(settings, secrets, guarded=web is not None and bool(web.users))
    channels = ",".join(settings.channels)
    log.info("relay listens", extra={"address": settings.host, "port": port, "channels": channels})
    # In steps, because a signal that another thread takes does not wake this one.
    while not stopping.wait(0.2):
        pass
    end = time.monotonic() + DRAIN_SECONDS
    server.stop()
    integration.close(max(0.0, end - time.monotonic()))
    log.info("relay ends")
    return 0


def _configured(
    settings: RelaySettings, environ: Mapping[str, str]
) -> tuple[RelaySecrets, RelayMetrics, Templates, WebConfig | None]:
    """Read everything that the settings name; from then on no log line holds its secrets."""
    try:
        secrets = RelaySecrets(settings, environ)
        metrics = RelayMetrics(settings.channels)
        templates = read_templates(settings, metrics)
        web = open_web_config(settings.web_config_file)
    except RelayConfigError as error:
        raise _StartError(2, str(error)) from None
    except WebConfigError as error:
        raise _StartError(2, f"relay.web_config_file: {error}") from None
    if web is not None and web.users:
        for key, auth in (("auth", secrets.auth), ("integration.auth", secrets.integration_auth)):
            if auth is not None:
                found = f"relay.{key}: found it beside basic_auth_users of web_config_file, expected one of the two"
                raise _StartError(2, found)
    _keep_secrets_out_of_logs(secrets)
    return secrets, metrics, templates, web


def open_deliveries(settings: RelaySettings, metrics: RelayMetrics) -> Deliveries:
    """The memory of deliveries, with its state in the metrics; alerts are taken also where it cannot be kept."""
    deliveries = Deliveries(
        settings.state_dir,
        clock=time.time,
        retry_window=settings.retry_window.total_seconds(),
        pending_expiry=settings.pending_expiry.total_seconds(),
        on_failure=metrics.memory_errors.inc,
    )
    metrics.memory_on_disk.set_function(lambda: float(deliveries.on_disk))
    return deliveries


def _assembled(
    settings: RelaySettings,
    secrets: RelaySecrets,
    deliveries: Deliveries,
    metrics: RelayMetrics,
    templates: Templates,
    stopping: threading.Event,
    aws: AwsSettings | None,
) -> tuple[FastAPI, Integration]:
    try:
        return assemble(settings, secrets, deliveries, metrics, templates, stopping, aws)
    except LedgerLockedError as error:
        raise _StartError(
            1, f"relay.state_dir: cannot keep charges in {settings.state_dir}: {error}"
        ) from None


def _warn_of_open_routes(settings: RelaySettings, secrets: RelaySecrets, *, guarded: bool) -> None:
    if guarded or is_loopback(settings.host):
        return
    if secrets.auth is None:
        log.warning(
            "anyone can post to the channels: set relay.auth",
            extra={"address": settings.host},
        )
    if settings.integration.enabled and secrets.integration_auth is None:
        log.warning(
            "anyone can have spend posted to a channel: set relay.integration.auth",
            extra={"address": settings.host},
        )


def assemble(
    settings: RelaySettings,
    secrets: RelaySecrets,
    deliveries: Deliveries,
    metrics: RelayMetrics,
    templates: Templates,
    stopping: threading.Event,
    aws: AwsSettings | None,
    *,
    body_seconds: float = BODY_SECONDS,
) -> tuple[FastAPI, Integration]:
    """Wire everything and start the digest, where it is on; the integration is to be closed at the end.

    Raises LedgerLockedError where another process keeps the integration's charges.
    """
    dispatcher = Dispatcher(settings, secrets.channels, deliveries, metrics, stopping, templates)
    api = ExporterApi(settings, secrets.exporter_auth)
    integration = Integration(settings, secrets, api, metrics, templates, stopping, aws)
    app = create_app(
        settings,
        secrets.auth,
        dispatcher,
        metrics,
        lambda: not stopping.is_set(),
        Gate(settings.max_body_bytes, metrics, body_seconds=body_seconds),
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
    # urllib3 logs the path of every request at DEBUG, and the path of a webhook is a secret; botocore logs keys.
    for name in ("urllib3", "botocore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    keep_secret(secrets.values())
    install()
