"""Hours are replaced as they are read, bounded, and kept for two weeks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.core.amounts import AMOUNTS
from exporter.cube.hours import WHOLE_ORGANIZATION, HourState, commit, read_hours, sums
from exporter.cube.values import AnyUnits, Source
from exporter.ledger.file import Ledger

HOUR = timedelta(hours=1)
NOW = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
FIRST = datetime(2026, 2, 28, 22, tzinfo=UTC)
USD = 10**10
ACCOUNT = "111111111111"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def units(usd: float) -> AnyUnits:
    a, b, c, d, e = (round(usd * USD) * (1 + number) for number in range(len(AMOUNTS)))
    return a, b, c, d, e


def read(
    ledger: Ledger,
    costs: Mapping[tuple[datetime, str, str], float],
    hours: set[datetime] | None = None,
    at: datetime = NOW,
    source: Source = "cost_explorer",
    most: int = 5_000,
) -> None:
    found = {key: units(usd) for key, usd in costs.items()}
    commit(ledger, source, at, hours or {hour for hour, _, _ in costs}, found, most_series=most)


def held(ledger: Ledger, cost_type: str = "unblended") -> dict[tuple[datetime, str, str], int | None]:
    return sums(ledger, NOW - timedelta(days=30), NOW + timedelta(days=30), cost_type)


def test_an_hour_is_replaced_and_what_vanishes_is_zero(ledger: Ledger) -> None:
    ec2, s3 = (FIRST, ACCOUNT, "EC2"), (FIRST, ACCOUNT, "S3")
    later = (FIRST + 3 * HOUR, ACCOUNT, "S3")  # of the next month
    read(ledger, {ec2: 2, s3: 1, later: 5})
    read(ledger, {ec2: 3}, at=NOW + HOUR, source="data_export")
    assert held(ledger) == {ec2: 3 * USD, s3: 0, later: 5 * USD}
    assert held(ledger, "net_amortized") == {ec2: 15 * USD, s3: 0, later: 25 * USD}
    assert read_hours(ledger, FIRST, FIRST + 9 * HOUR) == {
        FIRST: HourState(NOW + HOUR, "data_export", 0),
        FIRST + 3 * HOUR: HourState(NOW, "cost_explorer", 0),
    }


def test_an_hour_without_cost_was_read_nevertheless(ledger: Ledger) -> None:
    read(ledger, {}, {FIRST, FIRST + HOUR})
    assert [*read_hours(ledger, FIRST, NOW)] == [FIRST, FIRST + HOUR]
    assert held(ledger) == {}


def test_the_accounts_of_an_hour_take_the_place_of_the_whole_organization(ledger: Ledger) -> None:
    whole, own = (FIRST, WHOLE_ORGANIZATION, "EC2"), (FIRST, ACCOUNT, "EC2")
    read(ledger, {whole: 2})
    read(ledger, {own: 2}, at=NOW + HOUR)
    assert held(ledger) == {whole: 0, own: 2 * USD}


def test_what_a_source_does_not_have_is_not_zero(ledger: Ledger) -> None:
    key = (FIRST, ACCOUNT, "EC2")
    commit(ledger, "data_export", NOW, {FIRST}, {key: (None, None, None, 3 * USD, 4 * USD)})
    assert (held(ledger), held(ledger, "net_unblended")) == ({key: None}, {key: 3 * USD})


def test_hours_older_than_two_weeks_go_with_the_next_read(ledger: Ledger) -> None:
    read(ledger, {(FIRST, ACCOUNT, "EC2"): 2})
    at = FIRST + timedelta(days=14)
    read(ledger, {(at - HOUR, ACCOUNT, "EC2"): 1}, at=at)
    assert [hour for hour, _, _ in held(ledger)] == [FIRST, at - HOUR]
    at += timedelta(days=2)
    old, new = at - timedelta(days=20), at - HOUR
    read(ledger, {(old, ACCOUNT, "EC2"): 7, (new, ACCOUNT, "EC2"): 1}, at=at)
    kept = [FIRST + timedelta(days=14) - HOUR, new]
    assert [hour for hour, _, _ in held(ledger)] == kept
    assert [*read_hours(ledger, old, at)] == kept


def test_of_too_many_the_smallest_services_of_each_account_are_other(ledger: Ledger) -> None:
    costs = {
        (FIRST + number * HOUR, account, f"Service {service}"): 10.0 - service
        for number in range(2)
        for account in (ACCOUNT, "222222222222")
        for service in range(5)
    }
    read(ledger, costs, most=6)
    assert held(ledger) == {
        (FIRST + number * HOUR, account, service): usd * USD
        for number in range(2)
        for account in (ACCOUNT, "222222222222")
        for service, usd in (("Service 0", 10), ("Service 1", 9), ("other", 8 + 7 + 6))
    }
    read(ledger, costs, at=NOW + HOUR, most=10)
    assert {key: value for key, value in held(ledger).items() if value} == {
        key: usd * USD for key, usd in costs.items()
    }


def test_another_cost_type_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="cheap"):
        sums(ledger, FIRST, NOW, "cheap")
