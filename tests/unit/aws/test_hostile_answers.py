"""Answers of AWS that drip, stall or never end: each ends in time and bounded, classified, retried and charged."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from waiting import wait_for

from exporter.aws.charges import MemoryCharges
from exporter.aws.clients import Aws, Backoff
from exporter.aws.connections import MAX_ANSWER_BYTES
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import Meter
from exporter.aws.settings import CeilingSettings
from exporter.core.moments import utc_now
from simulated_aws import OrganizationSpec, SimulatedAws

pytestmark = pytest.mark.clockless

PROTOCOLS = {
    "json": ("ce", "GetCostAndUsage"),
    "query": ("sts", "GetCallerIdentity"),
    "ec2": ("ec2", "DescribeRegions"),
    "rest-xml": ("s3", "ListBuckets"),
    "rest-json": ("lambda", "ListFunctions"),
    "cbor": ("cloudwatch", "ListMetrics"),
}
PARAMS: dict[str, dict[str, Any]] = {
    "GetCostAndUsage": {
        "TimePeriod": {"Start": "2026-03-01", "End": "2026-03-02"},
        "Granularity": "DAILY",
        "Metrics": ["UnblendedCost"],
    }
}
SLOW = ("drip_headers", "drip_body", "stall")
ENDLESS = ("endless", "endless_length")


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedAws]:
    now = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
    with SimulatedAws(
        OrganizationSpec(seed=12, accounts=3, services=3, days=60, instances=1, now=now)
    ) as aws:
        yield aws


class Access:
    """Access to the simulated AWS, and what it has counted."""

    def __init__(self, wire: SimulatedAws, read_timeout: float) -> None:
        self.charges, self.registry = MemoryCharges(), CollectorRegistry()
        meter = Meter(self.charges, CeilingSettings(), utc_now, self.registry)
        self.aws = Aws(
            meter, endpoint_url=wire.url, simulated=True, backoff=Backoff(0.01), read_timeout=read_timeout
        )

    def failure(self, service: str, operation: str) -> AwsError:
        with pytest.raises(AwsError) as caught:
            self.aws.call(None, service, operation, "us-east-1", PARAMS.get(operation))
        return caught.value

    def counted(self, service: str, operation: str, status: str) -> float | None:
        labels = {"service": service, "operation": operation, "status": status}
        return self.registry.get_sample_value("aws_spend_exporter_api_requests_total", labels)


@contextmanager
def access(wire: SimulatedAws, read_timeout: float) -> Iterator[Access]:
    made = Access(wire, read_timeout)
    try:
        yield made
    finally:
        made.aws.close()


def check_charges(made: Access, wire: SimulatedAws, service: str, operation: str, kind: Kind) -> None:
    """AWS was sent as many requests as are counted, and as are charged where they cost something."""
    wire.faults.clear()
    sent = made.counted(service, operation, kind)
    assert sent
    # What ends without an answer is logged a little later.
    wait_for("all attempts are logged", lambda: wire.requests.count(service, operation) >= sent)
    assert wire.requests.count(service, operation) == sent
    if service == "ce":
        assert made.charges.charged_since("cost", None) == Decimal("0.01") * int(sent)


@pytest.mark.fault(
    "an answer of AWS in {protocol}: {fault}",
    "timeout in time, two attempts, each charged where AWS bills it",
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", SLOW)
def test_an_answer_that_does_not_come_to_its_end_is_a_timeout(
    wire: SimulatedAws, protocol: str, fault: str
) -> None:
    service, operation = PROTOCOLS[protocol]
    wire.faults.add(fault, service=service, operation=operation)
    with access(wire, read_timeout=0.3) as made:
        failure = made.failure(service, operation)
        assert failure.kind is Kind.TIMEOUT, failure
        assert made.counted(service, operation, "timeout") == 2
        check_charges(made, wire, service, operation, Kind.TIMEOUT)


@pytest.mark.fault(
    "an answer of AWS in {protocol}: {fault}",
    "malformed_response, memory bounded, four attempts, each charged where AWS bills it",
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", ENDLESS)
def test_an_answer_without_end_is_malformed_and_fills_no_memory(
    wire: SimulatedAws, protocol: str, fault: str
) -> None:
    service, operation = PROTOCOLS[protocol]
    wire.faults.add(fault, service=service, operation=operation)
    with access(wire, read_timeout=60) as made:
        made.aws._clients.of(service)  # its description takes memory, too
        tracemalloc.start()
        try:
            failure = made.failure(service, operation)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert failure.kind is Kind.MALFORMED_RESPONSE, failure
        assert f"larger than {MAX_ANSWER_BYTES} bytes" in str(failure)
        assert peak < 3 * MAX_ANSWER_BYTES
        assert made.counted(service, operation, "malformed_response") == 4
        check_charges(made, wire, service, operation, Kind.MALFORMED_RESPONSE)


@pytest.mark.fault("an answer of AWS drips, then AWS recovers", "the next request is answered")
def test_after_a_drip_the_next_request_is_answered(wire: SimulatedAws) -> None:
    wire.faults.add("drip_body", service="sts", count=1)
    with access(wire, read_timeout=0.5) as made:
        assert made.aws.call(None, "sts", "GetCallerIdentity", "us-east-1")["Account"] == wire.payer_id
        assert made.counted("sts", "GetCallerIdentity", "timeout") == 1
