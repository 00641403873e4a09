"""The Cost Explorer API over a cost source: periods, groups, filters, pages, estimates and errors."""

from __future__ import annotations

import itertools
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache, partial
from typing import Any

from simulated_aws.cost_dimensions import Allocate, Allocation, operation, unchanged
from simulated_aws.cost_split import hour_text, reported_hours
from simulated_aws.cost_truth import METRICS, Amounts, CostKey, CostSource, month_of, next_month
from simulated_aws.hourly_cost import hour_period, hour_sums, hours_of
from simulated_aws.input_model import check_input
from simulated_aws.organization import Organization
from simulated_aws.spec import OrganizationSpec
from simulated_aws.wire import AwsCall, AwsError, Tokens

_HISTORY_MONTHS = 13
_CACHED_GROUPS = 600_000
_CACHED_MONTHS = 40  # a comparison of all months asks for fourteen, twice
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_METRIC_ENUM = {
    "UNBLENDED_COST": "UnblendedCost",
    "BLENDED_COST": "BlendedCost",
    "AMORTIZED_COST": "AmortizedCost",
    "NET_UNBLENDED_COST": "NetUnblendedCost",
    "NET_AMORTIZED_COST": "NetAmortizedCost",
    "USAGE_QUANTITY": "UsageQuantity",
}
_METRIC_NAMES = {name.lower(): name for name in METRICS}
# Dimensions that the simulation knows only one value of.
_EMPTY_DIMENSIONS = {
    "AZ": "NoAZ",
    "CACHE_ENGINE": "NoCacheEngine",
    "DATABASE_ENGINE": "NoDatabaseEngine",
    "DEPLOYMENT_OPTION": "NoDeploymentOption",
    "INSTANCE_TYPE_FAMILY": "NoInstanceTypeFamily",
    "INVOICING_ENTITY": "Amazon Web Services, Inc.",
    "LEGAL_ENTITY_NAME": "Amazon Web Services, Inc.",
    "OPERATING_SYSTEM": "NoOperatingSystem",
    "PLATFORM": "NoPlatform",
    "TENANCY": "NoTenancy",
    "USAGE_TYPE_GROUP": "NoUsageTypeGroup",
    "SUBSCRIPTION_ID": "NoSubscriptionId",
    "RESERVATION_ID": "NoReservationId",
    "SCOPE": "NoScope",
}

Group = tuple[str, ...]
Sums = dict[Group, Amounts]


@dataclass(slots=True)
class _Period:
    """One line of a result: its days or hour, whether it is estimated, and its groups in order."""

    start: str
    end: str
    estimated: bool
    groups: list[tuple[Group, Sequence[int]]]


@dataclass(slots=True)
class _Query:
    """What was asked, in checked form."""

    start: date
    end: date
    monthly: bool
    metrics: list[str]
    group_by: list[Mapping[str, str]]
    account_only: str | None
    filter: Mapping[str, Any] | None
    hours: tuple[datetime, datetime] | None = None

    @property
    def shape(self) -> Hashable:
        """Equal shapes group the charges of a day alike."""
        return repr(self.group_by), repr(self.filter), self.account_only


@dataclass(slots=True)
class _Snapshot:
    """A result as it was when its first page was asked for."""

    versions: tuple[Hashable, ...]
    periods: list[_Period]


@dataclass(slots=True)
class CostExplorerSettings:
    """What tests and demo can switch on a running Cost Explorer.

    `currency` is the unit of amounts; `changed_data` makes a page answer RequestChangedException when the
    data moved since the first page, where the default serves the state of the first page to its end;
    `hourly` allows HOURLY, for the last 14 days; `disabled` holds accounts for which Cost Explorer is not enabled. `first_day` (ISO, or
    empty) is the first that has data, as after Cost Explorer was enabled: a query that begins earlier has none.
    """

    groups_per_page: int
    currency: str = "USD"
    changed_data: bool = False
    hourly: bool = False
    disabled: set[str] = field(default_factory=set)
    force_request_changed: int = 0
    first_day: str = ""


