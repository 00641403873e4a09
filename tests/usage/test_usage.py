"""Usage from CloudWatch: counters that count each period once, levels in base units, totals by day."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from usage_harness import DAY, HOUR, NOW, REGION, TRUE_SOURCES, MakePoller, Poller, true_sum, values

from exporter.aws.errors import AwsError, Kind
from exporter.collectors import usage
from exporter.core.folding import OTHER
from exporter.core.series_settings import SeriesSettings, SeriesShares
from exporter.declarations.sections import Sections
from exporter.usage import counters as usage_ledger
from exporter.usage.metrics import USAGE_METRICS
from simulated_aws import SimulatedAws

COUNTERS = {row.name for row in USAGE_METRICS if row.is_counter}
EPOCH = NOW.replace(minute=0)
"""The end of the newest period that is ten minutes old at NOW."""
ALL = ["*"]
LAMBDA = "aws_lambda_invocations_total"


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def newest(
    aws: SimulatedAws, namespace: str, metric: str, at: datetime, step: timedelta = HOUR
) -> list[float]:
    """Each series' average over the period that begins at `at`, with one more written-down rule: exact dimensions."""
    found = []
    for key, series in aws.metrics.series(aws.payer_id, REGION).items():
        if key[:2] == (namespace, metric):
            points = aws.metrics.values(
                series, int(at.timestamp()), int((at + step).timestamp()), aws.clock.now()
            )
            if points:
                found.append(sum(value for _, value in points) / len(points))
    return found


# Counters


