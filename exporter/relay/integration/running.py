"""The integration of a running relay: its ticks, its routes and its book of charges."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING

from fastapi import FastAPI
from prometheus_client.core import GaugeMetricFamily

from exporter.core.moments import period_start, utc_now
from exporter.ledger.database import LedgerLockedError
from exporter.ledger.file import Ledger
from exporter.relay.exporter_api import ExporterApi
from exporter.relay.gate import Gate
from exporter.relay.integration.answer import NoAnswerError
from exporter.relay.integration.routes import add_routes
from exporter.relay.integration.ticks import Ticks
from exporter.relay.integration_settings import BUDGET
from exporter.relay.metrics import PREFIX, RelayMetrics
from exporter.relay.settings import RelaySecrets, RelaySettings
from exporter.relay.templating import Templates

if TYPE_CHECKING:
    from exporter.aws.settings import AwsSettings
    from exporter.relay.integration.own_keys import AccountCosts

log = logging.getLogger(__name__)


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
        """Open the book of charges in `state_dir`; LedgerLockedError if another process has it open.

        Where the disk is full or cannot be written, ticks with AWS keys are answered that there is no book, which each
        of them tries to open again; everything else is as ever.
        """
        self._settings = settings.integration
        self._state_dir = settings.state_dir
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
        metrics.registry.register(_CeilingMetrics(self))
        try:
            self._open_book()
        except (OSError, sqlite3.Error) as error:
            log.error("no book of charges, ticks with AWS keys are not answered", extra={"error": str(error)})
        self._ticks = Ticks(settings, api, self._account_costs, metrics, templates, stopping, utc_now)

    def _open_book(self) -> Ledger:
        """The book of charges. Raises OSError, sqlite3.Error and LedgerLockedError."""
        if self._ledger is None:
            self._ledger = Ledger(self._state_dir / "charges.sqlite")
        return self._ledger

    def remaining(self) -> Mapping[str, Decimal]:
        """Dollars that are left under each ceiling; of none without a book. sqlite3.Error if it cannot be read."""
        if self._ledger is None:
            return {}
        charged_since = self._ledger.charges.charged_since
        return {
            period: limit - charged_since(BUDGET, period_start(period, utc_now()))
            for period, limit in self._settings.ceiling.limits(BUDGET).items()
            if limit is not None
        }

    def _account_costs(self) -> AccountCosts:
        """What answers ticks with AWS keys, loaded with the first of them; NoAnswerError without a book of charges."""
        from exporter.relay.integration.own_keys import AccountCosts

        with self._lock:
            if self._costs is None:
                try:
                    charges = self._open_book().charges
                except (OSError, sqlite3.Error, LedgerLockedError):
                    # What is not booked could pass the ceiling.
                    raise NoAnswerError("the relay cannot keep its book of charges") from None
                self._costs = AccountCosts(
                    charges, self._settings.ceiling, self._registry, self._aws, self._stopping
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


class _CeilingMetrics:
    """What is left under the ceilings; left out while the book of charges cannot be read."""

    def __init__(self, integration: Integration) -> None:
        self._integration = integration

    def describe(self) -> list[GaugeMetricFamily]:
        """Called by the registry when this is added to it."""
        return [self._family()]

    def collect(self) -> list[GaugeMetricFamily]:
        """Called by the registry."""
        family = self._family()
        with suppress(sqlite3.Error):
            for period, usd in self._integration.remaining().items():
                family.add_metric([period], float(usd))
        return [family]

    @staticmethod
    def _family() -> GaugeMetricFamily:
        return GaugeMetricFamily(
            PREFIX + "integration_ceiling_remaining_usd",
            "Dollars that ticks with AWS keys may still spend on Cost Explorer, by period.",
            labels=["period"],
        )
