"""What was seen first when is remembered for each unit, and forgotten with the resource."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.inventory.first_seen import first_seen
from exporter.ledger.file import Ledger

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
UNIT = ("111122223333", "eu-west-1", "inventory_ec2")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def test_the_first_time_stays_until_the_resource_is_gone(ledger: Ledger) -> None:
    assert first_seen(ledger, *UNIT, {"a": None}, NOW) == {"a": NOW}
    assert first_seen(ledger, *UNIT, {"a": None, "b": None}, NOW + HOUR) == {"a": NOW, "b": NOW + HOUR}
    # What AWS tells later of a known resource does not move it.
    assert first_seen(ledger, *UNIT, {"a": NOW - HOUR}, NOW + 2 * HOUR) == {"a": NOW}
    assert first_seen(ledger, *UNIT, {"a": None, "b": None}, NOW + 3 * HOUR) == {
        "a": NOW,
        "b": NOW + 3 * HOUR,
    }


def test_it_is_as_old_as_it_is_known_to_be_and_never_of_the_future(ledger: Ledger) -> None:
    known = {"old": NOW - 9 * HOUR, "ahead": NOW + HOUR}
    assert first_seen(ledger, *UNIT, known, NOW) == {"old": NOW - 9 * HOUR, "ahead": NOW}


@pytest.mark.parametrize("place", [0, 1, 2], ids=["account", "region", "unit"])
def test_units_do_not_touch_each_other(ledger: Ledger, place: int) -> None:
    """The same id elsewhere is another resource; that it is gone there says nothing here."""
    elsewhere = ["444455556666", "us-east-1", "inventory_rds"]
    other = [elsewhere[number] if number == place else part for number, part in enumerate(UNIT)]
    first_seen(ledger, *UNIT, {"a": None}, NOW)
    assert first_seen(ledger, *other, {"a": None}, NOW + HOUR) == {"a": NOW + HOUR}
    assert first_seen(ledger, *other, {}, NOW + 2 * HOUR) == {}
    assert first_seen(ledger, *UNIT, {"a": None}, NOW + 3 * HOUR) == {"a": NOW}