class CostExplorer:
    """Answers Cost Explorer calls; one object per simulated organisation, safe to share between threads."""

    def __init__(
        self,
        spec: OrganizationSpec,
        organization: Organization,
        source: CostSource,
        now: Callable[[], datetime],
        tokens: Tokens,
        allocate: Allocate = unchanged,
    ) -> None:
        self._spec = spec
        self._allocate = allocate
        self._organization = organization
        self._now = now
        self._tokens = tokens
        self._lock = threading.Lock()
        self.source = source
        self._uses = 0
        self._snapshots: OrderedDict[str, _Snapshot] = OrderedDict()
        self._sums: OrderedDict[Hashable, Sums] = OrderedDict()
        self._months: OrderedDict[Hashable, Sums] = OrderedDict()
        self._summed = 0
        self._projections: OrderedDict[Hashable, dict[CostKey, Group | None]] = OrderedDict()
        self._serial = itertools.count(1)
        self.settings = CostExplorerSettings(groups_per_page=spec.groups_per_page, currency=spec.currency)
        self._operations: dict[str, Callable[[AwsCall], dict[str, Any]]] = {
            "GetCostAndUsage": self._get_cost_and_usage,
            "GetDimensionValues": self._get_dimension_values,
            "GetTags": self._get_tags,
            "GetCostForecast": self._get_cost_forecast,
        }

    def use(self, source: CostSource) -> None:
        """Answer from another source from now on; pages under way must start again."""
        with self._lock:
            self.source = source
            self._uses += 1
            self._snapshots.clear()
            self._sums.clear()
            self._months.clear()
            self._summed = 0
            self._projections.clear()

    def answer(self, call: AwsCall) -> dict[str, Any]:
        """The response members of one call; AwsError otherwise."""
        check_input("ce", call.operation, call.params)
        operation = self._operations.get(call.operation)
        if operation is None:
            raise AwsError("UnknownOperationException", f"{call.operation} is not part of this simulation.")
        if call.account_id in self.settings.disabled:
            raise AwsError("AccessDeniedException", "User not enabled for cost explorer access")
        return operation(call)

    # -- GetCostAndUsage -------------------------------------------------------------------------------

    def _get_cost_and_usage(self, call: AwsCall) -> dict[str, Any]:
        query = self._query(call)
        if self.settings.first_day and query.start < parse_day(self.settings.first_day):
            raise AwsError(
                "DataUnavailableException", "Data is not available. Please try to adjust the time period."
            )
        asked = {key: value for key, value in call.params.items() if key != "NextPageToken"}
        asked["account"] = call.account_id
        token = call.params.get("NextPageToken")
        state: dict[str, Any] = self._read_token(token, call.operation, asked) if token else {"skip": 0}
        snapshot, name = self._snapshot(query, state.get("snapshot"))
        skip, size = int(state["skip"]), self.settings.groups_per_page
        blank = bool(state.get("blank"))
        lines, end = ([], skip) if blank else self._lines(query, snapshot.periods, skip, size)
        answer: dict[str, Any] = {}
        if query.group_by:
            answer["GroupDefinitions"] = [dict(group) for group in query.group_by]
            if end < sum(len(period.groups) for period in snapshot.periods):
                # An empty page with a token comes before the second full page of some queries.
                blank_next = self._spec.empty_pages and skip == 0 and not blank and end % 3 == 0
                answer["NextPageToken"] = self._tokens.write(
                    call.operation, asked, {"skip": end, "snapshot": name, "blank": blank_next}
                )
        answer["ResultsByTime"] = lines
        answer["DimensionValueAttributes"] = self._attributes(query, lines)
        return answer

    def _read_token(self, token: str, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        try:
            state = self._tokens.read(token, operation, asked)
        except ValueError:
            raise AwsError(
                "RequestChangedException",
                "Your request parameters changed between pages. Try again with the old parameters "
                "or without a pagination token.",
            ) from None
        if state is None:
            raise AwsError(
                "InvalidNextTokenException", "The pagination token is invalid. Try again without one."
            )
        with self._lock:
            if self.settings.force_request_changed > 0:
                self.settings.force_request_changed -= 1
                raise AwsError(
                    "RequestChangedException", "The data changed. Try again without a pagination token."
                )
        return state

    def _snapshot(self, query: _Query, name: str | None) -> tuple[_Snapshot, str]:
        at = self._now()
        if name is not None:
            with self._lock:
                found = self._snapshots.get(name)
            if (
                found is not None
                and self.settings.changed_data
                and found.versions != self._versions(query, at)
            ):
                found = None
            if found is None:
                raise AwsError(
                    "RequestChangedException", "The data changed. Try again without a pagination token."
                )
            return found, name
        snapshot = _Snapshot(self._versions(query, at), self._periods(query, at))
        name = str(next(self._serial))
        if query.group_by:
            with self._lock:
                self._snapshots[name] = snapshot
                while len(self._snapshots) > 48:
                    self._snapshots.popitem(last=False)
        return snapshot, name

    def _versions(self, query: _Query, at: datetime) -> tuple[Hashable, ...]:
        return tuple(self._version(self.source, day, at) for day in _days(query.start, query.end))

    def _version(self, source: CostSource, day: date, at: datetime) -> Hashable:
        """Equal versions of a day have equal charges with equal tags and cost categories."""
        return source.version(day, at), self._allocate(day, at)

    def _lines(
        self, query: _Query, periods: Sequence[_Period], skip: int, size: int
    ) -> tuple[list[dict[str, Any]], int]:
        """The results that hold the groups from `skip` on; a period cut by a page end is on both pages."""
        if not query.group_by:
            return [self._line(query, period, period.groups) for period in periods], 0
        lines, position, last = [], 0, skip + size
        total = sum(len(period.groups) for period in periods)
        for period in periods:
            first, position = position, position + len(period.groups)
            here = period.groups[max(skip - first, 0) : max(last - first, 0)]
            # A period without groups is listed once, on the page where its groups would begin.
            empty = not period.groups and (skip <= first < last or first == total <= last)
            if here or empty:
                lines.append(self._line(query, period, here))
        return lines, min(last, total)

    def _line(
        self, query: _Query, period: _Period, groups: Sequence[tuple[Group, Sequence[int]]]
    ) -> dict[str, Any]:
        line: dict[str, Any] = {
            "TimePeriod": {"Start": period.start, "End": period.end},
            "Total": {},
            "Groups": [],
            "Estimated": period.estimated,
        }
        currency = self.settings.currency
        wanted = [
            (name, METRICS.index(name), "N/A" if name == "UsageQuantity" else currency)
            for name in query.metrics
        ]

        def metrics(sums: Sequence[int]) -> dict[str, Any]:
            return {
                name: {"Amount": format_amount(sums[index]), "Unit": unit} for name, index, unit in wanted
            }

        if query.group_by:
            line["Groups"] = [{"Keys": keys, "Metrics": metrics(sums)} for keys, sums in groups]
        else:
            line["Total"] = metrics(groups[0][1] if groups else [0] * len(METRICS))
        return line

    def _attributes(self, query: _Query, lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        position = next(
            (i for i, group in enumerate(query.group_by) if group["Key"] == "LINKED_ACCOUNT"), None
        )
        if position is None:
            return []
        seen = dict.fromkeys(group["Keys"][position] for line in lines for group in line["Groups"])
        known = self._organization.by_id
        return [
            {"Value": value, "Attributes": {"description": known[value].name}}
            for value in seen
            if value in known
        ]

    # -- aggregation -----------------------------------------------------------------------------------

    def _periods(self, query: _Query, at: datetime) -> list[_Period]:
        if query.hours is not None:
            return self._hours(query, *query.hours, at)
        periods: list[_Period] = []
        start = query.start
        while start < query.end:
            end = min(next_month(start), query.end) if query.monthly else start + timedelta(days=1)
            merged = (
                self._month_sums(query, start, end, at) if query.monthly else self._day_sums(query, start, at)
            )
            estimated = self.source.estimated(start, at)
            periods.append(_Period(start.isoformat(), end.isoformat(), estimated, sorted(merged.items())))
            start = end
        return periods

    def _hours(self, query: _Query, start: datetime, end: datetime, at: datetime) -> list[_Period]:
        found = {
            day: hour_sums(
                self.source.charges(day, at),
                reported_hours(day, at),
                partial(self._group, query, allocation=self._allocate(day, at)),
            )
            for day in _days(query.start, query.end)
        }
        return [
            _Period(
                hour_text(hour.date(), hour.hour),
                hour_text(following.date(), following.hour),
                self.source.estimated(hour.date(), at),
                sorted(found[hour.date()].get(hour.hour, {}).items()),
            )
            for hour in hours_of(start, end)
            for following in (hour + timedelta(hours=1),)
        ]

    def _month_sums(self, query: _Query, start: date, end: date, at: datetime) -> Sums:
        with self._lock:
            source, uses = self.source, self._uses
        versions = tuple(self._version(source, day, at) for day in _days(start, end))
        key = (uses, start, versions, query.shape)
        with self._lock:
            found = self._months.get(key)
            if found is not None:
                self._months.move_to_end(key)
                return found
        merged: Sums = {}
        for day in _days(start, end):
            for group, amounts in self._day_sums(query, day, at).items():
                known = merged.get(group)
                merged[group] = _plus(known, amounts) if known else amounts
        with self._lock:
            self._months[key] = merged
            while len(self._months) > _CACHED_MONTHS:
                self._months.popitem(last=False)
        return merged

    def _day_sums(self, query: _Query, day: date, at: datetime) -> Sums:
        shape = query.shape
        with self._lock:
            # One source for all of it: what began with the last one is not kept as the next one's.
            source, uses = self.source, self._uses
        allocation = self._allocate(day, at)
        key = (uses, day, self._version(source, day, at), shape)
        with self._lock:
            found = self._sums.get(key)
            if found is not None:
                self._sums.move_to_end(key)
                return found
            projection = self._projections.setdefault((shape, allocation), {})
            while len(self._projections) > 32:
                self._projections.popitem(last=False)
        sums: Sums = {}
        missing = object()
        for charge_key, amounts in source.charges(day, at):
            group: Any = projection.get(charge_key, missing)
            if group is missing:
                group = projection[charge_key] = self._group(query, charge_key, allocation)
            if group is None:
                continue
            known = sums.get(group)
            sums[group] = amounts if known is None else _plus(known, amounts)
        with self._lock:
            if key not in self._sums:
                self._sums[key] = sums
                self._summed += len(sums)
            while self._summed > _CACHED_GROUPS and len(self._sums) > 1:
                self._summed -= len(self._sums.popitem(last=False)[1])
        return sums

    def _group(self, query: _Query, key: CostKey, allocation: Allocation) -> Group | None:
        if query.account_only is not None and key.account_id != query.account_only:
            return None
        if query.filter is not None and not self._matches(query.filter, key, allocation):
            return None
        return tuple(_group_value(group, key, allocation) for group in query.group_by)

    def _matches(self, expression: Mapping[str, Any], key: CostKey, allocation: Allocation) -> bool:
        ((kind, value),) = expression.items()
        if kind == "And":
            return all(self._matches(part, key, allocation) for part in value)
        if kind == "Or":
            return any(self._matches(part, key, allocation) for part in value)
        if kind == "Not":
            return not self._matches(value, key, allocation)
        options = value.get("MatchOptions") or ["EQUALS"]
        values = value.get("Values") or []
        if kind == "Dimensions":
            if value["Key"] == "LINKED_ACCOUNT_NAME":
                account = self._organization.by_id.get(key.account_id)
                have = account.name if account else ""
            else:
                have = dimension_value(value["Key"], key)
        elif kind == "Tags":
            have = allocation.tag(value["Key"], key)
        else:
            have = allocation.category(value["Key"], key)
        return match_value(have, values, options)

    # -- input -----------------------------------------------------------------------------------------

    def _query(self, call: AwsCall) -> _Query:
        params = call.params
        granularity = str(params["Granularity"])
        hours: tuple[datetime, datetime] | None = None
        if granularity == "HOURLY":
            if not self.settings.hourly:
                raise AwsError("ValidationException", "Hourly timePeriod is not supported for this request")
            hours = hour_period(params["TimePeriod"], self._now())
            start = hours[0].date()
            end = (hours[1] - timedelta(hours=1)).date() + timedelta(days=1)
        else:
            start, end = self._time_period(params["TimePeriod"])
        metrics = _metrics(params["Metrics"])
        expression = params.get("Filter")
        if expression is not None:
            check_expression(expression)
        group_by = list(params.get("GroupBy") or [])
        _check_groups(group_by, dict(self._allocate(self._now().date(), self._now()).categories))
        payer = self._organization.payer.id
        return _Query(
            start=start,
            end=end,
            monthly=granularity == "MONTHLY",
            hours=hours,
            metrics=metrics,
            group_by=group_by,
            account_only=None if call.account_id == payer else call.account_id,
            filter=expression,
        )

    def _time_period(self, period: Mapping[str, str]) -> tuple[date, date]:
        start, end = (parse_day(period[name]) for name in ("Start", "End"))
        if start >= end:
            raise AwsError(
                "ValidationException", "Start date (and hour) should be before end date (and hour)"
            )
        today = self._now().date()
        if start > today:
            raise AwsError("ValidationException", "start date cannot be in the future")
        if end > next_month(today):
            raise AwsError("ValidationException", "end date past the beginning of next month")
        if start < oldest_day(today):
            raise AwsError(
                "ValidationException",
                "You haven't enabled historical data beyond 14 months. Try again with a later start date.",
            )
        return start, end

    # -- the other operations --------------------------------------------------------------------------

    def _keys(self, call: AwsCall) -> list[tuple[CostKey, Allocation]]:
        """The charges of a call's days, each once for every allocation that its days have."""
        start, end = self._time_period(call.params["TimePeriod"])
        expression = call.params.get("Filter")
        if expression is not None:
            check_expression(expression)
        own = None if call.account_id == self._organization.payer.id else call.account_id
        at = self._now()
        found: dict[tuple[CostKey, Allocation], None] = {}
        for day in _days(start, end):
            allocation = self._allocate(day, at)
            for key, _ in self.source.charges(day, at):
                found[key, allocation] = None
        return [
            (key, allocation)
            for key, allocation in found
            if (own is None or key.account_id == own)
            and (expression is None or self._matches(expression, key, allocation))
        ]

    def _get_dimension_values(self, call: AwsCall) -> dict[str, Any]:
        dimension = str(call.params["Dimension"])
        if dimension == "LINKED_ACCOUNT_NAME" or dimension not in FILTER_DIMENSIONS:
            raise AwsError("ValidationException", f"Invalid dimension: {dimension}")
        search = str(call.params.get("SearchString") or "").lower()
        values = sorted({dimension_value(dimension, key) for key, _ in self._keys(call)})
        names = {account.id: account.name for account in self._organization.accounts}
        items = [
            {
                "Value": value,
                "Attributes": {"description": names[value]}
                if dimension == "LINKED_ACCOUNT" and value in names
                else {},
            }
            for value in values
            if search in value.lower() or search in names.get(value, "").lower()
        ]
        page, token = self._plain_page(call, items)
        answer = {"DimensionValues": page, "ReturnSize": len(page), "TotalSize": len(items)}
        return answer | ({"NextPageToken": token} if token else {})

    def _get_tags(self, call: AwsCall) -> dict[str, Any]:
        wanted = call.params.get("TagKey")
        search = str(call.params.get("SearchString") or "").lower()
        keys = self._keys(call)
        if wanted:
            values = {allocation.tag(wanted, key) for key, allocation in keys}
        else:
            values = {name for key, allocation in keys for name in allocation.tags(key)}
        items = sorted(value for value in values if search in value.lower())
        page, token = self._plain_page(call, items)
        answer = {"Tags": page, "ReturnSize": len(page), "TotalSize": len(items)}
        return answer | ({"NextPageToken": token} if token else {})

    def _plain_page(self, call: AwsCall, items: list[Any]) -> tuple[list[Any], str | None]:
        asked = {key: value for key, value in call.params.items() if key != "NextPageToken"}
        asked["account"] = call.account_id
        token = call.params.get("NextPageToken")
        skip = int(self._read_token(token, call.operation, asked)["skip"]) if token else 0
        limit = int(call.params.get("MaxResults") or self.settings.groups_per_page)
        end = skip + limit
        following = self._tokens.write(call.operation, asked, {"skip": end}) if end < len(items) else None
        return items[skip:end], following

    def _get_cost_forecast(self, call: AwsCall) -> dict[str, Any]:
        params = call.params
        metric = _METRIC_ENUM.get(str(params["Metric"]))
        if metric is None or metric == "UsageQuantity":
            raise AwsError(
                "ValidationException", f"Metric {params['Metric']} is not supported for cost forecasts."
            )
        start, end = (parse_day(params["TimePeriod"][name]) for name in ("Start", "End"))
        today, granularity = self._now().date(), params["Granularity"]
        if start >= end:
            raise AwsError(
                "ValidationException", f"Requested Start: {start} must be before requested End: {end}"
            )
        if start < today:
            raise AwsError("ValidationException", "Start date must be today or in the future.")
        if granularity == "DAILY" and end > _plus_months(today, 3):
            raise AwsError("ValidationException", "Daily forecasts reach 3 months into the future.")
        if granularity == "MONTHLY" and end > _plus_months(month_of(today), 18):
            raise AwsError("ValidationException", "Monthly forecasts reach 18 months into the future.")
        if granularity == "HOURLY":
            raise AwsError("ValidationException", "Hourly forecasts are not supported.")
        means, deviation = self._history(call, today, METRICS.index(metric))
        level = int(params.get("PredictionIntervalLevel") or 80)
        width = deviation * (130 + 3 * max(level - 80, 0)) // 100
        results = []
        total = 0
        cursor = start
        while cursor < end:
            stop = min(next_month(cursor), end) if granularity == "MONTHLY" else cursor + timedelta(days=1)
            days = list(_days(cursor, stop))
            mean = sum(means[day.weekday()] for day in days)
            spread = width * len(days)
            total += mean
            results.append(
                {
                    "TimePeriod": {"Start": cursor.isoformat(), "End": stop.isoformat()},
                    "MeanValue": format_amount(mean),
                    "PredictionIntervalLowerBound": format_amount(mean - spread),
                    "PredictionIntervalUpperBound": format_amount(mean + spread),
                }
            )
            cursor = stop
        unit = self.settings.currency
        return {"Total": {"Amount": format_amount(total), "Unit": unit}, "ForecastResultsByTime": results}

    def _history(self, call: AwsCall, today: date, index: int) -> tuple[list[int], int]:
        """Mean cost of each weekday over the last five weeks, and the mean distance from it."""
        own = None if call.account_id == self._organization.payer.id else call.account_id
        expression = call.params.get("Filter")
        if expression is not None:
            check_expression(expression)
        at = self._now()
        days: dict[date, int] = {}
        for day in _days(today - timedelta(days=37), today - timedelta(days=2)):
            allocation = self._allocate(day, at)
            charges = [
                amounts[index]
                for key, amounts in self.source.charges(day, at)
                if (own is None or key.account_id == own)
                and key.record_type not in ("Tax", "Support", "Credit", "Refund", "Fee", "RIFee")
                and (expression is None or self._matches(expression, key, allocation))
            ]
            if charges:
                days[day] = sum(charges)
        if len(days) < 28:
            raise AwsError(
                "DataUnavailableException", "Insufficient amount of historical data to generate forecast."
            )
        means = []
        for weekday in range(7):
            values = [value for day, value in days.items() if day.weekday() == weekday]
            means.append(sum(values) // len(values))
        distance = sum(abs(value - means[day.weekday()]) for day, value in days.items()) // len(days)
        return means, distance


def _plus(a: Amounts, b: Amounts) -> Amounts:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], a[5] + b[5])


def _group_value(group: Mapping[str, str], key: CostKey, allocation: Allocation) -> str:
    if group["Type"] == "TAG":
        return f"{group['Key']}${allocation.tag(group['Key'], key)}"
    if group["Type"] == "COST_CATEGORY":
        return f"{group['Key']}${allocation.category(group['Key'], key)}"
    return dimension_value(group["Key"], key)


def dimension_value(name: str, key: CostKey) -> str:
    """What Cost Explorer reports as a dimension of a charge."""
    if name == "LINKED_ACCOUNT":
        return key.account_id
    if name == "SERVICE":
        return key.service
    if name == "REGION":
        return key.region
    if name == "USAGE_TYPE":
        return key.usage_type
    if name == "OPERATION":
        return operation(key)
    if name == "BILLING_ENTITY":
        return key.billing_entity
    if name == "RECORD_TYPE":
        return key.record_type
    if name == "PURCHASE_TYPE":
        return {
            "SavingsPlanCoveredUsage": "Savings Plans",
            "SavingsPlanNegation": "Savings Plans",
            "SavingsPlanRecurringFee": "Savings Plans",
            "DiscountedUsage": "Standard Reserved Instances",
            "RIFee": "Standard Reserved Instances",
        }.get(key.record_type, "Spot Instances" if "SpotUsage" in key.usage_type else "On Demand Instances")
    if name == "INSTANCE_TYPE":
        kind, _, size = key.usage_type.rpartition(":")
        usage = ("BoxUsage", "SpotUsage", "InstanceUsage", "NodeUsage", "HeavyUsage")
        return size if kind.endswith(usage) else "NoInstanceType"
    return _EMPTY_DIMENSIONS[name]


FILTER_DIMENSIONS = frozenset(
    {
        "LINKED_ACCOUNT", "LINKED_ACCOUNT_NAME", "SERVICE", "REGION", "USAGE_TYPE", "RECORD_TYPE",
        "PURCHASE_TYPE", "INSTANCE_TYPE", "OPERATION", "BILLING_ENTITY", *_EMPTY_DIMENSIONS,
    }
)  # fmt: skip
GROUP_DIMENSIONS = FILTER_DIMENSIONS - {"LINKED_ACCOUNT_NAME", "USAGE_TYPE_GROUP"}


def match_value(have: str, values: Sequence[str], options: Sequence[str]) -> bool:
    """Whether a value fits under Cost Explorer's match options."""
    insensitive = "CASE_INSENSITIVE" in options
    kinds = [option for option in options if option not in ("CASE_SENSITIVE", "CASE_INSENSITIVE")] or [
        "EQUALS"
    ]
    if "ABSENT" in kinds:
        return have == ""
    if insensitive:
        have, values = have.lower(), [value.lower() for value in values]
    tests: dict[str, Callable[[str], bool]] = {
        "EQUALS": lambda value: have == value,
        "STARTS_WITH": have.startswith,
        "ENDS_WITH": have.endswith,
        "CONTAINS": lambda value: value in have,
    }
    return any(tests[kind](value) for kind in kinds for value in values)


def _metrics(asked: Sequence[Any]) -> list[str]:
    """The metrics of a query by their names, each once; a ValidationException where there are none."""
    metrics: list[str] = []
    for metric in map(str, asked):
        name = _METRIC_NAMES.get(metric.lower()) or _METRIC_ENUM.get(metric)
        if name is None or metric not in (name, *_METRIC_ENUM):
            if metric == "NormalizedUsageAmount":
                raise AwsError("ValidationException", "NormalizedUsageAmount is not part of this simulation.")
            raise AwsError("ValidationException", f"Invalid metric name: {metric}")
        metrics.append(name)
    if not metrics:
        raise AwsError("ValidationException", "At least one metric must be specified.")
    return list(dict.fromkeys(metrics))


def _check_groups(group_by: Sequence[Mapping[str, str]], categories: Container[str]) -> None:
    if len(group_by) > 2:
        raise AwsError("ValidationException", "The maximum number of GroupBy is 2.")
    for group in group_by:
        kind, name = group.get("Type"), group.get("Key")
        if not kind or not name:
            raise AwsError("ValidationException", "GroupBy needs a Type and a Key.")
        if kind == "DIMENSION" and name not in GROUP_DIMENSIONS:
            raise AwsError("ValidationException", f"Invalid GroupBy dimension: {name}")
        if kind == "COST_CATEGORY" and name not in categories:
            raise AwsError("ValidationException", f"Failed to aggregate: cost category {name} is unknown.")


def check_expression(expression: Mapping[str, Any], depth: int = 0) -> None:
    """Raise a ValidationException unless the filter is one that Cost Explorer takes."""
    if len(expression) != 1:
        raise AwsError(
            "ValidationException",
            "Expression should not be null or empty, and must have only one root." if expression
            else "Filter expression must not be empty.",
        )  # fmt: skip
    ((kind, value),) = expression.items()
    if kind in ("And", "Or"):
        if len(value) < 2:
            raise AwsError("ValidationException", f"{kind} expression must have at least 2 operands.")
        for part in value:
            check_expression(part, depth + 1)
    elif kind == "Not":
        check_expression(value, depth + 1)
    elif kind in ("Dimensions", "Tags", "CostCategories"):
        _check_leaf(kind, value)
    else:
        raise AwsError("ValidationException", f"{kind} is not part of this simulation.")


def _check_leaf(kind: str, value: Mapping[str, Any]) -> None:
    options = value.get("MatchOptions") or []
    if not value.get("Key"):
        raise AwsError("ValidationException", f"{kind} filter needs a Key.")
    if kind == "Dimensions" and value["Key"] not in FILTER_DIMENSIONS:
        raise AwsError("ValidationException", f"Dimension {value['Key']} is not supported in filters.")
    if not value.get("Values") and "ABSENT" not in options:
        raise AwsError("ValidationException", f"Values of the {kind} filter must not be empty.")
    if kind == "Dimensions" and not set(options) <= {"EQUALS", "CASE_SENSITIVE"}:
        raise AwsError("ValidationException", "Dimension filters support EQUALS and CASE_SENSITIVE only.")


@lru_cache(maxsize=65_536)
def format_amount(units: int) -> str:
    """Units of 1e-10 as a plain decimal string without trailing zeros; "0" for zero."""
    sign, units = ("-", -units) if units < 0 else ("", units)
    whole, rest = divmod(units, 10**10)
    decimals = str(rest).zfill(10).rstrip("0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def oldest_day(today: date) -> date:
    """The first day that Cost Explorer answers for: 13 months before the current one."""
    return _plus_months(month_of(today), -_HISTORY_MONTHS)


def _plus_months(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    return date(index // 12, index % 12 + 1, min(day.day, 28))


def _days(start: date, end: date) -> list[date]:
    return [start + timedelta(days=index) for index in range((end - start).days)]


def parse_day(text: str) -> date:
    """A day of a request; a ValidationException if it is none."""
    try:
        if not _DATE.fullmatch(text):
            raise ValueError(text)
        return date.fromisoformat(text)
    except ValueError:
        raise AwsError("ValidationException", f"Date {text} is not in the format yyyy-MM-dd") from None
