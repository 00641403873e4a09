"""An export that is not the whole bill, or cannot be read as what it is, is refused in words; the rest is found by its name."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from export_reader import Reader, create, reading, refused, truth
from organizations import MakeAws

from exporter.aws.errors import Kind
from exporter.exports.delivery.discovery import query_problems

pytestmark = pytest.mark.stack

MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
NOON = datetime(2026, 3, 17, 12, tzinfo=UTC)
CUR = "FROM COST_AND_USAGE_REPORT"


def reason(reader: Reader, kind: Kind = Kind.EXPORT) -> str:
    return refused(reader, kind)


@pytest.mark.parametrize(
    ("query", "problems"),
    [
        (f"SELECT * {CUR}", []),
        (f"select *\n{CUR.lower()} ;", []),
        (f"SELECT *, resource_tags.user_team AS team {CUR}", []),
        (f"SELECT *, product['region'] AS product_region {CUR}", []),
        (f"SELECT * {CUR} WHERE line_item_usage_account_id = '1'", ["its query filters: WHERE line_item_usage_account_id = '1'"]),
        (f"SELECT * {CUR} LIMIT 10", ["its query filters: LIMIT 10"]),
        (f"SELECT *, line_item_unblended_cost AS cost {CUR}", ["its query renames line_item_unblended_cost to cost"]),
        (f"SELECT *, line_item_net_unblended_cost AS line_item_unblended_cost {CUR}",
         ["its query renames line_item_net_unblended_cost to line_item_unblended_cost"]),
        ("DROP TABLE x", ["its query is not of the form SELECT columns FROM table"]),
    ],
)  # fmt: skip
def test_what_a_query_leaves_out_or_renames_is_named(query: str, problems: list[str]) -> None:
    assert list(query_problems(query, "cur2")) == problems


def test_columns_that_are_left_out_are_named() -> None:
    (problem,) = query_problems(f"SELECT line_item_unblended_cost, line_item_usage_start_date {CUR}", "cur2")
    assert problem.startswith("its query leaves out ")
    assert "line_item_line_item_type" in problem
    assert "line_item_unblended_cost" not in problem


def test_a_filtered_export_is_refused_unless_it_is_accepted(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON)
    account = aws.accounts[1].id
    create(aws, query=f"SELECT * {CUR} WHERE line_item_usage_account_id = '{account}'")
    with reading(aws, tmp_path) as reader:
        text = reason(reader)
        assert "its query filters: WHERE" in text
        assert "accept_filtered" in text
        assert reader.month(MARCH) is None
        reader.settings = reader.settings.model_copy(update={"accept_filtered": True})
        reader.read()
        found = reader.cost(MARCH, APRIL, "unblended")
        expected = truth(aws, MARCH, APRIL, "unblended", "day", "account", "service")
        assert found == {key: usd for key, usd in expected.items() if key[1] == account}
        assert found


def test_an_export_of_another_name_is_named_and_so_is_what_there_is(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON)
    create(aws)
    with reading(aws, tmp_path, export="costs") as reader:
        text = reason(reader)
        assert "there is no data export named costs, found cost" in text
        assert "deploy/data-export.yaml" in text


@pytest.mark.parametrize(
    "place", [{}, {"bucket": "cost-exports", "prefix": "exports"}], ids=["by name", "by place"]
)
def test_a_legacy_report_is_refused_with_how_to_make_the_new_one(
    make_aws: MakeAws, tmp_path: Path, place: dict[str, str]
) -> None:
    aws = make_aws(now=NOON, varied_charges=False)
    create(aws, table="legacy", format="csv")
    aws.exports.deliver()
    with reading(aws, tmp_path, **place) as reader:
        text = reason(reader)
        assert "legacy Cost and Usage Report" in text
        assert "CUR 2.0" in text


def test_focus_with_a_gross_cost_type_is_refused(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON)
    create(aws, table="FOCUS_1_2_AWS")
    with reading(aws, tmp_path) as reader:
        text = reason(reader)
        assert "collectors.cost.cost_type: found unblended, expected net_unblended or net_amortized" in text


@pytest.mark.fault("an export that AWS can no longer deliver", "what there is is served, and the failure is")
def test_an_unhealthy_export_is_a_failure_although_its_months_are_read(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON)
    create(aws, status="UNHEALTHY", status_reason="INSUFFICIENT_PERMISSION")
    with reading(aws, tmp_path) as reader:
        assert "unhealthy: INSUFFICIENT_PERMISSION" in reason(reader)
        assert reader.month(MARCH) is not None


def test_an_export_is_read_by_its_place_alone(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON)
    create(aws)
    with reading(aws, tmp_path, bucket="cost-exports", prefix="/exports/", region="us-east-1") as reader:
        reader.read()
        assert aws.requests.count("bcm-data-exports") == 0
        assert reader.cost(MARCH, APRIL, "amortized") == truth(
            aws, MARCH, APRIL, "amortized", "day", "account", "service"
        )


def test_an_export_that_was_just_made_may_have_nothing_yet_and_one_of_two_days_may_not(
    make_aws: MakeAws, tmp_path: Path
) -> None:
    aws = make_aws(now=NOON)
    aws.exports.hold()
    create(aws)
    with reading(aws, tmp_path) as reader:
        reader.read()
        assert reader.month(MARCH) is None
        assert reader.wait() == timedelta(hours=1)
        aws.clock.set(NOON + timedelta(hours=49))
        assert "there is no manifest below s3://cost-exports/exports/cost/metadata/" in reason(reader)


def test_a_new_month_without_a_manifest_is_no_failure_for_two_days(make_aws: MakeAws, tmp_path: Path) -> None:
    start = datetime(2026, 3, 31, 23, tzinfo=UTC)
    aws = make_aws(now=start)
    create(aws)
    with reading(aws, tmp_path) as reader:
        reader.read()
        aws.exports.hold()
        aws.clock.set(start + timedelta(hours=2))
        reader.read()
        assert reader.month(APRIL) is None
        aws.clock.set(start + timedelta(hours=50))
        assert "2026-04: there is no manifest" in reason(reader)
        aws.exports.hold(False)
        reader.read()
        assert reader.month(APRIL) is not None


@pytest.mark.fault("a bucket that may not be read", "the failure is access_denied, and what was read stays")
def test_a_bucket_that_may_not_be_read_is_a_denial(make_aws: MakeAws, tmp_path: Path) -> None:
    aws = make_aws(now=NOON)
    create(aws, bucket_account=aws.accounts[1].id)
    with reading(aws, tmp_path) as reader:
        reader.read()
        good = reader.cost(MARCH, APRIL, "unblended")
        bucket = aws.exports.buckets.get("cost-exports")
        assert bucket is not None
        bucket.readers = frozenset()
        aws.clock.set(NOON + timedelta(hours=12))
        reason(reader, Kind.ACCESS_DENIED)
        assert reader.cost(MARCH, APRIL, "unblended") == good
        # A role of the bucket's account may.
        role = f"arn:aws:iam::{aws.accounts[1].id}:role/aws-spend-exporter-member"
        reader.settings = reader.settings.model_copy(update={"role_arn": role})
        reader.read()
        assert reader.cost(MARCH, APRIL, "unblended") != good
