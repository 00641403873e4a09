"""Series of an account are bounded: sums stay as they are, and what is named stays named under small changes."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.core.folding import OTHER, GroupFold, choose_named, fold_unnamed
from exporter.core.metric import Family, Folded, Sample
from exporter.core.series_settings import SeriesSettings, SeriesShares

COUNT = Family("test_things", "Things.", ("account_id", "account", "region", "kind", "state"))
USD = Family("test_things_usd", "Their price.", ("account_id", "account", "region", "kind"))
BEGAN = Family(
    "test_things_timestamp_seconds",
    "Since when.",
    ("account_id", "account", "region", "kind"),
    is_summable=False,
)
TOTAL = Family("test_account_things", "Not by kind.", ("account_id", "account"))
FOLD = GroupFold(label="kind", steps=(("region",), ("region", "kind")))
ACCOUNT = ("111122223333", "prod")

_REGIONS = st.sampled_from(["us-east-1", "eu-west-1", "ap-southeast-1", OTHER])
_KINDS = st.sampled_from([*(f"kind-{number}" for number in range(12)), OTHER])
_STATES = st.sampled_from(["running", "stopped", OTHER])
_VALUES = st.integers(0, 1000).map(float)


@st.composite
def estates(draw: st.DrawFn) -> list[Sample]:
    """Series of one account, each once."""
    counts = draw(st.dictionaries(st.tuples(_REGIONS, _KINDS, _STATES), _VALUES, max_size=60))
    prices = draw(st.dictionaries(st.tuples(_REGIONS, _KINDS), _VALUES, max_size=40))
    began = draw(st.sets(st.tuples(_REGIONS, _KINDS), max_size=20))
    return [
        *(Sample(COUNT, (*ACCOUNT, *key), value) for key, value in counts.items()),
        *(Sample(USD, (*ACCOUNT, *key), value) for key, value in prices.items()),
        *(Sample(BEGAN, (*ACCOUNT, *key), 1.7e9) for key in began),
        *draw(st.sampled_from([[], [Sample(TOTAL, ACCOUNT, 5.0)]])),
    ]


def importance(samples: list[Sample]) -> dict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    for sample in samples:
        if "kind" in sample.family.labels:
            found[sample.values[3]] += sample.value if sample.family is USD else 0.0
    return found


def sums(found: list[Any]) -> dict[Family, float]:
    totals: defaultdict[Family, float] = defaultdict(float)
    for each in found:
        if isinstance(each, Sample) and each.family.is_summable:
            totals[each.family] += each.value
    return dict(totals)


def by_state(found: list[Any]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for each in found:
        if isinstance(each, Sample) and each.family is COUNT:
            counted[each.values[4]] += int(each.value)
    return +counted


@given(estates(), st.integers(8, 80))
def test_the_bound_is_kept_and_every_sum_is_conserved(samples: list[Sample], limit: int) -> None:
    found, steps = FOLD.fold(samples, limit, importance(samples))
    kept = [each for each in found if isinstance(each, Sample)]
    assert len(kept) <= max(limit, 4)
    assert len({(each.family, each.values) for each in kept}) == len(kept)
    assert sums(found) == sums(samples)
    assert (Folded in map(type, found)) == bool(steps)
    if len(samples) <= limit:
        assert (found, steps) == (samples, {})


@given(estates(), st.integers(12, 80))
def test_what_is_left_of_the_labels_stays_true(samples: list[Sample], limit: int) -> None:
    found, _ = FOLD.fold(samples, limit, importance(samples))
    places = {each.values[2:4] for each in found if isinstance(each, Sample) and each.family is COUNT}
    if len({each.values[4] for each in samples if each.family is COUNT}) + 6 <= limit:
        assert by_state(found) == by_state(samples)
    for region, kind in places:
        if OTHER not in (region, kind):
            assert {
                s.values: s.value for s in found if isinstance(s, Sample) and s.values[2:4] == (region, kind)
            } == {s.values: s.value for s in samples if s.values[2:4] == (region, kind)}


@given(estates(), st.integers(12, 80))
def test_a_kind_is_named_in_every_family_or_in_none(samples: list[Sample], limit: int) -> None:
    found, steps = FOLD.fold(samples, limit, importance(samples))
    kept = [each for each in found if isinstance(each, Sample) and "kind" in each.family.labels]
    for kind in {each.values[3] for each in samples if "kind" in each.family.labels} - {OTHER}:
        own = {each.family for each in samples if "kind" in each.family.labels and each.values[3] == kind}
        shown = {each.family for each in kept if each.values[3] == kind}
        if shown and steps.get(kind, 0) == 0:
            assert shown == own
        elif shown:
            assert shown == own - {BEGAN}


@settings(max_examples=60)
@given(estates(), st.integers(20, 80), st.randoms())
def test_folded_groups_stay_folded_while_a_state_comes_and_goes(
    samples: list[Sample], limit: int, random: Any
) -> None:
    _, steps = FOLD.fold(samples, limit, importance(samples))
    if not steps:
        return
    less = [sample for sample in samples if sample is not random.choice(samples)]
    ranks = importance(samples)
    _, after = FOLD.fold(less, limit, ranks, steps)
    _, back = FOLD.fold(samples, limit, ranks, after)
    assert back == steps


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.floats(-100, 1000), max_size=20), st.integers(1, 20)
)
def test_the_most_expensive_are_named_and_there_is_room_for_other(costs: dict[str, float], most: int) -> None:
    named = choose_named(costs, most)
    if len(costs) <= most:
        assert named == costs.keys()
    else:
        assert len(named) == most - 1
        least = min((abs(costs[name]) for name in named), default=0.0)
        assert all(abs(usd) <= least for name, usd in costs.items() if name not in named) or most == 1


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.floats(1, 1000), min_size=1, max_size=20),
    st.integers(1, 20),
    st.data(),
)
def test_names_stay_while_costs_move_by_less_than_half(
    costs: dict[str, float], most: int, data: st.DataObject
) -> None:
    named = choose_named(costs, most)
    moved = {name: usd * data.draw(st.floats(0.85, 1.2)) for name, usd in costs.items()}
    assert choose_named(moved, most, before=named) == named


def test_a_group_stays_folded_until_there_is_room_to_spare() -> None:
    samples = [
        Sample(USD, (*ACCOUNT, "us-east-1", f"kind-{number:02}"), 20.0 - number) for number in range(12)
    ]
    ranks = importance(samples)
    _, narrow = FOLD.fold(samples, 9, ranks)
    _, wider = FOLD.fold(samples, 10, ranks)
    assert {kind for kind, step in narrow.items() if step == 2} == {
        f"kind-{number:02}" for number in range(8, 12)
    }
    assert {kind for kind, step in wider.items() if step == 2} == {
        f"kind-{number:02}" for number in range(9, 12)
    }
    assert FOLD.fold(samples, 10, ranks, narrow)[1] == narrow
    assert FOLD.fold(samples, 14, ranks, narrow) == (samples, {})


def test_where_even_the_last_step_is_too_many_a_family_is_one_series() -> None:
    samples = [
        Sample(COUNT, (*ACCOUNT, "us-east-1", "kind-1", f"state-{number}"), 2.0) for number in range(30)
    ]
    samples.append(Sample(BEGAN, (*ACCOUNT, "us-east-1", "kind-1"), 1.7e9))
    found, _ = FOLD.fold(samples, 5, importance(samples))
    assert [each for each in found if isinstance(each, Sample)] == [
        Sample(COUNT, (*ACCOUNT, OTHER, OTHER, OTHER), 60.0)
    ]


def test_what_must_stay_stays_and_a_much_larger_one_replaces_another() -> None:
    costs = {"a": 100.0, "b": 90.0, "c": 1.0, "d": 80.0}
    assert choose_named(costs, 3) == {"a", "b"}
    assert choose_named(costs, 3, always={"c"}) == {"a", "c"}
    assert choose_named({**costs, "d": 130.0}, 3, before={"a", "b"}) == {"a", "b"}
    assert choose_named({**costs, "d": 140.0}, 3, before={"a", "b"}) == {"a", "d"}


SERVICE = Family("test_cost_usd", "Cost.", ("account_id", "account", "service"))
SCORE = Family("test_score", "Score.", ("account_id", "account", "service"), is_summable=False)
FINDING = Family("test_finding_usd", "Finding.", ("account_id", "account", "service", "kind"))


def test_services_without_a_name_are_summed_up_by_account_and_scores_left_out() -> None:
    def of(account: str, **costs: float) -> list[Sample]:
        return [Sample(SERVICE, (account, account, name), usd) for name, usd in costs.items()]

    samples = [
        *of("1", a=5.0, b=2.0, c=1.0, other=0.5),
        *of("2", a=5.0, b=2.0),
        Sample(SCORE, ("1", "1", "a"), 3.0),
        Sample(SCORE, ("1", "1", "b"), 4.0),
        Sample(FINDING, ("1", "1", "b", "spike"), 4.0),
    ]
    assert list(fold_unnamed(samples, "service", {"1": {"a"}})) == [
        *of("1", a=5.0),
        *of("2", a=5.0, b=2.0),
        Sample(SCORE, ("1", "1", "a"), 3.0),
        Sample(FINDING, ("1", "1", "b", "spike"), 4.0),
        *of("1", other=3.5),
        Folded(4),
    ]


@pytest.mark.parametrize(
    ("accounts", "bound"), [(1, 250), (1000, 250), (1001, 240), (1041, 240), (2500, 100), (10**6, 30)]
)
def test_an_account_has_its_bound_and_less_where_there_are_many(accounts: int, bound: int) -> None:
    assert SeriesSettings().of_account(accounts) == bound


def test_collectors_share_an_account_by_weight_and_leave_a_seventh_to_the_rest() -> None:
    shares = SeriesShares(weights={"cost": 8, "inventory": 8, "usage": 4, "prices": 0})
    assert [shares.of(name, 10) for name in ("cost", "inventory", "usage")] == [85, 85, 42]
    assert shares.of("prices", 10) > 10**5
    assert SeriesShares(weights={"cost": 8}).of("cost", 10) == 212
    assert SeriesShares(weights={"cost": 8}).of("cost", 2500) == 85
