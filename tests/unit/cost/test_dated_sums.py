"""Sums of cost by day and month follow the ledger: restated, with vanished keys and credits, killed, and upgraded."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.core.amounts import AMOUNTS, Units
from exporter.core.moments import days_between, month_start
from exporter.cost.dated_sums import (
    DAILY_BY_ACCOUNT,
    DAILY_BY_SERVICE,
    DAILY_NON_USAGE,
    DAILY_NON_USAGE_KNOWN,
    DATED_SUMS,
    MONTHLY,
    MONTHLY_BY_ACCOUNT,
    MONTHLY_BY_SERVICE,
    DatedSums,
)
from exporter.ledger.daily_values import Portions, derived_versions, totals
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead, DayState
from exporter.ledger.schema import MIGRATIONS

DAY = timedelta(days=1)
NOW = datetime(2026, 5, 12, 9, tzinfo=UTC)
FIRST = date(2026, 4, 1)
WINDOW = timedelta(days=450)
PAIRS = [
    (account, service) for account in ("111111111111", "222222222222") for service in ("EC2", "S3", "Tax")
]
LEAST = 0.0001  # smaller changes are not written again
_USD = 10**10

Key = tuple[str, str, str]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def sums(ledger: Ledger, cost_type: str = "unblended", at: datetime = NOW, **more: int) -> DatedSums:
    portions = Portions(**more) if more else Portions()
    return DatedSums(ledger, cost_type, WINDOW, 1, lambda: at, portions=portions)


def units(usd: float | str) -> Units:
    value = int(Decimal(usd) * _USD)
    return Units(*(value * (1 + number) for number in range(len(AMOUNTS))))


def read(
    ledger: Ledger,
    days: Mapping[date, Mapping[tuple[str, str], float | str]],
    at: datetime = NOW,
    *,
    non_usage: bool = False,
) -> None:
    costs = {(day, *pair): units(usd) for day, pairs in days.items() for pair, usd in pairs.items()}
    commit = ledger.reads.commit_non_usage if non_usage else ledger.reads.commit
    commit(CostRead(at, dict.fromkeys(days, False), costs))


def held(ledger: Ledger, day: date) -> dict[Key, float]:
    """The dated values of a day by family, account id and label, what is known of it excepted."""
    names = [family.name for family in DATED_SUMS if family is not DAILY_NON_USAGE_KNOWN]
    return {
        (name, account, label): value
        for _, name, account, label, value in totals(ledger, day, day + DAY, names)
    }


def known(ledger: Ledger, day: date) -> float | None:
    found = totals(ledger, day, day + DAY, [DAILY_NON_USAGE_KNOWN.name])
    return found[0][-1] if found else None


def expected(ledger: Ledger, day: date, cost_type: str) -> dict[Key, float]:
    """From the rows of the ledger, exactly; without zeros."""
    found: dict[Key, Decimal] = {}

    def add(start: date, end: date, *families: str) -> None:
        by_pair, by_service, by_account, other = families
        for row in ledger.cost.rows(start, end):
            usd = getattr(row.amounts, cost_type)
            keys = [(by_service, "", row.service), (by_account, row.account_id, "")]
            keys += [(by_pair, row.account_id, row.service)] if by_pair else []
            keys += [(other, row.account_id, row.service)] if other and row.charge_class == "other" else []
            for key in keys:
                found[key] = found.get(key, Decimal(0)) + usd

    state = ledger.reads.day_states(day, day + DAY).get(day, DayState())
    # Non-usage charges alone are no day: what is read of them comes after its cost.
    if state.read_at is not None:
        other = DAILY_NON_USAGE.name if state.other_read_at is not None else ""
        add(day, day + DAY, "", DAILY_BY_SERVICE.name, DAILY_BY_ACCOUNT.name, other)
    if day.day == 1 and _is_whole(ledger, day):
        end = month_start(day, -1)
        add(day, end, MONTHLY.name, MONTHLY_BY_SERVICE.name, MONTHLY_BY_ACCOUNT.name, "")
    return {key: float(usd) for key, usd in found.items() if usd}


def _is_whole(ledger: Ledger, month: date) -> bool:
    end = month_start(month, -1)
    return end <= NOW.date() and ledger.months.is_whole(month, end, "total")


def check(ledger: Ledger, day: date, cost_type: str = "unblended") -> None:
    found, wanted = held(ledger, day), expected(ledger, day, cost_type)
    assert wanted.keys() <= found.keys()
    for key, value in found.items():
        assert value == pytest.approx(wanted.get(key, 0.0), abs=LEAST), (day, key)


AMOUNT = st.one_of(
    st.just(0.0),
    st.integers(-(10**7), 10**7).map(lambda number: number / 1000),
    st.sampled_from((1e-10, -0.00004, 3e7)),
)
PAIR_COSTS = st.dictionaries(st.sampled_from(PAIRS), AMOUNT, max_size=4)
LAST = NOW.date() - DAY


@dataclass(frozen=True)
class Step:
    """Days that are read again, or derived from with or without being killed."""

    kind: str
    days: Mapping[date, Mapping[tuple[str, str], float]]


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(("total", "total", "other", "derive", "killed")),
        st.dictionaries(
            st.sampled_from((FIRST, FIRST + DAY, date(2026, 4, 30), date(2026, 5, 1), LAST)),
            PAIR_COSTS,
            max_size=3,
        ),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(STEPS, st.sampled_from(AMOUNTS))
def test_sums_equal_the_pairs_of_the_ledger(steps: list[Step], cost_type: str) -> None:
    """In whichever order days are read, also where keys vanish, and a kill ends what derives halfway."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        try:
            # Each day but those of the steps is known from the start: months wait for the others.
            chosen = {day for step in steps for day in step.days}
            days = [day for day in days_between(FIRST, NOW.date()) if day not in chosen]
            read(ledger, {day: {PAIRS[day.day % len(PAIRS)]: "1.5"} for day in days})
            for number, step in enumerate(steps):
                if step.kind == "derive":
                    sums(ledger, cost_type).update()
                elif step.kind == "killed":
                    # Ends after a transaction of a few values.
                    sums(ledger, cost_type, a_call=4, a_transaction=2).update()
                else:
                    at = NOW + timedelta(seconds=number)  # two reads are at two moments
                    read(ledger, step.days, at, non_usage=step.kind == "other")
            while sums(ledger, cost_type, a_call=200, a_transaction=50).update():
                pass
            for day in days_between(FIRST, NOW.date()):
                check(ledger, day, cost_type)
        finally:
            ledger.close()


