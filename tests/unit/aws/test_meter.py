"""The gate that each request passes: counted, priced, and never beyond a ceiling."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from exporter.aws.charges import MemoryCharges
from exporter.aws.errors import AwsError, Kind
from exporter.aws.meter import ATHENA_QUERY, Charges, Meter
from exporter.aws.settings import CeilingSettings
from exporter.ledger.file import Ledger

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


@pytest.mark.parametrize("lasting", [True, False], ids=["ledger", "memory"])
@pytest.mark.usefixtures("eager_switches")
def test_threads_together_do_not_pass_a_ceiling(ledger: Ledger, lasting: bool) -> None:
    charges: Charges = ledger.charges if lasting else MemoryCharges()
    ceilings = CeilingSettings.model_validate({"cost": {"day": "0.10", "month": None}})
    meter = Meter(charges, ceilings, lambda: NOW, CollectorRegistry())
    allowed: list[int] = []
    kinds: list[Kind] = []
    ready = threading.Barrier(16)

    def ask() -> None:
        ready.wait(60)
        for _ in range(3):
            try:
                meter.before("ce", "GetCostAndUsage", {})
            except AwsError as error:
                kinds.append(error.kind)
            else:
                allowed.append(1)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(allowed), set(kinds)) == (10, {Kind.CEILING_REACHED})
    assert charges.charged_since("cost", None) == Decimal("0.10")


def test_what_is_expected_is_counted_from_0() -> None:
    registry = CollectorRegistry()
    meter = Meter(MemoryCharges(), CeilingSettings(), lambda: NOW, registry)
    meter.expect("ce", "GetCostAndUsage")
    meter.expect("ec2", "DescribeInstances")
    found = {
        (sample.name, sample.labels["service"], sample.labels.get("status")): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }
    assert found == {
        ("aws_spend_exporter_api_requests_total", "ce", "ok"): 0,
        ("aws_spend_exporter_api_requests_total", "ec2", "ok"): 0,
        ("aws_spend_exporter_api_charges_usd_total", "ce", None): 0,
    }


def test_what_is_left_for_athena_is_shown_where_its_queries_are_expected() -> None:
    meter = Meter(MemoryCharges(), CeilingSettings(), lambda: NOW, CollectorRegistry())
    assert "athena" not in {budget for budget, _ in meter.remaining()}
    meter.expect(*ATHENA_QUERY)
    limits = CeilingSettings().limits("athena")
    assert {
        period: left for (budget, period), left in meter.remaining().items() if budget == "athena"
    } == limits
