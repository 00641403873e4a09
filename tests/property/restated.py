"""An exporter of cost and its dated history over a simulated AWS whose days are restated, stepped by a moved clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from recording_endpoint import RecordingEndpoint

from exporter.aws.clients import Aws
from exporter.aws.meter import Meter
from exporter.aws.settings import Ceiling, CeilingSettings
from exporter.collectors import cost
from exporter.core.amounts import ChargeClass
from exporter.core.exposition import render
from exporter.core.moments import month_start
from exporter.core.places import Account, Target
from exporter.declarations.context import Context
from exporter.declarations.view import ViewContext
from exporter.history.endpoint import RemoteWriteEndpoint
from exporter.history.sample_timestamps import Stamps
from exporter.history.settings import HistorySettings
from exporter.history.writer import HistoryMetrics, HistoryWriter
from exporter.ledger.file import Ledger
from simulated_aws import ExplicitCost, OrganizationSpec, SimulatedAws

DAY = timedelta(days=1)
SERVICES = ("AmazonCloudWatch", "AWS Lambda", "Amazon Simple Storage Service", "Amazon DynamoDB")
UNLIMITED = CeilingSettings(cost=Ceiling(day=None, month=None), first_fill=None)

By = dict[tuple[date, str, str], Decimal]
"""USD by day, account id and service; without zeros."""


@dataclass
class Restated:
    """One installation; `rows` are what AWS holds, and change by `restate`."""

    simulator: SimulatedAws
    ledger: Ledger
    endpoint: RecordingEndpoint
    settings: cost.CostSettings
    ceilings: CeilingSettings
    rows: list[ExplicitCost]
    path: Path
    committed: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.history_settings = HistorySettings.model_validate({"write_url": self.endpoint.write_url})
        self.connection = RemoteWriteEndpoint(self.history_settings)
        self._open()

    def _open(self) -> None:
        clock = self.simulator.clock.now
        meter = Meter(self.ledger.charges, self.ceilings, clock, CollectorRegistry())
        self.aws = Aws(meter, endpoint_url=self.simulator.url, simulated=True)
        self.writer = HistoryWriter(
            self.history_settings,
            self.settings.cost_type,
            Stamps(self.ledger),
            self.connection,
            clock,
            HistoryMetrics(CollectorRegistry()),
        )

    def restart(self) -> None:
        """As after a kill: what is not in the ledger's file is lost."""
        self.aws.close()
        self.ledger.close()
        self.ledger = Ledger(self.path)
        self._open()

    def close(self) -> None:
        self.aws.close()
        self.connection.close()
        self.ledger.close()

    @property
    def now(self) -> datetime:
        return self.simulator.clock.now()

    @property
    def first(self) -> date:
        """The first day of the history."""
        return month_start(self.now.date(), self.settings.history_months)

    @property
    def account_ids(self) -> tuple[str, ...]:
        return tuple(account.id for account in self.simulator.accounts)

    def context(self) -> tuple[Context[Any], Target]:
        payer = Account(self.simulator.payer_id, "payer")
        context: Context[Any] = Context(
            aws=self.aws,
            ledger=self.ledger,
            clock=self.simulator.clock.now,
            accounts={payer.id: payer},
            settings=self.settings,
            committed=self.committed,
        )
        return context, Target(payer.id, payer.name, "us-east-1")

    def collect(self) -> None:
        cost.collect(*self.context())

    def run(self, until: datetime) -> None:
        """Collect whenever that is due, as the exporter would, and write the history after each."""
        while self.now <= until:
            self.collect()
            self.writer.write()
            self.simulator.clock.set(max(cost.due(*self.context()), self.now + timedelta(minutes=1)))
        self.simulator.clock.set(until)

    def queries(self, granularity: str) -> int:
        """Requests of Cost Explorer so far."""
        return sum(
            entry.params.get("Granularity") == granularity
            for entry in self.simulator.requests.entries()
            if entry.service == "ce"
        )

    def restate(self, changes: Iterable[tuple[date, str, str, str, Decimal]]) -> None:
        """From now on, days have so much more by day, account id, service and record type."""
        self.rows += [
            ExplicitCost(
                day,
                account_id,
                service,
                {"UnblendedCost": usd},
                record_type=record_type,
                usage_type=f"Restated {self.now.isoformat()} {number}",
                visible_from=self.now,
            )
            for number, (day, account_id, service, record_type, usd) in enumerate(changes)
        ]
        self.simulator.set_costs(self.rows)

    # What is true, and what stands where

    def served(self, family: str) -> dict[tuple[str, ...], float]:
        """The values of a family in a scrape by account id and service, without zeros."""
        view = ViewContext(ledger=self.ledger, now=self.now, settings=self.settings, names={})
        return {
            (sample.labels["account_id"], sample.labels["service"]): sample.value
            for metric in text_string_to_metric_families("".join(render(cost.render(view)).values()))
            for sample in metric.samples
            if sample.name == family and sample.value
        }

    def truth(self, record_types: Callable[[str], bool] = lambda _: True) -> By:
        totals = self.simulator.truth.totals(
            self.first,
            self.now.date(),
            by=("day", "account", "service"),
            where=lambda key: record_types(key.record_type),
        )
        return {(date.fromisoformat(d), a, s): usd for (d, a, s), usd in totals.items() if usd}

    def held(self, charge_class: ChargeClass | None = None) -> By:
        found: defaultdict[tuple[date, str, str], Decimal] = defaultdict(Decimal)
        for row in self.ledger.cost.rows(self.first, self.now.date()):
            if charge_class in (None, row.charge_class):
                found[row.day, row.account_id, row.service] += row.amounts.unblended
        return {key: usd for key, usd in found.items() if usd}

    def written(self) -> Mapping[tuple[date, str, str], float]:
        newest: dict[tuple[date, str, str], float] = {}
        for (account_id, service, stamp), value in sorted(
            self.endpoint.by_stamp().items(), key=lambda item: item[0][2]
        ):
            newest[datetime.fromtimestamp(stamp / 1000, UTC).date(), account_id, service] = value
        return {key: value for key, value in newest.items() if value and key[0] >= self.first}


