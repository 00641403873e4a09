"""The settings of every method, chosen on the development classes of a split alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.anomaly import ours
from bench.anomaly.alternatives import alternatives
from bench.anomaly.evaluate import Evaluated
from bench.anomaly.scoring import EVENTS, FALSE, FOUND, f1
from bench.anomaly.world import JUDGED_DAYS, Numbers, Values

AIM = 0.7
"""False alarms per 100 pairs a month that ours may have where it is tuned; below the bound, for new classes."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Settings of ours, and (variant, number of the threshold) of each alternative."""

    ours: ours.Parameters
    others: Mapping[str, tuple[float, int]]

    def as_json(self) -> dict[str, object]:
        """With thresholds instead of their numbers."""
        known = alternatives()
        return {
            "ours": dict(self.ours),
            **{
                name: {"variant": variant, "threshold": float(known[name].thresholds[at])}
                for name, (variant, at) in self.others.items()
            },
        }


def candidates() -> tuple[ours.Parameters, ...]:
    """Every combination of what of ours may be tuned."""
    names = list(ours.PARAMETERS)
    return tuple(
        dict(zip(names, values, strict=True)) for values in itertools.product(*ours.PARAMETERS.values())
    )


def variants() -> dict[str, tuple[float, ...]]:
    """Every variant of every alternative."""
    return {name: each.variants for name, each in alternatives().items()}


def _f1(counts: Numbers) -> Values:
    """The mean of F1 over all series together and F1 as the mean over classes, by candidate."""
    sums = counts.sum(axis=1)
    whole = [f1(*row) for row in sums[:, (EVENTS, FOUND, FALSE)].tolist()]
    each = [[f1(*row) for row in of_classes] for of_classes in counts[:, :, (EVENTS, FOUND, FALSE)].tolist()]
    return np.asarray((np.array(whole) + np.array(each).mean(axis=1)) / 2)


def choose(evaluated: Sequence[Evaluated]) -> Chosen:
    """The best F1 of each; of ours among those candidates that keep the false alarms below the aim."""
    pairs = sum(len(each.classes) for each in evaluated)
    own = np.sum([each.by_class(each.ours) for each in evaluated], axis=0)
    rate = own[:, :, FALSE].sum(axis=1) * 3000 / (pairs * JUDGED_DAYS)
    # Beyond the aim, fewer false alarms are better than any F1.
    worth = _f1(own) - np.maximum(rate - AIM, 0)
    others = {}
    for name, each in alternatives().items():
        best = [
            (float(by.max()), variant, int(by.argmax()))
            for variant in each.variants
            for by in [_f1(np.sum([done.by_class(done.others[name, variant]) for done in evaluated], axis=0))]
        ]
        _, variant, at = max(best)
        others[name] = (variant, at)
    return Chosen(evaluated[0].task.candidates[int(worth.argmax())], others)
