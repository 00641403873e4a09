"""A runner with one collector of a test, and what it reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from exporter.accounts.discovery import Directory
from exporter.collection.due import Patience
from exporter.collection.metrics import RunnerMetrics
from exporter.collection.runner import Runner
from exporter.collection.store import Store
from exporter.config.model import Config
from exporter.core.fields import CollectorSettings
from exporter.core.metric import Family, Sample
from exporter.core.places import Account, Scope, Target
from exporter.declarations.collector import Collector
from exporter.declarations.view import View
from exporter.ledger.file import Ledger

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
FAMILY = Family("test_value", "A value.", ("account_id", "region"))
ACCOUNTS = {id_: Account(id_, f"name-{id_}") for id_ in ("111111111111", "222222222222", "333333333333")}


class NoAws:
    """Nothing here reaches AWS."""

    region = "us-east-1"


@dataclass
class World:
    """A runner with one collector of the test, and what it reads."""

    tmp_path: Path
    collect: Callable[[Any, Target], Iterable[Sample]] = lambda ctx, target: ()
    due: Callable[[Any, Target], datetime] | None = None
    scope: Scope = Scope.ACCOUNT
    views: tuple[View, ...] = ()
    more: tuple[Collector, ...] = ()
    """Further collectors, of names that the configuration has; each is enabled."""
    accounts: dict[str, Account] = field(default_factory=lambda: dict(ACCOUNTS))
    discovery_error: Exception | None = None
    discoveries: int = 0
    regions_error: Exception | None = None
    patience: Patience = field(default_factory=Patience)
    free_bytes: int = 1 << 40
    name: str = "cost"
    """One that the configuration has; the interval of one that is free may be short."""
    interval: str = "1h"
    threads: int = 16
    ceilings: dict[str, Any] = field(default_factory=dict)
    now: datetime = NOW
    stop: threading.Event = field(default_factory=threading.Event)

    def discover(self, *_: Any) -> Directory:
        self.discoveries += 1
        if self.discovery_error is not None:
            raise self.discovery_error
        names = {account.id: account.name for account in self.accounts.values()}
        return Directory("111111111111", "aws", dict(self.accounts), names)

    def regions(self, *_: Any) -> tuple[str, ...]:
        if self.regions_error is not None:
            raise self.regions_error
        return ("eu-west-1", "us-east-1")

    def runner(self) -> Runner:
        self.collector = Collector(
            name=self.name,
            help="",
            scope=self.scope,
            settings=CollectorSettings,
            families=(FAMILY,),
            iam_actions=(),
            collect=lambda ctx, target: self.collect(ctx, target),
            due=self.due,
            views=self.views,
        )
        self.ledger = Ledger(self.tmp_path / "ledger.sqlite")
        self.registry = CollectorRegistry()
        self.store = Store(lambda: self.now)
        self.made = Runner(
            Config.model_validate(
                {
                    "collectors": {
                        self.name: {"enabled": True, "interval": self.interval},
                        **{each.name: {"enabled": True} for each in self.more},
                    },
                    "aws": {"threads": self.threads},
                    "ceilings": self.ceilings,
                }
            ),
            NoAws(),  # type: ignore[arg-type]
            self.ledger,
            self.store,
            RunnerMetrics(self.registry),
            lambda: self.now,
            self.stop,
            allow_plan_over_ceiling=True,  # what the plan says is not under test here
            collectors=(self.collector, *self.more),
            discover=self.discover,
            regions_of=self.regions,
            patience=self.patience,
            free_bytes=lambda folder: self.free_bytes,
        )
        return self.made

    def errors(self, kind: str, collector: str = "cost") -> float:
        labels = {"collector": collector, "kind": kind}
        return self.registry.get_sample_value("aws_spend_exporter_collector_errors_total", labels) or 0.0


def value(target: Target, value: float = 1) -> Sample:
    return FAMILY(value, account_id=target.account_id, region=target.region)
