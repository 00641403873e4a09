"""The ledger keeps exact money, loses nothing that was committed, and turns vanished keys into zeros."""

import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.aws.charges import MemoryCharges
from exporter.aws.meter import Charges
from exporter.core.amounts import Amounts, ChargeClass, Units
from exporter.core.money import exact_sum, joined, sum_to_units, to_units, to_usd, usd_text
from exporter.ledger.database import LedgerLockedError
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead, DayState

NOON = datetime(2026, 5, 20, 12, tzinfo=UTC)
DAY = date(2026, 5, 18)
NEXT = DAY + timedelta(days=1)

money = st.decimals(min_value=-100_000_000, max_value=100_000_000, places=10)


def usd(text: str) -> Amounts:
    value = Decimal(text)
    return Amounts(value, value, value, value, value)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


@given(money)
def test_money_survives_the_ledger_exactly(amount: Decimal) -> None:
    assert to_usd(to_units(amount)) == amount


@given(st.lists(money, max_size=50))
def test_sums_of_units_are_exact(amounts: list[Decimal]) -> None:
    assert to_usd(sum(map(to_units, amounts))) == sum(amounts, Decimal(0))


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "1e12", "-1e12"])
def test_what_is_not_money_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match=r"not an amount|more than the ledger holds"):
        to_units(Decimal(bad))


@pytest.mark.parametrize(
    ("amount", "units"),
    [("1.5e-10", 2), ("2.5e-10", 2), ("-1.5e-10", -2), ("1.6e-10", 2), ("-1.4e-10", -1), ("4e-11", 0)],
)
def test_what_is_finer_than_the_ledger_is_rounded_and_never_cut(amount: str, units: int) -> None:
    assert to_units(Decimal(amount)) == units


def test_sums_past_64_bits_are_exact_in_every_view_of_a_day(ledger: Ledger) -> None:
    """Of units of 1e-10 USD, 64 bits hold $922 million: two rows of $500 million are more."""
    rows = {(DAY, account, service): usd("500000000.0000000001") for account in "12" for service in "abc"}
    rows |= {(DAY, "3", "refund"): usd("-499999999.9999999999"), (DAY, "3", "none"): usd("0")}
    for _ in range(2):
        ledger.reads.commit(CostRead(NOON, {DAY: False}, rows))
        ledger.reads.commit_non_usage(CostRead(NOON, {DAY: False}, rows))
        ledger.reads.commit_subjects(
            CostRead(NOON, {DAY: False}, {key: rows[key] for key in rows if key[1] == "1"}), "account", {"1"}
        )
    ledger.reads.commit(
        CostRead(NOON, {NEXT: False}, {(NEXT, *key[1:]): value for key, value in rows.items()})
    )
    sums = ledger.cost.sums(DAY, NEXT + timedelta(days=1), "amortized")
    assert sums[("1", "a")] == Decimal("1000000000.0000000002")
    assert sums[("3", "refund")] == Decimal("-999999999.9999999998")
    assert sum(sums.values()) == Decimal("5000000000.0000000014")
    # A scan that agrees finds nothing, one that differs by the smallest unit does.
    scan = {(DAY, "1"): usd("1500000000.0000000003"), (DAY, "2"): usd("1500000000.0000000003"),
            (DAY, "3"): usd("-499999999.9999999999")}  # fmt: skip
    assert ledger.reads.commit_scan("account", NOON, [DAY], _scanned(scan)) == ()
    differs = _scanned(scan | {(DAY, "2"): usd("1500000000.0000000004")})
    assert ledger.reads.commit_scan("account", NOON, [DAY], differs) == (DAY,)
    later = NOON + timedelta(days=4)
    ledger.reads.commit(CostRead(later, {DAY: False, NEXT: False}, rows))
    assert ledger.cost.assessed_day(later) == NEXT
    with pytest.raises(ValueError, match="in one row is more than the ledger holds"):
        ledger.reads.commit(CostRead(NOON, {DAY: False}, _scanned({(DAY, "1", "a"): usd("922337204")})))


def _scanned(amounts: Mapping[Any, Amounts]) -> dict[Any, Units]:
    return {key: Units(*map(sum_to_units, each)) for key, each in amounts.items()}


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), max_size=40))
def test_a_sum_in_two_parts_is_that_of_python(values: list[int]) -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE t (v INTEGER)")
        db.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
        halves = db.execute(f"SELECT {exact_sum('v')} FROM t").fetchone()  # noqa: S608 # a fixed column
        assert joined(*halves) == sum(values)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=10, min_value=-(10**15), max_value=10**15))
