"""Which Cost Explorer queries are paid for, and when."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from exporter.collectors.cost import CostSettings
from exporter.core.amounts import Amounts
from exporter.core.moments import days_between
from exporter.cost.refresh_plan import CostPart, CostQuery, next_query, refreshed_at, restatable_from
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
ONE = Amounts(unblended=Decimal(1))


@dataclass
class Exporter:
    """Answers each query with one dollar a day, as the collector would commit it."""

    ledger: Ledger
    settings: CostSettings
    accounts: int = 1
    services: int = 1

    def answer(self, query: CostQuery, now: datetime) -> None:
        days = list(days_between(query.start, query.end))
        keys = [(f"{a:012}", f"s{s}") for a in range(self.accounts) for s in range(self.services)]
        match query.part:
            case CostPart.COSTS | CostPart.OTHER:
                costs = {(day, *key): ONE for day in days for key in keys}
                read = CostRead(
                    now, dict.fromkeys(days, False), costs if query.part is CostPart.COSTS else {}
                )
                commit = (
                    self.ledger.reads.commit
                    if query.part is CostPart.COSTS
                    else self.ledger.reads.commit_non_usage
                )
                commit(read)
            case CostPart.SCAN_ACCOUNTS:
                total = Amounts(unblended=Decimal(self.services))
                accounts = {account for account, _ in keys}
                self.ledger.reads.commit_scan(
                    "account", now, days, {(d, a): total for d in days for a in accounts}
                )
            case CostPart.SCAN_SERVICES:
                total = Amounts(unblended=Decimal(self.accounts))
                services = {service for _, service in keys}
                self.ledger.reads.commit_scan(
                    "service", now, days, {(d, s): total for d in days for s in services}
                )
        if query.ends_refresh:
            self.ledger.reads.mark_scan("refresh", now)

    def run(self, now: datetime) -> list[CostQuery]:
        asked = []
        while (query := next_query(self.ledger, self.settings, now)) is not None:
            asked.append(query)
            self.answer(query, now)
            assert len(asked) < 100
        return asked


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def spans(queries: list[CostQuery]) -> list[tuple[str, str, str, str]]:
    return [
        (query.part, query.start.isoformat(), (query.end - timedelta(days=1)).isoformat(), query.budget)
        for query in queries
    ]


def test_the_first_fill_is_newest_first_month_by_month_and_reads_nothing_twice(ledger: Ledger) -> None:
    asked = Exporter(ledger, CostSettings(history_months=3)).run(NOW)

    assert spans(asked) == [
        ("costs", "2026-05-01", "2026-05-20", "first_fill"),
        ("costs", "2026-04-01", "2026-04-30", "first_fill"),
        ("other", "2026-04-01", "2026-05-20", "first_fill"),
        ("costs", "2026-03-01", "2026-03-31", "first_fill"),
        ("costs", "2026-02-01", "2026-02-28", "first_fill"),
        ("other", "2026-02-01", "2026-03-31", "first_fill"),
    ]


def test_a_restart_within_the_interval_asks_nothing(ledger: Ledger) -> None:
    exporter = Exporter(ledger, CostSettings())
    exporter.run(NOW)
    assert exporter.run(NOW + timedelta(hours=5, minutes=59)) == []


def test_a_killed_fill_goes_on_where_it_was(ledger: Ledger) -> None:
    exporter = Exporter(ledger, CostSettings(history_months=3))
    for _ in range(4):
        query = next_query(ledger, exporter.settings, NOW)
        assert query is not None
        exporter.answer(query, NOW)

    assert spans(exporter.run(NOW)) == [
        ("costs", "2026-02-01", "2026-02-28", "first_fill"),
        ("other", "2026-02-01", "2026-03-31", "first_fill"),
    ]


def test_a_small_organization_is_refreshed_by_one_whole_read(ledger: Ledger) -> None:
    exporter = Exporter(ledger, CostSettings(history_months=1))
    exporter.run(NOW)

    assert spans(exporter.run(NOW + timedelta(hours=6))) == [("costs", "2026-04-01", "2026-05-20", "cost")]


def test_a_large_organization_is_scanned_and_only_moved_days_are_read(ledger: Ledger) -> None:
    exporter = Exporter(ledger, CostSettings(history_months=1, refresh="scan"), accounts=4, services=3)
    exporter.run(NOW)
    later = NOW + timedelta(days=1)
    # The new day has cost that the ledger lacks: it is the one that moved.
    assert spans(exporter.run(later)) == [
        ("scan_services", "2026-04-01", "2026-05-21", "cost"),
        ("costs", "2026-05-21", "2026-05-21", "cost"),
    ]
    # The next three refreshes read what always moves, the fourth scans by account.
    for hours in (4, 7, 10):
        now = later + timedelta(hours=hours)
        ledger.reads.mark_scan("refresh", now - exporter.settings.interval)
        assert spans(exporter.run(now)) == [("costs", "2026-05-20", "2026-05-21", "cost")]
    assert spans(exporter.run(later + timedelta(hours=22))) == [
        ("scan_accounts", "2026-04-28", "2026-05-22", "cost"),
        ("costs", "2026-05-22", "2026-05-22", "cost"),
        # The 21st is complete, so what is not usage is due; today comes along.
        ("other", "2026-05-21", "2026-05-22", "cost"),
    ]


def test_the_two_scans_take_turns(ledger: Ledger) -> None:
    """By service and by account, for ever: what moves within an account shows in the one only."""
    exporter = Exporter(ledger, CostSettings(history_months=1, refresh="scan"), accounts=4, services=3)
    exporter.run(NOW)
    scans = [
        query.part
        for number in range(1, 17)
        for query in exporter.run(NOW + number * exporter.settings.interval)
        if query.part in (CostPart.SCAN_ACCOUNTS, CostPart.SCAN_SERVICES)
    ]
    assert scans == 2 * [CostPart.SCAN_SERVICES, CostPart.SCAN_ACCOUNTS]


@pytest.mark.parametrize(("age", "reads"), [(3, 2), (9, 1)])
def test_a_day_that_always_moves_is_read_again_daily_while_young_and_every_third_day_later(
    age: int, reads: int, ledger: Ledger
) -> None:
    exporter = Exporter(ledger, CostSettings(history_months=1, refresh="scan"), accounts=4, services=3)
    exporter.run(NOW)
    again = []
    for hours in range(6, 73, 6):
        now = NOW + timedelta(hours=hours)
        day = NOW.date() - timedelta(days=age - 3)
        ledger.reads.commit_scan("account", NOW - timedelta(days=1), [day], {})
        if (now.date() - day).days in (age - 1, age):
            again += [q for q in exporter.run(now) if q.part is CostPart.COSTS and q.start <= day < q.end]
    assert len(again) == reads


def test_once_the_last_bill_is_final_both_months_are_read_again(ledger: Ledger) -> None:
    exporter = Exporter(ledger, CostSettings(history_months=1, refresh="scan"), accounts=4, services=3)
    exporter.run(datetime(2026, 5, 10, 12, tzinfo=UTC))

    asked = exporter.run(datetime(2026, 5, 11, 12, tzinfo=UTC))
    assert ("costs", "2026-04-01", "2026-05-11", "cost") in spans(asked)

    asked = exporter.run(datetime(2026, 5, 12, 12, tzinfo=UTC))
    assert ("costs", "2026-04-01", "2026-05-12", "cost") not in spans(asked)


def test_days_missed_while_it_was_down_are_read_first(ledger: Ledger) -> None:
    exporter = Exporter(ledger, CostSettings(history_months=1))
    exporter.run(NOW)
    asked = exporter.run(NOW + timedelta(days=3))
    assert spans(asked)[0] == ("costs", "2026-05-21", "2026-05-23", "first_fill")


@pytest.mark.parametrize(
    ("today", "first"),
    [
        (date(2026, 5, 1), date(2026, 4, 1)),
        (date(2026, 5, 10), date(2026, 4, 1)),
        (date(2026, 5, 11), date(2026, 4, 28)),
        (date(2026, 3, 11), date(2026, 2, 26)),
        (date(2026, 1, 5), date(2025, 12, 1)),
    ],
)
def test_the_restatable_window(today: date, first: date) -> None:
    assert restatable_from(today) == first


def test_on_the_first_just_after_midnight_nothing_is_asked_before_the_refresh_is_due(ledger: Ledger) -> None:
    exporter = Exporter(ledger, CostSettings(history_months=1))
    exporter.run(datetime(2026, 4, 30, 23, 50, tzinfo=UTC))
    assert exporter.run(datetime(2026, 5, 1, 0, 5, tzinfo=UTC)) == []


def test_staleness_counts_from_the_read_and_not_from_the_start(ledger: Ledger) -> None:
    exporter = Exporter(ledger, CostSettings(history_months=1))
    assert refreshed_at(ledger, NOW) is None
    exporter.run(NOW)
    assert refreshed_at(ledger, NOW + timedelta(hours=20)) == NOW


def test_a_day_that_was_only_read_before_its_end_is_read_again_although_nothing_moved(ledger: Ledger) -> None:
    exporter = Exporter(ledger, CostSettings(history_months=1, refresh="scan"))
    exporter.run(NOW)
    day, later = NOW.date(), NOW + timedelta(days=2)  # not asked on the day after

    asked = exporter.run(later)

    costs = [query for query in asked if query.part is CostPart.COSTS]
    assert any(query.start <= day < query.end for query in costs), spans(asked)
    assert ledger.reads.day_states(day, day + timedelta(days=1))[day].whole_at == later
    assert exporter.run(later + timedelta(hours=1)) == []