def test_a_service_and_an_account_that_vanish_are_zero_and_what_never_was_is_absent(ledger: Ledger) -> None:
    day = NOW.date() - 5 * DAY
    read(ledger, {day: {PAIRS[0]: "2.5", PAIRS[3]: "1", PAIRS[5]: "0"}})
    sums(ledger).update()
    assert held(ledger, day) == {
        (DAILY_BY_SERVICE.name, "", "EC2"): 3.5,
        (DAILY_BY_ACCOUNT.name, PAIRS[0][0], ""): 2.5,
        (DAILY_BY_ACCOUNT.name, PAIRS[3][0], ""): 1.0,
    }
    read(ledger, {day: {PAIRS[1]: "4"}}, NOW + timedelta(hours=1))
    sums(ledger).update()
    assert held(ledger, day) == {
        (DAILY_BY_SERVICE.name, "", "EC2"): 0.0,
        (DAILY_BY_SERVICE.name, "", "S3"): 4.0,
        (DAILY_BY_ACCOUNT.name, PAIRS[0][0], ""): 4.0,
        (DAILY_BY_ACCOUNT.name, PAIRS[3][0], ""): 0.0,
    }


def test_a_month_waits_for_all_of_its_days_and_the_current_one_is_never_written(ledger: Ledger) -> None:
    april, may = date(2026, 4, 1), date(2026, 5, 1)
    late = date(2026, 4, 17)
    days = {day: {PAIRS[0]: "1", PAIRS[4]: "-0.25"} for day in days_between(april, NOW.date()) if day != late}
    read(ledger, days)
    # Read before its end: perhaps not all of it.
    read(ledger, {late: {PAIRS[0]: "7"}}, datetime(2026, 4, 17, 23, tzinfo=UTC))
    sums(ledger).update()
    assert not [key for key in held(ledger, april) if key[0].startswith("aws_cost_monthly")]
    read(ledger, {late: {PAIRS[0]: "8"}})
    sums(ledger).update()
    monthly = {key: usd for key, usd in held(ledger, april).items() if key[0].startswith("aws_cost_monthly")}
    assert monthly == {
        (MONTHLY.name, *PAIRS[0]): 37.0,
        (MONTHLY.name, *PAIRS[4]): -7.25,
        (MONTHLY_BY_SERVICE.name, "", "EC2"): 37.0,
        (MONTHLY_BY_SERVICE.name, "", "S3"): -7.25,
        (MONTHLY_BY_ACCOUNT.name, PAIRS[0][0], ""): 37.0,
        (MONTHLY_BY_ACCOUNT.name, PAIRS[4][0], ""): -7.25,
    }
    assert not [key for key in held(ledger, may) if key[0].startswith("aws_cost_monthly")]
    # On the 31st the month is not over, on the 1st its last day has not been read after its end.
    read(ledger, {day: {PAIRS[0]: "1"} for day in days_between(NOW.date(), date(2026, 6, 1))}, NOW)
    sums(ledger, at=datetime(2026, 6, 1, 6, tzinfo=UTC)).update()
    assert not [key for key in held(ledger, may) if key[0].startswith("aws_cost_monthly")]


