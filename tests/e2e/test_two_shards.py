"""Two shards as two processes and one process for all, at the same time against one simulated AWS."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from running_exporter import Exporter, MakeAws, MakeExporter, Samples, collectors, organization
from waiting import wait_for

pytestmark = pytest.mark.stack

ACCOUNTS = 24
SHARDS: Mapping[str, Mapping[str, int]] = {
    "whole": {"index": 0, "count": 1},
    "first": {"index": 0, "count": 2},
    "second": {"index": 1, "count": 2},
}
SELF = ("aws_spend_exporter_", "process_", "python_")
# They go on while the three are asked one after the other.
MOVING = "aws_ec2_instance_running_seconds_total"

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def settings() -> dict[str, Any]:
    """Every kind of family: cost, forecast, thresholds, findings, inventory, instances, usage."""
    # CloudWatch is read up to a full hour, as if it was half past: the three begin within the same one.
    delay = (datetime.now(UTC).minute - 30) % 60 or 60  # no delay is none that can be set
    return organization(
        aws={"read_timeout": "60s"},
        ceilings={"usage": {"day": None, "month": None}},
        thresholds={"accounts": {"default": {"day": 10}}},
        collectors=collectors(
            cost={"history_months": 1},
            forecast={},
            ec2_running={},
            inventory={"services": ["dynamodb", "kinesis", "sqs"], "required_tags": ["owner"]},
            usage={"delay": f"{delay}m", "metrics": ["aws_lambda_duration_seconds", "aws_s3_objects"]},
        ),
    )


def series_of(samples: Samples) -> Series:
    """What is said of AWS, not of the exporter. Each series is there once.

    Without moments of the whole organization, such as the newest assessed day: each shard has one of its data, and
    they are never summed.
    """
    listed = [
        ((name, tuple(sorted(labels.items()))), value)
        for name, found in samples.items()
        if not name.startswith(SELF)
        for labels, value in found
        if "account_id" in labels or not name.endswith("_timestamp_seconds")
    ]
    series = dict(listed)
    assert len(series) == len(listed)
    return series


def sums_of(*each: Series) -> dict[tuple[str, str], float]:
    """`sum by (account_id)` over all exporters, without what the order of additions leaves in the last digits."""
    sums: dict[tuple[str, str], float] = {}
    for series in each:
        for (name, labels), value in series.items():
            if name != MOVING:
                key = name, dict(labels).get("account_id", "")
                sums[key] = sums.get(key, 0.0) + value
    return {key: float(f"{value:.9g}") for key, value in sums.items()}


def accounts_of(series: Series, name: str) -> set[str]:
    """The accounts that have a family."""
    return {dict(labels)["account_id"] for found, labels in series if found == name}


def test_two_shards_add_up_to_one_process(make_aws: MakeAws, make_exporter: MakeExporter) -> None:
    """No account twice, none missing, and every sum is that of one exporter for all."""
    aws = make_aws(accounts=ACCOUNTS, services=4, refresh_minutes=1440)
    config = settings()
    running: list[Exporter] = [
        make_exporter(aws, config | {"shard": shard}, name=name).start() for name, shard in SHARDS.items()
    ]
    for exporter in running:
        wait_for("it is ready", exporter.is_ready)

    # Views are rendered a moment after what they show; what still differs then is shown by the assertion.
    last: list[Series] = []

    def agree() -> bool:
        last[:] = [series_of(exporter.samples()) for exporter in running]
        return sums_of(last[0]) == sums_of(*last[1:])

    with suppress(AssertionError):
        wait_for("the sums agree", agree, 30)
    whole, first, second = last
    assert sums_of(first, second) == sums_of(whole)
    assert first.keys() | second.keys() == whole.keys()
    assert not first.keys() & second.keys()

    active = {account.id for account in aws.accounts if account.state == "ACTIVE"}
    for name in ("aws_account_info", "aws_resources", "aws_s3_objects", MOVING):
        shares = accounts_of(first, name), accounts_of(second, name)
        assert all(shares), name
        assert shares[0] | shares[1] == active == accounts_of(whole, name), name
        assert not shares[0] & shares[1], name
    # What is not about an account, or is paid for all of them, is the first shard's.
    assert accounts_of(first, "aws_cost_last_month_usd") >= active
    assert not {name for name, _ in second if name.startswith("aws_cost_")}
    # AWS was asked by one of the shards, and by the process for all.
    asked = [
        (entry.account_id, entry.region)
        for entry in aws.requests.entries(service="sqs", operation="ListQueues")
    ]
    assert sorted(asked) == sorted([(id_, region) for id_ in active for region in config["regions"]] * 2)
