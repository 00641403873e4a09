"""Counters exist from the start: `increase()` over the first failure is a failure, not nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest
from prometheus_client import CollectorRegistry
from running_exporter import InProcess, MakeAws, collectors, in_process, organization, warm
from waiting import wait_for

from exporter.aws.errors import Kind
from exporter.collection.metrics import RunnerMetrics
from exporter.collection.plan import declared_requests
from exporter.collectors import all_collectors
from exporter.collectors.cost_export import COLLECTOR as COST_EXPORT
from exporter.config.model import Config

ERRORS = "aws_spend_exporter_collector_errors_total"
REQUESTS = "aws_spend_exporter_api_requests_total"
CHARGES = "aws_spend_exporter_api_charges_usd_total"


def values(exporter: InProcess, name: str) -> dict[frozenset[tuple[str, str]], float]:
    return {frozenset(labels.items()): value for labels, value in exporter.samples().get(name, [])}


@pytest.mark.stack
def test_what_fails_first_raises_a_counter_that_was_0(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws()
    warm(aws)
    chosen = collectors(ec2_instances={}, budgets={}, cost={"history_months": 1})
    config = organization(collectors=chosen, aws={})
    # Nothing is collected before the accounts are known.
    fault = aws.faults.add("access_denied", service="organizations")
    with in_process(tmp_path, aws, config) as exporter:
        before = values(exporter, ERRORS)
        requested, charged = values(exporter, REQUESTS), values(exporter, CHARGES)
        assert {value for key, value in before.items() if ("collector", "accounts") not in key} == {0}
        aws.faults.clear(fault)
        aws.faults.add("access_denied", service="ec2", account="dev")
        aws.faults.add("throttle", service="budgets")
        exporter.service.runner.discovery.run()
        wait_for("it is ready", exporter.is_ready)
        after = values(exporter, ERRORS)
        assert after.keys() == before.keys()
        failed = {(dict(key)["collector"], dict(key)["kind"]) for key, value in after.items() if value}
        assert {("budgets", "throttled"), ("ec2_instances", "access_denied")} <= failed
        # What is asked of Cost Explorer is counted and priced from 0, too.
        cost = {"service": "ce", "operation": "GetCostAndUsage"}
        assert requested[frozenset({**cost, "status": "ok"}.items())] == 0
        assert charged == {frozenset(cost.items()): 0}
        assert values(exporter, CHARGES).keys() == charged.keys()


def count(config: Config) -> int:
    registry = CollectorRegistry()
    metrics = RunnerMetrics(registry)
    metrics.expect_errors("accounts", frozenset(Kind))
    for collector in all_collectors():
        if config.settings(collector).enabled:
            metrics.expect(collector, config.settings(collector))
    return sum(sample.name == ERRORS for family in registry.collect() for sample in family.samples)


def every_collector() -> Iterator[Config]:
    """Two configurations in which each collector runs: cost comes from Cost Explorer, or from an export."""
    others = {
        collector.name: {"enabled": True} for collector in all_collectors() if collector is not COST_EXPORT
    }
    yield Config.model_validate({"collectors": others})
    export = {"cost": {"enabled": True, "source": "data_export"}, COST_EXPORT.name: {"export": "costs"}}
    yield Config.model_validate({"collectors": {**others, **export}})


def test_the_series_are_few() -> None:
    assert count(Config()) <= 65
    assert all(count(config) <= 750 for config in every_collector())


def test_declared_requests_are_those_of_the_sdk() -> None:
    """A counter under another name would stay at 0 for ever."""
    session = botocore.session.get_session()
    for config in every_collector():
        for service, operation in declared_requests(config):
            assert operation in session.get_service_model(service).operation_names
