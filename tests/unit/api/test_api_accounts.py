"""The accounts' cost is None where a period has not been read: unknown is never zero."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.api.endpoints.accounts import Query, answer
from exporter.api.source import Source
from exporter.config.model import Config
from exporter.core.amounts import Amounts
from exporter.core.moments import days_between
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

ACCOUNT = "111111111111"
PERIODS = ("yesterday_usd", "month_to_date_usd", "last_month_usd")


def known(tmp_path: Path, now: datetime, last_read: date) -> dict[str, float | None]:
    """The periods of an account that costs $1 a day, read from February until `last_read`."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    try:
        days = list(days_between(date(2026, 2, 1), last_read + timedelta(days=1)))
        costs = {(day, ACCOUNT, "AWS Lambda"): Amounts(Decimal(1)) for day in days}
        ledger.reads.commit(CostRead(now, dict.fromkeys(days, False), costs))
        (row,) = answer(Source(ledger=ledger, config=Config(), now=now, names={}), Query())["rows"]
    finally:
        ledger.close()
    return {name: float(row[name]) if row[name] is not None else None for name in PERIODS}


@pytest.mark.parametrize(
    ("now", "last_read", "expected"),
    [
        (datetime(2026, 4, 1, 0, 1, tzinfo=UTC), date(2026, 3, 31), (1, None, 31)),
        (datetime(2026, 4, 1, 6, tzinfo=UTC), date(2026, 4, 1), (1, 1, 31)),
        (datetime(2026, 4, 2, 0, 1, tzinfo=UTC), date(2026, 4, 1), (1, 1, 31)),
        (datetime(2026, 4, 2, 0, 1, tzinfo=UTC), date(2026, 3, 31), (None, None, 31)),
        (datetime(2026, 4, 2, 0, 1, tzinfo=UTC), date(2026, 3, 30), (None, None, None)),
    ],
)
def test_a_period_is_known_once_a_day_of_it_is_read_and_today_alone_may_lack(
    tmp_path: Path, now: datetime, last_read: date, expected: tuple[float | None, ...]
) -> None:
    assert known(tmp_path, now, last_read) == dict(zip(PERIODS, expected, strict=True))
