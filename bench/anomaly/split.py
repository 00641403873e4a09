"""Which classes a method is developed on, and which it is judged on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.anomaly.registry import CostClass


@dataclass(frozen=True, slots=True)
class Split:
    """Names of classes; each is in one part."""

    seed: int
    development: tuple[str, ...]
    held_back: tuple[str, ...]


def split(seed: int, classes: Mapping[str, CostClass]) -> Split:
    """Half of each subject by chance; the seeds 2n and 2n + 1 have each other's parts.

    So a run over pairs of seeds holds every class back equally often.
    """
    rng = np.random.default_rng(seed // 2)
    by_subject: dict[str, list[str]] = defaultdict(list)
    for name, each in classes.items():
        by_subject[each.subject].append(name)
    parts: tuple[list[str], list[str]] = ([], [])
    for names in by_subject.values():
        shuffled = [names[at] for at in rng.permutation(len(names))]
        half, smaller = len(names) // 2, int(len(parts[0]) > len(parts[1]))
        # Where a subject has an odd number, the smaller part gets one more.
        parts[smaller].extend(shuffled[half:])
        parts[1 - smaller].extend(shuffled[:half])
    first, second = (tuple(name for name in classes if name in part) for part in parts)
    return Split(seed, second, first) if seed % 2 else Split(seed, first, second)
