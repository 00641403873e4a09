"""S3 and the APIs of exports, over HTTP by boto3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from simulated_calls import Client, error_code

from simulated_aws import OrganizationSpec, SimulatedAws
from simulated_aws.exports.tables import CUR_2, FOCUS_1_2

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
BUCKET = "cost-exports"
DATA = "exports/cost/data/BILLING_PERIOD=2026-03/cost-00001.snappy.parquet"
MANIFEST = "exports/cost/metadata/BILLING_PERIOD=2026-03/cost-Manifest.json"


@pytest.fixture
def aws() -> Iterator[SimulatedAws]:
    """A small organisation with a daily export."""
    with SimulatedAws(OrganizationSpec(seed=5, accounts=3, services=3, now=NOW, days=40)) as aws:
        aws.exports.create(hourly=False)
        yield aws


# -- S3 --------------------------------------------------------------------------------------------


def test_nothing_is_written_before_it_is_asked_for(aws: SimulatedAws, client: Client) -> None:
    assert aws.exports.buckets.list(BUCKET) == []
    found = client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]
    assert [each["Key"] for each in found] == [DATA, MANIFEST]


def test_an_object_is_read_whole_and_in_ranges(aws: SimulatedAws, client: Client) -> None:
    s3 = client("s3")
    head = s3.head_object(Bucket=BUCKET, Key=DATA)
    answer = s3.get_object(Bucket=BUCKET, Key=DATA, IfMatch=head["ETag"])
    body = answer["Body"].read()
    assert body[:4] == body[-4:] == b"PAR1"
    assert (len(body), answer["ETag"], answer["LastModified"]) == (head["ContentLength"], head["ETag"], NOW)
    for asked, expected in (("bytes=4-9", body[4:10]), ("bytes=10-", body[10:]), ("bytes=-4", b"PAR1")):
        part = s3.get_object(Bucket=BUCKET, Key=DATA, Range=asked)
        assert part["Body"].read() == expected
        assert part["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert error_code(s3.get_object, Bucket=BUCKET, Key=DATA, Range=f"bytes={len(body)}-") == "InvalidRange"


def test_an_object_that_changed_does_not_match(aws: SimulatedAws, client: Client) -> None:
    s3 = client("s3")
    old = s3.head_object(Bucket=BUCKET, Key=DATA)["ETag"]
    aws.clock.advance(timedelta(hours=1))
    aws.exports.deliver(force=True)
    assert s3.head_object(Bucket=BUCKET, Key=DATA)["ETag"] != old
    with pytest.raises(ClientError) as raised:
        s3.get_object(Bucket=BUCKET, Key=DATA, IfMatch=old)
    assert raised.value.response["Error"]["Code"] == "PreconditionFailed"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412


def test_listings_have_pages_and_folders(aws: SimulatedAws, client: Client) -> None:
    s3 = client("s3")
    aws.exports.buckets.page_size = 2
    for number in range(5):
        s3.put_object(Bucket=BUCKET, Key=f"results/{number % 2}/{number} &.csv", Body=b"a,b\n")
    pages = [*s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="results/")]
    assert [len(page["Contents"]) for page in pages] == [2, 2, 1]
    assert [each["Key"] for page in pages for each in page["Contents"]] == [
        "results/0/0 &.csv",
        "results/0/2 &.csv",
        "results/0/4 &.csv",
        "results/1/1 &.csv",
        "results/1/3 &.csv",
    ]
    folders = s3.list_objects_v2(Bucket=BUCKET, Prefix="results/", Delimiter="/")["CommonPrefixes"]
    assert folders == [{"Prefix": "results/0/"}, {"Prefix": "results/1/"}]
    assert s3.get_object(Bucket=BUCKET, Key="results/1/3 &.csv")["Body"].read() == b"a,b\n"
    s3.delete_object(Bucket=BUCKET, Key="results/1/3 &.csv")
    assert error_code(s3.get_object, Bucket=BUCKET, Key="results/1/3 &.csv") == "NoSuchKey"


def test_other_buckets_are_those_of_the_inventory(aws: SimulatedAws, client: Client) -> None:
    s3 = client("s3")
    s3.create_bucket(Bucket="of-another-account")
    s3.put_object(Bucket="of-another-account", Key="a", Body=b"moto")
    assert s3.get_object(Bucket="of-another-account", Key="a")["Body"].read() == b"moto"
    assert error_code(s3.get_object, Bucket="nowhere", Key="a") == "NoSuchBucket"


def test_a_bucket_tells_its_region(aws: SimulatedAws, client: Client) -> None:
    s3 = client("s3")
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] is None
    aws.exports.buckets.create("european", aws.payer_id, "eu-west-1")
    assert s3.get_bucket_location(Bucket="european")["LocationConstraint"] == "eu-west-1"
    assert s3.head_bucket(Bucket="european")["BucketRegion"] == "eu-west-1"


def test_a_bucket_belongs_to_an_account(
    aws: SimulatedAws, client: Client, assume: Callable[..., dict[str, Any]]
) -> None:
    """Other accounts read it as its policy says."""
    holder = aws.accounts[1]
    aws.exports.create("theirs", bucket="theirs", bucket_account=holder.name, hourly=False)
    bucket = aws.exports.buckets.get("theirs")
    assert bucket is not None
    assert "Contents" in client("s3").list_objects_v2(Bucket="theirs")
    bucket.readers = set()
    assert error_code(client("s3").list_objects_v2, Bucket="theirs") == "AccessDenied"
    theirs = client("s3", assume(holder.id))
    assert "Contents" in theirs.list_objects_v2(Bucket="theirs")
    bucket.readers = {aws.payer_id}
    assert "Contents" in client("s3").list_objects_v2(Bucket="theirs")
    with pytest.raises(ValueError, match="belongs to"):
        aws.exports.create("mine", bucket="theirs")


def test_faults_hit_buckets_as_any_service(aws: SimulatedAws, client: Client) -> None:
    aws.faults.add("access_denied", service="s3", operation="GetObject", resource="cost-00001")
    assert error_code(client("s3").get_object, Bucket=BUCKET, Key=DATA) == "AccessDenied"
    assert client("s3").get_object(Bucket=BUCKET, Key=MANIFEST)["Body"].read()
    aws.faults.clear()
    aws.faults.add("throttle", service="s3", count=1)
    assert error_code(client("s3").get_object, Bucket=BUCKET, Key=DATA) == "SlowDown"


# -- bcm-data-exports and cur ----------------------------------------------------------------------


def test_exports_are_listed_in_pages(aws: SimulatedAws, client: Client) -> None:
    api = client("bcm-data-exports")
    for number in range(4):
        aws.exports.create(f"more-{number}", hourly=False)
    names: list[str] = []
    token: dict[str, Any] = {}
    while True:
        page = api.list_exports(MaxResults=2, **token)
        names += [each["ExportName"] for each in page["Exports"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert names == ["cost", "more-0", "more-1", "more-2", "more-3"]


def test_an_export_is_described_as_it_was_created(aws: SimulatedAws, client: Client) -> None:
    api = client("bcm-data-exports")
    arn = next(each["ExportArn"] for each in api.list_exports()["Exports"])
    found = api.get_export(ExportArn=arn)
    statement = found["Export"]["DataQuery"].pop("QueryStatement")
    assert statement.startswith("SELECT bill_bill_type, bill_billing_entity, ")
    assert statement.endswith(" FROM COST_AND_USAGE_REPORT")
    assert found["Export"] == {
        "ExportArn": arn,
        "Name": "cost",
        "DataQuery": {
            "TableConfigurations": {
                CUR_2: {
                    "TIME_GRANULARITY": "DAILY",
                    "INCLUDE_RESOURCES": "TRUE",
                    "INCLUDE_SPLIT_COST_ALLOCATION_DATA": "FALSE",
                    "INCLUDE_MANUAL_DISCOUNT_COMPATIBILITY": "FALSE",
                }
            }
        },
        "DestinationConfigurations": {
            "S3Destination": {
                "S3Bucket": BUCKET,
                "S3Prefix": "exports",
                "S3Region": "us-east-1",
                "S3OutputConfigurations": {
                    "OutputType": "CUSTOM",
                    "Format": "PARQUET",
                    "Compression": "PARQUET",
                    "Overwrite": "OVERWRITE_REPORT",
                },
            }
        },
        "RefreshCadence": {"Frequency": "SYNCHRONOUS"},
    }
    assert found["ExportStatus"]["StatusCode"] == "HEALTHY"
    assert found["ExportStatus"]["LastRefreshedAt"] == NOW
    aws.exports.change("cost", status="UNHEALTHY", status_reason="INSUFFICIENT_PERMISSION")
    status = api.get_export(ExportArn=arn)["ExportStatus"]
    assert (status["StatusCode"], status["StatusReason"]) == ("UNHEALTHY", "INSUFFICIENT_PERMISSION")


def test_focus_exports_have_their_own_configuration(aws: SimulatedAws, client: Client) -> None:
    arn = aws.exports.create("focus", table=FOCUS_1_2, format="csv", overwrite=False, hourly=False).arn
    found = client("bcm-data-exports").get_export(ExportArn=arn)["Export"]
    assert found["DataQuery"]["TableConfigurations"] == {FOCUS_1_2: {"TIME_GRANULARITY": "DAILY"}}
    output = found["DestinationConfigurations"]["S3Destination"]["S3OutputConfigurations"]
    assert output == {
        "OutputType": "CUSTOM",
        "Format": "TEXT_OR_CSV",
        "Compression": "GZIP",
        "Overwrite": "CREATE_NEW_REPORT",
    }


def test_executions_are_the_refreshes(aws: SimulatedAws, client: Client) -> None:
    api = client("bcm-data-exports")
    arn = api.list_exports()["Exports"][0]["ExportArn"]
    aws.clock.advance(timedelta(days=1))
    (last, first) = api.list_executions(ExportArn=arn)["Executions"]
    assert first["ExecutionStatus"]["CreatedAt"] == NOW < last["ExecutionStatus"]["CreatedAt"]
    found = api.get_execution(ExportArn=arn, ExecutionId=last["ExecutionId"])
    assert found["ExecutionStatus"]["StatusCode"] == "DELIVERY_SUCCESS"
    assert found["Export"]["Name"] == "cost"
    assert error_code(api.get_execution, ExportArn=arn, ExecutionId="none") == "ResourceNotFoundException"


def test_an_export_is_its_accounts_and_of_one_region(
    aws: SimulatedAws, client: Client, assume: Callable[..., dict[str, Any]]
) -> None:
    arn = aws.exports.find("cost").arn
    member = client("bcm-data-exports", assume(aws.accounts[1].id))
    assert member.list_exports()["Exports"] == []
    assert error_code(member.get_export, ExportArn=arn) == "ResourceNotFoundException"
    elsewhere = client("bcm-data-exports", region_name="eu-west-1")
    assert error_code(elsewhere.list_exports) == "ValidationException"
    assert error_code(client("bcm-data-exports").list_tables) == "UnknownOperationException"


def test_legacy_reports_are_of_another_api(aws: SimulatedAws, client: Client) -> None:
    aws.exports.create("old", table="legacy", format="csv", hourly=False)
    assert [each["ExportName"] for each in client("bcm-data-exports").list_exports()["Exports"]] == ["cost"]
    (found,) = client("cur").describe_report_definitions()["ReportDefinitions"]
    assert (found["ReportName"], found["S3Prefix"], found["TimeUnit"]) == ("old", "exports", "DAILY")
    listed = client("s3").list_objects_v2(Bucket=BUCKET, Prefix="exports/old/")["Contents"]
    keys = [each["Key"] for each in listed]
    assert "exports/old/20260301-20260401/old-Manifest.json" in keys
    assert any(key.endswith("old-00001.csv.gz") for key in keys)


def test_athena_reads_what_lies_in_the_folder(aws: SimulatedAws) -> None:
    """Orphans included: no manifest is asked."""
    ((key, path, partition),) = aws.exports.files(aws.exports.find("cost"))
    assert key == DATA
    assert path.read_bytes()[:4] == b"PAR1"
    assert partition == {"billing_period": "2026-03"}


def test_a_definition_that_cannot_be(aws: SimulatedAws) -> None:
    for wrong in (
        {"table": "CARBON"},
        {"format": "xml"},
        {"lines_per_file": 0},
        {"table": FOCUS_1_2, "split_costs": True},
        {"table": "legacy"},
    ):
        with pytest.raises(ValueError, match=r".+"):
            aws.exports.create("wrong", **wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        aws.exports.create("wrong", colour="red")
    with pytest.raises(ValueError, match="already"):
        aws.exports.create("cost")
    with pytest.raises(KeyError, match="wrong"):
        aws.exports.change("wrong", hourly=False)
    with pytest.raises(KeyError, match="colour"):
        aws.exports.change("cost", colour="red")
    assert aws.exports.find("cost").first_month == date(2026, 3, 1)
