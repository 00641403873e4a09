"""Exports: what their files hold is what Cost Explorer reports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from export_files import FOCUS_METRICS, METRICS, month_files, totals

from simulated_aws import ExplicitCost, OrganizationSpec, SimulatedAws
from simulated_aws.charges import UNIT, CostKey, plain
from simulated_aws.exports.pods import COSTS, EKS, pod_costs
from simulated_aws.exports.tables import FOCUS_1_0, FOCUS_1_2

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)


@pytest.fixture(scope="module")
def varied() -> Iterator[SimulatedAws]:
    """An organisation with charges of every kind, and an export of its month."""
    spec = OrganizationSpec(seed=11, accounts=6, services=13, now=NOW, days=60, varied_charges=True)
    with SimulatedAws(spec) as aws:
        aws.exports.create(manual_discounts=True)
        aws.exports.create("focus-1-0", table=FOCUS_1_0)
        aws.exports.create("focus-1-2", table=FOCUS_1_2)
        aws.exports.deliver()
        yield aws


@pytest.fixture
def aws() -> Iterator[SimulatedAws]:
    """A small organisation without exports."""
    with SimulatedAws(OrganizationSpec(seed=5, accounts=3, services=17, now=NOW, days=20)) as aws:
        yield aws


def query(aws: SimulatedAws, statement: str, name: str = "cost") -> list[tuple[Any, ...]]:
    """The rows of a statement over the month's files, which it calls `lines`."""
    files = [str(path) for path in month_files(aws, MARCH, name)]
    reader = "read_csv" if files[0].endswith(".csv.gz") else "read_parquet"
    return duckdb.execute(f"WITH lines AS (FROM {reader}(?)) {statement}", [files]).fetchall()


def reported(aws: SimulatedAws, by: tuple[str, ...], metric: str) -> dict[tuple[str, ...], Decimal]:
    """What Cost Explorer reports about the month, without zeros."""
    found = aws.truth.totals(MARCH, APRIL, NOW, by, metric)
    assert found
    return {keys: amount for keys, amount in found.items() if amount}


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
    assert totals(month_files(varied, MARCH), by, metric) == reported(varied, by, metric)


def test_the_organisation_has_lines_of_every_type(varied: SimulatedAws) -> None:
    assert {name for (name,) in query(varied, "SELECT DISTINCT line_item_line_item_type FROM lines")} == {
        "BundledDiscount", "Credit", "DiscountedUsage", "Fee", "FlatRateSubscription", "PrivateRateDiscount", "RIFee",
        "SavingsPlanCoveredUsage", "SavingsPlanNegation", "SavingsPlanRecurringFee", "SavingsPlanUpfrontFee", "Tax",
        "Usage",
    }  # fmt: skip
    kinds = query(
        varied,
        "SELECT DISTINCT savings_plan_payment_option FROM lines WHERE savings_plan_payment_option <> ''",
    )
    assert {name for (name,) in kinds} == {"No Upfront", "All Upfront"}
    (product,) = query(
        varied,
        "SELECT DISTINCT product['product_name'] FROM lines WHERE bill_billing_entity = 'AWS Marketplace'",
    )
    assert product == ("Marketplace Product 1",)


def test_cost_explorer_has_the_marketplace_as_a_billing_entity(varied: SimulatedAws) -> None:
    found = varied.truth.totals(MARCH, APRIL, NOW, ("billing_entity", "service"))
    assert [keys for keys in found if keys[0] == "AWS Marketplace"] == [
        ("AWS Marketplace", "Marketplace Product 1")
    ]


@pytest.mark.parametrize("metric", FOCUS_METRICS)
@pytest.mark.parametrize(
    "by", [("day", "account", "region"), ("operation", "resource"), ("tag:team",)], ids="-".join
)
@pytest.mark.parametrize("name", ["focus-1-0", "focus-1-2"])
def test_focus_holds_the_net_costs(varied: SimulatedAws, name: str, by: tuple[str, ...], metric: str) -> None:
    found = totals(month_files(varied, MARCH, name), by, metric, focus=True)
    assert found == reported(varied, by, metric)


def test_focus_has_a_line_for_what_is_unused(varied: SimulatedAws) -> None:
    """Fees of commitments are purchases without an effective cost; nothing is negated."""
    found = query(
        varied,
        """SELECT ChargeCategory, CommitmentDiscountStatus, sum(BilledCost) <> 0, sum(EffectiveCost) <> 0 FROM lines
        WHERE CommitmentDiscountId <> '' GROUP BY ALL ORDER BY ALL""",
        "focus-1-2",
    )
    assert found == [
        ("Purchase", None, True, False),
        ("Usage", "Unused", False, True),
        ("Usage", "Used", False, True),
    ]


