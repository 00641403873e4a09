"""Today and yesterday by account, by service of the organization, and the part of them that is no usage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from exporter.core.metric import Family, Sample
from exporter.core.money import to_usd
from exporter.cost.non_usage import is_split
from exporter.cost.settings import CostSettings
from exporter.declarations.view import ViewContext

_ACCOUNT = ("account_id", "account")
_PAIR = (*_ACCOUNT, "service")
_NON_USAGE = (
    "Non-usage charges (tax, support, fees, credits, refunds) of {day}, part of {total}; only what is not zero."
    " Read about once a day: aws_cost_non_usage_known shows whether the part is that of the total."
)


@dataclass(frozen=True, slots=True)
class _Day:
    """The families of one day."""

    name: str
    by_service: Family
    by_account: Family
    non_usage: Family

    @classmethod
    def of(cls, name: str, day: str, note: str) -> _Day:
        total = f"aws_cost_{name}_usd"
        return cls(
            name,
            Family(
                f"aws_cost_{name}_by_service_usd",
                f"Cost of {day} by service of the whole organization; {note}.",
                ("service",),
            ),
            Family(f"aws_cost_{name}_by_account_usd", f"Cost of {day} by account; {note}.", _ACCOUNT),
            Family(f"aws_cost_{name}_non_usage_usd", _NON_USAGE.format(day=day, total=total), _PAIR),
        )


TODAY = _Day.of("today", "the current UTC day", "partial")
YESTERDAY = _Day.of("yesterday", "the previous UTC day", "may still be partial")
NON_USAGE_KNOWN = Family(
    "aws_cost_non_usage_known",
    "1 if the non-usage charges of today or yesterday (`day`) have been read, and on the first three days of a month"
    " since the day's cost moved last; 0: what is left of the total is not all usage.",
    ("day",),
    is_summable=False,
)
SUM_FAMILIES = tuple(family for day in (TODAY, YESTERDAY) for family in (day.by_service, day.by_account))
NON_USAGE_FAMILIES = (TODAY.non_usage, YESTERDAY.non_usage, NON_USAGE_KNOWN)


def _days(view: ViewContext[CostSettings]) -> Iterable[tuple[_Day, date]]:
    """The days that have been read."""
    today = view.now.date()
    yesterday = today - timedelta(days=1)
    states = view.ledger.reads.day_states(yesterday, today + timedelta(days=1))
    for families, day in ((TODAY, today), (YESTERDAY, yesterday)):
        if day in states and states[day].read_at is not None:
            yield families, day


def render_sums(view: ViewContext[CostSettings]) -> Iterable[Sample]:
    """By service and by account: of every service, also of those that an account has no room for."""
    series = view.ledger.cost.series()
    for families, day in _days(view):
        by_service: dict[str, int] = {}
        by_account: dict[str, int] = {}
        for number, total, _ in view.ledger.cost.day_parts(day, view.settings.cost_type):
            account_id, service = series[number]
            by_service[service] = by_service.get(service, 0) + total
            by_account[account_id] = by_account.get(account_id, 0) + total
        names = view.ledger.accounts.names(on=day)
        for service, units in sorted(by_service.items()):
            yield families.by_service(to_usd(units), service=service)
        for account_id, units in sorted(by_account.items()):
            yield families.by_account(
                to_usd(units), account_id=account_id, account=view.account(account_id, names)
            )


def render_non_usage(view: ViewContext[CostSettings]) -> Iterable[Sample]:
    """What is no usage, of pairs where that is not zero, as the ledger has it beside the total."""
    series = view.ledger.cost.series()
    for families, day in _days(view):
        state = view.ledger.reads.day_states(day, day + timedelta(days=1))[day]
        yield NON_USAGE_KNOWN(is_split(day, state), day=families.name)
        names = view.ledger.accounts.names(on=day)
        for number, _, other in view.ledger.cost.day_parts(day, view.settings.cost_type):
            if other:
                account_id, service = series[number]
                yield families.non_usage(
                    to_usd(other),
                    account_id=account_id,
                    account=view.account(account_id, names),
                    service=service,
                )
