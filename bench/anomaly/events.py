"""Events that are put into a series: an unexpected move of at least $40 a day and 30%, labelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from bench.anomaly.draft import LATEST_DAYS, Draft, Draw, Label
from bench.anomaly.world import DAYS, HISTORY_DAYS, Numbers, Values

LEAST_USD = 40.0
LEAST_SHARE = 0.3
_APART_DAYS = 10
_TRIES = 25
_COVERED = 0.4
"""The share of spikes that are put on a day that a calendar explains, where there is one."""
_COUNTS = (0.15, 0.55, 0.3)
"""How many events a series has among the judged days: none, one, two."""


class _Placer:
    """Puts events into one series; `start` and `end` bound the days of the first one."""

    def __init__(self, draw: Draw, draft: Draft, start: int, end: int) -> None:
        self.draw = draw
        self.draft = draft
        self.start = start
        self.end = end
        # Beyond this, noise does not reach in years.
        self.least = max(float(np.log1p(LEAST_SHARE)), 4.5 * draft.sigma)
        self.most_left = 0.98 * min(1 - LEAST_SHARE, float(np.exp(-self.least)))

    def free(self, first: int, last: int, apart: int = _APART_DAYS) -> bool:
        """Whether these days are read, and apart from all other events."""
        if (
            first < self.start
            or last >= self.end
            or self.draw.world.unread[first : min(last, first + 2) + 1].any()
        ):
            return False
        return all(
            first > label.excused + apart or last + apart < label.first for label in self.draft.labels
        ) and all(first > n.last + 1 or last + 1 < n.first for n in self.draft.neutral)

    def first(self) -> int:
        return self.draw.whole(self.start, self.end - 1)

    def covered_day(self) -> int | None:
        """A day on which the series' calendar adds cost, or, without one, the first or last of a month."""
        world = self.draw.world
        days = np.flatnonzero(self.draft.runs[self.start : self.end]) + self.start
        if not len(days) or self.draw.chance(0.1):
            edge = (world.day == 1) | (world.from_end == 0)
            days = np.flatnonzero(edge[self.start : self.end]) + self.start
        return int(self.draw.rng.choice(days)) if len(days) else None

    def usual(self, first: int, last: int) -> Values:
        """What these days cost, or could well have cost."""
        usage = np.maximum(self.draft.usage[first : last + 1], self.typical(first, last))
        peak = self.draft.peak
        return usage if peak is None else np.maximum(usage, peak[first : last + 1])

    def typical(self, first: int, last: int) -> Values:
        """The median of the same weekday in the three weeks on either side of each day.

        A day that noise made low would hide a rise, and one that it made high would hide a fall.
        """
        usage = self.draft.usage
        around = [
            [usage[day + 7 * by] for by in (-3, -2, -1, 1, 2, 3) if 0 <= day + 7 * by < DAYS]
            for day in range(first, last + 1)
        ]
        return np.array([float(np.median(days)) for days in around])

    def spike(self) -> bool:
        """Some days cost 1.3 to 10 times as much."""
        draw = self.draw
        days = draw.rng.choice(9, p=(0.6, 0.15, 0.1, 0.04, 0.03, 0.02, 0.02, 0.02, 0.02)) + 1
        wanted = _COVERED if self.draft.runs.any() else 0.12
        covered = self.covered_day() if draw.chance(wanted) else None
        first = self.first() if covered is None else covered
        last = first + (int(days) if covered is None else 1) - 1
        if not self.free(first, last):
            return False
        low = float(np.exp(self.least)) * 1.02
        times = draw.log_between(low, max(10.0, 1.5 * low))
        usual = self.usual(first, last)
        wanted_usd = usual * times * draw.rng.uniform(0.97, 1.03, len(usual))
        least_usd = usual * low + LEAST_USD * draw.between(1.05, 1.5)
        self.draft.usage[first : last + 1] = np.maximum(wanted_usd, least_usd)
        explained = covered is not None or bool(self.draft.runs[first])
        self.draft.labels.append(Label("spike", 1, first, last, last, explained))
        return True

    def _loses(self, first: int, last: int, times: float) -> bool:
        """Whether so much less is worth a message on each of these days, which are ordinary ones."""
        usage = self.draft.usage[first : last + 1]
        around = self.draft.usage[max(first - 28, 0) : first]
        around = around[around > 0.01]
        return bool(
            len(around)
            and (usage * (1 - times)).min() >= LEAST_USD
            and usage.min() * 1.25 >= np.median(around)
            and not self.draft.runs[first : last + 1].any()
        )

    def dip(self) -> bool:
        """One day at zero or at a fraction; the next one is as ever."""
        times = 0.0 if self.draw.chance(0.4) else self.draw.between(0.05, 1) * self.most_left
        first = self.first()
        if not self.free(first, first) or not self._loses(first, first, times):
            return False
        usual = min(self.draft.usage[first], self.typical(first, first)[0])
        self.draft.usage[first] = usual * times
        self.draft.labels.append(Label("dip", -1, first, first, first))
        return True

    def drop(self) -> bool:
        """Two to six days at zero or at a fraction."""
        times = 0.0 if self.draw.chance(0.2) else self.draw.between(0.05, 1) * self.most_left
        first = self.first()
        last = first + self.draw.whole(2, 6) - 1
        if not self.free(first, last) or not self._loses(first, min(first + 1, last), times):
            return False
        days = slice(first, last + 1)
        self.draft.usage[days] = times * np.minimum(self.draft.usage[days], self.typical(first, last))
        self.draft.labels.append(Label("drop", -1, first, last, last))
        return True

    def shift(self) -> bool:
        """The level changes for good."""
        by = -float(np.log(self.most_left))
        up = self.draw.chance(0.5)
        times = float(np.exp((1 if up else -1) * self.draw.between(by, by + 0.9)))
        first = self.first()
        week = self.draft.usage[first : first + 7]
        if not self.free(first, first + 14) or not week.min() * abs(times - 1) >= LEAST_USD:
            return False
        if self.draft.runs[first : first + 3].any():
            return False
        self.draft.usage[first:] *= times
        if self.draft.peak is not None:
            self.draft.peak[first:] *= times
        self.draft.lasting("shift", 1 if up else -1, first)
        return True

    def ramp(self) -> bool:
        """The level rises over some days, to stay; the event begins where it has risen by 30%."""
        days = self.draw.whole(3, 6)
        by = self.least + self.draw.between(0.5, 1.3)
        start = self.first()
        steps = np.minimum(np.arange(1, DAYS - start + 1) / days, 1.0) * by
        first = start + int(np.argmax(steps >= self.least))
        if (
            not self.free(start, first + 16)
            or self.draft.usage[first : first + 7].min() * LEAST_SHARE < LEAST_USD
        ):
            return False
        self.draft.usage[start:] *= np.exp(steps)
        self.draft.lasting("shift", 1, first, news_days=max(start + days - 1 - first, 0))
        if start < first:
            # Before it is an event, a rise counts neither way.
            self.draft.neutral_days(1, start, first - 1)
        return True


