"""A region that a service control policy denies is distinguished from permissions that are missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from aws_access import access, member
from waiting import wait_for

from exporter.aws.clients import Aws
from exporter.aws.denied_regions import DeniedRegions
from exporter.aws.errors import AwsError, Kind
from exporter.core.places import Account
from simulated_aws import OrganizationSpec, SimulatedAws

HOME, DENIED = "us-east-1", "eu-west-1"
CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    # The service's own form of a refusal.
    "ec2": ("ec2", "DescribeVolumes", {}),
    "query": ("rds", "DescribeDBInstances", {}),
    "query, a special code": ("sns", "ListTopics", {}),
    "json": ("dynamodb", "ListTables", {}),
    "rest-json": ("lambda", "ListFunctions", {}),
    "rest-xml": ("s3", "GetBucketLocation", {"Bucket": "prod-assets"}),
    "cbor": ("cloudwatch", "ListMetrics", {}),
}
PROBES = {"resourcegroupstaggingapi", "ec2", "lambda", "sns"}


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedAws]:
    with SimulatedAws(OrganizationSpec(seed=43, accounts=3, services=3, days=30, instances=1)) as aws:
        yield aws


def kind_of(aws: Aws, account: Account, call: str = "json", region: str = DENIED) -> Kind | None:
    """The kind with which a call fails."""
    service, operation, params = CALLS[call]
    try:
        aws.call(account, service, operation, region, params)
    except AwsError as error:
        return error.kind
    return None


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.fault(
    "service control policy that denies a region, in the words of a {call} service",
    "the region is denied, and another one is not",
)
def test_a_denied_region_is_its_own_kind_in_every_protocol(wire: SimulatedAws, call: str) -> None:
    wire.faults.add("service_control_policy", region=DENIED)
    with access(wire) as aws:
        assert kind_of(aws, member(wire), call) is Kind.REGION_DENIED
        assert kind_of(aws, member(wire, "staging"), call) is Kind.REGION_DENIED
        assert kind_of(aws, member(wire), call, HOME) in (
            None,
            Kind.INVALID_REQUEST,
        )  # there is no such bucket


def test_a_denied_region_is_found_out_once_and_logged_once(
    wire: SimulatedAws, caplog: pytest.LogCaptureFixture
) -> None:
    prod = member(wire)
    wire.faults.add("service_control_policy", region=DENIED)
    with access(wire) as aws:
        for _ in range(3):
            for call in CALLS:
                assert kind_of(aws, prod, call) is Kind.REGION_DENIED
    asked = [entry for entry in wire.requests.entries(account=prod.id) if entry.service != "sts"]
    at_home = [entry.service for entry in asked if entry.region == HOME]
    assert set(at_home) <= PROBES
    assert len(at_home) == 2
    assert len(asked) == 3 * len(CALLS) + 3 + 2
    assert caplog.text.count("a service control policy denies the region") == 1
    assert f"account_id={prod.id} region={DENIED}" in caplog.text


NOT_THE_REGION = {
    "service that a service control policy denies in every region": [
        ("service_control_policy", {"service": "dynamodb"})
    ],
    "service that a service control policy denies in one region": [
        ("service_control_policy", {"service": "dynamodb", "region": DENIED})
    ],
    "resource control policy that denies a region": [("resource_control_policy", {"region": DENIED})],
    "role without permissions in one region": [("access_denied", {"region": DENIED})],
    "service control policy that denies an account everything": [("service_control_policy", {})],
    "service control policy that denies three services in every region": [
        ("service_control_policy", {"service": service}) for service in ("dynamodb", "lambda", "sns")
    ],
}


@pytest.mark.parametrize("fault", NOT_THE_REGION)
@pytest.mark.fault("{fault}", "it stays a failure, access_denied")
def test_what_is_missing_beside_a_region_is_not_hidden(wire: SimulatedAws, fault: str) -> None:
    for kind, where in NOT_THE_REGION[fault]:
        wire.faults.add(kind, account="prod", **where)
    with access(wire) as aws:
        for _ in range(2):
            assert kind_of(aws, member(wire)) is Kind.ACCESS_DENIED
        assert kind_of(aws, member(wire, "staging")) is None


@pytest.mark.fault(
    "EC2 that gives the reason of a denial in its encoded message only",
    "a denied region is found by the other services, and a missing permission stays one",
)
def test_an_encoded_refusal_of_ec2_is_judged_by_the_other_services(wire: SimulatedAws) -> None:
    prod = member(wire)
    with access(wire) as aws:
        wire.faults.add("encoded_service_control_policy", service="ec2")
        assert kind_of(aws, prod, "ec2") is Kind.ACCESS_DENIED
    wire.faults.clear()
    with access(wire) as aws:
        wire.faults.add("encoded_service_control_policy", region=DENIED)
        assert kind_of(aws, prod, "ec2") is Kind.REGION_DENIED
        assert kind_of(aws, prod, "ec2", HOME) is None


@pytest.mark.parametrize(
    ("left_out", "kind"),
    [((), Kind.REGION_DENIED), (("sns",), Kind.REGION_DENIED), (("sns", "lambda"), Kind.ACCESS_DENIED)],
)
def test_a_policy_may_leave_one_of_the_services_out(
    wire: SimulatedAws, left_out: tuple[str, ...], kind: Kind
) -> None:
    for service in (PROBES | {"dynamodb"}) - set(left_out):
        wire.faults.add("service_control_policy", service=service, region=DENIED)
    with access(wire) as aws:
        assert kind_of(aws, member(wire)) is kind


@pytest.mark.parametrize("fault", ["server_error", "throttle", "reset", "hang"])
@pytest.mark.fault(
    "AWS that fails ({fault}) while it is asked whether a region is denied",
    "the failure stays one and is judged again at the next attempt",
)
def test_what_cannot_be_judged_stays_a_failure_and_is_judged_again(wire: SimulatedAws, fault: str) -> None:
    wire.faults.add("service_control_policy", region=DENIED)
    broken = wire.faults.add(fault, service="resourcegroupstaggingapi", region=HOME)
    with access(wire, read_timeout=0.5 if fault == "hang" else 30) as aws:
        # The account first, whose role would wait for the same client.
        prod = member(wire)
        aws.call(prod, "sts", "GetCallerIdentity", HOME)
        assert kind_of(aws, prod) is Kind.ACCESS_DENIED
        wire.faults.clear(broken)
        assert kind_of(aws, prod) is Kind.REGION_DENIED


@pytest.mark.fault(
    "service control policy that denies a global service",
    "it is no denied region: it stays a failure, access_denied",
)
def test_a_global_service_that_is_denied_is_no_denied_region(wire: SimulatedAws) -> None:
    wire.faults.add("service_control_policy", region=HOME)
    wire.faults.add("service_control_policy", service="cloudfront")
    with access(wire) as aws, pytest.raises(AwsError) as caught:
        aws.call(member(wire), "cloudfront", "ListDistributions", HOME)
    assert caught.value.kind is Kind.ACCESS_DENIED
    wait_for("it is logged", lambda: wire.requests.count("cloudfront") == 1)


def test_a_role_that_a_policy_keeps_from_being_entered_is_no_denied_region(wire: SimulatedAws) -> None:
    wire.faults.add("access_denied", operation="AssumeRole")
    with access(wire) as aws:
        assert kind_of(aws, member(wire)) is Kind.ACCESS_DENIED
    assert wire.requests.count("dynamodb") == 0


def test_the_next_configuration_goes_on_with_what_is_known(wire: SimulatedAws) -> None:
    prod = member(wire)
    wire.faults.add("service_control_policy", region=DENIED)
    with access(wire) as aws:
        assert kind_of(aws, prod) is Kind.REGION_DENIED
        asked = wire.requests.count(account=prod.id)
        assert kind_of(aws.successor(aws._stop), prod) is Kind.REGION_DENIED
        assert wire.requests.count(account=prod.id) == asked + 1


class Regions:
    """An account's regions as AWS answers for them."""

    def __init__(self, denied: set[str]) -> None:
        self.denied = denied
        self.disabled: set[str] = set()
        self.asked: list[str] = []

    def ask(self, service: str, operation: str, region: str, params: Mapping[str, Any]) -> None:
        self.asked.append(region)
        if region in self.disabled:
            raise AwsError(Kind.REGION_DISABLED, "opt in")
        if region in self.denied:
            raise AwsError(
                Kind.ACCESS_DENIED, "with an explicit deny in a service control policy: arn:aws:..."
            )


