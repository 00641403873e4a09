"""Any answer of AWS, over the wire: never a wrong number, and never `internal`.

Collectors and files of resources come from their declarations: one that is added is tried here, too.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mutations import Mutation, Unchanged, mutate
from prometheus_client import CollectorRegistry

from exporter.accounts.discovery import Directory, discover, regions_of
from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws, Backoff
from exporter.aws.errors import AwsError, Kind, classify
from exporter.aws.meter import Meter
from exporter.collection.views import sort_found
from exporter.collectors import all_collectors
from exporter.collectors.cost_export import COLLECTOR as COST_EXPORT
from exporter.config.model import Config
from exporter.core.metric import Sample
from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.declarations.collector import AnyCollector, AnyPart
from exporter.declarations.context import Context
from exporter.declarations.view import ViewContext
from exporter.ledger.file import Ledger
from exporter.resources import all_resource_files
from simulated_aws import OrganizationSpec, SimulatedAws
from simulated_aws.wire import AwsCall, Response

FILLED = datetime(2026, 5, 20, 13, tzinfo=UTC)
NOW = FILLED + timedelta(hours=7)  # a refresh and a poll are due
SPIKE = date(2026, 5, 18)
MOST_EACH = 12
"""Mutations of each operation of a unit, in the short form."""
MANY_EACH = 400

MUTATED = "answers of AWS are mutated: types, members, numbers, text, form"
HOLDS = "never a wrong number, never the kind internal"

WHAT_AWS_CAN_DO = {
    Kind.MALFORMED_RESPONSE,
    Kind.CURRENCY,
    Kind.DATA_UNAVAILABLE,
    Kind.SERVER_ERROR,
    Kind.ACCESS_DENIED,
    Kind.INVALID_REQUEST,
    Kind.NO_CREDENTIALS,
    Kind.CLOCK_SKEW,
}
"""Kinds that an answer may lead to."""


def config_of(folder: Path) -> Config:
    enabled: dict[str, dict[str, Any]] = {
        each.name: {"enabled": True} for each in all_collectors() if each is not COST_EXPORT
    }
    enabled["cost"] |= {"history_months": 3}
    enabled["cost_breakdowns"] |= {"tags": ["team"], "cost_categories": []}
    # Also the files that are read only where they are asked for.
    enabled["inventory"] |= {"services": [file.name for file in all_resource_files()]}
    return Config.model_validate({"data_dir": folder, "collectors": enabled})


def units() -> list[Any]:
    """Every unit of every collector, as it is declared."""
    config = config_of(Path("/nonexistent"))
    return [
        pytest.param(collector, part, id=part.name)
        for collector in all_collectors()
        # What an export's files may do is the subject of tests/exports.
        if collector is not COST_EXPORT
        for part in collector.units(config.settings(collector))
    ]


@dataclass
class Tampering:
    """Lets answers through, and changes those of one operation."""

    seen: dict[tuple[str, str], None]
    chosen: tuple[str, str] | None = None
    draw: random.Random | None = None
    mutation: Mutation | None = None

    def __call__(self, call: AwsCall, answer: Response) -> Response:
        operation = call.service, call.operation
        if answer.status == 200:
            self.seen[operation] = None
            if operation == self.chosen and self.draw is not None:
                with suppress(Unchanged):
                    self.mutation = mutate(call, answer, self.draw)
        return answer


class World:
    """A simulated organisation, and what a unit is read with."""

    def __init__(self, simulated: SimulatedAws, folder: Path) -> None:
        self.simulated = simulated
        self.folder = folder
        self.now = NOW
        self.config = config_of(folder)
        self.template = folder / "template.sqlite"
        Ledger(self.template).close()
        self.tampering = Tampering({})
        self.aws = self._access()
        accounts = self.config.accounts.model_copy(
            update={"discovery": "organizations", "role_name": simulated.spec.member_role}
        )
        self.accounts = accounts
        self.directory: Directory = discover(self.aws, accounts, self.config.shard)
        payer = self.directory.payer_id
        self.member = next(each for id_, each in self.directory.accounts.items() if id_ != payer)

    def _access(self) -> Aws:
        unlimited = Config.model_validate(
            {
                "ceilings": {name: {"day": None, "month": None} for name in ("cost", "usage")}
                | {"first_fill": None}
            }
        )
        meter = Meter(MemoryCharges(), unlimited.ceilings, lambda: self.now, CollectorRegistry())
        return Aws(meter, endpoint_url=self.simulated.url, simulated=True, backoff=Backoff(0.0005, 0.001))

    def target(self, collector: AnyCollector, part: AnyPart) -> Target:
        if collector.scope is Scope.PAYER or part.scope is Scope.PAYER:
            return self.directory.payer_target("us-east-1")
        return self.directory.target(self.member, "us-east-1" if part.scope is Scope.REGION else None)

    def read(self, collector: AnyCollector, part: AnyPart, ledger: Ledger) -> dict[Any, float]:
        """Read a unit once; returns every number that comes of it, by what it is of. Raises what the unit raises."""
        ctx: Context[Any] = Context(
            aws=self.aws,
            ledger=ledger,
            clock=lambda: self.now,
            accounts=self.directory.accounts,
            settings=self.config.settings(collector),
            sections=self.config.sections(),
            regions=lambda: ["us-east-1"],
            names=self.directory.names,
        )
        samples, resources, _ = sort_found(part.collect(ctx, self.target(collector, part)))
        if collector.restore is not None:
            found = collector.restore(ctx, self.target(collector, part))
            samples = found.samples if found is not None else ()
        return dict(_numbers(samples)) | dict(_of_resources(resources)) | dict(self._views(collector, ctx))

    def _views(self, collector: AnyCollector, ctx: Context[Any]) -> Iterator[tuple[Any, float]]:
        for view in collector.views:
            # What numpy computes of cost has separate tests, and takes longest.
            if view.of_resources or view.name in ("projection", "anomalies", "usage_anomalies"):
                continue
            rendered = view.render(
                ViewContext(
                    ledger=ctx.ledger,
                    now=self.now,
                    settings=ctx.settings,
                    names=ctx.names,
                    sections=ctx.sections,
                )
            )
            yield from _numbers(each for each in rendered if isinstance(each, Sample))


def _numbers(samples: Iterable[Sample]) -> Iterator[tuple[Any, float]]:
    for sample in samples:
        yield (sample.family.name, *sample.values), float(sample.value)


def _of_resources(resources: Iterable[Resource]) -> Iterator[tuple[Any, float]]:
    for resource in resources:
        for name in ("monthly_usd", "wasted_usd"):
            if (usd := getattr(resource, name)) is not None:
                yield (resource.type, resource.id, resource.region, name), float(usd)
        if resource.created is not None and not resource.first_seen:
            yield (resource.type, resource.id, resource.region, "created"), resource.created.timestamp()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    spec = OrganizationSpec(
        seed=3,
        accounts=4,
        services=6,
        days=150,
        instances=2,
        now=FILLED,  # a change is seen from when it is made
        empty_pages=False,
        regions=("us-east-1",),
    )
    with SimulatedAws(spec) as simulated, pytest.MonkeyPatch.context() as patch:
        for name, value in simulated.environment().items():
            patch.setenv(name, value)
        simulated.cost_explorer.settings.hourly = True
        account = max(simulated.accounts, key=lambda account: account.daily_usd)
        ec2 = "Amazon Elastic Compute Cloud - Compute"
        simulated.inject_spike(account.id, ec2, 4, since=SPIKE, days=1)
        made = World(simulated, tmp_path_factory.mktemp("answers"))
        _fill(made)
        simulated.tamper = made.tampering
        yield made
        simulated.tamper = None
        made.aws.close()


def _fill(world: World) -> None:
    """Read cost, and what usage lists, once: what follows them needs that."""
    ledger = Ledger(world.template)
    world.now = FILLED
    for collector in all_collectors():
        if collector.name in ("cost", "usage", "ec2_running"):
            for part in collector.units(world.config.settings(collector)):
                world.read(collector, part, ledger)
    ledger.close()
    world.now = NOW
    world.simulated.clock.set(NOW)


def outcome(world: World, collector: AnyCollector, part: AnyPart, number: int) -> dict[Any, float] | AwsError:
    """What comes of one reading of a unit, beginning with the ledger as it was filled."""
    file = world.folder / f"{part.name}-{number}.sqlite"
    shutil.copyfile(world.template, file)
    ledger = Ledger(file)
    try:
        return world.read(collector, part, ledger)
    except Exception as error:
        return classify(error, part.name)  # as collection does
    finally:
        ledger.close()
        for left in world.folder.glob(f"{file.name}*"):
            left.unlink()


def check(result: Mapping[Any, float] | AwsError, whole: Mapping[Any, float], mutation: Mutation) -> None:
    """A failure of AWS's, or numbers; those of an answer in which a number is none are the same as ever."""
    if isinstance(result, AwsError):
        assert result.kind in WHAT_AWS_CAN_DO, (
            f"{mutation.text}: {result.kind}: {result!r} {result.__cause__!r}"
        )
        return
    for key, value in result.items():
        assert math.isfinite(value), f"{mutation.text}: {key} is {value}"
    if mutation.is_typed:
        changed = {
            key: (whole[key], value) for key, value in result.items() if whole.get(key, value) != value
        }
        assert not changed, f"{mutation.text}: {changed}"


