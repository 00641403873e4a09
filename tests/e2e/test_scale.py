"""Three hundred accounts: clients, threads and sessions do not grow where they must not."""

from __future__ import annotations

import sys
import time
from collections import Counter

import pytest
from running_exporter import MakeAws, MakeExporter, collectors, organization
from waiting import wait_for

from simulated_aws import SimulatedAws

ACCOUNTS = 300
THREADS = 16


def true_counts(aws: SimulatedAws) -> dict[str, int]:
    """Instances by account that moto holds, over all regions."""
    return {account.id: aws.spec.instances * 2 for account in aws.accounts if account.state == "ACTIVE"}


@pytest.mark.stack
@pytest.mark.alone
def test_three_hundred_accounts_share_clients_and_each_signs_as_itself(
    make_aws: MakeAws, make_exporter: MakeExporter, capsys: pytest.CaptureFixture[str]
) -> None:
    aws = make_aws(accounts=ACCOUNTS, instances=1)
    config = organization(
        aws={"threads": THREADS, "read_timeout": "15s"},
        collectors=collectors(ec2_instances={"interval": "1h"}),
    )
    exporter = make_exporter(aws, config)
    began = time.monotonic()
    exporter.start()
    most_threads = most_handles = 0

    def is_ready() -> bool:
        nonlocal most_threads, most_handles
        most_threads = max(most_threads, len(list(exporter.proc("task").iterdir())))
        most_handles = max(most_handles, len(list(exporter.proc("fd").iterdir())))
        return exporter.is_ready()

    wait_for("every account is read", is_ready, 150)
    seconds = time.monotonic() - began
    samples = exporter.samples()
    clients = exporter.value("aws_spend_exporter_aws_clients")
    active = {account.id for account in aws.accounts if account.state == "ACTIVE"}
    assumed = Counter(
        (entry.params or {}).get("RoleArn", "").split(":")[4]
        for entry in aws.requests.entries(operation="AssumeRole")
    )
    with capsys.disabled():
        sys.stdout.write(
            f" [{len(active)} accounts in {seconds:.1f} s, {clients:.0f} clients, {sum(assumed.values())} AssumeRole,"
            f" {most_threads} threads, {most_handles} files]"
        )

    # STS, Organizations, and EC2 for both regions.
    assert clients == 3
    assert assumed == Counter(active - {aws.payer_id})
    assert "aws_spend_exporter_collector_failure_info" not in samples
    found: Counter[str] = Counter()
    for labels, value in samples["aws_ec2_instances"]:
        found[labels["account_id"]] += int(value)
    assert found == true_counts(aws)
    # What each account was told, it was told as itself.
    asked = Counter(
        entry.account_id for entry in aws.requests.entries(service="ec2", operation="DescribeInstances")
    )
    assert asked == dict.fromkeys(active, 2)
    assert most_threads <= THREADS + 20
    assert most_handles <= 2 * THREADS + 40

    exporter.reload()
    wait_for("every account is read again", exporter.is_ready, 150)
    assert exporter.value("aws_spend_exporter_aws_clients") == 3
    assert exporter.stop() < 5
