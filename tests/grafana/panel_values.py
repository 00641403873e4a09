"""For each panel one value that it shows, and the same from the ledger or from what the exporter serves."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from demo_stack import SPIKED

from grafana.builder.usage import COMPUTE, LAMBDA, USAGES

if TYPE_CHECKING:
    from test_dashboards_on_demo import World

Check = Callable[["World"], tuple[float, float]]

_SELF = "aws_spend_exporter_"
# Days ago of which both bills and usage are complete; S3 is measured a day later than the rest.
_COMPLETE = 2


def _spiked(w: World) -> dict[str, str]:
    """The spiked account, and the chosen service or else the spiked one."""
    account = next(a for a, name in w.stack.simulator.member_names().items() if name == SPIKED[0])
    service = w.values["service"]
    return {"account_id": account, "service": SPIKED[1] if service == ".*" else service}


def _newest(w: World) -> int:
    """How many days ago the newest complete day began."""
    through = datetime.fromtimestamp(w.metric("aws_cost_complete_through_timestamp_seconds"), UTC)
    return (w.today - through.date()).days + 1


def _against_last_month(w: World) -> tuple[float, float]:
    complete = w.today.day - _newest(w)
    if complete < 1:
        return w.count("B"), 0.0  # no day of this month is complete
    last = w.today.replace(day=1) - timedelta(days=1)
    days = min(complete, calendar.monthrange(last.year, last.month)[1])
    first = (w.today - last.replace(day=1)).days
    begin = w.today.day - 1
    return w.shown("B"), w.cost(begin, begin - days + 1) / w.cost(first, first - days + 1) - 1


def _run(w: World, first: int, last: int, **only: str) -> float:
    """Dollars in the ledger from so many days ago until so many, both included, less the charges that are no usage."""
    return w.cost(first, last, **only) - w.non_usage(first, last, **only)


def _change(days: int) -> Check:
    def check(w: World) -> tuple[float, float]:
        only, newest = _spiked(w), _newest(w)
        oldest = newest + days - 1
        return w.shown("A", **only), _run(w, oldest, newest, **only) - _run(w, oldest + 7, newest + 7, **only)

    return check


def _range_of_a_pair(w: World) -> tuple[float, float]:
    only = _spiked(w)
    return w.shown("A", **only), w.cost(30, w.newest_written(), **only)


def range_shown(w: World) -> tuple[float, float]:
    """The days of the range that are written."""
    return w.shown("A"), w.cost(30, w.newest_written())


def _before(w: World) -> tuple[float, float]:
    """The run of as many days before the range as are complete in it."""
    days = 31 - _newest(w)
    return w.shown("B"), _run(w, 30 + days, 31)


def _bars(w: World) -> tuple[float, float]:
    """Ten days ago, all series of both targets."""
    return w.on_day(10, "A") + w.on_day(10, "B"), w.cost(10, 10)


def _running_bars(w: World) -> tuple[float, float]:
    """The same of the run."""
    return w.on_day(10, "A") + w.on_day(10, "B"), _run(w, 10, 10)


def _bars_of_the_1st(w: World) -> tuple[float, float]:
    """What is no usage, on the 1st of the month before the last one."""
    ago = first_of_a_complete_month(w)
    return w.on_day(ago, "A", days=100), w.non_usage(ago, ago)


def _bar_of_a_month(w: World) -> tuple[float, float]:
    """The month before the last one."""
    first = first_of_a_complete_month(w)
    month = w.today - timedelta(days=first)
    days = calendar.monthrange(month.year, month.month)[1]
    return sum(w.on_day(first, ref, days=100) for ref in "AB"), w.cost(first, first - days + 1)


def first_of_a_complete_month(w: World) -> int:
    """How many days ago the month before the last one began."""
    last = (w.today.replace(day=1) - timedelta(days=1)).replace(day=1)
    return (w.today - (last - timedelta(days=1)).replace(day=1)).days


def _usage_and_expectation(w: World) -> tuple[float, float]:
    """What the live gauges show of the assessed day, as its dated history rounds it."""

    def rounded(values: list[float]) -> float:
        return sum(round(value, 4) for value in values)

    live = (
        w.metric(f"aws_cost_{name}_usd", rounded, **_service(w)) for name in ("assessed_usage", "expected")
    )
    return w.shown("B") + w.shown("C"), sum(live)


def _newest_score(w: World) -> tuple[float, float]:
    only = _spiked(w)
    return w.shown("A", **only), round(w.metric("aws_cost_deviation_score", **only), 2)


def _service(w: World) -> dict[str, str]:
    """The chosen service as a label; none where all are chosen."""
    return {} if w.values["service"] == ".*" else {"service": w.values["service"]}


def _yesterday(w: World) -> tuple[float, float]:
    return w.shown("A"), w.cost(1, 1)


def organization_budget(w: World) -> tuple[float, float]:
    limit = w.metric("aws_cost_threshold_usd", scope="organization", period="month")
    return w.shown(), w.metric("aws_cost_month_projection_usd") / limit


def _account_budget(w: World) -> tuple[float, float]:
    only = {"account_id": w.values["account"]}
    limit = w.metric("aws_cost_threshold_usd", scope="account", period="month", **only)
    return w.shown("B"), w.metric("aws_cost_month_projection_usd", **only) / limit


def _day_against_threshold(w: World) -> tuple[float, float]:
    only = {"account_id": _spiked(w)["account_id"]}
    limit = w.metric("aws_cost_threshold_usd", scope="account", period="day", **only)
    shown = [one for one in w.series("A") if only["account_id"] in one["metric"]["subject"]]
    assert len(shown) == 1, shown
    return float(shown[0]["value"][1]), w.metric("aws_cost_assessed_day_usd", **only) / limit


def _usage(*families: str, scale: float = 1) -> Check:
    """All counts of the panel on a complete day."""

    def check(w: World) -> tuple[float, float]:
        shown = sum(w.on_day(_COMPLETE, ref) for ref, _ in zip("ABCDE", families, strict=False))
        return shown, sum(w.usage(family, _COMPLETE, _COMPLETE) for family in families) * scale

    return check


def _dollars_beside(*services: str) -> Check:
    def check(w: World) -> tuple[float, float]:
        return w.on_day(_COMPLETE, "Z"), sum(w.cost(_COMPLETE, _COMPLETE, service=name) for name in services)

    return check


def _direction(w: World) -> tuple[float, float]:
    newest = _newest(w)
    return w.shown(), _run(w, newest + 27, newest) / _run(w, newest + 55, newest + 28) - 1


def _million_invocations(w: World) -> tuple[float, float]:
    """Of the complete days whose usage is known: in the first minutes of a day, yesterday's is not."""
    account = _spiked(w)["account_id"]
    days = range(_newest(w), _newest(w) + 7)
    counts = {ago: w.usage("aws_lambda_invocations_daily", ago, ago, account_id=account) for ago in days}
    cost = sum(w.cost(ago, ago, account_id=account, service=LAMBDA) for ago in days if counts[ago])
    return w.shown("A", account_id=account), cost / sum(counts.values()) * 1e6


