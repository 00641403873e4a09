"""The settings of an AWS data export: where it lies, who reads it, and what of it is kept."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from exporter.core.fields import (
    AccountId,
    CollectorSettings,
    Duration,
    ExternalId,
    Region,
    RoleArn,
    StrictModel,
    matching,
)
from exporter.exports.fold_settings import Table

FOCUS: tuple[Table, ...] = ("focus_1_0", "focus_1_2")

_BUCKET_NAME = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
_Bucket = Annotated[str, AfterValidator(matching(_BUCKET_NAME, "the name of an S3 bucket"))]
_ExportName = Annotated[
    str,
    AfterValidator(
        matching(r"[0-9A-Za-z!\-_.*'()]{1,128}", "the name of a data export, as the console shows it")
    ),
]
_GlueName = Annotated[
    str,
    AfterValidator(
        matching(r"[0-9a-z_]{1,255}", "a name in the Glue catalog: lower-case letters, digits and _")
    ),
]
_Workgroup = Annotated[str, AfterValidator(matching(r"[A-Za-z0-9._-]{1,128}", "the name of a workgroup"))]
_Location = Annotated[
    str,
    AfterValidator(
        matching(
            rf"s3://{_BUCKET_NAME}(/[A-Za-z0-9!\-_.*()/=]*)?", "an address in S3, such as s3://bucket/athena/"
        )
    ),
]


def _prefix(value: str) -> str:
    value = value.strip("/")
    if len(value.encode()) > 512 or "//" in value:
        raise ValueError("a prefix of S3 keys")
    return value


class AthenaSettings(StrictModel):
    """Where Amazon Athena sums the lines of the export; its account is that of the bucket's reader."""

    database: _GlueName = Field(description="Database of the table, as in Glue.")
    table: _GlueName = Field(description="Table over the export's files, partitioned by `billing_period`.")
    workgroup: _Workgroup = Field(
        default="aws-spend-exporter",
        description="Workgroup of the queries; it must have a limit for the bytes that a query scans.",
    )
    region: Region | None = Field(default=None, description="Region of Athena; if unset, that of the bucket.")
    results: _Location | None = Field(
        default=None,
        description="Where results are written; if unset, the workgroup's query result location.",
    )
    usd_per_terabyte: Decimal = Field(
        default=Decimal(5), ge=0, le=1000, description="US dollars for a terabyte scanned, in that region."
    )
    timeout: Duration = Field(
        default=timedelta(minutes=30), description="Longest that a query runs; then it is stopped."
    )


class CostExportSettings(CollectorSettings):
    """Cost from an AWS data export in S3; it runs where `collectors.cost.source` is data_export."""

    enabled: bool = Field(default=False, description="Follows `collectors.cost.source`.")
    interval: Duration = Field(
        default=timedelta(hours=1),
        description="How often the manifest of the current month is looked at; those of earlier months once a day.",
    )
    export: _ExportName | None = Field(
        default=None,
        description="Name of the export. Without `bucket`, AWS Data Exports is asked where it lies and what is in it.",
    )
    accept_filtered: bool = Field(
        default=False,
        description="Read an export although its query leaves lines out: cost is less than the bill then.",
    )
    bucket: _Bucket | None = Field(
        default=None, description="Bucket of the export, where AWS Data Exports is not to be asked."
    )
    prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        default="", description="The S3 path prefix of the export, with `bucket`."
    )
    table: Table = Field(default="cur2", description="The export's table, with `bucket`.")
    region: Region | None = Field(
        default=None, description="Region of the bucket, with `bucket`; if unset, that of `aws`."
    )
    bucket_owner: AccountId | None = Field(
        default=None, description="Account of the bucket: one of another account is not read."
    )
    role_arn: RoleArn | None = Field(
        default=None,
        description="Role that reads the bucket, where the payer's may not: of the bucket's account.",
    )
    external_id: ExternalId | None = Field(default=None, description="External id for `role_arn`.")
    engine: Literal["duckdb", "athena"] = Field(
        default="duckdb",
        description="What sums the lines: DuckDB on this machine, or Amazon Athena for exports that are too large for it.",
    )
    athena: AthenaSettings | None = Field(default=None, description="Amazon Athena, with `engine: athena`.")
    memory: int = Field(default=512, ge=128, le=1 << 20, description="Most memory of that process, in MiB.")
    spill: Path | None = Field(
        default=None,
        description="Folder for the file that is being read and for what does not fit into memory; if unset, `spill`"
        " below data_dir.",
    )
    resources: int = Field(
        default=500,
        ge=0,
        le=10_000,
        description="Most resources of an account and month; the rest is `other`.",
    )
    series_limit: int = Field(
        default=1_000,
        ge=0,
        le=5_000,
        description="Most resources, and most namespaces, that are served, the largest first; the rest is the `other` of"
        " its account.",
    )

    @model_validator(mode="after")
    def _where(self) -> Self:
        if self.enabled and self.export is None:
            raise ValueError("export: the name of the data export that cost is read from")
        if self.bucket is None and (self.prefix or self.region is not None):
            raise ValueError("bucket: set, because `prefix` and `region` are of a bucket")
        if self.external_id is not None and self.role_arn is None:
            raise ValueError("role_arn: set, because `external_id` is of a role")
        if self.engine == "athena" and self.athena is None:
            raise ValueError("athena: set, with `database` and `table`, because `engine` is athena")
        return self
