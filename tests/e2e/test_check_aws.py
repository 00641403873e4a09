"""`check --aws` tries everything that a run needs, pays nothing, and says what to do."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import moments
import pytest
from running_exporter import MakeAws, collectors, organization, warm

from simulated_aws import SimulatedAws

pytestmark = pytest.mark.stack


def command(tmp_path: Path, config: dict[str, Any], *arguments: str) -> list[str]:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config))
    return [sys.executable, "-m", "exporter", "check", "-c", str(path), *arguments]


def environment(aws: SimulatedAws, tmp_path: Path) -> dict[str, str]:
    root = Path(__file__).parents[2]
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        **moments.python_path(root),
        **aws.environment(),
    }


def check(
    aws: SimulatedAws, tmp_path: Path, *arguments: str, config: dict[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(tmp_path, config or organization(), "--aws", *arguments),
        env=environment(aws, tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def aws(make_aws: MakeAws) -> SimulatedAws:
    return make_aws(accounts=5)


def paid(aws: SimulatedAws) -> int:
    return aws.requests.count("ce") + aws.requests.count("cloudwatch")


def test_all_is_well(aws: SimulatedAws, tmp_path: Path) -> None:
    config = organization(collectors=collectors(cost={"history_months": 3}, ec2_instances={}))
    done = check(aws, tmp_path, "--json", config=config)
    assert done.returncode == 0, done.stderr
    findings = json.loads(done.stdout)
    assert [finding for finding in findings if finding["error"]] == []
    assert {finding["account"] for finding in findings if finding["subject"] == "role"} == {
        "management", "prod", "staging", "data-platform", "sandbox",
    }  # fmt: skip
    assert {
        (finding["account"], finding["region"]) for finding in findings if finding["subject"] == "region"
    } == {(account.name, region) for account in aws.accounts for region in ("us-east-1", "eu-west-1")}
    assert paid(aws) == 0
    assert not (tmp_path / "data").exists()  # a check leaves nothing behind


def test_a_denied_account_and_a_disabled_region_are_named_with_what_to_do(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    aws.faults.add("access_denied", account="prod", operation="AssumeRole")
    config = organization(regions=["us-east-1", "eu-west-1", "ap-east-1"])
    done = check(aws, tmp_path, "--json", config=config)
    assert done.returncode == 1
    failed = [finding for finding in json.loads(done.stdout) if finding["error"]]
    assert [(finding["account"], finding["error"]) for finding in failed if finding["subject"] == "role"] == [
        ("prod", "access_denied")
    ]
    assert {
        (finding["account"], finding["region"], finding["error"])
        for finding in failed
        if finding["subject"] == "region"
    } == {
        (account.name, "ap-east-1", "region_disabled") for account in aws.accounts if account.name != "prod"
    }
    assert all(finding["advice"] for finding in failed)

    table = check(aws, tmp_path, config=config)
    assert table.returncode == 1
    for text in (
        "prod",
        aws.organization.find("prod").id,
        "access_denied",
        "trust policy",
        "ap-east-1",
        "region_disabled",
        "opt in",
    ):
        assert text in table.stdout, text
    assert paid(aws) == 0


INVENTORY = organization(
    aws={"read_timeout": "1m"},
    collectors=collectors(inventory={"services": ["sqs", "kms", "cloudfront", "vpc"]}, cost={}, budgets={}),
)


def found(done: subprocess.CompletedProcess[str], **members: str | None) -> list[dict[str, Any]]:
    """The findings with these members."""
    return [each for each in json.loads(done.stdout) if members.items() <= each.items()]


@pytest.mark.fault(
    "service control policy that denies a region, seen by check --aws",
    "the region is shown as denied, nothing fails, and nothing is paid",
)
def test_a_denied_region_is_shown_and_is_no_failure(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.faults.add("service_control_policy", region="eu-west-1")
    done = check(aws, tmp_path, "--json", config=INVENTORY)
    assert done.returncode == 0, done.stdout
    denied = [each for each in found(done, subject="region") if each["result"].startswith("region_denied: ")]
    assert {(each["account"], each["region"]) for each in denied} == {
        (account.name, "eu-west-1") for account in aws.accounts[1:]
    }
    assert all("leave the region out" in each["advice"] for each in denied)
    reachable = {(each["account"], each["region"]) for each in found(done, result="reachable")}
    assert reachable == {(account.name, "us-east-1") for account in aws.accounts} | {
        ("management", "eu-west-1")
    }
    assert paid(aws) == 0


@pytest.mark.fault(
    "role without the permission of one service, seen by check --aws",
    "the service is named once an account, and nothing is paid",
)
def test_each_enabled_kind_is_asked_and_what_may_not_be_read_is_named(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    # A region that is denied hides no permission that is missing elsewhere.
    aws.faults.add("service_control_policy", account="prod", region="eu-west-1")
    aws.faults.add("access_denied", account="prod", service="sqs")
    aws.faults.add("access_denied", account="staging", service="kms", region="eu-west-1")
    aws.faults.add("access_denied", account="sandbox", service="cloudfront")
    done = check(aws, tmp_path, "--json", config=INVENTORY)
    assert done.returncode == 1
    failed = [each for each in json.loads(done.stdout) if each["error"]]
    assert {(each["subject"], each["account"], each["region"], each["error"]) for each in failed} == {
        ("inventory_sqs", "prod", "us-east-1", "access_denied"),
        ("inventory_kms", "staging", "eu-west-1", "access_denied"),
        ("inventory_cloudfront", "sandbox", "", "access_denied"),
    }
    assert all("permissions" in each["advice"] for each in failed)
    (cost,) = found(done, subject="cost")
    assert cost["result"] == "not asked: its requests are paid"
    (budgets,) = found(done, subject="budgets")
    assert (budgets["result"], budgets["error"]) == ("answers", None)
    assert aws.requests.count("budgets") == 1
    whole = aws.organization.find("data-platform").id
    asked = Counter(
        (entry.service, entry.operation, entry.region)
        for entry in aws.requests.entries(account=whole)
        if entry.service not in ("sts",) and entry.operation != "DescribeRegions"
    )
    assert asked == {
        ("cloudfront", "ListDistributions", "us-east-1"): 1,
        **{
            (service, operation, region): 1
            for service, operation in (
                ("sqs", "ListQueues"),
                ("kms", "ListKeys"),
                ("ec2", "DescribeAddresses"),
            )
            for region in ("us-east-1", "eu-west-1")
        },
    }
    assert paid(aws) == 0


def test_a_permission_that_is_missing_everywhere_is_one_line(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.faults.add("access_denied", account="prod", service="sqs")
    done = check(aws, tmp_path, "--json", config=INVENTORY)
    (failed,) = [each for each in json.loads(done.stdout) if each["error"]]
    assert (failed["subject"], failed["account"], failed["region"]) == ("inventory_sqs", "prod", "")
    assert failed["result"].endswith("(and in 1 more regions)")


@pytest.mark.fault(
    "partition without Cost Explorer, seen by check --aws",
    "each collector that needs it is named, and nothing is paid",
)
def test_what_a_partition_lacks_is_named(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(accounts=2, partition="aws-eusc", regions=("eusc-de-east-1",))
    config = organization(regions="discover", collectors=collectors(cost={}, forecast={}, ec2_instances={}))
    done = check(aws, tmp_path, "--json", config=config)
    assert done.returncode == 1
    failed = [each for each in json.loads(done.stdout) if each["error"]]
    assert {(each["subject"], each["error"], each["result"]) for each in failed} == {
        (name, "not_offered", "Cost Explorer is not supported in the partition aws-eusc")
        for name in ("cost", "forecast")
    }
    assert len(found(done, result="reachable", region="eusc-de-east-1")) == 2
    assert paid(aws) == 0


def test_a_region_that_hangs_is_not_asked_for_everything(aws: SimulatedAws, tmp_path: Path) -> None:
    warm(aws)
    aws.faults.add("hang", account="prod", service="sqs", region="eu-west-1")
    config = INVENTORY | {"aws": {"read_timeout": "6s"}}
    config["collectors"] = collectors(inventory={"services": ["sqs", "vpc"]})
    done = check(aws, tmp_path, "--json", config=config)
    assert done.returncode == 1
    (failed,) = [each for each in json.loads(done.stdout) if each["error"]]
    assert (failed["subject"], failed["account"], failed["error"]) == ("inventory_sqs", "prod", "timeout")
    prod = aws.organization.find("prod").id
    assert aws.requests.count("ec2", "DescribeAddresses", prod, "eu-west-1") == 0


@pytest.mark.parametrize(
    ("fault", "kind"), [("access_denied", "access_denied"), ("expired_credentials", "expired_credentials")]
)
def test_what_fails_before_any_account_is_known_is_one_finding(
    aws: SimulatedAws, tmp_path: Path, fault: str, kind: str
) -> None:
    aws.faults.add(fault, service="organizations")
    done = check(aws, tmp_path, "--json")
    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)
    assert (finding["subject"], finding["error"]) == ("credentials and discovery", kind)
    assert finding["advice"]


def test_no_credentials_and_no_such_profile(aws: SimulatedAws, tmp_path: Path) -> None:
    bare = {name: value for name, value in environment(aws, tmp_path).items() if "KEY" not in name}
    for config in (organization(), organization(aws={"profile": "there-is-none"})):
        done = subprocess.run(
            command(tmp_path, config, "--aws", "--json"),
            env=bare,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        (finding,) = json.loads(done.stdout)
        assert finding["error"] == "no_credentials"
    assert aws.requests.count() == 0


def test_a_bad_configuration_is_exit_code_two_before_any_call(aws: SimulatedAws, tmp_path: Path) -> None:
    done = check(aws, tmp_path, config={"regoins": ["us-east-1"]})
    assert (done.returncode, done.stdout) == (2, "")
    assert "regoins: found an unknown key" in done.stderr
    assert aws.requests.count() == 0


def test_a_hanging_account_is_named_and_the_others_are_checked(aws: SimulatedAws, tmp_path: Path) -> None:
    aws.faults.add("hang", account="staging")
    began = time.monotonic()
    done = check(aws, tmp_path, "--json", config=organization(aws={"read_timeout": "1s"}))
    assert time.monotonic() - began < 40
    assert done.returncode == 1
    failed = [finding for finding in json.loads(done.stdout) if finding["error"]]
    assert [(finding["account"], finding["error"]) for finding in failed] == [("staging", "timeout")]


def on_terminal(arguments: list[str], env: dict[str, str]) -> tuple[str, int]:
    """What a program shows on a terminal, and its exit code."""
    leader, follower = pty.openpty()
    env = env | {"TERM": "xterm-256color", "COLUMNS": "120"}
    shown = b""
    with subprocess.Popen(arguments, env=env, stdin=follower, stdout=follower, stderr=follower) as popen:
        os.close(follower)
        while select.select([leader], [], [], 30)[0]:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
    os.close(leader)
    return shown.decode(errors="replace"), popen.returncode


def test_a_long_check_shows_a_bar_on_a_terminal_and_lines_in_a_pipe(
    aws: SimulatedAws, tmp_path: Path
) -> None:
    aws.faults.add("latency", service="sts", operation="AssumeRole", seconds=2.2)  # a line every two seconds
    patient = organization(aws={"read_timeout": "20s"})
    shown, code = on_terminal(command(tmp_path, patient, "--aws"), environment(aws, tmp_path))
    assert code == 0, shown
    assert "Checking accounts" in shown
    assert "/5" in shown
    assert "AWS access" in shown

    piped = check(aws, tmp_path, config=patient)
    assert piped.returncode == 0
    assert "Checking accounts: " in piped.stderr
    assert " of 5" in piped.stderr
    assert "\x1b" not in piped.stdout + piped.stderr
    quiet = check(aws, tmp_path, "--json", config=patient)
    assert (quiet.returncode, quiet.stderr) == (0, "")
