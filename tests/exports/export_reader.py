"""Reads exports of a simulated organisation into a ledger, attempt by attempt, at the simulation's time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.aws.clients import Aws, Backoff
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import Meter
from exporter.aws.settings import Ceiling, CeilingSettings
from exporter.collectors import cost, cost_breakdowns, cost_export
from exporter.core.amounts import AMOUNTS
from exporter.core.metric import Sample
from exporter.core.money import to_usd
from exporter.core.places import Account, Target
from exporter.cost.settings import CostSettings
from exporter.cube import values
from exporter.cube.dimensions import parse_dimension
from exporter.cube.months import CubeMonth, CubeMonths
from exporter.cube.settings import CostBreakdownsSettings
from exporter.declarations.context import Context
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.exports.settings import CostExportSettings
from exporter.ledger.file import Ledger
from simulated_aws import SimulatedAws
from simulated_aws.exports.definition import Export

METRICS = dict(
    zip(
        AMOUNTS,
        ("UnblendedCost", "BlendedCost", "AmortizedCost", "NetUnblendedCost", "NetAmortizedCost"),
        strict=True,
    )
)
DAY = timedelta(days=1)
KEPT = CostBreakdownsSettings(tags=("team", "environment"), cost_categories=("CostCenter",), values=10_000)


class Reader:
    """One ledger that an export is read into."""

    def __init__(
        self, aws: SimulatedAws, data_dir: Path, cost_settings: Mapping[str, Any] = {}, **settings: Any
    ) -> None:
        self.aws = aws
        self.ledger = Ledger(data_dir / "ledger.sqlite")
        self.payer = Account(aws.payer_id, "payer")
        self.target = Target(self.payer.id, self.payer.name, "us-east-1")
        unlimited = CeilingSettings(cost=Ceiling(day=None, month=None), first_fill=None)
        self.client = Aws(
            Meter(self.ledger.charges, unlimited, aws.clock.now, CollectorRegistry()),
            endpoint_url=aws.url,
            simulated=True,
            read_timeout=120,  # the first request writes a whole export
            backoff=Backoff(first=0.001, longest=0.001),
        )
        self.commits = 0
        self.kept = KEPT
        self.settings = CostExportSettings.model_validate({"enabled": True, "export": "cost", **settings})
        self.cost_settings = CostSettings.model_validate({"source": "data_export", **cost_settings})

    def context(self, settings: Any) -> Context[Any]:
        def committed() -> None:
            self.commits += 1

        return Context(
            aws=self.client,
            ledger=self.ledger,
            clock=self.aws.clock.now,
            accounts={self.payer.id: self.payer},
            settings=settings,
            committed=committed,
            sections=Sections(self.cost_settings, self.kept, self.settings),
        )

    def read(self) -> None:
        """One attempt of the collector; AwsError if it fails."""
        list(cost_export.collect(self.context(self.settings), self.target))

    def read_cost_explorer(self) -> None:
        """One attempt of the collector of Cost Explorer's cost."""
        context = self.context(self.cost_settings)
        if not cost.COLLECTOR.rests(context.sections):
            list(cost.collect(context, self.target))

    def read_breakdowns(self) -> None:
        """One attempt of the collector of Cost Explorer's cost by dimensions."""
        list(cost_breakdowns.collect(self.context(self.kept), self.target))

    def wait(self) -> timedelta:
        """How long from now the next look is due."""
        return cost_export.due(self.context(self.settings), self.target) - self.aws.clock.now()

    def month(self, month: date) -> CubeMonth | None:
        return CubeMonths(self.ledger).all().get(month)

    def samples(self) -> list[Sample]:
        """What the collector's view serves."""
        view = ViewContext(
            ledger=self.ledger,
            now=self.aws.clock.now(),
            settings=self.settings,
            names={},
            sections=Sections(),
        )
        return list(cost_export.render(view))

    def cost(self, start: date, end: date, cost_type: str) -> dict[tuple[str, str, str], Decimal]:
        """Of the ledger, by day, account and service, without zeros."""
        found = {}
        for row in self.ledger.cost.rows(start, end):
            key = (row.day.isoformat(), row.account_id, row.service)
            found[key] = found.get(key, Decimal(0)) + getattr(row.amounts, cost_type)
        return {key: usd for key, usd in found.items() if usd}

    def values(
        self, name: str, beside: values.Beside, start: date, end: date, cost_type: str
    ) -> dict[tuple[str, str, str], Decimal]:
        """The values of one dimension, by day, account or service, and key, without zeros."""
        found = values.sums(self.ledger, parse_dimension(name), beside, start, end, cost_type, by_day=True)
        return {
            (day.isoformat(), subject, value): to_usd(units)
            for (day, subject, value), units in found.items()
            if units and day is not None
        }

    def close(self) -> None:
        self.client.close()
        self.ledger.close()


def refused(reader: Reader, kind: Kind, *texts: str) -> str:
    """The reason for which an attempt fails."""
    with pytest.raises(AwsError) as caught:
        reader.read()
    assert caught.value.kind is kind, caught.value
    for text in texts:
        assert text in str(caught.value)
    return str(caught.value)


def create(aws: SimulatedAws, **definition: Any) -> Export:
    """An export of days, from whose columns all cost types follow."""
    return aws.exports.create(**({"manual_discounts": True, "hourly": False} | definition))


@contextmanager
def reading(aws: SimulatedAws, data_dir: Path, **settings: Any) -> Iterator[Reader]:
    """A reader that is closed."""
    reader = Reader(aws, data_dir, **settings)
    try:
        yield reader
    finally:
        reader.close()


def truth(
    aws: SimulatedAws, start: date, end: date, cost_type: str, *by: str
) -> dict[tuple[str, ...], Decimal]:
    """What the last delivery of the export holds, by Cost Explorer's figures, without zeros."""
    found = aws.truth.totals(start, end, aws.exports.refreshed("cost"), by, METRICS[cost_type])
    return {key: usd for key, usd in found.items() if usd}
