"""Requests on the wire: retried outside botocore, by account, classified by what came back, never in a deadlock."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aws_access import ROLE, access, member
from prometheus_client import CollectorRegistry
from waiting import wait_for

from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import CALLS_PER_ACCOUNT, Aws, Backoff, Deadline
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import Meter
from exporter.aws.settings import CeilingSettings
from exporter.core.moments import utc_now
from simulated_aws import OrganizationSpec, SimulatedAws

COST = {
    "TimePeriod": {"Start": "2026-03-01", "End": "2026-03-02"},
    "Granularity": "DAILY",
    "Metrics": ["UnblendedCost"],
}
PARAMS: dict[str, dict[str, Any]] = {"GetCostAndUsage": COST}
CALLS = (
    ("ce", "GetCostAndUsage"),  # JSON
    ("organizations", "ListAccounts"),  # JSON
    ("sts", "GetCallerIdentity"),  # Query, XML
    ("ec2", "DescribeRegions"),  # EC2's own XML
)


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedAws]:
    now = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
    spec = OrganizationSpec(seed=11, accounts=6, services=3, days=60, instances=1, now=now)
    with SimulatedAws(spec) as aws:
        yield aws


@pytest.mark.parametrize(("service", "operation"), CALLS)
@pytest.mark.parametrize(
    ("fault", "kind", "attempts"),
    [
        ("access_denied", Kind.ACCESS_DENIED, 1),
        ("expired_credentials", Kind.EXPIRED_CREDENTIALS, 1),
        ("throttle", Kind.THROTTLED, 4),
        ("server_error", Kind.SERVER_ERROR, 4),
        ("reset", Kind.CONNECTION, 4),
        ("malformed", Kind.MALFORMED_RESPONSE, 4),
        ("hang", Kind.TIMEOUT, 2),
    ],
)
@pytest.mark.fault("a request to AWS: {fault}", "its kind, its attempts, each of them counted and charged")
def test_each_fault_on_the_wire_has_its_kind_and_its_attempts(
    wire: SimulatedAws, service: str, operation: str, fault: str, kind: Kind, attempts: int
) -> None:
    wire.faults.add(fault, service=service, operation=operation)
    with access(wire, read_timeout=0.5 if fault == "hang" else 30) as aws, pytest.raises(AwsError) as caught:
        aws.call(None, service, operation, "us-east-1", PARAMS.get(operation))
    if (fault, service) == ("expired_credentials", "ec2"):
        kind = Kind.CLOCK_SKEW  # RequestExpired, of keys that do not expire
    assert caught.value.kind == kind
    assert f"{service} {operation} for payer in us-east-1: " in str(caught.value)
    wire.faults.clear()
    # What ends without an answer is logged a little later.
    wait_for("all attempts are logged", lambda: wire.requests.count(service, operation) >= attempts)
    assert wire.requests.count(service, operation) == attempts
    counted = aws.meter._requests.labels(service, operation, caught.value.kind)._value.get()
    charged = aws.meter._charges.charged_since("cost", None)
    assert (counted, charged) == (attempts, Decimal("0.01") * attempts if service == "ce" else 0)


@pytest.mark.parametrize(("service", "operation"), CALLS)
@pytest.mark.fault("AWS throttles, resets and cuts an answer, once each", "the next attempt is the answer")
def test_a_fault_that_passes_is_survived(wire: SimulatedAws, service: str, operation: str) -> None:
    for fault in ("throttle", "reset", "malformed"):
        wire.faults.add(fault, service=service, operation=operation, count=1)
    with access(wire) as aws:
        assert aws.call(None, service, operation, "us-east-1", PARAMS.get(operation))
        charged = aws.meter._charges.charged_since("cost", None)
    wait_for("all attempts are logged", lambda: wire.requests.count(service, operation) >= 2)
    assert wire.requests.count(service, operation) == 2  # the faults strike together
    assert charged == (Decimal("0.02") if service == "ce" else 0)


@pytest.mark.fault("nothing listens where AWS should", "connection")
def test_nothing_listens(wire: SimulatedAws) -> None:
    with access(wire) as aws:
        aws._clients.endpoint_url = "http://127.0.0.1:9"
        with pytest.raises(AwsError) as caught:
            aws.call(None, "sts", "GetCallerIdentity", "us-east-1")
    assert caught.value.kind == Kind.CONNECTION


@pytest.mark.fault("one account is throttled all the time", "another has all of its retries")
def test_a_failing_account_takes_no_retries_from_another(wire: SimulatedAws) -> None:
    failing, healthy = member(wire, "prod"), member(wire, "staging")
    wire.faults.add("throttle", account="prod", service="ec2")
    with access(wire) as aws:
        for _ in range(20):
            with pytest.raises(AwsError):
                aws.call(failing, "ec2", "DescribeRegions", "us-east-1")
        wire.faults.add("server_error", account="staging", service="ec2", count=3)
        assert aws.call(healthy, "ec2", "DescribeRegions", "us-east-1")["Regions"]
        assert aws.clients_created == 2  # sts and ec2


@pytest.mark.fault("a session of an account's role ends early", "it is renewed once, then it counts")
def test_a_session_that_ends_early_is_renewed_once(wire: SimulatedAws) -> None:
    account = member(wire, "prod")
    with access(wire) as aws:
        aws.call(account, "ec2", "DescribeRegions", "us-east-1")
        wire.faults.add("expired_credentials", account="prod", service="ec2", count=1)
        aws.call(account, "ec2", "DescribeRegions", "us-east-1")
        assert wire.requests.count("sts", "AssumeRole") == 2
        wire.faults.add("expired_credentials", account="prod", service="ec2")
        with pytest.raises(AwsError) as caught:
            aws.call(account, "ec2", "DescribeRegions", "us-east-1")
    assert caught.value.kind == Kind.EXPIRED_CREDENTIALS
    assert wire.requests.count("sts", "AssumeRole") == 3


@pytest.mark.fault(
    "a session ends while several threads use it", "each gets an answer, one renewal a thread at most"
)
def test_many_threads_renew_an_expired_session_together(wire: SimulatedAws) -> None:
    account = member(wire, "prod")
    with access(wire) as aws, ThreadPoolExecutor(4) as pool:
        aws.call(account, "ec2", "DescribeRegions", "us-east-1")
        wire.clock.advance(2 * 3600)  # the session ends for every thread, and a new one is good for all
        answers = pool.map(lambda _: aws.call(account, "ec2", "DescribeRegions", "us-east-1"), range(4))
        assert len(list(answers)) == 4
    assert wire.requests.count("sts", "AssumeRole") <= 1 + 4


@pytest.mark.fault(
    "the session of the payer's role ends early", "it is renewed, and with it the accounts' roles are assumed"
)
def test_the_payers_role_is_renewed_when_its_session_ended_early(wire: SimulatedAws) -> None:
    payer = f"arn:aws:iam::{wire.payer_id}:role/{ROLE}"
    with access(wire, role_arn=payer) as aws:
        aws.call(member(wire, "prod"), "sts", "GetCallerIdentity", "us-east-1")
        wire.faults.add("expired_credentials", account="staging", operation="AssumeRole", count=1)
        aws.call(member(wire, "staging"), "sts", "GetCallerIdentity", "us-east-1")
        wire.faults.add("expired_credentials", account="management", service="organizations", count=1)
        aws.call(None, "organizations", "ListRoots", "us-east-1")


@pytest.mark.fault(
    "the payer's role is denied while an account has a session", "the account is read all the same"
)
def test_an_account_with_a_session_does_without_the_payers_role(wire: SimulatedAws) -> None:
    payer = f"arn:aws:iam::{wire.payer_id}:role/{ROLE}"
    account = member(wire, "prod")
    with access(wire, role_arn=payer) as aws:
        aws.call(account, "ec2", "DescribeRegions", "us-east-1")
        aws.credentials(None)._expiry_time = datetime.now(UTC) - timedelta(seconds=1)
        wire.faults.add("access_denied", account="management", operation="AssumeRole")
        assert aws.call(account, "ec2", "DescribeRegions", "us-east-1")["Regions"]
        with pytest.raises(AwsError):
            aws.call(None, "organizations", "ListRoots", "us-east-1")


def test_a_successor_shares_clients_and_sessions_and_is_stopped_by_itself(wire: SimulatedAws) -> None:
    account = member(wire, "prod")
    stop, next_stop = threading.Event(), threading.Event()
    with access(wire, stop=stop) as aws:
        aws.call(account, "ec2", "DescribeRegions", "us-east-1")
        successor = aws.successor(next_stop)
        stop.set()
        with pytest.raises(AwsError) as caught:
            aws.call(account, "ec2", "DescribeRegions", "us-east-1")
        assert caught.value.kind == Kind.STOPPED
        successor.take_over()
        successor.call(account, "ec2", "DescribeRegions", "us-east-1")
        assert wire.requests.count("sts", "AssumeRole") == 1
        assert successor.clients_created == 2
        # About to end, a session is renewed by whoever is not stopped.
        successor.credentials(account)._expiry_time = datetime.now(UTC) + timedelta(seconds=200)
        successor.call(account, "ec2", "DescribeRegions", "us-east-1")
        assert wire.requests.count("sts", "AssumeRole") == 2
        next_stop.set()
        with pytest.raises(AwsError):
            successor.call(account, "ec2", "DescribeRegions", "us-east-1")


def test_what_is_refused_until_the_successor_takes_over_is_asked_for_again(wire: SimulatedAws) -> None:
    account = member(wire, "prod")
    with access(wire) as aws:
        successor = aws.successor(threading.Event())
        wire.faults.add("access_denied", operation="AssumeRole", account="prod", count=1)
        with pytest.raises(AwsError):
            aws.call(account, "ec2", "DescribeRegions", "us-east-1")
        successor.take_over()
        assert successor.call(account, "ec2", "DescribeRegions", "us-east-1")["Regions"]


def test_keys_that_a_process_printed_without_an_end_are_asked_for_again(
    wire: SimulatedAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = {"AccessKeyId": "AWS_ACCESS_KEY_ID", "SecretAccessKey": "AWS_SECRET_ACCESS_KEY"}
    printed = {"Version": 1} | {name: wire.environment()[variable] for name, variable in keys.items()}
    for variable in keys.values():
        monkeypatch.delenv(variable)
    (tmp_path / "keys").write_text(json.dumps(printed))
    config = tmp_path / "config"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    def is_kept(process: str) -> bool:
        config.write_text(f"[default]\ncredential_process = {process}\n")
        with access(wire) as aws, access(wire) as anew:
            aws.call(None, "organizations", "ListRoots", "us-east-1")
            return aws.serves_as(anew)

    assert not is_kept(f"cat {tmp_path / 'keys'}")
    printed["Expiration"] = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    (tmp_path / "keys").write_text(json.dumps(printed))
    assert is_kept(f"cat {tmp_path / 'keys'}")


def test_expired_keys_at_the_hour_are_no_deadlock(wire: SimulatedAws) -> None:
    account = member(wire, "prod")
    with access(wire, read_timeout=60) as aws:
        credentials = aws.credentials(account)
        wire.faults.add("latency", operation="AssumeRole", seconds=0.3)
        credentials._expiry_time = datetime.now(UTC) - timedelta(seconds=1)
        answered: list[Any] = []

        def call() -> None:
            # As a collector between two pages: the session was good when it began.
            answered.append(aws._send(credentials, account.id, "ec2", "DescribeRegions", "us-east-1", {}))

        threads = [threading.Thread(target=call, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(answered) == 8
    assert wire.requests.count("sts", "AssumeRole") == 2


def test_who_has_waited_for_a_place_looks_again_before_it_sends(wire: SimulatedAws) -> None:
    """Four calls that hang may outlast the exporter, the configuration or the run's deadline."""
    account, stop = member(wire, "prod"), threading.Event()
    entered: list[int] = []

    class Gate(threading.BoundedSemaphore):
        def __enter__(self) -> bool:
            entered.append(1)
            return super().__enter__()

    with access(wire, stop=stop) as aws, ThreadPoolExecutor(5) as pool:
        aws.credentials(account)
        aws._in_flight[account.id] = Gate(CALLS_PER_ACCOUNT)
        wire.faults.add("hang", service="ec2")
        calls = [
            pool.submit(aws.call, account, "ec2", "DescribeRegions", "us-east-1")
            for _ in range(CALLS_PER_ACCOUNT + 1)
        ]
        wait_for("four hang and one waits", lambda: len(entered) == len(calls))
        stop.set()
        wire.faults.clear()
        failures = [call.exception(60) for call in calls]
    (failure,) = [failure for failure in failures if failure is not None]
    assert isinstance(failure, AwsError)
    assert failure.kind == Kind.STOPPED
    assert wire.requests.count("ec2") == CALLS_PER_ACCOUNT


