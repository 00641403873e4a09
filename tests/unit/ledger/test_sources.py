"""The ledger keeps where the cost of each day is from, and refuses a cost type that its source does not have."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from exporter.core.amounts import AMOUNTS, CostTypeNotAvailableError, Units
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

NOW = datetime(2026, 2, 28, 9, tzinfo=UTC)
DAY = date(2026, 2, 1)
NET = ("net_unblended", "net_amortized")


def days(count: int) -> dict[date, bool]:
    return {DAY + timedelta(days=number): True for number in range(count)}


def read(count: int, **more: object) -> CostRead:
    costs = {(day, "1", "s"): Units(1, 2, 3, 4, 5) for day in days(count)}
    return CostRead(NOW, days(count), costs, **more)  # type: ignore[arg-type]


def test_a_day_without_a_cost_type_has_it_for_no_question_until_it_is_read_anew(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.reads.commit(read(3))
    ledger.reads.commit(read(2, source="data_export", cost_types=NET))
    end = DAY + timedelta(days=3)
    assert [state.source for state in ledger.reads.day_states(DAY, end).values()] == [
        "data_export", "data_export", "cost_explorer",
    ]  # fmt: skip
    for cost_type in AMOUNTS:
        lacking = () if cost_type in NET else (DAY, DAY + timedelta(days=1))
        assert ledger.cost.lacking(cost_type, DAY, end) == lacking
        asks = (
            lambda cost_type=cost_type: ledger.cost.sums(DAY, end, cost_type),
            lambda cost_type=cost_type: ledger.cost.day_units(DAY, cost_type),
            lambda cost_type=cost_type: ledger.cost.day_parts(DAY, cost_type),
            lambda cost_type=cost_type: ledger.cost.of_service("s", DAY, end, cost_type),
        )
        for ask in asks:
            if not lacking:
                assert ask()
                continue
            with pytest.raises(CostTypeNotAvailableError, match=f"{cost_type} cost of 2026-02-01"):
                ask()
    with pytest.raises(ValueError, match="no_such is not a cost type"):
        ledger.cost.lacking("no_such", DAY, end)
    ledger.reads.commit_non_usage(read(2))
    assert ledger.cost.lacking("unblended", DAY, end), "its total is still the export's"
    ledger.reads.commit(read(2))
    assert ledger.cost.lacking("unblended", DAY, end) == ()
    assert {state.source for state in ledger.reads.day_states(DAY, end).values()} == {"cost_explorer"}
    ledger.close()


def test_totals_of_days_that_are_long_over_are_forgotten_with_a_refresh(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.reads.commit(read(2))
    ledger.reads.mark_scan("refresh", NOW)
    with ledger.connection() as db:
        assert db.execute("SELECT COUNT(*) FROM day_totals").fetchone() == (2,)
    ledger.reads.mark_scan("refresh", NOW + timedelta(days=40))
    with ledger.connection() as db:
        assert db.execute("SELECT COUNT(*) FROM day_totals").fetchone() == (0,)
    ledger.close()
