"""Where an export lies and what is in it, as AWS Data Exports describes it, or as the configuration does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from exporter.aws.clients import Aws
from exporter.aws.errors import AwsError, Kind, reading
from exporter.aws.partitions import billing_region
from exporter.core.places import Account
from exporter.exports.delivery.bucket import ExportBucket, reader_account
from exporter.exports.fold_settings import Table
from exporter.exports.settings import CostExportSettings

SERVICE = "bcm-data-exports"
IAM_ACTIONS = ("bcm-data-exports:GetExport", "bcm-data-exports:ListExports")

_TABLES: Mapping[str, Table] = {
    "COST_AND_USAGE_REPORT": "cur2",
    "FOCUS_1_0_AWS": "focus_1_0",
    "FOCUS_1_2_AWS": "focus_1_2",
}
HOW_TO_MAKE_ONE = (
    "make a CUR 2.0 export in Parquet, e.g. by deploy/data-export.yaml, and set `export` to its name"
)

_FOCUS_COLUMNS = (
    "billedcost",
    "billingcurrency",
    "chargecategory",
    "chargeperiodstart",
    "effectivecost",
    "servicename",
    "subaccountid",
)
_NEEDED: Mapping[Table, tuple[str, ...]] = {
    "cur2": (
        "bill_billing_entity",
        "line_item_currency_code",
        "line_item_line_item_type",
        "line_item_operation",
        "line_item_product_code",
        "line_item_unblended_cost",
        "line_item_usage_account_id",
        "line_item_usage_start_date",
        "line_item_usage_type",
        "pricing_public_on_demand_cost",
        "product_region_code",
        "reservation_effective_cost",
        "reservation_reservation_a_r_n",
        "reservation_unused_amortized_upfront_fee_for_billing_period",
        "reservation_unused_recurring_fee",
        "savings_plan_savings_plan_a_r_n",
        "savings_plan_savings_plan_effective_cost",
        "savings_plan_total_commitment_to_date",
        "savings_plan_used_commitment",
    ),
    "focus_1_0": _FOCUS_COLUMNS,
    "focus_1_2": _FOCUS_COLUMNS,
}
_QUERY = re.compile(
    r"\s*select\s+(?P<columns>.+?)\s+from\s+(?P<table>\w+)\s*(?P<rest>.*?)\s*;?\s*", re.I | re.S
)
_ALIAS = re.compile(r"(?P<what>.+?)\s+as\s+\"?(?P<name>\w+)\"?", re.I | re.S)


@dataclass(frozen=True, slots=True)
class ExportStatus:
    """What AWS says of an export's health."""

    code: str
    reason: str
    created_at: datetime | None
    refreshed_at: datetime | None


@dataclass(frozen=True, slots=True)
class FoundExport:
    """An export: where its months lie, and what their lines are."""

    name: str
    bucket: str
    prefix: str
    region: str
    owner: str | None
    table: Table
    is_hourly: bool | None
    """None if it is not known."""
    is_overwritten: bool | None = None
    """Whether a delivery replaces the files of the last one; else each has a new folder. None if it is not known."""
    problems: tuple[str, ...] = ()
    """Why its lines are not the whole bill, or cannot be read as what they are."""
    status: ExportStatus | None = None
    """None where AWS Data Exports was not asked."""

    @property
    def folder(self) -> str:
        """The folder that holds `data` and `metadata`."""
        return f"{self.prefix}/{self.name}".lstrip("/")


def find_export(aws: Aws, payer: Account | None, partition: str, settings: CostExportSettings) -> FoundExport:
    """The configured export; AwsError(EXPORT) if there is none of that name, or it is of a table that is not read."""
    if settings.bucket is not None:
        assert settings.export is not None  # required where an export is read
        return FoundExport(
            settings.export,
            settings.bucket,
            settings.prefix,
            settings.region or aws.region,
            settings.bucket_owner,
            settings.table,
            None,
        )
    region = billing_region(SERVICE, partition)
    names = []
    for listed in _exports(aws, payer, region):
        if listed["ExportName"] == settings.export:
            answer = aws.call(payer, SERVICE, "GetExport", region, {"ExportArn": listed["ExportArn"]})
            return _read_export(answer, settings)
        names.append(str(listed["ExportName"]))
    assert settings.export is not None  # required where an export is read
    if _is_legacy(aws, payer, region, settings.export):
        raise AwsError(Kind.EXPORT, legacy_refusal(settings.export))
    known = ", ".join(sorted(names)) or "none"
    raise AwsError(
        Kind.EXPORT, f"there is no data export named {settings.export}, found {known}; {HOW_TO_MAKE_ONE}"
    )


def legacy_refusal(what: str) -> str:
    """Why a legacy report is not read."""
    return f"{what} is a legacy Cost and Usage Report, which is not read: {HOW_TO_MAKE_ONE}"


