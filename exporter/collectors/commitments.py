"""How well Savings Plans and reservations are used, and what they leave uncovered: kept in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field

from exporter.aws.errors import AwsError, Kind, reading
from exporter.aws.partitions import billing_region
from exporter.core.fields import CollectorSettings, Duration
from exporter.core.metric import Family, Sample
from exporter.core.moments import start_of_day, times_a_month
from exporter.core.money import parse_amount
from exporter.core.places import Scope, Target
from exporter.cost import commitments
from exporter.cost.commitment_families import (
    BY_ID_FAMILIES,
    BY_ID_VIEW,
    DAYS_LATE,
    PERIOD,
    RESERVATIONS,
    SAVINGS_PLANS,
    SERVICES,
    by_id_samples,
)
from exporter.cost.commitments import Commitment, SingleCommitment, keep, last_told, singles_of
from exporter.cost.settings import cost_is_exported
from exporter.declarations.calls import PaidCall, Scale
from exporter.declarations.collector import Collector, expires_at
from exporter.declarations.context import Context
from exporter.declarations.view import View, ViewContext

_MOST_PAGES = 1000


class CommitmentsSettings(CollectorSettings):
    """Utilization and coverage of commitments; up to two requests of $0.01 for each kind, each interval."""

    interval: Duration = Field(default=timedelta(days=1), description="Time between two reads.")
    days: int = Field(
        default=30, ge=1, le=365, description="Days that are reported; the last one is two days ago."
    )
    savings_plans: bool = Field(default=True, description="Whether Savings Plans are asked for.")
    reservations: tuple[Literal["ec2", "rds", "elasticache", "memorydb", "opensearch", "redshift"], ...] = (
        Field(
            default=("ec2", "rds", "elasticache", "opensearch", "redshift"),
            description="Services whose reservations are asked for.",
        )
    )
    each: bool = Field(
        default=False,
        description="Whether each Savings Plan and reservation is served; a request for each page of some 20.",
    )
    series_limit: int = Field(
        default=200,
        ge=1,
        le=5000,
        description="Most commitments that are served one by one, the largest first; the others are counted.",
    )

    def asked(self) -> tuple[tuple[str, str], ...]:
        """Kinds and services, in order."""
        plans = ((SAVINGS_PLANS, ""),) if self.savings_plans else ()
        return (*plans, *((RESERVATIONS, SERVICES[name]) for name in dict.fromkeys(self.reservations)))


def collect(ctx: Context[CommitmentsSettings], target: Target) -> Iterable[Sample]:
    """Ask for each kind that is due, and commit it before the next; one that fails does not stop the others."""
    if target.partition == "aws-cn":
        # Nothing in these answers says which currency they are in, and there it is another one.
        raise AwsError(Kind.CURRENCY, "commitments are not reported in USD in the China regions")
    failures = []
    for kind, service in ctx.settings.asked():
        now = ctx.clock()
        if now < _due(ctx, kind, service, now):
            continue
        end = now.date() - timedelta(days=DAYS_LATE - 1)
        start = end - timedelta(days=ctx.settings.days)
        nothing = Commitment(kind, service, ctx.settings.days, start, now, one_by_one=ctx.settings.each)
        try:
            with reading(f"Cost Explorer's answer about {kind}"):
                read = _savings_plans if kind == SAVINGS_PLANS else _reserved
                told, singles = read(ctx, target, nothing)
        except AwsError as error:
            failures.append(error)
        else:
            keep(ctx.ledger, told, singles)
            ctx.committed()
    if failures:
        first = failures[0]
        raise AwsError(first.kind, "; ".join(dict.fromkeys(map(str, failures))), code=first.code)
    return ()


_Read = tuple[Commitment, Sequence[SingleCommitment]]


def _savings_plans(ctx: Context[CommitmentsSettings], target: Target, told: Commitment) -> _Read:
    singles: Sequence[SingleCommitment] = ()
    if ctx.settings.each:
        # It has no granularity, and its items add up to what the other request would say.
        operation = "GetSavingsPlansUtilizationDetails"
        pages = _pages(ctx, target, operation, told, {"Granularity": None}, token="NextToken")  # noqa: S106 # its name
        plans = _once(
            "SavingsPlanArn", (item for page in pages for item in page["SavingsPlansUtilizationDetails"])
        )
        singles = [commitments.savings_plan(plan) for plan in plans]
        totals = [plan["Utilization"] for plan in plans]
    else:
        pages = _pages(ctx, target, "GetSavingsPlansUtilization", told)
        totals = [page["Total"]["Utilization"] for page in pages]
    commitment, used, unused = _sums(totals, "TotalCommitment", "UsedCommitment", "UnusedCommitment")
    if not commitment:
        return told, singles
    told = replace(told, utilization=used / commitment, used=used, unused=unused)
    pages = _pages(ctx, target, "GetSavingsPlansCoverage", told, token="NextToken")  # noqa: S106 # its name
    periods = [item["Coverage"] for page in pages for item in page["SavingsPlansCoverages"]]
    covered, on_demand = _sums(periods, "SpendCoveredBySavingsPlans", "OnDemandCost")
    return _with_coverage(told, covered, covered + on_demand, on_demand), singles


def _reserved(ctx: Context[CommitmentsSettings], target: Target, told: Commitment) -> _Read:
    only = {"Filter": {"Dimensions": {"Key": "SERVICE", "Values": [told.service]}}}
    singles: Sequence[SingleCommitment] = ()
    if ctx.settings.each:
        by_subscription = {"GroupBy": [{"Type": "DIMENSION", "Key": "SUBSCRIPTION_ID"}], "Granularity": None}
        pages = _pages(ctx, target, "GetReservationUtilization", told, {**only, **by_subscription})
        times = [time for page in pages for time in page["UtilizationsByTime"]]
        groups = _once("Value", (group for time in times for group in time["Groups"]))
        singles = commitments.reservations(groups)
        periods = [group["Utilization"] for group in groups]
    else:
        pages = _pages(ctx, target, "GetReservationUtilization", told, only)
        periods = [period["Total"] for page in pages for period in page["UtilizationsByTime"]]
    purchased, used = _sums(periods, "PurchasedHours", "TotalActualHours")
    if not purchased:
        return told, singles
    fee, unused_fee = _sums(periods, "TotalAmortizedFee", "RICostForUnusedHours")
    told = replace(told, utilization=used / purchased, used=fee - unused_fee, unused=unused_fee)
    pages = _pages(ctx, target, "GetReservationCoverage", told, {**only, "Metrics": ["Hour", "Cost"]})
    periods = [period["Total"] for page in pages for period in page["CoveragesByTime"]]
    reserved, running = _sums([p["CoverageHours"] for p in periods], "ReservedHours", "TotalRunningHours")
    (on_demand,) = _sums([p["CoverageCost"] for p in periods], "OnDemandCost")
    return _with_coverage(told, reserved, running, on_demand), singles


def _once(name: str, items: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The items by their identifier, `name` of each: a list that changes while it is read may have one twice."""
    return list({item[name]: item for item in items}.values())


