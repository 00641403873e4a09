"""What a month of queries is expected to cost, for pricing a configuration before it runs."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from exporter.aws.meter import ATHENA_QUERY
from exporter.declarations.calls import FreeCall
from exporter.exports.athena.books import query_usd
from exporter.exports.delivery.price import S3_READ_USD, S3_WRITE_USD, decrypt_call
from exporter.exports.settings import AthenaSettings

_QUERIES = 7
"""Of a month that is read: its columns, what is there (2), and its sums (4)."""
_ASSUMED_SCANS = 3
"""How often all of a month's bytes are scanned: each query reads some columns."""
_ASSUMED_POLLS = 5  # of a query
_ASSUMED_RESULT_FILES = 30  # of Parquet, a query
_ASSUMED_READS = 3
"""Requests by which Athena reads a file: its columns lie apart."""


def athena_calls(
    settings: AthenaSettings, looks: Decimal, months_read: int, month_bytes: int, month_files: int
) -> Iterator[FreeCall]:
    """Requests of a 30-day month with so many looks, in which `months_read` deliveries are summed.

    Each has `month_bytes` in `month_files`. What Athena asks of S3, and S3 of KMS, is billed to the account, too.
    """
    service, operation = ATHENA_QUERY
    queries = Decimal(months_read * _QUERIES)
    scanned = month_bytes * _ASSUMED_SCANS // _QUERIES
    yield FreeCall(
        service=service,
        operation=operation,
        per_month=queries,
        note=f"queries, of about {scanned / 1e9:.1f} GB scanned each",
        usd_each=query_usd(scanned, settings.usd_per_terabyte),
    )
    yield FreeCall(
        service=service,
        operation="GetQueryExecution",
        per_month=queries * _ASSUMED_POLLS,
        note="whether it has ended",
    )
    for name, per_month, note in (
        ("GetWorkGroup", looks, "the limit for the bytes that a query scans"),
        ("GetQueryResults", Decimal(months_read), "the table's columns"),
        ("StopQueryExecution", Decimal(0), "only where one takes too long"),
    ):
        yield FreeCall(service=service, operation=name, per_month=per_month, note=note)
    yield FreeCall(
        service="s3",
        operation="GetObject",
        per_month=Decimal(months_read) + queries * _ASSUMED_RESULT_FILES,
        note="manifests, and results of queries",
        usd_each=S3_READ_USD,
    )
    scans = queries * month_files * _ASSUMED_READS
    for operation, per_month, note, usd in (
        ("GetObject", scans, "the export's files, by Athena", S3_READ_USD),
        ("PutObject", queries * _ASSUMED_RESULT_FILES, "results of queries, by Athena", S3_WRITE_USD),
    ):
        yield FreeCall(
            service="s3", operation=operation, per_month=per_month, note=note, usd_each=usd, is_request=False
        )
    yield decrypt_call(scans)
