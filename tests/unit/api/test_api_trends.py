"""The direction of cost is that of whole weeks: yesterday, which is partial, is in neither of them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exporter.api.endpoints.trends import Query, answer
from exporter.api.source import Source
from exporter.config.model import Config
from exporter.core.amounts import Amounts
from exporter.core.moments import days_between
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

NOW = datetime(2026, 3, 20, 8, tzinfo=UTC)
TODAY = NOW.date()
DAY = timedelta(days=1)


def trends(tmp_path: Path, usd: dict[date, str], days: int = 30, read: int = 60) -> dict[str, Any]:
    """The answer where a day costs $100 unless said otherwise, and the last `read` days have been read."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    try:
        known = list(days_between(TODAY - read * DAY, TODAY + DAY))
        costs = {(day, "1", "AWS Lambda"): Amounts(Decimal(usd.get(day, "100"))) for day in known}
        ledger.reads.commit(CostRead(NOW, dict.fromkeys(known, False), costs))
        return answer(Source(ledger=ledger, config=Config(), now=NOW, names={}), Query(days=days))
    finally:
        ledger.close()


@pytest.mark.parametrize("days", [2, 30])
def test_flat_spend_with_a_partial_yesterday_is_flat(tmp_path: Path, days: int) -> None:
    found = trends(tmp_path, {TODAY - DAY: "60"}, days)
    assert (found["change_ratio"], found["direction"]) == (0, "flat")
    assert (len(found["days"]), found["days"][-1]["usd"]) == (days, "60.0000000000")
    # It is in no mean.
    assert (found["complete_through"], found["mean_usd"]) == ("2026-03-18", "100.00")
    assert [day["average_7d_usd"] for day in found["days"][-2:]] == ["100.00", None]


def test_the_week_to_the_day_before_yesterday_is_compared_with_the_one_before(tmp_path: Path) -> None:
    found = trends(tmp_path, {TODAY - number * DAY: "110" for number in range(2, 9)})
    assert (found["change_ratio"], found["direction"]) == (0.1, "rising")


@pytest.mark.parametrize(("read", "direction"), [(15, "flat"), (14, None)])
def test_each_day_of_both_weeks_has_to_be_read(tmp_path: Path, read: int, direction: str | None) -> None:
    assert trends(tmp_path, {}, read=read)["direction"] == direction