def _with_coverage(told: Commitment, covered: Decimal, eligible: Decimal, on_demand: Decimal) -> Commitment:
    return replace(told, coverage=covered / eligible, on_demand=on_demand) if eligible else told


def _pages(
    ctx: Context[CommitmentsSettings],
    target: Target,
    operation: str,
    told: Commitment,
    more: Mapping[str, Any] | None = None,
    token: str = "NextPageToken",  # noqa: S107 # its name
) -> list[Mapping[str, Any]]:
    """Every page of an answer by month, or of another granularity (None: without), each of them paid.

    None where AWS has no data.
    """
    params: dict[str, Any] = {
        "TimePeriod": {"Start": told.start.isoformat(), "End": told.end.isoformat()},
        "Granularity": "MONTHLY",
        **(more or {}),
    }
    params = {name: value for name, value in params.items() if value is not None}
    pages: list[Mapping[str, Any]] = []
    while True:
        try:
            page = ctx.call_payer(target, "ce", operation, billing_region("ce", target.partition), params)
        except AwsError as error:
            # No such commitment, or none in these days: that is an answer.
            if error.code != "DataUnavailableException":
                raise
            return []
        pages.append(page)
        following = page.get(token)
        if not following:
            return pages
        if following == params.get(token) or len(pages) >= _MOST_PAGES:
            raise AwsError(Kind.MALFORMED_RESPONSE, f"{operation} repeats a page token")
        params[token] = following


def _sums(parts: Sequence[Mapping[str, str]], *names: str) -> tuple[Decimal, ...]:
    """The sum of each of these members."""
    return tuple(sum((parse_amount(part[name]) for part in parts), Decimal(0)) for name in names)


def _due(ctx: Context[CommitmentsSettings], kind: str, service: str, now: datetime) -> datetime:
    told = last_told(ctx.ledger, kind, service, ctx.settings.days)
    if told is None or (ctx.settings.each and not told.one_by_one):
        return now
    return told.observed_at + ctx.settings.interval


def due(ctx: Context[CommitmentsSettings], target: Target) -> datetime:
    """When the first of the kinds has to be read again."""
    now = ctx.clock()
    moments = [_due(ctx, kind, service, now) for kind, service in ctx.settings.asked()]
    return min(moments, default=now + ctx.settings.interval)