def test_no_more_than_four_calls_of_an_account_are_in_flight(wire: SimulatedAws) -> None:
    account = member(wire, "prod")
    wire.faults.add("latency", service="ec2", seconds=0.2)
    with access(wire, threads=12) as aws, ThreadPoolExecutor(12) as pool:
        began = time.monotonic()
        list(pool.map(lambda _: aws.call(account, "ec2", "DescribeRegions", "us-east-1"), range(12)))
        assert time.monotonic() - began >= 0.6


def test_every_account_signs_with_its_own_keys_over_one_client(wire: SimulatedAws) -> None:
    accounts = [member(wire, name) for name in ("prod", "staging", "data-platform", "sandbox")]

    def who(number: int) -> bool:
        account = accounts[number % 4]
        return bool(aws.call(account, "sts", "GetCallerIdentity", "eu-west-1")["Account"] == account.id)

    with access(wire, threads=16) as aws, ThreadPoolExecutor(16) as pool:
        assert all(pool.map(who, range(200)))
        assert aws.clients_created == 1  # also at home, for the roles
    assert wire.requests.count("sts", "AssumeRole") == 4


def test_a_passed_deadline_sends_nothing(wire: SimulatedAws) -> None:
    with access(wire) as aws, pytest.raises(AwsError) as caught:
        aws.call(None, "organizations", "ListRoots", "us-east-1", deadline=Deadline(0))
    assert caught.value.kind == Kind.DEADLINE
    assert wire.requests.count() == 0