def _is_legacy(aws: Aws, payer: Account | None, region: str, name: str) -> bool:
    """Whether a legacy report has this name; False where that may not be asked, which no policy of ours demands."""
    try:
        with reading("the list of legacy reports"):
            return any(
                each["ReportName"] == name
                for page in aws.paginate(payer, "cur", "DescribeReportDefinitions", region)
                for each in page.get("ReportDefinitions", ())
            )
    except AwsError:
        return False


def _exports(aws: Aws, payer: Account | None, region: str) -> Iterator[Mapping[str, Any]]:
    for page in aws.paginate(payer, SERVICE, "ListExports", region):
        with reading("the list of data exports"):
            yield from page["Exports"]


def _read_export(answer: Mapping[str, Any], settings: CostExportSettings) -> FoundExport:
    with reading("a data export"):
        export = answer["Export"]
        place = export["DestinationConfigurations"]["S3Destination"]
        output = place["S3OutputConfigurations"]
        statement = str(export["DataQuery"]["QueryStatement"])
        tables = export["DataQuery"].get("TableConfigurations") or {}
        parsed = _QUERY.fullmatch(statement)
        name = parsed["table"].upper() if parsed else statement[:100]
        table = _TABLES.get(name)
        if table is None:
            raise AwsError(
                Kind.EXPORT,
                f"the export {export['Name']} is of the table {name}, expected one of {', '.join(_TABLES)};"
                f" {HOW_TO_MAKE_ONE}",
            )
        configured = {key.upper(): str(value).upper() for key, value in (tables.get(name) or {}).items()}
        granularity = configured.get("TIME_GRANULARITY", "HOURLY")
        problems = list(query_problems(statement, table))
        if granularity == "MONTHLY":
            problems.append("TIME_GRANULARITY is MONTHLY, expected HOURLY or DAILY")
        if output.get("Compression") == "ZIP":
            problems.append("its files are zipped, expected Parquet or GZIP")
        status = answer.get("ExportStatus") or {}
        return FoundExport(
            name=str(export["Name"]),
            bucket=str(place["S3Bucket"]),
            prefix=str(place["S3Prefix"]).strip("/"),
            region=str(place["S3Region"]),
            owner=settings.bucket_owner or place.get("S3BucketOwner") or None,
            table=table,
            is_hourly=granularity == "HOURLY",
            is_overwritten=output.get("Overwrite") != "CREATE_NEW_REPORT",
            problems=tuple(problems),
            status=ExportStatus(
                str(status.get("StatusCode") or ""),
                str(status.get("StatusReason") or ""),
                status.get("CreatedAt"),
                status.get("LastRefreshedAt"),
            ),
        )


def query_problems(statement: str, table: Table) -> Iterator[str]:
    """What of an export's query makes its lines another bill than AWS's: filters, new names, columns left out."""
    parsed = _QUERY.fullmatch(statement)
    if parsed is None:
        yield "its query is not of the form SELECT columns FROM table"
        return
    if parsed["rest"]:
        yield f"its query filters: {parsed['rest'][:200]}"
    needed = _NEEDED[table]
    columns = set()
    for item in _items(parsed["columns"]):
        alias = _ALIAS.fullmatch(item)
        what = _plain(alias["what"] if alias else item)
        name = alias["name"].lower() if alias else what
        if name != what and {name, what} & set(needed):
            yield f"its query renames {what} to {name}"
            columns.add(what)
        columns.add(name)
    if "*" not in columns and (missing := [name for name in needed if name not in columns]):
        yield f"its query leaves out {', '.join(missing)}"


def _plain(expression: str) -> str:
    return expression.strip().strip('"').rpartition(".")[2].strip('"').lower()


def _items(columns: str) -> list[str]:
    """The expressions of a SELECT: split at commas outside of brackets and quotes."""
    found, depth, quote, start = [], 0, "", 0
    for position, character in enumerate(columns):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif character == "," and depth == 0:
            found.append(columns[start:position].strip())
            start = position + 1
    found.append(columns[start:].strip())
    return [item for item in found if item]


def open_bucket(
    aws: Aws, payer: Account | None, found: FoundExport, settings: CostExportSettings
) -> ExportBucket:
    """The export's bucket, read as its role or as the payer."""
    reader = reader_account(settings.role_arn, settings.external_id) or payer
    return ExportBucket(aws, reader, found.bucket, found.region, found.owner)


def refusal(found: FoundExport, settings: CostExportSettings) -> str | None:
    """Why an export is not to be read as it is; None if it is."""
    if found.problems and not settings.accept_filtered:
        return f"{'; '.join(found.problems)}: cost would not match the bill; export the whole table, or set accept_filtered"
    return None
