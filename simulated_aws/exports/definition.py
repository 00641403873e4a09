"""What an export is: its table and configuration, its place in a bucket, and how its files lie there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from simulated_aws.exports.tables import CUR_2, FOCUS_1_0, FOCUS_1_2, Column, columns_of

LEGACY = "legacy"
"""Not a table, but a legacy Cost and Usage Report."""

PARQUET, CSV = "parquet", "csv"


@dataclass(kw_only=True)
class Export:
    """A data export. Tests may set its faults at any time; they apply from the next delivery on.

    `table` is COST_AND_USAGE_REPORT, FOCUS_1_0_AWS, FOCUS_1_2_AWS or "legacy"; `overwrite` False creates a new
    folder at each delivery. `query` replaces the query statement, which selects all columns: it may filter and
    rename. `months` is how many months before the one of `created` were backfilled. `currency` is that of all lines.
    """

    name: str
    bucket: str
    prefix: str
    account_id: str
    created: datetime
    table: str = CUR_2
    format: str = PARQUET
    overwrite: bool = True
    hourly: bool = True
    resources: bool = True
    split_costs: bool = False
    manual_discounts: bool = False
    months: int = 0
    query: str = ""
    currency: str = "USD"
    lines_per_file: int = 400_000
    status: str = "HEALTHY"
    status_reason: str = ""

    hourly_from: date | None = None
    """The month from which on an hourly export has hours: it was daily before, and AWS did not write those months again."""
    columns_from: dict[str, date] = field(default_factory=dict)
    """Columns that the files of earlier months lack."""
    touches_closed_months: bool = False
    """Each delivery in the two weeks after a month's end writes that month again, at unchanged cost."""
    manifest_delay: timedelta = timedelta(0)
    """How much later than the data files a manifest arrives."""
    data_delay: timedelta = timedelta(0)
    """How much later than the manifest the data files arrive; AWS does not promise the order."""
    keeps_orphans: bool = True
    """Files of an overwritten delivery that the new one does not replace stay where they are."""
    truncated: int = 0
    """How many of the next deliveries of a month have only half of their last file."""
    deliver_after_gets: int = 0
    """A delivery comes after so many data files have been read; 0: never."""
    hides_latest_manifest: bool = False
    """With new folders, manifests lie in the folders of executions only."""

    def __post_init__(self) -> None:
        if self.table not in (CUR_2, FOCUS_1_0, FOCUS_1_2, LEGACY):
            raise ValueError(f"unknown table {self.table!r}")
        if self.format not in (PARQUET, CSV):
            raise ValueError(f"unknown format {self.format!r}; it is {PARQUET} or {CSV}")
        if self.table == LEGACY and (self.query or self.format == PARQUET):
            raise ValueError("a legacy report has no query, and is CSV in this simulation")
        if self.split_costs and self.table != CUR_2:
            raise ValueError(f"{self.table} has no split costs")
        if self.lines_per_file < 1:
            raise ValueError("lines_per_file must be at least 1")

    @property
    def arn(self) -> str:
        """The ARN of the export."""
        digest = hashlib.blake2b(f"{self.account_id}:{self.name}".encode(), digest_size=16).hexdigest()
        serial = f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"
        return f"arn:aws:bcm-data-exports:us-east-1:{self.account_id}:export/{self.name}-{serial}"

    @property
    def is_focus(self) -> bool:
        """Whether the lines are those of FOCUS."""
        return self.table in (FOCUS_1_0, FOCUS_1_2)

    @property
    def first_month(self) -> date:
        """The first month that is delivered."""
        index = self.created.year * 12 + self.created.month - 1 - self.months
        return date(index // 12, index % 12 + 1, 1)

    @property
    def suffix(self) -> str:
        """What the names of data files end with."""
        return ".snappy.parquet" if self.format == PARQUET else ".csv.gz"

    def is_hourly(self, month: date) -> bool:
        """Whether a month has a line for each hour."""
        return self.hourly and (self.hourly_from is None or month >= self.hourly_from)

    def columns(self, month: date | None = None) -> list[Column]:
        """The columns that the table has in a month (None: all) under the configuration."""
        table = CUR_2 if self.table == LEGACY else self.table
        return [
            column
            for column in columns_of(table, resources=self.resources, split_costs=self.split_costs)
            if month is None or self.columns_from.get(column.name, date.min) <= month
        ]

    def statement(self, month: date | None = None) -> str:
        """The query statement; of a month without the columns that it does not have yet."""
        if self.query:
            return self.query
        names = ", ".join(column.name for column in self.columns(month))
        return f"SELECT {names} FROM {self.table}"  # noqa: S608 - names of ours

    def configuration(self) -> Mapping[str, Mapping[str, str]]:
        """The table configurations as the API has them."""
        if self.table == FOCUS_1_0:
            return {}
        granularity = {"TIME_GRANULARITY": "HOURLY" if self.hourly else "DAILY"}
        if self.table == FOCUS_1_2:
            return {self.table: granularity}
        flags = {
            "INCLUDE_RESOURCES": self.resources,
            "INCLUDE_SPLIT_COST_ALLOCATION_DATA": self.split_costs,
            "INCLUDE_MANUAL_DISCOUNT_COMPATIBILITY": self.manual_discounts,
        }
        return {self.table: granularity | {name: str(value).upper() for name, value in flags.items()}}

    def described(self) -> dict[str, Any]:
        """The export as the API has it."""
        is_parquet = self.format == PARQUET
        return {
            "ExportArn": self.arn,
            "Name": self.name,
            "DataQuery": {
                "QueryStatement": self.statement(),
                "TableConfigurations": {name: dict(value) for name, value in self.configuration().items()},
            },
            "DestinationConfigurations": {
                "S3Destination": {
                    "S3Bucket": self.bucket,
                    "S3Prefix": self.prefix,
                    "S3Region": "us-east-1",
                    "S3OutputConfigurations": {
                        "OutputType": "CUSTOM",
                        "Format": "PARQUET" if is_parquet else "TEXT_OR_CSV",
                        "Compression": "PARQUET" if is_parquet else "GZIP",
                        "Overwrite": "OVERWRITE_REPORT" if self.overwrite else "CREATE_NEW_REPORT",
                    },
                }
            },
            "RefreshCadence": {"Frequency": "SYNCHRONOUS"},
        }

    # -- where its files lie ---------------------------------------------------------------------------

    def folder(self, kind: str, month: date) -> str:
        """The folder of a month's data or metadata, with a slash at its end."""
        root = f"{self.prefix.strip('/')}/{self.name}".lstrip("/")
        if self.table == LEGACY:
            following = (month.replace(day=28) + timedelta(days=4)).replace(day=1)
            return f"{root}/{month:%Y%m%d}-{following:%Y%m%d}/"
        return f"{root}/{kind}/BILLING_PERIOD={month:%Y-%m}/"

    def execution_id(self, at: datetime) -> str:
        """The id of the delivery of a moment."""
        digest = hashlib.blake2b(f"{self.arn}:{at.isoformat()}".encode(), digest_size=16).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"

    def execution_folder(self, at: datetime) -> str:
        """The folder of one delivery within the month's; empty where deliveries overwrite."""
        return "" if self.overwrite else f"{at:%Y-%m-%dT%H:%M:%S.000Z}-{self.execution_id(at)}/"