def test_a_denied_region_is_asked_for_again_after_a_day(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    known, aws = DeniedRegions(lambda: now), Regions({DENIED})

    def is_denied() -> bool:
        return known.is_denied("1", DENIED, (HOME,), aws.ask)

    for _ in range(10):
        assert is_denied()
    assert aws.asked == [DENIED] * 3 + [HOME] * 2
    now += 24 * 3600
    assert is_denied()
    assert aws.asked.count(DENIED) == 6
    assert caplog.text.count("denies the region") == 1
    now += 24 * 3600
    aws.denied = set()
    assert not is_denied()
    # What is allowed may be denied any minute.
    now += 600
    aws.denied = {DENIED}
    assert is_denied()
    assert caplog.text.count("denies the region") == 2


def test_a_region_is_compared_with_one_that_the_account_may_use(caplog: pytest.LogCaptureFixture) -> None:
    """The first one may be denied, too."""
    known, aws = DeniedRegions(lambda: 0.0), Regions({DENIED, HOME})
    assert known.is_denied("1", DENIED, (HOME, "eu-central-1", "eu-north-1"), aws.ask)
    assert "eu-north-1" not in aws.asked
    # So may those be that it has not opted in to.
    aws.disabled = {"eu-central-1"}
    assert DeniedRegions(lambda: 0.0).is_denied("1", DENIED, (HOME, "eu-central-1", "eu-north-1"), aws.ask)
    assert not DeniedRegions(lambda: 0.0).is_denied("1", DENIED, (HOME, DENIED), aws.ask)
