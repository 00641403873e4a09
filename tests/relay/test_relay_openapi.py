"""What the relay publishes of itself is what it does: schemathesis derives requests from it and checks the answers."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from relay_harness import ExporterWire, Telex, running_app
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A relay with everything on; Telex takes what it gets."""
    sink, exporter = Telex(), ExporterWire()
    exporter.answers["costs"] = {"total_usd": "1", "missing_days": [], "read_at": None}
    with running_app(
        tmp_path_factory.mktemp("relay"),
        sink,
        retry_window="1ms",
        max_body_bytes=100_000,
        exporter={"url": exporter.url},
        integration={"enabled": True, "return_hosts": ["127.0.0.1:9"], "max_ticks_per_minute": 10_000},
    ) as base:
        yield base
    sink.close()
    exporter.close()


@pytest.fixture(scope="module")
def schema(relay: str) -> Any:
    return schemathesis.openapi.from_url(f"{relay}/openapi.json")


CHECKS = [
    status_code_conformance, content_type_conformance, response_schema_conformance,
    response_headers_conformance, negative_data_rejection, unsupported_method,
]  # fmt: skip


OPERATIONS = ["POST /alerts", "POST /alerts/{channel}", "POST /tick"]
READS = ["GET /integration", "GET /integration.json", "GET /metrics", "GET /-/healthy", "GET /-/ready"]
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


def conforms(schema: Any, relay: str, operation: str, mode: GenerationMode, examples: int) -> None:
    """Requests that are as published, or that are not: the answer is one of those that are published."""
    found = next(each for result in schema.get_all_operations() if (each := result.ok()).label == operation)

    @given(case=found.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        derandomize=True,
        database=None,
    )
    def answers(case: Any) -> None:
        response = case.call(base_url=relay, timeout=20)
        assert response.status_code != 500
        case.validate_response(response, checks=CHECKS)

    answers()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_answers_are_as_published(schema: Any, relay: str, operation: str, mode: GenerationMode) -> None:
    conforms(schema, relay, operation, mode, 40)


@pytest.mark.parametrize("operation", READS)
def test_reads_are_as_published(schema: Any, relay: str, operation: str) -> None:
    conforms(schema, relay, operation, GenerationMode.POSITIVE, 2)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_answers_are_as_published_in_full(
    schema: Any, relay: str, operation: str, mode: GenerationMode
) -> None:
    conforms(schema, relay, operation, mode, 1000)


def test_everything_is_published(relay: str) -> None:
    document = requests.get(f"{relay}/openapi.json", timeout=10).json()
    assert {path: sorted(item) for path, item in document["paths"].items()} == {
        "/alerts": ["post"],
        "/alerts/{channel}": ["post"],
        "/tick": ["post"],
        "/integration": ["get"],
        "/integration.json": ["get"],
        "/integration/logo.svg": ["get"],
        "/metrics": ["get"],
        "/-/healthy": ["get"],
        "/-/ready": ["get"],
    }
    assert sorted(document["paths"]["/tick"]["post"]["responses"]) == ["202", "400", "401", "429", "503"]
