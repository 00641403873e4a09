"""CloudWatch's queries answer from one truth in all of its protocols."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from simulated_calls import NOW, Client, call_in_protocol, error_code

from simulated_aws import SimulatedAws

DAY = {"StartTime": datetime(2026, 3, 15, tzinfo=UTC), "EndTime": datetime(2026, 3, 16, tzinfo=UTC)}
INVOCATIONS = {
    "Namespace": "AWS/Lambda",
    "MetricName": "Invocations",
    "Dimensions": [{"Name": "FunctionName", "Value": "management-checkout"}],
}


def one(metric: dict[str, Any] = INVOCATIONS, **more: Any) -> dict[str, Any]:
    """A query of an hourly sum."""
    return {"Id": "q", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": "Sum"}} | more


def true_sum(aws: SimulatedAws, start: datetime, end: datetime, at: datetime | None = None) -> float:
    dimensions = {"FunctionName": "management-checkout"}
    return aws.truth.metric_sum(
        aws.payer_id, "us-east-1", "AWS/Lambda", "Invocations", dimensions, start, end, at
    )


def test_hourly_sums_add_up_to_the_truth(aws: SimulatedAws, client: Client) -> None:
    (result,) = client("cloudwatch").get_metric_data(MetricDataQueries=[one()], **DAY)["MetricDataResults"]
    assert result["StatusCode"] == "Complete"
    assert result["Label"] == "Invocations"
    assert len(result["Values"]) == 24
    assert result["Timestamps"] == sorted(result["Timestamps"], reverse=True)
    assert result["Timestamps"][-1] == DAY["StartTime"]
    assert result["Timestamps"][0] < DAY["EndTime"]
    assert sum(result["Values"]) == true_sum(aws, DAY["StartTime"], DAY["EndTime"]) > 0


@pytest.mark.parametrize("protocol", ["json", "query", "smithy-rpc-v2-cbor"])
def test_every_protocol_tells_the_same(aws: SimulatedAws, protocol: str) -> None:
    params: dict[str, Any] = {"MetricDataQueries": [one()], "ScanBy": "TimestampAscending", **DAY}
    answer = call_in_protocol(aws, "cloudwatch", protocol, "GetMetricData", params)
    (result,) = answer["MetricDataResults"]
    assert sum(result["Values"]) == true_sum(aws, DAY["StartTime"], DAY["EndTime"])
    assert result["Timestamps"][0] == DAY["StartTime"]
    listed = call_in_protocol(aws, "cloudwatch", protocol, "ListMetrics", {"Namespace": "AWS/SQS"})
    assert [metric["MetricName"] for metric in listed["Metrics"]] == ["NumberOfMessagesSent"]
    params["MetricDataQueries"] = [{"Id": "q", "Expression": "SUM(METRICS())"}]
    refused = call_in_protocol(aws, "cloudwatch", protocol, "GetMetricData", params)
    assert refused["Error"]["Code"] == "ValidationError"
    assert "SUM(METRICS())" in refused["Error"]["Message"]


def test_points_are_paged_over_the_queries(aws: SimulatedAws, client: Client) -> None:
    cloudwatch = client("cloudwatch")
    duration = {**INVOCATIONS, "MetricName": "Duration"}
    queries = [one(Id="a"), one(duration, Id="b"), one({**INVOCATIONS, "MetricName": "Nothing"}, Id="c")]
    pages, token = [], {}
    while True:
        page = cloudwatch.get_metric_data(MetricDataQueries=queries, MaxDatapoints=20, **DAY, **token)
        pages.append(page["MetricDataResults"])
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
    assert [[(r["Id"], len(r["Values"]), r["StatusCode"]) for r in page] for page in pages] == [
        [("a", 20, "PartialData")],
        [("a", 4, "Complete"), ("b", 16, "PartialData")],
        [("b", 8, "Complete"), ("c", 0, "Complete")],
    ]
    total = sum(sum(r["Values"]) for page in pages for r in page if r["Id"] == "a")
    assert total == true_sum(aws, DAY["StartTime"], DAY["EndTime"])
    asked = {"MetricDataQueries": queries, **DAY, "NextToken": "x"}
    assert error_code(cloudwatch.get_metric_data, **asked) == "InvalidNextToken"


def test_the_newest_minutes_are_incomplete_and_settle(aws: SimulatedAws) -> None:
    start, end = NOW - timedelta(minutes=5), NOW
    at = [true_sum(aws, start, end, NOW + timedelta(minutes=minutes)) for minutes in (0, 5, 10, 60)]
    assert at[0] < at[1] < at[2] == at[3]


def test_daily_bucket_sizes_come_a_day_late(aws: SimulatedAws, client: Client) -> None:
    cloudwatch = client("cloudwatch")
    metrics = cloudwatch.list_metrics(Namespace="AWS/S3", MetricName="BucketSizeBytes")["Metrics"]
    query = {"Id": "s", "MetricStat": {"Metric": metrics[0], "Period": 86_400, "Stat": "Average"}}
    interval = {"StartTime": datetime(2026, 3, 14, tzinfo=UTC), "EndTime": NOW}
    (result,) = cloudwatch.get_metric_data(MetricDataQueries=[query], **interval)["MetricDataResults"]
    assert result["Timestamps"] == [datetime(2026, 3, day, tzinfo=UTC) for day in (16, 15, 14)]
    assert result["Values"] == sorted(result["Values"], reverse=True)


def test_idle_functions_have_gaps_and_retired_ones_end(aws: SimulatedAws, client: Client) -> None:
    cloudwatch = client("cloudwatch")

    def hours(function: str) -> int:
        metric = INVOCATIONS | {"Dimensions": [{"Name": "FunctionName", "Value": function}]}
        queries = [one(metric) | {"MetricStat": {"Metric": metric, "Period": 300, "Stat": "Sum"}}]
        (result,) = cloudwatch.get_metric_data(MetricDataQueries=queries, **DAY)["MetricDataResults"]
        return len(result["Values"])

    assert hours("management-checkout") == 288
    assert 0 < hours("management-nightly-report") < 60
    assert hours("management-retired") == 0


def test_metrics_are_listed_by_dimension_in_pages(aws: SimulatedAws, client: Client) -> None:
    cloudwatch = client("cloudwatch")
    filters = [{"Name": "StorageType", "Value": "StandardStorage"}, {"Name": "BucketName"}]
    found = cloudwatch.list_metrics(Namespace="AWS/S3", Dimensions=filters)["Metrics"]
    assert {metric["MetricName"] for metric in found} == {"BucketSizeBytes"}
    retired = [{"Name": "FunctionName", "Value": "management-retired"}]
    assert len(cloudwatch.list_metrics(Dimensions=retired)["Metrics"]) == 4
    assert cloudwatch.list_metrics(Dimensions=retired, RecentlyActive="PT3H")["Metrics"] == []
    pages = list(cloudwatch.get_paginator("list_metrics").paginate(IncludeLinkedAccounts=True))
    assert [len(page["Metrics"]) for page in pages[:-1]] == [500] * (len(pages) - 1) != []
    assert {account for page in pages for account in page["OwningAccounts"]} == {a.id for a in aws.accounts}


def test_a_monitoring_account_queries_others(aws: SimulatedAws, client: Client, assume: Client) -> None:
    prod = aws.accounts[1].id
    metric = INVOCATIONS | {"Dimensions": [{"Name": "FunctionName", "Value": "prod-checkout"}]}
    asked = {"MetricDataQueries": [one(metric, AccountId=prod)], **DAY}
    (linked,) = client("cloudwatch").get_metric_data(**asked)["MetricDataResults"]
    member = client("cloudwatch", assume(prod))
    (own,) = member.get_metric_data(**asked)["MetricDataResults"]
    assert linked["Values"] == own["Values"] != []
    asked["MetricDataQueries"] = [one(metric, AccountId=aws.payer_id)]
    assert error_code(member.get_metric_data, **asked) == "ValidationError"


def test_statistics_of_an_interval(aws: SimulatedAws, client: Client) -> None:
    cloudwatch = client("cloudwatch")
    asked = INVOCATIONS | DAY | {"Period": 86_400, "Statistics": ["Sum", "SampleCount", "Average"]}
    (point,) = cloudwatch.get_metric_statistics(**asked)["Datapoints"]
    assert point["Sum"] == true_sum(aws, DAY["StartTime"], DAY["EndTime"])
    assert point["SampleCount"] == 288
    assert point["Average"] == pytest.approx(point["Sum"] / 288)
    assert point["Unit"] == "Count"
    long = asked | {"Period": 60, "StartTime": datetime(2026, 3, 1, tzinfo=UTC)}
    assert error_code(cloudwatch.get_metric_statistics, **long) == "InvalidParameterCombination"


@pytest.mark.parametrize(
    "change",
    [
        {"EndTime": DAY["StartTime"]},
        {"MetricDataQueries": [one(Id="Upper")]},
        {"MetricDataQueries": [one(), one()]},
        {"MetricDataQueries": [one(MetricStat={"Metric": INVOCATIONS, "Period": 90, "Stat": "Sum"})]},
        {"MetricDataQueries": [one(MetricStat={"Metric": INVOCATIONS, "Period": 60, "Stat": "Median"})]},
        {"MetricDataQueries": [one(Id=f"q{number}") for number in range(501)]},
        {"MetricDataQueries": [{"Id": "q", "Expression": "SEARCH('{AWS/Lambda}', 'Sum', 60)"}]},
        {"MetricDataQueries": [{"Id": "q"}]},
    ],
)
def test_wrong_queries_are_refused(client: Client, change: dict[str, Any]) -> None:
    asked = {"MetricDataQueries": [one()], **DAY} | change
    assert error_code(client("cloudwatch").get_metric_data, **asked) == "ValidationError"


def test_points_of_a_minute_are_kept_for_fifteen_days(client: Client) -> None:
    old = {"StartTime": NOW - timedelta(days=20), "EndTime": NOW - timedelta(days=19)}
    cloudwatch = client("cloudwatch")
    minute = one(MetricStat={"Metric": INVOCATIONS, "Period": 60, "Stat": "Sum"})
    (result,) = cloudwatch.get_metric_data(MetricDataQueries=[minute], **old)["MetricDataResults"]
    assert result["Values"] == []
    (result,) = cloudwatch.get_metric_data(MetricDataQueries=[one()], **old)["MetricDataResults"]
    assert len(result["Values"]) == 24
