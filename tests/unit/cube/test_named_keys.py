"""Which keys have a name: no more series than may be, and the largest keys of each account and month."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cube.dimensions import OTHER, parse_dimension
from exporter.cube.named_keys import Of, Ranks, SeriesCount, largest, most_keys, rank

ACCOUNTS = ("111111111111", "222222222222")
NAMES = ("region", "resource", "tag:team", "tag:stage")
KEYS = ("", OTHER, *(f"key-{number:03}" for number in range(130)))

COSTS = st.dictionaries(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(ACCOUNTS)),
    st.lists(st.sampled_from(KEYS), unique=True, max_size=130),
    max_size=4,
)
MONTHS = st.lists(COSTS, min_size=1, max_size=3)


def ranks(month: Mapping[Of, list[str]]) -> dict[Of, Ranks]:
    return rank((*of, key, 1000 - at) for of, keys in month.items() for at, key in enumerate(keys))


def series_of(months: list[dict[Of, list[str]]], chosen: list[dict[Of, frozenset[str]]], kind: str) -> int:
    """The series with these keys named, counted one by one."""
    found = set()
    for month, named in zip(months, chosen, strict=True):
        for of, keys in month.items():
            if parse_dimension(of[0]).kind == kind:
                found |= {(of, key if key in named.get(of, ()) else OTHER) for key in keys}
    return len(found)


@settings(max_examples=40, deadline=None)
@given(MONTHS, st.data())
def test_the_series_are_counted_as_they_come_to_be(
    months: list[dict[Of, list[str]]], data: st.DataObject
) -> None:
    """At most so many, where keys that have a name keep it; exactly so many, where none has one yet."""
    ranked = [ranks(month) for month in months]
    wanted = data.draw(st.sampled_from((0, 1, 3, 10, 20)))
    fresh = [
        {of: largest(known.largest, frozenset(), wanted) for of, known in each.items()} for each in ranked
    ]
    count = SeriesCount((each, {}) for each in ranked)
    kinds = {parse_dimension(of[0]).kind for month in months for of, keys in month.items() if keys}
    for kind in kinds:
        assert count.of(kind, wanted) == series_of(months, fresh, kind)
    named = {
        of: frozenset(data.draw(st.lists(st.sampled_from(keys), max_size=30)))
        for of, keys in months[-1].items()
        if keys
    }
    kept = [
        *fresh[:-1],
        {of: largest(known.largest, named.get(of, frozenset()), wanted) for of, known in ranked[-1].items()},
    ]
    count = SeriesCount((each, named if each is ranked[-1] else {}) for each in ranked)
    for kind in kinds:
        assert count.of(kind, wanted) >= series_of(months, kept, kind)


@settings(max_examples=40, deadline=None)
@given(MONTHS, st.integers(0, 600))
def test_as_many_keys_have_a_name_as_fit(months: list[dict[Of, list[str]]], most: int) -> None:
    count = SeriesCount((ranks(month), {}) for month in months)
    keys = count.fit(most)
    total = sum(count.of(kind, number) for kind, number in keys.items())
    assert total <= most or not any(keys.values())
    if sum(count.of(kind, most_keys(kind)) for kind in keys) <= most:
        assert keys == {kind: most_keys(kind) for kind in keys}


def test_keys_are_ranked_by_what_they_cost_either_way_and_what_has_none_comes_first() -> None:
    costs = {"small": 1, "credit": -50, "large": 40, "": 0, OTHER: 10**9, "also": -1}
    found = rank(("region", ACCOUNTS[0], key, units) for key, units in costs.items())
    assert found == {
        ("region", ACCOUNTS[0]): Ranks(("", "credit", "large", "also", "small"), 5, has_other=True)
    }
    assert rank([("region", ACCOUNTS[0], OTHER, 5)]) == {
        ("region", ACCOUNTS[0]): Ranks((), 0, has_other=True)
    }


@pytest.mark.parametrize(
    ("named", "most", "expected"),
    [
        ("", 2, "ab"),
        ("cd", 2, "cd"),  # among twice as many
        ("ce", 2, "ac"),  # e is not
        ("abcd", 2, "ab"),
        ("z", 2, "ab"),
        ("d", 0, ""),
        ("f", 9, "abcdef"),
    ],
)
def test_what_has_a_name_keeps_it_while_it_is_among_twice_as_many(
    named: str, most: int, expected: str
) -> None:
    assert largest("abcdef", frozenset(named), most) == frozenset(expected)


def test_what_has_no_key_keeps_its_place_before_those_that_are_named() -> None:
    assert largest(("", "a", "b"), frozenset({"a"}), 1) == {""}


def test_a_key_has_its_series_by_the_best_of_its_months() -> None:
    of = ("region", ACCOUNTS[0])
    keys = [f"key-{number:03}" for number in range(30)]
    months = [{of: keys}, {of: keys[::-1]}]
    assert SeriesCount((ranks(month), {}) for month in months).of("region", 20) == 30 + 1
    assert SeriesCount((ranks(month), {}) for month in months).of("region", 5) == 10 + 1
