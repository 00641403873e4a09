"""Cost from an AWS data export: the manifest of each month is looked at, and a month that has changed is read whole.

What a month becomes is committed in one transaction: the ledger's cost, the values by each dimension, and the lines. A
month that cannot be read stays as it was, and holds up no other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.aws.errors import AwsError, Kind
from exporter.collectors.commitments import CommitmentsSettings
from exporter.core.amounts import NET_COST_TYPES
from exporter.core.metric import Family, Sample
from exporter.core.moments import month_start, start_of_day, times_a_month
from exporter.core.places import Account, Scope, Target
from exporter.cost.commitment_families import BY_ID_FAMILIES, BY_ID_VIEW
from exporter.cost.settings import CostSettings
from exporter.cube.months import CubeMonths
from exporter.cube.settings import CostBreakdownsSettings
from exporter.declarations.calls import FreeCall, Scale
from exporter.declarations.collector import Collector
from exporter.declarations.context import Context
from exporter.declarations.view import View, ViewContext
from exporter.exports.athena.month import AthenaEngine, open_athena
from exporter.exports.athena.price import athena_calls
from exporter.exports.delivery.bucket import ExportBucket, MissingError, reader_account
from exporter.exports.delivery.discovery import (
    IAM_ACTIONS,
    SERVICE,
    FoundExport,
    find_export,
    legacy_refusal,
    open_bucket,
    refusal,
)
from exporter.exports.delivery.looks import Look, looks, remember_look
from exporter.exports.delivery.manifest import legacy_manifest_key
from exporter.exports.delivery.price import S3_READ_USD, decrypt_call
from exporter.exports.settings import FOCUS, CostExportSettings
from exporter.exports.sums import comparison, families
from exporter.exports.sums.commitments import render_commitments
from exporter.ledger.file import Ledger

if TYPE_CHECKING:
    from exporter.exports.importing import MonthImporter

log = logging.getLogger(__name__)

_DAILY = timedelta(days=1)
_STILL_MOVES = timedelta(days=14)  # after its end, AWS updates a month for two weeks
_FIRST_DELIVERY = timedelta(hours=48)  # AWS promises one within 24 hours
_OF_ALL_MONTHS = frozenset(
    {Kind.STOPPED, Kind.NO_CREDENTIALS, Kind.EXPIRED_CREDENTIALS, Kind.CLOCK_SKEW, Kind.LEDGER}
)
_ASSUMED_LINES_AN_ACCOUNT = 20_000  # a month; about 20 lines a dollar of $1,000
_ASSUMED_LINES_A_FILE = 500_000
_ASSUMED_BYTES_A_LINE = 125
_DELIVERIES_A_DAY = 3
"""At most, as AWS says."""


# Reading


def collect(ctx: Context[CostExportSettings], target: Target) -> Iterable[Sample]:
    """Look at the months that are due, the newest first, and read those that have changed; the views make the samples.

    A month is read whole: between two, return once the attempt's deadline has passed.
    """
    if comparison.take_left(ctx.ledger, ctx.clock()):
        ctx.committed()
    settings = ctx.settings
    payer = ctx.accounts.get(target.account_id)
    found = find_export(ctx.aws, payer, target.partition, settings)
    if reason := why_not(found, settings, ctx.sections.of(CostSettings)):
        raise AwsError(Kind.EXPORT, reason)
    bucket = open_bucket(ctx.aws, payer, found, settings)
    importer = _importer(ctx, found, bucket, _athena(ctx, payer, found))
    failures: dict[date, AwsError] = {}
    for month in _due_months(ctx):
        if ctx.deadline is not None and ctx.deadline.remaining() <= 0:
            break
        try:
            _look(ctx, found, importer, month)
        except AwsError as error:
            if error.kind in _OF_ALL_MONTHS:
                raise
            failures[month] = error
            _remember_failure(ctx, month, str(error))
    now = ctx.clock()
    if month_start(now.date()) not in failures and _has_months(ctx.ledger):
        ctx.ledger.reads.mark_scan("refresh", now)
        ctx.committed()
    if failures:
        reasons = "; ".join(f"{month:%Y-%m}: {error}" for month, error in failures.items())
        raise AwsError(next(iter(failures.values())).kind, reasons)
    if found.status is not None and found.status.code == "UNHEALTHY":
        raise AwsError(Kind.EXPORT, f"AWS calls the export {found.name} unhealthy: {found.status.reason}")
    return ()


def why_not(found: FoundExport, settings: CostExportSettings, cost: CostSettings) -> str | None:
    """Why an export cannot be the source of cost here; None if it can."""
    if find_spec("duckdb") is None:
        return 'DuckDB is not installed: pip install "aws-spend-exporter[export]"'
    if found.table in FOCUS and cost.cost_type not in NET_COST_TYPES:
        return (
            f"collectors.cost.cost_type: found {cost.cost_type}, expected {' or '.join(NET_COST_TYPES)}, because"
            " FOCUS has no gross cost"
        )
    return refusal(found, settings)


def _athena(
    ctx: Context[CostExportSettings], payer: Account | None, found: FoundExport
) -> AthenaEngine | None:
    """Athena, where it sums the lines; AwsError if its workgroup does not bound what a query costs."""
    settings = ctx.settings
    if settings.engine != "athena" or settings.athena is None:
        return None
    account = reader_account(settings.role_arn, settings.external_id) or payer
    return open_athena(
        ctx.aws,
        account,
        found.region,
        settings.athena,
        ctx.ledger,
        clock=ctx.clock,
        first_wait=settings.interval,
        longest_wait=settings.interval if ctx.is_early else max(settings.interval, _DAILY),
    )


def _importer(
    ctx: Context[CostExportSettings],
    found: FoundExport,
    bucket: ExportBucket,
    athena: AthenaEngine | None,
) -> MonthImporter:
    from exporter.exports.importing import ImportSettings, MonthImporter

    kept = ctx.sections.of(CostBreakdownsSettings)
    settings = ctx.settings
    return MonthImporter(
        ledger=ctx.ledger,
        bucket=bucket,
        export=found,
        settings=ImportSettings(
            tags=kept.tags,
            cost_categories=kept.cost_categories,
            values=kept.values,
            resources=settings.resources,
            memory_mb=settings.memory,
            spill=spill_folder(settings, ctx.ledger.path.parent),
        ),
        clock=ctx.clock,
        known_names=ctx.names,
        committed=ctx.committed,
        athena=athena,
    )


def spill_folder(settings: CostExportSettings, data_dir: Path) -> Path:
    """Where files lie while they are read."""
    return settings.spill or data_dir / "spill"


def _look(ctx: Context[CostExportSettings], found: FoundExport, importer: MonthImporter, month: date) -> None:
    try:
        importer.read(month)
    except MissingError as missing:
        if (reason := _why_missing(ctx, found, importer.bucket, month)) is not None:
            raise AwsError(Kind.EXPORT, reason) from missing
        remember_look(ctx.ledger, Look(month, ctx.clock()))
    except AwsError as error:
        # Without s3:ListBucket S3 denies what is not there: of months before the export, that is no failure.
        is_before = error.kind is Kind.ACCESS_DENIED and month < min(
            CubeMonths(ctx.ledger).all(), default=month
        )
        if not is_before:
            raise
        remember_look(ctx.ledger, Look(month, ctx.clock()))


def _why_missing(
    ctx: Context[CostExportSettings], found: FoundExport, bucket: ExportBucket, month: date
) -> str | None:
    """Why a missing manifest of a month is a failure; None if the month does not have to have one yet."""
    now = ctx.clock()
    held = CubeMonths(ctx.ledger).all().get(month)
    where = f"s3://{found.bucket}/{found.folder}"
    if held is not None and held.source == "data_export" and held.details["export"] == found.name:
        return f"the manifest is gone from {where}/metadata/"
    if month != month_start(now.date()):
        return None  # before the export was made, perhaps of another one, whose months are kept
    try:
        bucket.look(legacy_manifest_key(found.prefix, found.name, month))
    except (MissingError, AwsError):
        pass
    else:
        return legacy_refusal(where)
    created = found.status.created_at if found.status is not None else None
    begun = max(start_of_day(month), created or start_of_day(month))
    if now - begun < _FIRST_DELIVERY and (created is not None or _has_months(ctx.ledger)):
        return None
    return f"there is no manifest below {where}/metadata/: AWS delivers one within 24 hours, after all files"


def _has_months(ledger: Ledger) -> bool:
    return any(held.source == "data_export" for held in CubeMonths(ledger).all().values())


def _remember_failure(ctx: Context[CostExportSettings], month: date, reason: str) -> None:
    before = looks(ctx.ledger).get(month)
    remember_look(
        ctx.ledger,
        Look(
            month,
            ctx.clock(),
            before.version if before else None,
            before.delivered_at if before else None,
            reason,
        ),
    )


# When


def history(now: datetime, cost: CostSettings) -> list[date]:
    """The months that are looked at, the newest first."""
    return [month_start(now.date(), months_back) for months_back in range(cost.history_months + 1)]


def _due_at(look: Look | None, month: date, settings: CostExportSettings, now: datetime) -> datetime:
    if look is None:
        return now
    moves = now < start_of_day(month_start(month, -1)) + _STILL_MOVES
    return look.looked_at + (settings.interval if moves else _DAILY)


def _due_months(ctx: Context[CostExportSettings]) -> list[date]:
    """The months to look at, the newest first; those that could not be read are among them."""
    now, seen = ctx.clock(), looks(ctx.ledger)
    months = history(now, ctx.sections.of(CostSettings))
    held = CubeMonths(ctx.ledger).all()
    return [
        month
        for month in months
        if (look := seen.get(month)) is None
        or look.failure is not None
        or (look.version is not None and month not in held)
        or _due_at(look, month, ctx.settings, now) <= now
    ]


def due(ctx: Context[CostExportSettings], target: Target) -> datetime:
    """When the next look at any month is due."""
    now, seen = ctx.clock(), looks(ctx.ledger)
    months = history(now, ctx.sections.of(CostSettings))
    return min(_due_at(seen.get(month), month, ctx.settings, now) for month in months)


def free_calls(settings: CostExportSettings, scale: Scale) -> Iterator[FreeCall]:
    """Requests of a 30-day month: a look each interval, and what AWS delivers."""
    interval = times_a_month(settings.interval)
    if settings.bucket is None:
        yield FreeCall(
            service=SERVICE, operation="ListExports", per_month=interval, note="where the export lies"
        )
        yield FreeCall(service=SERVICE, operation="GetExport", per_month=interval, note="what is in it")
    lines = scale.accounts * _ASSUMED_LINES_AN_ACCOUNT
    files = ceil(lines / _ASSUMED_LINES_A_FILE)
    deliveries = 30 * _DELIVERIES_A_DAY
    gigabytes = deliveries * lines * _ASSUMED_BYTES_A_LINE / 1e9
    looked = interval + 30 * CostSettings().history_months
    yield FreeCall(
        service="s3",
        operation="HeadObject",
        per_month=looked + deliveries * (files + 1),
        note="manifests, and each file of a delivery",
        usd_each=S3_READ_USD,
    )
    if settings.engine == "athena" and settings.athena is not None:
        yield from athena_calls(settings.athena, interval, deliveries, lines * _ASSUMED_BYTES_A_LINE, files)
        return
    read = Decimal(deliveries * (files + 1))
    yield FreeCall(
        service="s3",
        operation="GetObject",
        per_month=read,
        note=f"files, about {gigabytes:.0f} GB a month: $0.02/GB where the bucket is in another region",
        usd_each=S3_READ_USD,
    )
    yield decrypt_call(read)


# View

_MONTH = ("month",)
MONTH_SUCCESS = Family(
    "aws_spend_exporter_export_month_success",
    "1 if a month of the data export is served as it was delivered last, 0 if it could not be read.",
    _MONTH,
    is_summable=False,
)
MONTH_READ = Family(
    "aws_spend_exporter_export_month_read_timestamp_seconds",
    "When a month of the data export was read and committed last.",
    _MONTH,
    is_summable=False,
)
MONTH_DELIVERED = Family(
    "aws_spend_exporter_export_month_delivered_timestamp_seconds",
    "When AWS wrote the manifest of the month that is served: cost is as of then.",
    _MONTH,
    is_summable=False,
)
MONTH_LINES = Family("aws_spend_exporter_export_month_lines", "Lines of a month of the data export.", _MONTH)
UNKNOWN_LINES = Family(
    "aws_spend_exporter_export_month_unknown_lines",
    "Lines of charge types that are not known and count as unblended cost; the log names them.",
    _MONTH,
)
CUBE_BYTES = Family(
    "aws_spend_exporter_cube_bytes", "Size of the files that hold the lines of months of a data export."
)


def render(view: ViewContext[CostExportSettings]) -> Iterator[Sample]:
    """What was found of each month."""
    seen = looks(view.ledger)
    months = CubeMonths(view.ledger)
    held = {month: found for month, found in months.all().items() if found.source == "data_export"}
    for month in sorted(held.keys() | {each.month for each in seen.values() if each.failure is not None}):
        label = f"{month:%Y-%m}"
        failure = seen[month].failure if month in seen else None
        yield MONTH_SUCCESS(int(month in held and failure is None), month=label)
        if month not in held:
            continue
        details = held[month].details
        yield MONTH_READ(datetime.fromisoformat(details["read_at"]).timestamp(), month=label)
        yield MONTH_DELIVERED(held[month].read_at.timestamp(), month=label)
        yield MONTH_LINES(details["lines"], month=label)
        unknown = sum(lines for lines, _ in details["unknown_charge_types"].values())
        yield UNKNOWN_LINES(unknown, month=label)
    yield CUBE_BYTES(months.size_bytes())


def _looked_at(view: ViewContext[CostExportSettings]) -> datetime | None:
    return max((look.looked_at for look in looks(view.ledger).values()), default=None)


def _render_commitments(view: ViewContext[CostExportSettings]) -> Iterator[Sample]:
    chosen = view.sections.of(CommitmentsSettings)
    return render_commitments(view, chosen.days, chosen.series_limit)


def _commitments_read_at(view: ViewContext[CostExportSettings]) -> datetime | None:
    """None where Cost Explorer is asked for each of them: its view is the other of this name."""
    chosen = view.sections.of(CommitmentsSettings)
    return None if chosen.enabled and chosen.each else _looked_at(view)


COLLECTOR = Collector(
    name="cost_export",
    help="Cost from an AWS data export, instead of Cost Explorer.",
    scope=Scope.PAYER,
    settings=CostExportSettings,
    families=(),
    iam_actions=IAM_ACTIONS,
    collect=collect,
    views=(
        View(
            name="cost_export",
            families=(MONTH_SUCCESS, MONTH_READ, MONTH_DELIVERED, MONTH_LINES, UNKNOWN_LINES, CUBE_BYTES),
            render=render,
            read_at=_looked_at,
        ),
        View(name="export_lines", families=families.FAMILIES, render=families.render, read_at=_looked_at),
        View(
            name="source_comparison",
            families=comparison.FAMILIES,
            render=comparison.render,
            read_at=_looked_at,
        ),
        View(
            name=BY_ID_VIEW,
            families=BY_ID_FAMILIES,
            render=_render_commitments,
            read_at=_commitments_read_at,
        ),
    ),
    free_calls=free_calls,
    due=due,
)
