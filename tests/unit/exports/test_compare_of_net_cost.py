"""`doctor --compare-month` of a month whose export lacks the configured cost type, which cannot be compared."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from handmade_months import Row, commit

from exporter.cli.compare_sources import compare_sources
from exporter.config.model import Config
from exporter.core.amounts import NET_COST_TYPES
from exporter.ledger.file import Ledger

pytestmark = pytest.mark.clockless

FEBRUARY = date(2026, 2, 1)


def test_a_cost_type_that_the_export_lacks_is_a_finding(tmp_path: Path) -> None:
    config = Config.model_validate({"data_dir": str(tmp_path)})
    ledger = Ledger(config.ledger_path)
    commit(ledger, [Row(day=FEBRUARY, usd=5)], datetime(2026, 3, 3, tzinfo=UTC), cost_types=NET_COST_TYPES)
    ledger.close()
    (found,) = compare_sources(config, FEBRUARY)
    assert found.result == (
        "unblended cost of 2026-02-01 is not available: FOCUS has net_unblended and net_amortized only"
    )
    assert (found.error, found.advice) == ("not compared", "set collectors.cost.cost_type to one of these")
