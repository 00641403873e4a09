"""Athena sums a month of an export as the machine does, to the unit, and what it costs is reserved, charged and bounded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from export_reader import DAY, Reader, reading
from organizations import MakeAws

from exporter.core.amounts import AMOUNTS
from exporter.cube.months import COMMITMENTS, HOURS, LINES, SPLIT
from simulated_aws import SimulatedAws
from simulated_aws.athena import WorkGroup

pytestmark = pytest.mark.stack

MARCH = date(2026, 3, 1)
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
CUTOFF = 10**9
ATHENA = {
    "engine": "athena",
    "athena": {"database": "billing", "table": "cost", "workgroup": "costs"},
}
EXPORTS = {
    "cur2": {"manual_discounts": True, "split_costs": True, "lines_per_file": 2000},
    "focus_1_0": {"table": "FOCUS_1_0_AWS", "hourly": False, "lines_per_file": 500},
    "focus_1_2": {"table": "FOCUS_1_2_AWS", "hourly": False, "lines_per_file": 500},
}


def with_athena(aws: SimulatedAws, **workgroup: Any) -> None:
    """A bucket for results, and a workgroup with a limit."""
    aws.exports.buckets.create("results", aws.payer_id)
    aws.athena.workgroups["costs"] = WorkGroup(
        "costs", **{"cutoff": CUTOFF, "output": "s3://results/athena/", **workgroup}
    )


@contextmanager
def asking(aws: SimulatedAws, folder: Path, **settings: Any) -> Iterator[Reader]:
    """A reader that has Athena sum the export."""
    with reading(aws, folder, **{**ATHENA, **settings}) as reader:
        yield reader


def rows(reader: Reader, name: str) -> list[tuple[Any, ...]]:
    """A file of the month, in its order, with its columns; none where it has no such file."""
    month = reader.month(MARCH)
    assert month is not None
    path = month.file(name)
    if path is None:
        return []
    with duckdb.connect() as db:
        found = db.execute("SELECT * FROM read_parquet(?)", [str(path)])
        columns = tuple(f"{each[0]} {each[1]}" for each in found.description or ())
        return [columns, *found.fetchall()]


@pytest.mark.parametrize("kind", EXPORTS)
def test_both_engines_make_the_same_month(make_aws: MakeAws, tmp_path: Path, kind: str) -> None:
    aws = make_aws(now=NOON, accounts=3, services=20, days=8)
    aws.exports.create(**EXPORTS[kind])
    with_athena(aws)
    cost = {} if kind == "cur2" else {"cost_settings": {"cost_type": "net_amortized"}}
    few = {"resources": 3}
    with (
        asking(aws, tmp_path / "athena", **cost, **few) as by_athena,
        reading(aws, tmp_path / "duckdb", **cost, **few) as by_machine,
    ):
        by_athena.read()
        by_machine.read()
        for name in (LINES, HOURS, SPLIT, COMMITMENTS):
            expected = rows(by_machine, name)
            assert rows(by_athena, name) == expected, name
            assert len(expected) > 1 or (name in (HOURS, SPLIT) and kind != "cur2"), name
        asked, folded = by_athena.month(MARCH), by_machine.month(MARCH)
        assert asked is not None
        assert folded is not None
        assert asked.details == folded.details
        assert asked.details["tags_seen"]
        end = aws.clock.now().date() + DAY
        for cost_type in AMOUNTS:
            assert by_athena.cost(MARCH, end, cost_type) == by_machine.cost(MARCH, end, cost_type)
        assert by_athena.ledger.accounts.names() == by_machine.ledger.accounts.names()
        assert not list((tmp_path / "athena" / "spill").glob("*"))
