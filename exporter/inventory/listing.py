"""What a resource file declares and is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar

from exporter.aws.errors import AwsError, Kind
from exporter.aws.service_models import session_with_small_models
from exporter.core.fields import CollectorSettings
from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.declarations.calls import CheckCall
from exporter.declarations.context import Context
from exporter.inventory.prices import PriceTable
from exporter.ledger.usage_days import CLOUDWATCH, series_days

HOURS_A_MONTH = 730
"""What AWS itself multiplies hourly prices with."""

_IDLE_DAYS = 7

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """A request that listing makes; `each` is the assumed number where there is one for each resource.

    `note` says what it is repeated for. The first call of a file is also what a check sends, with the parameters `check`.
    """

    operation: str
    note: str = "a page or more"
    each: int = 1
    check: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceFile:
    """One AWS service of the inventory; a unit that is read whole or not at all.

    `service` is botocore's name of it, `cost_services` what Cost Explorer calls the charge for each type
    whose list price can be compared with it. An `optional` file is read only where it is asked for.
    """

    name: str
    help: str
    scope: Scope
    service: str
    types: tuple[str, ...]
    iam_actions: tuple[str, ...]
    calls: tuple[Call, ...]
    list: Callable[[Listing, Target], Iterator[Resource]]
    cost_services: Mapping[str, str]
    optional: bool = False

    @property
    def check(self) -> CheckCall:
        """The free request that shows whether it may be read."""
        first = self.calls[0]
        return CheckCall(service=self.service, operation=first.operation, params=lambda target: first.check)

    def offered(self, region: str) -> bool:
        """Whether the service exists in the region, as far as botocore knows."""
        return self.scope is not Scope.REGION or is_offered(self.service, region)


_DELETED_SINCE = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "ClusterNotFoundException",
        "LoadBalancerNotFound",
        "NoSuchBucket",
        "NotFoundException",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
        "TargetGroupNotFound",
    }
)
UNKNOWN = "unknown"
"""The state of what is listed and does not let itself be described."""


def _denied_by_the_resource(error: AwsError) -> bool:
    # AWS says which kind of policy refused, if not in each service; a role's own permissions concern all resources.
    return "resource-based policy" in str(error)


class Tags:
    """Tags by ARN, read when they are first asked for."""

    def __init__(self, read: Callable[[], dict[str, dict[str, str]]]) -> None:
        """`read` asks AWS."""
        self._read = read
        self._is_read = False
        self._tags: dict[str, dict[str, str]] | None = None

    def of(self, arn: str) -> dict[str, str] | None:
        """The tags of a resource, empty where AWS lists none; None where they are unknown."""
        tags = self.read()
        return None if tags is None else tags.get(arn, {})

    def read(self) -> dict[str, dict[str, str]] | None:
        """All of them, None where a service control policy denies the region; AwsError if AWS does not say."""
        if not self._is_read:
            try:
                self._tags = self._read()
            except AwsError as error:
                # The resources may be global, or of a service that the policy leaves out.
                if error.kind is not Kind.REGION_DENIED:
                    raise
            self._is_read = True
        return self._tags


@dataclass(frozen=True, slots=True)
class Activity:
    """What one usage family says of an account's region since `first`: by resource and day, its sum or highest level.

    A resource that CloudWatch does not know had nothing to count, as long as it knows others of the family on
    each of those days; without any, nothing is known. Levels are known of whom they are measured.
    """

    first: date
    days: Mapping[str, Mapping[date, float]]

    def none(self, created: datetime, *names: str, below: str = "") -> bool:
        """Whether a resource that is old enough had no sum on any day for a week; `below`: nor what is named so."""
        if created.date() > self.first:
            return False
        if len({day for days in self.days.values() for day in days}) < _IDLE_DAYS:
            return False
        mine = [
            days for name, days in self.days.items() if name in names or (below and name.startswith(below))
        ]
        return not any(amount for days in mine for amount in days.values())

    def at_most(self, created: datetime, name: str, limit: float) -> bool:
        """Whether a resource that is old enough was measured for a week, and at most `limit` on each day."""
        days = self.days.get(name, {})
        return created.date() <= self.first and len(days) >= _IDLE_DAYS and max(days.values()) <= limit


@dataclass(frozen=True, slots=True)
class Listing:
    """What a resource file works with: requests, list prices, and since when something counts as unused."""

    ctx: Context[CollectorSettings]
    prices: PriceTable
    now: datetime
    unused_after: timedelta
    snapshot_age: timedelta

    def pages(
        self, target: Target, service: str, operation: str, params: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Every page of a request."""
        return self.ctx.paginate(target, service, operation, params)

    def items(
        self,
        target: Target,
        service: str,
        operation: str,
        member: str,
        params: Mapping[str, Any] | None = None,
    ) -> Iterator[Any]:
        """The items of the list `member` on every page."""
        for page in self.pages(target, service, operation, params):
            yield from page.get(member, ())

    def call(
        self, target: Target, service: str, operation: str, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """One request."""
        return self.ctx.call(target, service, operation, params)

    def describe(
        self, target: Target, service: str, operation: str, params: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """One request about something that was listed; None if it was deleted since, as AWS says."""
        try:
            return self.call(target, service, operation, params)
        except AwsError as error:
            if error.code in _DELETED_SINCE:
                return None
            raise

    def describe_each(
        self,
        target: Target,
        service: str,
        operation: str,
        listed: Iterable[T],
        params: Callable[[T], dict[str, Any]],
    ) -> Iterator[tuple[T, dict[str, Any] | None]]:
        """What was listed, with what AWS says of it; without what was deleted since.

        None is said of a resource whose own policy denies it, or whose region a service control policy denies. AwsError where none can be described and AWS
        does not blame the resources' policies: then the role may not.
        """
        denied: list[tuple[T, AwsError]] = []
        answered = False
        for item in listed:
            try:
                answer = self.describe(target, service, operation, params(item))
            except AwsError as error:
                if error.kind is Kind.REGION_DENIED:
                    yield item, None
                    continue
                if error.kind is not Kind.ACCESS_DENIED:
                    raise
                denied.append((item, error))
                continue
            answered = True
            if answer is not None:
                yield item, answer
        for item, refusal in denied:
            if not answered and not _denied_by_the_resource(refusal):
                raise refusal
            yield item, None

    def items_of(
        self, target: Target, service: str, operation: str, member: str, params: Mapping[str, Any]
    ) -> Iterator[Any]:
        """As `items`, of something that was listed a moment ago; they end if it was deleted since."""
        try:
            yield from self.items(target, service, operation, member, params)
        except AwsError as error:
            if error.code not in _DELETED_SINCE:
                raise

    def activity(self, target: Target, family: str) -> Activity:
        """What a usage family, by the name of its live form, says of each resource of the last days."""
        today = self.now.date()
        # One day more: the newest may not have been read in full.
        first = today - timedelta(days=_IDLE_DAYS + 1)
        found = series_days(
            self.ctx.ledger, CLOUDWATCH, target.account_id, target.region, family, first, today
        )
        return Activity(first, found)

    def tags(self, target: Target, service: str) -> Tags:
        """Tags of every tagged resource of a service: a page for a hundred, and none where nothing is listed."""
        return Tags(
            lambda: {
                str(item["ResourceARN"]): tags_of(item.get("Tags", ()))
                for item in self.items(
                    target,
                    "resourcegroupstaggingapi",
                    "GetResources",
                    "ResourceTagMappingList",
                    {"ResourceTypeFilters": [service]},
                )
            }
        )

    def usd(self, target: Target, key: str, times: Decimal | int = 1) -> Decimal | None:
        """`times` the list price of a row by the month; None where it is not known."""
        price = self.prices.usd(key, target.region)
        return None if price is None else price * times

    def hourly(self, target: Target, key: str, times: Decimal | int = 1) -> Decimal | None:
        """The price of a month of a row by the hour; None where it is not known."""
        return self.usd(target, key, times * HOURS_A_MONTH)

    def is_idle(self, since: datetime | None) -> bool:
        """Whether something has been so for long enough to count as unused."""
        return since is not None and since <= self.now - self.unused_after


TAGS_ACTION = "tag:GetResources"
TAGS_CALL = Call("GetResources", "a page for a hundred tagged resources")


def tags_of(tags: Iterable[Mapping[str, Any]], key: str = "Key", value: str = "Value") -> dict[str, str]:
    """A list of keys and values as a mapping."""
    return {str(tag[key]): str(tag.get(value) or "") for tag in tags}


def batches(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of at most `size`."""
    batch: list[str] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def add(*amounts: Decimal | None) -> Decimal | None:
    """Their sum; None where one is not known."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Decimal(0)) if len(known) == len(amounts) else None


def in_region(target: Target, region: str) -> Target:
    """The same account in another region."""
    return replace(target, region=region)


@cache
def _regions(service: str) -> frozenset[str]:
    session = session_with_small_models()
    found: set[str] = set()
    for partition in session.get_available_partitions():
        found.update(session.get_available_regions(service, partition, allow_non_regional=False))
    return frozenset(found)


def is_offered(service: str, region: str) -> bool:
    """Whether botocore's endpoint data has the service in the region.

    It is asked where they know neither: a new region, or a service that they leave out.
    """
    known = _regions(service)
    return not known or region in known or region not in _regions("ec2")
