"""Splits over processes: tune on one part, judge on the other."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from bench.anomaly.evaluate import Evaluated, Task, evaluate
from bench.anomaly.judging import Judged, judge
from bench.anomaly.registry import classes
from bench.anomaly.split import Split, split
from bench.anomaly.tuning import Chosen, candidates, choose, variants

DEVELOPMENT, HELD_BACK, LARGE = 0, 1, 2
Map = Callable[[Sequence[Task]], Iterator[Evaluated]]


@dataclass(frozen=True, slots=True)
class Size:
    """Organizations of each part, and series of each class in each of them; and in the large one."""

    development: int
    held_back: int
    per_class: int
    large: int


FULL = Size(6, 10, 12, 100)
QUICK = Size(1, 1, 8, 10)
_REALISTIC = 0.026
"""The share of series with events that makes one event in 100 pairs a month."""


@contextmanager
def workers(jobs: int, progress: Callable[[str], None]) -> Iterator[Map]:
    """Processes that evaluate tasks; results are in the order of the tasks."""
    # One thread a process: more would only wait for each other.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:

        def run(tasks: Sequence[Task]) -> Iterator[Evaluated]:
            for number, done in enumerate(pool.map(evaluate, tasks), start=1):
                progress(f"organization {number} of {len(tasks)}")
                yield done

        yield run


def _seeds(seed: int, of: Split, part: int, count: int) -> list[int]:
    """Seeds of organizations: no two parts of any split share one."""
    rng = np.random.default_rng([seed, of.seed, part])
    return [int(each) for each in rng.integers(1, 2**31, count)]


def tune(seed: int, of: Split, size: Size, run: Map) -> Chosen:
    """Choose every method's settings on the development classes."""
    tasks = [
        Task(each, of.development, size.per_class, candidates(), variants())
        for each in _seeds(seed, of, DEVELOPMENT, size.development)
    ]
    return choose(list(run(tasks)))


def hold_back(seed: int, of: Split, size: Size, run: Map, chosen: Chosen) -> Judged:
    """Judge on the held-back classes, in organizations that are drawn for it."""
    wanted = {name: (variant,) for name, (variant, _) in chosen.others.items()}
    tasks = [
        Task(each, of.held_back, size.per_class, (chosen.ours,), wanted)
        for each in _seeds(seed, of, HELD_BACK, size.held_back)
    ]
    known = classes()
    names = tuple(name for name in of.held_back if not known[name].own_events)
    (large,) = _seeds(seed, of, LARGE, 1)
    tasks.append(Task(large, names, size.large, (chosen.ours,), {}, keep=_REALISTIC))
    *evaluated, realistic = run(tasks)
    return judge(of, chosen, evaluated, realistic)


def splits(seed: int, count: int) -> list[Split]:
    """So many splits, in pairs that hold each other's development part back."""
    rng = np.random.default_rng(seed)
    known = classes()
    firsts = rng.choice(100_000, -(-count // 2), replace=False)
    return [split(2 * int(first) + by, known) for first in firsts for by in (0, 1)][:count]
