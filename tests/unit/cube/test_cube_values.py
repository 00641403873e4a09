"""Cost by one dimension in the ledger: what is replaced, what is bounded, and what is known."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.core.amounts import Units
from exporter.cube import compared, month_to_date, values
from exporter.cube.dimensions import OTHER, Dimension, untagged
from exporter.cube.values import AnyUnits, CubeRead
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

DAY = timedelta(days=1)
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
TODAY = NOW.date()
REGION, TEAM = Dimension("region"), Dimension("tag", "team")

Costs = dict[tuple[date, str, str], int]


@contextmanager
def new_ledger() -> Iterator[Ledger]:
    with TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        try:
            yield ledger
        finally:
            ledger.close()


def five(units: int) -> AnyUnits:
    return units, units, units, units, units


def put(
    ledger: Ledger,
    costs: Costs,
    days: list[date],
    *,
    dimension: Dimension = REGION,
    at: datetime = NOW,
    most: int = 100,
    only: frozenset[str] | None = None,
) -> None:
    found = CubeRead(
        dimension,
        "account",
        at,
        "cost_explorer",
        dict.fromkeys(days, 0),
        {key: five(units) for key, units in costs.items()},
        only,
    )
    values.commit(ledger, found, most)


def held(ledger: Ledger, dimension: Dimension = REGION) -> Costs:
    sums = values.sums(ledger, dimension, "account", date.min, date.max, "unblended", by_day=True)
    return {(day, *rest): units for (day, *rest), units in sums.items() if day is not None and units}  # type: ignore[misc]


ROWS = st.dictionaries(
    st.tuples(st.integers(0, 3), st.sampled_from("AB"), st.sampled_from(["x", "y", "z", OTHER, ""])),
    st.integers(-(10**20), 10**20) | st.integers(-5, 5),
    max_size=20,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, max_size=4), st.integers(1, 4))
def test_each_read_replaces_its_days_and_keeps_every_sum_whatever_is_other(
    reads: list[dict[tuple[int, str, str], int]], most: int
) -> None:
    with new_ledger() as ledger:
        for number, rows in enumerate(reads):
            costs = {(TODAY - age * DAY, account, key): units for (age, account, key), units in rows.items()}
            put(ledger, costs, [TODAY - age * DAY for age in range(4)], most=most, at=NOW + number * DAY)
            wanted: defaultdict[tuple[date, str], int] = defaultdict(int)
            for (day, account, _), units in costs.items():
                wanted[day, account] += units
            found: defaultdict[tuple[date, str], int] = defaultdict(int)
            keys: defaultdict[tuple[date, str], int] = defaultdict(int)
            for (day, account, key), units in held(ledger).items():
                found[day, account] += units
                keys[day, account] += key != OTHER
            # Past 64 bits a row is exact to a millionth of a dollar.
            assert all(abs(found[place] - units) <= 5 * 10**4 for place, units in wanted.items())
            assert max(keys.values(), default=0) <= most


def test_of_some_accounts_only_their_keys_are_replaced_on_days_that_were_read_whole() -> None:
    yesterday, before = TODAY - DAY, TODAY - 2 * DAY
    with new_ledger() as ledger:
        put(ledger, {(yesterday, "A", "x"): 1, (yesterday, "B", "x"): 2}, [yesterday])
        later = NOW + DAY
        costs = {(yesterday, "A", "y"): 5, (before, "A", "y"): 7}
        put(ledger, costs, [before, yesterday], at=later, only=frozenset({"A"}))
        assert held(ledger) == {(yesterday, "A", "y"): 5, (yesterday, "B", "x"): 2}
        states = values.states(ledger, REGION, "account", before, TODAY)
        assert {day: (state.read_at, state.whole_at, state.changes) for day, state in states.items()} == {
            yesterday: (later, NOW, 2)
        }


def test_an_equal_read_is_no_change() -> None:
    with new_ledger() as ledger:
        for number in range(2):
            put(ledger, {(TODAY, "A", "x"): 2**70, (TODAY, "A", "y"): 1}, [TODAY], at=NOW + number * DAY)
        (state,) = values.states(ledger, REGION, "account", TODAY, TODAY + DAY).values()
        assert (state.changes, state.read_at) == (1, NOW + DAY)


def test_a_tag_is_unknown_before_the_first_month_with_a_value_until_it_was_first_read() -> None:
    first, middle, last = date(2026, 2, 10), date(2026, 3, 10), date(2026, 4, 10)

    def known(ledger: Ledger) -> list[date]:
        found = sorted(values.states(ledger, TEAM, "account", date.min, date.max))
        assert sorted({day for day, _, _ in held(ledger, TEAM)}) == found
        assert sorted(values.reads(ledger, TEAM, "account", date.min, date.max)) == [
            first,
            middle,
            last,
            TODAY,
        ]
        return found

    with new_ledger() as ledger:
        days = [first, middle, last, TODAY]
        put(ledger, {(day, "A", ""): 1 for day in days}, days, dimension=TEAM)
        put(ledger, {(day, "A", ""): 1 for day in days}, days, dimension=untagged("team"))
        assert known(ledger) == [TODAY]  # whoever configured it wants to see what is untagged now
        put(ledger, {(middle, "B", "web"): 1, (middle, "A", ""): 1}, [middle], dimension=TEAM)
        assert known(ledger) == [middle, last, TODAY]
        assert sorted(values.states(ledger, untagged("team"), "account", date.min, date.max)) == [
            middle,
            last,
            TODAY,
        ]
        # A backfill gives values to the month before, and another takes them from both.
        put(ledger, {(first, "A", "web"): 1}, [first], dimension=TEAM)
        assert known(ledger) == [first, middle, last, TODAY]
        for day in (middle, first):
            put(ledger, {(day, "A", ""): 1}, [day], dimension=TEAM)
        assert known(ledger) == [TODAY]
        assert values.states(ledger, REGION, "account", date.min, date.max) == {}


def test_days_that_do_not_add_up_to_their_cost_are_found_with_their_accounts() -> None:
    days = [TODAY - DAY, TODAY - 2 * DAY, TODAY - 3 * DAY]
    with new_ledger() as ledger:
        cost = {
            (day, account, service): Units(*five(100_000_000))
            for day in days
            for account in "AB"
            for service in "st"
        }  # type: ignore[arg-type]
        ledger.reads.commit(CostRead(NOW, dict.fromkeys(days, False), cost))
        equal, differs, lacks = days
        costs = {(day, account, "x"): 200_000_000 for day in days for account in "AB"}
        costs[differs, "B", "x"] += 50_000
        costs[equal, "A", "x"] += 3  # rounded
        del costs[lacks, "A", "x"]
        put(ledger, costs, days)
        found = compared.differences(ledger, REGION, "account", set(days))
        assert found == {differs: frozenset("B"), lacks: frozenset("A")}
        compared.confirm(ledger, REGION, "account", {equal: 7})
        states = values.states(ledger, REGION, "account", date.min, date.max)
        assert {day: state.cost_changes for day, state in states.items()} == {equal: 7, differs: 0, lacks: 0}


def test_the_month_to_date_is_absent_while_a_day_of_it_is_unread_but_for_today() -> None:
    first = TODAY.replace(day=1)
    days = [first + number * DAY for number in range((TODAY - first).days)]
    gap = days.pop(7)
    with new_ledger() as ledger:
        put(ledger, {(day, "A", "x"): 2 for day in days}, days)
        assert month_to_date.read_at(ledger, REGION, TODAY) is None
        put(ledger, {(gap, "A", "y"): 3}, [gap], at=NOW + DAY)
        assert month_to_date.read_at(ledger, REGION, TODAY) == NOW + DAY
        before = {(first - DAY, "A", "x"): 99}
        put(ledger, before, [first - DAY])
        put(ledger, {(TODAY, "A", "x"): 1}, [TODAY])
        assert month_to_date.costs(ledger, REGION, TODAY, "unblended") == {
            ("A", "x"): 2 * len(days) + 1,
            ("A", "y"): 3,
        }
        assert month_to_date.read_at(ledger, REGION, TODAY + 2 * DAY) is None  # yesterday is unread


def test_an_export_itself_tells_untagged_from_a_tag_that_was_not_active() -> None:
    old = date(2026, 2, 10)
    with new_ledger() as ledger:
        found = CubeRead(TEAM, "account", NOW, "data_export", {old: 0}, {(old, "A", ""): five(1)})
        values.commit(ledger, found, 100)
        assert held(ledger, TEAM) == {(old, "A", ""): 1}


def test_a_read_takes_no_memory_for_the_keys_of_others() -> None:
    """Resources come and go: those that were ever seen only grow, and a read has few of them."""
    number = 20_000
    with new_ledger() as ledger:
        seen = ((f"i-{each:017x}",) for each in range(number))
        with ledger.transaction() as db:
            db.executemany("INSERT INTO cube_keys VALUES (NULL, 'region', 'a', '', ?)", seen)
        put(ledger, {(TODAY, "a", "warm"): 1}, [TODAY])
        tracemalloc.start()
        try:
            put(ledger, {(TODAY, "a", "i-new"): 1, (TODAY, "a", f"i-{1:017x}"): 2}, [TODAY])
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 20 * number, "bytes: not one a key"
        assert values.sums(ledger, REGION, "account", TODAY, TODAY + DAY, "unblended") == {
            (None, "a", "i-new"): 1,
            (None, "a", f"i-{1:017x}"): 2,
        }
