"""The integration of a running relay: its ticks, its routes and its book of charges."""

from __future__ import annotations

import threading
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from fastapi import FastAPI
from prometheus_client import Gauge

from exporter.core.moments import period_start, utc_now
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
    from exporter.relay.integration.own_keys import AccountCosts


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
        self._registry = metrics.registry
        self._stopping = stopping
        self._aws = aws
        self._lock = threading.Lock()
        self._costs: AccountCosts | None = None
        self._auth = secrets.integration_auth
        self._ledger: Ledger | None = None
        self._ticks: Ticks | None = None
        if not settings.integration.enabled:
            return
        ledger = self._ledger = Ledger(settings.state_dir / "charges.sqlite")
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

        self._ticks = Ticks(settings, api, self._account_costs, metrics, templates, stopping, utc_now)

    def _account_costs(self) -> AccountCosts:
        """What answers ticks with AWS keys, loaded with the first of them."""
        from exporter.relay.integration.own_keys import AccountCosts

        assert self._ledger is not None
        with self._lock:
            if self._costs is None:
                self._costs = AccountCosts(
                    self._ledger.charges, self._settings.ceiling, self._registry, self._aws, self._stopping
                )
            return self._costs

    def add_routes(self, app: FastAPI, gate: Gate) -> None:
        """Add the routes of the integration to the relay's application."""
        assert self._ticks is not None
        add_routes(app, self._settings, self._auth, self._ticks, gate)

    def close(self, seconds: float) -> None:
        """Let ticks in work finish for so long, then close the book."""
        if self._ticks is not None:
            self._ticks.drain(seconds)
        if self._ledger is not None:
            self._ledger.close()
