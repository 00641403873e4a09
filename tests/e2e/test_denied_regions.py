"""Regions that a service control policy denies, in a running exporter: shown, left alone for a day, over a reload, too."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from running_exporter import (
    Client,
    Exporter,
    MakeAws,
    MakeExporter,
    check_with_promtool,
    collectors,
    in_process,
    organization,
    warm,
)
from waiting import wait_for

from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

HOME, DENIED = "us-east-1", "eu-west-1"
CONFIG = organization(
    regions="discover", collectors=collectors(ec2_instances={"interval": "1s"}), aws={"read_timeout": "1m"}
)


@pytest.fixture
def aws(make_aws: MakeAws) -> SimulatedAws:
    aws = make_aws(accounts=3)
    warm(aws)
    aws.faults.add("service_control_policy", region=DENIED)
    return aws


def asked(aws: SimulatedAws) -> dict[str, int]:
    """How often each account was asked for something in the denied region."""
    entries = aws.requests.entries(region=DENIED)
    return {
        account.name: sum(entry.account_id == account.id for entry in entries) for account in aws.accounts[1:]
    }


def rounds(aws: SimulatedAws, count: int) -> None:
    """Wait until each account has been read so often where it may be."""
    for account in aws.accounts:
        before = aws.requests.count("ec2", "DescribeInstances", account.id, HOME)
        wait_for(
            "it is read again",
            lambda account=account, before=before: (
                aws.requests.count("ec2", "DescribeInstances", account.id, HOME) >= before + count
            ),
        )


def denied(exporter: Client) -> int:
    """Accounts with a denied region."""
    return len(exporter.samples().get("aws_spend_exporter_denied_regions", []))


def lines(exporter: Exporter) -> list[str]:
    return [line for line in exporter.log().splitlines() if "policy denies the region" in line]


@pytest.mark.fault(
    "service control policy that denies a region, with regions: discover",
    "it is logged once, shown, fails nothing, and is left alone for a day, over a reload, too",
)
def test_a_denied_region_is_left_alone_and_a_reload_does_not_ask_again(
    aws: SimulatedAws, make_exporter: MakeExporter
) -> None:
    prod, staging = aws.accounts[1:]
    exporter = make_exporter(aws, CONFIG).start()
    wait_for("it is found out", lambda: denied(exporter) == 2)
    once = asked(aws)
    assert set(once.values()) == {4}, aws.requests.entries(
        region=DENIED
    )  # the unit, and three of other services
    rounds(aws, 3)
    assert asked(aws) == once
    assert len(lines(exporter)) == 2

    ready = exporter.get("/-/ready")
    assert ready.status_code == 200
    shown = f"{DENIED} of prod ({prod.id}), staging ({staging.id})"
    assert ready.text.splitlines()[1:] == [f"Denied by a service control policy: {shown}"]
    assert shown in exporter.get("/").text
    assert "none fails" in exporter.get("/").text
    text = exporter.get("/metrics").text
    check_with_promtool(text)
    assert exporter.value("aws_spend_exporter_denied_regions", account="prod") == 1
    assert exporter.failures("ec2_instances") == {}
    assert exporter.value("aws_spend_exporter_collector_success", collector="ec2_instances") == 1
    outcomes = exporter.get("/api/v1/status").json()["outcomes"]
    states = {each["account_id"]: each["error"] for each in outcomes if each["region"] == DENIED}
    assert states == {aws.payer_id: None, prod.id: "region_denied", staging.id: "region_denied"}

    for count, change in enumerate(
        ({"log": {"level": "debug"}}, {"thresholds": {"organization": {"day": 7}}}), start=1
    ):
        exporter.configure(CONFIG | change)
        exporter.signal(signal.SIGHUP)
        wait_for(
            "it is reloaded",
            lambda count=count: exporter.log().count("the configuration is reloaded") == count,
        )
        wait_for("it is ready", exporter.is_ready)
        rounds(aws, 3)
    assert asked(aws) == once
    assert len(lines(exporter)) == 2

    # Another identity may be denied other regions.
    exporter.configure(CONFIG | {"aws": {"read_timeout": "2m"}})
    assert exporter.reload().status_code == 200
    wait_for("it is ready", exporter.is_ready)
    wait_for("it is asked again", lambda: set(asked(aws).values()) == {8})

    assert exporter.stop() < 30
    exporter.start()
    wait_for("it is found out", lambda: denied(exporter) == 2)
    assert set(asked(aws).values()) == {12}
    assert exporter.stop() < 30


def test_a_region_that_is_allowed_again_is_read_at_once_by_a_refresh(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    with in_process(tmp_path, aws, CONFIG) as exporter:
        wait_for("it is found out", lambda: denied(exporter) == 2)
        aws.faults.clear()
        assert exporter.service.runner.refresh("ec2_instances").reason is None
        assert exporter.value("aws_spend_exporter_denied_regions", account="prod") is None
        assert exporter.get("/-/ready").text.count("\n") == 1
        rounds(aws, 1)


def test_what_doctor_shows_of_a_denied_region_is_no_failure(aws: SimulatedAws, tmp_path: Path) -> None:
    from exporter.cli.doctor import examine
    from exporter.config.read import load_config

    with in_process(tmp_path, aws, CONFIG) as exporter:
        wait_for("it is found out", lambda: denied(exporter) == 2)
        path = tmp_path / "doctor.json"
        path.write_text(json.dumps(CONFIG | {"client": {"url": exporter.url}}))
        findings = list(examine(load_config(path, {})))
    (shown,) = [each for each in findings if each.subject == "exporter" and DENIED in each.result]
    assert (shown.error, shown.result.startswith("Denied by a service control policy: ")) == (None, True)
    regions = [each for each in findings if each.subject == "region" and each.region == DENIED]
    assert {each.account: each.error for each in regions} == dict.fromkeys(("management", "prod", "staging"))
    assert sum(each.result.startswith("region_denied: ") for each in regions) == 2


@pytest.mark.fault(
    "service control policy that denies a region to CloudWatch, whose requests are paid",
    "the region is asked once, every request is counted, and the others are polled",
)
def test_paid_requests_to_a_denied_region_are_counted_and_not_repeated(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    """The probes that tell a denied region are free."""
    usage = {"metrics": ["aws_lambda_invocations_total"], "first_read_days": 1}
    config = organization(collectors=collectors(usage=usage), aws={"read_timeout": "1m"})
    with in_process(tmp_path, aws, config) as exporter:
        wait_for("it is found out", lambda: denied(exporter) == 2)
        wait_for("it is ready", exporter.is_ready)
        assert exporter.failures("usage") == {}
        for account in aws.accounts[1:]:
            (refused,) = aws.requests.entries(service="cloudwatch", account=account.id, region=DENIED)
            assert (refused.operation, refused.status) == ("ListMetrics", 400)
            assert aws.requests.count("cloudwatch", "GetMetricData", account.id, HOME) > 0
        by_operation = {
            operation: sum(
                value
                for labels, value in exporter.samples()["aws_spend_exporter_api_requests_total"]
                if (labels["service"], labels["operation"]) == ("cloudwatch", operation)
            )
            for operation in ("ListMetrics", "GetMetricData")
        }
        assert by_operation == {
            operation: aws.requests.count("cloudwatch", operation) for operation in by_operation
        }