def test_only_what_has_changed_is_derived_again(ledger: Ledger) -> None:
    days = list(days_between(FIRST, NOW.date()))
    read(ledger, {day: {PAIRS[0]: "1"} for day in days})
    read(ledger, {day: {PAIRS[0]: "0.25"} for day in days}, non_usage=True)
    assert not sums(ledger).update()
    before = {kind: derived_versions(ledger, kind) for kind in ("cost_days", "cost_months")}
    changes = _changes(ledger)
    assert not sums(ledger).update()
    assert _changes(ledger) == changes  # nothing is written
    later = NOW + timedelta(minutes=30)
    read(ledger, {day: {PAIRS[0]: "1"} for day in days}, later)
    read(ledger, {day: {PAIRS[0]: "0.25"} for day in days}, later, non_usage=True)
    # Of the first days of a month more fees may come: they are known again once they have been read again.
    assert {kind: derived_versions(ledger, kind) for kind in before} == before
    changes = _changes(ledger)
    assert not sums(ledger).update()
    assert _changes(ledger) == changes
    restated = date(2026, 4, 2)
    read(ledger, {restated: {PAIRS[0]: "3"}}, NOW + timedelta(hours=1))
    sums(ledger).update()
    after = {kind: derived_versions(ledger, kind) for kind in ("cost_days", "cost_months")}
    assert {
        kind: [day for day, version in after[kind].items() if before[kind].get(day) != version]
        for kind in after
    } == {"cost_days": [restated], "cost_months": [date(2026, 4, 1)]}
    check(ledger, restated)
    check(ledger, date(2026, 4, 1))


def _changes(ledger: Ledger) -> int:
    with ledger.connection() as db:
        return db.total_changes


def test_another_cost_type_is_taken_over(ledger: Ledger) -> None:
    read(ledger, {day: {PAIRS[0]: "1"} for day in days_between(FIRST, NOW.date())})
    for cost_type in ("unblended", "net_amortized"):
        sums(ledger, cost_type).update()
        for day in days_between(FIRST, NOW.date()):
            check(ledger, day, cost_type)