def base_rows(account_ids: Iterable[str], first: date, end: date) -> list[ExplicitCost]:
    """Usage on each day of each service in each account, and tax on the first of each month."""
    rows = []
    for number, account_id in enumerate(account_ids):
        for position, service in enumerate(SERVICES):
            day = first
            while day < end:
                usd = Decimal(100 + 10 * number + position) + Decimal(day.toordinal() % 7)
                rows.append(ExplicitCost(day, account_id, service, {"UnblendedCost": usd}))
                day += DAY
        month = first
        while month < end:
            rows.append(
                ExplicitCost(month, account_id, "Tax", {"UnblendedCost": Decimal(33)}, record_type="Tax")
            )
            month = month_start(month, -1)
    return rows


@contextmanager
def restated(
    folder: Path,
    patch: pytest.MonkeyPatch,
    now: datetime,
    *,
    accounts: int = 4,
    settings: Mapping[str, Any] | None = None,
    ceilings: CeilingSettings = UNLIMITED,
    groups_per_page: int = 500,
    days_ahead: int = 120,
) -> Iterator[Restated]:
    """An installation whose history is filled at `now`."""
    spec = OrganizationSpec(seed=3, accounts=accounts, services=2, groups_per_page=groups_per_page, now=now)
    with SimulatedAws(spec, costs=()) as simulator, closing(RecordingEndpoint()) as endpoint:
        for name, value in simulator.environment().items():
            patch.setenv(name, value)
        ids = tuple(account.id for account in simulator.accounts)
        first = month_start(now.date(), 14)
        rows = base_rows(ids, first, now.date() + days_ahead * DAY)
        # Days are booked as they end: what is to come costs nothing yet.
        rows = [
            replace(row, visible_from=datetime(row.day.year, row.day.month, row.day.day, 20, tzinfo=UTC))
            for row in rows
        ]
        simulator.set_costs(rows)
        path = folder / "ledger.sqlite"
        made = Restated(
            simulator,
            Ledger(path),
            endpoint,
            cost.CostSettings.model_validate({"refresh": "scan", **(settings or {})}),
            ceilings,
            rows,
            path,
        )
        try:
            made.run(now)
            yield made
        finally:
            made.close()
