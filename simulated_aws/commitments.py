"""Savings Plans and reservations as Cost Explorer reports them: utilization and coverage, two days late."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from simulated_aws.cost_explorer import check_expression, oldest_day, parse_day
from simulated_aws.cost_truth import next_month
from simulated_aws.input_model import check_input
from simulated_aws.organization import Organization
from simulated_aws.single_commitments import (
    Reservation,
    SavingsPlan,
    generated_plans,
    generated_reservations,
    percentage,
    plan_details,
    plan_utilization,
    plans_total,
    reservation_group,
    reservation_utilization,
)
from simulated_aws.wire import AwsCall, AwsError, Tokens

COMPUTE = "Amazon Elastic Compute Cloud - Compute"
DATABASES = "Amazon Relational Database Service"
_RESERVED_SERVICES = (
    COMPUTE, DATABASES, "Amazon ElastiCache", "Amazon MemoryDB", "Amazon Redshift", "Amazon Elasticsearch Service",
    "Amazon OpenSearch Service",
)  # fmt: skip
_DAYS_LATE = 2

T = TypeVar("T")
Single = TypeVar("Single", SavingsPlan, Reservation)


@dataclass(frozen=True, slots=True)
class SavingsPlans:
    """What the organisation's Savings Plans are on each day from `since` on, in USD; `covered` is at on-demand prices."""

    commitment: Decimal
    unused: Decimal
    covered: Decimal
    on_demand: Decimal
    since: date = date.min


@dataclass(frozen=True, slots=True)
class Reservations:
    """What the reservations of one service are on each day from `since` on; fees and `on_demand` in USD."""

    purchased_hours: Decimal
    used_hours: Decimal
    fee: Decimal
    unused_fee: Decimal
    on_demand_hours: Decimal
    on_demand: Decimal
    since: date = date.min


