"""The workgroup that queries run in: what one may scan at most, and where its results are written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from exporter.aws.clients import Aws
from exporter.aws.errors import AwsError, Kind, reading
from exporter.core.places import Account
from exporter.exports.settings import AthenaSettings

_LOCATION = re.compile(r"s3://([^/]+)/?(.*)")


@dataclass(frozen=True, slots=True)
class WorkGroup:
    """A workgroup in which queries may run."""

    name: str
    cutoff: int
    """Bytes that a query may scan; AWS ends it there."""
    bucket: str
    prefix: str
    """Of results, with a slash at its end unless it is empty."""
    has_location: bool
    """Whether Athena manages the results of the workgroup."""

    @property
    def location(self) -> str:
        """Where results are written."""
        return f"s3://{self.bucket}/{self.prefix}"


def find_workgroup(aws: Aws, account: Account | None, region: str, settings: AthenaSettings) -> WorkGroup:
    """The configured workgroup; AwsError(EXPORT) where queries in it are not bounded, or have no place for results."""
    answer = aws.call(account, "athena", "GetWorkGroup", region, {"WorkGroup": settings.workgroup})
    with reading("a workgroup of Athena"):
        found = answer["WorkGroup"]
        configured = found.get("Configuration") or {}
        state = str(found.get("State") or "ENABLED")
        cutoff = configured.get("BytesScannedCutoffPerQuery")
        cutoff = int(cutoff) if cutoff is not None else None
        of_group = str((configured.get("ResultConfiguration") or {}).get("OutputLocation") or "")
        is_managed = bool((configured.get("ManagedQueryResultsConfiguration") or {}).get("Enabled"))
    name = f"the workgroup {settings.workgroup}"
    if state != "ENABLED":
        raise AwsError(Kind.EXPORT, f"{name} of Athena is {state.lower()}")
    if cutoff is None:
        raise AwsError(
            Kind.EXPORT,
            f"{name} of Athena has no limit for the bytes that a query scans: set BytesScannedCutoffPerQuery"
            " (Data usage controls in the console), because a query's price is not bounded without it",
        )
    if is_managed:
        raise AwsError(
            Kind.EXPORT, f"{name} of Athena manages query results: set a query result location in S3 instead"
        )
    location = _LOCATION.fullmatch(settings.results or of_group)
    if location is None:
        raise AwsError(
            Kind.EXPORT, f"{name} of Athena has no query result location: set one there, or `athena.results`"
        )
    prefix = location[2].rstrip("/")
    return WorkGroup(settings.workgroup, cutoff, location[1], f"{prefix}/" if prefix else "", bool(of_group))
