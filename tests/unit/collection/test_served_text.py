"""The text of a scrape, plain and gzipped, is that of what was published, however it got there."""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from gzip_member import unpacked
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.collection.exposition import BLOCK_BYTES, Exposition
from exporter.collection.health import FAILURE, FOLDED, INTERVAL, LAST_SUCCESS, SERIES, SUCCESS
from exporter.collection.result import CollectionResult, Key
from exporter.collection.store import Store
from exporter.core.exposition import header, render
from exporter.core.metric import Family, Sample

START = datetime(2026, 5, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FAMILIES = tuple(
    Family(f"aws_test_{name}", f"Help of {name}.", ("account_id", "unit", "region", "text", "number"))
    for name in ("one", "two")
)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def noise(seed: int, size: int) -> str:
    """Text that does not compress well."""
    return random.Random(seed).randbytes(size // 2).hex()


# The naive store: what has been published, and everything computed from all of it


@dataclass(frozen=True)
class Published:
    result: CollectionResult
    account: str
    interval: timedelta

    def is_served(self, now: datetime) -> bool:
        read = self.result.succeeded_at
        ends = [self.result.valid_until] if self.result.valid_until else []
        ends += [read + 3 * self.interval] if read else []
        return not ends or now < min(ends)


class Naive:
    def __init__(self) -> None:
        self.published: dict[Key, Published] = {}

    def publish(self, key: Key, result: CollectionResult, account: str, interval: timedelta) -> None:
        if result.error is not None:
            last = self.published.get(key)
            kept = (
                last.result if last else CollectionResult(samples=(), attempted_at=START, succeeded_at=None)
            )
            result = replace(
                kept,
                attempted_at=result.attempted_at,
                succeeded_at=result.succeeded_at or kept.succeeded_at,
                error=result.error,
            )
        self.published[key] = Published(result, account, interval)

    def samples(self, now: datetime) -> list[Sample]:
        found = []
        for published in self.published.values():
            if published.is_served(now):
                found += published.result.samples
        for unit in {key.unit for key in self.published}:
            served = [
                each.result
                for key, each in self.published.items()
                if key.unit == unit and each.is_served(now)
            ]
            found.append(SERIES(sum(len(result.samples) for result in served), collector=unit))
            found.append(FOLDED(sum(result.folded for result in served), collector=unit))
        for owner in {owner_of(key) for key in self.published}:
            mine = {key: each for key, each in self.published.items() if owner_of(key) == owner}
            # Of all units of a collector the interval is the same.
            found.append(INTERVAL(next(iter(mine.values())).interval.total_seconds(), collector=owner))
            found += health(owner, {key: each for key, each in mine.items() if key.account_id})
        return found


def owner_of(key: Key) -> str:
    return key.unit.partition("_")[0]


def health(owner: str, units: dict[Key, Published]) -> list[Sample]:
    """By definition, from all units of a collector."""
    if not units:
        return []
    labels = {"collector": owner, "account_id": "", "account": ""}
    found = [SUCCESS(all(each.result.error is None for each in units.values()), **labels)]
    good = [
        each.result.succeeded_at
        for each in units.values()
        if each.result.error is None and each.result.succeeded_at
    ]
    if good:
        found.append(LAST_SUCCESS(min(good).timestamp(), **labels))
    for account_id in {key.account_id for key in units}:
        of_account = {key: each for key, each in units.items() if key.account_id == account_id}
        failing: defaultdict[str, list[Key]] = defaultdict(list)
        for key, each in of_account.items():
            if each.result.error is not None:
                failing[each.result.error].append(key)
        if not failing:
            continue
        labels = {"collector": owner, "account_id": account_id, "account": f"name of {account_id}"}
        found.append(SUCCESS(0, **labels))
        read = [each.result.succeeded_at for each in of_account.values()]
        if None not in read:
            found.append(LAST_SUCCESS(min(moment for moment in read if moment).timestamp(), **labels))
        for kind, keys in failing.items():
            names, regions = {key.unit for key in keys}, {key.region for key in keys}
            found.append(
                FAILURE(
                    1,
                    unit=names.pop() if len(names) == 1 else "",
                    region=regions.pop() if len(regions) == 1 else "",
                    kind=kind,
                    **labels,
                )
            )
    return found


def by_family(text: str) -> dict[str, list[str]]:
    """Sorted lines by header, which no family may have twice."""
    families: dict[str, list[str]] = {}
    lines: list[str] = []
    rows = text.splitlines(keepends=True)
    for index, row in enumerate(rows):
        if row.startswith("# HELP "):
            head = row + rows[index + 1]
            assert head not in families
            lines = families[head] = []
        elif not row.startswith("# TYPE "):
            lines.append(row)
    return {head: sorted(lines) for head, lines in families.items()}


def naive_text(samples: list[Sample]) -> str:
    return "".join(header(family) + text for family, text in render(samples).items())


KEYS = st.builds(
    Key, st.sampled_from(["a_x", "a_y", "b_z"]), st.sampled_from(["1", "2"]), st.sampled_from(["", "r", "s"])
) | st.just(Key("view"))
SIZES = st.sampled_from([4, 4, 4, 2000, BLOCK_BYTES // 3, BLOCK_BYTES, 3 * BLOCK_BYTES])
STEPS = st.one_of(
    st.tuples(
        st.just("publish"), KEYS, st.lists(st.tuples(st.integers(0, 1), SIZES, st.integers(0, 9)), max_size=3)
    ),
    st.tuples(st.just("publish"), KEYS, st.just([])),
    st.tuples(st.just("fail"), KEYS, st.sampled_from(["throttled", "access_denied"])),
    st.tuples(st.just("go on"), st.just(Key("")), st.integers(-120, 300)),
    st.tuples(st.just("forget"), KEYS, st.just("")),
    st.tuples(st.just("forget account"), KEYS, st.just("")),
    st.tuples(st.just("forget unit"), KEYS, st.just("")),
    st.tuples(st.just("scrape"), st.just(Key("")), st.just("")),
)


class Both:
    """A store and the naive one, of which the same is asked."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store, self.naive = Store(self.clock), Naive()

    def publish(self, key: Key, result: CollectionResult) -> None:
        # A view has neither account nor owner.
        account = f"name of {key.account_id}" if key.account_id else ""
        self.store.publish(
            key,
            result,
            account=account,
            interval=HOUR,
            owner=owner_of(key) if key.account_id else None,
        )
        self.naive.publish(key, result, account, HOUR)

    def step(self, what: str, key: Key, argument: object) -> None:
        now, published = self.clock.now, self.naive.published
        match what, argument:
            case "publish", list(rows):
                family = FAMILIES[0 if owner_of(key) == "a" else 1]
                samples = tuple(
                    replace(family, name=f"{family.name}{kind}_{owner_of(key)}")(
                        number,
                        account_id=key.account_id,
                        unit=key.unit,
                        region=key.region,
                        text=noise(number, size),
                        number=str(index),
                    )
                    for index, (kind, size, number) in enumerate(rows)
                )
                until = now + 2 * HOUR if len(rows) == 1 else None
                self.publish(
                    key,
                    CollectionResult(
                        samples=samples,
                        attempted_at=now,
                        succeeded_at=now,
                        folded=len(rows),
                        valid_until=until,
                    ),
                )
            case "fail", str(kind):
                self.publish(
                    key, CollectionResult(samples=(), attempted_at=now, succeeded_at=None, error=kind)
                )
            case "go on", int(minutes):
                self.clock.now += timedelta(minutes=minutes)
            case "forget", _:
                self.store.forget([key])
                published.pop(key, None)
            case "forget account", _:
                self.store.forget_accounts({key.account_id})
                self.naive.published = {
                    k: v for k, v in published.items() if k.account_id in ("", key.account_id)
                }
            case "forget unit", _:
                self.store.forget_units({key.unit, "view"})
                self.naive.published = {k: v for k, v in published.items() if k.unit in (key.unit, "view")}
            case _:
                self.check()

    def check(self) -> None:
        snapshot = self.store.scrape()
        plain = snapshot.plain(b"own 1\n")
        assert plain.endswith(b"own 1\n")
        assert unpacked(snapshot.gzipped(b"own 1\n")) == plain
        assert unpacked(snapshot.gzipped()) == snapshot.plain() == plain.removesuffix(b"own 1\n")
        expected = self.naive.samples(self.clock.now)
        assert by_family(snapshot.plain().decode()) == by_family(naive_text(expected))
        assert sorted(map(str, self.store.scraped_samples())) == sorted(map(str, expected))
        assert {(key, result.error) for key, result in self.store.results().items() if result.error} == set(
            self.store.failures()
        )
        assert self.store.results() == {key: each.result for key, each in self.naive.published.items()}
        for account_id in ("1", "2", ""):
            keys = [key for key in self.naive.published if key.account_id == account_id]
            assert sorted(map(str, self.store.keys_of(account_id))) == sorted(map(str, keys))


@settings(max_examples=400, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_whatever_happens_the_text_is_that_of_what_is_published(steps: list[tuple[str, Key, object]]) -> None:
    both = Both()
    for step in steps:
        both.step(*step)
    both.check()
    both.clock.now += timedelta(days=1)
    both.check()


# Blocks

LINES = Family("aws_test_lines", "Lines.", ("slot", "text"))


def line(slot: int, size: int, seed: int = 0) -> bytes:
    return f'aws_test_lines{{slot="{slot}",text="{noise(1000 * slot + seed, size)}"}} 1\n'.encode()


def compressed(exposition: Exposition) -> list[bytes]:
    """The blocks of a family as a scrape has compressed them."""
    snapshot = exposition.snapshot()
    assert unpacked(snapshot.gzipped()) == snapshot.plain()
    return [packed for family in snapshot._families for packed in family.part().packed]


def test_a_change_moves_no_block_but_its_own() -> None:
    exposition = Exposition()
    for slot in range(300):
        exposition.put(slot, LINES, line(slot, 2000))
    before = compressed(exposition)
    assert 20 < len(before) < 35
    for slot, size in ((100, 2000), (101, 2500), (102, 10), (103, BLOCK_BYTES), (103, 10)):
        exposition.put(slot, LINES, line(slot, size, seed=1))
        after = compressed(exposition)
        # The same objects: nothing was compressed again. What has grown was split.
        assert len(set(map(id, before)) - set(map(id, after))) <= 1 + (size == 10)
        assert len(set(map(id, after)) - set(map(id, before))) <= 3
        before = after


def test_a_publish_of_the_same_text_changes_nothing() -> None:
    store = Store(Clock())
    result = CollectionResult(samples=(LINES(1, slot="1", text="x"),), attempted_at=START, succeeded_at=START)
    store.publish(Key("a", "1"), result, interval=HOUR)
    before = store.scrape()
    store.publish(Key("a", "1"), result, interval=HOUR)
    assert store.scrape() is before


def test_a_block_that_grows_is_split_and_what_shrinks_is_joined() -> None:
    exposition = Exposition()
    for slot in range(30):
        exposition.put(slot, LINES, line(slot, 500))
    assert len(compressed(exposition)) == 2, "HELP and TYPE, and one block"
    for slot in range(30):
        exposition.put(slot, LINES, line(slot, 20_000))
    assert 10 <= len(compressed(exposition)) - 1 <= 30
    (family,) = exposition.snapshot()._families
    assert max(sum(map(len, lines.texts)) for lines in family.blocks) <= BLOCK_BYTES
    for slot in range(30):
        exposition.put(slot, LINES, line(slot, 20))
    assert len(compressed(exposition)) == 2
    for slot in range(29):
        exposition.drop(slot, LINES)
    assert len(compressed(exposition)) == 2
    exposition.drop(29, LINES)
    assert exposition.snapshot().plain() == b""


def test_a_long_text_is_compressed_again_only_where_it_changed() -> None:
    """A view is one result, and changes a few lines at a time."""
    rows = [line(slot, 150) for slot in range(10_000)]
    exposition = Exposition()
    exposition.put("view", LINES, b"".join(rows))
    before = compressed(exposition)
    assert len(before) > 20
    rows[3000] = line(3000, 150, seed=1)  # another value
    rows.insert(7000, line(10_000, 150))  # another line
    exposition.put("view", LINES, b"".join(rows))
    after = compressed(exposition)
    known = set(map(id, before))
    assert sum(id(packed) not in known for packed in after) <= 4


def test_many_small_changes_do_not_leave_a_long_text_in_shreds() -> None:
    """A line that is added at the same place again and again would be a part each time."""
    rows = [line(slot, 150) for slot in range(1000)]
    exposition = Exposition()
    exposition.put("view", LINES, b"".join(rows))
    whole = len(compressed(exposition))
    for number in range(60):
        rows.insert(0, line(1000 + number, 150))
        exposition.put("view", LINES, b"".join(rows))
        assert len(compressed(exposition)) <= 2 * whole + 12


# Threads


@pytest.mark.usefixtures("eager_switches")
def test_a_scrape_sees_all_of_a_publish_or_nothing() -> None:
    store = Store(Clock())
    done = threading.Event()
    seen: set[str] = set()
    faults: list[BaseException] = []

    def publish() -> None:
        number = 0
        while len(seen) < 20 and not faults:
            number += 1
            samples = tuple(
                family(number, account_id="1", unit="a", region=str(row), text=noise(row, 400), number="")
                for family in FAMILIES
                for row in range(20)
            )
            store.publish(
                Key("a", "1"),
                CollectionResult(samples=samples, attempted_at=START, succeeded_at=START),
                interval=HOUR,
            )
            if number % 7 == 0:
                store.forget([Key("a", "1")])
        done.set()

    def scrape() -> None:
        while not done.is_set():
            snapshot = store.scrape()
            text = unpacked(snapshot.gzipped())
            assert snapshot.plain() == text
            rows = [row for row in text.decode().splitlines() if row.startswith("aws_test_")]
            assert len(rows) in (0, 40)
            values = {row.rpartition(" ")[2] for row in rows}
            assert len(values) <= 1
            seen.update(values)

    def guarded() -> None:
        try:
            scrape()
        except BaseException as error:  # the test reports it
            faults.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(2)]
    for thread in threads:
        thread.start()
    publish()
    for thread in threads:
        thread.join(60)
    assert not faults
