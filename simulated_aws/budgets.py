"""AWS Budgets: DescribeBudgets in its real shape, of budgets that a test draws or that fit the generated cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from simulated_aws.cost_truth import CostTruth, month_of, next_month
from simulated_aws.input_model import check_input
from simulated_aws.organization import Organization
from simulated_aws.wire import AwsCall, AwsError, Tokens

_PAGE = 100
_EVER = datetime(2087, 6, 15, tzinfo=UTC)  # the end of a budget without an end, as AWS tells it


@dataclass(frozen=True, slots=True)
class SimulatedBudget:
    """A budget as DescribeBudgets tells it; None is not told.

    `account_id` is the linked account that it is limited to. `expression` tells that in the newer form.
    """

    name: str
    actual: Decimal | None
    limit: Decimal | None = None
    forecast: Decimal | None = None
    unit: str = "USD"
    kind: str = "COST"
    time_unit: str = "MONTHLY"
    account_id: str | None = None
    expression: bool = False


class Budgets:
    """Answers DescribeBudgets for the payer, who alone has budgets."""

    def __init__(
        self, organization: Organization, truth: CostTruth, now: Callable[[], datetime], tokens: Tokens
    ) -> None:
        self._organization = organization
        self._truth = truth
        self._now = now
        self._tokens = tokens
        self.drawn: Sequence[SimulatedBudget] | None = None
        """Exactly these; None for those that fit the cost."""

    def answer(self, call: AwsCall) -> dict[str, Any]:
        """The response members of one call; AwsError otherwise."""
        if call.operation != "DescribeBudgets":
            raise AwsError("UnknownOperationException", f"{call.operation} is not part of this simulation.")
        check_input("budgets", "DescribeBudgets", call.params)
        if call.params["AccountId"] != call.account_id:
            raise AwsError("AccessDeniedException", "Account is not authorized to view these budgets.")
        is_payer = call.account_id == self._organization.payer.id
        budgets = self.existing() if is_payer else ()
        page, more = self._tokens.page(call, budgets, int(call.params.get("MaxResults") or _PAGE))
        with_expression = bool(call.params.get("ShowFilterExpression"))
        return {"Budgets": [self._described(budget, with_expression) for budget in page], **more}

    def existing(self) -> Sequence[SimulatedBudget]:
        """The budgets that there are."""
        return self._fitting() if self.drawn is None else self.drawn

    def _fitting(self) -> list[SimulatedBudget]:
        """One of the organisation, one of its three first accounts each, and one that is not of cost."""
        today = self._now().date()
        first = month_of(today)
        before = month_of(first - timedelta(days=1))
        costs = self._truth.totals(before, today + timedelta(days=1), by=("month", "account"))
        days, past = (next_month(first) - today).days - 1, (first - before).days

        def budget(name: str, account_id: str | None) -> SimulatedBudget:
            def of(month: str) -> Decimal:
                found = (usd for (m, a), usd in costs.items() if m == month and account_id in (None, a))
                return round(sum(found, Decimal(0)), 3)

            actual, last = of(first.isoformat()[:7]), of(before.isoformat()[:7])
            return SimulatedBudget(
                name,
                actual,
                limit=max(round(last * Decimal("1.05"), -2), Decimal(100)),
                forecast=round(actual + last / past * days, 3),
                account_id=account_id,
            )

        accounts = self._organization.accounts[1:4]
        return [
            budget("organization", None),
            *(budget(f"{account.name} ({account.id})", account.id) for account in accounts),
            SimulatedBudget("s3-storage", Decimal(812), Decimal(1000), unit="GB", kind="USAGE"),
        ]

    def _described(self, budget: SimulatedBudget, with_expression: bool) -> dict[str, Any]:
        def spend(amount: Decimal) -> dict[str, str]:
            return {"Amount": f"{amount:f}", "Unit": budget.unit}

        members: dict[str, Any] = {
            "BudgetName": budget.name,
            "BudgetType": budget.kind,
            "TimeUnit": budget.time_unit,
            "TimePeriod": {
                "Start": self._organization.created.timestamp(),
                "End": _EVER.timestamp(),
            },
            "CostFilters": {},
            "LastUpdatedTime": self._now().timestamp(),
        }
        if budget.limit is not None:
            members["BudgetLimit"] = spend(budget.limit)
        if budget.actual is not None:
            members["CalculatedSpend"] = {"ActualSpend": spend(budget.actual)}
            if budget.forecast is not None:
                members["CalculatedSpend"]["ForecastedSpend"] = spend(budget.forecast)
        if budget.account_id is not None and not budget.expression:
            members["CostFilters"] = {"LinkedAccount": [budget.account_id]}
        elif budget.account_id is not None and with_expression:
            members["FilterExpression"] = _expression(budget.account_id)
        return members


def _expression(account_id: str) -> Mapping[str, Any]:
    account = {"Dimensions": {"Key": "LINKED_ACCOUNT", "Values": [account_id]}}
    usage = {"Not": {"Dimensions": {"Key": "RECORD_TYPE", "Values": ["Tax"]}}}
    return {"And": [account, usage]}
