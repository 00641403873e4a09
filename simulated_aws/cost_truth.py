"""What the organisation costs, and what Cost Explorer may say about it at a given time.

Amounts are integers in units of 1e-10 USD inside and Decimal outside; nothing is ever a float.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Protocol

from simulated_aws.charges import LIST_COST, METRICS, Amounts, CostKey, list_cost
from simulated_aws.cost_dimensions import Allocate, operation, unchanged
from simulated_aws.cost_split import hour_text, reported_hours, shares_of, split
from simulated_aws.metric_truth import MetricTruth
from simulated_aws.organization import Organization


class Charges:
    """Keys and their amounts in the order of METRICS; iterating gives pairs.

    Two lists instead of one of pairs: a year of 300 accounts is millions of rows, and the garbage collector
    walks every pair that holds an object, but no tuple of numbers.
    """

    __slots__ = ("amounts", "keys")

    def __init__(self) -> None:
        self.keys: list[CostKey] = []
        self.amounts: list[Amounts] = []

    def add(self, key: CostKey, amounts: Amounts) -> None:
        """Append a row."""
        self.keys.append(key)
        self.amounts.append(amounts)

    def __iter__(self) -> Iterator[tuple[CostKey, Amounts]]:
        return zip(self.keys, self.amounts, strict=True)

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class ExplicitCost:
    """A row that a test draws: `amounts` by metric name in USD (a lone UnblendedCost stands for all five).

    The row is reported from `visible_from` (None: always) until before `visible_until` (None: without end).
    """

    day: date
    account_id: str
    service: str
    amounts: Mapping[str, Decimal]
    record_type: str = "Usage"
    region: str = "us-east-1"
    usage_type: str = "Usage"
    visible_from: datetime | None = None
    visible_until: datetime | None = None
    tags: tuple[tuple[str, str], ...] = ()
    billing_entity: str = "AWS"


class CostSource(Protocol):
    """Anything that knows what is reported about a day at a time."""

    def version(self, day: date, at: datetime) -> Hashable:
        """Equal versions of a day have equal charges."""

    def charges(self, day: date, at: datetime) -> Charges:
        """Everything reported about `day` at `at`."""

    def estimated(self, day: date, at: datetime) -> bool:
        """Whether the bill of the day's month is still open."""


def to_units(amount: Decimal) -> int:
    """USD to units of 1e-10 USD; ValueError when that would lose digits."""
    scaled = amount.scaleb(10)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{amount} has more than 10 decimals")
    return int(scaled)


def to_decimal(units: int) -> Decimal:
    """Units of 1e-10 to a Decimal, exactly."""
    return Decimal(units).scaleb(-10)


def _amount(key: CostKey, amounts: Amounts, index: int) -> int:
    return amounts[index] if index < len(METRICS) else list_cost(key.record_type, amounts)


def month_of(day: date) -> date:
    """The first day of the day's month."""
    return day.replace(day=1)


def next_month(day: date) -> date:
    """The first day of the month after the day's."""
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)


def finalised_at(seed: int, month: date) -> datetime:
    """When the bill of a month closes: some hour from the 3rd to the 7th of the next month."""
    hours = draw(seed, "finalised", month.isoformat()) % (5 * 24)
    following = next_month(month)
    start = datetime(following.year, following.month, 3, tzinfo=UTC)
    return start + timedelta(hours=hours)