def paid_calls(settings: CommitmentsSettings, scale: Scale) -> Iterator[PaidCall]:
    """Utilization of each kind, and coverage of those that are held: one request each, or a page of single ones."""
    per_month = times_a_month(settings.interval)
    plans, services = int(settings.savings_plans), len(set(settings.reservations))
    use = (
        ("GetSavingsPlansUtilizationDetails", "use of each Savings Plan, a request for each 20 of them")
        if settings.each
        else ("GetSavingsPlansUtilization", "use of Savings Plans")
    )
    pages = ", or more where it has many" if settings.each else ""
    for number, operation, note in (
        (plans, *use),
        (plans, "GetSavingsPlansCoverage", "what Savings Plans cover, where there are some"),
        (services, "GetReservationUtilization", f"use of reservations, a request for each service{pages}"),
        (services, "GetReservationCoverage", "what reservations cover, for each service that has some"),
    ):
        if number:
            yield PaidCall(service="ce", operation=operation, per_month=per_month * number, note=note)


# View

_LABELS = ("kind", "service")

UTILIZATION = Family(
    "aws_commitment_utilization_ratio",
    f"Share of what was committed that was used {PERIOD}: of Savings Plans in dollars, of reservations in hours."
    " The label service is empty for Savings Plans.",
    _LABELS,
)
USED = Family(
    "aws_commitment_used_usd",
    f"Commitment that was used {PERIOD}; of reservations, their amortized fees.",
    _LABELS,
)
UNUSED = Family(
    "aws_commitment_unused_usd",
    f"Commitment that was paid and not used {PERIOD}; of reservations, their amortized fees.",
    _LABELS,
)
COVERAGE = Family(
    "aws_commitment_coverage_ratio",
    f"Share of the eligible use that was covered {PERIOD}: by Savings Plans in dollars at on-demand prices, by"
    " reservations in hours.",
    _LABELS,
)
ON_DEMAND = Family(
    "aws_commitment_on_demand_usd",
    f"On-demand cost of eligible use that was not covered {PERIOD}; true per kind, for what is eligible for one may"
    " be so for the other, too.",
    _LABELS,
)
DATA_THROUGH = Family(
    "aws_commitment_data_through_timestamp_seconds",
    "End of the last day that the other families of the same kind and service tell of.",
    _LABELS,
)


def _told(view: ViewContext[CommitmentsSettings]) -> Iterator[Commitment]:
    for kind, service in view.settings.asked():
        told = last_told(view.ledger, kind, service, view.settings.days)
        if told is not None:
            yield told


def _fresh(view: ViewContext[CommitmentsSettings]) -> Iterator[Commitment]:
    """Each kind that is held, as long as it is fresh by itself."""
    for told in _told(view):
        if view.now < expires_at(told.observed_at, view.settings.interval):
            yield told


def render(view: ViewContext[CommitmentsSettings]) -> Iterator[Sample]:
    """The sums of each kind."""
    for told in _fresh(view):
        if told.utilization is None:
            continue
        for family, number in (
            (UTILIZATION, told.utilization),
            (USED, told.used),
            (UNUSED, told.unused),
            (COVERAGE, told.coverage),
            (ON_DEMAND, told.on_demand),
            (DATA_THROUGH, Decimal(int(start_of_day(told.end).timestamp()))),
        ):
            if number is not None:
                yield family(number, kind=told.kind, service=told.service)


def render_each(view: ViewContext[CommitmentsSettings]) -> Iterator[Sample]:
    """Each commitment of what was read one by one."""
    if not view.settings.each:
        return
    read = [told for told in _fresh(view) if told.one_by_one]
    found = [(told.kind, told.service, each) for told in read for each in singles_of(view.ledger, told)]
    yield from by_id_samples(
        view, found, dict.fromkeys(told.kind for told in read), view.settings.series_limit
    )


def _read_at(view: ViewContext[CommitmentsSettings]) -> datetime | None:
    return max((told.observed_at for told in _told(view)), default=None)


def _each_read_at(view: ViewContext[CommitmentsSettings]) -> datetime | None:
    """None where a data export serves each of them: its view is the other of this name."""
    if cost_is_exported(view.sections) and not view.settings.each:
        return None
    return _read_at(view)


COLLECTOR = Collector(
    name="commitments",
    help="Utilization and coverage of Savings Plans and reservations.",
    scope=Scope.PAYER,
    settings=CommitmentsSettings,
    families=(),
    iam_actions=(
        "ce:GetReservationCoverage",
        "ce:GetReservationUtilization",
        "ce:GetSavingsPlansCoverage",
        "ce:GetSavingsPlansUtilization",
        "ce:GetSavingsPlansUtilizationDetails",
    ),
    collect=collect,
    views=(
        View(
            name="commitments",
            families=(
                UTILIZATION,
                USED,
                UNUSED,
                COVERAGE,
                ON_DEMAND,
                DATA_THROUGH,
            ),
            render=render,
            read_at=_read_at,
        ),
        View(name=BY_ID_VIEW, families=BY_ID_FAMILIES, render=render_each, read_at=_each_read_at),
    ),
    paid_calls=paid_calls,
    due=due,
)