@example(Decimal("0E-10"))
@example(Decimal("-0E-10"))
@example(Decimal("5E-10"))
@example(Decimal("1E+3"))
def test_an_amount_is_written_as_people_write_it(amount: Decimal) -> None:
    text = usd_text(amount)
    assert Decimal(text) == amount
    assert "E" not in text
    assert amount or text == "0"


def test_three_dimes_are_thirty_cents(ledger: Ledger) -> None:
    ledger.reads.commit(
        CostRead(NOON, {DAY: False}, {(DAY, "1", service): usd("0.1") for service in ("a", "b", "c")})
    )
    assert sum(ledger.cost.sums(DAY, NEXT, "unblended").values()) == Decimal("0.3")


def test_a_key_that_vanishes_becomes_an_explicit_zero(ledger: Ledger) -> None:
    ledger.reads.commit(
        CostRead(NOON, {DAY: True}, {(DAY, "1", "S3"): usd("5"), (DAY, "1", "EC2"): usd("7")})
    )
    ledger.reads.commit(CostRead(NOON, {DAY: True}, {(DAY, "1", "EC2"): usd("6")}))

    assert ledger.cost.sums(DAY, NEXT, "unblended") == {("1", "S3"): Decimal(0), ("1", "EC2"): Decimal(6)}


def test_two_reads_of_a_day_at_one_moment_are_told_apart(ledger: Ledger) -> None:
    seen = []
    for value in ("1", "2"):
        ledger.reads.commit(CostRead(NOON, {DAY: True}, {(DAY, "1", "S3"): usd(value)}))
        seen.append(ledger.reads.day_states(DAY, NEXT)[DAY].read_at)
    assert seen == [NOON, NOON + timedelta(milliseconds=1)]


def test_the_count_of_rows_is_kept_and_not_counted(ledger: Ledger) -> None:
    for amounts in ({"S3": "1", "EC2": "2"}, {"EC2": "2", "Tax": "3"}):
        ledger.reads.commit(
            CostRead(NOON, {DAY: True}, {(DAY, "1", name): usd(value) for name, value in amounts.items()})
        )
    ledger.reads.commit_non_usage(CostRead(NOON, {DAY: True}, {(DAY, "1", "Support"): usd("4")}))

    with ledger.connection() as db:
        assert db.execute("SELECT COUNT(*) FROM cost").fetchone() == (4,)
    assert ledger.cost.row_count() == 4


def test_a_read_leaves_other_days_alone(ledger: Ledger) -> None:
    ledger.reads.commit(CostRead(NOON, {DAY: False}, {(DAY, "1", "S3"): usd("5")}))
    ledger.reads.commit(CostRead(NOON, {NEXT: True}, {(NEXT, "1", "S3"): usd("9")}))

    assert ledger.cost.sums(DAY, NEXT, "amortized") == {("1", "S3"): Decimal(5)}


def test_keys_of_a_day_are_those_with_cost(ledger: Ledger) -> None:
    ledger.reads.commit(
        CostRead(NOON, {DAY: True}, {(DAY, "1", "S3"): usd("5"), (DAY, "1", "EC2"): usd("7")})
    )
    assert ledger.cost.keys_per_day(DAY, NEXT) == 2
    ledger.reads.commit(CostRead(NOON, {DAY: True}, {(DAY, "1", "EC2"): usd("6")}))
    assert ledger.cost.keys_per_day(DAY, NEXT) == 1


def test_rows_split_usage_from_other_charges(ledger: Ledger) -> None:
    ledger.reads.commit(CostRead(NOON, {DAY: True}, {(DAY, "1", "EC2"): usd("10.5")}))
    ledger.reads.commit_non_usage(CostRead(NOON, {DAY: True}, {(DAY, "1", "EC2"): usd("-2.25")}))

    rows = list(ledger.cost.rows(DAY, NEXT))

    assert [(row.charge_class, row.amounts.unblended) for row in rows] == [
        (ChargeClass.USAGE, Decimal("12.75")),
        (ChargeClass.OTHER, Decimal("-2.25")),
    ]
    assert {(row.day, row.account_id, row.service, row.estimated, row.observed_at) for row in rows} == {
        (DAY, "1", "EC2", True, NOON)
    }


def test_a_scan_marks_just_the_days_that_moved(ledger: Ledger) -> None:
    ledger.reads.commit(
        CostRead(
            NOON,
            {DAY: False, NEXT: False},
            {(DAY, "1", "S3"): usd("5"), (NEXT, "1", "S3"): usd("5"), (DAY, "2", "S3"): usd("0")},
        )
    )

    moved = ledger.reads.commit_scan(
        "account", NOON, [DAY, NEXT], {(DAY, "1"): usd("5"), (NEXT, "1"): usd("5.0000000001")}
    )

    assert moved == (NEXT,)
    states = ledger.reads.day_states(DAY, NEXT + timedelta(days=1))
    assert {day: state.moved for day, state in states.items()} == {DAY: False, NEXT: True}


