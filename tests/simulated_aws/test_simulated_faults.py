"""Faults break what they should in the wire form of each service, and the log and controls tell of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from botocore.parsers import ResponseParserError
from simulated_calls import BY_ACCOUNT, BY_SERVICE, Client, client_of, error_code, pages, query, summed

from simulated_aws import OrganizationSpec, SimulatedAws

WEEK = query("2026-03-08", "2026-03-15", BY_ACCOUNT, BY_SERVICE)


def control(aws: SimulatedAws, method: str, path: str, **members: Any) -> Any:
    """A call of the control interface: GET with a query, else a JSON body."""
    with urllib3.PoolManager() as pool:
        url = f"{aws.url}/_simulator/{path}"
        if method == "GET":
            answer = pool.request(method, url, fields=members, retries=False)
        else:
            answer = pool.request(method, url, json=members, retries=False)
        return answer.json() | {"status_code": answer.status} if answer.status != 200 else answer.json()


@pytest.mark.parametrize(
    ("kind", "service", "expected"),
    [
        ("throttle", "ce", ("ThrottlingException", 400)),
        ("throttle", "organizations", ("TooManyRequestsException", 400)),
        ("throttle", "sts", ("Throttling", 400)),
        ("throttle", "ec2", ("RequestLimitExceeded", 503)),
        ("throttle", "s3", ("SlowDown", 503)),
        ("throttle", "cloudwatch", ("ThrottlingException", 400)),
        ("access_denied", "ce", ("AccessDeniedException", 400)),
        ("access_denied", "organizations", ("AccessDeniedException", 400)),
        ("access_denied", "sts", ("AccessDenied", 403)),
        ("access_denied", "ec2", ("UnauthorizedOperation", 403)),
        ("access_denied", "s3", ("AccessDenied", 403)),
        ("access_denied", "lambda", ("AccessDeniedException", 400)),
        ("expired_credentials", "ce", ("ExpiredTokenException", 400)),
        ("expired_credentials", "sts", ("ExpiredToken", 403)),
        ("expired_credentials", "ec2", ("RequestExpired", 400)),
        ("server_error", "ce", ("InternalServerException", 500)),
        ("server_error", "ec2", ("InternalError", 500)),
        ("server_error", "sts", ("InternalError", 500)),
    ],
)
def test_a_fault_speaks_the_protocol_of_its_service(
    aws: SimulatedAws, client: Client, kind: str, service: str, expected: tuple[str, int]
) -> None:
    calls = {
        "ce": lambda c: c.get_cost_and_usage(**WEEK),
        "organizations": lambda c: c.list_accounts(),
        "sts": lambda c: c.get_caller_identity(),
        "ec2": lambda c: c.describe_instances(),
        "s3": lambda c: c.list_buckets(),
        "cloudwatch": lambda c: c.list_metrics(),
        "lambda": lambda c: c.list_functions(),
    }
    aws.faults.add(kind, service=service)
    with pytest.raises(ClientError) as caught:
        calls[service](client(service))
    error = caught.value.response
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == expected
    (entry,) = aws.requests.entries(service=service)
    assert (entry.error, entry.status) == expected
    aws.faults.clear()
    assert calls[service](client(service))


@pytest.mark.parametrize(
    ("kind", "service", "words"),
    [
        ("service_control_policy", "ec2", "an explicit deny in a service control policy"),
        ("service_control_policy", "lambda", "an explicit deny in a service control policy"),
        ("service_control_policy", "sns", "an explicit deny in a service control policy"),
        ("resource_control_policy", "lambda", "an explicit deny in a resource control policy"),
        ("encoded_service_control_policy", "ec2", "Encoded authorization failure message: "),
        ("encoded_service_control_policy", "lambda", "an explicit deny in a service control policy"),
    ],
)
def test_a_policy_of_the_organization_denies_a_region_to_its_members_alone(
    aws: SimulatedAws, client: Client, assume: Client, kind: str, service: str, words: str
) -> None:
    calls = {
        "ec2": lambda c: c.describe_instances(),
        "lambda": lambda c: c.list_functions(),
        "sns": lambda c: c.list_topics(),
    }
    aws.faults.add(kind, region="eu-west-1")
    credentials = assume(aws.accounts[1].id)

    def member(service: str, region: str = "eu-west-1") -> Any:
        return client(service, credentials, region_name=region)

    with pytest.raises(ClientError) as caught:
        calls[service](member(service))
    assert words in str(caught.value)
    assert ("control policy" in str(caught.value)) is not words.startswith("Encoded")
    calls[service](member(service, "us-east-1"))
    calls[service](client(service, region_name="eu-west-1"))
    # What is of no region stays allowed, unless its service is named.
    member("ec2").describe_regions()
    member("kms").list_keys()
    member("sts").get_caller_identity()
    aws.faults.add(kind, service="kms")
    with pytest.raises(ClientError):
        member("kms").list_keys()


def test_one_account_can_be_refused_its_role(aws: SimulatedAws, assume: Client) -> None:
    prod, staging = aws.accounts[1].id, aws.accounts[2].id
    aws.faults.add(kind="access_denied", account="prod", service="sts", operation="AssumeRole")
    assert error_code(assume, account_id=prod) == "AccessDenied"
    assert assume(staging)


def test_a_fault_hits_one_region_or_a_number_of_calls(aws: SimulatedAws, client: Client) -> None:
    aws.faults.add("throttle", service="ec2", region="eu-west-1")
    assert error_code(client("ec2", region_name="eu-west-1").describe_instances) == "RequestLimitExceeded"
    assert client("ec2").describe_instances()
    aws.faults.clear()
    aws.faults.add("throttle", service="sts", count=2)
    sts = client("sts")
    assert [error_code(sts.get_caller_identity) for _ in range(2)] == ["Throttling"] * 2
    assert sts.get_caller_identity()
    assert aws.faults.active() == []


def test_a_fault_can_be_a_matter_of_chance(aws: SimulatedAws, client: Client) -> None:
    aws.faults.add("throttle", service="sts", probability=0.5)
    sts = client("sts")
    for _ in range(40):
        try:
            sts.get_caller_identity()
        except ClientError:
            continue
    assert 5 < aws.requests.count(service="sts", status=400) < 35


def test_the_last_page_fails_after_the_others_came(aws: SimulatedAws, client: Client) -> None:
    aws.cost_explorer.settings.groups_per_page = 40
    aws.faults.add("last_page_fails", service="ce", count=1)
    ce = client("ce")
    assert error_code(lambda: list(pages(ce, **WEEK))) == "InternalServerException"
    whole = len(list(pages(ce, **WEEK)))
    assert whole > 3
    assert aws.requests.count(service="ce", status=200) == whole - 1 + whole


def test_a_malformed_answer_cannot_be_parsed(aws: SimulatedAws, client: Client) -> None:
    aws.faults.add("malformed", service="ec2", count=1)
    with pytest.raises(ResponseParserError):
        client("ec2").describe_regions()
    aws.faults.add("malformed", service="ce", count=1)
    # botocore takes a JSON answer that is cut short for an empty one.
    answer = client("ce").get_cost_and_usage(**WEEK)
    assert set(answer) == {"ResponseMetadata"}


def test_a_reset_drops_the_connection(aws: SimulatedAws, client: Client) -> None:
    aws.faults.add("reset", service="sts", count=1)
    with pytest.raises(ConnectionClosedError):
        client("sts").get_caller_identity()
    assert client("sts").get_caller_identity()


def test_a_delayed_answer_comes_late(aws: SimulatedAws, client: Client) -> None:
    aws.faults.add("latency", service="sts", seconds=0.3)
    began = time.monotonic()
    assert client("sts").get_caller_identity()
    assert time.monotonic() - began >= 0.3


def test_hanging_calls_neither_block_others_nor_outlive_their_client(
    aws: SimulatedAws, client: Client
) -> None:
    aws.faults.add("hang", service="organizations")
    impatient = Config(read_timeout=0.5, retries={"total_max_attempts": 1}, max_pool_connections=40)
    organizations = client("organizations", config=impatient)

    def hang(_: int) -> bool:
        with pytest.raises(ReadTimeoutError):
            organizations.list_accounts()
        return True

    with ThreadPoolExecutor(32) as pool:
        hung = [pool.submit(hang, number) for number in range(80)]
        assert client("sts").get_caller_identity()
        assert all(each.result() for each in hung)


def test_a_hang_ends_when_it_is_cleared(aws: SimulatedAws, client: Client) -> None:
    aws.faults.add("hang", service="sts")
    timer = threading.Timer(0.3, aws.faults.clear)
    timer.start()
    assert client("sts").get_caller_identity()
    timer.join()


def test_the_server_stops_while_calls_hang() -> None:
    before = set(threading.enumerate())
    with SimulatedAws(OrganizationSpec(seed=6, accounts=2, services=2, days=10)) as aws:
        aws.faults.add("hang")
        sts = client_of(aws, "sts")
        with ThreadPoolExecutor(1) as pool:
            hung = pool.submit(error_code, sts.get_caller_identity)
            time.sleep(0.3)
            began = time.monotonic()
            aws.stop()
            assert time.monotonic() - began < 20  # the client gives up after a minute
            assert hung.exception() is not None
        sts.close()
    assert set(threading.enumerate()) == before


def test_thirty_two_clients_are_served_at_once(aws: SimulatedAws, client: Client) -> None:
    sts = client("sts", config=Config(max_pool_connections=32))
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: sts.get_caller_identity()["Account"], range(200)))
    assert set(answers) == {aws.payer_id}


def test_the_log_counts_and_keeps_no_secret(aws: SimulatedAws, client: Client, assume: Client) -> None:
    prod = aws.accounts[1].id
    keys = assume(prod)
    client("ec2", keys, region_name="eu-west-1").describe_instances()
    client("ce").get_cost_and_usage(**WEEK)
    assert aws.requests.count() == 3
    assert aws.requests.count(service="ce", operation="GetCostAndUsage", account=aws.payer_id) == 1
    (entry,) = aws.requests.entries(service="ec2")
    assert (entry.account_id, entry.operation, entry.region, entry.status, entry.access_key) == (
        prod,
        "DescribeInstances",
        "eu-west-1",
        200,
        keys["AccessKeyId"],
    )
    told = control(aws, "GET", "requests")
    assert told["by_operation"] == {"sts:AssumeRole": 1, "ec2:DescribeInstances": 1, "ce:GetCostAndUsage": 1}
    assert told["entries"][2]["params"]["TimePeriod"] == {"Start": "2026-03-08", "End": "2026-03-15"}
    assert control(aws, "GET", "requests", since=told["last"])["total"] == 0
    assert keys["SecretAccessKey"] not in json.dumps(told)
    assert keys["SessionToken"] not in json.dumps(told)
    control(aws, "DELETE", "requests")
    assert aws.requests.count() == 0


def test_a_spike_is_visible_at_once_and_can_be_taken_back(aws: SimulatedAws, client: Client) -> None:
    yesterday = {"start": date(2026, 3, 16), "end": date(2026, 3, 17)}
    before = aws.truth.totals(**yesterday)
    aws.inject_spike(account="prod", service="Amazon EC2", factor=3)
    after = aws.truth.totals(**yesterday)
    key = (aws.accounts[1].id, "Amazon Elastic Compute Cloud - Compute")
    assert after[key] == pytest.approx(before[key] * 3, rel=Decimal("1e-6"))
    assert {k: v for k, v in after.items() if k != key} == {k: v for k, v in before.items() if k != key}
    assert summed(client("ce"), **query("2026-03-16", "2026-03-17", BY_ACCOUNT, BY_SERVICE)) == after
    aws.clear_injected()
    assert aws.truth.totals(**yesterday) == before


def test_injections_over_http(aws: SimulatedAws) -> None:
    prod, day = aws.accounts[1].id, "2026-03-10"

    def told() -> dict[tuple[str, ...], Decimal]:
        answer = control(aws, "GET", "truth", start=day, end="2026-03-11", by="account,service")
        return {tuple(row["keys"]): Decimal(row["amount"]) for row in answer["totals"]}

    def of_account(totals: dict[tuple[str, ...], Decimal]) -> Decimal:
        return sum((value for key, value in totals.items() if key[0] == prod), Decimal(0))

    before = told()
    control(aws, "POST", "restate", account="prod", service="lambda", day=day, factor=0.25, to_service="S3")
    moved = told()
    assert moved != before
    assert of_account(moved) == of_account(before)
    control(aws, "POST", "restate", account="prod", service="lambda", day=day, vanish=True)
    assert (prod, "AWS Lambda") not in told()
    control(aws, "POST", "service", account="prod", service="Amazon Bedrock", daily_usd=12.5, since=day)
    assert told()[prod, "Amazon Bedrock"] == Decimal("12.5")
    control(aws, "POST", "stop", account="prod", service="RDS", since=day)
    assert (prod, "Amazon Relational Database Service") not in told()
    control(aws, "DELETE", "injected")
    assert told() == before
    answer = control(aws, "POST", "spike", account="prod", service="Amazon Nothing", factor=2)
    assert answer["status_code"] == 400
    assert "Amazon Nothing" in answer["error"]


def test_faults_clock_and_settings_over_http(aws: SimulatedAws, client: Client) -> None:
    sts = client("sts")
    fault = control(aws, "POST", "faults", kind="throttle", service="sts", count=5)
    assert control(aws, "GET", "faults") == [fault]
    assert error_code(sts.get_caller_identity) == "Throttling"
    control(aws, "DELETE", f"faults?id={fault['id']}")
    assert sts.get_caller_identity()
    assert control(aws, "POST", "faults", kind="nonsense")["status_code"] == 400
    control(aws, "POST", "clock", now="2026-01-05T00:00:00+00:00")
    assert aws.clock.now() == datetime(2026, 1, 5, tzinfo=UTC)
    control(aws, "POST", "clock", advance_seconds=3600)
    assert control(aws, "GET", "clock") == {"now": "2026-01-05T01:00:00+00:00"}
    control(aws, "POST", "settings", currency="EUR")
    assert control(aws, "GET", "settings")["currency"] == "EUR"
    assert control(aws, "GET", "health")["status"] == "ok"
    assert len(control(aws, "GET", "organization")["accounts"]) == 25
    assert control(aws, "GET", "nothing")["status_code"] == 404


def test_the_running_clock_goes_on(aws: SimulatedAws) -> None:
    aws.clock.set(datetime(2026, 1, 5, tzinfo=UTC), running=True)
    first = aws.clock.now()
    time.sleep(0.02)
    assert timedelta(0) < aws.clock.now() - first < timedelta(minutes=1)


def test_a_day_settles_and_is_restated(aws: SimulatedAws) -> None:
    day = date(2026, 3, 10)
    begin = datetime(2026, 3, 10, tzinfo=UTC)
    seen = [
        aws.truth.total(day, day + timedelta(days=1), begin + timedelta(hours=h)) for h in range(0, 66, 3)
    ]
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert len(set(seen)) > 15
    assert seen[-1] == seen[-2]
    final = aws.truth.totals(
        date(2026, 2, 1), date(2026, 3, 1), datetime(2026, 3, 16, tzinfo=UTC), ("day", "account", "service")
    )
    early = {}
    for offset in range(28):
        one = date(2026, 2, 1) + timedelta(days=offset)
        at = datetime(one.year, one.month, one.day, tzinfo=UTC) + timedelta(hours=61)
        early |= aws.truth.totals(one, one + timedelta(days=1), at, ("day", "account", "service"))
    changed = {key for key in final.keys() & early.keys() if final[key] != early[key]}
    assert len(changed) > 5
    assert early.keys() - final.keys()  # keys that vanish


@pytest.mark.stack
def test_the_process_prints_its_address_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "simulated_aws", "--accounts", "3", "--services", "3", "--days", "40",
               "--now", "2026-03-17T14:20:00Z", "--varied-charges", "--export", "cost"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy()) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["environment"]["AWS_ENDPOINT_URL"] == ready["url"]
        with urllib3.PoolManager() as pool:
            health = pool.request("GET", ready["url"] + "/_simulator/health", retries=False).json()
            (export,) = pool.request("GET", ready["url"] + "/_simulator/exports", retries=False).json()
        assert health["now"].startswith("2026-03-17T14:20")
        assert (export["name"], export["months"], export["manual_discounts"]) == ("cost", 1, True)
        assert (export["hourly"], export["hourly_from"]) == (True, "2026-03-01")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
