"""The bench counts as it says, and keeps what is judged apart from what is tuned."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.anomaly import ours
from bench.anomaly.__main__ import main
from bench.anomaly.alternatives import alternatives
from bench.anomaly.draft import Draw, Label, Neutral
from bench.anomaly.evaluate import Evaluated, Task, evaluate
from bench.anomaly.events import put_events
from bench.anomaly.judging import together
from bench.anomaly.organization import Organization, generate
from bench.anomaly.registry import classes
from bench.anomaly.report import as_json
from bench.anomaly.run import Size, hold_back, splits, tune
from bench.anomaly.scoring import FALSE, Alarm, Score, Signs, collect, messages, score, truth
from bench.anomaly.split import split
from bench.anomaly.world import DAYS, HISTORY_DAYS, draw_world

KINDS = list(classes().values())


def one_series(labels: tuple[Label, ...], neutral: tuple[Neutral, ...] = ()) -> Organization:
    """A single series whose labels are these."""
    drawn = generate(1, KINDS[:1], 1)
    return Organization(
        1, drawn.world, drawn.classes, drawn.keys, drawn.usage, drawn.other, (labels,), (neutral,), drawn.early, ()
    )  # fmt: skip


def signs(alarms: dict[int, int]) -> Signs:
    row = np.zeros((1, DAYS), dtype=np.int8)
    for day, sign in alarms.items():
        row[0, day] = sign
    return row


def counted(organization: Organization, alarms: dict[int, int]) -> tuple[int, int, int]:
    """Events, found, false."""
    found = Score.of(score(truth(organization), signs(alarms)))
    return found.events, found.found, found.false


def test_alarms_with_one_silent_day_between_them_are_one_message() -> None:
    quiet = truth(one_series(()))
    found = messages(quiet, signs({400: 1, 402: 1, 405: 1, 406: -1, 407: -1}), 1)
    assert found.first.tolist() == [400, 405]
    assert messages(quiet, signs({406: -1, 407: -1, 409: -1}), -1).first.tolist() == [406]


def test_an_alarm_counts_for_an_event_of_its_sign_only() -> None:
    spike = one_series((Label("spike", 1, 410, 412, 412),))
    assert {
        "found": counted(spike, {411: 1}),
        "missed": counted(spike, {}),
        "other sign": counted(spike, {411: -1}),
        "too late": counted(spike, {414: 1}),
        "goes on": counted(spike, {410: 1, 412: 1, 413: 1}),
    } == {
        "found": (1, 1, 0),
        "missed": (1, 0, 0),
        "other sign": (1, 0, 1),
        "too late": (1, 0, 1),
        "goes on": (1, 1, 0),
    }


def test_a_lasting_change_is_found_within_a_week_and_no_news_after_two() -> None:
    shift = one_series((Label("shift", 1, 410, 416, 423),))
    assert [counted(shift, {day: 1}) for day in (410, 416, 417, 423, 424)] == [
        (1, 1, 0),
        (1, 1, 0),
        (1, 0, 0),
        (1, 0, 0),
        (1, 0, 1),
    ]


def test_a_neutral_day_counts_neither_way_for_its_sign() -> None:
    charge = one_series((), (Neutral(1, 410, 410),))
    assert [counted(charge, {day: sign}) for day, sign in ((410, 1), (410, -1), (412, 1))] == [
        (0, 0, 0),
        (0, 0, 1),
        (0, 0, 1),
    ]


def _naive(row: list[int], labels: list[Label], neutral: list[Neutral]) -> tuple[int, int, int]:
    """The rules of the scorer, one day after the other."""
    joined: list[tuple[int, list[int]]] = []
    for day, sign in enumerate(row):
        open_ = [each for each in joined if sign and each[0] == sign and day - each[1][-1] <= 2]
        if open_:
            open_[0][1].append(day)
        elif sign:
            joined.append((sign, [day]))
    good = [(each.sign, each.first, each.excused) for each in labels]
    good += [(each.sign, each.first, each.last) for each in neutral]
    false = sum(
        not any(sign == of and first <= day <= last for of, first, last in good for day in days)
        for sign, days in joined
    )
    found = sum(any(row[day] == each.sign for day in range(each.first, each.found_by + 1)) for each in labels)
    return len(labels), found, false


_SPANS = st.tuples(st.sampled_from([-1, 1]), st.integers(HISTORY_DAYS, DAYS - 30), st.integers(0, 9))


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.integers(HISTORY_DAYS, DAYS - 1), st.sampled_from([-1, 1]), max_size=30),
    st.lists(_SPANS, max_size=4),
    st.lists(_SPANS, max_size=3),
)
def test_scoring_arrays_is_scoring_day_by_day(
    alarms: dict[int, int], events: list[tuple[int, int, int]], spans: list[tuple[int, int, int]]
) -> None:
    labels = [Label("spike", sign, first, first + days, first + 2 * days) for sign, first, days in events]
    neutral = [Neutral(sign, first, first + days) for sign, first, days in spans]
    row = signs(alarms)
    assert counted(one_series(tuple(labels), tuple(neutral)), alarms) == _naive(
        row[0].tolist(), labels, neutral
    )


def test_an_alarm_counts_at_the_day_that_it_is_about_up_to_four_days_later() -> None:
    dip = one_series((Label("dip", -1, 410, 410, 410),))
    found = collect(dip, [(414, [Alarm(0, 410, -1)])])
    assert Score.of(score(truth(dip), found.signs)).found == 1
    for alarm in (Alarm(0, 409, -1), Alarm(0, 415, -1), Alarm(0, 414, 0)):
        with pytest.raises(ValueError, match="alarm about day"):
            collect(dip, [(414, [alarm])])


def test_an_organization_is_the_same_for_the_same_seed_and_shows_days_as_they_were_known() -> None:
    one, again, other = generate(5, KINDS, 1), generate(5, KINDS, 1), generate(6, KINDS, 1)
    assert np.array_equal(one.usage, again.usage)
    assert one.labels == again.labels
    assert one.unread == again.unread
    assert not np.array_equal(one.usage, other.usage)
    unread = {day for _, day in one.unread}
    (rows, factors), checked = one.early, 0
    for (series, day, final_from), factor in zip(rows.tolist(), factors, strict=True):
        several = (rows[:, 0] == series) & (rows[:, 1] == day)
        if day < HISTORY_DAYS or day in unread or several.sum() > 1:
            continue
        seen = one.seen(day)
        assert seen.usage.shape == (len(one.keys), day + 1)
        assert seen.usage[series, day] == pytest.approx(one.usage[series, day] * factor)
        assert seen.total[series, day] == pytest.approx(seen.usage[series, day] + one.other[series, day])
        if final_from < DAYS:
            assert one.seen(final_from).usage[series, day] == one.usage[series, day]
        checked += 1
    assert checked > 20


def test_an_account_has_a_service_once() -> None:
    keys = generate(3, KINDS, 3).keys
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("seed", [0, 1, 7, 4242])
def test_a_split_has_half_of_each_subject_and_its_pair_the_other_half(seed: int) -> None:
    known = classes()
    one, pair = split(seed, known), split(seed ^ 1, known)
    assert set(one.development) | set(one.held_back) == set(known)
    assert not set(one.development) & set(one.held_back)
    assert (one.development, one.held_back) == (pair.held_back, pair.development)
    assert one == split(seed, known)
    assert one.development != split(seed + 2, known).development
    for subject in {each.subject for each in known.values()}:
        names = {name for name, each in known.items() if each.subject == subject}
        assert abs(len(names & set(one.development)) - len(names) / 2) <= 0.5


def test_there_are_enough_classes_and_the_exporter_names_none() -> None:
    known = classes()
    assert len(known) >= 36
    assert all(each.text for each in known.values())
    source = "\n".join(path.read_text() for path in Path("exporter").rglob("*.py"))
    # Names of one word are everyday words of any file.
    assert [name for name in known if " " in name and f'"{name}"' in source] == []
    assert "bench" not in {line.split(".")[0] for line in source.split() if line.startswith("bench.")}


def test_events_are_worth_a_message() -> None:
    """A spike, dip or drop moves cost by at least $40 and 30% of what its days cost without it."""
    world = draw_world(np.random.default_rng(1))
    checked = set()
    for number, kind in enumerate(KINDS * 6):
        draw = Draw(np.random.default_rng(number), world)
        draft = kind.draw(draw)
        before, first = draft.usage.copy(), len(draft.labels)
        put_events(draw, draft, kind.events)
        labels = draft.labels[first:]
        if any(label.kind == "shift" for label in labels):
            continue
        for label in labels:
            # A longer drop may go over a quiet weekend.
            days = slice(
                label.first,
                label.found_by + 1 if label.sign > 0 else min(label.first + 2, label.found_by + 1),
            )
            moved = label.sign * (draft.usage[days] - before[days])
            assert (moved >= 40 - 1e-6).all(), (kind.name, label)
            assert (moved >= 0.29 * before[days]).all(), (kind.name, label)
            checked.add(label.kind)
    assert checked == {"spike", "dip", "drop"}


def test_alarms_on_every_labelled_day_have_no_fault() -> None:
    organization = generate(9, KINDS, 2)
    found = np.zeros(organization.usage.shape, dtype=np.int8)
    for series, labels in enumerate(organization.labels):
        for label in labels:
            found[series, label.first] = label.sign
    perfect = Score.of(score(truth(organization), found))
    assert (perfect.f1, perfect.rate, perfect.covered_recall) == (1.0, 0.0, 1.0)
    assert perfect.events > len(KINDS)
    assert perfect.precision_at(1.0) == 1.0
    assert Score(100, 90, 27, 0, 0, 1000).precision_at(1.0) == pytest.approx(0.9 / (0.9 + 0.9))


def _without_what_follows(organization: Organization, days: int) -> Organization:
    """The same until so many judged days are over; then something else, and no labels."""
    usage = organization.usage.copy()
    usage[:, HISTORY_DAYS + days :] = np.random.default_rng(1).uniform(
        0, 9, usage[:, HISTORY_DAYS + days :].shape
    )
    return replace(
        organization, usage=usage, labels=((),) * len(usage), neutral=((),) * len(usage), classes=("",) * len(usage)
    )  # fmt: skip


def test_ours_sees_neither_labels_nor_what_follows() -> None:
    organization, days = generate(4, KINDS, 1), 12
    other = _without_what_follows(organization, days)
    candidates = [ours.DEFAULTS]
    for _, (one, two) in zip(
        range(days), zip(ours.replay(organization, candidates), ours.replay(other, candidates), strict=False), strict=False
    ):  # fmt: skip
        assert one == two


@pytest.fixture
def other_methods() -> None:
    """The libraries that the alternatives are made of."""
    pytest.importorskip("statsmodels", reason="the optional extra `bench`")
    pytest.importorskip("sklearn", reason="the optional extra `bench`")


@pytest.mark.usefixtures("other_methods")
def test_ours_is_ahead_on_classes_that_it_was_not_tuned_on() -> None:
    """A whole run in miniature. The bounds are wide: `make bench-anomaly` has the figures."""
    seed = random.SystemRandom().randrange(10**6)

    def run(tasks: Sequence[Task]) -> Iterator[Evaluated]:
        return map(evaluate, tasks)

    size = Size(development=1, held_back=2, per_class=2, large=2)
    parts = [hold_back(seed, of, size, run, tune(seed, of, size, run)) for of in splits(seed, 2)]
    whole = together(parts)
    report = as_json(whole, seed)
    for part in report["splits"]:
        assert set(part["development"]) | set(part["held_back"]) == set(classes())
        assert not set(part["development"]) & set(part["held_back"])
    assert {row["class"] for row in report["by_class"]} == set(classes())
    means = {row["method"]: row for row in report["by_split"] if row["split"] == "mean"}
    own = means.pop("ours")
    assert len(means) == 7
    assert own["f1"] > 0.6, seed
    assert all(row["f1"] < own["f1"] + 0.05 for row in means.values()), seed
    false = int(whole.ours[:, FALSE].sum())
    assert all(int(counts[:, FALSE].sum()) <= false for counts in whole.equal.values()), seed


@pytest.mark.usefixtures("other_methods")
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:Degrees of freedom", "ignore:All-NaN")
def test_alternatives_see_neither_labels_nor_what_follows() -> None:
    organization, days = generate(4, KINDS[::4], 1), 12
    other = _without_what_follows(organization, days)
    for alternative in alternatives().values():
        variant = alternative.variants[0]
        one, two = alternative.measure(organization, variant), alternative.measure(other, variant)
        assert np.array_equal(one.score[:, :days], two.score[:, :days], equal_nan=True), alternative.name


@pytest.mark.long
@pytest.mark.usefixtures("other_methods")
def test_the_commands_print_what_was_judged(tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.json"
    tuned = CliRunner().invoke(main, ["tune", "--split", "6", "--quick", "--save", str(chosen)])
    assert tuned.exception is None, tuned.output
    held_back = split(6, classes()).held_back
    judged = CliRunner().invoke(
        main, ["judge", "--split", "6", "--quick", "--settings", str(chosen), "--json"]
    )
    assert judged.exception is None, judged.output
    report = json.loads(judged.stdout)
    assert {row["class"] for row in report["by_class"]} == set(held_back)
    other = CliRunner().invoke(main, ["judge", "--split", "7", "--quick", "--settings", str(chosen)])
    assert "these settings were chosen on split 6" in other.output
    whole = CliRunner().invoke(main, ["--quick"])
    assert whole.exception is None, whole.output
    assert all(name.split()[0] in whole.output for name in classes())
