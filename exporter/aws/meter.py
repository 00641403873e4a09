"""Counts every AWS request, prices the paid ones, and refuses what would pass a ceiling.

Cost Explorer charges $0.01 a request, every page counts. An attempt is charged before it is
sent: failed calls are said to be free, so what is recorded is an upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter

from exporter.aws.errors import AwsError, Kind
from exporter.core.moments import Clock, period_start

COST_EXPLORER_REQUEST_USD = Decimal("0.01")
CLOUDWATCH_METRIC_USD = Decimal("0.00001")
"""GetMetricData is priced by metrics requested: $0.01 per 1,000."""
CLOUDWATCH_REQUEST_USD = Decimal("0.00001")
"""ListMetrics is priced by requests, after a million a month that are free: an upper bound."""

FIRST_FILL = "first_fill"
ATHENA = "athena"
"""A query of Athena is priced by what it scans, which only its end shows: see `Meter.reserve`."""
ATHENA_QUERY = ("athena", "StartQueryExecution")
HOURLY_USAGE_RECORD = "HourlyUsageRecord"
"""What AWS hosts for hourly granularity, as `plan` counts it; no request."""
HOURLY_USAGE_RECORD_USD = Decimal("0.00001")
"""A month of one: $0.01 per 1,000 of those of the last 14 days."""
_CLASS_OF_SERVICE = {"ce": "cost", "cloudwatch": "usage", "athena": ATHENA}


def unit_price(service: str, operation: str) -> Decimal:
    """What one unit of an operation costs, in USD: a metric of GetMetricData, a request of any other."""
    if service == "ce" and operation == HOURLY_USAGE_RECORD:
        return HOURLY_USAGE_RECORD_USD
    if service == "ce":
        return COST_EXPLORER_REQUEST_USD
    if service == "cloudwatch":
        return {
            "GetMetricData": CLOUDWATCH_METRIC_USD,
            "ListMetrics": CLOUDWATCH_REQUEST_USD,
        }.get(operation, Decimal(0))
    return Decimal(0)


def budget_of(service: str) -> str | None:
    """The class of ceilings that a service's requests are held against, None if it costs nothing."""
    return _CLASS_OF_SERVICE.get(service)


def price(service: str, operation: str, params: Mapping[str, object]) -> Decimal:
    """What one request costs, in USD."""
    unit = unit_price(service, operation)
    if operation == "GetMetricData":
        queries = params.get("MetricDataQueries", ())
        assert isinstance(queries, list | tuple)
        return unit * len(queries)
    return unit


class Charges(Protocol):
    """Where charges are kept; those of the ledger survive a restart."""

    def transaction(self) -> AbstractContextManager[object]:
        """Let one thread at a time see and commit everything inside together."""

    def add_charge(self, at: datetime, budget: str, service: str, operation: str, usd: Decimal) -> None:
        """Record one charge."""

    def charged_since(self, budget: str, since: datetime | None) -> Decimal:
        """The sum of `budget`'s charges from `since` on (None: all), in USD."""


class Ceilings(Protocol):
    """Dollar limits by budget and period; None means unlimited."""

    def limits(self, budget: str) -> Mapping[str, Decimal | None]:
        """Limits by period name: `day`, `month` or `total`."""


class Meter:
    """The one gate that each request passes, retries and pages included."""

    def __init__(
        self,
        charges: Charges,
        ceilings: Ceilings,
        clock: Clock,
        registry: CollectorRegistry,
        books: Charges | None = None,
    ) -> None:
        """`registry` receives the request and charge counters.

        `books` shows the same charges to whoever only looks, without waiting for a transaction.
        """
        self._charges = charges
        self._books = books or charges
        self._clock = clock
        self.ceilings = ceilings
        self._expected: set[tuple[str, str]] = set()
        self._requests = Counter(
            "aws_spend_exporter_api_requests_total",
            "AWS API requests sent, by status: ok or the error kind.",
            ("service", "operation", "status"),
            registry=registry,
        )
        self._charged = Counter(
            "aws_spend_exporter_api_charges_usd_total",
            "Charges for AWS API requests attempted by this process, an upper bound, in USD.",
            ("service", "operation"),
            registry=registry,
        )

    def before(
        self, service: str, operation: str, params: Mapping[str, object], budget: str | None = None
    ) -> None:
        """Charge a request that is about to be sent; AwsError(ceiling_reached) if it would pass a ceiling."""
        usd = price(service, operation, params)
        if not usd:
            return
        self.reserve(budget or _CLASS_OF_SERVICE[service], service, operation, usd)
        self._charged.labels(service, operation).inc(float(usd))

    def reserve(self, budget: str, service: str, operation: str, usd: Decimal) -> datetime:
        """Charge the most that a request can cost, before it is sent; `settle` it by the returned moment.

        AwsError(ceiling_reached) if that would pass a ceiling. What is never settled stays charged.
        """
        now = self._clock()
        # One thread at a time sees what is spent and adds to it.
        with self._charges.transaction():
            for period, limit in self.ceilings.limits(budget).items():
                if limit is None:
                    continue
                spent = self._charges.charged_since(budget, period_start(period, now))
                if spent + usd > limit:
                    raise AwsError(
                        Kind.CEILING_REACHED,
                        f"{service} {operation} would cost ${usd:f} and ceilings.{budget}.{period} is ${limit},"
                        f" of which ${spent:f} is spent",
                    )
            self._charges.add_charge(now, budget, service, operation, usd)
        return now

    def settle(
        self, budget: str, service: str, operation: str, at: datetime, reserved: Decimal, usd: Decimal
    ) -> None:
        """Replace a reservation by what the request has cost, in the day and month in which it was reserved."""
        self._charges.add_charge(at, budget, service, operation, usd - reserved)
        self._charged.labels(service, operation).inc(float(usd))

    def expect(self, service: str, operation: str) -> None:
        """Count an operation's requests and charges from 0, so that `increase()` sees the first one."""
        self._expected.add((service, operation))
        self._requests.labels(service, operation, "ok")
        if unit_price(service, operation) or (service, operation) == ATHENA_QUERY:
            self._charged.labels(service, operation)

    def after(self, service: str, operation: str, status: str) -> None:
        """Count a request that was sent."""
        self._requests.labels(service, operation, status).inc()

    def remaining(self) -> dict[tuple[str, str], Decimal]:
        """Dollars left by (budget, period) where a ceiling is set; of Athena only where its queries are expected."""
        now = self._clock()
        budgets = ["cost", "usage", FIRST_FILL]
        if ATHENA_QUERY in self._expected:
            budgets.append(ATHENA)
        return {
            (budget, period): limit - self._books.charged_since(budget, period_start(period, now))
            for budget in budgets
            for period, limit in self.ceilings.limits(budget).items()
            if limit is not None
        }
