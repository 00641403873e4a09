"""Each Savings Plan and reservation as Cost Explorer reports it: attributes and use over some days."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from simulated_aws.organization import Account, Organization

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingsPlan:
    """One plan. Amounts are USD a day; `on_demand` is what the use that it covered costs on demand."""

    id: str
    account_id: str
    commitment: Decimal
    unused: Decimal
    on_demand: Decimal
    start: datetime
    end: datetime
    kind: str = "ComputeSavingsPlans"
    payment_option: str = "No Upfront"
    term: str = "1yr"
    region: str = "Any"
    family: str = ""

    def days(self, first: date, last: date) -> int:
        """Days of [first, last) on which the plan is in effect."""
        return _overlap(self.start, self.end, first, last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """One reservation of `count` instances. Hours and fees (USD) are of a day."""

    id: str
    subscription_id: str
    account_id: str
    service: str
    purchased_hours: Decimal
    used_hours: Decimal
    fee: Decimal
    unused_fee: Decimal
    start: datetime
    end: datetime
    instance_type: str
    count: int = 1
    region: str = "us-east-1"
    platform: str = ""
    payment_option: str = "No Upfront"
    offering: str = "standard"

    def days(self, first: date, last: date) -> int:
        """Days of [first, last) on which the reservation is in effect."""
        return _overlap(self.start, self.end, first, last)


def _overlap(start: datetime, end: datetime, first: date, last: date) -> int:
    return max((min(last, end.date()) - max(first, start.date())).days, 0)


def percentage(part: Decimal, whole: Decimal) -> str:
    """A share as Cost Explorer writes it, from 0 to 100."""
    return f"{part / whole * 100:.10f}" if whole else "0"


def plan_utilization(total: Decimal, unused: Decimal, on_demand: Decimal, upfront: Decimal) -> dict[str, Any]:
    """What Cost Explorer reports of one plan, or of all together."""
    return {
        "Utilization": {
            "TotalCommitment": f"{total:f}",
            "UsedCommitment": f"{total - unused:f}",
            "UnusedCommitment": f"{unused:f}",
            "UtilizationPercentage": percentage(total - unused, total),
        },
        "Savings": {
            "NetSavings": f"{on_demand - total:f}",
            "OnDemandCostEquivalent": f"{on_demand:f}",
        },
        "AmortizedCommitment": {
            "AmortizedRecurringCommitment": f"{total - upfront:f}",
            "AmortizedUpfrontCommitment": f"{upfront:f}",
            "TotalAmortizedCommitment": f"{total:f}",
        },
    }


def plan_details(
    plan: SavingsPlan, days: int, accounts: Mapping[str, Account], payer_id: str, now: datetime
) -> dict[str, Any]:
    """An item of GetSavingsPlansUtilizationDetails."""
    arn = f"arn:aws:savingsplans::{payer_id}:savingsplan/{plan.id}"
    hourly = plan.commitment / 24
    upfront = _upfront_share(plan.payment_option)
    attributes = {
        "AccountId": plan.account_id,
        "AccountName": _name(accounts, plan.account_id),
        "EndDateTime": _moment(plan.end),
        "HourlyCommitment": f"{hourly:f}",
        "InstanceFamily": plan.family,
        "PaymentOption": plan.payment_option,
        "PurchaseTerm": plan.term,
        "RecurringHourlyFee": f"{hourly * (1 - upfront):f}",
        "Region": plan.region,
        "SavingsPlanARN": arn,
        "SavingsPlansType": plan.kind,
        "StartDateTime": _moment(plan.start),
        "Status": "Active" if now < plan.end else "Retired",
        "UpfrontFee": f"{plan.commitment * (plan.end - plan.start).days * upfront:f}",
    }
    total = plan.commitment * days
    return {
        "SavingsPlanArn": arn,
        "Attributes": attributes,
        **plan_utilization(total, plan.unused * days, plan.on_demand * days, total * upfront),
    }


def plans_total(plans: Sequence[tuple[SavingsPlan, int]]) -> dict[str, Any]:
    """The total of plans, each over its days."""
    return plan_utilization(
        sum((plan.commitment * days for plan, days in plans), _ZERO),
        sum((plan.unused * days for plan, days in plans), _ZERO),
        sum((plan.on_demand * days for plan, days in plans), _ZERO),
        sum((plan.commitment * days * _upfront_share(plan.payment_option) for plan, days in plans), _ZERO),
    )


def reservation_utilization(held: Sequence[tuple[Reservation, int]]) -> dict[str, str]:
    """The use of reservations, each over its days."""
    purchased = sum((each.purchased_hours * days for each, days in held), _ZERO)
    used = sum((each.used_hours * days for each, days in held), _ZERO)
    fee = sum((each.fee * days for each, days in held), _ZERO)
    upfront = sum((each.fee * days * _upfront_share(each.payment_option) for each, days in held), _ZERO)
    return {
        "UtilizationPercentage": percentage(used, purchased),
        "PurchasedHours": f"{purchased:f}",
        "TotalActualHours": f"{used:f}",
        "UnusedHours": f"{purchased - used:f}",
        "AmortizedUpfrontFee": f"{upfront:f}",
        "AmortizedRecurringFee": f"{fee - upfront:f}",
        "TotalAmortizedFee": f"{fee:f}",
        "RICostForUnusedHours": f"{sum((each.unused_fee * days for each, days in held), _ZERO):f}",
    }


def reservation_group(
    each: Reservation, days: int, accounts: Mapping[str, Account], now: datetime
) -> dict[str, Any]:
    """A group of GetReservationUtilization by SUBSCRIPTION_ID."""
    attributes = {
        "accountId": each.account_id,
        "accountName": _name(accounts, each.account_id),
        "availabilityZone": "",
        "endDateTime": _moment(each.end),
        "instanceType": each.instance_type,
        "leaseId": each.id,
        "numberOfInstances": str(each.count),
        "offeringType": each.offering,
        "platform": each.platform,
        "region": each.region,
        "scope": "Region",
        "sizeFlexibility": "FlexRI",
        "startDateTime": _moment(each.start),
        "subscriptionId": each.subscription_id,
        "subscriptionStatus": "Active" if now < each.end else "Expired",
        "subscriptionType": each.payment_option,
        "tenancy": "Shared",
    }
    return {
        "Key": "SUBSCRIPTION_ID",
        "Value": each.subscription_id,
        "Attributes": attributes,
        "Utilization": reservation_utilization([(each, days)]),
    }


def _upfront_share(payment_option: str) -> Decimal:
    return {"All Upfront": Decimal(1), "Partial Upfront": Decimal("0.5")}.get(payment_option, _ZERO)


def _name(accounts: Mapping[str, Account], account_id: str) -> str:
    return accounts[account_id].name if account_id in accounts else ""


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


# What an organization holds by default


def generated_plans(
    organization: Organization, commitment: Decimal, unused: Decimal, on_demand: Decimal
) -> list[SavingsPlan]:
    """Three plans that together are the organization's: a compute plan, one of a family, and a small one."""
    payer, owner = organization.payer, organization.accounts[1 % len(organization.accounts)]
    shares = (("5", "1"), ("3", "0"), ("2", "9"))
    kinds: tuple[dict[str, Any], ...] = (
        {"account_id": payer.id, "payment_option": "No Upfront", "term": "3yr"},
        {
            "account_id": owner.id,
            "kind": "EC2InstanceSavingsPlans",
            "payment_option": "All Upfront",
            "region": organization.spec.regions[0],
            "family": "m6i",
        },
        {"account_id": payer.id, "payment_option": "Partial Upfront"},
    )
    made = []
    for number, (kind, (share, unused_share)) in enumerate(zip(kinds, shares, strict=True)):
        start, end = _term(organization, number, years=3 if kind.get("term") == "3yr" else 1)
        made.append(
            SavingsPlan(
                id=str(uuid.UUID(bytes=_digest(organization, "plan", number)[:16])),
                commitment=commitment * Decimal(share) / 10,
                unused=unused * Decimal(unused_share) / 10,
                on_demand=on_demand * Decimal(share) / 10,
                start=start,
                end=end,
                **kind,
            )
        )
    return made


