"""Series limits keep the largest series and every total."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.folding import OTHER, fold
from exporter.core.metric import Family, Folded, Sample

COST = Family("test_cost_usd", "Cost.", ("account", "region", "action"))
WASTE = Family("test_waste_usd", "Waste.", ("account", "region", "action"))
FOLDED = ("region", "action")

_NAME = st.sampled_from(["a", "b", "c", OTHER])
_KEYS = st.tuples(_NAME, _NAME, _NAME)
_SERIES = st.dictionaries(_KEYS, st.integers(-50, 1000), max_size=30)


def samples(family: Family, series: dict[tuple[str, str, str], int]) -> list[Sample]:
    return [Sample(family, values, value) for values, value in series.items()]


@given(_SERIES, st.integers(1, 12))
def test_the_largest_are_kept_and_the_total_is_true(
    series: dict[tuple[str, str, str], int], limit: int
) -> None:
    found = fold(samples(COST, series), FOLDED, limit)
    served = {each.values: each.value for each in found if isinstance(each, Sample)}
    folded = [each.series for each in found if isinstance(each, Folded)]
    assert len(served) == len(found) - len(folded), "no series comes twice"
    assert len(served) <= limit
    assert sum(served.values()) == sum(series.values())
    if len(series) <= limit:
        assert (served, folded) == (series, [])
        return
    kept = {values for values in served if OTHER not in values}
    assert folded == [len(series) - len(kept)]
    assert {values: served[values] for values in kept} == {values: series[values] for values in kept}
    gone = [value for values, value in series.items() if OTHER not in values and values not in kept]
    assert min((series[values] for values in kept), default=1000) >= max(gone, default=-50)


def test_accounts_keep_their_own_other_while_there_is_room() -> None:
    series = {(account, f"r{number}", "stop"): number for account in "ab" for number in range(5)}
    found = fold(samples(COST, series), FOLDED, 4)
    assert found == [
        COST(4, account="a", region="r4", action="stop"),
        COST(4, account="b", region="r4", action="stop"),
        COST(6, account="a", region=OTHER, action=OTHER),
        COST(6, account="b", region=OTHER, action=OTHER),
        Folded(8),
    ]


def test_where_even_these_are_too_many_the_smallest_become_one() -> None:
    series = {(account, region, "stop"): size for size, account in enumerate("abcd") for region in ("r", "s")}
    assert fold(samples(COST, series), FOLDED, 2) == [
        COST(6, account="d", region=OTHER, action=OTHER),
        COST(6, account=OTHER, region=OTHER, action=OTHER),
        Folded(8),
    ]


def test_each_family_has_the_limit_for_itself() -> None:
    many = {("a", f"r{number}", "stop"): number for number in range(5)}
    found = fold(samples(COST, many) + samples(WASTE, {("a", "r", "stop"): 1}), FOLDED, 3)
    counted = [each.family if isinstance(each, Sample) else each for each in found]
    assert counted == [COST, COST, COST, Folded(3), WASTE]


@pytest.mark.parametrize("limit", [5, 6])
def test_as_many_as_the_limit_are_left_alone(limit: int) -> None:
    given = samples(COST, {("a", f"r{number}", "stop"): number for number in range(5)})
    assert fold(given, FOLDED, limit) == given
