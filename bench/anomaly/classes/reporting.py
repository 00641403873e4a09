"""Series that are reported late, otherwise first, or with charges that are not usage."""

from __future__ import annotations

import numpy as np

from bench.anomaly.draft import Draft, Draw, Early
from bench.anomaly.registry import cost_class
from bench.anomaly.world import DAYS, HISTORY_DAYS


@cost_class("credits and refunds")
def credits(draw: Draw) -> Draft:
    """Credits, refunds, tax and support beside the usage, on the 1st and at random."""
    draft = draw.plain(draw.level(20))
    level = float(np.median(draft.usage))
    draft.other[draw.world.day == 1] += level * draw.between(1, 8)
    for _ in range(draw.whole(3, 20)):
        draft.other[draw.whole(0, DAYS - 1)] -= level * draw.between(0.5, 6)
    return draft


@cost_class("late data")
def late(draw: Draw) -> Draft:
    """A day in 12 to 40 is reported in part or not at all until it is read again one or two days later."""
    draft = draw.plain(draw.level(20), draw.log_between(0.005, 0.06))
    rate = 1 / draw.between(12, 40)
    for day in np.flatnonzero(draw.rng.random(DAYS) < rate):
        if day >= HISTORY_DAYS - 2:
            part = 0.0 if draw.chance(0.5) else draw.between(0.05, 0.7)
            draft.early.append(Early(int(day), part, int(day) + draw.whole(1, 2)))
    return draft


@cost_class("restated months")
def restated(draw: Draw) -> Draft:
    """A month is reported up to 12% too high or too low until its bill is final."""
    draft = draw.plain(draw.level(20), draw.log_between(0.005, 0.05))
    for month in np.unique(draw.world.month):
        factor = 1 + draw.between(-0.12, 0.12)
        for day in np.flatnonzero(draw.world.month == month):
            final = int(draw.world.final_on[day])
            if final > HISTORY_DAYS:
                draft.early.append(Early(int(day), factor, final))
    return draft


@cost_class("newest days a little low")
def settling(draw: Draw) -> Draft:
    """Each day is some percent low when it is assessed, and whole a day later."""
    draft = draw.plain(draw.level(20), draw.log_between(0.005, 0.05))
    low = draw.between(0.02, 0.12)
    for day in range(HISTORY_DAYS - 1, DAYS):
        draft.early.append(Early(day, 1 - low * draw.between(0.3, 1), day + 1))
    return draft
