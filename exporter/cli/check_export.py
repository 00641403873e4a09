"""`check --aws` of the source of cost: whether the data export is there, whole, delivered, and what its lines can answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.accounts.discovery import Directory
from exporter.aws.advice import advice
from exporter.aws.clients import Aws
from exporter.aws.errors import AwsError, Kind
from exporter.cli.finding import CheckFinding
from exporter.collectors.cost import COLLECTOR as COST
from exporter.collectors.cost_export import COLLECTOR as COST_EXPORT
from exporter.collectors.cost_export import history, why_not
from exporter.config.model import Config
from exporter.core.amounts import AMOUNTS, NET_COST_TYPES
from exporter.core.moments import utc_now
from exporter.exports.athena.books import query_usd
from exporter.exports.athena.workgroup import find_workgroup
from exporter.exports.delivery.bucket import ExportBucket, MissingError, reader_account
from exporter.exports.delivery.discovery import FoundExport, find_export, legacy_refusal, open_bucket
from exporter.exports.delivery.manifest import (
    MOST_BYTES,
    Manifest,
    legacy_manifest_key,
    manifest_of,
    read_manifest,
)
from exporter.exports.settings import FOCUS

_SUBJECT = "data export"
_TITLES = {"cur2": "CUR 2.0", "focus_1_0": "FOCUS 1.0", "focus_1_2": "FOCUS 1.2"}


def check_export(aws: Aws, directory: Directory, config: Config) -> Iterator[CheckFinding]:
    """Try what reading the export needs; nothing of it is paid but a few requests to S3."""
    check = _Check(aws, directory, config)
    try:
        yield from check.findings()
    except AwsError as error:
        yield check.failed(error)


@dataclass(frozen=True, slots=True)
class _Check:
    aws: Aws
    directory: Directory
    config: Config

    def found(self, result: str, advice: str = "") -> CheckFinding:
        payer = self.directory.payer_id
        name = self.directory.names.get(payer, payer)
        return CheckFinding(_SUBJECT, payer, name, "", result, advice=advice)

    def failed(self, error: AwsError) -> CheckFinding:
        payer = self.directory.payer_id
        name = self.directory.names.get(payer, payer)
        return CheckFinding(_SUBJECT, payer, name, "", str(error), error.kind, advice(error))

    def findings(self) -> Iterator[CheckFinding]:
        settings, cost = self.config.settings(COST_EXPORT), self.config.settings(COST)
        payer = self.directory.accounts.get(self.directory.payer_id)
        export = find_export(self.aws, payer, self.directory.partition, settings)
        yield self.found(
            f"{export.name} is {_TITLES[export.table]} in s3://{export.bucket}/{export.folder} in {export.region}"
        )
        if (reason := why_not(export, settings, cost)) is not None:
            yield self.failed(AwsError(Kind.EXPORT, reason))
        elif export.problems:
            yield self.found(f"accepted although {'; '.join(export.problems)}")
        yield from self._status(export)
        yield self._cost_types(export)
        yield from self._athena(export)
        yield from self._months(export, open_bucket(self.aws, payer, export, settings))

    def _status(self, export: FoundExport) -> Iterator[CheckFinding]:
        status = export.status
        if status is None:
            return
        if status.code == "UNHEALTHY":
            yield self.failed(AwsError(Kind.EXPORT, f"AWS calls it unhealthy: {status.reason}"))
        else:
            at = status.refreshed_at
            when = f"refreshed at {at:%Y-%m-%d %H:%M} UTC" if at else "not refreshed yet"
            hours = "each hour" if export.is_hourly else "each day"
            yield self.found(f"healthy, {when}, with lines of {hours}")

    def _cost_types(self, export: FoundExport) -> CheckFinding:
        cost_types = NET_COST_TYPES if export.table in FOCUS else AMOUNTS
        missing = [name for name in AMOUNTS if name not in cost_types]
        text = f"has {', '.join(cost_types)} cost"
        return self.found(f"{text}; not available: {', '.join(missing)}" if missing else text)

    def _athena(self, export: FoundExport) -> Iterator[CheckFinding]:
        """The workgroup that bounds what a query costs; a failure of it hides nothing else."""
        settings = self.config.settings(COST_EXPORT)
        if settings.engine != "athena" or settings.athena is None:
            return
        payer = self.directory.accounts.get(self.directory.payer_id)
        account = reader_account(settings.role_arn, settings.external_id) or payer
        try:
            group = find_workgroup(
                self.aws, account, settings.athena.region or export.region, settings.athena
            )
        except AwsError as error:
            yield self.failed(error)
            return
        most = query_usd(group.cutoff, settings.athena.usd_per_terabyte)
        text = (
            f"Athena's workgroup {group.name} lets a query scan {group.cutoff:,} bytes, ${most:.2f}; results go to"
            f" {group.location}"
        )
        ceiling = self.config.ceilings.athena
        limits = [limit for limit in (ceiling.day, ceiling.month) if limit is not None]
        if limits and most > min(limits):
            reason = f"{text}: no query would be sent, because ceilings.athena is ${min(limits)}"
            yield self.failed(AwsError(Kind.CEILING_REACHED, reason))
        else:
            yield self.found(text)

    def _months(self, export: FoundExport, bucket: ExportBucket) -> Iterator[CheckFinding]:
        months = history(utc_now(), self.config.settings(COST))
        delivered = {}
        for month in months:
            try:
                delivered[month] = manifest_of(bucket, export, month)
            except MissingError:
                continue
        if not delivered:
            legacy = legacy_manifest_key(export.prefix, export.name, months[0])
            try:
                bucket.look(legacy)
            except MissingError:
                raise AwsError(
                    Kind.EXPORT,
                    f"there is no manifest below s3://{bucket.name}/{export.folder}/metadata/: AWS delivers one within"
                    " 24 hours, after all files",
                ) from None
            raise AwsError(Kind.EXPORT, legacy_refusal(f"s3://{bucket.name}/{export.folder}"))
        newest, oldest = max(delivered), min(delivered)
        stored = delivered[newest]
        manifest = read_manifest(bucket.read(stored, MOST_BYTES), bucket.name, export.folder, newest)
        yield self.found(
            f"{len(delivered)} months from {oldest:%Y-%m}; {newest:%Y-%m} was delivered at"
            f" {stored.modified:%Y-%m-%d %H:%M} UTC in {_files(bucket, manifest)}",
            "" if newest == months[0] else "wait for the first delivery of the month",
        )


def _files(bucket: ExportBucket, manifest: Manifest) -> str:
    """What a month's files are; AwsError or MissingError if one of them may not be read or is not there."""
    try:
        first = bucket.look(manifest.files[0])
    except MissingError as error:
        raise AwsError(Kind.EXPORT, f"the manifest names a file that is not there: {error}") from error
    count = len(manifest.files)
    columns = f" with {len(manifest.columns)} columns" if manifest.columns else ""
    return f"{count} file{'' if count == 1 else 's'}{columns}, the first of {first.size:,} bytes"
