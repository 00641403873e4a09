"""The bench counts as it says, and findings are good on organisations that nobody has seen."""

from __future__ import annotations

import random

import numpy as np
import pytest

from bench import anomaly
from bench.anomaly import ALL, METHODS, OURS, Score, measure, messages, score_series
from bench.anomaly_generator import ASSESSED_DAYS, CLASSES, DAYS, HISTORY_DAYS, Event, generate


def signs(**days: int) -> list[int]:
    row = [0] * DAYS
    for day, sign in days.items():
        row[int(day[1:])] = sign
    return row


def test_alarms_with_one_silent_day_between_them_are_one_message() -> None:
    assert messages([0, 1, 0, 1, 0, 0, 1, -1, -1]) == [(1, [1, 3]), (1, [6]), (-1, [7, 8])]


def test_an_alarm_counts_for_an_event_of_its_sign_only() -> None:
    spike = Event(0, "spike", 1, 110, 112, 112, 2.0)
    counted = {
        "found": (signs(d111=1), Score(1, 1, 0, ASSESSED_DAYS, (1,))),
        "missed": (signs(), Score(1, 0, 0, ASSESSED_DAYS, ())),
        "other sign": (signs(d111=-1), Score(1, 0, 1, ASSESSED_DAYS, ())),
        "too late": (signs(d114=1), Score(1, 0, 1, ASSESSED_DAYS, ())),
        "goes on": (signs(d110=1, d112=1, d113=1), Score(1, 1, 0, ASSESSED_DAYS, (0,))),
    }
    assert {name: score_series(row, [spike]) for name, (row, _) in counted.items()} == {
        name: score for name, (_, score) in counted.items()
    }


def test_a_lasting_change_is_no_news_after_two_weeks() -> None:
    shift = Event(0, "spike", 1, 110, 116, 123, 2.0)
    late = score_series(signs(d118=1), [shift])
    assert (late.found, late.false_alarms) == (0, 0)
    assert score_series(signs(d124=1), [shift]).false_alarms == 1


def test_an_organisation_is_the_same_for_the_same_seed_and_shows_late_and_restated_days_as_they_were() -> (
    None
):
    one, again, other = generate(5, 1), generate(5, 1), generate(6, 1)
    assert np.array_equal(one.usage, again.usage)
    assert one.events == again.events
    assert not np.array_equal(one.usage, other.usage)
    assert set(one.classes) == set(CLASSES)
    for series, day, factor, final_from in one.early:
        if day >= HISTORY_DAYS and final_from <= DAYS - 1 and final_from not in one.unread:
            usage, total = one.seen(day)
            assert usage[series, day] == pytest.approx(one.usage[series, day] * factor)
            assert total[series, day] == pytest.approx(usage[series, day] + one.other[series, day])


def test_findings_are_good_on_fresh_organisations() -> None:
    """The bounds are wide: one pair of each class is a small sample. `make bench-anomaly` has the figures."""
    seeds = [random.SystemRandom().randrange(10**6) for _ in range(5)]
    scores = {name: Score() for name in METHODS}
    for seed in seeds:
        organization = generate(seed, 2)
        for name, method in METHODS.items():
            scores[name] += measure(organization, method)[ALL]
    ours = scores[OURS]
    assert ours.f1 is not None, seeds
    assert ours.f1 >= 0.85, (seeds, ours)
    assert ours.false_per_100_pair_months <= 4, (seeds, ours)
    assert all((scores[name].f1 or 0) < ours.f1 - 0.1 for name in METHODS if name != OURS), (seeds, scores)


def test_the_originals_score_can_reach_no_limit_of_three() -> None:
    for size in (2e2, 1e6, 1e12):
        total = np.full((1, 30), 100.0)
        total[0, -1] = size
        assert anomaly.original([], total, total).tolist() == [0]
    steady = np.full((1, 30), 100.0)
    assert anomaly.original([], steady, steady).tolist() == [-1]
