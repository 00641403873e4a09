"""Exports: what their files hold is what Cost Explorer reports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest
from export_files import METRICS, month_files, totals

from simulated_aws import OrganizationSpec, SimulatedAws

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)


@pytest.fixture(scope="module")
def varied() -> Iterator[SimulatedAws]:
    """An organisation with charges of every kind, and an export of its month."""
    spec = OrganizationSpec(seed=11, accounts=6, services=13, now=NOW, days=60, varied_charges=True)
    with SimulatedAws(spec) as aws:
        aws.exports.create(manual_discounts=True, created=NOW)
        aws.exports.deliver()
        yield aws


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "by",
    [
        ("day", "account", "service", "record_type"),
        ("region", "usage_type", "operation", "billing_entity"),
        ("tag:team", "tag:environment", "cost_category:CostCenter"),
        ("account", "resource"),
        ("hour", "service"),
    ],
    ids="-".join,
)
def test_the_files_of_a_month_hold_what_cost_explorer_reports(
    varied: SimulatedAws, by: tuple[str, ...], metric: str
) -> None:
    """To the unit, by AWS's formulas for amortized and net cost."""
    expected = varied.truth.totals(MARCH, APRIL, varied.exports.refreshed("cost"), by, metric)
    assert totals(month_files(varied, MARCH), by, metric) == {
        keys: amount for keys, amount in expected.items() if amount
    }
