"""Lines of FOCUS 1.0 and 1.2 as AWS exports them."""

from __future__ import annotations

import csv
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from export_lines import write_csv, write_parquet
from month_folds import fold, query

from exporter.exports.fold_process import FoldFailedError
from exporter.exports.folding import FoldResult

pytestmark = pytest.mark.clockless
USD = 10**10
SAMPLE = Path(__file__).parents[2] / "data" / "focus" / "focus_sample.csv"
PLAN = "arn:aws:savingsplans::100000000001:savingsplan/a"
RESERVED = "arn:aws:ec2:us-east-1:100000000001:reserved-instances/b"

FOCUS_1_0: dict[str, Any] = {
    "BillingAccountId": "100000000001",
    "BillingPeriodStart": datetime(2026, 11, 1, tzinfo=UTC),
    "BillingCurrency": "USD",
    "SubAccountId": "200000000002",
    "ChargePeriodStart": datetime(2026, 11, 1, tzinfo=UTC),
    "ChargeCategory": "Usage",
    "ChargeFrequency": "Usage-Based",
    "CommitmentDiscountId": None,
    "CommitmentDiscountStatus": None,
    "CommitmentDiscountType": None,
    "PublisherName": "Amazon Web Services, Inc.",
    "RegionId": None,
    "ResourceId": None,
    "ServiceName": "Amazon Simple Storage Service",
    "ConsumedQuantity": None,
    "BilledCost": 0.0,
    "EffectiveCost": 0.0,
    "ListCost": 0.0,
    "Tags": {},
    "x_CostCategories": {},
    "x_Operation": "",
    "x_ServiceCode": "AmazonS3",
    "x_UsageType": "",
}
ONLY_1_0 = ("x_CostCategories", "x_UsageType")


def folded(folder: Path, *lines: dict[str, Any], without: tuple[str, ...] = (), **changed: Any) -> FoldResult:
    path = write_parquet(folder / "a.parquet", lines, FOCUS_1_0, without=without)
    return fold(folder, {"a.parquet": path}, **{"table": "focus_1_0", **changed})


def test_every_dimension_is_there_together(tmp_path: Path):
    result = folded(
        tmp_path,
        {
            "ChargePeriodStart": datetime(2026, 11, 5, 7, tzinfo=UTC), "RegionId": "eu-west-1", "x_UsageType": "EU-Requests",
            "x_Operation": "PutObject", "ResourceId": "bucket", "BilledCost": 1.0, "EffectiveCost": 2.0, "ListCost": 3.0,
            "ConsumedQuantity": 2.5, "Tags": {"team": "web"}, "x_CostCategories": {"unit": "retail"},
        },
        tags=("team",), cost_categories=("unit",),
    )  # fmt: skip
    assert query(result.paths["lines"], "SELECT * FROM lines") == [
        (
            date(2026, 11, 5), "200000000002", "Amazon Simple Storage Service", "eu-west-1", "EU-Requests", "PutObject",
            "Usage", "AWS", "bucket", "web", "retail", None, None, None, USD, 2 * USD, 3 * USD, 2.5,
        )
    ]  # fmt: skip


USED, UNUSED = {"CommitmentDiscountStatus": "Used"}, {"CommitmentDiscountStatus": "Unused"}
OF_PLAN = {"CommitmentDiscountId": PLAN, "CommitmentDiscountType": "Savings Plan"}
OF_RESERVATION = {"CommitmentDiscountId": RESERVED, "CommitmentDiscountType": "Reserved"}
PURCHASE = {"ChargeCategory": "Purchase"}


