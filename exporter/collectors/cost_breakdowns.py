"""Cost of the month to date by region, charge type, usage type, tag or cost category: one paid query each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Literal

from pydantic import Field

from exporter.core.amounts import AMOUNTS
from exporter.core.fields import CollectorSettings, Duration
from exporter.core.metric import Family, Sample
from exporter.core.moments import month_start, start_of_day, times_a_month
from exporter.core.money import to_usd
from exporter.core.places import Scope, Target
from exporter.cost import breakdowns
from exporter.cost.queries import ask_costs
from exporter.cost.settings import CostSettings, cost_is_exported
from exporter.declarations.calls import PaidCall, Scale
from exporter.declarations.collector import Collector
from exporter.declarations.context import Context
from exporter.declarations.view import View, ViewContext

OTHER = "other"
_ASSUMED_VALUES = {"region": 6, "charge_type": 5, "usage_type": 60}  # of one account in one month
_ASSUMED_TAG_VALUES = 10
_FIRST_READ = timedelta(
    hours=12
)  # AWS reports nothing of a month in its first hours, and an answer is kept for a day


def _family(name: str, what: str, *labels: str) -> Family:
    return Family(
        f"aws_cost_month_to_date_by_{name}_usd",
        f"Cost of the current calendar month, UTC, by {what}; true per key, values beyond the limit are `other`.",
        ("account_id", "account", *labels),
    )


BY_REGION = _family("region", "region", "region")
BY_CHARGE_TYPE = _family("charge_type", "charge type (Usage, Tax, Credit, ...)", "charge_type")
BY_USAGE_TYPE = _family("usage_type", "usage type", "usage_type")
BY_TAG = _family("tag", "the value of a cost allocation tag, empty where untagged", "tag_key", "tag_value")
BY_COST_CATEGORY = _family("cost_category", "cost category", "cost_category", "cost_category_value")
BY_COST_TYPE = Family(
    "aws_cost_month_to_date_by_cost_type_usd",
    "Cost of the current calendar month, UTC, by each of the five cost types; true per cost type. Costs no request.",
    ("account_id", "account", "cost_type"),
)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One configured query: its name in the ledger, Cost Explorer's key, and the family with its fixed label."""

    key: str
    group: str | tuple[str, str]
    family: Family
    fixed: tuple[str, ...] = ()

    def value(self, answered: str) -> str:
        """The value behind what Cost Explorer answers: tags and cost categories come back as `key$value`.

        Both may contain a dollar sign; the key is the one that was asked for.
        """
        if not self.fixed:
            return answered
        prefix = f"{self.fixed[0]}$"
        return answered.removeprefix(prefix) if answered.startswith(prefix) else answered.partition("$")[2]


_DIMENSIONS = {
    "region": Breakdown("region", "REGION", BY_REGION),
    "charge_type": Breakdown("charge_type", "RECORD_TYPE", BY_CHARGE_TYPE),
    "usage_type": Breakdown("usage_type", "USAGE_TYPE", BY_USAGE_TYPE),
}


class CostBreakdownsSettings(CollectorSettings):
    """Cost by further keys; each key is a separate query, priced in `plan`."""

    interval: Duration = Field(default=timedelta(days=1), description="Time between two reads of a key.")
    by: tuple[Literal["region", "charge_type", "usage_type"], ...] = Field(
        default=("region", "charge_type"), description="Dimensions of Cost Explorer."
    )
    tags: tuple[str, ...] = Field(default=(), description="Keys of activated cost allocation tags.")
    cost_categories: tuple[str, ...] = Field(default=(), description="Names of cost categories.")
    values: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Most values of a key by account; the smallest become `other`.",
    )

    def breakdowns(self) -> tuple[Breakdown, ...]:
        """What is asked for, in order."""
        return (
            *(_DIMENSIONS[name] for name in self.by),
            *(Breakdown(f"tag:{tag}", ("TAG", tag), BY_TAG, (tag,)) for tag in self.tags),
            *(
                Breakdown(f"cost_category:{name}", ("COST_CATEGORY", name), BY_COST_CATEGORY, (name,))
                for name in self.cost_categories
            ),
        )


def collect(ctx: Context[CostBreakdownsSettings], target: Target) -> Iterable[Sample]:
    """Read each key that is due, and commit it before the next."""
    for breakdown in ctx.settings.breakdowns():
        if ctx.deadline is not None and ctx.deadline.remaining() <= 0:
            break
        now = ctx.clock()
        month = month_start(now.date())
        if now < _due(ctx, breakdown, now):
            continue
        answer = ask_costs(
            ctx,
            target,
            month,
            # On the 1st, the month to date is its first day.
            now.date() + timedelta(days=1),
            ("LINKED_ACCOUNT", breakdown.group),
            granularity="MONTHLY",
            # A key is committed whole: the deadline ends an attempt between keys.
            deadline=None,
        )
        costs = {
            (account, breakdown.value(value)): usd for (_, account, value), usd in answer.amounts.items()
        }
        breakdowns.commit(ctx.ledger, month, breakdown.key, now, costs)
        ctx.committed()
    return ()