def test_a_scan_that_agrees_confirms_a_day_and_one_that_does_not_confirms_nothing(ledger: Ledger) -> None:
    later, latest = NOON + timedelta(hours=6), NOON + timedelta(hours=12)
    ledger.reads.commit(CostRead(NOON, {DAY: False}, {(DAY, "1", "S3"): usd("5")}))
    assert ledger.reads.confirmed_at(DAY, NEXT) == {DAY: NOON}
    ledger.reads.commit_scan("account", later, [DAY], {(DAY, "1"): usd("5")})
    assert ledger.reads.confirmed_at(DAY, NEXT) == {DAY: later}
    ledger.reads.commit_scan("account", latest, [DAY], {(DAY, "1"): usd("6")})
    assert ledger.reads.confirmed_at(DAY, NEXT) == {DAY: later}


def test_a_service_is_first_seen_on_its_first_day_with_cost(ledger: Ledger) -> None:
    ledger.reads.commit(
        CostRead(NOON, {DAY: False}, {(DAY, "1", "S3"): usd("0"), (DAY, "1", "Tax"): usd("0")})
    )
    ledger.reads.commit(CostRead(NOON, {NEXT: False}, {(NEXT, "1", "S3"): usd("-1")}))
    assert ledger.cost.first_seen() == {("1", "S3"): NEXT}


def test_a_scan_sees_cost_that_left_an_account_whole(ledger: Ledger) -> None:
    ledger.reads.commit(CostRead(NOON, {DAY: False}, {(DAY, "1", "S3"): usd("5")}))
    assert ledger.reads.commit_scan("account", NOON, [DAY], {}) == (DAY,)


def test_a_scan_by_service_sees_cost_that_moved_between_services(ledger: Ledger) -> None:
    ledger.reads.commit(CostRead(NOON, {DAY: False}, {(DAY, "1", "S3"): usd("5")}))
    assert ledger.reads.commit_scan("account", NOON, [DAY], {(DAY, "1"): usd("5")}) == ()
    assert ledger.reads.commit_scan("service", NOON, [DAY], {(DAY, "EC2"): usd("5")}) == (DAY,)


def end_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


@pytest.mark.parametrize(
    ("reads", "settled"),
    [
        ([(36, "100")], True),
        ([(35.9, "100")], False),
        ([(-2, "99.9"), (5, "100")], False),  # the first was before the day's end
        ([(1, "99.5"), (7, "100")], True),
        ([(1, "99.5"), (6.9, "100")], False),
        ([(1, "98"), (7, "100")], False),
        ([(1, "0"), (7, "0")], True),
        ([(0, "99.5"), (6, "100")], True),
    ],
)
def test_a_day_is_settled_36_hours_after_its_end_or_when_two_reads_agree(
    ledger: Ledger, reads: list[tuple[float, str]], settled: bool
) -> None:
    for hours, amount in reads:
        at = end_of(DAY) + timedelta(hours=hours)
        ledger.reads.commit(CostRead(at, {DAY: False}, {(DAY, "1", "S3"): usd(amount)}))

    now = end_of(DAY) + timedelta(hours=reads[-1][0])
    assert ledger.cost.assessed_day(now) == (DAY if settled else None)


def read_at(ledger: Ledger, day: date, reads: list[tuple[float, str]]) -> None:
    """Commit reads of a day, each so many hours after its end."""
    for hours, amount in reads:
        at = end_of(day) + timedelta(hours=hours)
        ledger.reads.commit(CostRead(at, {day: False}, {(day, "1", "S3"): usd(amount)}))