class Commitments:
    """Answers the five calls; what is held can be replaced at any time, None and an empty collection for nothing.

    `plans` and `reserved` are the single ones. By default, they add up to `savings_plans` and `reservations`; who
    replaces the one replaces the other, too, where both are asked for.
    """

    def __init__(self, organization: Organization, now: Callable[[], datetime], tokens: Tokens) -> None:
        self._organization = organization
        self._now = now
        self._tokens = tokens
        daily = Decimal(sum(account.daily_usd for account in organization.accounts))
        self.page_size = 20
        self.savings_plans: SavingsPlans | None = SavingsPlans(
            daily * 12 / 100, daily * 4 / 1000, daily * 16 / 100, daily * 9 / 100
        )
        self.reservations: Mapping[str, Reservations] = {
            DATABASES: Reservations(
                Decimal(240), Decimal(228), daily * 4 / 100, daily * 2 / 1000, Decimal(96), daily * 3 / 100
            )
        }
        self.plans: Sequence[SavingsPlan] = generated_plans(
            organization, daily * 12 / 100, daily * 4 / 1000, daily * 16 / 100
        )
        self.reserved: Sequence[Reservation] = generated_reservations(
            organization,
            DATABASES,
            "db.r6g.large",
            (Decimal(240), Decimal(228)),
            (daily * 4 / 100, daily * 2 / 1000),
        )
        self._operations: dict[str, Callable[[AwsCall], dict[str, Any]]] = {
            "GetSavingsPlansUtilization": self._savings_plans_utilization,
            "GetSavingsPlansUtilizationDetails": self._savings_plans_details,
            "GetSavingsPlansCoverage": self._savings_plans_coverage,
            "GetReservationUtilization": self._reservation_utilization,
            "GetReservationCoverage": self._reservation_coverage,
        }

    def answers(self, call: AwsCall) -> bool:
        """Whether the call is one of these."""
        return call.operation in self._operations

    def answer(self, call: AwsCall) -> dict[str, Any]:
        """The response members of one call; AwsError otherwise."""
        check_input("ce", call.operation, call.params)
        return self._operations[call.operation](call)

    # -- Savings Plans ---------------------------------------------------------------------------------

    def _savings_plans_utilization(self, call: AwsCall) -> dict[str, Any]:
        held = self._held(call, self.savings_plans)
        periods = self._periods(call, held.since, ends_before_today=True)

        def utilization(days: int) -> dict[str, Any]:
            total = held.commitment * days
            return plan_utilization(total, held.unused * days, held.covered * days, Decimal(0))

        by_time = [{"TimePeriod": period, **utilization(days)} for period, days in periods]
        return {
            "SavingsPlansUtilizationsByTime": by_time,
            "Total": utilization(sum(days for _, days in periods)),
        }

    def _savings_plans_details(self, call: AwsCall) -> dict[str, Any]:
        if call.params.get("Filter") or call.params.get("SortBy") or call.params.get("DataType"):
            raise AwsError(
                "ValidationException", "Filter, SortBy and DataType are not part of this simulation."
            )
        first, last = self._whole_period(call)
        held = self._in_effect(call, self.plans, first, last)
        accounts, payer = self._organization.by_id, self._organization.payer.id
        items = [plan_details(plan, days, accounts, payer, self._now()) for plan, days in held]
        page, more = self._page(call, items, "NextToken")
        period = dict(call.params["TimePeriod"])
        return {
            "SavingsPlansUtilizationDetails": page,
            "Total": plans_total(held),
            "TimePeriod": period,
            **more,
        }

    def _savings_plans_coverage(self, call: AwsCall) -> dict[str, Any]:
        held = self._held(call, self.savings_plans)
        if call.params.get("GroupBy"):
            raise AwsError("ValidationException", "GroupBy is not part of this simulation.")
        items = [
            {
                "Attributes": {},
                "Coverage": {
                    "SpendCoveredBySavingsPlans": f"{held.covered * days:f}",
                    "OnDemandCost": f"{held.on_demand * days:f}",
                    "TotalCost": f"{(held.covered + held.on_demand) * days:f}",
                    "CoveragePercentage": percentage(held.covered, held.covered + held.on_demand),
                },
                "TimePeriod": period,
            }
            for period, days in self._periods(call, held.since, ends_before_today=True)
        ]
        page, more = self._page(call, items, "NextToken")
        return {"SavingsPlansCoverages": page, **more}

    # -- reservations ----------------------------------------------------------------------------------

    def _reservation_utilization(self, call: AwsCall) -> dict[str, Any]:
        if call.params.get("GroupBy"):
            return self._each_reservation(call)
        held = self._held(call, self.reservations.get(self._service(call)))

        def total(days: int) -> dict[str, str]:
            unused = held.purchased_hours - held.used_hours
            return {
                "UtilizationPercentage": percentage(held.used_hours, held.purchased_hours),
                "PurchasedHours": f"{held.purchased_hours * days:f}",
                "TotalActualHours": f"{held.used_hours * days:f}",
                "UnusedHours": f"{unused * days:f}",
                "AmortizedUpfrontFee": "0",
                "AmortizedRecurringFee": f"{held.fee * days:f}",
                "TotalAmortizedFee": f"{held.fee * days:f}",
                "RICostForUnusedHours": f"{held.unused_fee * days:f}",
            }

        return self._by_time(call, held.since, "UtilizationsByTime", total)

    def _each_reservation(self, call: AwsCall) -> dict[str, Any]:
        """The reservations of one service, in pages of groups of one period."""
        if call.params["GroupBy"] != [{"Type": "DIMENSION", "Key": "SUBSCRIPTION_ID"}]:
            raise AwsError("ValidationException", "Group by SUBSCRIPTION_ID only.")
        if call.params.get("Granularity"):
            raise AwsError("ValidationException", "Granularity can not be set with GroupBy.")
        service = self._service(call)
        first, last = self._whole_period(call)
        held = self._in_effect(call, [each for each in self.reserved if each.service == service], first, last)
        groups = [reservation_group(each, days, self._organization.by_id, self._now()) for each, days in held]
        page, more = self._page(call, groups, "NextPageToken")
        total = reservation_utilization(held)
        period = {"TimePeriod": dict(call.params["TimePeriod"]), "Groups": page, "Total": total}
        return {"UtilizationsByTime": [period], "Total": total, **more}

    def _reservation_coverage(self, call: AwsCall) -> dict[str, Any]:
        held = self._held(call, self.reservations.get(self._service(call)))
        metrics = call.params.get("Metrics") or ["Hour"]

        def total(days: int) -> dict[str, Any]:
            running = held.used_hours + held.on_demand_hours
            hours = {
                "OnDemandHours": f"{held.on_demand_hours * days:f}",
                "ReservedHours": f"{held.used_hours * days:f}",
                "TotalRunningHours": f"{running * days:f}",
                "CoverageHoursPercentage": percentage(held.used_hours, running),
            }
            cost = {"OnDemandCost": f"{held.on_demand * days:f}"}
            told = {"Hour": ("CoverageHours", hours), "Cost": ("CoverageCost", cost)}
            return dict(told[metric] for metric in metrics if metric in told)

        return self._by_time(call, held.since, "CoveragesByTime", total)

    def _by_time(
        self, call: AwsCall, since: date, member: str, total: Callable[[int], Mapping[str, Any]]
    ) -> dict[str, Any]:
        periods = self._periods(call, since)
        items = [{"TimePeriod": period, "Groups": [], "Total": total(days)} for period, days in periods]
        page, more = self._page(call, items, "NextPageToken")
        return {member: page, "Total": total(sum(days for _, days in periods)), **more}

    # -- what they share -------------------------------------------------------------------------------

    def _held(self, call: AwsCall, held: T | None) -> T:
        if held is None or call.account_id != self._organization.payer.id:
            raise AwsError("DataUnavailableException", "Data is unavailable.")
        return held

    def _in_effect(
        self, call: AwsCall, held: Sequence[Single], first: date, last: date
    ) -> list[tuple[Single, int]]:
        """Those in effect on any of these days, with the number of theirs; DataUnavailable if there is none."""
        found = [(each, days) for each in held if (days := each.days(first, last))]
        self._held(call, found or None)
        return found

    def _service(self, call: AwsCall) -> str:
        expression = call.params.get("Filter")
        if expression is None:
            return COMPUTE
        check_expression(expression)
        dimension = expression.get("Dimensions", {})
        if dimension.get("Key") != "SERVICE" or len(dimension["Values"]) != 1:
            raise AwsError("ValidationException", "Only a filter by one SERVICE is simulated.")
        service = str(dimension["Values"][0])
        if service not in _RESERVED_SERVICES:
            raise AwsError("ValidationException", f"Service {service} is not supported.")
        return service

    def _periods(
        self, call: AwsCall, since: date, *, ends_before_today: bool = False
    ) -> list[tuple[dict[str, str], int]]:
        """The periods that were asked for, with the days of each that are known; DataUnavailable if there is none."""
        start, end = self._asked_period(call, ends_before_today=ends_before_today)
        granularity = call.params.get("Granularity", "DAILY")
        if granularity == "HOURLY":
            raise AwsError("ValidationException", "HOURLY granularity is not supported.")
        known = self._known()
        found = []
        for first, last in _split(start, end, granularity == "MONTHLY"):
            days = (min(last, known) - max(first, since)).days
            if days > 0:
                found.append(({"Start": first.isoformat(), "End": last.isoformat()}, days))
        if not found:
            raise AwsError("DataUnavailableException", "Data is unavailable.")
        return found

    def _whole_period(self, call: AwsCall) -> tuple[date, date]:
        """The days of an answer that is not divided by time, without those that are not known yet."""
        start, end = self._asked_period(call, ends_before_today=True)
        return start, min(end, self._known())

    def _known(self) -> date:
        return self._now().date() - timedelta(days=_DAYS_LATE - 1)

    def _asked_period(self, call: AwsCall, *, ends_before_today: bool) -> tuple[date, date]:
        today = self._now().date()
        start, end = (parse_day(call.params["TimePeriod"][name]) for name in ("Start", "End"))
        if start >= end:
            raise AwsError(
                "ValidationException", "Start date (and hour) should be before end date (and hour)"
            )
        if start < oldest_day(today):
            raise AwsError("ValidationException", "Start date must be within 13 months.")
        if end > today or (ends_before_today and end == today):
            raise AwsError("ValidationException", "End date must be before the current date.")
        return start, end

    def _page(
        self, call: AwsCall, items: list[dict[str, Any]], member: str
    ) -> tuple[list[dict[str, Any]], dict[str, str]]:
        asked = {key: value for key, value in call.params.items() if key != member}
        skip = 0
        if token := call.params.get(member):
            try:
                state = self._tokens.read(str(token), call.operation, asked)
            except ValueError:
                state = None
            if state is None:
                raise AwsError("InvalidNextTokenException", "The pagination token is invalid.")
            skip = int(state["skip"])
        end = skip + min(int(call.params.get("MaxResults") or self.page_size), self.page_size)
        if end >= len(items):
            return items[skip:], {}
        return items[skip:end], {member: self._tokens.write(call.operation, asked, {"skip": end})}


def _split(start: date, end: date, monthly: bool) -> Iterator[tuple[date, date]]:
    while start < end:
        last = min(next_month(start), end) if monthly else start + timedelta(days=1)
        yield start, last
        start = last
