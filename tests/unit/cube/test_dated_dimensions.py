"""Cost by one dimension is right at its dates: its sums are the account's day, however it is read, restated and killed."""

from __future__ import annotations

import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.core.amounts import AMOUNTS, Units
from exporter.core.moments import days_between, start_of_day
from exporter.cost.dated_sums import DAILY_BY_ACCOUNT, DatedSums
from exporter.cube.dated import DatedDimensions, named_keys
from exporter.cube.dimensions import DAILY_BY, Dimension, parse_dimension
from exporter.cube.values import AnyUnits, CubeRead, Source, commit, states
from exporter.ledger.daily_values import Portions, pack_labels, series_with_values, totals, unpack_labels
from exporter.ledger.file import Ledger
from exporter.ledger.reads import CostRead

DAY = timedelta(days=1)
WINDOW = timedelta(days=450)
NOW = datetime(2026, 5, 12, 9, tzinfo=UTC)
REGION, RESOURCE = Dimension("region"), Dimension("resource")
TEAM, STAGE = Dimension("tag", "team"), Dimension("tag", "stage")
ACCOUNT, OTHER_ACCOUNT = "111111111111", "222222222222"
USD = 10**10

Costs = Mapping[tuple[str, str], float]
"""USD by account id and key."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield ledger
    ledger.close()


def dated(
    ledger: Ledger, at: datetime = NOW, *, cost_type: str = "unblended", most: int = 20_000, **more: int
) -> DatedDimensions:
    portions = Portions(**more) if more else Portions()
    return DatedDimensions(ledger, cost_type, most, WINDOW, 2, lambda: at, portions=portions)


def units(usd: float) -> Units:
    value = round(usd * USD)
    return Units(*(value * (1 + number) for number in range(len(AMOUNTS))))


def read(
    ledger: Ledger,
    dimension: Dimension,
    days: Mapping[date, Costs],
    at: datetime = NOW,
    source: Source = "cost_explorer",
    most: int = 100,
) -> None:
    costs = {(day, *key): tuple(units(usd)) for day, of_day in days.items() for key, usd in of_day.items()}
    commit(ledger, CubeRead(dimension, "account", at, source, dict.fromkeys(days, 0), costs), most)  # type: ignore[arg-type]


def held(ledger: Ledger, day: date, dimension: Dimension = REGION) -> dict[tuple[str, str], float]:
    """The dated values of a day by account id and key."""
    found = {}
    for _, _, account_id, label, usd in totals(ledger, day, day + DAY, [DAILY_BY[dimension.kind].name]):
        key = label
        if dimension.kind == "tag":
            labels = unpack_labels(label)
            if labels["tag_key"] != dimension.key:
                continue
            key = labels.get("tag_value", "")
        found[account_id, key] = usd
    return found


def of(keys: Mapping[str, float], account_id: str = ACCOUNT) -> dict[tuple[str, str], float]:
    return {(account_id, key): usd for key, usd in keys.items()}


def many(count: int, start: int = 0) -> dict[str, float]:
    """So many keys, each cheaper than the one before."""
    return {f"key-{number:03}": 1000.0 - number for number in range(start, start + count)}


# For any sequence of reads

DIMENSIONS = (REGION, TEAM, STAGE, RESOURCE)
KEYS = ("", "other", *(f"key-{number}" for number in range(5)))
SOME_DAYS = (
    date(2026, 3, 1),
    date(2026, 3, 31),
    date(2026, 4, 1),
    date(2026, 4, 30),
    date(2026, 5, 1),
    NOW.date() - DAY,
)
CENTS = st.integers(-(10**6), 10**6)
SPLITS = st.dictionaries(
    st.tuples(st.sampled_from((ACCOUNT, OTHER_ACCOUNT)), st.sampled_from(KEYS)), CENTS, max_size=9
)


@dataclass(frozen=True)
class Step:
    """Days whose cost is read by one dimension, beside the ledger's cost of them; or an update."""

    kind: str
    dimension: Dimension
    days: Mapping[date, Mapping[tuple[str, str], int]]


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(("read", "read", "update", "killed", "fewer")),
        st.sampled_from(DIMENSIONS),
        st.dictionaries(st.sampled_from(SOME_DAYS), SPLITS, max_size=4),
    ),
    max_size=10,
)


