"""Series of runs that no calendar predicts."""

from __future__ import annotations

import numpy as np

from bench.anomaly.draft import Draft, Draw
from bench.anomaly.registry import SPIKES, cost_class
from bench.anomaly.world import DAYS, Flags, Values


def _reach(usage: Values, days: int = 180) -> Values:
    """The most that a day of the time before has cost, by day."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(usage, (days, 0), mode="reflect"), days + 1)
    return np.asarray(windows.max(axis=1))


def _at_random(draw: Draw, probability: float) -> Flags:
    return np.asarray(draw.rng.random(DAYS) < probability)


def _batches(draw: Draw, probability: float, spread: float) -> Draft:
    runs = _at_random(draw, probability)
    sizes = draw.level(15, 3000) * np.exp(draw.rng.normal(0, spread, DAYS))
    usage = np.where(runs, sizes, 0.0)
    return Draft(usage, 0.03, peak=np.maximum(_reach(usage), float(np.quantile(sizes, 0.98))))


@cost_class("batches", events=SPIKES)
def batches(draw: Draw) -> Draft:
    """Runs on a fifth to half of the days at random, lognormal in size, and nothing on the others."""
    return _batches(draw, draw.between(0.2, 0.5), draw.between(0.2, 0.6))


@cost_class("rare batches", events=SPIKES)
def rare_batches(draw: Draw) -> Draft:
    """Runs on one day in eight to twenty, at random, and nothing on the others."""
    return _batches(draw, draw.between(0.05, 0.13), draw.between(0.1, 0.4))


@cost_class("bursts over a base", events=SPIKES)
def bursts(draw: Draw) -> Draft:
    """A service that runs daily, with a batch once or twice a week on any day."""
    draft = draw.plain(draw.level(20, 3000), draw.log_between(0.01, 0.08))
    size = float(np.median(draft.usage)) * draw.between(1, 5)
    runs = _at_random(draw, draw.between(0.14, 0.3))
    draft.usage += np.where(runs, size * draw.rng.uniform(0.8, 1.2, DAYS), 0)
    draft.peak = _reach(draft.usage)
    return draft


@cost_class("bursty traffic", events=SPIKES)
def serverless(draw: Draw) -> Draft:
    """Serverless under bursts of requests that last some days."""
    draft = draw.plain(draw.level(15, 5000), draw.between(0.05, 0.15))
    bursts = np.zeros(DAYS)
    for _ in range(draw.whole(40, 90)):
        start, height, decay = draw.whole(0, DAYS - 1), draw.between(0.2, 1.6), draw.between(0.3, 1.5)
        length = min(8, DAYS - start)
        bursts[start : start + length] += height * np.exp(-decay * np.arange(length))
    draft.usage *= 1 + np.minimum(bursts, 2.5)
    draft.peak = _reach(draft.usage)
    return draft


@cost_class("training jobs", events=SPIKES)
def training(draw: Draw) -> Draft:
    """GPU jobs of several days, when someone starts them."""
    usage = np.zeros(DAYS)
    level, day = draw.level(50, 8000), 0
    while day < DAYS:
        day += draw.whole(3, 24)
        days = draw.whole(1, 6)
        usage[day : day + days] = level * draw.rng.choice((1.0, 1.0, 2.0)) * draw.between(0.85, 1.15)
        day += days
    return Draft(usage, 0.03, peak=np.maximum(_reach(usage), 2.2 * level))


@cost_class("on and off", events=SPIKES)
def on_and_off(draw: Draw) -> Draft:
    """An environment that is switched off and on again, for days or weeks."""
    draft = draw.plain(draw.level(20, 4000), draw.log_between(0.01, 0.06), week=draw.chance(0.3))
    draft.peak = draft.usage.copy()
    rest = draw.rng.choice((0.0, 0.0, 0.1))
    day, on = 0, True
    while day < DAYS:
        days = draw.whole(3, 16) if on else draw.whole(1, 9)
        if not on:
            draft.usage[day : day + days] *= rest
        day, on = day + days, not on
    return draft
