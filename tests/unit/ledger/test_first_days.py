"""The first day with cost is kept by each commit: it is what reading every row would find."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.core.amounts import Units
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead
from exporter.ledger.schema import MIGRATIONS

pytestmark = pytest.mark.clockless

FIRST = date(2026, 3, 1)
NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
DAYS = st.integers(0, 7).map(lambda number: FIRST + timedelta(days=number))
KEYS = st.tuples(st.sampled_from("12"), st.sampled_from(("S3", "EC2", "Tax")))
UNITS = st.sampled_from((0, 0, 1, -1, 5))


@st.composite
def reads(draw: st.DrawFn) -> CostRead:
    """A read of some days, with what has cost on them; zeros and absent keys are as frequent as cost."""
    days = sorted(draw(st.sets(DAYS, min_size=1, max_size=4)))
    found = draw(st.dictionaries(st.tuples(st.sampled_from(days), KEYS), UNITS, max_size=12))
    costs = {(day, *key): Units(units, 3, 3, 3, 3) for (day, key), units in found.items()}
    return CostRead(NOON, dict.fromkeys(days, False), costs)


def looked_for(ledger: Ledger) -> dict[tuple[str, str], date]:
    with ledger.connection() as db:
        rows = db.execute(
            "SELECT account_id, service, MIN(day) FROM cost JOIN series ON series.id = cost.series"
            " WHERE total_unblended != 0 GROUP BY series"
        ).fetchall()
    return {(account, service): date.fromordinal(day) for account, service, day in rows}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), reads()), min_size=1, max_size=6))
def test_the_first_day_is_that_of_the_full_scan_after_each_commit(
    commits: list[tuple[bool, CostRead]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, closing(Ledger(Path(folder) / "ledger.sqlite")) as ledger:
        for of_non_usage, read in commits:
            (ledger.reads.commit_non_usage if of_non_usage else ledger.reads.commit)(read)
            assert ledger.cost.first_seen() == looked_for(ledger)


def test_a_ledger_of_an_older_version_learns_the_first_days_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    before = next(number for number, script in enumerate(MIGRATIONS) if "ADD COLUMN first_day" in script)
    with closing(sqlite3.connect(path)) as db:
        for script in MIGRATIONS[:before]:
            db.executescript(script)
        db.execute(f"PRAGMA user_version = {before}")
        db.execute("INSERT INTO series (id, account_id, service) VALUES (1, '1', 'S3'), (2, '1', 'Tax')")
        db.executemany(
            "INSERT INTO cost (day, series, total_unblended, estimated, observed_at) VALUES (?, ?, ?, 0, 0)",
            [
                (FIRST.toordinal() + number, series, units)
                for series, units in ((1, 4), (2, 0))
                for number in (0, 1)
            ],
        )
        db.commit()
    with closing(Ledger(path)) as ledger:
        assert ledger.cost.first_seen() == looked_for(ledger) == {("1", "S3"): FIRST}