@pytest.mark.parametrize(
    ("before", "reads", "complete"),
    [
        # Nothing is known of the source.
        ([], [(17.9, "100")], False),
        ([], [(18, "100")], True),
        ([], [(1, "90"), (18, "100")], True),
        ([], [(18, "0")], False),
        ([], [(-3, "100"), (4, "100")], False),
        # It has booked a day by its end: the first read after the end is enough.
        ([(1, "100"), (7, "100"), (31, "100.9")], [(0.5, "50")], True),
        ([(1, "100"), (7, "100"), (31, "100.9")], [(0.5, "0")], False),
        # It books until the evening of the next day.
        ([(1, "40"), (7, "80"), (13, "98"), (19, "99.5"), (31, "100")], [(13, "100")], False),
        ([(1, "40"), (7, "80"), (13, "98"), (19, "99.5"), (31, "100")], [(18.5, "100")], True),
        # It books late and in steps: reads that agree do not show that a day is booked.
        ([(1, "0"), (13, "0"), (19, "40"), (31, "40"), (37, "100")], [(19, "40"), (31, "40")], False),
        ([(1, "0"), (13, "0"), (19, "40"), (31, "40"), (37, "100")], [(31, "40"), (36, "100")], True),
        # What moves after days is a restatement.
        ([(1, "100"), (7, "100"), (31, "100"), (80, "150")], [(1, "100")], True),
        # Read once, or for less than a day, a day shows nothing.
        ([(17, "100")], [(17, "100")], False),
        ([(40, "100")], [(17, "100")], False),
        ([(1, "100"), (23, "100")], [(17, "100")], False),
    ],
)
def test_a_day_is_complete_once_it_was_read_as_late_as_the_source_books(
    ledger: Ledger, before: list[tuple[float, str]], reads: list[tuple[float, str]], complete: bool
) -> None:
    earlier = DAY - timedelta(days=5)
    read_at(ledger, earlier, before)
    read_at(ledger, DAY, reads)

    now = end_of(DAY) + timedelta(hours=reads[-1][0])
    assert (ledger.cost.complete_day(now) == DAY) is complete
    # On a clock that was set back the day is not over.
    assert ledger.cost.complete_day(end_of(DAY) - timedelta(seconds=1)) != DAY


def test_the_slowest_of_the_last_seven_days_says_how_long_a_source_books(ledger: Ledger) -> None:
    prompt, slow = [(1.0, "100"), (31.0, "100")], [(1.0, "50"), (31.0, "100")]
    for back in range(2, 12):
        read_at(ledger, DAY - timedelta(days=back), slow if back == 8 else prompt)
    read_at(ledger, DAY, [(2, "100")])
    assert ledger.cost.complete_day(end_of(DAY) + timedelta(hours=3)) == DAY - timedelta(days=2)
    read_at(ledger, DAY - timedelta(days=1), prompt)
    assert ledger.cost.complete_day(end_of(DAY) + timedelta(hours=8)) == DAY


def test_data_is_through_the_newest_complete_day_with_cost(ledger: Ledger) -> None:
    at = end_of(DAY) + timedelta(hours=2)
    ledger.reads.commit(
        CostRead(
            at,
            {DAY - timedelta(days=1): False, DAY: True, NEXT: True},
            {
                (DAY - timedelta(days=1), "1", "S3"): usd("1"),
                (DAY, "1", "S3"): usd("1"),
                (NEXT, "1", "S3"): usd("1"),
            },
        )
    )
    assert ledger.cost.data_through(at) == DAY
    # Read before it was over, NEXT is not complete, however late it becomes.
    assert ledger.cost.data_through(at + timedelta(days=3)) == DAY
    # On a clock that was set back, what is not over there is not complete.
    assert ledger.cost.data_through(at - timedelta(days=1)) == DAY - timedelta(days=1)

    # Complete from its very end on, and without cost it is not what data is through.
    late = end_of(NEXT)
    ledger.reads.commit(CostRead(late, {NEXT: True}, {}))
    assert ledger.cost.data_through(late) == DAY
    ledger.reads.commit(CostRead(late, {NEXT: True}, {(NEXT, "1", "S3"): usd("1")}))
    assert ledger.cost.data_through(late) == NEXT


def test_a_total_that_moved_is_remembered_until_what_is_not_usage_is_read(ledger: Ledger) -> None:
    def read(amount: str) -> CostRead:
        return CostRead(NOON, {DAY: False}, {(DAY, "1", "S3"): usd(amount)})

    def moved() -> bool:
        return ledger.reads.day_states(DAY, NEXT)[DAY].other_moved

    ledger.reads.commit(read("5"))
    ledger.reads.commit_non_usage(read("0"))
    ledger.reads.commit(read("5"))
    assert not moved()
    ledger.reads.commit(read("6"))
    ledger.reads.commit(read("6"))
    assert moved()
    ledger.reads.commit_non_usage(read("1"))
    assert not moved()


def test_names_are_in_force_from_their_day(ledger: Ledger) -> None:
    ledger.accounts.name({"1": "old"}, DAY)
    ledger.accounts.name({"1": "new"}, NEXT)
    ledger.accounts.name({"1": "new"}, NEXT + timedelta(days=5))

    assert ledger.accounts.names(on=DAY - timedelta(days=9)) == {"1": "old"}
    assert ledger.accounts.names(on=DAY) == {"1": "old"}
    assert ledger.accounts.names(on=NEXT) == {"1": "new"}
    assert ledger.accounts.names() == {"1": "new"}