@pytest.mark.parametrize(
    ("line", "charge_type"),
    [
        ({}, "Usage"),
        ({**OF_PLAN, **USED}, "SavingsPlanCoveredUsage"),
        ({**OF_PLAN, **UNUSED}, "SavingsPlanRecurringFee"),
        ({**OF_RESERVATION, **USED}, "DiscountedUsage"),
        ({**OF_RESERVATION, **UNUSED}, "RIFee"),
        ({**OF_PLAN, **PURCHASE, "ChargeFrequency": "Recurring"}, "SavingsPlanRecurringFee"),
        ({**OF_PLAN, **PURCHASE, "ChargeFrequency": "One-Time"}, "SavingsPlanUpfrontFee"),
        ({**OF_RESERVATION, **PURCHASE, "ChargeFrequency": "Recurring"}, "RIFee"),
        ({**OF_RESERVATION, **PURCHASE, "ChargeFrequency": "One-Time"}, "Fee"),
        ({**PURCHASE, "ChargeFrequency": "One-Time"}, "Fee"),
        ({**PURCHASE, "x_ServiceCode": "AWSSupportBusiness"}, "Support"),
        ({"ChargeCategory": "Tax"}, "Tax"),
        ({"ChargeCategory": "Credit"}, "Credit"),
        ({"ChargeCategory": "Adjustment"}, "Refund"),
        ({"ChargeCategory": "Unheard"}, "Unheard"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_charge_types_are_those_of_cost_explorer(tmp_path: Path, line: dict[str, Any], charge_type: str):
    result = folded(tmp_path, {**line, "BilledCost": 1.0})
    assert query(result.paths["lines"], "SELECT charge_type, net_unblended FROM lines") == [
        (charge_type, USD)
    ]
    assert result.unknown_charge_types == ({"Unheard": (1, USD)} if charge_type == "Unheard" else {})


def test_commitments_have_what_is_used_and_unused(tmp_path: Path):
    result = folded(
        tmp_path,
        {**OF_PLAN, **USED, "EffectiveCost": 7.0, "ListCost": 10.0},
        {**OF_PLAN, **UNUSED, "EffectiveCost": 1.0, "ListCost": 1.0},
        {**OF_PLAN, **PURCHASE, "ChargeFrequency": "Recurring", "BilledCost": 8.0, "ListCost": 8.0},
        {**OF_RESERVATION, **USED, "EffectiveCost": 3.0, "ListCost": 5.0},
    )
    rows = query(
        result.paths["commitments"], "SELECT arn, kind, used, unused, list_cost, end_time FROM lines"
    )
    assert sorted(rows) == [
        (RESERVED, "reservation", 3 * USD, 0, 5 * USD, ""),
        (PLAN, "savings_plan", 7 * USD, USD, 10 * USD, ""),
    ]
    # The purchase has the list price of what it covers again.
    assert query(result.paths["lines"], "SELECT sum(list_cost) FROM lines") == [(15 * USD,)]


def test_the_largest_resources_are_those_with_the_largest_net_amortized_cost(tmp_path: Path):
    result = folded(
        tmp_path,
        {"ResourceId": "billed", "BilledCost": 9.0, "EffectiveCost": 1.0},
        {"ResourceId": "covered", "BilledCost": 0.0, "EffectiveCost": 2.0},
        resources=1,
    )
    rows = query(result.paths["lines"], "SELECT resource, net_amortized FROM lines ORDER BY ALL")
    assert rows == [("covered", 2 * USD), ("other", USD)]


def test_1_2_has_no_usage_type_and_no_cost_category(tmp_path: Path):
    result = folded(
        tmp_path,
        {"BilledCost": 1.0, "x_ServiceCode": "AmazonEC2"},
        without=ONLY_1_0,
        table="focus_1_2",
        cost_categories=("unit",),
    )
    columns = 'service, usage_type, "cost_category:unit", net_unblended'
    assert query(result.paths["lines"], f"SELECT {columns} FROM lines") == [  # noqa: S608 # columns
        ("Amazon Elastic Compute Cloud", None, None, USD)
    ]
    assert set(result.unknown_dimensions) == {"usage_type", "cost_category:unit"}


def test_a_product_of_another_publisher_is_of_the_marketplace(tmp_path: Path):
    bought = {"PublisherName": "Some Vendor", "ServiceName": "Some Firewall", "x_ServiceCode": "8xopaque"}
    result = folded(tmp_path, {**bought, "BilledCost": 1.0})
    assert query(result.paths["lines"], "SELECT billing_entity, service FROM lines") == [
        ("AWS Marketplace", "Some Firewall")
    ]
    assert result.unknown_services == {}


def test_a_report_of_another_kind_is_refused(tmp_path: Path):
    path = write_parquet(tmp_path / "a.parquet", [{"line_item_unblended_cost": 1.0}], {})
    with pytest.raises(FoldFailedError, match=r"^a\.parquet is a Cost and Usage Report, not FOCUS"):
        fold(tmp_path, {"a.parquet": path}, table="focus_1_0")
    path = write_parquet(tmp_path / "b.parquet", [{}], FOCUS_1_0)
    with pytest.raises(FoldFailedError, match=r"^b\.parquet is a FOCUS export, not CUR 2\.0"):
        fold(tmp_path, {"b.parquet": path})


def test_csv_is_read_like_parquet(tmp_path: Path):
    lines = [
        {"BilledCost": 1.5e-7, "Tags": {"team": 'a,"b"'}, "ResourceId": "a\nb"},
        {**OF_PLAN, **USED, "EffectiveCost": 7.25, "ListCost": 10.0},
    ]
    parquet = folded(tmp_path, *lines, tags=("team",))
    path = write_csv(tmp_path / "a.csv.gz", lines, FOCUS_1_0)
    text = fold(tmp_path, {"a.csv.gz": path}, into="csv", table="focus_1_0", tags=("team",))
    rows = "SELECT * FROM lines"
    assert query(text.paths["lines"], rows) == query(parquet.paths["lines"], rows)


@pytest.mark.skipif(not SAMPLE.exists(), reason="the public sample is not in this source tree")
def test_the_public_sample_of_the_finops_foundation(tmp_path: Path):
    """Billed cost of its AWS lines by account, service and charge category, against a plain sum of the CSV.

    Its effective costs are rounded to dollars: it proves reading, not amortization.
    """
    with SAMPLE.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        # AWS's own codes would split EC2; an export has nothing where the sample has the word NULL.
        header = [name for name in reader.fieldnames or () if name != "x_ServiceCode"]
        lines = [
            {name: "" if line[name] == "NULL" else line[name] for name in header}
            for line in reader
            if line["ProviderName"] == "AWS"
        ]
    assert len(lines) == 942
    expected: defaultdict[tuple[str, ...], Decimal] = defaultdict(Decimal)
    for line in lines:
        billed = Decimal(line["BilledCost"]).quantize(Decimal(1).scaleb(-10))
        expected[line["SubAccountId"], line["ServiceName"], _category(line)] += billed
    path = tmp_path / "sample.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(lines)
    result = fold(tmp_path, {"sample.csv": path}, table="focus_1_0", month=date(2024, 9, 1))
    rows = query(
        result.paths["lines"],
        "SELECT account_id, service, charge_type, sum(net_unblended) FROM lines GROUP BY ALL",
    )
    found: defaultdict[tuple[str, ...], Decimal] = defaultdict(Decimal)
    for account, service, charge_type, units in rows:
        category = "of a commitment" if charge_type in COMMITTED else charge_type
        found[account, service, category] += Decimal(units).scaleb(-10)
    assert result.lines == 942
    assert found == expected


COMMITTED = (
    "SavingsPlanCoveredUsage",
    "SavingsPlanRecurringFee",
    "SavingsPlanUpfrontFee",
    "DiscountedUsage",
    "RIFee",
)


def _category(line: dict[str, str]) -> str:
    category = line["ChargeCategory"]
    if line["CommitmentDiscountId"] and category in ("Usage", "Purchase"):
        return "of a commitment"
    return {"Purchase": "Fee", "Adjustment": "Refund"}.get(category, category)
