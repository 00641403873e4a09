"""Series whose days differ by noise alone."""

from __future__ import annotations

import numpy as np

from bench.anomaly.draft import Draft, Draw
from bench.anomaly.registry import cost_class
from bench.anomaly.world import DAYS


@cost_class("steady")
def steady(draw: Draw) -> Draft:
    """An ordinary service of any size with little noise."""
    return draw.plain(sigma=draw.log_between(0.005, 0.03))


@cost_class("the same to the cent")
def flat(draw: Draw) -> Draft:
    """Hours at a fixed price; on the days of the clock change, one hour less or more."""
    hourly = round(draw.level(1, 20_000) / 24, 2) + 0.01
    hours = draw.world.clock if draw.chance(0.7) else np.full(DAYS, 24)
    return Draft(np.asarray(hourly * hours, dtype=np.float64), 0.01)


@cost_class("noisy")
def noisy(draw: Draw) -> Draft:
    """Noise of 12% to 30%."""
    return draw.plain(draw.level(20), draw.between(0.12, 0.3))


@cost_class("very noisy")
def very_noisy(draw: Draw) -> Draft:
    """Noise of 30% to 60%."""
    return draw.plain(draw.level(20, 5000), draw.between(0.3, 0.6), persistence=draw.between(0, 0.3))


@cost_class("heavy tails")
def heavy_tails(draw: Draw) -> Draft:
    """Noise that is now and then several times as far off as usual."""
    return draw.plain(draw.level(20), draw.log_between(0.01, 0.08), tail=draw.between(3, 5))


@cost_class("noise that lasts")
def persistent(draw: Draw) -> Draft:
    """Noise that is much alike from day to day."""
    return draw.plain(draw.level(20), draw.log_between(0.03, 0.15), persistence=draw.between(0.6, 0.92))


@cost_class("large")
def large(draw: Draw) -> Draft:
    """Ten to fifty thousand dollars a day, or more."""
    return draw.plain(draw.log_between(10_000, 50_000), draw.log_between(0.005, 0.04))


@cost_class("cents")
def cents(draw: Draw) -> Draft:
    """Near zero and rounded; multiples of cents are no news, real money is."""
    draft = draw.plain(draw.log_between(0.005, 3), draw.log_between(0.02, 0.4))
    for _ in range(draw.whole(0, 8)):
        day = draw.whole(0, DAYS - 1)
        draft.usage[day] = min(draft.usage[day] * draw.between(2, 30), 14.0)
    draft.usage = np.round(draft.usage, 2)
    return draft
