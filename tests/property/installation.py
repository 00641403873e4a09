"""What an exporter has over a simulated organization: a ledger, paid requests, and collectors that are run by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.aws.clients import Aws
from exporter.aws.meter import Meter
from exporter.aws.settings import Ceiling, CeilingSettings
from exporter.core.places import Account, Target
from exporter.declarations.context import Context
from exporter.ledger.file import Ledger
from simulated_aws import SimulatedAws

UNLIMITED = CeilingSettings(cost=Ceiling(day=None, month=None), first_fill=None)


@dataclass
class Installation:
    """One installation; `close` and `open` are a kill and the start after it."""

    simulator: SimulatedAws
    path: Path

    ceilings = UNLIMITED

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.ledger = Ledger(self.path)
        meter = Meter(self.ledger.charges, self.ceilings, self.simulator.clock.now, CollectorRegistry())
        self.aws = Aws(meter, endpoint_url=self.simulator.url, simulated=True, read_timeout=120)

    def close(self) -> None:
        self.aws.close()
        self.ledger.close()

    @property
    def now(self) -> datetime:
        return self.simulator.clock.now()

    def context(self, settings: Any, **more: Any) -> tuple[Context[Any], Target]:
        """What a collector of the payer is given."""
        payer = Account(self.simulator.payer_id, "payer")
        context: Context[Any] = Context(
            aws=self.aws,
            ledger=self.ledger,
            clock=self.simulator.clock.now,
            accounts={payer.id: payer},
            settings=settings,
            **more,
        )
        return context, Target(payer.id, payer.name, "us-east-1")