def test_counters_begin_at_zero_and_count_what_came_after(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller(metrics=ALL)
    poller.poll()
    assert {k: v for (k, _, _), v in poller.show().items() if k in COUNTERS} == dict.fromkeys(COUNTERS, 0.0)
    for _ in range(5):
        aws.clock.advance(HOUR)
        poller.poll()
    shown = poller.show()
    for family in TRUE_SOURCES:
        assert shown[family, "", ""] == true_sum(aws, family, EPOCH, EPOCH + 5 * HOUR) > 0


def test_a_new_counter_is_zero_until_it_was_seen_and_an_old_one_stays(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    poller = make_poller()
    poller.poll()
    aws.clock.advance(2 * HOUR)
    poller.poll()
    assert values(poller.samples())[LAMBDA, "", ""] == 0
    assert values(poller.samples())[LAMBDA, "", ""] == 0
    counted = poller.show()[LAMBDA, "", ""]
    assert counted == true_sum(aws, LAMBDA, EPOCH, EPOCH + 2 * HOUR)
    poller.close()
    again = make_poller()
    assert values(again.samples())[LAMBDA, "", ""] == counted


def test_a_restart_within_the_interval_asks_nothing(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller()
    poller.poll()
    shown, charged = poller.show(), poller.charged()
    poller.close()
    aws.requests.clear()
    aws.clock.advance(HOUR / 2)
    again = make_poller()
    again.poll()
    assert (aws.requests.count(), again.charged(), again.show()) == (0, charged, shown)
    assert usage.due(again.context(), again.target()) == NOW + HOUR


def test_an_empty_ledger_starts_a_new_epoch(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller()
    poller.poll()
    aws.clock.advance(3 * HOUR)
    other = make_poller("restored")
    other.poll()
    assert other.show()[LAMBDA, "", ""] == 0
    aws.clock.advance(HOUR)
    other.poll()
    assert other.show()[LAMBDA, "", ""] == true_sum(aws, LAMBDA, EPOCH + 3 * HOUR, EPOCH + 4 * HOUR)


def test_late_data_adds_its_difference(aws: SimulatedAws, make_poller: MakePoller) -> None:
    aws.metrics.late_seconds = 2 * 3600
    poller = make_poller()
    poller.poll()
    aws.clock.advance(HOUR)
    poller.poll()
    early = poller.show()[LAMBDA, "", ""]
    aws.clock.advance(3 * HOUR)
    assert 0 < early < true_sum(aws, LAMBDA, EPOCH, EPOCH + HOUR)
    poller.poll()
    aws.clock.advance(3 * HOUR)
    poller.poll()
    settled = EPOCH + 7 * HOUR
    # What is newer than two hours is still incomplete.
    assert poller.show()[LAMBDA, "", ""] == true_sum(aws, LAMBDA, EPOCH, settled)
    assert true_sum(aws, LAMBDA, EPOCH, settled - 2 * HOUR) > early


def test_what_cloudwatch_takes_back_makes_no_counter_fall(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller()
    poller.poll()
    aws.clock.advance(3 * HOUR)
    poller.poll()
    full = poller.show()[LAMBDA, "", ""]
    assert full == true_sum(aws, LAMBDA, EPOCH, EPOCH + 3 * HOUR)
    aws.metrics.late_seconds = 12 * 3600  # it shows less now of the hours that were read whole
    aws.clock.advance(HOUR)
    poller.poll()
    assert poller.show()[LAMBDA, "", ""] >= full
    aws.metrics.late_seconds = 0
    aws.clock.advance(HOUR)
    poller.poll()
    assert poller.show()[LAMBDA, "", ""] == true_sum(aws, LAMBDA, EPOCH, EPOCH + 5 * HOUR)


def test_data_that_is_later_than_the_window_counts_once_its_day_is_read_again(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    """A day and a half late: past the window of hours, and within the days that are read again."""
    aws.metrics.late_seconds = 36 * 3600
    poller = make_poller()
    poller.poll()
    metrics = poller.charged()
    for _ in range(4 * 24 // 3):
        aws.clock.advance(3 * HOUR)
        poller.poll()
    days = poller.days("aws_lambda_invocations_daily")
    settled = [NOW.date() + number * DAY for number in (-2, -1, 0, 1)]
    for day in settled:
        assert days[day] == true_sum(aws, LAMBDA, midnight(day), midnight(day) + DAY) > 0
    # The counter counts whole days, too: the one after its epoch has all that it lacked.
    first, end = midnight(NOW.date() + DAY), midnight(NOW.date() + 2 * DAY)
    counted = poller.show()[LAMBDA, "", ""]
    aws.metrics.late_seconds = 0
    assert true_sum(aws, LAMBDA, first, end) <= counted <= true_sum(aws, LAMBDA, EPOCH, aws.clock.now())
    # And it is paid by the metric, not by the days: four functions and, when they are looked for, one request.
    assert poller.charged() - metrics == 32 * (4 + 1) * Decimal("0.00001")


def test_a_gap_is_read_when_it_is_over(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller()
    poller.poll()
    poller.close()
    aws.clock.advance(5 * DAY)
    again = make_poller()
    again.poll()
    assert again.show()[LAMBDA, "", ""] == true_sum(aws, LAMBDA, EPOCH, EPOCH + 5 * DAY)
    assert sorted(again.days("aws_lambda_invocations_daily")) == [
        date(2026, 3, 3) + number * DAY for number in range(19)
    ]


def test_a_gap_that_is_longer_than_a_first_read_leaves_its_days_out(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    poller = make_poller()
    poller.poll()
    aws.clock.advance(20 * DAY)
    poller.poll()
    first = (NOW + 6 * DAY).date()
    assert poller.show()[LAMBDA, "", ""] == true_sum(aws, LAMBDA, midnight(first), EPOCH + 20 * DAY)
    days = poller.days("aws_lambda_invocations_daily")
    assert (NOW.date(), first - DAY, first) == (date(2026, 3, 17), date(2026, 3, 22), date(2026, 3, 23))
    assert sorted(days) == [date(2026, 3, 3) + n * DAY for n in range(14)] + [
        first + n * DAY for n in range(14)
    ]


def test_another_period_counts_nothing_twice(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller(period="5m")
    poller.poll()
    aws.clock.advance(HOUR)
    poller.poll()
    begin, end = NOW - timedelta(minutes=10), NOW + timedelta(minutes=50)
    assert poller.show()[LAMBDA, "", ""] == true_sum(aws, LAMBDA, begin, end)
    poller.close()
    coarse = make_poller(period="1h")
    for _ in range(8):
        aws.clock.advance(HOUR)
        coarse.poll()
    # From 15:10 to 16:00 nothing was counted, and the day says so by its absence.
    counted = true_sum(aws, LAMBDA, begin, end) + true_sum(aws, LAMBDA, EPOCH + 2 * HOUR, EPOCH + 9 * HOUR)
    assert coarse.show()[LAMBDA, "", ""] == counted
    aws.clock.advance(2 * DAY)
    coarse.poll()
    days = coarse.days("aws_lambda_invocations_daily")
    assert date(2026, 3, 16) in days
    assert date(2026, 3, 17) not in days
    assert date(2026, 3, 18) in days


def test_resources_that_are_gone_take_nothing_away(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller()
    poller.poll()
    aws.clock.advance(2 * HOUR)
    poller.poll()
    began, long = EPOCH + 2 * HOUR, 18 * DAY
    counted = true_sum(aws, LAMBDA, EPOCH, began)

    def pass_by() -> float:
        for _ in range(long // DAY):
            aws.clock.advance(DAY)
            poller.poll()
        return true_sum(aws, LAMBDA, began, began + long)

    with only(aws, without=("FunctionName", "management-checkout")):
        counted += pass_by()
        with poller.ledger.connection() as db:
            left = db.execute(
                "SELECT COUNT(*) FROM usage_series WHERE metric = ? AND resource_id = 'management-checkout'",
                (LAMBDA,),
            ).fetchone()
        assert left == (0,)
        assert poller.show()[LAMBDA, "", ""] == counted
        # A second one adds to what the first has left.
        began += long
        with only(aws, without=("FunctionName", "management-thumbnails")):
            counted += pass_by()
        assert poller.show()[LAMBDA, "", ""] == counted


@contextmanager
def only(aws: SimulatedAws, without: tuple[str, str]) -> Iterator[None]:
    """The organisation's metrics without those that have a dimension of this name and value."""
    series = aws.metrics.series

    def fewer(*args: Any, **more: Any) -> Any:
        return {key: each for key, each in series(*args, **more).items() if without not in each.dimensions}

    aws.metrics.series = fewer  # type: ignore[method-assign]
    try:
        yield
    finally:
        aws.metrics.series = series  # type: ignore[method-assign]


# Levels


def test_levels_are_in_base_units(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller(metrics=ALL)
    poller.poll()
    shown = poller.show()
    hour = EPOCH - HOUR
    cpu = newest(aws, "AWS/EC2", "CPUUtilization", hour)
    assert len(cpu) == 3
    assert shown["aws_ec2_cpu_utilization_ratio", "", ""] == pytest.approx(sum(cpu) / 3 / 100)
    assert 0 < shown["aws_ec2_cpu_utilization_ratio", "", ""] < 1
    connections = newest(aws, "AWS/RDS", "DatabaseConnections", hour)
    assert shown["aws_rds_database_connections", "", ""] == pytest.approx(sum(connections))
    duration = shown["aws_lambda_duration_seconds", "", ""]
    assert 0.05 < duration < 0.5


def test_bucket_sizes_are_of_their_storage_class_and_sum_up(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    poller = make_poller(metrics=ALL)
    poller.poll()
    shown = poller.show()
    day = midnight(date(2026, 3, 15))  # yesterday's comes in half a day late
    true = {}
    for key, series in aws.metrics.series(aws.payer_id, REGION).items():
        if key[:2] == ("AWS/S3", "BucketSizeBytes"):
            points = aws.metrics.values(series, int(day.timestamp()), int((day + DAY).timestamp()), NOW)
            kind = dict(series.dimensions)["StorageType"]
            true[kind] = true.get(kind, 0.0) + points[0][1]
    at_day = poller.days("aws_s3_bucket_size_bytes_daily")
    assert sorted(at_day) == [date(2026, 3, 14), date(2026, 3, 15)]
    assert at_day[day.date()] == pytest.approx(sum(true.values()))
    assert set(true) == {"StandardStorage", "GlacierStorage"}
    assert {variant for name, _, variant in shown if name == "aws_s3_bucket_size_bytes"} == set(true)


def test_a_metric_of_once_a_day_is_not_asked_for_each_hour(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    poller = make_poller(metrics=["aws_s3_*"])
    poller.poll()
    first = poller.charged()
    for _ in range(5):
        aws.clock.advance(HOUR)
        poller.poll()
    listed = aws.requests.count("cloudwatch", "ListMetrics")
    metrics = 3 + 1 + 3  # sizes of three buckets and one of them in Glacier, objects
    assert first == (metrics + 1) * Decimal("0.00001")
    assert poller.charged() == (metrics + listed) * Decimal("0.00001")
    aws.clock.advance(HOUR)
    poller.poll()
    assert poller.charged() == (2 * metrics + aws.requests.count("cloudwatch", "ListMetrics")) * Decimal(
        "0.00001"
    )


# Days


def test_daily_totals_are_of_whole_days_and_two_weeks_back(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    poller = make_poller()
    poller.poll()
    days = poller.days("aws_lambda_invocations_daily")
    assert sorted(days) == [date(2026, 3, 3) + number * DAY for number in range(14)]
    for day, value in days.items():
        assert value == true_sum(aws, LAMBDA, midnight(day), midnight(day) + DAY)


def test_a_days_total_waits_for_its_end_and_follows_late_data(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    aws.metrics.late_seconds = 3 * 3600
    aws.clock.set(datetime(2026, 3, 17, 23, 30, tzinfo=UTC))
    poller = make_poller()
    poller.poll()
    today = NOW.date()
    assert today not in poller.days("aws_lambda_invocations_daily")
    aws.clock.advance(timedelta(minutes=56))
    poller.poll()
    early = poller.days("aws_lambda_invocations_daily")[today]
    aws.clock.advance(4 * HOUR)
    poller.poll()
    whole = true_sum(aws, LAMBDA, midnight(today), midnight(today) + DAY)
    assert early < poller.days("aws_lambda_invocations_daily")[today] == whole


# Per resource


def test_a_family_is_served_per_resource_or_in_all_but_never_both(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    poller = make_poller(metrics=ALL, per_resource=["aws_lambda_*"])
    poller.poll()
    aws.clock.advance(HOUR)
    poller.poll()
    shown = poller.show()
    functions = {resource: value for (name, resource, _), value in shown.items() if name == LAMBDA}
    assert set(functions) == {
        "management-checkout",
        "management-thumbnails",
        "management-nightly-report",
        "management-retired",
    }
    assert sum(functions.values()) == true_sum(aws, LAMBDA, EPOCH, EPOCH + HOUR)
    assert {resource for name, resource, _ in shown if name == "aws_alb_requests_total"} == {""}
    poller.close()
    # The ledger knows every resource, so that the other form needs no new epoch.
    in_all = make_poller(metrics=ALL)
    assert in_all.show()[LAMBDA, "", ""] == sum(functions.values())


# Money and failures


def test_a_poll_is_charged_by_its_metrics(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller(metrics=ALL)
    poller.poll()
    with poller.ledger.connection() as db:
        (series,) = db.execute("SELECT COUNT(*) FROM usage_series").fetchone()
    listings = aws.requests.count("cloudwatch", "ListMetrics")
    assert listings == len({row.namespace for row in usage.rows_of(poller.settings, REGION)}) == 15
    assert poller.charged() == (series + listings) * Decimal("0.00001")
    aws.clock.advance(HOUR)
    before = poller.charged()
    poller.poll()
    daily = 7
    assert poller.charged() - before == (series - daily) * Decimal("0.00001")
    assert aws.requests.count("cloudwatch", "ListMetrics") == listings  # discovery is remembered


def listed_by_metric(poller: Poller) -> dict[tuple[str, str, str], Any]:
    """The dimensions of what CloudWatch lists when it is asked for each metric by itself."""
    found: dict[tuple[str, str, str], Any] = {}
    for row in usage.rows_of(poller.settings, REGION):
        params = {"Namespace": row.namespace, "MetricName": row.metric}
        account = poller.accounts[poller.simulated.payer_id]
        for page in poller.aws.paginate(account, "cloudwatch", "ListMetrics", REGION, params):
            for metric in page["Metrics"]:
                dimensions = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
                if (resource := row.resource_id(dimensions)) is not None:
                    variant = dimensions[row.variant[1]] if row.variant else ""
                    found[row.name, resource, variant] = [list(each) for each in sorted(dimensions.items())]
    return found


def listed_in_the_ledger(poller: Poller) -> dict[tuple[str, str, str], Any]:
    with poller.ledger.connection() as db:
        rows = db.execute("SELECT metric, resource_id, variant, dimensions FROM usage_series").fetchall()
    return {(metric, resource, variant): json.loads(text) for metric, resource, variant, text in rows}


def test_a_listing_of_a_namespace_finds_what_listings_of_its_metrics_find(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    poller = make_poller(metrics=ALL)
    poller.poll()
    assert len(listed_in_the_ledger(poller)) > 50
    assert listed_in_the_ledger(poller) == listed_by_metric(poller)


def test_where_there_are_many_resources_each_metric_is_listed_by_itself(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    poller = make_poller(metrics=["aws_ec2_*", "aws_lambda_*"])
    poller.poll()
    assert aws.requests.count("cloudwatch", "ListMetrics") == 2
    state = usage_ledger.target_of(poller.ledger, "cloudwatch", aws.payer_id, REGION)
    assert state is not None
    assert state.listed_at is not None
    many = [usage_ledger.Series("aws_ec2_network_in_bytes_total", f"i-{number}") for number in range(60)]
    usage_ledger.list_series(poller.ledger, "cloudwatch", aws.payer_id, REGION, many, state.listed_at)
    aws.clock.advance(4 * HOUR)
    poller.poll()
    # The two namespaces of the first poll; then Lambda's as one, and EC2's three metrics.
    assert aws.requests.count("cloudwatch", "ListMetrics") == 2 + 1 + 3


# Many regions


def regions_shown(poller: Poller, per_account: int) -> dict[str, dict[str, float]]:
    """What each region's unit serves once its counters were seen at zero: by its label, the sum of invocations."""
    shares = SeriesShares(series=SeriesSettings(per_account=per_account), weights={"usage": 1})
    shown: dict[str, dict[str, float]] = {}
    for region in poller.simulated.spec.regions:
        ctx = poller.context(sections=Sections(shares))
        found = usage.restore(ctx, poller.target(region=region))
        assert found is not None
        if found.seen is not None:
            found.seen()
            found = usage.restore(ctx, poller.target(region=region))
            assert found is not None
        shown[region] = {}
        for sample in found.samples:
            if sample.family.name == LAMBDA:
                assert sample.values[2] not in shown[region]
                shown[region][sample.values[2]] = sample.value
        assert len(found.samples) == len({(each.family, each.values) for each in found.samples})
    return shown


def test_regions_that_are_too_many_are_served_as_one_with_the_same_total(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    poller = make_poller(metrics=ALL)
    other = next(region for region in aws.spec.regions if region != REGION)
    for region in aws.spec.regions:
        poller.poll(region=region)
    regions_shown(poller, 1000)  # seen at zero
    aws.clock.advance(HOUR)
    for region in aws.spec.regions:
        poller.poll(region=region)
    alone = regions_shown(poller, 1000)
    values = {
        region: true_sum(aws, LAMBDA, EPOCH, EPOCH + HOUR, region=region) for region in aws.spec.regions
    }
    assert alone == {region: {region: values[region]} for region in aws.spec.regions}
    assert min(values.values()) > 0
    # Room for one family a region and no more: all of them are one, served by the first.
    together = regions_shown(poller, 50)
    assert together == {REGION: {OTHER: pytest.approx(sum(values.values()))}, other: {}}


def test_a_counter_of_several_regions_is_zero_until_it_was_seen(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    poller = make_poller(metrics=ALL)
    for _ in range(2):
        for region in aws.spec.regions:
            poller.poll(region=region)
        aws.clock.advance(HOUR)
    shares = SeriesShares(series=SeriesSettings(per_account=50), weights={"usage": 1})
    ctx = poller.context(sections=Sections(shares))
    found = usage.restore(ctx, poller.target())
    assert found is not None
    counters = [each for each in found.samples if each.family.type == "counter"]
    assert len(counters) > 10
    assert {each.value for each in counters} == {0.0}
    assert found.seen is not None
    found.seen()
    again = usage.restore(ctx, poller.target())
    assert again is not None
    assert again.seen is None


def test_a_ceiling_cannot_be_passed_and_what_is_known_stays(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    poller = make_poller()
    poller.poll()
    shown, charged = poller.show(), poller.charged()
    poller.close()
    poor = make_poller(ceilings={"usage": {"day": str(charged + Decimal("0.00002")), "month": None}})
    aws.clock.advance(HOUR)
    aws.requests.clear()
    with pytest.raises(AwsError) as caught:
        poor.poll()
    assert caught.value.kind is Kind.CEILING_REACHED
    assert aws.requests.count("cloudwatch") == 0
    assert (poor.show(), poor.charged()) == (shown, charged)


@pytest.mark.fault("CloudWatch throttles a poll", "each retry is charged")
def test_each_retry_is_charged(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller()
    poller.poll()
    before = poller.charged()
    aws.clock.advance(HOUR)
    poller.poll()
    once = poller.charged() - before
    aws.clock.advance(HOUR)
    aws.faults.add("throttle", service="cloudwatch", operation="GetMetricData", count=2)
    poller.poll()
    assert poller.charged() - before == 4 * once > 0


@pytest.mark.fault(
    "CloudWatch has no answer to one metric of a request", "that metric alone is asked for again, and paid"
)
def test_only_the_metric_that_failed_is_asked_for_again(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller()
    poller.poll()
    aws.clock.advance(HOUR)
    before, asked = poller.charged(), aws.requests.count("cloudwatch", "GetMetricData")
    aws.faults.add("query_fails", service="cloudwatch", operation="GetMetricData", count=1)
    poller.poll()
    assert poller.show()[LAMBDA, "", ""] == true_sum(aws, LAMBDA, EPOCH, EPOCH + HOUR)
    assert aws.requests.count("cloudwatch", "GetMetricData") == asked + 2
    failed = poller.charged() - before
    aws.clock.advance(HOUR)
    before = poller.charged()
    poller.poll()
    assert failed == poller.charged() - before + Decimal("0.00001")


@pytest.mark.fault("CloudWatch has no answer to a metric twice", "the poll fails as a whole")
def test_a_metric_that_fails_twice_fails_the_poll(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller()
    poller.poll()
    shown = poller.show()
    aws.clock.advance(4 * HOUR)
    asked = aws.requests.count("cloudwatch", "GetMetricData")
    aws.faults.add("query_fails", service="cloudwatch", operation="GetMetricData")
    with pytest.raises(AwsError) as caught:
        poller.poll()
    assert caught.value.kind is Kind.SERVER_ERROR
    assert aws.requests.count("cloudwatch", "GetMetricData") == asked + 2
    assert poller.show() == shown
    aws.faults.clear()
    poller.poll()
    assert poller.show()[LAMBDA, "", ""] == true_sum(aws, LAMBDA, EPOCH, EPOCH + 4 * HOUR)


@pytest.mark.parametrize("operation", ["ListMetrics", "GetMetricData"])
def test_a_failure_leaves_everything_as_it_was(
    aws: SimulatedAws, make_poller: MakePoller, operation: str
) -> None:
    poller = make_poller()
    poller.poll()
    shown = poller.show()
    aws.clock.advance(4 * HOUR)
    aws.faults.add("access_denied", service="cloudwatch", operation=operation)
    with pytest.raises(AwsError) as caught:
        poller.poll()
    assert caught.value.kind is Kind.ACCESS_DENIED
    assert poller.show() == shown
    aws.faults.clear()
    poller.poll()
    assert poller.show()[LAMBDA, "", ""] == true_sum(aws, LAMBDA, EPOCH, EPOCH + 4 * HOUR)


# The monitoring account


def test_a_monitoring_account_sees_what_each_account_sees_itself(
    aws: SimulatedAws, make_poller: MakePoller
) -> None:
    member = aws.accounts[1].id
    own = make_poller("own", metrics=ALL)
    linked = make_poller("linked", metrics=ALL, monitoring_account=aws.payer_id)
    for poller in (own, linked):
        poller.poll(member)
    aws.clock.advance(2 * HOUR)
    aws.requests.clear()
    for poller in (own, linked):
        poller.poll(member)
    assert own.show(member) == linked.show(member)
    assert own.show(member)[LAMBDA, "", ""] == true_sum(aws, LAMBDA, EPOCH, EPOCH + 2 * HOUR, member) > 0
    assert own.days("aws_alb_requests_daily", member) == linked.days("aws_alb_requests_daily", member) != {}
    askers = {entry.account_id for entry in aws.requests.entries(service="cloudwatch")}
    assert askers == {member, aws.payer_id}


def test_cloudfront_is_read_where_it_reports(aws: SimulatedAws, make_poller: MakePoller) -> None:
    poller = make_poller(metrics=ALL)
    for region in (REGION, "eu-west-1"):
        poller.poll(region=region)
    assert ("aws_cloudfront_requests_total", "", "") in poller.show()
    assert "aws_cloudfront_requests_total" not in {name for name, _, _ in poller.show(region="eu-west-1")}
    assert poller.show(region="eu-west-1")[LAMBDA, "", ""] == 0


def test_settings_say_what_is_wrong() -> None:
    for wrong, text in (
        ({"metrics": ["aws_lambada_*"]}, "aws_lambada_"),
        ({"period": "7m"}, "1m, 5m, 15m or 1h"),
        ({"discovery_interval": "4h"}, "at most 3h"),
        ({"monitoring_role_arn": "arn:aws:iam::111122223333:role/x"}, "monitoring_account is not set"),
    ):
        with pytest.raises(ValueError, match=text.replace("*", ".")):
            usage.UsageSettings.model_validate(wrong)


def test_the_poller_is_not_the_only_reader(make_poller: MakePoller) -> None:
    """Nothing was polled: nothing is known, which is not zero."""
    poller: Poller = make_poller()
    assert poller.samples() == ()
    assert poller.days("aws_lambda_invocations_daily") == {}
