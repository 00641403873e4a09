"""Reads an export of a simulated organization by its Athena, attempt by attempt, and says what was asked and charged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from export_reader import Reader, reading, truth
from organizations import MakeAws

from exporter.aws.settings import Ceiling, CeilingSettings
from simulated_aws import SimulatedAws
from simulated_aws.athena import WorkGroup

MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
CUTOFF = 10**9
RESERVED = Decimal("0.0050017075")  # a billion bytes, by the megabyte, at $5 a terabyte
LEAST = Decimal("0.0000524288")  # ten megabytes
QUERIES = ("columns", "commitments", "found", "hours", "lines", "look")


def organization_with_athena(make_aws: MakeAws) -> SimulatedAws:
    """An organization with an export of its month, a bucket for results, and a workgroup with a limit."""
    aws = make_aws(now=NOON, accounts=2, services=4, days=5)
    aws.exports.create(manual_discounts=True, lines_per_file=400, months=0)
    aws.exports.deliver()
    aws.exports.hold()
    aws.exports.buckets.create("results", aws.payer_id)
    aws.athena.workgroups["costs"] = WorkGroup("costs", cutoff=CUTOFF, output="s3://results/athena/")
    return aws


@contextmanager
def asking(
    aws: SimulatedAws, folder: Path, ceiling: Decimal | None = None, **athena: Any
) -> Iterator[Reader]:
    """A reader that has Athena sum the export, and may spend `ceiling` a day."""
    given = {"database": "billing", "table": "cost", "workgroup": "costs", **athena}
    with reading(aws, folder, engine="athena", athena=given) as reader:
        limits = CeilingSettings(athena=Ceiling(day=ceiling, month=None))
        reader.client.meter.ceilings = limits
        yield reader


def served(reader: Reader) -> dict[tuple[str, ...], Decimal]:
    return reader.cost(MARCH, APRIL, "unblended")


def held_by_aws(aws: SimulatedAws) -> dict[tuple[str, ...], Decimal]:
    return truth(aws, MARCH, APRIL, "unblended", "day", "account", "service")


def charged(reader: Reader) -> Decimal:
    """Dollars of Athena in the ledger."""
    return reader.ledger.charges.charged_since("athena", None)


def started(aws: SimulatedAws) -> int:
    """Queries that Athena has, however often each was asked for."""
    return len(aws.athena._executions)


def booked(reader: Reader) -> dict[str, tuple[str, str | None]]:
    """State and id of the queries that the ledger has."""
    with reader.ledger.connection() as db:
        rows = db.execute("SELECT name, state, query_id FROM athena_queries").fetchall()
    return {name: (state, query_id) for name, state, query_id in rows}
