"""What runs in the accounts: one unit for each file of exporter/resources, account and region.

A file that fails leaves the others alone. What is counted is served by each unit; what bears a
resource's id is made of all units together, the most expensive first.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial

from pydantic import Field, field_validator

from exporter.collectors import ec2_instances
from exporter.core.amounts import ChargeClass
from exporter.core.fields import CollectorSettings, Duration, Usd
from exporter.core.folding import OTHER, fold
from exporter.core.metric import Family, Folded, Sample, info_label
from exporter.core.moments import times_a_month
from exporter.core.places import Scope, Target
from exporter.core.resource import PublishedResources, Resource
from exporter.cost.settings import CostSettings
from exporter.declarations.calls import FreeCall, Scale
from exporter.declarations.collector import Collector, Part
from exporter.declarations.context import Context
from exporter.declarations.view import View, ViewContext
from exporter.inventory.first_seen import first_seen
from exporter.inventory.listing import HOURS_A_MONTH, Listing, ResourceFile
from exporter.inventory.prices import load_prices
from exporter.resources import all_resource_files
from exporter.resources.ec2 import INSTANCE

_GONE = frozenset({"terminated", "shutting-down", "deleting", "deleted", "inactive"})
NO_TAG = "*"
"""The label `tag_key` of resources that bear no tag at all."""

_WHERE = ("account_id", "account", "region", "resource_type")
_WHICH = (*_WHERE, "resource_id")

RESOURCES = Family("aws_resources", "Resources by type and state.", (*_WHERE, "state"))
UNUSED = Family(
    "aws_resources_unused",
    "Unused resources, by type and the reason to think so.",
    (*_WHERE, "reason"),
)
UNUSED_COST = Family(
    "aws_resources_unused_estimated_monthly_cost_usd",
    "List price of a month of the unused resources.",
    (*_WHERE, "reason"),
)
UNTAGGED = Family(
    "aws_resources_untagged",
    'Resources that lack a required tag; with tag_key="*" those without any tag. True per key.',
    (*_WHERE, "tag_key"),
)
RUN_RATE = Family(
    "aws_estimated_run_rate_usd_per_hour",
    "List price of an hour of what exists now, where the price is known: an estimate, not the bill.",
    _WHERE,
)
UNPRICED = Family(
    "aws_resources_unpriced",
    "Resources whose list price is not known or depends on use; no estimate holds them.",
    _WHERE,
)
SAVING = Family(
    "aws_resources_saving",
    "Resources that could be had for less: gp2_to_gp3, previous_generation, extended_support.",
    (*_WHERE, "kind"),
)
SAVING_COST = Family(
    "aws_resources_saving_estimated_monthly_usd",
    "What that would save a month at list price, where the prices are known.",
    (*_WHERE, "kind"),
)
CREATED = Family(
    "aws_resource_created_timestamp_seconds",
    "When the resource was created, or where AWS does not tell, seen first; most expensive first, limited.",
    _WHICH,
)
COST = Family(
    "aws_resource_estimated_monthly_cost_usd",
    'List price of a month of the resource; past the limit the others are summed up as resource_id="other".',
    _WHICH,
)
RATIO = Family(
    "aws_cost_realised_to_list_ratio",
    "Usage cost of the assessed day by the list price of a day of what exists now, by Cost Explorer's service.",
    ("account_id", "account", "service"),
)
PRICE_TABLE = Family(
    "aws_spend_exporter_price_table_timestamp_seconds",
    "Date of the list prices in use: when the Pricing API was read, else that of the table in the exporter.",
)


class InventorySettings(CollectorSettings):
    """Inventory of every account and region; its requests are free."""

    interval: Duration = Field(default=timedelta(hours=1), description="Time between two runs.")
    services: tuple[str, ...] = Field(
        default=(), description="Files of exporter/resources to read; empty: all but the catch-all `tagging`."
    )
    exclude: tuple[str, ...] = Field(default=(), description="Files to leave out.")
    required_tags: tuple[str, ...] = Field(default=(), description="Tag keys that each resource must bear.")
    info_tags: tuple[str, ...] = Field(
        default=(), description="Tag keys that become labels `tag_<key>` of aws_resource_info."
    )
    unused_after: Duration = Field(
        default=timedelta(days=14), description="How long stopped or untouched is unused."
    )
    snapshot_age: Duration = Field(
        default=timedelta(days=90), description="From this age on, snapshots of what is gone are unused."
    )
    series_limit: int = Field(
        default=6000, ge=100, description="Series that bear a resource's id, over all accounts."
    )
    series_limit_per_unit: int = Field(
        default=200, ge=10, description="Series of each other family, a unit (file x account x region)."
    )
    prices: dict[str, dict[str, Usd]] = Field(
        default_factory=dict,
        description='Own prices by region (or "*") and row of exporter/inventory/prices.json.',
    )

    @field_validator("services", "exclude")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [file.name for file in all_resource_files()]
        if unknown := set(value) - set(names):
            raise ValueError(f"names among {', '.join(names)}, not {', '.join(sorted(unknown))}")
        return value

    def files(self) -> list[ResourceFile]:
        """The files to read."""
        return [
            file
            for file in all_resource_files()
            if (file.name in self.services if self.services else not file.optional)
            and file.name not in self.exclude
        ]


# Units


def parts(settings: InventorySettings) -> list[Part[InventorySettings]]:
    """A part for each file."""
    return [
        Part(name=file.name, scope=file.scope, collect=partial(collect, file), offered=file.offered)
        for file in settings.files()
    ]


def collect(
    file: ResourceFile, ctx: Context[InventorySettings], target: Target
) -> Iterator[Sample | Resource | Folded]:
    """The resources of one file in one account and region, and what is counted of them."""
    now = ctx.clock()
    prices = load_prices(ctx.ledger, ctx.settings.prices, target.region)
    listing = Listing(ctx, prices, now, ctx.settings.unused_after, ctx.settings.snapshot_age)
    # A list that moves between two pages may name a resource twice.
    found = {
        (resource.type, resource.region or target.region, resource.id): resource
        for resource in file.list(listing, target)
    }
    resources = _dated(ctx, file, target, list(found.values()), now)
    yield from resources
    samples = list(_counts(target, resources, ctx.settings.required_tags))
    limit = ctx.settings.series_limit_per_unit
    yield from fold(
        [s for s in samples if s.family is not ec2_instances.INSTANCES], ("resource_type",), limit
    )
    yield from fold([s for s in samples if s.family is ec2_instances.INSTANCES], ("instance_type",), limit)


def _dated(
    ctx: Context[InventorySettings],
    file: ResourceFile,
    target: Target,
    resources: list[Resource],
    now: datetime,
) -> list[Resource]:
    undated = {f"{r.type} {r.region or ''} {r.id}": r.existed_by for r in resources if r.created is None}
    region = target.region if file.scope is Scope.REGION else ""
    since = first_seen(ctx.ledger, target.account_id, region, file.name, undated, now)
    return [
        resource
        if resource.created is not None
        else replace(
            resource,
            created=since[f"{resource.type} {resource.region or ''} {resource.id}"],
            first_seen=True,
        )
        for resource in resources
    ]


def missing_tags(resource: Resource, required: Iterable[str]) -> list[str]:
    """The required keys that a resource lacks, and "*" where it bears no tag of the user's at all."""
    if resource.tags is None:
        return []
    missing = [key for key in required if key not in resource.tags]
    if not any(not key.startswith("aws:") for key in resource.tags):
        missing.append(NO_TAG)
    return missing