def _largest(family: str, *by: str, ref: str = "A") -> Check:
    """The largest value that the panel shows, and the largest of the exporter's sums by these labels."""

    def check(w: World) -> tuple[float, float]:
        return w.largest(ref), max(w.grouped(family, by).values())

    return check


def same(family: str, ref: str = "A", **labels: str) -> Check:
    """A sum, as the exporter serves it."""
    return lambda w: (w.shown(ref, **labels), w.metric(family, **labels))


def _of_the_spike(family: str, ref: str = "A") -> Check:
    return lambda w: (w.shown(ref, **_spiked(w)), w.metric(family, **_spiked(w)))


def _holds(claim: Callable[[World], bool]) -> Check:
    """Of what moves with every request, a bound."""
    return lambda w: (float(claim(w)), 1.0)


def _age(w: World) -> bool:
    """Of the collector that is the most intervals late, to half an interval; a success may have come in between."""
    intervals = {
        labels["collector"]: value for labels, value in w.samples(f"{_SELF}collector_interval_seconds")
    }
    ages = [
        (time.time() - read) / intervals[labels["collector"]]
        for labels, read in w.samples(f"{_SELF}collector_last_success_timestamp_seconds")
        if labels["collector"] in intervals
    ]
    return abs(w.largest("A") - max(ages)) < 0.5


