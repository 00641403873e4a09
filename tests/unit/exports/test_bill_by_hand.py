"""A month's bill whose five cost types are calculated by hand, line by line.

The organization has a private discount of 10 % (EDP): each net amount is 90 % of the gross one, and the export has the
discount as lines (INCLUDE_MANUAL_DISCOUNT_COMPATIBILITY), whose net cost is 0 because the lines that they discount are
net already. So the month's net unblended cost is its unblended cost: both are the invoice.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
from export_lines import cur2_line as line
from export_lines import write_csv, write_parquet
from month_folds import fold, query

EC2 = "Amazon Elastic Compute Cloud - Compute"
PLANS = "Savings Plans for AWS Compute usage"
RDS, CACHE = "Amazon Relational Database Service", "Amazon ElastiCache"
NO_UPFRONT, ALL_UPFRONT, PARTIAL = (
    f"arn:aws:savingsplans::100000000001:savingsplan/{kind}" for kind in ("none", "all", "partial")
)
RESERVED = "arn:aws:ec2:us-east-1:100000000001:reserved-instances/a"
RESERVED_DB = "arn:aws:rds:us-east-1:100000000001:ri:b"
RESERVED_NODE = "arn:aws:elasticache:us-east-1:100000000001:reserved-instance:c"

LINES = [
    # 24 hours of an instance at 0.10, less 10 %.
    line(code="AmazonEC2", usage_type="BoxUsage:m5.large", unblended=2.4, blended=2.4, net=2.16),
    # Storage of 50.00 with a private rate (1.00 off) and a bundled discount (0.50 off).
    line(code="AmazonS3", usage_type="TimedStorage-ByteHrs", unblended=50.0, blended=50.0, net=48.5),
    line(code="AmazonS3", type="PrivateRateDiscount", unblended=-1.0, net=0.0),
    line(code="AmazonS3", type="BundledDiscount", unblended=-0.5, net=0.0),
    # A Savings Plan without upfront payment, 1.00 an hour for a day: 24.00 committed, 20.00 used, 4.00 unused.
    # The usage that it covers would cost 30.00 on demand. Net: 24.00 -> 21.60, so 4.00 unused -> 3.60.
    line(
        code="AmazonEC2", usage_type="BoxUsage:m5.large", type="SavingsPlanCoveredUsage", plan=NO_UPFRONT,
        unblended=30.0, blended=30.0, net=30.0, listed=30.0,
        savings_plan_savings_plan_effective_cost=20.0, savings_plan_net_savings_plan_effective_cost=18.0,
    ),
    line(
        code="AmazonEC2", usage_type="BoxUsage:m5.large", type="SavingsPlanNegation", plan=NO_UPFRONT,
        unblended=-30.0, blended=-30.0, net=-30.0, listed=30.0,
    ),
    line(
        code="ComputeSavingsPlans", type="SavingsPlanRecurringFee", plan=NO_UPFRONT,
        unblended=24.0, blended=24.0, net=21.6,
        savings_plan_total_commitment_to_date=24.0, savings_plan_used_commitment=20.0,
        savings_plan_recurring_commitment_for_billing_period=24.0,
        savings_plan_net_recurring_commitment_for_billing_period=21.6,
    ),
    # A Savings Plan of 1.00 an hour, a year paid in this month: 8,760.00. The month's share is 720.00, of which 700.00
    # are used, 20.00 unused. Net: 720.00 -> 648.00, so 20.00 -> 18.00.
    line(
        code="ComputeSavingsPlans", type="SavingsPlanUpfrontFee", plan=ALL_UPFRONT,
        unblended=8760.0, blended=8760.0, net=7884.0,
    ),
    line(
        code="AWSLambda", usage_type="Lambda-GB-Second", type="SavingsPlanCoveredUsage", plan=ALL_UPFRONT,
        unblended=1000.0, blended=1000.0, net=1000.0, listed=1000.0,
        savings_plan_savings_plan_effective_cost=700.0, savings_plan_net_savings_plan_effective_cost=630.0,
    ),
    line(
        code="AWSLambda", usage_type="Lambda-GB-Second", type="SavingsPlanNegation", plan=ALL_UPFRONT,
        unblended=-1000.0, blended=-1000.0, net=-1000.0, listed=1000.0,
    ),
    line(
        code="ComputeSavingsPlans", type="SavingsPlanRecurringFee", plan=ALL_UPFRONT,
        unblended=0.0, blended=0.0, net=0.0,
        savings_plan_total_commitment_to_date=720.0, savings_plan_used_commitment=700.0,
        savings_plan_amortized_upfront_commitment_for_billing_period=720.0,
        savings_plan_net_amortized_upfront_commitment_for_billing_period=648.0,
        savings_plan_recurring_commitment_for_billing_period=0.0,
        savings_plan_net_recurring_commitment_for_billing_period=0.0,
        savings_plan_end_time="2027-11-01T00:00:00.000Z",
    ),
    # A Savings Plan of 2.00 an hour, half of it paid last year: 720.00 recurring and 720.00 amortized, all 1,440.00 used.
    line(
        code="AmazonECS", usage_type="Fargate-vCPU-Hours:perCPU", type="SavingsPlanCoveredUsage", plan=PARTIAL,
        unblended=2000.0, blended=2000.0, net=2000.0, listed=2000.0,
        savings_plan_savings_plan_effective_cost=1440.0, savings_plan_net_savings_plan_effective_cost=1296.0,
    ),
    line(
        code="AmazonECS", usage_type="Fargate-vCPU-Hours:perCPU", type="SavingsPlanNegation", plan=PARTIAL,
        unblended=-2000.0, blended=-2000.0, net=-2000.0, listed=2000.0,
    ),
    line(
        code="ComputeSavingsPlans", type="SavingsPlanRecurringFee", plan=PARTIAL,
        unblended=720.0, blended=720.0, net=648.0,
        savings_plan_total_commitment_to_date=1440.0, savings_plan_used_commitment=1440.0,
        savings_plan_amortized_upfront_commitment_for_billing_period=720.0,
        savings_plan_net_amortized_upfront_commitment_for_billing_period=648.0,
        savings_plan_recurring_commitment_for_billing_period=720.0,
        savings_plan_net_recurring_commitment_for_billing_period=648.0,
    ),
    # Another plan of 8,760.00 upfront was returned: its fee comes back, and was never amortized.
    line(
        code="ComputeSavingsPlans", type="Refund", unblended=-8760.0, blended=-8760.0, net=-7884.0,
        description="Refund for one-time fee for Savings Plan ID: 0f1e2d3c",
    ),
    # A reserved instance, 600.00 paid in this month for a year: 50.00 of it are the month's, 45.00 used, 5.00 unused.
    line(
        code="AmazonEC2", usage_type="HeavyUsage:m5.large", type="Fee", reservation=RESERVED,
        unblended=600.0, blended=600.0, net=540.0,
    ),
    line(
        code="AmazonEC2", usage_type="HeavyUsage:m5.large", type="RIFee", reservation=RESERVED,
        unblended=0.0, blended=0.0, net=0.0,
        reservation_unused_amortized_upfront_fee_for_billing_period=5.0,
        reservation_net_unused_amortized_upfront_fee_for_billing_period=4.5,
        reservation_unused_recurring_fee=0.0, reservation_net_unused_recurring_fee=0.0,
        reservation_end_time="2027-11-01T00:00:00.000Z",
    ),
    line(
        code="AmazonEC2", usage_type="BoxUsage:m5.large", type="DiscountedUsage", reservation=RESERVED,
        unblended=0.0, blended=0.0, net=0.0, listed=72.0,
        reservation_effective_cost=45.0, reservation_net_effective_cost=40.5,
    ),
    # A reserved database, partly paid last year: 36.00 amortized and 36.00 recurring a month, 5.60 unused, 66.40 used.
    line(
        code="AmazonRDS", usage_type="HeavyUsage:db.r6g.large", type="RIFee", reservation=RESERVED_DB,
        unblended=36.0, blended=36.0, net=32.4,
        reservation_unused_amortized_upfront_fee_for_billing_period=2.0,
        reservation_net_unused_amortized_upfront_fee_for_billing_period=1.8,
        reservation_unused_recurring_fee=3.6, reservation_net_unused_recurring_fee=3.24,
    ),
    line(
        code="AmazonRDS", usage_type="InstanceUsage:db.r6g.large", type="DiscountedUsage", reservation=RESERVED_DB,
        unblended=0.0, blended=0.0, net=0.0, listed=100.0,
        reservation_effective_cost=66.4, reservation_net_effective_cost=59.76,
    ),
    # A reserved node without upfront payment: 72.00 a month, 7.20 unused, 64.80 used.
    line(
        code="AmazonElastiCache", usage_type="HeavyUsage:cache.r6g.large", type="RIFee", reservation=RESERVED_NODE,
        unblended=72.0, blended=72.0, net=64.8,
        reservation_unused_amortized_upfront_fee_for_billing_period=0.0,
        reservation_net_unused_amortized_upfront_fee_for_billing_period=0.0,
        reservation_unused_recurring_fee=7.2, reservation_net_unused_recurring_fee=6.48,
    ),
    line(
        code="AmazonElastiCache", usage_type="NodeUsage:cache.r6g.large", type="DiscountedUsage",
        reservation=RESERVED_NODE, unblended=0.0, blended=0.0, net=0.0, listed=90.0,
        reservation_effective_cost=64.8, reservation_net_effective_cost=58.32,
    ),
    line(code="AmazonEC2", usage_type="BoxUsage:m5.large", type="Credit", unblended=-15.0, blended=-15.0, net=-15.0),
    line(code="AmazonEC2", type="Tax", unblended=20.0, blended=20.0, net=20.0),
    line(code="AWSSupportBusiness", usage_type="Dollar", type="Fee", unblended=100.0, blended=100.0, net=90.0),
    line(code="AmazonS3", type="Refund", unblended=-3.0, blended=-3.0, net=-3.0, description="Refund of storage"),
    line(code="AmazonCloudFront", type="FlatRateSubscription", unblended=15.0, blended=15.0, net=15.0),
    # A line type that no rule is known for, with a product that no map has.
    line(
        code="AmazonXyz", type="SomethingNew", unblended=7.0, blended=7.0, net=6.3,
        product={"product_name": "Amazon Xyz"},
    ),
    # 10 % of what is discounted: usage 0.24, plans 2.40 + 876.00 + 72.00, reservations 60.00 + 3.60 + 7.20, support 10.00,
    # the new line 0.70 = 1,032.14; and back for the returned plan: 876.00.
    line(code="AmazonEC2", usage_type="BoxUsage:m5.large", type="EdpDiscount", unblended=-1032.14, net=0.0),
    line(code="AmazonEC2", usage_type="BoxUsage:m5.large", type="EdpDiscount", unblended=876.0, net=0.0),
]  # fmt: skip

BILL = {
    # service, charge type: unblended, blended, amortized, net unblended, net amortized
    (EC2, "Usage"): ("2.40", "2.40", "2.40", "2.16", "2.16"),
    ("Amazon Simple Storage Service", "Usage"): ("50.00", "50.00", "50.00", "48.50", "48.50"),
    ("Amazon Simple Storage Service", "Private Rate Card Discount"): ("-1.00", "0.00", "-1.00", "0.00", "0.00"),
    ("Amazon Simple Storage Service", "Bundled Discount"): ("-0.50", "0.00", "-0.50", "0.00", "0.00"),
    # Covered usage costs what its plan pays for it; the negation takes back its price on demand, which amortized never had.
    (EC2, "SavingsPlanCoveredUsage"): ("30.00", "30.00", "20.00", "30.00", "18.00"),
    (EC2, "SavingsPlanNegation"): ("-30.00", "-30.00", "0.00", "-30.00", "0.00"),
    ("AWS Lambda", "SavingsPlanCoveredUsage"): ("1000.00", "1000.00", "700.00", "1000.00", "630.00"),
    ("AWS Lambda", "SavingsPlanNegation"): ("-1000.00", "-1000.00", "0.00", "-1000.00", "0.00"),
    ("Amazon Elastic Container Service", "SavingsPlanCoveredUsage"): ("2000.00", "2000.00", "1440.00", "2000.00", "1296.00"),
    ("Amazon Elastic Container Service", "SavingsPlanNegation"): ("-2000.00", "-2000.00", "0.00", "-2000.00", "0.00"),
    # 24.00 + 0.00 + 720.00 are paid; 4.00 + 20.00 + 0.00 are unused; net 21.60 + 0.00 + 648.00, and 3.60 + 18.00 + 0.00.
    (PLANS, "SavingsPlanRecurringFee"): ("744.00", "744.00", "24.00", "669.60", "21.60"),
    (PLANS, "SavingsPlanUpfrontFee"): ("8760.00", "8760.00", "0.00", "7884.00", "0.00"),
    (PLANS, "Refund"): ("-8760.00", "-8760.00", "0.00", "-7884.00", "0.00"),
    (EC2, "Fee"): ("600.00", "600.00", "0.00", "540.00", "0.00"),
    (EC2, "RIFee"): ("0.00", "0.00", "5.00", "0.00", "4.50"),
    (EC2, "DiscountedUsage"): ("0.00", "0.00", "45.00", "0.00", "40.50"),
    (RDS, "RIFee"): ("36.00", "36.00", "5.60", "32.40", "5.04"),
    (RDS, "DiscountedUsage"): ("0.00", "0.00", "66.40", "0.00", "59.76"),
    (CACHE, "RIFee"): ("72.00", "72.00", "7.20", "64.80", "6.48"),
    (CACHE, "DiscountedUsage"): ("0.00", "0.00", "64.80", "0.00", "58.32"),
    (EC2, "Credit"): ("-15.00", "-15.00", "-15.00", "-15.00", "-15.00"),
    ("Tax", "Tax"): ("20.00", "20.00", "20.00", "20.00", "20.00"),
    ("AWS Support (Business)", "Support"): ("100.00", "100.00", "100.00", "90.00", "90.00"),
    ("Amazon Simple Storage Service", "Refund"): ("-3.00", "-3.00", "-3.00", "-3.00", "-3.00"),
    ("Amazon CloudFront", "FlatRateSubscription"): ("15.00", "15.00", "15.00", "15.00", "15.00"),
    ("Amazon Xyz", "SomethingNew"): ("7.00", "7.00", "7.00", "6.30", "6.30"),
    (EC2, "Enterprise Discount Program Discount"): ("-156.14", "0.00", "-156.14", "0.00", "0.00"),
}  # fmt: skip

# The unblended total: 2.40 + 50.00 + 744.00 + 600.00 + 36.00 + 72.00 - 15.00 + 20.00 + 100.00 - 3.00 + 15.00 + 7.00 - 156.14 - 1.50;
# covered usage and its negation, the upfront fee and the refund cancel out. The blended total: the same without the discounts.
# Amortized: 52.40 + 2,160.00 covered + 24.00 + 17.80 unused + 176.20 reserved + 124.00 others - 157.64.
# Net amortized: 50.66 + 1,944.00 + 21.60 + 16.02 + 158.58 + 113.30.
TOTALS = ("1470.76", "1628.40", "2396.76", "1470.76", "2304.16")

COMMITMENTS = {
    # used, unused, on demand, end
    NO_UPFRONT: ("savings_plan", "20.00", "4.00", "30.00", ""),
    ALL_UPFRONT: ("savings_plan", "700.00", "20.00", "1000.00", "2027-11-01T00:00:00.000Z"),
    PARTIAL: ("savings_plan", "1440.00", "0.00", "2000.00", ""),
    RESERVED: ("reservation", "45.00", "5.00", "72.00", "2027-11-01T00:00:00.000Z"),
    RESERVED_DB: ("reservation", "66.40", "5.60", "100.00", ""),
    RESERVED_NODE: ("reservation", "64.80", "7.20", "90.00", ""),
}

_LINES = "SELECT service, charge_type, unblended, blended, amortized, net_unblended, net_amortized FROM lines"


def _usd(units: int) -> str:
    return f"{Decimal(units).scaleb(-10):.2f}"


@pytest.mark.clockless
@pytest.mark.parametrize("write", [write_parquet, write_csv], ids=["parquet", "csv"])
def test_bill_by_hand(tmp_path: Path, write):
    """Each group of lines, and the month, have the five cost types that the calculation above comes to."""
    name = "bill-00001.snappy.parquet" if write is write_parquet else "bill-00001.csv.gz"
    result = fold(tmp_path, {name: write(tmp_path / name, LINES)})
    found = defaultdict(lambda: [0] * 5)
    for service, charge_type, *units in query(result.paths["lines"], _LINES):
        group = found[service, charge_type]
        for place, amount in enumerate(units):
            group[place] += amount
    assert {key: tuple(map(_usd, units)) for key, units in found.items()} == BILL
    assert tuple(_usd(sum(units[place] for units in found.values())) for place in range(5)) == TOTALS
    assert result.unknown_charge_types == {"SomethingNew": (1, 70_000_000_000)}
    assert result.unknown_services == {"Amazon Xyz": 70_000_000_000}


@pytest.mark.clockless
def test_commitments_by_hand(tmp_path: Path):
    """Each Savings Plan and reservation has what is used and unused of it, and what that would cost on demand."""
    result = fold(tmp_path, {"a.parquet": write_parquet(tmp_path / "a.parquet", LINES)})
    rows = query(
        result.paths["commitments"],
        "SELECT arn, kind, sum(used), sum(unused), sum(list_cost), max(end_time) FROM lines GROUP BY ALL",
    )
    found = {
        arn: (kind, _usd(used), _usd(unused), _usd(listed), end)
        for arn, kind, used, unused, listed, end in rows
    }
    assert found == COMMITMENTS


@pytest.mark.clockless
def test_list_cost_counts_covered_usage_once(tmp_path: Path):
    """The negation of covered usage has a list price as well, and counts none."""
    result = fold(tmp_path, {"a.parquet": write_parquet(tmp_path / "a.parquet", LINES)})
    [(total,)] = query(result.paths["lines"], "SELECT sum(list_cost) FROM lines")
    assert _usd(total) == "3292.00"  # 30 + 1,000 + 2,000 + 72 + 100 + 90
