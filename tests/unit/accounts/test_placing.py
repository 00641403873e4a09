"""Each day of an account has its unit and its groups: those of the configuration that was in force when it was put."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.accounts.placing import ACCOUNT_INFO, describe_days
from exporter.core.places import Account
from exporter.ledger.daily_values import pack_labels, totals, unpack_labels
from exporter.ledger.file import Ledger

DAY = timedelta(days=1)
NOW = datetime(2026, 5, 20, 13, tzinfo=UTC)
PROD, DEV = "111122223333", "444455556666"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def account(number: str, *ous: str, **groups: str) -> Account:
    return Account(number, "name", ous=ous, groups=groups)


def held(ledger: Ledger) -> dict[tuple[date, str], Mapping[str, str]]:
    found = {}
    for day, _, account_id, label, value in totals(
        ledger, date(2026, 1, 1), NOW.date() + 30 * DAY, [ACCOUNT_INFO.name]
    ):
        assert value == 1.0
        assert (day, account_id) not in found  # one series a day
        found[day, account_id] = unpack_labels(label)
    return found


def test_days_that_were_never_written_have_the_groups_of_now_and_the_unit_of_the_day(ledger: Ledger) -> None:
    ledger.accounts.place({PROD: "/Old"}, NOW.date() - 20 * DAY)
    ledger.accounts.place({PROD: "/New"}, NOW.date() - 2 * DAY)
    accounts = {PROD: account(PROD, "/New", team="web"), DEV: account(DEV)}
    assert describe_days(ledger, accounts, {"team"}, 4, NOW) == 8
    assert describe_days(ledger, accounts, {"team"}, 4, NOW) == 0
    active = {"state": "ACTIVE"}
    assert held(ledger) == {
        **{(NOW.date() - back * DAY, DEV): {**active, "ou": "/"} for back in range(1, 5)},
        **{
            (NOW.date() - back * DAY, PROD): {**active, "ou": "/New" if back <= 2 else "/Old", "team": "web"}
            for back in range(1, 5)
        },
    }


def test_a_changed_configuration_holds_from_the_next_day_on(ledger: Ledger) -> None:
    describe_days(ledger, {PROD: account(PROD, team="web")}, {"team"}, 3, NOW)
    later = {PROD: account(PROD, team="core", stage="live")}
    assert describe_days(ledger, later, {"team", "stage"}, 3, NOW + DAY) == 1
    before, after = {"team": "web"}, {"team": "core", "stage": "live"}
    assert held(ledger) == {
        (NOW.date() - back * DAY, PROD): {"state": "ACTIVE", "ou": "/", **(after if back == 0 else before)}
        for back in range(4)
    }


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_labels_that_are_packed_come_out_as_they_were(labels: dict[str, str]) -> None:
    packed = pack_labels(labels)
    assert unpack_labels(packed) == {name: value for name, value in labels.items() if value}
    assert pack_labels(dict(reversed(labels.items()))) == packed