def _counts(target: Target, resources: Sequence[Resource], required_tags: Iterable[str]) -> Iterator[Sample]:
    required = tuple(required_tags)
    sums: dict[tuple[Family, tuple[str, ...], str], Decimal] = {}
    for resource in resources:
        where = (target.account_id, target.account, resource.region or target.region, resource.type)
        for family, last, value in _counted(resource, required):
            sums[family, where, last] = sums.get((family, where, last), Decimal(0)) + value
    for (family, place, last), total in sums.items():
        yield Sample(family, (*place, last)[: len(family.labels)], float(total))
    instances = [
        (resource.subtype, resource.state, resource.lifecycle)
        for resource in resources
        if resource.type == INSTANCE
    ]
    yield from ec2_instances.samples(target, Counter(instances))


def _counted(resource: Resource, required_tags: Sequence[str]) -> Iterator[tuple[Family, str, Decimal | int]]:
    """Families that a resource counts in, with the last label and what it adds: 1, or dollars."""
    yield RESOURCES, resource.state, 1
    if resource.state in _GONE:
        return
    if resource.monthly_usd is None:
        yield UNPRICED, "", 1
    else:
        yield RUN_RATE, "", resource.monthly_usd / HOURS_A_MONTH
    if resource.unused_reason:
        yield UNUSED, resource.unused_reason, 1
        if resource.wasted_usd is not None:
            yield UNUSED_COST, resource.unused_reason, resource.wasted_usd
    for key in missing_tags(resource, required_tags):
        yield UNTAGGED, key, 1
    for saving in resource.savings:
        yield SAVING, saving.kind, 1
        if saving.monthly_usd is not None:
            yield SAVING_COST, saving.kind, saving.monthly_usd