Read = Callable[[int], "dict[Any, float] | AwsError"]
"""Reads once, as the attempt of this number; returns what came of it."""


def try_mutations(world: World, name: str, read: Read, each: int) -> None:
    tampering = world.tampering
    tampering.seen, tampering.chosen = {}, None
    whole = read(0)
    assert not isinstance(whole, AwsError), f"{whole} {whole.__cause__!r}"
    operations = list(tampering.seen)
    assert operations, "nothing was asked"
    applied = 0
    for service, operation in operations:
        if operation == "AssumeRole":
            continue
        for number in range(each):
            tampering.chosen = service, operation
            tampering.draw = random.Random(f"{name} {service} {operation} {number}")
            tampering.mutation = None
            result = read(number + 1)
            if tampering.mutation is None:
                continue
            applied += 1
            check(result, whole, tampering.mutation)
    tampering.chosen = None
    assert applied >= each // 2


def try_unit(world: World, collector: AnyCollector, part: AnyPart, each: int) -> None:
    try_mutations(world, part.name, lambda number: outcome(world, collector, part, number), each)


def try_discovery(world: World, each: int) -> None:
    def read(number: int) -> dict[Any, float] | AwsError:
        try:
            found = discover(world.aws, world.accounts, world.config.shard)
            regions = regions_of(world.aws, world.member, "discover")
        except Exception as error:
            return classify(error, "account discovery")  # as collection does
        return {("account", id_): 1.0 for id_ in found.accounts} | {("region", name): 1.0 for name in regions}

    try_mutations(world, "discovery", read, each)


@pytest.mark.fault(MUTATED, HOLDS)
@pytest.mark.parametrize(("collector", "part"), units())
def test_mutated_answers(world: World, collector: AnyCollector, part: AnyPart) -> None:
    try_unit(world, collector, part, MOST_EACH)


@pytest.mark.fault(MUTATED, HOLDS)
def test_mutated_answers_to_discovery(world: World) -> None:
    try_discovery(world, MOST_EACH)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.fault(MUTATED, HOLDS)
@pytest.mark.parametrize(("collector", "part"), units())
def test_many_mutated_answers(world: World, collector: AnyCollector, part: AnyPart) -> None:
    try_unit(world, collector, part, MANY_EACH)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.fault(MUTATED, HOLDS)
def test_many_mutated_answers_to_discovery(world: World) -> None:
    try_discovery(world, MANY_EACH)
