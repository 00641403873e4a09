"""What only the lines of an export show: cost of resources and of namespaces, and what usage would cost at list prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from exporter.core.metric import Family, Sample
from exporter.core.moments import days_between, month_start
from exporter.core.money import to_usd
from exporter.cube.dimensions import OTHER, WITHOUT
from exporter.cube.months import CubeMonth, CubeMonths
from exporter.declarations.view import ViewContext
from exporter.exports.settings import CostExportSettings
from exporter.exports.sums.tables import WHOLE_MONTH, list_costs, resource_costs, split_costs
from exporter.inventory.arns import billed_resource
from exporter.ledger.file import Ledger

DAY, MONTH, MONTH_TO_DATE = "day", "month", "month_to_date"
"""The newest complete day, the newest complete month, and the current month: values of the label `period`."""

_ACCOUNT = ("account_id", "account")
_AMORTIZED = "at amortized cost (net of discounts with FOCUS)"
_NAMESPACE = (*_ACCOUNT, "cluster", "namespace", "kind", "period")

RESOURCE_COST = Family(
    "aws_resource_cost_usd",
    f"Cost of a resource {_AMORTIZED}, by the labels of the inventory: of the newest complete day or the newest complete"
    ' month, true per period. The largest resources, the rest of an account is "other"; empty for cost without a resource id.',
    (*_ACCOUNT, "region", "resource_type", "resource_id", "period"),
)
SPLIT_COST = Family(
    "aws_split_cost_usd",
    "Cost of instances that is split among the pods of EKS (by namespace) and the tasks of ECS (namespace is the service),"
    " at amortized cost: of the newest complete day or of the month to date, true per period. It is a part of the cost of the instances.",
    _NAMESPACE,
)
SPLIT_UNUSED = Family(
    "aws_split_unused_cost_usd",
    "Part of what is idle on the same instances, beside aws_split_cost_usd: of the newest complete day or of the month to date,"
    " true per period.",
    _NAMESPACE,
)
LIST_PRICE = Family(
    "aws_cost_list_price_usd",
    "What the usage of an account would cost at list prices, on demand: of the month to date or the newest complete month,"
    " true per period; without AWS Marketplace.",
    (*_ACCOUNT, "period"),
)
SAVINGS = Family(
    "aws_effective_savings_usd",
    f"aws_cost_list_price_usd minus the same usage {_AMORTIZED}; what commitments leave unused is not subtracted.",
    (*_ACCOUNT, "period"),
)
SAVINGS_RATIO = Family(
    "aws_effective_savings_ratio",
    "aws_effective_savings_usd by aws_cost_list_price_usd: 0.3 is 30 % less than list prices.",
    (*_ACCOUNT, "period"),
    is_summable=False,
)
FAMILIES = (RESOURCE_COST, SPLIT_COST, SPLIT_UNUSED, LIST_PRICE, SAVINGS, SAVINGS_RATIO)

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Periods:
    """What of the export is known now: the newest complete day, the newest complete month, the current month."""

    day: date | None
    month: date | None
    month_to_date: date | None


def periods(view: ViewContext[Any]) -> Periods:
    """None for a period of which the export does not have all lines."""
    held = CubeMonths(view.ledger).all()
    newest = view.ledger.cost.complete_day(view.now)
    current = month_start(view.now.date())
    if newest is None:
        return Periods(None, None, current if _is_from_the_1st(held, current) else None)
    complete = month_start(newest + _DAY, 1)
    of_day = held.get(month_start(newest))
    is_whole = _is_from_the_1st(held, complete) and held[complete].has_lines_of(
        month_start(complete, -1) - _DAY
    )
    return Periods(
        newest if of_day is not None and _has_lines_of(of_day, newest) else None,
        complete if is_whole else None,
        current if _is_from_the_1st(held, current) else None,
    )


def _has_lines_of(month: CubeMonth, day: date) -> bool:
    return month.source == "data_export" and month.has_lines_of(day)


def _is_from_the_1st(held: Mapping[date, CubeMonth], month: date) -> bool:
    return month in held and _has_lines_of(held[month], month)


def days_known(ledger: Ledger, start: date, end: date) -> bool:
    """Whether the export has lines of each day of [start, end)."""
    held = CubeMonths(ledger).all()
    return all(
        month_start(day) in held and _has_lines_of(held[month_start(day)], day)
        for day in days_between(start, end)
    )


def render(view: ViewContext[CostExportSettings]) -> Iterator[Sample]:
    """The families of each period that the export knows."""
    known = periods(view)
    names = view.ledger.accounts.names()
    if known.day is not None:
        month = month_start(known.day)
        yield from _resources(view, names, month, known.day.toordinal(), DAY)
        yield from _splits(view, names, month, known.day.toordinal(), DAY)
    if known.month is not None:
        yield from _resources(view, names, known.month, WHOLE_MONTH, MONTH)
        yield from _list_costs(view, names, known.month, MONTH)
    if known.month_to_date is not None:
        yield from _splits(view, names, known.month_to_date, WHOLE_MONTH, MONTH_TO_DATE)
        yield from _list_costs(view, names, known.month_to_date, MONTH_TO_DATE)


_Labels = tuple[str, ...]


def _resources(
    view: ViewContext[CostExportSettings], names: Mapping[str, str], month: date, day: int, period: str
) -> Iterator[Sample]:
    sums: dict[_Labels, int] = {}
    named = 0
    for each in resource_costs(view.ledger, month, day):
        if each.resource == WITHOUT:
            which: _Labels = ("", "", "")
        elif each.resource == OTHER or named >= view.settings.series_limit:
            which = (OTHER, OTHER, OTHER)
        else:
            named += 1
            # Lines of one resource may name a version or an index of it.
            which = tuple(billed_resource(each.resource, each.service, each.region))
        labels = (each.account_id, view.account(each.account_id, names), *which, period)
        sums[labels] = sums.get(labels, 0) + each.units
    for labels, units in sums.items():
        yield Sample(RESOURCE_COST, labels, float(to_usd(units)))


def _splits(
    view: ViewContext[CostExportSettings], names: Mapping[str, str], month: date, day: int, period: str
) -> Iterator[Sample]:
    sums: dict[_Labels, tuple[int, int]] = {}
    for place, each in enumerate(split_costs(view.ledger, month, day)):
        which = (each.cluster, each.namespace) if place < view.settings.series_limit else (OTHER, OTHER)
        labels: _Labels = (each.account_id, view.account(each.account_id, names), *which, each.kind, period)
        units, unused = sums.get(labels, (0, 0))
        sums[labels] = units + each.units, unused + each.unused
    for labels, (units, unused) in sums.items():
        yield Sample(SPLIT_COST, labels, float(to_usd(units)))
        yield Sample(SPLIT_UNUSED, labels, float(to_usd(unused)))


def _list_costs(
    view: ViewContext[CostExportSettings], names: Mapping[str, str], month: date, period: str
) -> Iterator[Sample]:
    for each in list_costs(view.ledger, month):
        labels = (each.account_id, view.account(each.account_id, names), period)
        saved = each.list_units - each.units
        yield Sample(LIST_PRICE, labels, float(to_usd(each.list_units)))
        yield Sample(SAVINGS, labels, float(to_usd(saved)))
        if each.list_units > 0:
            yield Sample(SAVINGS_RATIO, labels, float(Decimal(saved) / Decimal(each.list_units)))
