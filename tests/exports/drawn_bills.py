"""Drawn bills: rows of every type of line that an export has, with amounts that AWS's formulas can express."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from exporter.core.moments import days_between
from simulated_aws import ExplicitCost
from simulated_aws.cost_truth import METRICS
from simulated_aws.service_catalog import COMPUTE, MARKETPLACE, OTHER_EC2, SAVINGS_PLANS, SUPPORT, TAX

SERVICES = ("AWS Lambda", "Amazon DynamoDB", "Amazon Simple Storage Service", COMPUTE, OTHER_EC2)
REGIONS = ("us-east-1", "eu-central-1", "global")
TEAMS = ("checkout", "data", "")
_USAGE_TYPES = {COMPUTE: ("BoxUsage:m6i.large", "SpotUsage:c6g.xlarge"), OTHER_EC2: ("EBS:VolumeUsage.gp3",)}
_OTHER_USAGE_TYPES = ("Requests-Tier1", "TimedStorage-ByteHrs", "DataTransfer-Out-Bytes")

DAILY_TYPES = (
    "Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation", "SavingsPlanRecurringFee", "Credit",
    "Refund", "Private Rate Card Discount", "Enterprise Discount Program Discount", "Marketplace",
)  # fmt: skip
MONTHLY_TYPES = (
    "RIFee", "Fee", "Reservation", "Support", "Tax", "SavingsPlanUpfrontFee", "Refund of a plan", "Bundled Discount",
    "FlatRateSubscription", "SomethingNew", "Partial upfront",
)  # fmt: skip
ALL_TYPES = (*DAILY_TYPES, *MONTHLY_TYPES)
"""Names of what is drawn: Cost Explorer's RECORD_TYPE, or a special case of one."""


def charge(kind: str, day: date, account_id: str, rng: Random, *, hours: int | None = None) -> ExplicitCost:
    """A charge of one of ALL_TYPES; it is reported from `hours` after the day's start on, None: always."""
    service = rng.choice(SERVICES)
    usage_type = rng.choice(_USAGE_TYPES.get(service, _OTHER_USAGE_TYPES))
    region, team = rng.choice(REGIONS), rng.choice(TEAMS)
    tags = tuple(
        (key, value) for key, value in (("team", team), ("environment", rng.choice(("prod", "")))) if value
    )
    row = ExplicitCost(
        day,
        account_id,
        service,
        {},
        region=region,
        usage_type=usage_type,
        tags=tags,
        visible_from=None if hours is None else datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hours),
    )  # fmt: skip
    usd, net = _usd(rng), _usd(rng)
    plan: dict[str, Any] = {"service": SAVINGS_PLANS, "region": "global", "tags": ()}
    match kind:
        case "DiscountedUsage" | "SavingsPlanCoveredUsage" | "RIFee":
            return replace(row, record_type=kind, amounts={name: _usd(rng) for name in METRICS[:5]})
        case "SavingsPlanNegation" | "SavingsPlanUpfrontFee":
            of_plan = {**plan, "usage_type": "ComputeSP:3yrAllUpfront"} if kind.endswith("Fee") else {}
            sign = 1 if kind.endswith("Fee") else -1
            return replace(
                row, record_type=kind, amounts=_paid(sign * usd, sign * net, nothing=True), **of_plan
            )
        case "SavingsPlanRecurringFee":
            # Without an upfront fee, three quarters are paid, of what is unused as of all.
            paid, unused = 4 * usd, 4 * min(usd, _usd(rng))
            amounts = _amounts(paid, paid, unused, 3 * usd, unused * 3 / 4)
            return replace(
                row, record_type=kind, amounts=amounts, **plan, usage_type="ComputeSP:1yrNoUpfront"
            )
        case "Partial upfront":
            paid, unused = 4 * usd, 4 * _usd(rng)
            amounts = _amounts(paid, paid, unused, 2 * usd, unused / 2)
            plan["usage_type"] = "ComputeSP:1yrPartialUpfront"
            return replace(row, record_type="SavingsPlanRecurringFee", amounts=amounts, **plan)
        case "Reservation":
            return replace(row, record_type="Fee", amounts=_paid(usd, net, nothing=True))
        case "Refund of a plan":
            plan["usage_type"] = "ComputeSP:3yrAllUpfront"
            return replace(row, record_type="Refund", amounts=_paid(-usd, -net, nothing=True), **plan)
        case "Credit" | "Refund":
            return replace(row, record_type=kind, amounts=_paid(-usd, -net))
        case "Support":
            return replace(
                row,
                record_type=kind,
                service=SUPPORT,
                region="global",
                usage_type="Dollar",
                amounts=_paid(usd, net),
                tags=(),
            )
        case "Tax":
            return replace(
                row,
                record_type=kind,
                service=TAX,
                region="global",
                usage_type="Tax",
                amounts=_paid(usd, net),
                tags=(),
            )
        case "Marketplace":
            return replace(
                row,
                service="Marketplace Product 1",
                usage_type="MP:units",
                billing_entity=MARKETPLACE,
                amounts=_paid(usd, net),
            )
        case "Private Rate Card Discount" | "Enterprise Discount Program Discount" | "Bundled Discount":
            return replace(row, record_type=kind, amounts=_paid(-usd, -net) | {"BlendedCost": Decimal(0)})
    return replace(row, record_type=kind, amounts=_paid(usd, net))  # fmt: skip


def drawn_bill(account_ids: Sequence[str], first: date, end: date, seed: int = 1) -> Iterator[ExplicitCost]:
    """Each day a few charges of each account, and on the 1st of each month one of each monthly type."""
    rng = Random(seed)
    for day in days_between(first, end):
        for account_id in account_ids:
            for _ in range(3):
                yield charge("Usage", day, account_id, rng, hours=rng.choice((3, 9, 20, 30)))
            yield charge(rng.choice(DAILY_TYPES), day, account_id, rng, hours=rng.choice((3, 9, 20, 30)))
        if day.day == 1:
            for kind in MONTHLY_TYPES:
                yield charge(kind, day, rng.choice(account_ids), rng, hours=0)


def _usd(rng: Random) -> Decimal:
    return Decimal(rng.randrange(1, 5 * 10**12)).scaleb(-10)


def _paid(usd: Decimal, net: Decimal, *, nothing: bool = False) -> dict[str, Decimal]:
    """What costs when it is paid; with `nothing`, what it pays for is amortized elsewhere."""
    zero = Decimal(0)
    return _amounts(usd, usd, zero if nothing else usd, net, zero if nothing else net)


def _amounts(*usd: Decimal) -> dict[str, Decimal]:
    return dict(zip(METRICS[:5], usd, strict=True))
