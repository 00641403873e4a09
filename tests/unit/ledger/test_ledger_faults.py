"""A disk that is full loses what did not fit, and nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.core.amounts import Amounts
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
DAY = date(2026, 3, 16)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def read(keys: int, usd: str) -> CostRead:
    amounts = Amounts(unblended=Decimal(usd))
    return CostRead(NOW, {DAY: False}, {(DAY, "111122223333", f"service {n}"): amounts for n in range(keys)})


@pytest.mark.fault("the ledger's disk is full", "what was committed stays, more is taken when there is room")
def test_a_full_disk_keeps_what_was_committed_and_takes_more_when_there_is_room(ledger: Ledger) -> None:
    ledger.reads.commit(read(3, "1.5"))
    with ledger.connection() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        ledger.reads.commit(read(5000, "2"))
    assert ledger.cost.sums(DAY, date(2026, 3, 17), "unblended") == {
        ("111122223333", f"service {n}"): Decimal("1.5") for n in range(3)
    }
    with ledger.connection() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    ledger.reads.commit(read(5000, "2"))
    assert ledger.cost.row_count() == 5000


@pytest.mark.fault("a commit of the ledger fails", "it is taken back whole, the next one works")
def test_a_commit_that_fails_is_taken_back_and_the_next_one_works(ledger: Ledger) -> None:
    with ledger.connection() as db:
        db.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError), ledger.transaction() as db:  # noqa: PT012
        db.execute("PRAGMA defer_foreign_keys = ON")  # found out by COMMIT and not before
        db.execute("INSERT INTO cost (day, series, estimated, observed_at) VALUES (1, 999, 0, 0)")
    assert ledger.cost.row_count() == 0
    ledger.facts.remember("a", 1)
    assert ledger.facts.get("a") == 1
