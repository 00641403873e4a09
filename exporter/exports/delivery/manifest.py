"""The manifest of an export's month: the one list of its files, written by AWS after all of them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from exporter.aws.errors import AwsError, Kind
from exporter.exports.delivery.bucket import ExportBucket, MissingError, StoredObject
from exporter.exports.delivery.discovery import FoundExport

log = logging.getLogger(__name__)

MOST_BYTES = 4 << 20
"""Of a manifest: tens of thousands of files."""

_FILE_KEYS = ("dataFiles", "files", "reportKeys")
"""What the list of files is called; AWS's documentation names it in words only, other readers expect these."""
_KNOWN_KEYS = frozenset(
    {
        *_FILE_KEYS,
        *("account", "additionalOutputFiles", "assemblyId", "billingPeriod", "bucket", "charset", "columns"),
        *("compression", "contentType", "executionId", "exportArn", "exportName", "period", "reportId"),
        *("reportName", "tableName", "version"),
    }
)
_READ_ENDINGS = (".parquet", ".csv.gz", ".csv")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a month by key, in AWS's order, and the execution that wrote them, if it is named."""

    files: tuple[str, ...]
    execution_id: str
    columns: tuple[str, ...]
    """Names of the columns; empty if the manifest does not have them."""


def manifest_of(bucket: ExportBucket, export: FoundExport, month: date) -> StoredObject:
    """The manifest of a month's last delivery; MissingError if there is none.

    Where deliveries do not overwrite, AWS may keep them beside the deliveries' own files only.
    """
    folder = f"{export.folder}/metadata/BILLING_PERIOD={month:%Y-%m}/"
    name = f"{export.name}-Manifest.json"
    try:
        return bucket.look(f"{folder}{name}")
    except MissingError:
        if export.is_overwritten is not False:
            raise
    return bucket.newest(folder, f"/{name}")


def legacy_manifest_key(prefix: str, report: str, month: date) -> str:
    """Where the manifest of a month lies if the report is a legacy Cost and Usage Report."""
    following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    return f"{prefix}/{report}/{month:%Y%m%d}-{following:%Y%m%d}/{report}-Manifest.json".lstrip("/")


def read_manifest(body: bytes, bucket: str, folder: str, month: date) -> Manifest:
    """Read a manifest; AwsError(EXPORT) where it is none, names no file, or one outside of the export's folder.

    Keys that are unknown are logged: a later version of AWS's manifest may say something with them.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise _refused("is not JSON") from None
    if not isinstance(found, dict):
        raise _refused("is not a JSON object")
    if unknown := sorted(found.keys() - _KNOWN_KEYS):
        log.info("the manifest of an export has keys that are not known", extra={"keys": unknown})
    _require_month(found, month)
    listed = next((found[key] for key in _FILE_KEYS if key in found), None)
    if not isinstance(listed, list) or not listed:
        raise _refused("names no data files")
    files = tuple(_key(entry, bucket, folder) for entry in listed)
    if len(set(files)) != len(files):
        raise _refused("names a file twice")
    columns = found.get("columns")
    names = (
        [each.get("name") for each in columns if isinstance(each, dict)] if isinstance(columns, list) else []
    )
    return Manifest(
        files, str(found.get("executionId") or ""), tuple(name for name in names if isinstance(name, str))
    )


def _key(entry: object, bucket: str, folder: str) -> str:
    if isinstance(entry, dict):
        entry = next((entry[name] for name in ("key", "path", "filePath", "s3Key") if name in entry), None)
    if not isinstance(entry, str) or not entry:
        raise _refused("has an entry among its files that is no key")
    key = entry
    if (url := re.fullmatch(r"s3://([^/]+)/(.+)", entry)) is not None:
        if url[1] != bucket:
            raise _refused(f"names a file in another bucket: {url[1]}")
        key = url[2]
    key = key.lstrip("/")
    if not key.startswith(f"{folder}/") or ".." in key.split("/"):
        raise _refused(f"names a file outside of {folder}/: {key}")
    if not key.lower().endswith(_READ_ENDINGS):
        raise _refused(f"names {key}: set the export to Parquet, or to CSV with GZIP")
    return key


def _require_month(found: Mapping[str, Any], month: date) -> None:
    """The period, where it is given in a form that is known."""
    period = found.get("billingPeriod", found.get("period"))
    start = period.get("start") if isinstance(period, dict) else period
    digits = re.match(r"(\d{4})-?(\d{2})", start) if isinstance(start, str) else None
    if digits is not None and (int(digits[1]), int(digits[2])) != (month.year, month.month):
        raise _refused(f"is of the billing period {start}")


def _refused(why: str) -> AwsError:
    return AwsError(Kind.EXPORT, f"the manifest {why}")