def test_focus_1_2_has_no_usage_type(varied: SimulatedAws) -> None:
    columns = {
        name: {column for column, *_ in query(varied, "SELECT column_name FROM (DESCRIBE lines)", name)}
        for name in ("focus-1-0", "focus-1-2")
    }
    assert columns["focus-1-0"] - columns["focus-1-2"] == {"x_CostCategories", "x_UsageType"}
    assert {"InvoiceId", "SkuMeter", "PricingCurrency"} <= columns["focus-1-2"] - columns["focus-1-0"]


# -- configuration ---------------------------------------------------------------------------------


def test_csv_is_the_same_table(aws: SimulatedAws) -> None:
    """Maps are JSON, times are ISO 8601, and what is empty has no text."""
    aws.exports.create("parquet", hourly=False)
    aws.exports.create("csv", hourly=False, format="csv")
    aws.exports.deliver()
    sums = "SELECT count(*), sum(line_item_unblended_cost::DECIMAL(28, 10)), min(line_item_usage_start_date) FROM lines"
    ((count, cost, start),) = query(aws, sums, "csv")
    ((expected_count, expected_cost, expected_start),) = query(aws, sums, "parquet")
    assert (count, cost, start.replace(tzinfo=None)) == (expected_count, expected_cost, expected_start)
    ((tags,),) = query(
        aws, "SELECT DISTINCT resource_tags FROM lines WHERE resource_tags LIKE '%production%'", "csv"
    )
    assert json.loads(tags) == {"user_environment": "production", "user_team": "checkout"}


def test_without_resources_there_is_a_line_for_all_of_them(aws: SimulatedAws) -> None:
    aws.exports.create("fine", hourly=False)
    aws.exports.create("coarse", hourly=False, resources=False)
    aws.exports.deliver()
    (columns, fine), (fewer, coarse) = (
        (
            {column for column, *_ in query(aws, "SELECT column_name FROM (DESCRIBE lines)", name)},
            query(aws, "SELECT count(*) FROM lines", name)[0][0],
        )
        for name in ("fine", "coarse")
    )
    assert columns - fewer == {"line_item_resource_id"}
    assert coarse < fine
    by = ("day", "account", "usage_type")
    assert totals(month_files(aws, MARCH, "fine"), by, "UsageQuantity") == reported(aws, by, "UsageQuantity")
    cost = "SELECT sum(line_item_unblended_cost::DECIMAL(28, 10)) FROM lines"
    assert query(aws, cost, "coarse") == query(aws, cost, "fine")


def test_a_query_may_filter_and_rename(aws: SimulatedAws) -> None:
    account = aws.accounts[1].id
    renamed = "SELECT line_item_usage_account_id AS who, line_item_unblended_cost AS cost FROM COST_AND_USAGE_REPORT"
    aws.exports.create(hourly=False, query=f"{renamed} WHERE line_item_usage_account_id = '{account}'")
    aws.exports.deliver()
    ((who, cost),) = query(aws, "SELECT who, sum(cost::DECIMAL(28, 10)) FROM lines GROUP BY who")
    assert (who, cost) == (account, aws.truth.totals(MARCH, APRIL, NOW, ("account",))[(account,)])


def test_split_costs_share_out_what_other_lines_have(aws: SimulatedAws) -> None:
    """Their rows are no part of totals, although they have amounts."""
    aws.exports.create("plain", hourly=False)
    aws.exports.create("split", split_costs=True)
    aws.exports.deliver()
    is_split = "line_item_operation IN ('EKSPod-EC2', 'ECSTask-EC2')"
    cost = "SELECT sum(line_item_unblended_cost::DECIMAL(28, 10)) FROM lines"
    assert query(aws, f"{cost} WHERE NOT {is_split}", "split") == query(aws, cost, "plain")
    assert query(aws, cost, "split") != query(aws, cost, "plain")
    for column in COSTS:
        found = query(
            aws,
            f"""SELECT strftime(line_item_usage_start_date, '%Y-%m-%d'), line_item_usage_account_id,
            split_part(line_item_resource_id, '/', 2), split_part(line_item_resource_id, '/', 3),
            sum(split_line_item_{column}::DECIMAL(28, 10)) FROM lines WHERE {is_split}
            AND line_item_operation = 'EKSPod-EC2' GROUP BY ALL""",  # noqa: S608 - names of ours
            "split",
        )
        expected = aws.exports.split_totals(
            MARCH, APRIL, NOW, ("day", "account", "cluster", "namespace", "kind"), column
        )
        assert {tuple(row[:4]): row[4] for row in found} == {
            keys[:4]: amount for keys, amount in expected.items() if keys[4] == "eks"
        }
        assert {keys[4] for keys, amount in expected.items() if amount} == {"eks", "ecs"}
        tasks = query(
            aws,
            f"SELECT sum(split_line_item_{column}::DECIMAL(28, 10)) FROM lines "  # noqa: S608 - names of ours
            "WHERE line_item_operation = 'ECSTask-EC2' AND line_item_resource_id LIKE 'arn:aws:ecs:%:task/ecs-%/task-%'",
            "split",
        )
        assert tasks == [(sum(amount for keys, amount in expected.items() if keys[4] == "ecs"),)]