def test_a_stop_ends_a_back_off_at_once_and_sends_nothing_after(wire: SimulatedAws) -> None:
    stop = threading.Event()
    wire.faults.add("throttle")
    with access(wire, stop=stop, backoff=Backoff(30, 30)) as aws:
        aws._clients.of("organizations")
        threading.Timer(0.3, stop.set).start()
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(AwsError) as caught:
                aws.call(None, "organizations", "ListRoots", "us-east-1")
            assert caught.value.kind == Kind.STOPPED
        assert time.monotonic() - began < 25
        aws.close()
        made = aws.clients_created
        with pytest.raises(AwsError):
            aws.call(None, "ec2", "DescribeRegions", "us-east-1")
        assert aws.clients_created == made
    assert wire.requests.count() == 1


@pytest.mark.fault("the AWS profile does not exist", "no_credentials at the start")
def test_a_profile_that_does_not_exist_is_said_at_once(wire: SimulatedAws) -> None:
    with pytest.raises(AwsError, match="there-is-none") as caught, access(wire, profile="there-is-none"):
        pass
    assert caught.value.kind == Kind.NO_CREDENTIALS


@pytest.mark.fault("Cost Explorer throttles twice", "each attempt is charged, and counted by its status")
def test_every_attempt_is_charged_and_counted(wire: SimulatedAws) -> None:
    wire.faults.add("throttle", service="ce", count=2)
    charges, registry = MemoryCharges(), CollectorRegistry()
    meter = Meter(charges, CeilingSettings(), utc_now, registry)
    aws = Aws(meter, endpoint_url=wire.url, simulated=True, backoff=Backoff(0.01))
    aws.call(None, "ce", "GetCostAndUsage", "us-east-1", COST)
    aws.close()
    assert wire.requests.count("ce") == 3
    assert charges.charged_since("cost", None) == Decimal("0.03")
    labels = {"service": "ce", "operation": "GetCostAndUsage"}
    counted = {
        status: registry.get_sample_value(
            "aws_spend_exporter_api_requests_total", labels | {"status": status}
        )
        for status in ("ok", "throttled")
    }
    assert counted == {"ok": 1, "throttled": 2}


@pytest.mark.fault("the role of an account does not exist", "access_denied")
def test_a_wrong_external_id_is_denied_and_the_right_one_is_not(wire: SimulatedAws) -> None:
    account = member(wire, "prod")
    with access(wire) as aws:
        assert aws.call(replace(account, external_id="any"), "sts", "GetCallerIdentity", "us-east-1")
        with pytest.raises(AwsError) as caught:
            aws.call(
                replace(account, role_arn=f"{account.role_arn}-not"), "sts", "GetCallerIdentity", "us-east-1"
            )
    assert caught.value.kind == Kind.ACCESS_DENIED