def _price_age(w: World) -> bool:
    age = time.time() - w.metric(f"{_SELF}price_table_timestamp_seconds")
    return abs(w.shown() - age) < 60


_COMMON: Mapping[str, Check] = {
    "Run rate": same("aws_estimated_run_rate_usd_per_hour"),
    "Could be saved": same("aws_resources_unused_estimated_monthly_cost_usd"),
    "Most expensive resources": _largest(
        "aws_resource_estimated_monthly_cost_usd", "account_id", "resource_id", "region"
    ),
    "Unused": _largest(
        "aws_resources_unused_estimated_monthly_cost_usd", "account_id", "resource_type", "reason"
    ),
    "Resources by type": _largest("aws_resources", "resource_type"),
    "Unit costs": _million_invocations,
    "Levels": lambda w: (
        w.shown("C", account_id=_spiked(w)["account_id"]),
        w.metric("aws_rds_database_connections", account_id=_spiked(w)["account_id"]),
    ),
    "Lambda invocations": _usage("aws_lambda_invocations_daily"),
    "S3 storage": _usage("aws_s3_bucket_size_bytes_daily"),
}

VALUES: Mapping[str, Mapping[str, Check]] = {
    "overview": {
        "Yesterday": _yesterday,
        "This month": _against_last_month,
        "Projection of budget": organization_budget,
        "Could be saved": _COMMON["Could be saved"],
        "Can I trust this?": lambda w: (w.shown("C"), len(w.samples(f"{_SELF}collector_failure_info"))),
        "The range shown": range_shown,
        "Daily run by service": _running_bars,
        "Daily run by account": _running_bars,
        "Monthly cost by service": _bar_of_a_month,
        "Tax, support, fees and credits": _bars_of_the_1st,
        "Movers of a day": _change(1),
        "Movers of a week": _change(7),
        "Accounts": range_shown,
        "Services": _before,
        "Services in accounts": _range_of_a_pair,
        "Open anomalies": same("aws_cost_anomaly_usd"),
    },
    "account": {
        "Yesterday": _yesterday,
        "This month": lambda w: (w.shown("A"), w.month()),
        "Projection of budget": _account_budget,
        "The range shown": range_shown,
        "Share of the organization": lambda w: (
            w.shown(),
            w.cost(30, w.newest_written()) / w.all_cost(30, w.newest_written()),
        ),
        "Daily run by service": _running_bars,
        "Tax, support, fees and credits": _bars_of_the_1st,
        "Services": range_shown,
        "Movers of a week": _change(7),
        "Bill against list price": _largest("aws_cost_realised_to_list_ratio", "service"),
        **_COMMON,
    },
    "service": {
        "Yesterday": _yesterday,
        "This month": _against_last_month,
        "Share of the bill": lambda w: (
            w.shown(),
            w.cost(30, w.newest_written()) / w.all_cost(30, w.newest_written()),
        ),
        "Accounts with it": lambda w: (
            w.shown(),
            w.accounts_with_cost(30, w.newest_written()),
        ),
        "Daily cost by account": _bars,
        "Accounts": range_shown,
        "Movers of a week": _change(7),
        "Usage": _usage("aws_lambda_invocations_daily"),
        "Resources of the service": same("aws_resources", resource_type="lambda:function"),
        "Unit cost": _million_invocations,
        "Bill against list price": lambda w: (w.count(), 0.0),
    },
    "trends": {
        "The range shown": range_shown,
        "Direction": _direction,
        "Month end": lambda w: (w.shown("A"), w.metric("aws_cost_month_projection_usd")),
        "Daily run and its moving average": lambda w: (w.on_day(10, "B"), _run(w, 16, 10) / 7),
        "Services, average of 7 days": lambda w: (
            w.on_day(10, service=SPIKED[1]),
            _run(w, 16, 10, service=SPIKED[1]) / 7,
        ),
        "The coming days": same("aws_cost_forecast_daily_usd", days_ahead="3"),
        "Projected month by service": same("aws_cost_month_projection_usd", service=SPIKED[1]),
        "Tax, support, fees and credits": _bars_of_the_1st,
    },
    "usage": {
        "Unit costs": _million_invocations,
        "Levels": _COMMON["Levels"],
        "Lambda errors and throttles": _usage("aws_lambda_errors_daily", "aws_lambda_throttles_daily"),
        "EC2 instance hours": _dollars_beside(COMPUTE),
        "RDS connections": _dollars_beside("Amazon Relational Database Service"),
        **{
            usage.title: _usage(*(f"{count.family}_daily" for count in usage.counts))
            for usage in USAGES
            if usage.title not in ("EC2 instance hours", "RDS connections")
        },
    },
    "inventory": {
        "Resources": same("aws_resources"),
        "Age of list prices": _holds(_price_age),
        "The same for less": _largest(
            "aws_resources_saving_estimated_monthly_usd", "account_id", "resource_type", "kind"
        ),
        "Ages": lambda w: (
            sum(w.shown(ref) for ref in "ABCDE"),
            len(w.samples("aws_resource_created_timestamp_seconds")),
        ),
        "Missing tags": _largest("aws_resources_untagged", "tag_key", "resource_type"),
        "EC2 instances by type and state": _largest("aws_ec2_instances", "instance_type", "state"),
        "Resources over time": same("aws_resources", resource_type="ec2:volume"),
        "What AWS recommends": _largest(
            "aws_savings_opportunity_usd", "account_id", "resource_type", "action"
        ),
        "Savings Plans and reservations": same("aws_commitment_unused_usd"),
        **{
            title: _COMMON[title]
            for title in (
                "Run rate",
                "Could be saved",
                "Most expensive resources",
                "Unused",
                "Resources by type",
            )
        },
    },
    "anomalies": {
        "Open now": lambda w: (w.shown("A"), len(w.samples("aws_cost_anomaly_usd"))),
        "Projection of budget": organization_budget,
        "Open alerts": lambda w: (
            w.count(),
            w.ask(
                'count(count by (alertname, severity, subject, account_id, service) (ALERTS{alertstate="firing", severity=~"warning|critical"}))'
            ),
        ),
        "Open anomalies": same("aws_cost_anomaly_usd"),
        "Top contributors": _of_the_spike("aws_cost_anomaly_cause_usd"),
        "Assessed day": _of_the_spike("aws_cost_assessed_usage_usd", "B"),
        "Expected against actual": _usage_and_expectation,
        "Score": _newest_score,
        "Day against threshold": _day_against_threshold,
        "Projected month against threshold": lambda w: (
            w.shown(subject="all accounts"),
            organization_budget(w)[1],
        ),
        "Thresholds": same("aws_cost_threshold_usd"),
        "AWS Budgets": same("aws_budget_forecast_usd", "C"),
        "AWS Cost Anomaly Detection": _of_the_spike("aws_cost_anomaly_detection_impact_usd"),
    },
    "exporter": {
        "Collection": same(f"{_SELF}accounts"),
        "Dollars left for AWS requests": lambda w: (w.count(), 0.0),
        "Dated history": same(f"{_SELF}history_divergent_dates"),
        "Age of the oldest success, in intervals": _holds(_age),
        "Current failures": lambda w: (w.count(), len(w.samples(f"{_SELF}collector_failure_info"))),
        "Charges for AWS requests": _holds(
            lambda w: 0 < w.shown() <= 2 * w.metric(f"{_SELF}api_charges_usd_total")
        ),
        "AWS requests": _holds(lambda w: w.shown(operation="GetCostAndUsage") > 10),
        "Failed collections": _holds(lambda w: w.shown(kind="access_denied") > 0),
        "Duration of a run": _holds(lambda w: 0 < w.shown(collector="cost") < 60),
        "Series served": same(f"{_SELF}series", collector="cost"),
        "History writes": same(f"{_SELF}history_samples_rejected_total", "B"),
        "Ledger": same(f"{_SELF}ledger_rows", "B"),
        "Messages to Telex": lambda w: (
            w.shown(result="rejected"),
            w.ask(f'sum({_SELF}relay_deliveries_total{{result="rejected"}})'),
        ),
    },
}
