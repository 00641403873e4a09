"""The exporter's inventory in this process, over HTTP against a simulated AWS."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from exporter.aws.meter import Meter
from exporter.aws.settings import make_aws
from exporter.collection.metrics import RunnerMetrics
from exporter.collection.runner import Runner
from exporter.collection.store import Store
from exporter.collectors import all_collectors
from exporter.config.model import Config
from exporter.core.resource import PublishedResources, Resource
from exporter.declarations.collector import Collector
from exporter.ledger.file import Ledger
from simulated_aws import OrganizationSpec, SimulatedAws

MEMBER_ROLE = "aws-spend-exporter-member"


@dataclass(frozen=True)
class RemoteAws:
    """A simulated AWS in another process, as far as a `World` needs it."""

    url: str
    variables: Mapping[str, str]
    spec: OrganizationSpec
    pid: int

    def environment(self) -> Mapping[str, str]:
        return self.variables


class World:
    """One configuration; `now` is the time that the exporter goes by."""

    aws: SimulatedAws

    def __init__(
        self, folder: Path, aws: SimulatedAws | RemoteAws, inventory: Mapping[str, Any], **more: Any
    ) -> None:
        self.now = aws.spec.now or datetime.now(UTC)
        if isinstance(aws, SimulatedAws):
            self.aws = aws
        names = [collector.name for collector in all_collectors()]
        self.config = Config.model_validate(
            {
                "data_dir": folder,
                "aws": {"endpoint_url": aws.url, "read_timeout": "1m", "threads": 8},
                "accounts": {"discovery": "organizations", "role_name": MEMBER_ROLE},
                "regions": list(aws.spec.regions),
                # What is compared with the truth is what was found; test_inventory_limits.py folds it.
                "series": {"per_account": 100_000, "total": 1_000_000},
                "collectors": {name: {"enabled": False} for name in names}
                | {"inventory": {"enabled": True, **inventory}, **more.pop("collectors", {})},
                **more,
            }
        )
        self.registry = CollectorRegistry()
        self.ledger = Ledger(self.config.ledger_path)
        self.store = Store(lambda: self.now)
        meter = Meter(self.ledger.charges, self.config.ceilings, lambda: self.now, self.registry)
        self.stop = threading.Event()
        self.client = make_aws(self.config.aws, meter, self.stop)
        self.runner = Runner(
            self.config,
            self.client,
            self.ledger,
            self.store,
            RunnerMetrics(self.registry),
            lambda: self.now,
            self.stop,
        )

    def collector(self, name: str = "inventory") -> Collector:
        return next(each for each in all_collectors() if each.name == name)

    def collect(self, name: str = "inventory") -> int:
        """One run; the units that failed."""
        return self.runner.collect_now(self.collector(name))

    def held(self, unit: str, account_id: str, region: str = "") -> PublishedResources | None:
        found = [
            held
            for held in self.store.published_resources()
            if (held.unit, held.account_id, held.region) == (f"inventory_{unit}", account_id, region)
        ]
        return found[0] if found else None

    def resources(self, account_id: str, region: str) -> dict[tuple[str, str], Resource]:
        """Everything in one account and region, by type and id."""
        return {
            (resource.type, resource.id): resource
            for held in self.store.published_resources()
            if held.account_id == account_id
            for resource in held.resources
            if (resource.region or held.region) == region
        }

    def samples(self) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
        """What is served: values by labels, by name."""
        found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
        for family in text_string_to_metric_families(self.store.exposition()[0].decode()):
            for sample in family.samples:
                found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
        return found

    def total(self, name: str, **labels: str) -> float:
        """The sum of a family over series with these labels."""
        wanted = set(labels.items())
        return sum(value for have, value in self.samples().get(name, {}).items() if wanted <= have)

    def requests(self) -> float:
        """AWS requests that were sent."""
        return sum(
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "aws_spend_exporter_api_requests_total"
        )

    def failures(self) -> set[tuple[str, str, str, str]]:
        """Failing units: unit, account, region and kind."""
        directory = self.runner.directory
        assert directory is not None
        return {
            (key.unit, directory.names[key.account_id], key.region, kind)
            for key, kind in self.store.failures()
        }

    def close(self) -> None:
        self.stop.set()
        self.runner.stop(5)
        self.client.close()
        self.ledger.close()


@contextmanager
def world_of(
    folder: Path, aws: SimulatedAws | RemoteAws, inventory: Mapping[str, Any] | None = None, **more: Any
) -> Iterator[World]:
    world = World(folder, aws, inventory or {}, **more)
    try:
        yield world
    finally:
        world.close()