def test_units_are_in_force_from_their_day(ledger: Ledger) -> None:
    ledger.accounts.place({"1": "/Workloads/Dev", "2": "/"}, DAY)
    ledger.accounts.place({"1": "/Workloads/Prod", "2": "/"}, NEXT)

    assert ledger.accounts.ous(on=DAY) == {"1": "/Workloads/Dev", "2": "/"}
    assert ledger.accounts.ous() == {"1": "/Workloads/Prod", "2": "/"}
    assert ledger.accounts.names() == {}


@pytest.mark.parametrize("lasting", [True, False])
def test_charges_count_from_their_period_on(ledger: Ledger, lasting: bool) -> None:
    charges: Charges = ledger.charges if lasting else MemoryCharges()
    charges.add_charge(NOON - timedelta(days=1), "cost", "ce", "GetCostAndUsage", Decimal("0.01"))
    charges.add_charge(NOON, "cost", "ce", "GetCostAndUsage", Decimal("0.01"))
    charges.add_charge(NOON, "usage", "cloudwatch", "GetMetricData", Decimal("0.00001"))

    assert charges.charged_since("cost", NOON) == Decimal("0.01")
    assert charges.charged_since("cost", None) == Decimal("0.02")
    assert charges.charged_since("usage", None) == Decimal("0.00001")


def test_a_transaction_is_all_or_nothing(ledger: Ledger) -> None:
    with suppress(RuntimeError), ledger.transaction():
        ledger.reads.commit(CostRead(NOON, {DAY: False}, {(DAY, "1", "S3"): usd("5")}))
        ledger.reads.mark_scan("refresh", NOON)
        raise RuntimeError

    assert ledger.cost.row_count() == 0
    assert ledger.reads.day_states(DAY, NEXT) == {}
    assert ledger.reads.scanned_at("refresh") is None


def test_a_series_that_was_rolled_back_is_written_with_the_next_commit(ledger: Ledger) -> None:
    read = CostRead(NOON, {DAY: False}, {(DAY, "1", "S3"): usd("5")})
    with suppress(RuntimeError), ledger.transaction():
        ledger.reads.commit(read)
        raise RuntimeError
    ledger.reads.commit(read)
    assert ledger.cost.sums(DAY, NEXT, "unblended") == {("1", "S3"): Decimal(5)}


def test_a_second_writer_is_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerLockedError, match="another process is writing"):
        Ledger(ledger.path)


def test_a_reader_sees_what_is_committed_and_cannot_write(ledger: Ledger) -> None:
    ledger.reads.commit(CostRead(NOON, {DAY: False}, {(DAY, "1", "S3"): usd("5")}))
    reader = Ledger(ledger.path, read_only=True)
    try:
        assert reader.cost.sums(DAY, NEXT, "unblended") == {("1", "S3"): Decimal(5)}
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.reads.mark_scan("refresh", NOON)
    finally:
        reader.close()


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(sqlite3.DatabaseError, match="newer version"):
        Ledger(path)


def test_the_file_is_its_owners_alone(ledger: Ledger) -> None:
    assert ledger.path.stat().st_mode & 0o077 == 0


def write_for_ever(path: Path) -> None:
    ledger = Ledger(path)
    for number in range(1, 10**9):
        day = DAY + timedelta(days=number % 7)
        costs = {(day, str(account), "S3"): usd(str(number)) for account in range(200)}
        ledger.reads.commit(CostRead(NOON, {day: False}, costs))


@pytest.mark.parametrize("round_", range(3))
def test_a_kill_in_the_middle_of_a_commit_leaves_whole_days(tmp_path: Path, round_: int) -> None:
    path = tmp_path / "ledger.sqlite"
    process = multiprocessing.get_context("spawn").Process(target=write_for_ever, args=(path,))
    process.start()
    while not path.exists():
        time.sleep(0.01)
    time.sleep(random.uniform(0.2, 0.6))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    ledger = Ledger(path)
    try:
        for number in range(7):
            day = DAY + timedelta(days=number)
            costs = ledger.cost.sums(day, day + timedelta(days=1), "unblended")
            known = (
                ledger.reads.day_states(day, day + timedelta(days=1)).get(day, DayState()).read_at is not None
            )
            assert len(costs) == (200 if known else 0)
            assert len(set(costs.values())) <= 1
    finally:
        ledger.close()
