"""Cost Explorer's forecast of the month's end, asked for once a day and kept in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import Field

from exporter.aws.cost_explorer import METRICS
from exporter.aws.errors import AwsError, Kind, reading
from exporter.aws.partitions import billing_region
from exporter.core.fields import CollectorSettings, Duration
from exporter.core.metric import Family, Sample
from exporter.core.moments import days_between, month_start, start_of_day, times_a_month
from exporter.core.money import parse_amount
from exporter.core.places import Scope, Target
from exporter.cost.forecasts import Interval, MonthForecast, add_forecast, newest_forecast
from exporter.cost.settings import CostSettings
from exporter.declarations.calls import PaidCall, Scale
from exporter.declarations.collector import Collector
from exporter.declarations.context import Context
from exporter.declarations.view import View, ViewContext

METRIC_ENUM = {name: f"{name.upper()}_COST" for name in METRICS}
"""What GetCostForecast calls a cost type."""


class ForecastSettings(CollectorSettings):
    """Cost Explorer's forecast of the month's end; one request of $0.01 each interval."""

    enabled: bool = Field(default=True, description="Whether the collector runs.")
    interval: Duration = Field(default=timedelta(days=1), description="Time between two forecasts.")
    prediction_interval_level: int = Field(
        default=80, ge=51, le=99, description="How sure the bounds are, in percent."
    )


def collect(ctx: Context[ForecastSettings], target: Target) -> Iterable[Sample]:
    """Ask once if it is due, and commit the answer; the view makes the samples."""
    now = ctx.clock()
    holds_until = _holds_until(ctx)
    if holds_until is not None and now < holds_until:
        return ()
    today = now.date()
    params: dict[str, Any] = {
        # `End` is exclusive; on the last day of a month it is tomorrow.
        "TimePeriod": {"Start": today.isoformat(), "End": month_start(today, -1).isoformat()},
        "Metric": METRIC_ENUM[ctx.sections.of(CostSettings).cost_type],
        "Granularity": "MONTHLY",
        "PredictionIntervalLevel": ctx.settings.prediction_interval_level,
    }
    if ctx.sections.of(CostSettings).billing_view_arn:
        params["BillingViewArn"] = ctx.sections.of(CostSettings).billing_view_arn
    cost: Interval | None
    try:
        cost = read_answer(
            ctx.call_payer(target, "ce", "GetCostForecast", billing_region("ce", target.partition), params)
        )
    except AwsError as error:
        # AWS has too little history to say anything: that is an answer.
        if error.code != "DataUnavailableException":
            raise
        cost = None
    add_forecast(
        ctx.ledger,
        ctx.sections.of(CostSettings).cost_type,
        ctx.settings.prediction_interval_level,
        MonthForecast(now, today, cost),
    )
    ctx.committed()
    return ()


def read_answer(answer: Mapping[str, Any]) -> Interval:
    """The forecast of the one period that was asked for; AwsError if it is not that, or not in USD."""
    with reading("Cost Explorer's forecast"):
        unit = answer["Total"]["Unit"]
        (period,) = answer["ForecastResultsByTime"]
        mean, lower, upper = (
            parse_amount(period[name])
            for name in ("MeanValue", "PredictionIntervalLowerBound", "PredictionIntervalUpperBound")
        )
    if unit != "USD":
        raise AwsError(
            Kind.CURRENCY,
            f"Cost Explorer forecasts in {unit!r}, expected USD: another currency is never mixed in",
        )
    return Interval(mean, lower, upper)


def due(ctx: Context[ForecastSettings], target: Target) -> datetime:
    """When the last answer ends to hold; now where there is none."""
    return _holds_until(ctx) or ctx.clock()


def _holds_until(ctx: Context[ForecastSettings]) -> datetime | None:
    """An interval after the last answer, or the end of its month, for which alone it holds."""
    newest = newest_forecast(
        ctx.ledger, ctx.sections.of(CostSettings).cost_type, ctx.settings.prediction_interval_level
    )
    if newest is None:
        return None
    return min(newest.observed_at + ctx.settings.interval, start_of_day(month_start(newest.start, -1)))


def paid_calls(settings: ForecastSettings, scale: Scale) -> Iterable[PaidCall]:
    """One request each interval, and one at the start of each month."""
    per_month = times_a_month(settings.interval)
    yield PaidCall(
        service="ce",
        operation="GetCostForecast",
        per_month=max(per_month, Decimal(1)),
        note="the month's end, each interval",
    )


# View

FORECAST = Family(
    "aws_cost_month_forecast_usd",
    "Cost Explorer's forecast of the current calendar month, UTC: month to date through the day before it"
    " was asked, and AWS's forecast from there on.",
)
LOWER = Family(
    "aws_cost_month_forecast_lower_usd",
    "Lower bound of Cost Explorer's forecast of the month, at the configured prediction interval level.",
)
UPPER = Family(
    "aws_cost_month_forecast_upper_usd",
    "Upper bound of Cost Explorer's forecast of the month, at the configured prediction interval level.",
)


def _newest(view: ViewContext[ForecastSettings]) -> MonthForecast | None:
    return newest_forecast(
        view.ledger, view.sections.of(CostSettings).cost_type, view.settings.prediction_interval_level
    )


def render(view: ViewContext[ForecastSettings]) -> Iterable[Sample]:
    """The month's end, unless AWS has no forecast, it was last month's, or a day before it is unread."""
    newest = _newest(view)
    if newest is None or newest.cost is None:
        return
    first = month_start(newest.start)
    if first != month_start(view.now.date()):
        return
    states = view.ledger.reads.day_states(first, newest.start)
    if any(day not in states or states[day].read_at is None for day in days_between(first, newest.start)):
        return
    costs = view.ledger.cost.sums(first, newest.start, view.sections.of(CostSettings).cost_type)
    to_date = sum(costs.values(), Decimal(0))
    yield FORECAST(to_date + newest.cost.mean)
    yield LOWER(to_date + newest.cost.lower)
    yield UPPER(to_date + newest.cost.upper)


def _read_at(view: ViewContext[ForecastSettings]) -> datetime | None:
    newest = _newest(view)
    return newest.observed_at if newest else None


def _until(view: ViewContext[ForecastSettings]) -> datetime:
    return start_of_day(month_start(view.now.date(), -1))


COLLECTOR = Collector(
    name="forecast",
    help="Cost Explorer's forecast of the month's end.",
    scope=Scope.PAYER,
    settings=ForecastSettings,
    families=(),
    iam_actions=("ce:GetCostForecast",),
    collect=collect,
    views=(
        View(
            name="forecast",
            families=(FORECAST, LOWER, UPPER),
            render=render,
            read_at=_read_at,
            valid_until=_until,
        ),
    ),
    paid_calls=paid_calls,
    due=due,
)