# Views


def _held(view: ViewContext[InventorySettings]) -> list[PublishedResources]:
    return [held for held in view.published_resources() if held.unit.startswith(f"{COLLECTOR.name}_")]


def read_at(view: ViewContext[InventorySettings]) -> datetime | None:
    """When a unit was read last."""
    return max((held.read_at for held in _held(view)), default=None)


def info_family(tags: Iterable[str]) -> Family:
    """`aws_resource_info` with the tags that are labels."""
    labels = dict.fromkeys(info_label(key) for key in tags)
    return Family(
        "aws_resource_info",
        "1 for each resource, with its name and the configured tags; most expensive first, limited.",
        (*_WHICH, "name", *labels),
    )


def render_detail(view: ViewContext[InventorySettings]) -> Iterator[Sample | Folded]:
    """What bears a resource's id: as much of it as the limit allows, the most expensive first."""
    settings: InventorySettings = view.settings
    family = info_family(settings.info_tags)
    everything = [
        (resource.monthly_usd or Decimal(0), index, resource.id, held, resource)
        for index, held in enumerate(_held(view))
        for resource in held.resources
        if resource.state not in _GONE
    ]
    priced = {_group(held, resource) for *_, held, resource in everything if resource.monthly_usd is not None}
    chosen, rest = everything, []
    if 3 * len(everything) > settings.series_limit:
        sums = min(len(priced), settings.series_limit // 4)
        count = (settings.series_limit - sums) // 3
        chosen = heapq.nlargest(count, everything, key=lambda item: (item[0], -item[1], item[2]))
        taken = {id(item) for item in chosen}
        rest = [item for item in everything if id(item) not in taken]
    for *_, held, resource in chosen:
        yield from _detail(family, held, resource, settings.info_tags)
    yield PRICE_TABLE(load_prices(view.ledger, settings.prices).as_of.timestamp())
    if not rest:
        return
    others: defaultdict[tuple[str, ...], Decimal] = defaultdict(Decimal)
    lost = 0
    for *_, held, resource in rest:
        lost += 2 + (resource.monthly_usd is not None)
        if resource.monthly_usd is not None:
            others[_group(held, resource)] += resource.monthly_usd
    summed = [Sample(COST, (*group, OTHER), float(usd)) for group, usd in others.items()]
    yield Folded(lost)
    yield from (
        each
        for each in fold(summed, ("account_id", "account", "region"), settings.series_limit // 4)
        if isinstance(each, Sample)
    )


def _group(held: PublishedResources, resource: Resource) -> tuple[str, str, str, str]:
    return held.account_id, held.account, resource.region or held.region, resource.type


def _detail(
    family: Family, held: PublishedResources, resource: Resource, tags: Sequence[str]
) -> Iterator[Sample]:
    which = (*_group(held, resource), resource.id)
    labels: dict[str, str] = {}
    for key in tags:
        # Keys that differ only in signs share a label: the first that is there counts.
        labels.setdefault(info_label(key), "")
        labels[info_label(key)] = labels[info_label(key)] or (resource.tags or {}).get(key, "")
    yield Sample(family, (*which, resource.name, *labels.values()), 1.0)
    if resource.created is not None:
        yield Sample(CREATED, which, resource.created.timestamp())
    if resource.monthly_usd is not None:
        yield Sample(COST, which, float(resource.monthly_usd))


def render_ratio(view: ViewContext[InventorySettings]) -> Iterator[Sample]:
    """Realised by list price where a service of Cost Explorer pays for what was read in full."""
    day = view.ledger.cost.assessed_day(view.now)
    if day is None:
        return
    files = {f"{COLLECTOR.name}_{file.name}": file for file in all_resource_files()}
    listed: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    names: dict[str, str] = {}
    for held in _held(view):
        names[held.account_id] = held.account
        for resource in held.resources:
            service = files[held.unit].cost_services.get(resource.type) if held.unit in files else None
            if service and resource.monthly_usd is not None:
                listed[held.account_id, service] += resource.monthly_usd / HOURS_A_MONTH * 24
    partly = set(_partly_listed(view, files, listed))
    costs = _usage_costs(view, day)
    for (account_id, service), usd in listed.items():
        cost = costs.get((account_id, service))
        if usd > 0 and cost is not None and (account_id, service) not in partly:
            yield RATIO(cost / usd, account_id=account_id, account=names[account_id], service=service)


def _partly_listed(
    view: ViewContext[InventorySettings], files: Mapping[str, ResourceFile], listed: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Pairs of account id and service of which a unit fails."""
    for unit, account_id in set(view.failing()):
        if unit in files:
            yield from ((account_id, service) for service in files[unit].cost_services.values())
        elif unit == COLLECTOR.name:  # its regions are not known
            yield from (pair for pair in listed if pair[0] == account_id)


def _usage_costs(view: ViewContext[InventorySettings], day: date) -> Mapping[tuple[str, str], Decimal]:
    """What usage cost on a day, in USD by account id and service."""
    cost_type = view.sections.of(CostSettings).cost_type
    costs: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in view.ledger.cost.rows(day, day + timedelta(days=1)):
        if row.charge_class is ChargeClass.USAGE:
            costs[row.account_id, row.service] += getattr(row.amounts, cost_type)
    return costs


def free_calls(settings: InventorySettings, scale: Scale) -> Iterator[FreeCall]:
    """Requests of a 30-day month by file; CloudTrail records each."""
    runs = times_a_month(settings.interval)
    for file in settings.files():
        targets = scale.accounts * (scale.regions if file.scope is Scope.REGION else 1)
        for call in file.calls:
            assumed = f" ({call.each} assumed)" if call.each > 1 else ""
            where = "account and region" if file.scope is Scope.REGION else "account"
            note = f"{call.note}{assumed}, each {where} and run"
            service = "resourcegroupstaggingapi" if call.operation == "GetResources" else file.service
            yield FreeCall(
                service=service, operation=call.operation, per_month=runs * targets * call.each, note=note
            )


def _iam_actions() -> tuple[str, ...]:
    return tuple(sorted({action for file in all_resource_files() for action in file.iam_actions}))


COLLECTOR = Collector(
    name="inventory",
    help="Resources of every account and region: what runs, since when, its list price, and what is unused.",
    scope=Scope.REGION,
    settings=InventorySettings,
    families=(
        RESOURCES,
        UNUSED,
        UNUSED_COST,
        UNTAGGED,
        RUN_RATE,
        UNPRICED,
        SAVING,
        SAVING_COST,
        ec2_instances.INSTANCES,
    ),
    iam_actions=_iam_actions(),
    views=(
        View(
            name="inventory_detail",
            families=(info_family(()), CREATED, COST, PRICE_TABLE),
            render=render_detail,
            read_at=read_at,
            of_resources=True,
        ),
        View(
            name="inventory_ratio", families=(RATIO,), render=render_ratio, read_at=read_at, of_resources=True
        ),
    ),
    free_calls=free_calls,
    parts=parts,
    replaces=("ec2_instances",),
)
