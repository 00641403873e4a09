"""Whatever fills the ledger: the views, the plan and the history know `CostRead`s, not Cost Explorer."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.collectors import cost
from exporter.core.amounts import Amounts
from exporter.core.moments import days_between
from exporter.cost.refresh_plan import next_query, refreshed_at
from exporter.declarations.sections import Sections
from exporter.declarations.view import ViewContext
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


def test_a_ledger_that_another_source_fills_serves_every_family_and_asks_cost_explorer_nothing(
    tmp_path: Path,
) -> None:
    """E.g. a Cost and Usage Report: it commits what it read, and what of that is not usage."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    try:
        days = list(days_between(date(2026, 3, 1), NOW.date() + timedelta(days=1)))
        one = Amounts(*[Decimal(1)] * 5)
        costs = {(day, account, "AWS Lambda"): one for day in days for account in ("1", "2")}
        ledger.reads.commit(CostRead(NOW, dict.fromkeys(days, False), costs))
        ledger.reads.commit_non_usage(CostRead(NOW, dict.fromkeys(days, False), {}))
        settings = cost.CostSettings(history_months=2)

        samples = list(
            cost.render(
                ViewContext(ledger=ledger, now=NOW, settings=settings, names={}, sections=Sections(settings))
            )
        )

        sums: dict[str, float] = {}
        for sample in samples:
            sums[sample.family.name] = sums.get(sample.family.name, 0) + sample.value
        assert {name: value for name, value in sums.items() if name.endswith("_usd")} == {
            "aws_cost_today_usd": 2,
            "aws_cost_yesterday_usd": 2,
            "aws_cost_day_before_yesterday_usd": 2,
            "aws_cost_assessed_day_usd": 2,
            "aws_cost_month_to_date_usd": 40,
            "aws_cost_last_month_usd": 60,
        }
        assert refreshed_at(ledger, NOW) == NOW
        assert next_query(ledger, settings, NOW) is None
    finally:
        ledger.close()


@pytest.mark.parametrize(
    ("unread", "absent"),
    [
        (date(2026, 5, 7), {"aws_cost_month_to_date_usd"}),
        (date(2026, 4, 7), {"aws_cost_last_month_usd"}),
        (date(2026, 5, 19), {"aws_cost_month_to_date_usd", "aws_cost_yesterday_usd"}),
        (date(2026, 5, 18), {"aws_cost_month_to_date_usd", "aws_cost_day_before_yesterday_usd"}),
        (date(2026, 5, 20), {"aws_cost_today_usd"}),
    ],
)
def test_a_sum_that_lacks_a_day_is_absent(tmp_path: Path, unread: date, absent: set[str]) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    try:
        days = [day for day in days_between(date(2026, 4, 1), date(2026, 5, 21)) if day != unread]
        costs = {(day, "1", "AWS Lambda"): Amounts(Decimal(1)) for day in days}
        ledger.reads.commit(CostRead(NOW, dict.fromkeys(days, False), costs))
        settings = cost.CostSettings(history_months=1)
        names = {
            sample.family.name
            for sample in cost.render(
                ViewContext(ledger=ledger, now=NOW, settings=settings, names={}, sections=Sections(settings))
            )
        }
    finally:
        ledger.close()
    periods = ("today", "yesterday", "day_before_yesterday", "month_to_date", "last_month")
    sums = {f"aws_cost_{name}_usd" for name in periods}
    assert sums - names == absent
