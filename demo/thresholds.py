"""Spend thresholds for the demo: an untouched organisation stays below them, a spike does not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any

DailyCosts = Mapping[tuple[date, str, str], Decimal]
"""USD by (day, account id, service)."""

# Days that an alert may look at: today, the two days before, and the newest settled one.
WATCHED_DAYS = 5
# The newest settled day is one of these, depending on the hour.
SETTLING_DAYS = (2, 3)
SURE = Decimal("1.1")
# A spike by 3 of a service that is a third of an account adds two thirds: 25% leaves room on both sides.
HEADROOM = Decimal("1.25")
SMALLEST = Decimal(20)
# More than a month has, so that the fees of its first day do not count.
DAYS_A_MONTH_AT_MOST = 40


@dataclass(frozen=True, slots=True)
class Thresholds:
    """USD a day for the organisation and for each account by its id."""

    organization: Decimal
    accounts: Mapping[str, Decimal]

    def as_config(self) -> dict[str, Any]:
        """The `thresholds` section of the exporter's configuration."""
        return {
            "organization": {
                "day": int(self.organization),
                "month": int(self.organization) * DAYS_A_MONTH_AT_MOST,
            },
            "accounts": {
                "overrides": {
                    account: {"day": int(usd), "month": int(usd) * DAYS_A_MONTH_AT_MOST}
                    for account, usd in sorted(self.accounts.items())
                }
            },
        }


def choose_thresholds(costs: DailyCosts, today: date) -> Thresholds:
    """A quarter above the most expensive day of two weeks, so that a weekday's rhythm does not fire either.

    Fees, tax and support of a month's first day count only while an alert may look at that day.
    """
    watched = _watched(today)
    usual = {key: usd for key, usd in costs.items() if key[0].day != 1 or key[0] in watched}
    accounts = {account for _, account, _ in costs}
    return Thresholds(
        organization=_above(_days(usual.items(), None).values()),
        accounts={account: _above(_days(usual.items(), account).values()) for account in accounts},
    )


def factor_needed(
    costs: DailyCosts,
    limit: Decimal,
    account: str,
    service: str,
    today: date,
    *,
    organization: bool = False,
) -> Decimal | None:
    """By what a service must be multiplied for its account to pass the limit for sure; None if nothing helps.

    With `organization`, for all accounts together to pass it.

    Usually below 3; more in the first days of a month, when the limit leaves room for fees and tax. Only the
    days that may be the newest settled one count: today and yesterday are partial.
    """
    totals = _days(costs.items(), None if organization else account)
    needed = Decimal(1)
    for back in SETTLING_DAYS:
        day = today - timedelta(days=back)
        spent = costs.get((day, account, service), Decimal(0))
        if spent <= 0:
            return None
        needed = max(needed, 1 + (limit * SURE - totals[day]) / spent)
    return needed.to_integral_value(ROUND_CEILING)


def _watched(today: date) -> set[date]:
    return {today - timedelta(days=back) for back in range(WATCHED_DAYS)}


def _days(costs: Iterable[tuple[tuple[date, str, str], Decimal]], account: str | None) -> dict[date, Decimal]:
    sums: dict[date, Decimal] = {}
    for (day, owner, _), usd in costs:
        if account is None or owner == account:
            sums[day] = sums.get(day, Decimal(0)) + usd
    return sums


def _above(usd: Iterable[Decimal]) -> Decimal:
    """The headroom above the largest amount, in steps of 10 USD."""
    largest = max(max(usd, default=Decimal(0)) * HEADROOM, SMALLEST)
    return (largest / 10).to_integral_value(ROUND_CEILING) * 10
