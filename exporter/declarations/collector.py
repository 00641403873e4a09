"""The core types that everything else is made of; at run time this module imports nothing else of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from exporter.core.fields import CollectorSettings
    from exporter.declarations.context import Context, ViewContext

Clock = Callable[[], datetime]
"""Returns the current time as an aware UTC datetime."""


def utc_now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_milliseconds(at: datetime) -> int:
    """A moment as the ledger and Prometheus keep it: whole milliseconds since 1970, what is less is left out."""
    return (at - _EPOCH) // _MILLISECOND


def to_moment(milliseconds: int) -> datetime:
    """The moment of milliseconds since 1970; `to_milliseconds` of it is the same number."""
    return _EPOCH + milliseconds * _MILLISECOND


def start_of_day(day: date) -> datetime:
    """Midnight UTC at which `day` begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def month_start(day: date, months_back: int = 0) -> date:
    """The first day of the month `months_back` months before that of `day`."""
    index = day.year * 12 + day.month - 1 - months_back
    return date(index // 12, index % 12 + 1, 1)


@dataclass(frozen=True, slots=True)
class Target:
    """What one unit of collection is run against: an account, and a region where the scope is REGION."""

    account_id: str
    account: str
    region: str
    partition: str = "aws"


class Scope(StrEnum):
    """How a collector is fanned out."""

    PAYER = "payer"  # once, with the payer's credentials
    ACCOUNT = "account"  # once per account
    REGION = "region"  # once per account and region


_METRIC_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family; calling it makes a `Sample` and checks the labels."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    type: Literal["gauge", "counter", "histogram"] = "gauge"

    def __post_init__(self) -> None:
        """Refuse names that Prometheus' conventions reject."""
        if not _METRIC_NAME.fullmatch(self.name) or self.name.endswith("_total") != (self.type == "counter"):
            raise ValueError(f"{self.name} is not a conventional name for a {self.type}")

    def __call__(self, value: float | Decimal, /, **labels: str) -> Sample:
        """A sample of this family; raises TypeError unless exactly the declared labels are given."""
        if len(labels) != len(self.labels) or not all(name in labels for name in self.labels):
            raise TypeError(f"{self.name} has the labels {self.labels}, not {tuple(labels)}")
        return Sample(self, tuple(labels[name] for name in self.labels), float(value))


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one series; `values` are in the order of the family's labels."""

    family: Family
    values: tuple[str, ...]
    value: float


def info_label(key: str) -> str:
    """The label of a tag key, e.g. `tag_cost_center` of `cost-center`."""
    return "tag_" + re.sub(r"[^a-zA-Z0-9_]", "_", key)


class Amounts(NamedTuple):
    """The five cost types of Cost Explorer for one key, in USD, as exact decimals."""

    unblended: Decimal = Decimal(0)
    blended: Decimal = Decimal(0)
    amortized: Decimal = Decimal(0)
    net_unblended: Decimal = Decimal(0)
    net_amortized: Decimal = Decimal(0)


AMOUNTS = Amounts._fields
"""The cost types, in the order of the ledger's columns."""


class ChargeClass(StrEnum):
    """Whether a charge follows usage, or is tax, credit, refund, support or a fee."""

    USAGE = "usage"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class CostRow:
    """Cost of one service in one linked account on one UTC day, as AWS reported it at `observed_at`."""

    day: date
    account_id: str
    service: str
    charge_class: ChargeClass
    amounts: Amounts
    estimated: bool
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Saving:
    """A cheaper way to have the same resource; `monthly_usd` is None where a price is not known."""

    kind: str
    monthly_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that exists in an account, as its service described it.

    `monthly_usd` is its list price for 730 hours as it stands now: zero where AWS charges nothing for it,
    None where the price is not known or depends on use. `region` is None for that of the target.
    """

    id: str
    type: str
    name: str = ""
    state: str = ""
    created: datetime | None = None
    tags: Mapping[str, str] | None = field(default_factory=dict)
    """None where they could not be read: then nothing is known to be missing."""
    monthly_usd: Decimal | None = None
    unused_reason: str | None = None
    unused_usd: Decimal | None = None
    """Dollars a month that being unused costs, where that is not `monthly_usd`."""
    savings: tuple[Saving, ...] = ()
    region: str | None = None
    existed_by: datetime | None = None
    """A moment at which it existed for certain, where AWS does not tell when it was created."""
    first_seen: bool = False
    """Whether `created` is when we saw it first, because AWS does not tell."""
    subtype: str = ""
    """What the service calls its kind, e.g. an instance or volume type."""
    lifecycle: str = ""

    @property
    def wasted_usd(self) -> Decimal | None:
        """List price a month of what is unused."""
        return self.monthly_usd if self.unused_usd is None else self.unused_usd


@dataclass(frozen=True, slots=True)
class Held:
    """The resources of one unit as last read, and of which account; `error` is why they could not be read again."""

    unit: str
    account_id: str
    account: str
    region: str
    read_at: datetime
    resources: tuple[Resource, ...]
    error: str | None = None
    expires: datetime | None = None
    """When they are no longer served if nothing newer arrives."""


@dataclass(frozen=True, slots=True)
class Folded:
    """How many series were summed up as `other`, to be yielded beside samples."""

    series: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The whole result of one unit: samples, or an error kind; never a part of either.

    `succeeded_at` is when AWS was read, so that staleness does not start anew with the process.
    """

    samples: tuple[Sample, ...]
    attempted_at: datetime
    succeeded_at: datetime | None
    error: str | None = None
    valid_until: datetime | None = None
    """When the samples stop being true however fresh they are, e.g. a month's forecast at its end."""
    resources: tuple[Resource, ...] = ()
    folded: int = 0
    """Series that were summed up as `other`."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a collector that keeps its state in the ledger serves of a target, as AWS was read at `read_at`.

    `seen` is to be called once the samples have been scraped twice, and whatever is recalled then published.
    """

    samples: tuple[Sample, ...]
    read_at: datetime
    seen: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of an installation, for pricing a configuration before it runs."""

    accounts: int
    services: int
    keys: int
    """Pairs of account and service with cost on a day."""
    regions: int
    groups_per_page: int
    usage_metrics: int = 0
    """CloudWatch metrics that a poll of usage asks for."""
    daily_usage_metrics: int = 0
    """Those that are published once a day."""


_MONTH = timedelta(days=30)


def times_a_month(interval: timedelta) -> Decimal:
    """How often something happens in a 30-day month that happens each interval, of at least a second."""
    return Decimal(_MONTH // timedelta(seconds=1)) / Decimal(interval // timedelta(seconds=1))


@dataclass(frozen=True, slots=True)
class PaidCall:
    """A priced request that a collector makes, with the number of what is priced in a 30-day month.

    That is requests, and metrics for GetMetricData.
    """

    service: str
    operation: str
    per_month: Decimal
    note: str


@dataclass(frozen=True, slots=True)
class FreeCall:
    """A free request, with its expected number in a 30-day month; each is an event in CloudTrail."""

    service: str
    operation: str
    per_month: Decimal
    note: str


def _no_paid_calls(settings: Any, scale: Scale) -> Iterable[PaidCall]:
    return ()


@dataclass(frozen=True, slots=True)
class View:
    """Turns the ledger, or the resources of every unit, into samples; never calls AWS.

    `read_at` says when AWS was read for them, None if it never was; `valid_until` when they stop
    being true however fresh they are. A view `of_resources` follows each unit that brings some.
    """

    name: str
    families: tuple[Family, ...]
    render: Callable[[ViewContext], Iterable[Sample | Folded]]
    read_at: Callable[[ViewContext], datetime | None]
    valid_until: Callable[[ViewContext], datetime] | None = None
    of_resources: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a collector that succeeds or fails by itself; reported as `<collector>_<name>`.

    `offered` says whether there is such a thing in a region at all.
    """

    name: str
    scope: Scope
    collect: Callable[[Context[Any], Target], Iterable[Sample | Resource | Folded]]
    offered: Callable[[str], bool] = lambda region: True


@dataclass(frozen=True, slots=True)
class Collector:
    """A declaration of what is collected, how often, and what it needs; one file of `collectors/` each.

    `collect` runs straight-line synchronous code for one target, raises on any failure, and
    returns the samples of that target; cost goes to the ledger instead, and `views` render it.
    `due` says when a collector whose state is in the ledger has to run next; `recall` what is served of
    a target then, where that is not what `collect` returns. With `parts`, each of them is a unit of its own,
    and `scope` that of the widest.
    """

    name: str
    help: str
    scope: Scope
    settings: type[CollectorSettings]
    families: tuple[Family, ...]
    iam_actions: tuple[str, ...]
    collect: Callable[[Context[Any], Target], Iterable[Sample | Resource | Folded]] | None = None
    views: tuple[View, ...] = ()
    paid_calls: Callable[[Any, Scale], Iterable[PaidCall]] = _no_paid_calls
    due: Callable[[Context[Any]], datetime] | None = None
    recall: Callable[[Context[Any], Target], Recalled | None] | None = None

    @property
    def is_free(self) -> bool:
        """Whether none of its requests is paid, however often it runs."""
        return self.due is None and self.paid_calls is _no_paid_calls

    free_calls: Callable[[Any, Scale], Iterable[FreeCall]] | None = None
    """Where None, one request of each IAM action a target and run is assumed."""
    parts: Callable[[Any], Sequence[Part]] | None = None
    """The parts to run with these settings; a collector has either them or `collect`."""
    replaces: tuple[str, ...] = ()
    """Collectors whose families it serves too, from the same requests: they rest while it runs."""

    def units(self, settings: Any) -> tuple[Part, ...]:
        """Its parts; itself as the only one where it has none."""
        if self.parts is not None:
            return tuple(replace(part, name=f"{self.name}_{part.name}") for part in self.parts(settings))
        assert self.collect is not None
        return (Part(self.name, self.scope, self.collect),)


@dataclass(frozen=True, slots=True)
class Account:
    """One account as discovery sees it.

    `ous` holds every ancestor organisational unit as a path, nearest last, e.g. ("/Workloads",
    "/Workloads/Prod"). `role_arn` is None where the ambient credentials are used as they are.
    `regions` is None where the configured ones apply.
    """

    id: str
    name: str
    state: str = "ACTIVE"
    ous: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    role_arn: str | None = None
    external_id: str | None = None
    regions: tuple[str, ...] | None = None

    @property
    def ou(self) -> str:
        """The path of the organisational unit that holds the account; `/` for the root."""
        return self.ous[-1] if self.ous else "/"


INTERVALS_SERVED = 3
# With an interval of seconds, a run that takes a little longer than usual is no reason to forget the last one.
SERVED_AT_LEAST = timedelta(minutes=1)


def expires_at(succeeded_at: datetime, interval: timedelta) -> datetime:
    """When samples that were read at `succeeded_at` go absent if nothing newer arrives."""
    return succeeded_at + max(INTERVALS_SERVED * interval, SERVED_AT_LEAST)
