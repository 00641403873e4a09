"""One organization through all methods; what a worker process does."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.anomaly import ours
from bench.anomaly.alternative import alarms
from bench.anomaly.alternatives import alternatives
from bench.anomaly.organization import Organization, generate
from bench.anomaly.registry import classes
from bench.anomaly.scoring import COUNTS, Alarms, Truth, collect, messages, score, truth
from bench.anomaly.world import HISTORY_DAYS, JUDGED_DAYS, Numbers

_WEEKS = JUDGED_DAYS // 7


@dataclass(frozen=True, slots=True)
class Task:
    """An organization of so many series of each of these classes.

    `variants` names the variants of each alternative to measure, `candidates` the settings of ours.
    """

    seed: int
    names: tuple[str, ...]
    per_class: int
    candidates: tuple[ours.Parameters, ...]
    variants: Mapping[str, tuple[float, ...]]
    keep: float = 1.0


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Counts (`COUNTS`) of one organization.

    `ours` is candidates by series by counts; `others` by name and variant: thresholds by series by counts;
    `sent` is candidates by (sent, false and sent) by week.
    """

    task: Task
    classes: tuple[str, ...]
    ours: Numbers
    sent: Numbers
    others: Mapping[tuple[str, float], Numbers]

    def by_class(self, counts: Numbers) -> Numbers:
        """Sums over the series of each class, which stand together: the second axis becomes classes."""
        shape = (len(counts), len(self.task.names), self.task.per_class, len(COUNTS))
        return np.asarray(counts.reshape(shape).sum(axis=2))


def evaluate(task: Task) -> Evaluated:
    """Generate it, replay it, and count."""
    known = classes()
    organization = generate(task.seed, [known[name] for name in task.names], task.per_class, keep=task.keep)
    labels = truth(organization)
    found = _ours(organization, task.candidates)
    others = {}
    with warnings.catch_warnings():
        # Means of nothing, where a series has no known day in a window, are NaN: no alarm.
        warnings.simplefilter("ignore", RuntimeWarning)
        for name, alternative in alternatives().items():
            for variant in task.variants.get(name, ()):
                measured = alternative.measure(organization, variant)
                others[name, variant] = np.stack(
                    [score(labels, alarms(alternative, measured, by)) for by in alternative.thresholds]
                )
    return Evaluated(
        task,
        organization.classes,
        np.stack([score(labels, each.signs) for each in found]),
        np.stack([_by_week(labels, each) for each in found]),
        others,
    )


def _ours(organization: Organization, candidates: Sequence[ours.Parameters]) -> list[Alarms]:
    steps = list(ours.replay(organization, candidates))
    return [
        collect(organization, ((assessed, reported[number]) for assessed, reported in steps))
        for number in range(len(candidates))
    ]


def _by_week(labels: Truth, found: Alarms) -> Numbers:
    """Messages that were sent in each whole week, and those among them that are false."""
    weeks = np.zeros((2, _WEEKS), dtype=np.int64)
    for sign in (-1, 1):
        each = messages(labels, found.signs, sign, found.sent)
        week = (each.first - HISTORY_DAYS) // 7
        for row, which in enumerate((each.sent, each.sent & each.false)):
            inside = which & (week < _WEEKS)
            np.add.at(weeks[row], week[inside], 1)
    return weeks
