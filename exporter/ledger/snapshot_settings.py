"""Settings of the ledger's snapshots in S3."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field, StringConstraints

from exporter.core.fields import Duration, Region, StrictModel, Timeout

Bucket = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
Prefix = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9!_.*'()-]+/)*$", max_length=900)]


class SnapshotSettings(StrictModel):
    """Copies of the ledger in S3, where the disk does not survive the task; off while `bucket` is unset."""

    bucket: Bucket | None = Field(default=None, description="Bucket, private and with versioning.")
    prefix: Prefix = Field(
        default="aws-spend-exporter/", description="Where in the bucket; one exporter each, ends in a slash."
    )
    region: Region | None = Field(default=None, description="Region of the bucket; aws.region if unset.")
    kms_key_id: str | None = Field(
        default=None, min_length=1, description="KMS key for encryption; the bucket's own rule if unset."
    )
    interval: Duration = Field(
        default=timedelta(minutes=1),
        description="Least time between two snapshots; there is one only when the ledger has changed.",
    )
    restore_timeout: Timeout = Field(
        default=timedelta(minutes=2),
        description="How long a start without a ledger waits for S3 before it begins with an empty one.",
    )