def _run(steps: list[Step]) -> None:
    truth: dict[tuple[Dimension, date], dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        most = 20_000
        try:
            for number, step in enumerate(steps):
                at = NOW + timedelta(seconds=number)
                if step.kind == "read":
                    read(ledger, step.dimension, _usd(step.days), at, most=3)
                    for day, split in step.days.items():
                        truth[step.dimension, day] = _by_account(split)
                    continue
                if step.kind == "fewer":
                    most = 12 if most > 12 else 20_000
                if step.kind == "killed":
                    dated(ledger, at, most=most, a_call=3, a_transaction=2).update()
                    continue
                while dated(ledger, at, most=most, a_call=4, a_transaction=2).update():
                    pass
                _check(ledger, truth)
            while dated(ledger, NOW, most=most, a_call=50, a_transaction=20).update():
                pass
            _check(ledger, truth)
        finally:
            ledger.close()


def _usd(days: Mapping[date, Mapping[tuple[str, str], int]]) -> dict[date, dict[tuple[str, str], float]]:
    return {day: {key: cents / 100 for key, cents in split.items()} for day, split in days.items()}


def _by_account(split: Mapping[tuple[str, str], int]) -> dict[str, int]:
    sums: defaultdict[str, int] = defaultdict(int)
    for (account_id, _), cents in split.items():
        sums[account_id] += cents
    return sums


def _check(ledger: Ledger, truth: Mapping[tuple[Dimension, date], Mapping[str, int]]) -> None:
    for (dimension, day), accounts in truth.items():
        if day not in states(ledger, dimension, "account", day, day + DAY):
            continue  # before the tag was activated
        sums: defaultdict[str, float] = defaultdict(float)
        for (account_id, _), usd in held(ledger, day, dimension).items():
            sums[account_id] += usd
        for account_id in accounts.keys() | sums.keys():
            assert sums[account_id] == pytest.approx(accounts.get(account_id, 0) / 100, abs=0.005), (
                dimension,
                day,
            )


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_the_sum_over_the_keys_is_the_accounts_day_after_every_update(steps: list[Step]) -> None:
    """Also where keys enter and leave `other`, the bound changes, and a kill ends what derives halfway."""
    _run(steps)


@pytest.mark.long
@settings(max_examples=500, deadline=None)
@given(STEPS)
def test_the_sum_over_the_keys_is_the_accounts_day_after_every_update_many_times(steps: list[Step]) -> None:
    _run(steps)


def test_each_family_adds_up_to_the_accounts_day_of_the_ledger(ledger: Ledger) -> None:
    days = list(days_between(date(2026, 4, 28), NOW.date()))
    services = {
        (day, ACCOUNT, f"Service {number}"): units(3.33 * number + day.day)
        for day in days
        for number in range(4)
    }
    ledger.reads.commit(CostRead(NOW, dict.fromkeys(days, False), services))
    for dimension in DIMENSIONS:
        costs = {
            day: sum(usd.unblended for (of_day, _, _), usd in services.items() if of_day == day) / USD
            for day in days
        }
        read(
            ledger,
            dimension,
            {day: of({"": cost - 7.77, "a": 7.0, "b": 0.77}) for day, cost in costs.items()},
        )
    DatedSums(ledger, "unblended", WINDOW, 2, lambda: NOW).update()
    dated(ledger).update()
    for day in days:
        ((*_, account_usd),) = totals(ledger, day, day + DAY, [DAILY_BY_ACCOUNT.name])
        for dimension in DIMENSIONS:
            assert sum(held(ledger, day, dimension).values()) == pytest.approx(account_usd, abs=0.005)


# Which days


def test_a_day_waits_until_it_is_read_after_its_end(ledger: Ledger) -> None:
    yesterday = NOW.date() - DAY
    read(ledger, REGION, {yesterday: of({"eu-west-1": 5})}, start_of_day(NOW.date()) - timedelta(minutes=1))
    read(ledger, REGION, {NOW.date(): of({"eu-west-1": 2})})
    dated(ledger).update()
    assert held(ledger, yesterday) == held(ledger, NOW.date()) == {}
    read(ledger, REGION, {yesterday: of({"eu-west-1": 6})}, start_of_day(NOW.date()))
    dated(ledger).update()
    assert held(ledger, yesterday) == of({"eu-west-1": 6})
    assert held(ledger, NOW.date()) == {}


def test_a_day_of_which_only_some_accounts_were_read_after_its_end_waits(ledger: Ledger) -> None:
    yesterday = NOW.date() - DAY
    both = of({"eu-west-1": 5}) | of({"eu-west-1": 7}, OTHER_ACCOUNT)
    read(ledger, REGION, {yesterday: both}, start_of_day(yesterday) + timedelta(hours=20))
    costs: dict[tuple[date, str, str], AnyUnits] = {(yesterday, ACCOUNT, "eu-west-1"): tuple(units(6))}  # type: ignore[dict-item]
    some = CubeRead(REGION, "account", NOW, "cost_explorer", {yesterday: 0}, costs, only=frozenset({ACCOUNT}))
    commit(ledger, some, 100)
    dated(ledger).update()
    assert held(ledger, yesterday) == {}


def test_what_was_read_beside_the_service_is_not_taken_for_accounts(ledger: Ledger) -> None:
    day = NOW.date() - DAY
    costs: dict[tuple[date, str, str], AnyUnits] = {(day, "EC2", "eu-west-1"): tuple(units(4))}  # type: ignore[dict-item]
    commit(ledger, CubeRead(REGION, "service", NOW, "cost_explorer", {day: 0}, costs), 100)
    dated(ledger).update()
    assert held(ledger, day) == {}
    read(ledger, REGION, {day: of({"eu-west-1": 3})})
    dated(ledger).update()
    assert held(ledger, day) == of({"eu-west-1": 3})


def test_a_source_without_the_cost_type_leaves_the_day_unknown_and_says_so_once(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    days = [NOW.date() - DAY, NOW.date() - 2 * DAY]
    read(ledger, REGION, {days[1]: of({"eu-west-1": 4})})
    dated(ledger).update()
    costs: dict[tuple[date, str, str], AnyUnits] = {
        (day, ACCOUNT, "eu-west-1"): (None, None, None, 5 * USD, 7 * USD) for day in days
    }
    later = NOW + timedelta(hours=1)
    commit(ledger, CubeRead(REGION, "account", later, "data_export", dict.fromkeys(days, 0), costs), 100)
    read(ledger, TEAM, {days[0]: of({"web": 3})})
    with caplog.at_level(logging.WARNING):
        gross = dated(ledger)
        gross.update()
        gross.update()
        dated(ledger).update()
    said = [record.__dict__ for record in caplog.records if "no such cost type" in record.message]
    assert [(each["dimension"], each["cost_type"]) for each in said] == [("region", "unblended")]
    # What was known before is not made 0.
    assert (held(ledger, days[0]), held(ledger, days[1])) == ({}, of({"eu-west-1": 4}))
    assert held(ledger, days[0], TEAM) == of({"web": 3})
    dated(ledger, cost_type="net_unblended").update()
    assert held(ledger, days[0]) == held(ledger, days[1]) == of({"eu-west-1": 5})


def test_only_what_has_changed_is_derived_again(ledger: Ledger) -> None:
    days = {day: of(many(30)) for day in days_between(date(2026, 3, 1), NOW.date())}
    read(ledger, REGION, days)
    running = dated(ledger)
    running.update()
    assert _writes(ledger, running) == _writes(ledger, dated(ledger)) == 0
    read(ledger, REGION, days, NOW + timedelta(hours=1))
    assert _writes(ledger, running) == _writes(ledger, dated(ledger)) == 0
    restated = date(2026, 4, 3)
    read(ledger, REGION, {restated: of({**many(30), "key-000": 1001.5})}, NOW + timedelta(hours=2))
    assert running.update() is False
    assert held(ledger, restated)[ACCOUNT, "key-000"] == 1001.5
    assert _writes(ledger, running) == 0


def _writes(ledger: Ledger, those: DatedDimensions) -> int:
    with ledger.connection() as db:
        before = db.total_changes
        those.update()
        return db.total_changes - before


# Which keys


def test_the_largest_twenty_of_an_account_and_month_are_named_and_the_rest_is_other(ledger: Ledger) -> None:
    april, may = date(2026, 4, 1), date(2026, 5, 1)
    of_april = {**many(22), "refund": -5000.0}
    read(
        ledger,
        REGION,
        {
            **{day: of(of_april) for day in days_between(april, may)},
            **{day: of(many(22, 10)) for day in days_between(may, NOW.date())},
        },
    )
    read(ledger, RESOURCE, {may: of(many(60))})
    dated(ledger).update()
    named = {**many(19), "refund": -5000.0}
    assert held(ledger, april) == of({**named, "other": sum(many(3, 19).values())})
    assert held(ledger, may) == of({**many(20, 10), "other": sum(many(2, 30).values())})
    assert held(ledger, may, RESOURCE) == of({**many(50), "other": sum(many(10, 50).values())})


def test_untagged_cost_has_its_place_however_small_and_each_tag_key_is_whole(ledger: Ledger) -> None:
    day = NOW.date() - DAY
    read(ledger, TEAM, {day: of({**many(60), "": 0.01})})
    read(ledger, STAGE, {day: of({"prod": 1.5, "": 2.5}) | of({"prod": 1.0}, OTHER_ACCOUNT)})
    dated(ledger).update()
    found = held(ledger, day, TEAM)
    assert (len(found), found[ACCOUNT, ""]) == (21, 0.01)
    assert held(ledger, day, STAGE) == of({"prod": 1.5, "": 2.5}) | of({"prod": 1.0}, OTHER_ACCOUNT)


def test_a_named_key_stays_in_the_current_month_while_it_is_among_twice_as_many(ledger: Ledger) -> None:
    first, second, third = (date(2026, 5, number) for number in (1, 2, 3))
    read(ledger, REGION, {first: of({**many(20), "rising": 1.0})}, datetime(2026, 5, 2, 6, tzinfo=UTC))
    dated(ledger, datetime(2026, 5, 2, 7, tzinfo=UTC)).update()
    assert held(ledger, first) == of({**many(20), "other": 1.0})
    # It is the largest of all now, but those that are named are still among the largest forty.
    read(ledger, REGION, {second: of({"rising": 9000.0})}, datetime(2026, 5, 3, 6, tzinfo=UTC))
    dated(ledger, datetime(2026, 5, 3, 7, tzinfo=UTC)).update()
    assert held(ledger, second) == of({"other": 9000.0})
    # Forty others leave the named ones behind.
    read(
        ledger,
        REGION,
        {third: of(many(45, 100) | {f"key-{n:03}": -999.0 + n for n in range(20)})},
        datetime(2026, 5, 4, 6, tzinfo=UTC),
    )
    dated(ledger, datetime(2026, 5, 4, 7, tzinfo=UTC)).update()
    assert held(ledger, second)[ACCOUNT, "rising"] == 9000.0
    assert held(ledger, second)[ACCOUNT, "other"] == 0.0
    assert held(ledger, first)[ACCOUNT, "rising"] == 1.0
    assert sum(held(ledger, first).values()) == pytest.approx(sum(many(20).values()) + 1)
    names = [family.name for family in DAILY_BY.values()]
    written = series_with_values(ledger, first, first + DAY, names)
    assert written == {(DAILY_BY["region"].name, ACCOUNT, key) for key in ("rising", "other")}


def test_a_complete_month_names_its_largest_keys_and_no_others(ledger: Ledger) -> None:
    """So that its choice changes with its cost alone."""
    april, last = date(2026, 4, 1), date(2026, 4, 30)
    read(
        ledger,
        REGION,
        {day: of(many(20)) for day in days_between(april, last)},
        datetime(2026, 4, 30, 6, tzinfo=UTC),
    )
    dated(ledger, datetime(2026, 4, 30, 7, tzinfo=UTC)).update()
    read(ledger, REGION, {last: of({**many(20), "late": 10**6})}, datetime(2026, 5, 1, 6, tzinfo=UTC))
    dated(ledger, datetime(2026, 5, 1, 7, tzinfo=UTC)).update()
    smallest = "key-019"
    assert held(ledger, last)[ACCOUNT, "late"] == 10**6
    assert held(ledger, april)[ACCOUNT, smallest] == 0.0
    assert held(ledger, april)[ACCOUNT, "other"] == many(20)[smallest]


def test_another_source_takes_the_place_of_a_day_and_its_keys_go_to_zero(ledger: Ledger) -> None:
    day = NOW.date() - DAY
    read(ledger, REGION, {day: of({"eu-west-1": 3, "NoRegion": 1})})
    dated(ledger).update()
    later = NOW + timedelta(hours=1)
    read(ledger, REGION, {day: of({"eu-west-1": 2.5, "global": 1.5})}, later, "data_export")
    dated(ledger, later).update()
    assert held(ledger, day) == of({"eu-west-1": 2.5, "NoRegion": 0.0, "global": 1.5})


# The bound of the series


def series(ledger: Ledger) -> int:
    names = [family.name for family in DAILY_BY.values()]
    with ledger.connection() as db:
        marks = ", ".join("?" * len(names))
        return int(
            db.execute(
                "SELECT COUNT(DISTINCT series) FROM dated_values JOIN dated_series ON dated_series.id = series"  # noqa: S608
                f" WHERE value != 0 AND family IN ({marks})",
                names,
            ).fetchone()[0]
        )


def test_beyond_the_most_series_fewer_keys_have_a_name_and_the_sums_stay(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    days = [date(2026, 3, 31), date(2026, 4, 1), NOW.date() - DAY]
    accounts = [f"{number:012}" for number in range(10)]
    for dimension, count in ((REGION, 8), (TEAM, 60), (RESOURCE, 90)):
        read(
            ledger,
            dimension,
            {
                day: {
                    key: usd for account in accounts for key, usd in of(many(count, 20 * at), account).items()
                }
                for at, day in enumerate(days)
            },
        )
    dated(ledger).update()
    assert named_keys(ledger) == {"region": 20, "tag": 20, "resource": 50}
    everything = series(ledger)
    before = {
        (day, dimension): sum(held(ledger, day, dimension).values())
        for day in days
        for dimension in (REGION, TEAM, RESOURCE)
    }
    most = everything * 2 // 3
    with caplog.at_level(logging.WARNING):
        dated(ledger, most=most).update()
    assert series(ledger) <= most
    keys = named_keys(ledger)
    assert keys["region"] == 20  # the family with the most series gives way
    assert keys["resource"] < 50
    assert {record.__dict__["family"] for record in caplog.records} <= {
        DAILY_BY[kind].name for kind in ("resource", "tag")
    }
    assert caplog.records
    for (day, dimension), usd in before.items():
        assert sum(held(ledger, day, dimension).values()) == pytest.approx(usd, abs=0.005)
    # However few may be: every account keeps its cost.
    dated(ledger, most=1).update()
    assert set(named_keys(ledger).values()) == {0}
    assert {key for _, key in held(ledger, days[2], REGION) if held(ledger, days[2], REGION)[_, key]} == {
        "other"
    }
    for (day, dimension), usd in before.items():
        assert sum(held(ledger, day, dimension).values()) == pytest.approx(usd, abs=0.005)
    # With room again they are named again.
    dated(ledger).update()
    assert named_keys(ledger) == {"region": 20, "tag": 20, "resource": 50}
    assert series(ledger) == everything


def test_names_do_not_come_back_until_there_is_room_for_them(ledger: Ledger) -> None:
    day = NOW.date() - DAY
    read(ledger, REGION, {day: {**of(many(20)), **of(many(20), OTHER_ACCOUNT)}})
    dated(ledger, most=39).update()
    assert named_keys(ledger) == {"region": 15}
    dated(ledger, most=40).update()
    assert named_keys(ledger) == {"region": 15}
    dated(ledger, most=45).update()
    assert named_keys(ledger) == {"region": 20}


@pytest.mark.parametrize(
    "name", ["tag:aws:createdBy", "cost_category:Cost: $ by team", "usage_type", "charge_type"]
)
def test_a_key_that_vanishes_goes_to_zero_in_every_family(ledger: Ledger, name: str) -> None:
    day, dimension = NOW.date() - DAY, parse_dimension(name)
    family = DAILY_BY[dimension.kind].name
    for number, keys in enumerate(({"": 1, "gone": 2}, {"new": 4})):
        read(ledger, dimension, {day: of(keys)}, NOW + timedelta(hours=number))
        dated(ledger, NOW + timedelta(hours=number)).update()
    found = {label: usd for _, _, _, label, usd in totals(ledger, day, day + DAY, [family])}
    labels = {
        value: pack_labels(dimension.labels(value)) if dimension.key else value
        for value in ("", "gone", "new")
    }
    assert found == {labels[""]: 0.0, labels["gone"]: 0.0, labels["new"]: 4.0}
