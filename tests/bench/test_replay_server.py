"""The replay server answers each account with separate resources, times as asked, and cost that adds up."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import boto3
import pytest
import requests
from botocore import xform_name
from botocore.config import Config

from bench import replay_server as replaying
from bench.replay_server import Replay, ReplaySpec, replay_server
from bench.scale import FirstPass, recorded_lists

pytestmark = pytest.mark.stack

SPEC = ReplaySpec(accounts=45, latency=0, ce_latency=0, groups_per_page=100, services=3)
METRICS = ["UnblendedCost", "NetAmortizedCost"]


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    if shutil.which("go") is None:
        pytest.skip("go is not on the PATH")
    with replay_server(SPEC) as running:
        yield running


class Aws:
    """boto3 as the payer, or as another account through a role."""

    def __init__(self, replay: Replay) -> None:
        self._url = replay.url
        keys = replay.environment["AWS_ACCESS_KEY_ID"], replay.environment["AWS_SECRET_ACCESS_KEY"]
        self._sessions = {"": boto3.session.Session(*keys)}
        self._clients: dict[tuple[str, str, str], Any] = {}

    def client(self, account: str, service: str, region: str) -> Any:
        """As the payer where `account` is empty."""
        if account not in self._sessions:
            arn = f"arn:aws:iam::{account}:role/reader"
            keys = self.client("", "sts", "us-east-1").assume_role(RoleArn=arn, RoleSessionName="test")
            names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
            self._sessions[account] = boto3.session.Session(*(keys["Credentials"][name] for name in names))
        key = account, service, region
        if key not in self._clients:
            self._clients[key] = self._sessions[account].client(
                service,
                region_name=region,
                endpoint_url=self._url,
                config=Config(retries={"total_max_attempts": 1}),
            )
        return self._clients[key]

    def call(
        self, account: str, service: str, operation: str, region: str, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        found: dict[str, Any] = getattr(self.client(account, service, region), xform_name(operation))(
            **params or {}
        )
        return found

    def items(self, account: str, service: str, operation: str, region: str, member: str) -> list[Any]:
        """What is listed on all pages."""
        pages = self.client(account, service, region).get_paginator(xform_name(operation)).paginate()
        return [item for page in pages for item in page[member]]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@pytest.fixture
def aws(replay: Replay) -> Iterator[Aws]:
    replay.mark()
    made = Aws(replay)
    yield made
    made.close()


def members(aws: Aws) -> list[str]:
    """The ids of all accounts but the payer."""
    return [entry["Id"] for entry in aws.items("", "organizations", "ListAccounts", "us-east-1", "Accounts")][
        1:
    ]


def test_each_account_has_separate_resources_and_is_understood_by_their_ids(aws: Aws, replay: Replay) -> None:
    accounts = members(aws)
    assert len(accounts) == SPEC.accounts - 1
    seen: set[str] = set()
    for account in accounts[::4]:
        for region in ("us-east-1", "eu-west-1"):
            volumes = aws.items(account, "ec2", "DescribeVolumes", region, "Volumes")
            groups = aws.items(account, "elbv2", "DescribeTargetGroups", region, "TargetGroups")
            keys = aws.items(account, "kms", "ListKeys", region, "Keys")
            found = {
                *(volume["VolumeId"] for volume in volumes),
                *(group["TargetGroupArn"] for group in groups),
                *(key["KeyId"] for key in keys),
            }
            assert len(found) == len(volumes) + len(groups) + len(keys) > 3
            assert not seen & found
            seen |= found
            arn, key_id = groups[0]["TargetGroupArn"], keys[0]["KeyId"]
            assert f":{account}:" in arn
            aws.call(account, "elbv2", "DescribeTargetHealth", region, {"TargetGroupArn": arn})
            key = aws.call(account, "kms", "DescribeKey", region, {"KeyId": key_id})["KeyMetadata"]
            assert (key["KeyId"], key["AWSAccountId"]) == (key_id, account)
    counts = replay.counts()
    # The exporter asks for pages of 500 volumes, this test does not.
    assert counts["approximated"].keys() == {"ec2:DescribeVolumes"}
    assert counts["errors"] == {}


def test_metrics_have_values_at_the_periods_that_are_asked_for(aws: Aws) -> None:
    account, another = members(aws)[:2]
    wanted = {"Namespace": "AWS/Lambda", "MetricName": "Errors"}
    metrics = aws.call(account, "cloudwatch", "ListMetrics", "us-east-1", wanted)["Metrics"]
    assert {metric["MetricName"] for metric in metrics} == {"Errors"}
    query = {"Id": "m0", "MetricStat": {"Metric": metrics[0], "Period": 3600, "Stat": "Sum"}}
    start = datetime(2026, 3, 1, 7, 30, tzinfo=UTC)

    def values(account: str, start: datetime) -> dict[str, Any]:
        params = {
            "MetricDataQueries": [query],
            "StartTime": start,
            "EndTime": datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
            "ScanBy": "TimestampAscending",
        }
        (result,) = aws.call(account, "cloudwatch", "GetMetricData", "us-east-1", params)["MetricDataResults"]
        return dict(result)

    result = values(account, start)
    hours = [datetime(2026, 3, 1, hour, tzinfo=UTC) for hour in (8, 9, 10, 11)]
    assert (result["Id"], result["StatusCode"], result["Timestamps"]) == ("m0", "Complete", hours)
    assert values(account, start + timedelta(hours=2))["Values"] == result["Values"][2:]
    assert values(another, start)["Values"] != result["Values"]


def cost(aws: Aws, *group_by: str, **more: Any) -> dict[tuple[str, ...], Decimal]:
    """Unblended cost by the start of the period and the keys, over all pages."""
    params: dict[str, Any] = {
        "TimePeriod": {"Start": "2026-01-31", "End": "2026-02-03"},
        "Granularity": "DAILY",
        "Metrics": METRICS,
        "GroupBy": [{"Type": "DIMENSION", "Key": key} for key in group_by],
    } | more
    found: dict[tuple[str, ...], Decimal] = {}
    while True:
        answer = aws.call("", "ce", "GetCostAndUsage", "us-east-1", params)
        groups = 0
        for period in answer["ResultsByTime"]:
            for group in period["Groups"]:
                groups += 1
                key = (period["TimePeriod"]["Start"], *group["Keys"])
                assert key not in found
                found[key] = Decimal(group["Metrics"]["UnblendedCost"]["Amount"])
        assert groups <= SPEC.groups_per_page
        if not answer.get("NextPageToken"):
            return found
        assert groups == SPEC.groups_per_page
        params["NextPageToken"] = answer["NextPageToken"]


def test_cost_adds_up_over_pages_services_and_days(aws: Aws) -> None:
    by_service = cost(aws, "LINKED_ACCOUNT", "SERVICE")
    # Three services a day and account, and the tax on the first.
    assert len(by_service) == 3 * SPEC.accounts * 3 + SPEC.accounts
    by_account = cost(aws, "LINKED_ACCOUNT")
    sums: dict[tuple[str, ...], Decimal] = {}
    for (day, account_id, _), amount in by_service.items():
        sums[day, account_id] = sums.get((day, account_id), Decimal(0)) + amount
    assert sums == by_account
    months = cost(aws, "SERVICE", Granularity="MONTHLY")
    assert sum(months.values()) == sum(by_account.values())
    not_usage = {"Not": {"Dimensions": {"Key": "RECORD_TYPE", "Values": ["Usage"]}}}
    taxes = {key: amount for key, amount in by_service.items() if key[2] == "Tax"}
    assert cost(aws, "LINKED_ACCOUNT", "SERVICE", Filter=not_usage) == taxes


def test_gaps_go_on_over_a_mark_and_reads_are_counted_from_it(aws: Aws, replay: Replay) -> None:
    account = members(aws)[0]
    aws.call(account, "sqs", "ListQueues", "us-east-1")
    threading.Event().wait(0.2)
    replay.mark()
    aws.call(account, "sqs", "ListQueues", "us-east-1")
    found = requests.get(f"{replay.url}/-/counts?detail=1", timeout=10).json()
    (read,) = (each for each in found["reads"] if each["reads"])
    assert (read["account_id"], read["operation"], read["region"], read["reads"]) == (
        account, "sqs:ListQueues", "us-east-1", 1,
    )  # fmt: skip
    assert read["longest_gap_seconds"] >= 0.2
    assert found["by_operation"] == {"sqs:ListQueues": 1}


def test_what_is_neither_recorded_nor_made_up_is_refused_and_counted(aws: Aws, replay: Replay) -> None:
    with pytest.raises(Exception, match="not recorded"):
        aws.call(members(aws)[0], "sqs", "ListQueueTags", "us-east-1", {"QueueUrl": "http://none"})
    assert replay.counts()["errors"] == {"sqs:ListQueueTags": 1}


def test_the_first_pass_is_complete_when_each_list_was_read_in_each_account_and_region() -> None:
    first = FirstPass(accounts=2)
    everything = {name: {"keys": 2 * regions} for name, regions in first.regions.items()}
    assert first.is_complete({"keys": everything})
    last = next(iter(everything))
    assert not first.is_complete({"keys": {**everything, last: {"keys": 1}}})
    assert not first.is_complete({"keys": {name: everything[name] for name in list(everything)[:3]}})
    assert not first.is_complete({"keys": {}})


def test_lists_are_what_is_asked_once_in_a_region() -> None:
    lists = recorded_lists()
    assert lists["ec2:DescribeInstances"] == 4
    assert "elbv2:DescribeTargetHealth" not in lists


def test_without_go_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(replaying, "PROGRAM", tmp_path / "replay")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Exception, match="install Go"), replay_server(replace(SPEC, accounts=1)):
        pass