KINDS: Mapping[str, Callable[[_Placer], bool]] = {
    "spike": _Placer.spike,
    "dip": _Placer.dip,
    "drop": _Placer.drop,
    "shift": _Placer.shift,
    "ramp": _Placer.ramp,
}


def _put(draw: Draw, placer: _Placer, mix: Mapping[str, float], count: int) -> None:
    names = list(mix)
    weights = np.array([mix[name] for name in names], dtype=float)
    for _ in range(count):
        for _ in range(_TRIES):
            if KINDS[str(draw.rng.choice(names, p=weights / weights.sum()))](placer):
                break


def put_events(draw: Draw, draft: Draft, mix: Mapping[str, float]) -> None:
    """Put events into the judged days, and some that are past into the history; none if `mix` is empty."""
    if not mix:
        return
    begun: Numbers = np.flatnonzero(draft.usage > 0.01)
    start = int(begun[0]) + 28 if len(begun) else DAYS
    if start < HISTORY_DAYS - 40:
        past = _Placer(draw, draft, start, HISTORY_DAYS - 20)
        _put(draw, past, mix, int(draw.rng.choice(3, p=(0.4, 0.4, 0.2))))
    if start < DAYS - 20:
        # What happens on the last days could not be reported later than it happens.
        now = _Placer(draw, draft, max(start, HISTORY_DAYS), DAYS - LATEST_DAYS)
        wanted = int(draw.rng.choice(3, p=_COUNTS))
        there = sum(label.first >= HISTORY_DAYS for label in draft.labels)
        _put(draw, now, mix, max(wanted - there, 0))