def _due(ctx: Context[CostBreakdownsSettings], breakdown: Breakdown, now: datetime) -> datetime:
    """An interval after the last read of the month, or the first read of a month: at noon UTC of the 1st at the earliest."""
    month, next_month = month_start(now.date()), month_start(now.date(), -1)
    read_at = breakdowns.read_at(ctx.ledger, month, breakdown.key)
    if read_at is None:
        return max(now, start_of_day(month) + _FIRST_READ)
    again = read_at + ctx.settings.interval
    return again if again < start_of_day(next_month) else start_of_day(next_month) + _FIRST_READ


def due(ctx: Context[CostBreakdownsSettings], target: Target) -> datetime:
    """When the first of the keys has to be read again."""
    now = ctx.clock()
    moments = [_due(ctx, breakdown, now) for breakdown in ctx.settings.breakdowns()]
    return min(moments, default=now + ctx.settings.interval)


def paid_calls(settings: CostBreakdownsSettings, scale: Scale) -> Iterable[PaidCall]:
    """The pages of each key, each interval."""
    per_month = times_a_month(settings.interval)
    for breakdown in settings.breakdowns():
        groups = scale.accounts * _ASSUMED_VALUES.get(breakdown.key, _ASSUMED_TAG_VALUES)
        pages = ceil(groups / scale.groups_per_page)
        yield PaidCall(
            service="ce",
            operation="GetCostAndUsage",
            per_month=per_month * pages,
            note=f"month to date by {breakdown.key}",
        )


# View


def render(view: ViewContext[CostBreakdownsSettings]) -> Iterator[Sample]:
    """The current month by each key that has been read, and by cost type from the ledger."""
    month = month_start(view.now.date())
    tomorrow = view.now.date() + timedelta(days=1)
    names = view.ledger.accounts.names()
    for breakdown in view.settings.breakdowns():
        if breakdowns.read_at(view.ledger, month, breakdown.key) is None:
            continue
        units = breakdowns.costs(view.ledger, month, breakdown.key, view.sections.of(CostSettings).cost_type)
        for (account_id, value), amount in sorted(_bounded(units, view.settings.values).items()):
            labels = (account_id, view.account(account_id, names), *breakdown.fixed, value)
            yield breakdown.family(to_usd(amount), **dict(zip(breakdown.family.labels, labels, strict=True)))
    for cost_type in AMOUNTS:
        if view.ledger.cost.lacking(cost_type, month, tomorrow):
            continue
        sums: defaultdict[str, Decimal] = defaultdict(Decimal)
        for (account_id, _), usd in view.ledger.cost.sums(month, tomorrow, cost_type).items():
            sums[account_id] += usd
        for account_id, usd in sorted(sums.items()):
            yield BY_COST_TYPE(
                usd, account_id=account_id, account=view.account(account_id, names), cost_type=cost_type
            )


def _bounded(units: dict[tuple[str, str], int], most: int) -> dict[tuple[str, str], int]:
    """At most so many values an account, the largest; the rest of its cost is `other`."""
    by_account: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for (account_id, value), amount in units.items():
        by_account[account_id].append((value, amount))
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    for account_id, values in by_account.items():
        values.sort(key=lambda item: (-abs(item[1]), item[0]))
        kept = len(values) if len(values) <= most else most - 1
        for number, (value, amount) in enumerate(values):
            found[account_id, value if number < kept else OTHER] += amount
    return found


def _read_at(view: ViewContext[CostBreakdownsSettings]) -> datetime | None:
    month: date = month_start(view.now.date())
    moments = [breakdowns.read_at(view.ledger, month, item.key) for item in view.settings.breakdowns()]
    return max((moment for moment in moments if moment is not None), default=None)


COLLECTOR = Collector(
    name="cost_breakdowns",
    help="Cost of the month to date by region, charge type, usage type, tag or cost category.",
    scope=Scope.PAYER,
    settings=CostBreakdownsSettings,
    families=(),
    iam_actions=("ce:GetCostAndUsage",),
    collect=collect,
    views=(
        View(
            name="cost_breakdowns",
            families=(BY_REGION, BY_CHARGE_TYPE, BY_USAGE_TYPE, BY_TAG, BY_COST_CATEGORY, BY_COST_TYPE),
            render=render,
            read_at=_read_at,
            valid_until=lambda view: start_of_day(month_start(view.now.date(), -1)),
        ),
    ),
    paid_calls=paid_calls,
    due=due,
    rests=cost_is_exported,
)
