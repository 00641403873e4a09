"""The settings of an AWS data export: where it lies, who reads it, and what of it is kept."""

from __future__ import annotations

import re
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
)
from exporter.exports.fold_settings import Table

FOCUS: tuple[Table, ...] = ("focus_1_0", "focus_1_2")

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_WORD = re.compile(r"[0-9a-z_]{1,255}")
_WORKGROUP = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LOCATION = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!\-_.*()/=]*)?")
_NAME = re.compile(r"[0-9A-Za-z!\-_.*'()]{1,128}")


def _bucket(value: str) -> str:
    if not _BUCKET.fullmatch(value):
        raise ValueError("the name of an S3 bucket")
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("the name of a data export, as the console shows it")
    return value


def _word(value: str) -> str:
    if not _WORD.fullmatch(value):
        raise ValueError("a name in the Glue catalog: lower-case letters, digits and _")
    return value


def _workgroup(value: str) -> str:
    if not _WORKGROUP.fullmatch(value):
        raise ValueError("the name of a workgroup")
    return value


def _location(value: str) -> str:
    if not _LOCATION.fullmatch(value):
        raise ValueError("an address in S3, such as s3://bucket/athena/")
    return value


def _prefix(value: str) -> str:
    value = value.strip("/")
    if len(value.encode()) > 512 or "//" in value:
        raise ValueError("a prefix of S3 keys")
    return value


class AthenaSettings(StrictModel):
    """Where Amazon Athena sums the lines of the export; its account is that of the bucket's reader."""

    database: Annotated[str, AfterValidator(_word)] = Field(description="Database of the table, as in Glue.")
    table: Annotated[str, AfterValidator(_word)] = Field(
        description="Table over the export's files, partitioned by `billing_period`."
    )
    workgroup: Annotated[str, AfterValidator(_workgroup)] = Field(
        default="aws-spend-exporter",
        description="Workgroup of the queries; it must have a limit for the bytes that a query scans.",
    )
    region: Region | None = Field(default=None, description="Region of Athena; if unset, that of the bucket.")
    results: Annotated[str, AfterValidator(_location)] | None = Field(
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
    export: Annotated[str, AfterValidator(_name)] | None = Field(
        default=None,
        description="Name of the export. Without `bucket`, AWS Data Exports is asked where it lies and what is in it.",
    )
    accept_filtered: bool = Field(
        default=False,
        description="Read an export although its query leaves lines out: cost is less than the bill then.",
    )
    bucket: Annotated[str, AfterValidator(_bucket)] | None = Field(
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
