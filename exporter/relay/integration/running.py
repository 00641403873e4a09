"""The integration of a running relay: its ticks, its routes and its book of charges."""

from __future__ import annotations

import threading
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from botocore.credentials import Credentials
from fastapi import FastAPI
from prometheus_client import Gauge

from exporter.aws.clients import Aws
from exporter.aws.meter import Meter, period_start
from exporter.core.moments import utc_now
from exporter.ledger.file import Ledger
from exporter.relay.exporter_api import ExporterApi
from exporter.relay.gate import Gate
from exporter.relay.integration.routes import add_routes
from exporter.relay.integration.ticks import Ticks
from exporter.relay.integration_settings import BUDGET
from exporter.relay.metrics import PREFIX, RelayMetrics
from exporter.relay.settings import RelaySecrets, RelaySettings
from exporter.relay.templating import Templates

if TYPE_CHECKING:
    from exporter.aws.settings import AwsSettings


class Integration:
    """Nothing is opened, counted or served while it is not enabled.

    Charges of ticks with AWS keys are kept in a ledger of the relay's own: the exporter's has one writer,
    another process, and these requests are on the bill of whoever's keys they were made with.
    """

    def __init__(
        self,
        settings: RelaySettings,
        secrets: RelaySecrets,
        api: ExporterApi,
        metrics: RelayMetrics,
        templates: Templates,
        stopping: threading.Event,
        aws: AwsSettings | None,
    ) -> None:
        """Opens the book of charges in `state_dir`; OSError, sqlite3.Error or LedgerLockedError if it cannot be."""
        self._settings = settings.integration
        self._auth = secrets.integration_auth
        self._ledger: Ledger | None = None
        self._ticks: Ticks | None = None
        if not settings.integration.enabled:
            return
        ledger = self._ledger = Ledger(settings.state_dir / "charges.sqlite")
        meter = Meter(ledger.charges, settings.integration.ceiling, utc_now, metrics.registry)
        remaining = Gauge(
            PREFIX + "integration_ceiling_remaining_usd",
            "Dollars that ticks with AWS keys may still spend on Cost Explorer, by period.",
            ["period"],
            registry=metrics.registry,
        )

        def left(period: str, limit: Decimal) -> float:
            return float(limit - ledger.charges.charged_since(BUDGET, period_start(period, utc_now())))

        for period, limit in settings.integration.ceiling.limits(BUDGET).items():
            if limit is not None:
                remaining.labels(period).set_function(partial(left, period, limit))

        def make_aws(credentials: Credentials) -> Aws:
            return Aws(
                meter,
                region=aws.region if aws else None,
                endpoint_url=aws.endpoint_url if aws else None,
                simulated=aws.simulated if aws else False,
                stop=stopping,
                credentials=credentials,
            )

        self._ticks = Ticks(settings, api, make_aws, metrics, templates, stopping, utc_now)

    def add_routes(self, app: FastAPI, gate: Gate) -> None:
        """Let the relay's application answer Telex."""
        assert self._ticks is not None
        add_routes(app, self._settings, self._auth, self._ticks, gate)

    def close(self, seconds: float) -> None:
        """Let ticks in work finish for so long, then close the book."""
        if self._ticks is not None:
            self._ticks.drain(seconds)
        if self._ledger is not None:
            self._ledger.close()
