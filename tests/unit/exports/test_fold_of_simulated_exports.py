"""What is folded from simulated exports is what the simulated Cost Explorer reports, in every dimension, to the unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from month_folds import fold, query

from exporter.exports.folding import FoldResult
from simulated_aws import OrganizationSpec, SimulatedAws

pytestmark = pytest.mark.clockless
NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
NAMED = {"tags": ("team", "environment"), "cost_categories": ("CostCenter",)}
METRICS = {
    "UnblendedCost": "unblended",
    "BlendedCost": "blended",
    "AmortizedCost": "amortized",
    "NetUnblendedCost": "net_unblended",
    "NetAmortizedCost": "net_amortized",
    "ListCost": "list_cost",
}
NET = ("NetUnblendedCost", "NetAmortizedCost", "ListCost")
COLUMNS = {"account": "account_id", "record_type": "charge_type"}
EXPORTS = {
    "cur2": {"manual_discounts": True, "split_costs": True, "lines_per_file": 30_000},
    "csv": {"manual_discounts": True, "hourly": False, "format": "csv"},
    "focus_1_0": {"table": "FOCUS_1_0_AWS", "hourly": False},
    "focus_1_2": {"table": "FOCUS_1_2_AWS", "hourly": False},
}


@pytest.fixture(scope="module")
def aws() -> Iterator[SimulatedAws]:
    """An organization with charges of every kind, and exports of its month in every format."""
    spec = OrganizationSpec(seed=11, accounts=3, services=20, now=NOW, days=20, varied_charges=True)
    with SimulatedAws(spec) as simulated:
        for name, definition in EXPORTS.items():
            simulated.exports.create(name, **{"lines_per_file": 1_000, **definition})
        simulated.exports.deliver()
        yield simulated


@pytest.fixture(scope="module")
def folded(aws: SimulatedAws, tmp_path_factory: pytest.TempPathFactory) -> dict[str, FoldResult]:
    """The month of each export, with all resources."""
    results = {}
    for name in EXPORTS:
        folder = tmp_path_factory.mktemp(name)
        table = name if name.startswith("focus") else "cur2"
        results[name] = fold(
            folder,
            files(aws, name),
            month=MARCH,
            table=table,
            resources=10**6,
            hours_from=date(2026, 3, 4),
            **NAMED,
        )
    return results


def files(aws: SimulatedAws, name: str) -> dict[str, Path]:
    """The files of the month by their names; more than one."""
    export = aws.exports.find(name)
    found = {
        key.rpartition("/")[2]: stored.path
        for key, stored in aws.exports.buckets.list(export.bucket, export.folder("data", MARCH))
    }
    assert len(found) > 1
    return found


def sums(
    result: FoldResult, by: Sequence[str], column: str, name: str = "lines"
) -> dict[tuple[str, ...], Decimal]:
    """The sums of a month's file in USD, without those that are zero."""
    chosen = "".join(f'CAST("{COLUMNS.get(key, key)}" AS VARCHAR), ' for key in by)
    rows = query(result.paths[name], f"SELECT {chosen}sum({column}) FROM lines GROUP BY ALL")  # noqa: S608 # columns
    return {row[:-1]: Decimal(row[-1]).scaleb(-10) for row in rows if row[-1]}


def truth(aws: SimulatedAws, by: Sequence[str], metric: str) -> dict[tuple[str, ...], Decimal]:
    found = {keys: usd for keys, usd in aws.truth.totals(MARCH, APRIL, NOW, by, metric).items() if usd}
    assert found
    return found


DIMENSIONS = [
    ("day", "account", "service", "record_type"),
    ("service", "region", "usage_type", "operation"),
    ("account", "billing_entity", "tag:team", "tag:environment", "cost_category:CostCenter"),
    ("account", "resource"),
]


@pytest.mark.parametrize("by", DIMENSIONS, ids="-".join)
def test_cur2_has_what_cost_explorer_reports(aws, folded, by: tuple[str, ...]):
    for metric, column in METRICS.items():
        expected = truth(aws, by, metric)
        assert sums(folded["cur2"], by, column) == expected, metric
        assert sums(folded["csv"], by, column) == expected, metric