@pytest.mark.clockless
def test_pods_share_out_part_of_the_cost_of_instances() -> None:
    """By hand: of $100 of instances ($97 with the discount), 40 % run pods, of which 25 % is unused."""
    compute = CostKey(
        "1", "Amazon Elastic Compute Cloud - Compute", "Usage", "us-east-1", "BoxUsage:m6i.large"
    )
    negation = CostKey("1", compute.service, "SavingsPlanNegation", "us-east-1", "BoxUsage:m6i.large")
    cluster = CostKey("1", EKS, "Usage", "us-east-1", "AmazonEKS-Hours:perCluster")
    found = [
        *pod_costs(
            [(compute, plain(100 * UNIT, 1)), (negation, plain(-50 * UNIT, 0)), (cluster, plain(UNIT, 1))]
        )
    ]
    assert len({pod for pod, *_ in found}) == 6
    sums = [sum(costs[i] for *_, costs in found) for i in range(len(COSTS))]
    expected = [Decimal(30), Decimal(10), Decimal("29.1"), Decimal("9.7")]
    assert [round(Decimal(units).scaleb(-10), 6) for units in sums] == expected


def test_an_export_of_a_member_has_its_account_only(aws: SimulatedAws) -> None:
    member = aws.accounts[1].id
    aws.exports.create(account=member, hourly=False)
    aws.exports.deliver()
    by = ("account", "day")
    expected = {
        keys: amount for keys, amount in reported(aws, by, "BlendedCost").items() if keys[0] == member
    }
    assert totals(month_files(aws, MARCH), by, "BlendedCost") == expected != {}


def test_tag_keys_are_written_as_column_names(aws: SimulatedAws) -> None:
    """In lower snake case; those that AWS makes have no prefix."""
    tags = (("CostCenter", "a"), ("my-app:Stage", "b"), ("aws:createdBy", "c"))
    aws.set_costs([row(tags=tags)])
    aws.exports.create()
    aws.exports.deliver()
    ((found,),) = query(aws, "SELECT DISTINCT map_entries(resource_tags) FROM lines")
    assert {each["key"]: each["value"] for each in found} == {
        "user_cost_center": "a",
        "user_my_app_stage": "b",
        "aws_created_by": "c",
    }


def test_resources_may_be_those_of_the_inventory() -> None:
    """As far as it has some: the cost of an instance is found by the id that EC2 lists."""
    spec = OrganizationSpec(seed=5, accounts=2, services=4, now=NOW, days=20, inventory_resources=True)
    with SimulatedAws(spec) as aws:
        aws.exports.create(hourly=False)
        aws.exports.deliver()
        found = totals(month_files(aws, MARCH), ("account", "resource"), "UnblendedCost")
        assert found == reported(aws, ("account", "resource"), "UnblendedCost")
        account = aws.accounts[1].id
        instances = set(aws.inventory.instance_ids(account, "us-east-1", create=False))
        databases = {
            each.arn for each in aws.inventory.truth(account, "rds", "us-east-1") if each.type == "rds:db"
        }
        known = {resource for owner, resource in found if owner == account}
        assert instances & known
        assert databases & known


def test_lines_are_in_the_currency_of_the_export(aws: SimulatedAws) -> None:
    aws.exports.create(hourly=False, currency="EUR")
    aws.exports.deliver()
    assert query(aws, "SELECT DISTINCT line_item_currency_code FROM lines") == [("EUR",)]


# -- what lines can express ------------------------------------------------------------------------