def test_non_usage_charges_are_written_once_they_are_known_and_only_where_there_are_any(
    ledger: Ledger,
) -> None:
    first = date(2026, 5, 1)
    read(ledger, {first: {PAIRS[0]: "10", PAIRS[2]: "33", PAIRS[5]: "-3"}})
    sums(ledger).update()
    assert (known(ledger, first), DAILY_NON_USAGE.name in {key[0] for key in held(ledger, first)}) == (
        0.0,
        False,
    )
    # Read before its end, they may lack something.
    read(ledger, {first: {PAIRS[2]: "30"}}, datetime(2026, 5, 1, 20, tzinfo=UTC), non_usage=True)
    sums(ledger).update()
    assert (known(ledger, first), DAILY_NON_USAGE.name in {key[0] for key in held(ledger, first)}) == (
        0.0,
        False,
    )
    read(ledger, {first: {PAIRS[2]: "33", PAIRS[5]: "-3"}}, non_usage=True)
    sums(ledger).update()
    assert known(ledger, first) == 1.0
    part = {key[1:]: usd for key, usd in held(ledger, first).items() if key[0] == DAILY_NON_USAGE.name}
    assert part == {PAIRS[2]: 33.0, PAIRS[5]: -3.0}
    # The total moves where fees are due: it may hold more of them until they are read again.
    read(ledger, {first: {PAIRS[0]: "10", PAIRS[2]: "40"}}, NOW + timedelta(hours=1))
    sums(ledger).update()
    assert known(ledger, first) == 0.0
    read(ledger, {first: {PAIRS[2]: "40"}}, NOW + timedelta(hours=2), non_usage=True)
    sums(ledger).update()
    part = {key[1:]: usd for key, usd in held(ledger, first).items() if key[0] == DAILY_NON_USAGE.name}
    assert (known(ledger, first), part) == (1.0, {PAIRS[2]: 40.0, PAIRS[5]: 0.0})


def test_a_ledger_of_an_older_release_gets_the_sums_of_what_it_holds(tmp_path: Path) -> None:
    """And what it had assessed is not assessed again."""
    path = tmp_path / "ledger.sqlite"
    version = next(number for number, script in enumerate(MIGRATIONS) if "derived_days" in script)
    db = sqlite3.connect(path)
    for script in MIGRATIONS[:version]:
        db.executescript(script)
    days = list(days_between(date(2026, 4, 1), date(2026, 5, 1)))
    read_at = int(NOW.timestamp() * 1000)
    db.execute("INSERT INTO series (id, account_id, service) VALUES (1, ?, ?)", PAIRS[0])
    for day in days:
        db.execute(
            "INSERT INTO cost (day, series, estimated, observed_at, total_unblended) VALUES (?, 1, 0, ?, ?)",
            (day.toordinal(), read_at, 2 * _USD),
        )
        db.execute(
            "INSERT INTO days (day, read_at, whole_at) VALUES (?, ?, ?)", (day.toordinal(), read_at, read_at)
        )
        db.execute("INSERT INTO assessed_days VALUES (?, 77)", (day.toordinal(),))
    db.execute(f"PRAGMA user_version = {version}")
    db.commit()
    db.close()
    ledger = Ledger(path)
    try:
        assert derived_versions(ledger, "assessed") == dict.fromkeys(days, 77)
        sums(ledger).update()
        assert held(ledger, days[0]) == {
            (DAILY_BY_SERVICE.name, "", "EC2"): 2.0,
            (DAILY_BY_ACCOUNT.name, PAIRS[0][0], ""): 2.0,
            (MONTHLY.name, *PAIRS[0]): 60.0,
            (MONTHLY_BY_SERVICE.name, "", "EC2"): 60.0,
            (MONTHLY_BY_ACCOUNT.name, PAIRS[0][0], ""): 60.0,
        }
    finally:
        ledger.close()
