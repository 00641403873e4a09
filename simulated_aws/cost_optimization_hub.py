"""Cost Optimization Hub: recommendations of the organisation, one for each resource or all, in pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from simulated_aws.input_model import check_input
from simulated_aws.organization import Organization
from simulated_aws.spec import OrganizationSpec
from simulated_aws.wire import AwsCall, AwsError, Tokens

_GROUPS = {
    "AccountId": "account_id",
    "Region": "region",
    "ActionType": "action",
    "ResourceType": "resource_type",
}


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One recommendation; `usd` is what it saves a month. A resource may have several."""

    account_id: str
    region: str
    resource_id: str
    resource_type: str
    action: str
    usd: Decimal


class CostOptimizationHub:
    """Answers its calls; what it recommends can be replaced at any time.

    `overlap` is what recommendations of different resources save twice: its total leaves that out once.
    """

    def __init__(
        self,
        spec: OrganizationSpec,
        organization: Organization,
        now: Callable[[], datetime],
        tokens: Tokens,
    ) -> None:
        self._payer_id = organization.payer.id
        self._now = now
        self._tokens = tokens
        self.is_enrolled = True
        self.currency = "USD"
        self.page_size = 100
        self.recommendations: Sequence[Recommendation] = list(_generated(spec, organization))
        self.overlap = Decimal("12.5")
        self._operations: dict[str, Callable[[AwsCall], dict[str, Any]]] = {
            "ListRecommendations": self._list_recommendations,
            "ListRecommendationSummaries": self._list_summaries,
        }

    def answer(self, call: AwsCall) -> dict[str, Any]:
        """The response members of one call; AwsError otherwise."""
        operation = self._operations.get(call.operation)
        if operation is None or call.region != "us-east-1":
            raise AwsError("UnknownOperationException", f"{call.operation} is not part of this simulation.")
        check_input("cost-optimization-hub", call.operation, call.params)
        if call.params.get("filter"):
            raise AwsError("ValidationException", "filter is not part of this simulation.")
        if not self.is_enrolled:
            raise AwsError("AccessDeniedException", "AWS account is not enrolled for recommendations.")
        return operation(call)

    def _visible(self, call: AwsCall) -> list[Recommendation]:
        return [each for each in self.recommendations if call.account_id in (self._payer_id, each.account_id)]

    def _list_recommendations(self, call: AwsCall) -> dict[str, Any]:
        found = self._visible(call)
        if not call.params.get("includeAllRecommendations"):
            found = _best(found)
        items = [
            {
                "recommendationId": f"{each.account_id}-{each.resource_id}-{each.action}",
                "accountId": each.account_id,
                "region": each.region,
                "resourceId": each.resource_id,
                "currentResourceType": each.resource_type,
                "recommendedResourceType": each.resource_type,
                "estimatedMonthlySavings": float(each.usd),
                "estimatedSavingsPercentage": 25.0,
                "estimatedMonthlyCost": float(each.usd * 4),
                "currencyCode": self.currency,
                "implementationEffort": "Medium",
                "restartNeeded": False,
                "actionType": each.action,
                "rollbackPossible": True,
                "lastRefreshTimestamp": self._now().timestamp(),
                "recommendationLookbackPeriodInDays": 14,
                "source": "ComputeOptimizer",
                "tags": [],
            }
            for each in found
        ]
        return self._page(call, items)

    def _list_summaries(self, call: AwsCall) -> dict[str, Any]:
        name = _GROUPS.get(str(call.params["groupBy"]))
        if name is None:
            raise AwsError("ValidationException", f"groupBy: {call.params['groupBy']} is not simulated.")
        found = _best(self._visible(call))
        groups: defaultdict[str, list[Decimal]] = defaultdict(list)
        for each in found:
            groups[getattr(each, name)].append(each.usd)
        items = [
            {"group": group, "estimatedMonthlySavings": float(sum(usd)), "recommendationCount": len(usd)}
            for group, usd in sorted(groups.items())
        ]
        total = sum((each.usd for each in found), Decimal(0))
        return {
            "estimatedTotalDedupedSavings": float(max(total - self.overlap, Decimal(0))),
            "groupBy": call.params["groupBy"],
            "currencyCode": self.currency,
            **self._page(call, items),
        }

    def _page(self, call: AwsCall, items: list[dict[str, Any]]) -> dict[str, Any]:
        asked = {key: value for key, value in call.params.items() if key != "nextToken"}
        skip = 0
        if token := call.params.get("nextToken"):
            state = self._tokens.read(str(token), call.operation, asked)
            if state is None:
                raise AwsError("ValidationException", "The pagination token is invalid.")
            skip = int(state["skip"])
        end = skip + min(int(call.params.get("maxResults") or self.page_size), self.page_size)
        if end >= len(items):
            return {"items": items[skip:]}
        token = self._tokens.write(call.operation, asked, {"skip": end})
        return {"items": items[skip:end], "nextToken": token}


def _best(recommendations: Sequence[Recommendation]) -> list[Recommendation]:
    """The one of each resource that saves most."""
    best: dict[tuple[str, str], Recommendation] = {}
    for each in recommendations:
        key = (each.account_id, each.resource_id)
        if key not in best or each.usd > best[key].usd:
            best[key] = each
    return list(best.values())


def _generated(spec: OrganizationSpec, organization: Organization) -> Iterator[Recommendation]:
    """Some of each account, after its size, and Savings Plans for the payer."""
    for number, account in enumerate(organization.accounts):
        region = spec.regions[number % len(spec.regions)]
        daily = Decimal(account.daily_usd)
        instance, volume = f"i-{account.id}", f"vol-{account.id}"
        yield Recommendation(account.id, region, instance, "Ec2Instance", "Rightsize", daily * 9 / 10)
        yield Recommendation(account.id, region, instance, "Ec2Instance", "MigrateToGraviton", daily * 4 / 10)
        yield Recommendation(account.id, region, volume, "EbsVolume", "Upgrade", daily / 10)
        if number % 3 == 0:
            database = f"db-{account.id}"
            yield Recommendation(account.id, region, database, "RdsDbInstance", "Stop", daily * 12 / 10)
    daily = Decimal(sum(account.daily_usd for account in organization.accounts))
    yield Recommendation(
        organization.payer.id, "global", "", "ComputeSavingsPlans", "PurchaseSavingsPlans", daily * 15 / 10
    )
