"""`--live`: AWS is asked now, by the running exporter where there is one, else by this process."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.aws.errors import AwsError
from exporter.aws.meter import Meter
from exporter.aws.settings import make_aws
from exporter.cli.ask import AskError, json_object
from exporter.cli.clients import exporter_client
from exporter.collection.metrics import RunnerMetrics
from exporter.collection.plan import plan_at_rest
from exporter.collection.runner import Runner
from exporter.collection.store import Store
from exporter.collectors import collector_named
from exporter.config.model import Config
from exporter.core.moments import utc_now
from exporter.cost.rereads import Reread
from exporter.ledger.database import LedgerLockedError
from exporter.ledger.file import Ledger
from exporter.web.client import NoAnswerError, RefusedError

_READ_SECONDS = 150.0
_PATIENCE = timedelta(minutes=2)
_PATIENCE_FOR_DAYS = timedelta(hours=1)
_MONTH = timedelta(days=30)


def price(config: Config, collector: str) -> Decimal:
    """About how many dollars one refresh of a collector costs, by the plan; zero where it is free."""
    plan = plan_at_rest(config, utc_now())
    a_month = sum((line.usd for line in plan.lines if line.collector == collector), Decimal(0))
    interval = config.settings(collector_named(collector)).interval
    return a_month * Decimal(interval.total_seconds()) / Decimal(_MONTH.total_seconds())


def refresh(config: Config, collector: str, url: str | None, days: Reread | None = None) -> dict[str, Any]:
    """Read AWS for one collector now, or days of cost again, within the ceilings; AskError if that is not done.

    Returns what became of it, see `Refreshed.as_json`. Of days that take longer, some are left: an exporter goes on
    with them (`goes_on`).
    """
    parameters = {"collector": collector, "format": "json"}
    if days is not None:
        parameters |= {"from": days.start.isoformat(), "to": (days.end - timedelta(days=1)).isoformat()}
    try:
        client = exporter_client(config, url)
        reply = client.post("-/refresh", parameters, seconds=_READ_SECONDS)
    except NoAnswerError as error:
        # Who refuses us holds the ledger.
        if isinstance(error, RefusedError) or url is not None or config.client.url is not None:
            raise AskError(str(error)) from None
        return _refresh_here(config, collector, days)
    if not reply.headers.get("content-type", "").startswith("application/json"):
        raise AskError(reply.text.strip() or f"{client.shown} answered {reply.status_code}")
    done = json_object(reply)
    if done is None:
        raise AskError(f"{client.shown} answered no JSON object: is it an exporter of this version?")
    if not reply.ok:
        raise AskError(f"not refreshed: {done.get('reason') or done.get('detail')}")
    return {**done, "goes_on": True}


def _refresh_here(config: Config, collector: str, days: Reread | None) -> dict[str, Any]:
    try:
        ledger = Ledger(config.ledger_path)
    except (LedgerLockedError, OSError, sqlite3.Error) as error:
        raise AskError(f"data_dir: found {config.data_dir}, expected a ledger to write: {error}") from None
    registry, stop = CollectorRegistry(), threading.Event()
    with closing(ledger):
        try:
            with closing(
                make_aws(config.aws, Meter(ledger.charges, config.ceilings, utc_now, registry), stop)
            ) as aws:
                runner = Runner(config, aws, ledger, Store(utc_now), RunnerMetrics(registry), utc_now, stop)
                runner.discovery.ensure()
                done = runner.refresh(collector, _PATIENCE if days is None else _PATIENCE_FOR_DAYS, days)
        except KeyboardInterrupt:
            if days is not None:
                days.withdraw(ledger)  # no later run is to pay for it
            raise
        except AwsError as error:
            raise AskError(str(error)) from None
        finally:
            stop.set()
    if done.reason is not None:
        raise AskError(done.reason)
    return {**done.as_json(), "goes_on": False}
