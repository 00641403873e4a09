"""AWS Budgets: the limit, the actual and the forecast spend of each cost budget in US dollars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import Field

from exporter.aws.errors import reading
from exporter.aws.partitions import billing_region
from exporter.core.fields import CollectorSettings
from exporter.core.metric import Family, Sample
from exporter.core.moments import times_a_month
from exporter.core.money import parse_amount
from exporter.core.places import Scope, Target
from exporter.declarations.calls import CheckCall, FreeCall, Scale
from exporter.declarations.collector import Collector
from exporter.declarations.context import Context

_PAGE = 100
_PERIODS = {
    "DAILY": "day",
    "MONTHLY": "month",
    "QUARTERLY": "quarter",
    "ANNUALLY": "year",
}
"""What thresholds call the same; any other time unit keeps AWS's word."""

_LABELS = ("budget", "period", "account_id", "account")
LIMIT = Family(
    "aws_budget_limit_usd",
    "Limit of an AWS budget in its current period. Budgets overlap: true per budget.",
    _LABELS,
)
ACTUAL = Family(
    "aws_budget_actual_usd",
    "What AWS Budgets counts as spent in the current period of a budget. Budgets overlap: true per budget.",
    _LABELS,
)
FORECAST = Family(
    "aws_budget_forecast_usd",
    "What AWS Budgets forecasts for the whole current period of a budget; absent where it has no forecast."
    " Budgets overlap: true per budget.",
    _LABELS,
)
LEFT_OUT = Family(
    "aws_budgets_left_out",
    "AWS budgets that are not served, by reason: type (not of cost), currency (not in US dollars), series_limit.",
    ("reason",),
)
_REASONS = ("type", "currency", "series_limit")


class BudgetsSettings(CollectorSettings):
    """AWS Budgets of the payer; its requests are free."""

    series_limit: int = Field(
        default=500,
        ge=1,
        le=20_000,
        description="Most budgets that are served, the largest first; the others are counted.",
    )


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget of cost in USD; what AWS does not say is None."""

    name: str
    period: str
    account_id: str
    """The one linked account that it is limited to; empty where it is about more."""
    amounts: Mapping[Family, Decimal]

    @property
    def size(self) -> Decimal:
        """What the largest budgets are told by: the limit, or else what is spent."""
        return self.amounts.get(LIMIT, self.amounts.get(ACTUAL, Decimal(0)))


def collect(ctx: Context[BudgetsSettings], target: Target) -> Iterable[Sample]:
    """Every page; one malformed budget fails the run, because half of the budgets is no answer."""
    left_out = Counter(dict.fromkeys(_REASONS, 0))
    budgets: list[Budget] = []
    params = {"AccountId": target.account_id, "MaxResults": _PAGE, "ShowFilterExpression": True}
    pages = ctx.paginate_payer(
        target, "budgets", "DescribeBudgets", billing_region("budgets", target.partition), params
    )
    for page in pages:
        for described in page.get("Budgets", ()):
            found = read_budget(described)
            if isinstance(found, Budget):
                budgets.append(found)
            else:
                left_out[found] += 1
    budgets.sort(key=lambda budget: (-budget.size, budget.name))
    left_out["series_limit"] = len(budgets[ctx.settings.series_limit :])
    names = ctx.ledger.accounts.names()
    for budget in budgets[: ctx.settings.series_limit]:
        for family, usd in budget.amounts.items():
            yield family(
                usd,
                budget=budget.name,
                period=budget.period,
                account_id=budget.account_id,
                account=ctx.account(budget.account_id, names),
            )
    for reason, count in left_out.items():
        yield LEFT_OUT(count, reason=reason)


def read_budget(described: Mapping[str, Any]) -> Budget | str:
    """A budget as AWS describes it, or why it is left out; AwsError if it is malformed."""
    with reading("a budget"):
        if described["BudgetType"] != "COST":
            return "type"
        spent = described.get("CalculatedSpend", {})
        spends = {
            LIMIT: described.get("BudgetLimit"),
            ACTUAL: spent.get("ActualSpend"),
            FORECAST: spent.get("ForecastedSpend"),
        }
        known = {family: spend for family, spend in spends.items() if spend is not None}
        if any(spend["Unit"] != "USD" for spend in known.values()):
            return "currency"
        amounts = {family: parse_amount(spend["Amount"]) for family, spend in known.items()}
        unit = described["TimeUnit"]
        period = _PERIODS.get(unit, unit.lower())
        return Budget(described["BudgetName"], period, _only_account(described), amounts)


def _only_account(described: Mapping[str, Any]) -> str:
    """The linked account that a budget is limited to, by the older or the newer form of its filter."""
    accounts = list(described.get("CostFilters", {}).get("LinkedAccount", ()))
    expression = described.get("FilterExpression", {})
    for part in expression.get("And", [expression]):
        dimension = part.get("Dimensions", {})
        if dimension.get("Key") == "LINKED_ACCOUNT":
            accounts += dimension["Values"]
    return accounts[0] if len(set(accounts)) == 1 else ""


def free_calls(settings: BudgetsSettings, scale: Scale) -> Iterator[FreeCall]:
    """One page a run: more than a hundred budgets are rare."""
    runs = times_a_month(settings.interval)
    yield FreeCall(
        service="budgets", operation="DescribeBudgets", per_month=runs, note="each page of a hundred budgets"
    )


COLLECTOR = Collector(
    name="budgets",
    help="AWS Budgets: limit, actual and forecast spend.",
    scope=Scope.PAYER,
    settings=BudgetsSettings,
    families=(LIMIT, ACTUAL, FORECAST, LEFT_OUT),
    iam_actions=("budgets:ViewBudget",),
    check=CheckCall(
        service="budgets",
        operation="DescribeBudgets",
        params=lambda target: {"AccountId": target.account_id, "MaxResults": 1},
    ),
    collect=collect,
    free_calls=free_calls,
)