@pytest.mark.parametrize(
    "by",
    [
        ("day", "account", "service"),
        ("account", "region", "usage_type", "operation"),
        ("tag:team", "tag:environment", "cost_category:CostCenter"),
        ("account", "resource"),
    ],
    ids="-".join,
)
def test_focus_1_0_has_the_net_costs_of_cost_explorer(aws, folded, by: tuple[str, ...]):
    for metric in NET:
        assert sums(folded["focus_1_0"], by, METRICS[metric]) == truth(aws, by, metric), metric


@pytest.mark.parametrize(
    "by", [("day", "account", "region"), ("operation", "resource"), ("tag:team",)], ids="-".join
)
def test_focus_1_2_has_the_net_costs_of_cost_explorer(aws, folded, by: tuple[str, ...]):
    for metric in NET:
        assert sums(folded["focus_1_2"], by, METRICS[metric]) == truth(aws, by, metric), metric


@pytest.mark.parametrize("name", ["focus_1_0", "focus_1_2"])
def test_what_focus_does_not_have_is_not_available(folded, name: str):
    result = folded[name]
    assert result.cost_types == ("net_unblended", "net_amortized", "list_cost")
    gone = ["unblended", "blended", "amortized", *(["usage_type"] if name == "focus_1_2" else [])]
    counted = ", ".join(f"count({column})" for column in gone)
    assert query(result.paths["lines"], f"SELECT {counted} FROM lines") == [(0,) * len(gone)]  # noqa: S608 # columns
    assert ("usage_type" in result.unknown_dimensions) == (name == "focus_1_2")


def test_the_services_of_ec2_are_one_where_there_is_no_usage_type(aws, folded):
    expected: dict[tuple[str, ...], Decimal] = {}
    for (service,), usd in truth(aws, ("service",), "NetAmortizedCost").items():
        one = "Amazon Elastic Compute Cloud" if service in ("EC2 - Other", f"{EC2} - Compute") else service
        expected[one,] = expected.get((one,), Decimal(0)) + usd
    assert sums(folded["focus_1_2"], ("service",), "net_amortized") == expected


EC2 = "Amazon Elastic Compute Cloud"


def test_every_name_of_a_service_and_charge_is_known(folded):
    for result in folded.values():
        assert (result.unknown_charge_types, result.unknown_services) == ({}, {})


@pytest.mark.parametrize("metric", ["UnblendedCost", "NetAmortizedCost"])
def test_hours_are_those_of_cost_explorer(aws, folded, metric: str):
    first = "2026-03-04T00:00:00Z"
    expected = {
        keys: usd
        for keys, usd in truth(aws, ("hour", "account", "service"), metric).items()
        if keys[0] >= first
    }
    found = {
        (f"{hour.replace(' ', 'T')}Z", *keys): usd
        for (hour, *keys), usd in sums(
            folded["cur2"], ("hour", "account", "service"), METRICS[metric], "hours"
        ).items()
    }
    assert found == expected


@pytest.mark.parametrize("cost", ["split_cost", "unused_cost", "net_split_cost", "net_unused_cost"])
def test_pods_and_tasks_have_their_share_of_cost(aws, folded, cost: str):
    by = ("day", "account", "cluster", "namespace", "pod", "kind")
    expected = {
        keys: usd for keys, usd in aws.exports.split_totals(MARCH, APRIL, NOW, by, cost).items() if usd
    }
    assert expected
    assert sums(folded["cur2"], by, cost, "split") == expected


def test_small_resources_are_summed_to_the_same_total(aws, tmp_path: Path):
    result = fold(tmp_path, files(aws, "cur2"), month=MARCH, resources=3)
    assert sums(result, ("account",), "amortized") == truth(aws, ("account",), "AmortizedCost")
    most = query(
        result.paths["lines"], "SELECT count(DISTINCT resource) AS kinds FROM lines GROUP BY account_id"
    )
    assert max(most) == (5,)  # three, `other`, and none


def test_a_dropped_file_is_seen_in_the_totals(aws, tmp_path: Path):
    """Nothing in a file says that another is missing: whoever folds compares with the manifest."""
    names = files(aws, "cur2")
    names.pop(min(names))
    assert sums(fold(tmp_path, names, month=MARCH), (), "unblended") != truth(aws, (), "UnblendedCost")
