"""What AWS or the way to it does wrong shows in the metrics, with the kind that says what to fix, and stays where it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from running_exporter import (
    Client,
    MakeAws,
    MakeExporter,
    ShiftedClock,
    collectors,
    in_process,
    organization,
    warm,
)
from waiting import wait_for

from exporter.collection.due import Patience
from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack

_MEMORY_KIB = 400 << 10
"""Of the process, with answers of 32 MiB under way; without a bound it is gigabytes after seconds."""

FAULTS = {
    "prod": ("drip_headers", "timeout"),
    "staging": ("drip_body", "timeout"),
    "data-platform": ("endless", "malformed_response"),
    "dev": ("endless_length", "malformed_response"),
    "sandbox": ("stall", "timeout"),
    "security": ("plain_429", "throttled"),
    "machine-learning": ("plain_503", "server_error"),
}
HEALTHY = {"management", "shared-services"}


def accounts_with_instances(client: Client) -> set[str]:
    return {labels["account"] for labels, _ in client.samples().get("aws_ec2_instances", [])}


@pytest.mark.fault(
    "EC2 of an account drips, stalls, never ends or answers in plain text",
    "the account fails with the kind, the others are read, memory is bounded",
)
def test_hostile_answers_fail_their_account_alone_and_fill_no_memory(
    make_aws: MakeAws, make_exporter: MakeExporter
) -> None:
    aws = make_aws()
    warm(aws)
    for account, (kind, _) in FAULTS.items():
        aws.faults.add(kind, account=account, service="ec2", seconds=30)
    config = organization(regions=["us-east-1"], aws={"read_timeout": "5s"})
    exporter = make_exporter(aws, config).start()
    wait_for("the healthy accounts are read", lambda: accounts_with_instances(exporter) == HEALTHY)
    wait_for(
        "every other account fails",
        lambda: exporter.failures("ec2_instances") == {name: {kind} for name, (_, kind) in FAULTS.items()},
    )
    success = {
        labels.get("account", ""): value
        for labels, value in exporter.samples()["aws_spend_exporter_collector_success"]
        if labels["collector"] == "ec2_instances"
    }
    assert success == dict.fromkeys(["", *FAULTS], 0)
    peak = next(
        int(line.split()[1]) for line in exporter.proc("status").read_text().splitlines() if "VmHWM" in line
    )
    assert peak < _MEMORY_KIB
    aws.faults.clear()


def _without(aws: SimulatedAws, endpoint_url: str) -> dict[str, object]:
    return organization(aws={"endpoint_url": endpoint_url, "read_timeout": "1s"})


@pytest.mark.fault(
    "account discovery fails: {what}", "collector_failure_info and collector_success of `accounts` show it"
)
@pytest.mark.parametrize(
    ("what", "endpoint_url"),
    [
        ("the name does not resolve", "http://sts.invalid"),
        ("nothing listens", "http://127.0.0.1:9"),
        ("TLS with a server that has none", "https://127.0.0.1:{port}"),
    ],
)
def test_a_discovery_that_fails_is_a_collector_that_fails(
    make_aws: MakeAws, tmp_path: Path, what: str, endpoint_url: str
) -> None:
    aws = make_aws(accounts=2)
    config = _without(aws, endpoint_url.format(port=aws.port))
    with in_process(tmp_path, aws, config, patience=Patience()) as exporter:
        found = wait_for(
            "it is shown",
            lambda: [
                labels
                for labels, value in exporter.samples().get("aws_spend_exporter_collector_failure_info", [])
                if labels["collector"] == "accounts" and value == 1
            ],
        )
        # What has no value is no label.
        assert found == [{"collector": "accounts", "unit": "accounts", "kind": "connection"}]
        assert exporter.value("aws_spend_exporter_collector_success", collector="accounts") == 0


@pytest.mark.fault(
    "account discovery fails once and then works", "its failure goes, and it counts as a collector that works"
)
def test_a_discovery_that_works_again_is_well(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=2)
    aws.faults.add("drip_body", service="organizations", count=2)
    config = organization(aws={"read_timeout": "1s"})
    with in_process(tmp_path, aws, config, ShiftedClock()) as exporter:
        wait_for(
            "it has failed",
            lambda: exporter.failures("accounts") == {"": {"timeout"}},
        )
        wait_for("it works", lambda: exporter.failures("accounts") == {})
        assert exporter.value("aws_spend_exporter_collector_success", collector="accounts") == 1


@pytest.mark.fault(
    "a region of an account is not opted in to, seen by {service}",
    "region_disabled, the other region is read",
)
@pytest.mark.parametrize("service", ["ec2"])
def test_a_region_without_opt_in_is_disabled(make_aws: MakeAws, tmp_path: Path, service: str) -> None:
    aws = make_aws(accounts=2, regions=("us-east-1", "eu-south-1"))
    warm(aws)
    aws.faults.add("not_opted_in", service=service, region="eu-south-1")
    with in_process(tmp_path, aws, organization(regions=["us-east-1", "eu-south-1"])) as exporter:
        wait_for("it is ready", exporter.is_ready)
        kinds = {kind for kinds in exporter.failures("ec2_instances").values() for kind in kinds}
        regions = {labels["region"] for labels, _ in exporter.samples()["aws_ec2_instances"]}
    assert kinds == {"region_disabled"}
    assert regions == {"us-east-1"}


@pytest.mark.fault("the clock is off, seen by {service}", "clock_skew")
@pytest.mark.parametrize("service", ["sts", "organizations"])
def test_a_clock_that_is_off_is_no_matter_of_credentials(
    make_aws: MakeAws, tmp_path: Path, service: str
) -> None:
    aws = make_aws(accounts=2)
    aws.faults.add("clock_skew", service=service)
    with in_process(tmp_path, aws, organization(collectors=collectors())) as exporter:
        wait_for("it has failed", lambda: exporter.failures("accounts") == {"": {"clock_skew"}})
