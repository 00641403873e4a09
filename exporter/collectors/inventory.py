"""What runs in the accounts: one unit for each file of exporter/resources, account and region.

A file that fails leaves the others alone. A unit keeps its resources; what is served is made of all units of
one account at a time, within the account's share of series: see `exporter.core.folding`.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from weakref import WeakKeyDictionary

from pydantic import Field, field_validator

from exporter.aws.errors import reading
from exporter.collectors import ec2_instances
from exporter.core.amounts import ChargeClass
from exporter.core.fields import CollectorSettings, Duration, Usd
from exporter.core.folding import OTHER, GroupFold
from exporter.core.metric import Family, Folded, Sample, info_label
from exporter.core.moments import times_a_month
from exporter.core.places import Scope, Target
from exporter.core.resource import PublishedResources, Resource, Sharing
from exporter.cost.settings import CostSettings
from exporter.declarations.calls import FreeCall, Scale
from exporter.declarations.collector import Collector, Part
from exporter.declarations.context import Context
from exporter.declarations.view import View, ViewContext
from exporter.inventory.first_seen import first_seen
from exporter.inventory.listing import HOURS_A_MONTH, Listing, ResourceFile
from exporter.inventory.prices import load_prices
from exporter.ledger.file import Ledger
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
    is_summable=False,
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
    is_summable=False,
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
        Part(
            name=file.name,
            scope=file.scope,
            collect=partial(collect, file),
            offered=file.offered,
            check=file.check,
        )
        for file in settings.files()
    ]


def collect(file: ResourceFile, ctx: Context[InventorySettings], target: Target) -> Iterator[Resource]:
    """The resources of one file in one account and region."""
    now = ctx.clock()
    prices = load_prices(ctx.ledger, ctx.settings.prices, target.region)
    listing = Listing(ctx, prices, now, ctx.settings.unused_after, ctx.settings.snapshot_age)
    # A list that moves between two pages may name a resource twice.
    with reading(f"an answer about {file.name}"):
        found = {
            (resource.type, resource.region or target.region, resource.id): resource
            for resource in file.list(listing, target)
        }
    sharing = Sharing()
    yield from map(sharing.share, _dated(ctx, file, target, list(found.values()), now))


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


_BY_TYPE = GroupFold(
    label="resource_type",
    steps=(
        ("region",),
        ("region", "resource_type"),
        ("region", "resource_type", "state", "reason", "kind"),
    ),
)
_BY_INSTANCE_TYPE = GroupFold(
    label="instance_type",
    steps=(("region",), ("region", "instance_type"), ("region", "instance_type", "state", "lifecycle")),
)
# Of an account's series: as many go to EC2's instance types, to the detail at least, and to the ratios at most.
_INSTANCES_PART, _DETAIL_PART, _RATIO_PART = 8, 3, 10
_FAMILIES_OF_A_RESOURCE = 3
_STEP = 4  # of the number of resources with a series, so that one type more does not move it


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
        is_summable=False,
    )


def render(view: ViewContext[InventorySettings]) -> Iterator[Sample | Folded]:
    """What the units of one account have found, in as many series as the account has for it.

    Types are folded as a whole, the cheapest first: their regions, then their names. The most expensive
    resources have separate series; the others are one sum.
    """
    found = _held(view)
    if not found:
        return
    newest = max(found, key=lambda held: held.read_at)
    account = newest.account_id, newest.account
    counts, importance = _counts(account, found, view.settings.required_tags)
    instances, instance_importance = _instances(account, found)
    there = [
        (resource.monthly_usd or Decimal(0), index, resource.id, held, resource)
        for index, held in enumerate(found)
        for resource in held.resources
        if resource.state not in _GONE
    ]
    limit = view.account_series - view.account_series // _RATIO_PART
    served = yield from view.folded(
        "instances", account[0], _BY_INSTANCE_TYPE, instances, limit // _INSTANCES_PART, instance_importance
    )
    limit -= served
    least = min(_FAMILIES_OF_A_RESOURCE * len(there), limit // _DETAIL_PART)
    limit -= yield from view.folded("types", account[0], _BY_TYPE, counts, limit - least, importance)
    yield from _detail(account, there, max(limit, least), view.settings.info_tags)


def _counts(
    account: tuple[str, str], found: Sequence[PublishedResources], required_tags: Iterable[str]
) -> tuple[list[Sample], dict[str, tuple[Decimal, int]]]:
    """What is counted of an account's resources; and by type the list price of a month, and how many there are."""
    required = tuple(required_tags)
    sums: dict[tuple[Family, tuple[str, ...], str], Decimal] = {}
    importance: defaultdict[str, tuple[Decimal, int]] = defaultdict(lambda: (Decimal(0), 0))
    for held in found:
        for resource in held.resources:
            where = (*account, resource.region or held.region, resource.type)
            usd, count = importance[resource.type]
            importance[resource.type] = usd + (resource.monthly_usd or 0), count + 1
            for family, last, value in _counted(resource, required):
                sums[family, where, last] = sums.get((family, where, last), Decimal(0)) + value
    samples = [
        Sample(family, (*place, last)[: len(family.labels)], float(total))
        for (family, place, last), total in sums.items()
    ]
    return samples, importance


