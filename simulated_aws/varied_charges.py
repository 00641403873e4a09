"""Charges of each kind that has a separate line type in an export; few organizations have all of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Protocol

from simulated_aws.charges import UNIT, Amounts, CostKey, plain
from simulated_aws.organization import Account, Organization
from simulated_aws.service_catalog import COMPUTE, SAVINGS_PLANS, region_prefix, usage_type_in

_CACHE = "Amazon ElastiCache"
_PAID_UPFRONT = "ComputeSP:3yrAllUpfront"
_PRODUCT = "Marketplace Product 1"
_CDN = "Amazon CloudFront"


class _Keys(Protocol):
    def __call__(
        self,
        account: Account,
        service: str,
        record_type: str,
        region: str,
        usage_type: str,
        *,
        tagged: bool = True,
    ) -> CostKey: ...


class VariedCharges:
    """Draws them; an account that does not exist then, or no longer, has none."""

    def __init__(self, organization: Organization, region: str, key: _Keys) -> None:
        self._organization = organization
        self._region = region
        self._key = key

    def of_day(self, day: date) -> Iterator[tuple[int, CostKey, Amounts]]:
        """The charges of a day: the hour after the day's start when each shows, its key and amounts."""
        payer = self._organization.payer
        account = next(
            (a for a in self._organization.accounts[1:] if a.joined <= day and not a.suspended_on), payer
        )
        yield from self._each_day(day, payer, account)
        if day.day == 1:
            yield from self._each_month(day, payer, account)

    def _each_day(
        self, day: date, payer: Account, account: Account
    ) -> Iterator[tuple[int, CostKey, Amounts]]:
        prefix, percent = region_prefix(self._region), account.daily_usd * UNIT // 100
        unused = payer.daily_usd * UNIT * (1 + day.toordinal() % 2) // 1000
        key = self._key(
            payer, SAVINGS_PLANS, "SavingsPlanRecurringFee", "global", _PAID_UPFRONT, tagged=False
        )
        yield 6, key, (0, 0, unused, 0, unused * 97 // 100, 24 * UNIT)
        product = self._key(account, _PRODUCT, "Usage", self._region, f"{prefix}MP:monitored-units")
        yield 9, product, plain(3 * percent, 12)
        node = self._key(
            account, _CACHE, "DiscountedUsage", self._region, f"{prefix}NodeUsage:cache.r6g.large"
        )
        yield 4, node, (0, 0, 2 * percent, 0, 2 * percent * 96 // 100, 24 * UNIT)
        compute = usage_type_in(COMPUTE, self._region, "")
        rate = self._key(account, COMPUTE, "Private Rate Card Discount", self._region, compute)
        yield 5, rate, _discount(percent)

    def _each_month(
        self, day: date, payer: Account, account: Account
    ) -> Iterator[tuple[int, CostKey, Amounts]]:
        prefix = region_prefix(self._region)
        fee = account.daily_usd * UNIT * 30 * 2 // 100
        key = self._key(payer, _CACHE, "RIFee", self._region, f"{prefix}HeavyUsage:cache.r6g.large")
        yield 3, key, (fee, fee, fee // 10, fee * 97 // 100, fee // 10 * 97 // 100, 720 * UNIT)
        plan = self._key(payer, _CDN, "FlatRateSubscription", "global", "FlatRatePlan-Pro", tagged=False)
        yield 3, plan, plain(200 * UNIT, 0)
        bundle = self._key(payer, _CDN, "Bundled Discount", "global", "Global-DataTransfer-Out-Bytes")
        yield 3, bundle, _discount(15 * UNIT)
        contract = self._key(account, _PRODUCT, "Fee", self._region, f"{prefix}MP:contract", tagged=False)
        yield 3, contract, plain(300 * UNIT, 0)
        upfront = payer.daily_usd * UNIT * 20
        if day.month in (3, 9):
            key = self._key(
                payer, SAVINGS_PLANS, "SavingsPlanUpfrontFee", "global", _PAID_UPFRONT, tagged=False
            )
            yield 3, key, (upfront, upfront, 0, upfront * 97 // 100, 0, UNIT)
        if day.month in (4, 10):
            back = -upfront // 2
            key = self._key(payer, SAVINGS_PLANS, "Refund", "global", _PAID_UPFRONT, tagged=False)
            yield 3, key, (back, back, 0, back * 97 // 100, 0, 0)


def _discount(value: int) -> Amounts:
    """A discount as a row: it has no blended cost."""
    net = -value * 97 // 100
    return (-value, 0, -value, net, net, 0)
