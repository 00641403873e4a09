"""Series whose level changes, a little or for good."""

from __future__ import annotations

import numpy as np

from bench.anomaly.draft import Draft, Draw
from bench.anomaly.events import LEAST_SHARE, LEAST_USD
from bench.anomaly.registry import cost_class
from bench.anomaly.world import DAYS, HISTORY_DAYS

_LASTING = {"shift": 1.0, "ramp": 0.6}


@cost_class("level shifts", events={"shift": 1})
def shifts(draw: Draw) -> Draft:
    """Deployments and clean-ups: the level changes for good."""
    return draw.plain(draw.level(60), draw.log_between(0.005, 0.08))


@cost_class("ramps", events=_LASTING)
def ramps(draw: Draw) -> Draft:
    """A rollout over three to six days."""
    return draw.plain(draw.level(60), draw.log_between(0.005, 0.08))


@cost_class("deployments")
def deployments(draw: Draw) -> Draft:
    """A step of up to 12% with a release every few weeks, which is no news."""
    draft = draw.plain(draw.level(20), draw.log_between(0.005, 0.04))
    day = draw.whole(5, 30)
    while day < DAYS:
        draft.usage[day:] *= draw.between(0.89, 1.12)
        day += draw.whole(10, 40)
    return draft


@cost_class("staircase of storage")
def staircase(draw: Draw) -> Draft:
    """Storage that grows by a load of data at a time and is never deleted."""
    usage = np.full(DAYS, draw.level(20, 20_000))
    day = draw.whole(0, 20)
    while day < DAYS:
        usage[day:] *= 1 + draw.between(0.01, 0.1)
        day += draw.whole(5, 35)
    return Draft(usage * draw.noise(0.004), 0.01)


@cost_class("savings plan", events={"spike": 1, "dip": 0.3}, own_events=True)
def savings_plan(draw: Draw) -> Draft:
    """Amortized cost falls for good with a commitment, or rises when it ends."""
    draft = draw.plain(draw.level(60), draw.log_between(0.005, 0.05))
    first = draw.whole(HISTORY_DAYS, DAYS - 16)
    while draw.world.unread[first]:
        first = draw.whole(HISTORY_DAYS, DAYS - 16)
    less = draw.between(0.32, 0.6)
    ends = draw.chance(0.4)
    if ends:
        draft.usage[:first] *= 1 - less
    else:
        draft.usage[first:] *= 1 - less
    week = draft.usage[first : first + 7]
    moved = week * less if ends else week / (1 - less) * less
    if moved.min() >= LEAST_USD and less > LEAST_SHARE:
        draft.lasting("shift", 1 if ends else -1, first)
    else:
        draft.neutral_days(1 if ends else -1, first, first + 13)
    return draft


@cost_class("migration", events={"spike": 1}, own_events=True)
def migration(draw: Draw) -> Draft:
    """One service is left for another within a week: this is the one or the other."""
    draft = draw.plain(draw.level(130, 20_000), draw.log_between(0.005, 0.06), week=False)
    start, days = draw.whole(HISTORY_DAYS, DAYS - 24), draw.whole(1, 6)
    part = np.clip((np.arange(DAYS) - start + 1) / days, 0, 1)
    leaves = draw.chance(0.5)
    rest = draw.rng.choice((0.0, 0.1, 0.3))
    draft.usage *= 1 - part * (1 - rest) if leaves else rest + (1 - rest) * part
    plain = draft.usage[start - 1]
    moved = np.abs(draft.usage - plain) >= np.maximum(LEAST_USD, LEAST_SHARE * plain)
    first = start + int(np.argmax(moved[start:]))
    if first > start:
        draft.neutral_days(-1 if leaves else 1, start, first - 1)
    draft.lasting("shift", -1 if leaves else 1, first, news_days=max(start + days - 1 - first, 0))
    return draft


@cost_class("spot prices")
def spot(draw: Draw) -> Draft:
    """A price that wanders by some percent a day around a mean."""
    draft = draw.plain(draw.level(20), draw.log_between(0.005, 0.03))
    price, back, step = 0.0, draw.between(0.02, 0.06), draw.between(0.015, 0.04)
    for day in range(DAYS):
        price += -back * price + float(draw.rng.normal(0, step))
        draft.usage[day] *= np.exp(price)
    draft.sigma += 1.2 * step
    return draft
