"""What a month of queries is expected to cost, for pricing a configuration before it runs."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from exporter.aws.meter import ATHENA_QUERY
from exporter.declarations.calls import FreeCall
from exporter.exports.athena.books import query_usd
from exporter.exports.settings import AthenaSettings

S3_REQUEST_USD = Decimal("0.0000004")
_QUERIES = 7
"""Of a month that is read: its columns, what is there (2), and its sums (4)."""
_ASSUMED_SCANS = 3
"""How often all of a month's bytes are scanned: each query reads some columns."""
_ASSUMED_POLLS = 5  # of a query
_ASSUMED_RESULT_FILES = 30  # of Parquet, a query


def athena_calls(
    settings: AthenaSettings, looks: Decimal, months_read: int, month_bytes: int
) -> Iterator[FreeCall]:
    """Requests of a 30-day month with so many looks, in which `months_read` deliveries of `month_bytes` each are summed."""
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
        usd_each=S3_REQUEST_USD,
    )
