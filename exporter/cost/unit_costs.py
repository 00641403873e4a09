"""What a unit of usage costs, from the ledger: cost of complete days divided by usage of the same days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from exporter.core.fields import CollectorSettings
from exporter.core.metric import Family, Sample
from exporter.cost.settings import CostSettings
from exporter.declarations.view import ViewContext
from exporter.ledger.daily_values import totals
from exporter.ledger.file import Ledger

_DAYS = (7, 30)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Unit:
    """What is counted, in so many of the dated family's own units on one day, and the service that is charged for it."""

    name: str
    service: str
    usage: str
    size: float


UNITS = (
    Unit("lambda_million_invocations", "AWS Lambda", "aws_lambda_invocations_daily", 1e6),
    # A level: 10^12 bytes for 730 hours, of which a day has 24.
    Unit(
        "s3_terabyte_month",
        "Amazon Simple Storage Service",
        "aws_s3_bucket_size_bytes_daily",
        1e12 * 730 / 24,
    ),
    Unit(
        "ec2_instance_hour",
        "Amazon Elastic Compute Cloud - Compute",
        "aws_ec2_instance_running_seconds_daily",
        3600,
    ),
)

_OF_DAYS = (
    " the newest `days` complete UTC days up to aws_cost_complete_through_timestamp_seconds, of which only those count"
    " whose cost and usage are both known"
)
BY_ACCOUNT = Family(
    "aws_unit_cost_usd",
    f"What a unit of usage cost an account over{_OF_DAYS}.",
    ("account_id", "account", "unit", "days"),
    is_summable=False,
)
OF_ORGANIZATION = Family(
    "aws_unit_cost_of_organization_usd",
    f"What a unit of usage cost all accounts together over{_OF_DAYS} of the account.",
    ("unit", "days"),
    is_summable=False,
)
FAMILIES = (BY_ACCOUNT, OF_ORGANIZATION)

_ByDay = Mapping[tuple[date, str], float]
"""By day and account id."""


def render(view: ViewContext[CollectorSettings]) -> Iterable[Sample]:
    """The units of which any account's usage is known; nothing while no day is complete."""
    newest = view.ledger.cost.complete_day(view.now)
    if newest is None:
        return
    end = newest + _DAY
    start = end - max(_DAYS) * _DAY
    cost_type = view.sections.of(CostSettings).cost_type
    names = view.ledger.accounts.names(on=newest)
    for unit in UNITS:
        usage = _usage(view.ledger, unit, start, end)
        if not usage:
            continue
        costs = {
            key: float(usd)
            for key, usd in view.ledger.cost.of_service(unit.service, start, end, cost_type).items()
            if usd
        }
        for days in _DAYS:
            labels = {"unit": unit.name, "days": str(days)}
            sums = _sums(costs, usage, end - days * _DAY)
            for account_id, (usd, used) in sorted(sums.items()):
                if used > 0:
                    account = view.account(account_id, names)
                    yield BY_ACCOUNT(usd / used * unit.size, account_id=account_id, account=account, **labels)
            usd, used = (sum(each) for each in zip(*sums.values(), strict=True)) if sums else (0.0, 0.0)
            if used > 0:
                yield OF_ORGANIZATION(usd / used * unit.size, **labels)


def _usage(ledger: Ledger, unit: Unit, start: date, end: date) -> _ByDay:
    """The account's usage on each day, of all regions that are known."""
    found: defaultdict[tuple[date, str], float] = defaultdict(float)
    for day, _, account_id, _, value in totals(ledger, start, end, (unit.usage,)):
        found[day, account_id] += value
    return found


def _sums(costs: _ByDay, usage: _ByDay, start: date) -> Mapping[str, tuple[float, float]]:
    """Cost and usage by account id, of the days from `start` of which both are known."""
    found: dict[str, tuple[float, float]] = {}
    for day, account_id in sorted(costs.keys() & usage.keys()):
        if day >= start:
            usd, used = found.get(account_id, (0.0, 0.0))
            found[account_id] = usd + costs[day, account_id], used + usage[day, account_id]
    return found