def row(record_type: str = "Usage", service: str = "AWS Lambda", **more: Any) -> ExplicitCost:
    """A charge of the first day; amounts by metric in USD."""
    amounts = {name: Decimal(value) for name, value in more.pop("amounts", {"UnblendedCost": "1"}).items()}
    return ExplicitCost(MARCH, "111111111111", service, amounts, record_type, **more)


_PLANS = "Savings Plans for AWS Compute usage"


@pytest.mark.parametrize(
    ("charge", "service_code", "line_type"),
    [
        (row(), "AWSLambda", "Usage"),
        (row("Support", "AWS Support (Business)"), "AWSSupportBusiness", "Fee"),
        (row("Enterprise Discount Program Discount"), "AWSLambda", "EdpDiscount"),
        (row("SomethingNew"), "AWSLambda", "SomethingNew"),
        (row(service="Amazon Bedrock"), "AmazonBedrock", "Usage"),
        (
            row("Refund", _PLANS, usage_type="ComputeSP:1yrAllUpfront",
                amounts={"UnblendedCost": "-8", "AmortizedCost": "0", "NetAmortizedCost": "0"}),
            "ComputeSavingsPlans", "Refund",
        ),
        (
            row("SavingsPlanRecurringFee", _PLANS, usage_type="ComputeSP:1yrPartialUpfront",
                amounts={"UnblendedCost": "5", "AmortizedCost": "0.7", "NetAmortizedCost": "0.6"}),
            "ComputeSavingsPlans", "SavingsPlanRecurringFee",
        ),
        (
            row("SavingsPlanRecurringFee", _PLANS, usage_type="ComputeSP:1yrNoUpfront",
                amounts={"UnblendedCost": "8", "NetUnblendedCost": "6", "AmortizedCost": "4", "NetAmortizedCost": "3"}),
            "ComputeSavingsPlans", "SavingsPlanRecurringFee",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_charges_that_tests_draw(
    aws: SimulatedAws, charge: ExplicitCost, service_code: str, line_type: str
) -> None:
    """Each has its line type, and all five amounts by the formulas."""
    aws.set_costs([charge])
    aws.exports.create(manual_discounts=True)
    aws.exports.deliver()
    assert query(aws, "SELECT DISTINCT line_item_product_code, line_item_line_item_type FROM lines") == [
        (service_code, line_type)
    ]
    for metric in METRICS:
        if metric != "ListCost" or line_type == "Usage":
            assert totals(month_files(aws, MARCH), ("service",), metric) == reported(
                aws, ("service",), metric
            )


@pytest.mark.parametrize(
    "charge",
    [
        row(amounts={"UnblendedCost": "2", "AmortizedCost": "1"}),
        row(amounts={"UnblendedCost": "2", "NetAmortizedCost": "1"}),
        row("SavingsPlanNegation", amounts={"UnblendedCost": "-2"}),
        row("Fee", amounts={"UnblendedCost": "2", "AmortizedCost": "1"}),
        row("Refund", amounts={"UnblendedCost": "-2", "AmortizedCost": "0", "NetAmortizedCost": "0"}),
        row("SavingsPlanRecurringFee", usage_type="ComputeSP:1yrNoUpfront",
            amounts={"UnblendedCost": "2", "AmortizedCost": "3"}),
        row(service="Amazon Elastic Compute Cloud - Compute"),
        row(service="EC2 - Other", usage_type="BoxUsage:m6i.large"),
        row(service="Amazon S3"),
    ],
    ids=[
        "amortized usage", "net usage", "amortized negation", "half a fee", "refund of something else",
        "more unused than paid", "compute without instances", "instances elsewhere", "a product code of another service",
    ],
)  # fmt: skip
def test_charges_that_no_line_can_express(aws: SimulatedAws, charge: ExplicitCost) -> None:
    aws.set_costs([charge])
    aws.exports.create()
    with pytest.raises(ValueError, match=r"no line of an export|is not of"):
        aws.exports.deliver()


def test_discounts_are_lines_only_where_the_export_says_so(aws: SimulatedAws) -> None:
    aws.set_costs([row("Private Rate Card Discount")])
    aws.exports.create()
    with pytest.raises(ValueError, match="INCLUDE_MANUAL_DISCOUNT_COMPATIBILITY"):
        aws.exports.deliver()


def test_a_month_without_charges_has_a_file_without_lines(aws: SimulatedAws) -> None:
    aws.set_costs([])
    aws.exports.create()
    aws.exports.deliver()
    assert query(aws, "SELECT count(*) FROM lines") == [(0,)]