def _instances(
    account: tuple[str, str], found: Sequence[PublishedResources]
) -> tuple[list[Sample], Counter[str]]:
    """EC2 instances of an account, and how many there are of each type."""
    by_region: defaultdict[str, Counter[tuple[str, str, str]]] = defaultdict(Counter)
    types: Counter[str] = Counter()
    for held in found:
        for resource in held.resources:
            if resource.type == INSTANCE:
                kind = resource.subtype, resource.state, resource.lifecycle
                by_region[resource.region or held.region][kind] += 1
                types[resource.subtype] += 1
    return [
        sample
        for region, counts in by_region.items()
        for sample in ec2_instances.samples(Target(*account, region), counts)
    ], types


def _detail(
    account: tuple[str, str],
    there: Sequence[tuple[Decimal, int, str, PublishedResources, Resource]],
    limit: int,
    tags: Sequence[str],
) -> Iterator[Sample | Folded]:
    """Series that bear a resource's id: of the most expensive ones, and the price of the others as one."""
    family = info_family(tags)
    count = len(there)
    if _FAMILIES_OF_A_RESOURCE * count > limit:
        count = max(0, limit - 1) // _FAMILIES_OF_A_RESOURCE // _STEP * _STEP
    chosen = heapq.nlargest(count, there, key=lambda item: (item[0], -item[1], item[2]))
    for *_, held, resource in chosen:
        yield from _of_resource(family, (*account, resource.region or held.region), resource, tags)
    taken = {id(item) for item in chosen}
    rest = [resource for item in there if id(item) not in taken for resource in item[4:]]
    priced = [resource.monthly_usd for resource in rest if resource.monthly_usd is not None]
    if priced:
        yield Sample(COST, (*account, OTHER, OTHER, OTHER), float(sum(priced)))
    if rest:
        yield Folded(2 * len(rest) + len(priced))


def _of_resource(
    family: Family, where: tuple[str, str, str], resource: Resource, tags: Sequence[str]
) -> Iterator[Sample]:
    which = (*where, resource.type, resource.id)
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


def render_prices(view: ViewContext[InventorySettings]) -> Iterator[Sample]:
    """How old the list prices are."""
    yield PRICE_TABLE(load_prices(view.ledger, view.settings.prices).as_of.timestamp())


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
    costs = _usage_costs(view, day) if listed else {}
    most = max(1, view.account_series // _RATIO_PART)
    for (account_id, service), usd in heapq.nlargest(most, listed.items(), key=lambda item: item[1]):
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


_costs: WeakKeyDictionary[Ledger, tuple[object, Mapping[tuple[str, str], Decimal]]] = WeakKeyDictionary()


def _usage_costs(view: ViewContext[InventorySettings], day: date) -> Mapping[tuple[str, str], Decimal]:
    """What usage cost on a day, in USD by account id and service; read once while the ledger says the same.

    Views are rendered one at a time.
    """
    cost_type = view.sections.of(CostSettings).cost_type
    tomorrow = day + timedelta(days=1)
    version = day, cost_type, view.ledger.reads.day_states(day, tomorrow)
    known = _costs.get(view.ledger)
    if known is not None and known[0] == version:
        return known[1]
    view.ledger.cost.require(cost_type, day, tomorrow)
    costs: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in view.ledger.cost.rows(day, tomorrow):
        if row.charge_class is ChargeClass.USAGE:
            costs[row.account_id, row.service] += getattr(row.amounts, cost_type)
    _costs[view.ledger] = version, costs
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
    families=(),
    iam_actions=_iam_actions(),
    views=(
        View(
            name="inventory_resources",
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
                info_family(()),
                CREATED,
                COST,
            ),
            render=render,
            read_at=read_at,
            of_resources=True,
        ),
        View(
            name="inventory_ratio", families=(RATIO,), render=render_ratio, read_at=read_at, of_resources=True
        ),
        View(
            name="inventory_prices",
            families=(PRICE_TABLE,),
            render=render_prices,
            read_at=lambda view: view.now,
            of_configuration=True,
        ),
    ),
    series_weight=8,
    free_calls=free_calls,
    parts=parts,
    replaces=("ec2_instances",),
)