def generated_reservations(
    organization: Organization,
    service: str,
    instance_type: str,
    hours: tuple[Decimal, Decimal],
    fees: tuple[Decimal, Decimal],
) -> list[Reservation]:
    """Two reservations that together are those of a service; `hours` are purchased and used, `fees` paid and unused."""
    account_id = organization.accounts[1 % len(organization.accounts)].id
    unused_hours = hours[0] - hours[1]
    made = []
    for number, (share, unused_share) in enumerate(((Decimal("0.6"), 0), (Decimal("0.4"), 1))):
        start, end = _term(organization, number, years=1)
        digits = int.from_bytes(_digest(organization, service, number)[:8], "big") % 10**10
        purchased = hours[0] * share
        made.append(
            Reservation(
                id=f"ri-{start:%Y-%m-%d}-{digits % 1000:03}",
                subscription_id=str(digits).zfill(10),
                account_id=account_id,
                service=service,
                purchased_hours=purchased,
                used_hours=purchased - unused_hours * unused_share,
                fee=fees[0] * share,
                unused_fee=fees[1] * unused_share,
                start=start,
                end=end,
                instance_type=instance_type,
                count=int(purchased / 24),
                region=organization.spec.regions[0],
                platform="PostgreSQL",
                payment_option=("No Upfront", "Partial Upfront")[number],
            )
        )
    return made


def _term(organization: Organization, number: int, *, years: int) -> tuple[datetime, datetime]:
    """A term that ends 50 days after the simulated start, or later, a hundred days apart."""
    ends_on = organization.created.date() + timedelta(days=50 + 100 * number)
    end = datetime.combine(ends_on, time(18, 24, 56), UTC)
    return end - timedelta(days=365 * years, seconds=-1), end


def _digest(organization: Organization, *parts: object) -> bytes:
    return hashlib.sha256(":".join(map(str, (organization.id, *parts))).encode()).digest()