def draw(*parts: object) -> int:
    """A number of 64 bits that depends on nothing but the parts."""
    return int.from_bytes(hashlib.blake2b(":".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def midnight(day: date) -> datetime:
    """When a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


class ExplicitCosts:
    """A source of exactly the given rows."""

    def __init__(self, rows: Iterable[ExplicitCost], *, seed: int = 0) -> None:
        self._seed = seed
        self._days: dict[date, list[tuple[ExplicitCost, CostKey, Amounts]]] = {}
        self._moments: dict[date, list[datetime]] = {}
        keys: dict[tuple[object, ...], CostKey] = {}
        for row in rows:
            parts = (
                row.account_id,
                row.service,
                row.record_type,
                row.region,
                row.usage_type,
                row.tags,
                row.billing_entity,
            )
            key = keys.setdefault(parts, CostKey(*parts))
            self._days.setdefault(row.day, []).append((row, key, _explicit_amounts(row.amounts)))
            moments = self._moments.setdefault(row.day, [])
            moments.extend(moment for moment in (row.visible_from, row.visible_until) if moment is not None)
        for moments in self._moments.values():
            moments.sort()

    def version(self, day: date, at: datetime) -> Hashable:
        """How many of the day's moments of change have passed."""
        return bisect_right(self._moments.get(day, []), at)

    def charges(self, day: date, at: datetime) -> Charges:
        """The rows of the day that are visible at `at`."""
        found = Charges()
        for row, key, amounts in self._days.get(day, []):
            begun = row.visible_from is None or row.visible_from <= at
            if begun and (row.visible_until is None or at < row.visible_until):
                found.add(key, amounts)
        return found

    def estimated(self, day: date, at: datetime) -> bool:
        """Open until the bill of the month closes."""
        return at < finalised_at(self._seed, month_of(day))


def _explicit_amounts(amounts: Mapping[str, Decimal]) -> Amounts:
    unknown = set(amounts) - set(METRICS)
    if unknown:
        raise ValueError(f"unknown metrics {sorted(unknown)}; the known ones are {METRICS}")
    base = amounts.get("UnblendedCost", Decimal(0))
    cost = [to_units(amounts.get(name, base)) for name in METRICS[:5]]
    quantity = to_units(amounts.get("UsageQuantity", Decimal(0)))
    return (cost[0], cost[1], cost[2], cost[3], cost[4], quantity)


class CostTruth:
    """Answers about cost that share no code with the Cost Explorer API that they are compared with."""

    def __init__(
        self,
        source: CostSource,
        organization: Organization,
        now: Callable[[], datetime],
        allocate: Allocate = unchanged,
    ) -> None:
        self.source = source
        self.allocate = allocate
        self.resource_ids: Callable[[CostKey], tuple[str, ...]] = lambda key: shares_of(key).resources
        self._organization = organization
        self._now = now
        self.metrics: MetricTruth | None = None

    def metric_sum(
        self,
        account_id: str,
        region: str,
        namespace: str,
        name: str,
        dimensions: Mapping[str, str],
        start: datetime,
        end: datetime,
        at: datetime | None = None,
    ) -> float:
        """The sum of a CloudWatch metric from `start` to before `end`; KeyError when it does not exist."""
        if self.metrics is None:
            raise KeyError(name)
        return self.metrics.metric_sum(account_id, region, namespace, name, dimensions, start, end, at)

    def totals(
        self,
        start: date,
        end: date,
        at: datetime | None = None,
        by: Sequence[str] = ("account", "service"),
        metric: str = "UnblendedCost",
        where: Callable[[CostKey], bool] | None = None,
    ) -> dict[tuple[str, ...], Decimal]:
        """Sums over the days from `start` to before `end`, as AWS reports them at `at` (None: now).

        `by` takes account (its id), account_name, service, record_type, region, usage_type, operation,
        billing_entity, tag:KEY, cost_category:NAME, day and month, and resource ("" without one) and hour
        (2026-11-30T05:00:00Z); the keys are in that order, `()` for an empty `by`. `metric` is one of METRICS or
        ListCost, the price without commitments and discounts of what was used. USD, or usage units for
        UsageQuantity. Keys without any row are missing; by resource and hour, those whose amounts are all zero.
        Raises ValueError for an unknown metric or name in `by`.
        """
        if metric not in (*METRICS, LIST_COST):
            raise ValueError(f"unknown metric {metric!r}; the known ones are {(*METRICS, LIST_COST)}")
        names = {account.id: account.name for account in self._organization.accounts}
        readers: dict[str, Callable[[date, CostKey], str]] = {
            "account": lambda _, key: key.account_id,
            "account_name": lambda _, key: names.get(key.account_id, key.account_id),
            "service": lambda _, key: key.service,
            "record_type": lambda _, key: key.record_type,
            "region": lambda _, key: key.region,
            "usage_type": lambda _, key: key.usage_type,
            "operation": lambda _, key: operation(key),
            "billing_entity": lambda _, key: key.billing_entity,
            "day": lambda day, _: day.isoformat(),
            "month": lambda day, _: day.isoformat()[:7],
        }
        moment = at if at is not None else self._now()
        allocation = cache(lambda day: self.allocate(day, moment))
        for name in by:
            kind, colon, value = name.partition(":")
            if colon and kind == "tag":
                readers[name] = lambda day, key, value=value: allocation(day).tag(value, key)  # type: ignore[misc]
            elif colon and kind == "cost_category":
                readers[name] = lambda day, key, value=value: allocation(day).category(value, key)  # type: ignore[misc]
        finer = {"resource", "hour"} & set(by)
        if unknown := set(by) - set(readers) - finer:
            known = sorted({*readers, "resource", "hour"})
            raise ValueError(f"cannot total by {sorted(unknown)}; the known names are {known}")
        wanted = where or (lambda _: True)
        index = len(METRICS) if metric == LIST_COST else METRICS.index(metric)
        sums: dict[tuple[str, ...], int] = {}
        for day in (start + timedelta(days=number) for number in range((end - start).days)):
            if finer:
                found = self._finer(day, moment, by, readers, wanted, index)
            else:
                columns = [readers[name] for name in by]
                found = (
                    (tuple([column(day, key) for column in columns]), _amount(key, amounts, index))
                    for key, amounts in self.source.charges(day, moment)
                    if wanted(key)
                )
            for place, amount in found:
                sums[place] = sums.get(place, 0) + amount
        return {key: to_decimal(value) for key, value in sums.items()}

    def _finer(
        self,
        day: date,
        moment: datetime,
        by: Sequence[str],
        readers: Mapping[str, Callable[[date, CostKey], str]],
        wanted: Callable[[CostKey], bool],
        index: int,
    ) -> Iterator[tuple[tuple[str, ...], int]]:
        """The keys and amounts of a day where `by` has resource or hour, once for each part of a charge."""
        found = [(key, amounts) for key, amounts in self.source.charges(day, moment) if wanted(key)]
        if not found:
            return
        keys = [key for key, _ in found]
        coarse = [tuple([readers[name](day, key) if name in readers else "" for name in by]) for key in keys]
        rows = [[_amount(key, amounts, index)] for key, amounts in found]
        hours = reported_hours(day, moment)
        hourly, resources = "hour" in by, "resource" in by
        for parts in split(keys, rows, hours, hourly=hourly, resources=resources):
            for charge, resource, hour, amount in zip(
                parts.charge.tolist(),
                parts.resource.tolist(),
                parts.hour.tolist(),
                parts.amounts[:, 0].tolist(),
                strict=True,
            ):
                place = list(coarse[charge])
                if hourly:
                    place[by.index("hour")] = hour_text(day, hour)
                if resources:
                    place[by.index("resource")] = self.resource_ids(keys[charge])[resource]
                yield tuple(place), amount

    def total(
        self, start: date, end: date, at: datetime | None = None, metric: str = "UnblendedCost"
    ) -> Decimal:
        """The sum over everything."""
        return self.totals(start, end, at, (), metric).get((), Decimal(0))

    def estimated(self, day: date, at: datetime | None = None) -> bool:
        """Whether the bill of the day's month is open at `at`."""
        return self.source.estimated(day, at if at is not None else self._now())


__all__ = [
    "METRICS",
    "Amounts",
    "Charges",
    "CostKey",
    "CostSource",
    "CostTruth",
    "ExplicitCost",
    "ExplicitCosts",
    "finalised_at",
    "month_of",
    "next_month",
    "to_decimal",
    "to_units",
]
