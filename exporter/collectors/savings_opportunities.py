"""What could be saved, from Cost Optimization Hub: free requests, once the organization is enrolled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from math import ceil
from typing import Any

from pydantic import Field

from exporter.aws.advice import advice
from exporter.aws.errors import AwsError, Kind, reading
from exporter.aws.partitions import billing_region
from exporter.core.fields import CollectorSettings, Duration
from exporter.core.folding import fold
from exporter.core.metric import Family, Folded, Sample
from exporter.core.moments import times_a_month
from exporter.core.money import parse_amount
from exporter.core.places import Scope, Target
from exporter.declarations.calls import CheckCall, FreeCall, Scale
from exporter.declarations.collector import Collector
from exporter.declarations.context import Context

_SERVICE = "cost-optimization-hub"
_PAGE = 1000
_RECOMMENDATIONS_OF_AN_ACCOUNT = 50

OPPORTUNITY = Family(
    "aws_savings_opportunity_usd",
    "What Cost Optimization Hub estimates could be saved a month by one recommendation for each resource."
    " Recommendations of different resources may overlap, such as a smaller instance and a Savings Plan for it:"
    " aws_savings_opportunity_deduplicated_usd is the total without that. Resource types and actions are AWS's own words.",
    ("account_id", "account", "region", "resource_type", "action"),
)
DEDUPLICATED = Family(
    "aws_savings_opportunity_deduplicated_usd",
    "What Cost Optimization Hub estimates the organization could save a month, each overlap of recommendations counted once.",
)


class SavingsOpportunitiesSettings(CollectorSettings):
    """Recommendations of Cost Optimization Hub; its requests are free."""

    interval: Duration = Field(
        default=timedelta(days=1), description="Time between two reads; AWS refreshes them daily."
    )
    series_limit: int = Field(
        default=1000, ge=10, description="Most series; the smallest savings become `other`."
    )


def collect(ctx: Context[SavingsOpportunitiesSettings], target: Target) -> Iterator[Sample | Folded]:
    """One recommendation for each resource, summed up by label, and the total that AWS deduplicates."""
    region = billing_region(_SERVICE, target.partition)
    found: dict[str, tuple[tuple[str, ...], Decimal]] = {}
    try:
        with reading("Cost Optimization Hub's answer"):
            pages = ctx.paginate_payer(target, _SERVICE, "ListRecommendations", region, {"maxResults": _PAGE})
            for page in pages:
                for item in page["items"]:
                    # A list that moves while it is read may name one twice.
                    found[item["recommendationId"]] = (
                        _labels(item),
                        _usd(item, item["estimatedMonthlySavings"]),
                    )
            summary = ctx.call_payer(
                target, _SERVICE, "ListRecommendationSummaries", region, {"groupBy": "ActionType"}
            )
            total = summary.get("estimatedTotalDedupedSavings")
            deduplicated = None if total is None else _usd(summary, total)
    except AwsError as error:
        if error.kind is Kind.NOT_ENROLLED:
            raise AwsError(error.kind, f"{error}; {advice(error)}", code=error.code) from error
        raise
    if deduplicated is not None:
        yield DEDUPLICATED(deduplicated)
    sums: defaultdict[tuple[str, ...], Decimal] = defaultdict(Decimal)
    for labels, usd in found.values():
        sums[labels] += usd
    names = ctx.ledger.accounts.names()
    samples = []
    for (account_id, *others), usd in sorted(sums.items()):
        samples.append(Sample(OPPORTUNITY, (account_id, ctx.account(account_id, names), *others), float(usd)))
    yield from fold(samples, ("region", "resource_type"), ctx.settings.series_limit)


def _labels(item: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return item["accountId"], item.get("region", ""), item["currentResourceType"], item["actionType"]


def _usd(told: Mapping[str, Any], amount: float) -> Decimal:
    """A number of the wire as it was written there."""
    usd = parse_amount(repr(amount))
    currency = told.get("currencyCode")
    if currency != "USD" and usd:
        raise AwsError(
            Kind.CURRENCY,
            f"Cost Optimization Hub estimates in {currency!r}, expected USD: another currency is never mixed in",
        )
    return usd


def free_calls(settings: SavingsOpportunitiesSettings, scale: Scale) -> Iterator[FreeCall]:
    """Pages of a 30-day month."""
    reads = times_a_month(settings.interval)
    pages = ceil(scale.accounts * _RECOMMENDATIONS_OF_AN_ACCOUNT / _PAGE)
    yield FreeCall(
        service=_SERVICE,
        operation="ListRecommendations",
        per_month=reads * pages,
        note="pages of 1,000 recommendations",
    )
    yield FreeCall(
        service=_SERVICE,
        operation="ListRecommendationSummaries",
        per_month=reads,
        note="their total, deduplicated by AWS",
    )


COLLECTOR = Collector(
    name="savings_opportunities",
    help="What could be saved, from Cost Optimization Hub.",
    scope=Scope.PAYER,
    settings=SavingsOpportunitiesSettings,
    families=(OPPORTUNITY, DEDUPLICATED),
    check=CheckCall(
        service=_SERVICE, operation="ListRecommendations", params=lambda target: {"maxResults": 1}
    ),
    iam_actions=(
        "cost-optimization-hub:ListRecommendationSummaries",
        "cost-optimization-hub:ListRecommendations",
    ),
    collect=collect,
    free_calls=free_calls,
)
