"""What a month's files have for lines of CUR 2.0, beside their cost types."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest
from export_lines import cur2_line as line
from export_lines import write_csv, write_parquet
from month_folds import fold, query

from exporter.exports.fold_process import FoldFailedError
from exporter.exports.folding import FoldResult

pytestmark = pytest.mark.clockless
USD = 10**10


def folded(folder: Path, *lines: dict, without: tuple[str, ...] = (), **changed) -> FoldResult:
    return fold(folder, {"a.parquet": write_parquet(folder / "a.parquet", lines, without=without)}, **changed)


def by(result: FoldResult, *columns: str, of: str = "unblended") -> dict:
    chosen = ", ".join(f'"{name}"' for name in columns)
    rows = query(result.paths["lines"], f"SELECT {chosen}, sum({of}) FROM lines GROUP BY ALL")  # noqa: S608 # columns
    return {row[:-1] if len(columns) > 1 else row[0]: row[-1] for row in rows}


def test_every_dimension_is_there_together(tmp_path: Path):
    result = folded(
        tmp_path,
        line(
            code="AmazonS3", region="eu-west-1", usage_type="EU-TimedStorage-ByteHrs", operation="StandardStorage",
            resource="bucket", unblended=1.25, line_item_usage_amount=2.5, listed=1.5, tags={"user_team": "web"},
            cost_category={"unit": "retail"}, start=datetime(2026, 11, 5, 7, tzinfo=UTC),
        ),
        tags=("team",), cost_categories=("unit",),
    )  # fmt: skip
    assert query(result.paths["lines"], "SELECT * FROM lines") == [
        (
            date(2026, 11, 5), "200000000002", "Amazon Simple Storage Service", "eu-west-1", "EU-TimedStorage-ByteHrs",
            "StandardStorage", "Usage", "AWS", "bucket", "web", "retail",
            12_500_000_000, 0, 12_500_000_000, 12_500_000_000, 12_500_000_000, 15_000_000_000, 2.5,
        )
    ]  # fmt: skip
    assert (result.rows, result.lines, result.files) == (1, 1, {"a.parquet": 1})
    assert result.days == (date(2026, 11, 5), date(2026, 11, 5))


def test_what_a_charge_lacks_is_named_as_cost_explorer_does(tmp_path: Path):
    result = folded(tmp_path, line(type="Tax", unblended=1.0))
    assert by(result, "region", "usage_type", "operation", "resource") == {
        ("NoRegion", "NoUsageType", "NoOperation", ""): USD
    }


def test_the_region_is_found_in_the_product_where_it_has_no_column(tmp_path: Path):
    lines = (line(product={"region": "eu-west-1"}, unblended=1.0), line(unblended=2.0))
    result = folded(tmp_path, *lines, without=("product_region_code",))
    assert by(result, "region") == {"eu-west-1": USD, "NoRegion": 2 * USD}


@pytest.mark.parametrize(
    "name", ["user_cost_center", "user_costcenter", "user:CostCenter", "user_CostCenter", "CostCenter"]
)
def test_a_tag_is_found_under_each_of_its_names(tmp_path: Path, name: str):
    result = folded(
        tmp_path, line(tags={name: "a"}, unblended=1.0), line(unblended=2.0), tags=("CostCenter",)
    )
    assert by(result, "tag:CostCenter") == {"a": USD, "": 2 * USD}
    assert result.tags_seen == (name,)


@pytest.mark.parametrize("name", ["aws_eks_cluster_name", "aws:eks:cluster-name"])
def test_a_tag_of_aws_is_found(tmp_path: Path, name: str):
    result = folded(tmp_path, line(tags={name: "a"}, unblended=1.0), tags=("aws:eks:cluster-name",))
    assert by(result, "tag:aws:eks:cluster-name") == {"a": USD}


def test_the_map_of_all_tags_is_read_by_its_prefixes(tmp_path: Path):
    result = folded(
        tmp_path,
        line(tags={}, unblended=1.0)
        | {"tags": {"resourceTags/user_team": "web", "costCategory/unit": "retail"}},
        line(tags={}, unblended=2.0) | {"tags": {"accountTag/team": "data"}},
        line(tags={"user_team": "own"}, unblended=4.0) | {"tags": {"accountTag/team": "data"}},
        tags=("team",),
        cost_categories=("unit",),
    )
    assert by(result, "tag:team", "cost_category:unit") == {
        ("web", "retail"): USD, ("data", ""): 2 * USD, ("own", ""): 4 * USD,
    }  # fmt: skip


def test_a_tag_that_no_file_has_is_unknown_and_not_untagged(tmp_path: Path):
    result = folded(tmp_path, line(tags={"user_team": "a"}, unblended=1.0), tags=("team", "stage"))
    assert by(result, "tag:team", "tag:stage") == {("a", None): USD}
    assert result.unknown_dimensions == ("tag:stage",)


def test_a_tag_that_one_file_of_the_month_has_is_known_in_all(tmp_path: Path):
    one = write_parquet(tmp_path / "1.parquet", [line(unblended=1.0)])
    other = write_parquet(tmp_path / "2.parquet", [line(unblended=2.0, tags={"user_team": "a"})])
    result = fold(tmp_path, {"1.parquet": one, "2.parquet": other}, tags=("team",))
    assert by(result, "tag:team") == {"": USD, "a": 2 * USD}


def test_without_resource_ids_resources_are_unknown(tmp_path: Path):
    result = folded(tmp_path, line(unblended=1.0), without=("line_item_resource_id",))
    assert by(result, "resource") == {None: USD}
    assert result.unknown_dimensions == ("resource",)


def test_the_largest_resources_of_an_account_keep_their_id(tmp_path: Path):
    lines = [line(resource=f"i-{number}", unblended=float(number)) for number in range(1, 6)]
    lines += [line(resource="i-refunded", unblended=-4.5), line(unblended=100.0)]
    lines += [line(account="300000000003", resource="i-small", unblended=0.5)]
    result = folded(tmp_path, *lines, resources=2)
    assert by(result, "account_id", "resource") == {
        ("200000000002", "i-5"): 5 * USD,
        ("200000000002", "i-refunded"): -45 * USD // 10,
        ("200000000002", "other"): 10 * USD,
        ("200000000002", ""): 100 * USD,
        ("300000000003", "i-small"): USD // 2,
    }


def test_the_services_of_ec2_are_told_apart_by_usage_type(tmp_path: Path):
    types = ("BoxUsage:m5.large", "EUW2-SpotUsage:c5.large", "EBS:VolumeUsage.gp3", "NatGateway-Hours", "")
    result = folded(tmp_path, *(line(code="AmazonEC2", usage_type=each, unblended=1.0) for each in types))
    assert by(result, "service") == {
        "Amazon Elastic Compute Cloud - Compute": 2 * USD,
        "EC2 - Other": 3 * USD,
    }


def test_a_marketplace_product_goes_by_its_name(tmp_path: Path):
    bought = {"bill_billing_entity": "AWS Marketplace", "product": {"product_name": "Some Firewall"}}
    result = folded(
        tmp_path, line(code="8xopaquecode", unblended=3.0, **bought), line(code="nameless", unblended=1.0)
    )
    assert by(result, "service", "billing_entity") == {
        ("Some Firewall", "AWS Marketplace"): 3 * USD, ("nameless", "AWS"): USD,
    }  # fmt: skip
    assert result.unknown_services == {"nameless": USD}


def test_split_cost_is_no_part_of_totals(tmp_path: Path):
    pod = "arn:aws:eks:us-east-1:200000000002:pod/main/shop/cart-7d/0f"
    split = {
        "split_line_item_split_cost": 1.5, "split_line_item_unused_cost": 0.5, "split_line_item_net_split_cost": 1.35,
        "split_line_item_parent_resource_id": "i-1",
    }  # fmt: skip
    none = dict.fromkeys(split)
    result = folded(
        tmp_path,
        line(code="AmazonEC2", resource="i-1", usage_type="BoxUsage:m5.large", unblended=2.0) | none,
        line(code="AmazonEKS", operation="EKSPod-EC2", resource=pod, unblended=9.0) | split,
        line(code="AmazonECS", operation="ECSTask-EC2", unblended=9.0, tags={"aws_ecs_service_name": "api"},
             resource="arn:aws:ecs:us-east-1:200000000002:task/main/42") | split,
    )  # fmt: skip
    assert by(result, "resource") == {"i-1": 2 * USD}
    assert query(result.paths["split"], "SELECT * FROM lines") == [
        (date(2026, 11, 1), "200000000002", "main", "api", "42", "ecs", 15 * USD // 10, USD // 2, 135 * USD // 100, USD // 2),
        (date(2026, 11, 1), "200000000002", "main", "shop", "cart-7d", "eks", 15 * USD // 10, USD // 2, 135 * USD // 100, USD // 2),
    ]  # fmt: skip
    assert result.lines == 3


def test_hours_are_kept_from_the_first_that_is_asked_for(tmp_path: Path):
    lines = [
        line(start=datetime(2026, 11, day, hour, tzinfo=UTC), unblended=1.0)
        for day in (9, 10)
        for hour in (0, 23)
    ]
    result = folded(tmp_path, *lines, hours_from=date(2026, 11, 10))
    service = "Amazon Simple Storage Service"
    assert query(
        result.paths["hours"], "SELECT hour, account_id, service, unblended, blended FROM lines"
    ) == [
        (datetime(2026, 11, 10, 0), "200000000002", service, USD, 0),  # noqa: DTZ001 # as DuckDB returns it
        (datetime(2026, 11, 10, 23), "200000000002", service, USD, 0),  # noqa: DTZ001
    ]
    assert result.hourly


def test_a_daily_export_has_no_hours(tmp_path: Path):
    result = folded(tmp_path, line(unblended=1.0), hours_from=date(2026, 11, 1))
    assert (set(result.paths), result.hourly) == ({"lines"}, False)


def test_the_time_of_a_purchase_makes_no_hours_of_days(tmp_path: Path):
    """Otherwise a whole day would be the cost of its first hour, and all others zero."""
    bought = datetime(2026, 11, 5, 14, 23, 11, tzinfo=UTC)
    lines = (
        line(unblended=1.0),
        *(line(type=kind, start=bought, unblended=9.0) for kind in ("Fee", "Refund")),
    )
    result = folded(tmp_path, *lines, hours_from=date(2026, 11, 1))
    assert (set(result.paths), result.hourly) == ({"lines"}, False)


def test_cost_of_another_month_is_cost_of_the_bill_that_it_is_on(tmp_path: Path):
    result = folded(tmp_path, line(type="Refund", start=datetime(2026, 9, 3, tzinfo=UTC), unblended=-1.0))
    assert by(result, "day") == {date(2026, 11, 1): -USD}
    assert result.days == (date(2026, 9, 3), date(2026, 9, 3))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (line(line_item_currency_code="EUR"), "a.parquet is in EUR; only USD is read"),
        (
            line(bill_billing_period_start_date=datetime(2026, 10, 1, tzinfo=UTC)),
            "a.parquet has lines of the billing period 2026-10, expected 2026-11",
        ),
        (line(start=None), "a.parquet has lines without a date"),
        (line(unblended=float("nan")), "a.parquet cannot be folded: Conversion Error"),
        (line(unblended=1e9), "a.parquet cannot be folded: Conversion Error"),
    ],
    ids=["currency", "month", "no date", "no number", "too large"],
)
def test_a_wrong_line_is_an_error_that_names_the_file(tmp_path: Path, wrong: dict, words: str):
    with pytest.raises(FoldFailedError, match=f"^{words}"):
        folded(tmp_path, line(unblended=1.0), wrong)


@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        ("VARCHAR", "2026-11-05T23:30:00Z"),
        ("VARCHAR", "2026-11-05 23:30:00.000"),
        ("TIMESTAMPTZ", "2026-11-06 01:30:00+02"),
        ("TIMESTAMP_MS", "2026-11-05 23:30:00"),
    ],
)
def test_moments_of_every_type_are_in_utc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, moment: str
):
    monkeypatch.setenv("TZ", "Asia/Tokyo")  # of the machine, from which DuckDB takes its zone
    path = tmp_path / "a.parquet"
    with duckdb.connect() as db:
        columns = {
            "line_item_usage_start_date": f"CAST('{moment}' AS {kind})", "line_item_usage_account_id": "'1'",
            "line_item_product_code": "'AmazonS3'", "line_item_line_item_type": "'Usage'",
            "line_item_unblended_cost": "CAST('900000.0000000001' AS DECIMAL(20, 10))",
        }  # fmt: skip
        db.query("SELECT " + ", ".join(f"{text} AS {name}" for name, text in columns.items())).write_parquet(
            str(path)
        )
    result = fold(tmp_path, {"a.parquet": path}, hours_from=date(2026, 11, 1))
    units = 900_000 * USD + 1
    assert query(result.paths["lines"], "SELECT day, unblended FROM lines") == [(date(2026, 11, 5), units)]
    assert query(result.paths["hours"], "SELECT hour::VARCHAR AS at FROM lines") == [("2026-11-05 23:00:00",)]


def test_without_net_columns_net_is_gross(tmp_path: Path):
    result = folded(
        tmp_path,
        line(type="SavingsPlanCoveredUsage", unblended=3.0, savings_plan_savings_plan_effective_cost=2.0),
        without=("line_item_net_unblended_cost", "savings_plan_net_savings_plan_effective_cost"),
    )
    assert query(result.paths["lines"], "SELECT net_unblended, net_amortized FROM lines") == [
        (3 * USD, 2 * USD)
    ]


def test_what_has_no_column_is_not_available(tmp_path: Path):
    lines = [line(type="SavingsPlanCoveredUsage", plan="arn", unblended=3.0), line(unblended=1.0)]
    gone = (
        "line_item_blended_cost",
        "pricing_public_on_demand_cost",
        "savings_plan_savings_plan_effective_cost",
    )
    result = folded(tmp_path, *lines, without=gone)
    assert result.cost_types == ("unblended", "net_unblended")
    assert query(
        result.paths["lines"],
        "SELECT sum(unblended), sum(net_unblended), count(blended), count(amortized), count(net_amortized),"
        " count(list_cost) FROM lines",
    ) == [(4 * USD, 4 * USD, 0, 0, 0, 0)]
    assert "commitments" not in result.paths


def test_columns_of_commitments_are_not_missed_where_there_are_none(tmp_path: Path):
    gone = (
        "reservation_effective_cost", "savings_plan_savings_plan_effective_cost", "reservation_reservation_a_r_n",
        "savings_plan_savings_plan_a_r_n",
    )  # fmt: skip
    result = folded(tmp_path, line(type="Fee", unblended=1.0), without=gone)
    assert by(result, "charge_type", of="amortized") == {"Fee": USD}
    assert "amortized" in result.cost_types


def test_a_month_without_lines(tmp_path: Path):
    result = folded(tmp_path)
    assert (result.rows, result.lines, result.days) == (0, 0, None)
    assert query(result.paths["lines"], "SELECT * FROM lines") == []


def test_csv_is_read_like_parquet(tmp_path: Path):
    """Quoted line breaks, JSON maps, scientific notation, and nothing where a value is missing."""
    lines = [
        line(
            resource='a "quoted"\nresource, with all',
            unblended=1.5e-7,
            tags={"user_team": 'a,"b"'},
            listed=0.1,
        ),
        line(
            type="SavingsPlanCoveredUsage",
            plan="arn:plan",
            unblended=3.0,
            savings_plan_savings_plan_effective_cost=2.0,
        ),
    ]
    parquet = fold(tmp_path, {"a.parquet": write_parquet(tmp_path / "a.parquet", lines)}, tags=("team",))
    text = fold(tmp_path, {"a.csv.gz": write_csv(tmp_path / "a.csv.gz", lines)}, into="csv", tags=("team",))
    rows = "SELECT * FROM lines"
    assert query(text.paths["lines"], rows) == query(parquet.paths["lines"], rows)
    assert by(text, "resource", "tag:team")['a "quoted"\nresource, with all', 'a,"b"'] == 1500


@pytest.mark.parametrize(
    "columns",
    [
        {"lineItem/UnblendedCost": "1.0", "lineItem/LineItemType": "Usage"},
        {"line_item_unblended_cost": 1.0, "resource_tags_user_team": "web"},
        {"line_item_unblended_cost": 1.0, "product_product_name": "Amazon S3"},
    ],
    ids=["columns with slashes", "a column for each tag", "a column for each product attribute"],
)
def test_a_legacy_report_is_refused_with_what_to_do(tmp_path: Path, columns: dict):
    path = write_parquet(tmp_path / "a.parquet", [columns], {})
    with pytest.raises(
        FoldFailedError, match=r"^a\.parquet is a legacy Cost and Usage Report.*create a CUR 2\.0 export"
    ):
        fold(tmp_path, {"a.parquet": path})


def test_another_format_is_refused(tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(b"PK")
    with pytest.raises(FoldFailedError, match=r"^a\.zip is neither Parquet nor CSV"):
        fold(tmp_path, {"a.zip": tmp_path / "a.zip"})


def test_an_export_without_a_column_that_cost_needs_is_refused(tmp_path: Path):
    with pytest.raises(
        FoldFailedError,
        match=r"^a\.parquet has no column line_item_unblended_cost: it is no export of CUR 2\.0",
    ):
        folded(tmp_path, line(), without=("line_item_unblended_cost",))
