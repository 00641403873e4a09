"""What scans saw move within a day, and reads of these accounts or services alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.core.amounts import Units
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

DAY = date(2026, 3, 10)
NEXT = DAY + timedelta(days=1)
NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
HELD = {("1", "S3"): 5, ("1", "EC2"): 7, ("2", "S3"): 11, ("3", "Tax"): 13}


def costs(units: dict[tuple[str, str], int]) -> dict[tuple[date, str, str], Units]:
    return {(DAY, *key): Units._make([each] * 5) for key, each in units.items()}


def totals(units: dict[tuple[str, str], int], position: int) -> dict[tuple[date, str], Units]:
    sums: dict[str, int] = {}
    for key, each in units.items():
        sums[key[position]] = sums.get(key[position], 0) + each
    return {(DAY, subject): Units._make([each] * 5) for subject, each in sums.items()}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.reads.commit(CostRead(NOON, {DAY: False}, costs(HELD)))
    yield ledger
    ledger.close()


def scan(ledger: Ledger, units: dict[tuple[str, str], int], kind: str) -> None:
    ledger.reads.commit_scan(kind, NOON, [DAY], totals(units, 0 if kind == "account" else 1))


def read(ledger: Ledger, units: dict[tuple[str, str], int], kind: str, *names: str) -> None:
    position = 0 if kind == "account" else 1
    answer = {key: each for key, each in units.items() if key[position] in names}
    ledger.reads.commit_subjects(CostRead(LATER, {DAY: False}, costs(answer)), kind, names)


def held(ledger: Ledger) -> dict[tuple[str, str], int]:
    return {
        key: int(usd.scaleb(10))
        for key, usd in ledger.cost.sums(DAY, NEXT, "unblended").items()
        if usd != Decimal(0)
    }


def test_a_read_of_one_account_replaces_what_it_has_and_nothing_else(ledger: Ledger) -> None:
    moved = {**HELD, ("1", "S3"): 6, ("1", "Lambda"): 1}
    del moved["1", "EC2"]
    scan(ledger, moved, "account")
    assert ledger.reads.moved_subjects("account", DAY, NEXT) == {DAY: {"1"}}
    read(ledger, moved, "account", "1")
    assert held(ledger) == moved
    assert ledger.reads.moved_subjects("account", DAY, NEXT) == {}
    state = ledger.reads.day_states(DAY, NEXT)[DAY]
    assert (state.moved, state.other_moved, state.read_at) == (False, True, LATER)
    assert ledger.cost.first_seen()["1", "Lambda"] == DAY


def test_what_both_scans_saw_is_read_once(ledger: Ledger) -> None:
    moved = {**HELD, ("2", "S3"): 12}
    scan(ledger, moved, "service")
    scan(ledger, moved, "account")
    read(ledger, moved, "account", "2")
    assert ledger.reads.moved_subjects("service", DAY, NEXT) == {}
    assert not ledger.reads.day_states(DAY, NEXT)[DAY].moved


def test_a_day_stays_due_while_a_scan_saw_more_than_was_read(ledger: Ledger) -> None:
    """Cost of account 1 that moved between services shows by service alone."""
    moved = {**HELD, ("1", "S3"): 6, ("1", "EC2"): 6, ("2", "S3"): 12}
    scan(ledger, moved, "service")
    scan(ledger, moved, "account")
    read(ledger, moved, "account", "2")
    state = ledger.reads.day_states(DAY, NEXT)[DAY]
    assert state.moved
    assert state.read_at == NOON + timedelta(milliseconds=1)  # it has changed, and is read again
    assert ledger.reads.moved_subjects("service", DAY, NEXT) == {DAY: {"S3", "EC2"}}
    read(ledger, moved, "service", "S3", "EC2")
    assert held(ledger) == moved
    assert not ledger.reads.day_states(DAY, NEXT)[DAY].moved


def test_a_read_of_the_whole_day_settles_every_scan(ledger: Ledger) -> None:
    moved = {**HELD, ("3", "Tax"): 14}
    scan(ledger, moved, "account")
    ledger.reads.commit(CostRead(LATER, {DAY: False}, costs(moved)))
    assert ledger.reads.moved_subjects("account", DAY, NEXT) == {}
    assert not ledger.reads.day_states(DAY, NEXT)[DAY].moved


def test_what_moved_back_is_not_marked_any_more(ledger: Ledger) -> None:
    scan(ledger, {**HELD, ("3", "Tax"): 14}, "account")
    scan(ledger, HELD, "account")
    assert ledger.reads.moved_subjects("account", DAY, NEXT) == {}
