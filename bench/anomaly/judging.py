"""What held-back classes say of each method, and the bounds that it is held against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bench.anomaly.evaluate import Evaluated
from bench.anomaly.scoring import EVENTS, FALSE, FOUND, Score
from bench.anomaly.split import Split
from bench.anomaly.tuning import Chosen
from bench.anomaly.world import JUDGED_DAYS, Numbers, Values

_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Realistic:
    """Ours in a large organization with about one event in 100 pairs a month.

    `sent` and `false` are messages in each week: all that were sent, and the false ones among them.
    """

    score: Score
    sent: Numbers
    false: Numbers


@dataclass(frozen=True, slots=True)
class Judged:
    """Counts of the held-back part of one split, by series; `others` at the tuned threshold.

    `equal` has each alternative at the lowest threshold that has no more false alarms than ours.
    """

    split: Split
    chosen: Chosen
    classes: tuple[str, ...]
    organizations: Numbers
    ours: Numbers
    others: Mapping[str, Numbers]
    equal: Mapping[str, Numbers]
    realistic: Realistic


def judge(split: Split, chosen: Chosen, evaluated: Sequence[Evaluated], large: Evaluated) -> Judged:
    """Put the organizations of one split together, and the large one beside them."""
    ours = np.concatenate([each.ours[0] for each in evaluated])
    others, equal = {}, {}
    for name, (variant, at) in chosen.others.items():
        counts = np.concatenate([each.others[name, variant] for each in evaluated], axis=1)
        false = counts[:, :, FALSE].sum(axis=1)
        enough = np.flatnonzero(false <= ours[:, FALSE].sum())
        others[name] = counts[at]
        equal[name] = counts[int(enough[0])]
    return Judged(
        split,
        chosen,
        tuple(name for each in evaluated for name in each.classes),
        np.concatenate([np.full(len(each.classes), number) for number, each in enumerate(evaluated)]),
        ours,
        others,
        equal,
        Realistic(Score.of(large.ours[0]), large.sent[0, 0], large.sent[0, 1]),
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """F1 of another method less that of ours, with the ends of the paired 95% interval."""

    value: float
    low: float
    high: float


def difference(ours: Numbers, other: Numbers, groups: Numbers) -> Difference:
    """Resample groups of series (rows of both); the same draw for both methods."""
    columns = (EVENTS, FOUND, FALSE)
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    sums = np.zeros((2, count, 3))
    for number, counts in enumerate((ours, other)):
        np.add.at(sums[number], group, counts[:, columns])
    draws = _draws(count)
    resampled = _f1(draws @ sums[1]) - _f1(draws @ sums[0])
    value = _f1(sums[1].sum(axis=0)) - _f1(sums[0].sum(axis=0))
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Difference(float(value), float(low), float(high))


@lru_cache(maxsize=8)
def _draws(count: int) -> Numbers:
    """How often each of `count` groups is in each resample."""
    return np.random.default_rng(1).multinomial(count, np.full(count, 1 / count), _RESAMPLES)


def _f1(counts: Values) -> Values:
    events, found, false = np.moveaxis(counts, -1, 0)
    return np.asarray(2 * found / np.maximum(events + found + false, 1))


@dataclass(frozen=True, slots=True)
class Whole:
    """The held-back parts of all splits, one after the other."""

    parts: tuple[Judged, ...]
    classes: tuple[str, ...]
    organizations: Numbers
    ours: Numbers
    others: Mapping[str, Numbers]
    equal: Mapping[str, Numbers]

    def of_class(self, name: str) -> Numbers:
        """The rows of a class."""
        return np.flatnonzero(np.array(self.classes) == name)


def together(parts: Sequence[Judged]) -> Whole:
    """All splits; an organization is a group by itself."""
    names = list(parts[0].others)
    return Whole(
        tuple(parts),
        tuple(name for part in parts for name in part.classes),
        np.concatenate([part.organizations + 10_000 * number for number, part in enumerate(parts)]),
        np.concatenate([part.ours for part in parts]),
        {name: np.concatenate([part.others[name] for part in parts]) for name in names},
        {name: np.concatenate([part.equal[name] for part in parts]) for name in names},
    )


@dataclass(frozen=True, slots=True)
class Bound:
    """A line of the verdict."""

    holds: bool
    text: str


def verdict(whole: Whole) -> Iterator[Bound]:
    """Against the bounds that the project holds itself to."""
    scores = [Score.of(part.ours) for part in whole.parts]
    f1s, rates = [score.f1 for score in scores], [score.rate for score in scores]
    mean_f1, mean_rate = float(np.mean(f1s)), float(np.mean(rates))
    yield Bound(mean_f1 >= 0.9, f"mean F1 {mean_f1:.3f}, at least 0.9")
    yield Bound(mean_rate <= 1, f"mean false alarms per 100 pairs a month {mean_rate:.2f}, at most 1")
    yield Bound(min(f1s) >= 0.85, f"lowest F1 of a split {min(f1s):.3f}, at least 0.85")
    yield Bound(max(rates) <= 2, f"most false alarms of a split {max(rates):.2f}, at most 2")
    covered = Score.of(whole.ours).covered_recall or 0.0
    yield Bound(covered >= 0.9, f"recall on covered days {covered:.3f}, at least 0.9")
    for name in whole.others:
        at = difference(whole.ours, whole.equal[name], whole.organizations)
        yield Bound(at.value < 0, f"at equal rates, {name}: F1 {at.value:+.3f} against ours, below 0")
        tuned = difference(whole.ours, whole.others[name], whole.organizations)
        yield Bound(
            tuned.value <= 0.03, f"as tuned, {name}: F1 {tuned.value:+.3f} against ours, at most +0.03"
        )
    behind = list(_behind(whole))
    yield Bound(
        not behind, "classes behind by more than 0.10 beyond the interval: " + ("; ".join(behind) or "none")
    )
    sent = np.stack([part.realistic.sent for part in whole.parts])
    false = np.stack([part.realistic.false for part in whole.parts])
    yield Bound(
        false.mean() <= 1, f"false messages a week of a large organization {false.mean():.2f}, at most 1"
    )
    yield Bound(sent.max() <= 10, f"most messages of a week of a large organization {sent.max()}, at most 10")
    yield from _sizes(whole)


def _behind(whole: Whole) -> Iterator[str]:
    for name in dict.fromkeys(whole.classes):
        rows = whole.of_class(name)
        for other, counts in whole.others.items():
            by = difference(whole.ours[rows], counts[rows], rows)
            if by.low > 0.10:
                yield f"{name} ({other} {by.value:+.3f}, {by.low:+.3f} to {by.high:+.3f})"


def _sizes(whole: Whole) -> Iterator[Bound]:
    months = len(whole.classes) * JUDGED_DAYS / 30
    yield Bound(months >= 2000, f"{months:,.0f} held-back months of pairs, at least 2,000")
    fewest, name = min(
        (int(whole.ours[whole.of_class(name), EVENTS].sum()), name) for name in dict.fromkeys(whole.classes)
    )
    yield Bound(fewest >= 300, f"fewest events of a class {fewest} ({name}), at least 300")
