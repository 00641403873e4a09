"""Series that change slowly, and those that follow what users do."""

from __future__ import annotations

import numpy as np

from bench.anomaly.draft import Draft, Draw
from bench.anomaly.registry import cost_class
from bench.anomaly.world import DAYS


@cost_class("growth")
def growth(draw: Draw) -> Draft:
    """0.2% to 1.5% more each day: a matter of budgets, not of a day."""
    return draw.plain(draw.level(20, 5000), draw.log_between(0.005, 0.06), growth=draw.between(0.002, 0.015))


@cost_class("decline")
def decline(draw: Draw) -> Draft:
    """0.2% to 1.2% less each day."""
    return draw.plain(draw.level(60), draw.log_between(0.005, 0.06), growth=-draw.between(0.002, 0.012))


@cost_class("drift that turns")
def drift(draw: Draw) -> Draft:
    """Growth that becomes decline, and the other way round, every month or two."""
    draft = draw.plain(draw.level(20), draw.log_between(0.005, 0.05))
    slope, day, slopes = draw.between(-0.008, 0.008), 0, np.zeros(DAYS)
    while day < DAYS:
        days = draw.whole(25, 70)
        slopes[day : day + days] = slope
        day, slope = day + days, -slope * draw.between(0.5, 1.2)
    draft.usage *= np.exp(np.cumsum(slopes))
    return draft


@cost_class("seasons")
def seasons(draw: Draw) -> Draft:
    """A wave over three to twelve months."""
    draft = draw.plain(draw.level(20), draw.log_between(0.005, 0.06))
    period, height, phase = draw.between(90, 365), draw.between(0.1, 0.45), draw.between(0, 6.28)
    draft.usage *= np.exp(height * np.sin(2 * np.pi * np.arange(DAYS) / period + phase))
    return draft


@cost_class("follows traffic")
def traffic(draw: Draw) -> Draft:
    """Data transfer in proportion to the organization's users; the week of Black Friday counts neither way."""
    draft = draw.plain(draw.level(20), draw.log_between(0.005, 0.05), week=False)
    draft.usage *= draw.world.traffic ** draw.between(0.5, 1.0)
    for day in np.flatnonzero(draw.world.sale):
        draft.neutral_day(1, int(day))
    draft.sigma = max(draft.sigma, 0.03)
    return draft


@cost_class("campaigns")
def campaigns(draw: Draw) -> Draft:
    """A shop: the week of Black Friday and the days before Christmas cost a multiple, and count neither way."""
    draft = draw.plain(draw.level(20), draw.log_between(0.01, 0.06))
    advent = np.array([day.month == 12 and 10 <= day.day <= 21 for day in draw.world.dates])
    draft.usage[draw.world.sale] *= draw.between(1.3, 3)
    draft.usage[advent] *= draw.between(1.1, 1.8)
    for day in np.flatnonzero(draw.world.sale | advent):
        draft.neutral_day(1, int(day))
    return draft
