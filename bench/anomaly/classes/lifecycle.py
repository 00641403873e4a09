"""Services that begin, end, or come back."""

from __future__ import annotations

import numpy as np

from bench.anomaly.draft import Draft, Draw
from bench.anomaly.events import LEAST_USD
from bench.anomaly.registry import cost_class
from bench.anomaly.world import DAYS, HISTORY_DAYS


def _day(draw: Draw, last: int = DAYS - 15) -> int:
    """A judged day that is read."""
    for _ in range(100):
        day = draw.whole(HISTORY_DAYS, last)
        if not draw.world.unread[day : day + 2].any():
            break
    return day


def _label_launch(draft: Draft, first: int) -> None:
    """News if it is $40 a day within its first days; small change is nothing; between them neither."""
    usual = float(np.median(draft.usage[first : first + 7]))
    if usual >= 1.1 * LEAST_USD:
        draft.lasting("launch", 1, first)
    elif usual >= 3:
        draft.neutral_days(1, first, first + 13)


@cost_class("launch", events={}, own_events=True)
def launch(draw: Draw) -> Draft:
    """A service that the account has never used, at once or over some days; some are small change."""
    small = draw.chance(0.06)
    level = draw.log_between(0.02, 2) if small else draw.level(60, 20_000)
    draft = draw.plain(level, draw.log_between(0.005, 0.12))
    first = _day(draw)
    draft.usage[:first] = 0
    if draw.chance(0.4):
        draft.usage[first : first + 5] *= np.linspace(draw.between(0.5, 0.9), 1, 5)
    _label_launch(draft, first)
    return draft


@cost_class("shutdown", events={}, own_events=True)
def shutdown(draw: Draw) -> Draft:
    """A service that ends; some were small change."""
    small = draw.chance(0.06)
    level = draw.log_between(0.02, 2) if small else draw.level(90, 20_000)
    draft = draw.plain(level, draw.log_between(0.005, 0.1), week=draw.chance(0.7))
    first = _day(draw)
    if not small:
        usual = draft.usage[first : first + 7]
        if usual.min() >= LEAST_USD:
            draft.lasting("shutdown", -1, first)
        else:
            draft.neutral_days(-1, first, first + 13)
    draft.usage[first:] = 0 if draw.chance(0.8) else draw.between(0, 0.02)
    return draft


@cost_class("short lived", events={}, own_events=True)
def short_lived(draw: Draw) -> Draft:
    """A trial that begins and ends within two weeks; its end counts neither way."""
    draft = draw.plain(draw.level(60, 5000), draw.log_between(0.005, 0.1), week=False)
    first, days = _day(draw), draw.whole(2, 13)
    draft.usage[:first] = 0
    _label_launch(draft, first)
    draft.usage[first + days :] = 0
    draft.neutral_days(-1, first + days, first + days + 13)
    return draft


@cost_class("young")
def young(draw: Draw) -> Draft:
    """A service or an account that has existed for one to four months when judging begins."""
    draft = draw.plain(draw.level(20), draw.log_between(0.005, 0.08))
    draft.usage[: HISTORY_DAYS - draw.whole(30, 120)] = 0
    return draft


@cost_class("comes back", events={}, own_events=True)
def comes_back(draw: Draw) -> Draft:
    """A service that ran last year, was off for two to six months, and is there again."""
    draft = draw.plain(draw.level(60, 20_000), draw.log_between(0.005, 0.08))
    first = _day(draw)
    draft.usage[first - draw.whole(60, 180) : first] = 0
    _label_launch(draft, first)
    return draft
