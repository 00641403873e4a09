"""Organisations whose cost is drawn with anomalies in it, and the labels of these anomalies.

Knows nothing of any detector. A class is a kind of service; each has its own traps (a rhythm, a fee,
a restatement) and its own labelled events. `Organization.seen` tells the cost as it is known when a
day is assessed: late and not yet restated where the class says so.
"""

from __future__ import annotations

import calendar
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.float64]

HISTORY_DAYS = 100
ASSESSED_DAYS = 75
DAYS = HISTORY_DAYS + ASSESSED_DAYS
LEAST_USD = 40.0
"""An event moves cost by at least so much a day: what is smaller is noise to whoever pays."""
FOUND_WITHIN_DAYS = 7
"""A lasting change is found if it is reported within so many days."""
LEARNT_WITHIN_DAYS = 14
"""From so many days after a lasting change on, it is no news: an alarm is a false one."""
_APART_DAYS = 10


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a person wants to hear of; days are columns.

    It is found by an alarm of its sign from `first` to `found_by`; alarms of its sign are not false
    until `excused`.
    """

    series: int
    kind: str
    sign: int
    first: int
    found_by: int
    excused: int
    factor: float


@dataclass(slots=True)
class _Draft:
    """One service in one account while it is drawn: its final daily usage, and what is added to it."""

    usage: Costs
    other: Costs
    noise: float
    events: list[tuple[str, int, int, int, int, float]] = field(default_factory=list)
    # (day, factor, first assessed day that sees the final amount)
    early: list[tuple[int, float, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Organization:
    """Series by days, in USD; `usage` is final, `early` holds what was reported differently before."""

    seed: int
    first_day: date
    classes: tuple[str, ...]
    usage: Costs
    other: Costs
    early: tuple[tuple[int, int, float, int], ...]
    unread: frozenset[int]
    events: tuple[Event, ...]

    def days(self, assessed: int) -> list[date]:
        """The dates of the columns up to the assessed one."""
        return [self.first_day + timedelta(days=number) for number in range(assessed + 1)]

    def seen(self, assessed: int) -> tuple[Costs, Costs]:
        """Usage and whole cost up to and with the assessed day, as known then; NaN where a day is unread."""
        usage = self.usage[:, : assessed + 1].copy()
        for series, day, factor, final_from in self.early:
            if day <= assessed < final_from:
                usage[series, day] *= factor
        total = usage + self.other[:, : assessed + 1]
        for day in self.unread:
            if assessed - 20 < day < assessed:
                usage[:, day] = total[:, day] = np.nan
        return usage, total


class _Drawer:
    """Draws the series of one organisation."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"{seed}:anomalies")
        self.first_day = date(2024, 1, 1) + timedelta(days=self.rng.randrange(700))
        self.dates = [self.first_day + timedelta(days=number) for number in range(DAYS)]

    def plain(self, low: float, high: float, noise: tuple[float, float], growth: float = 0.0) -> _Draft:
        """A level with a weekday rhythm and noise that is a little alike from day to day."""
        rng = self.rng
        level = math.exp(rng.uniform(math.log(low), math.log(high)))
        sigma = rng.uniform(*noise)
        weekend = rng.choice((1.0, 1.0, rng.uniform(0.35, 0.95)))
        week = [rng.uniform(0.97, 1.03) if number < 5 else weekend for number in range(7)]
        error, usage = 0.0, np.zeros(DAYS)
        for number, day in enumerate(self.dates):
            error = 0.3 * error + rng.gauss(0, sigma * math.sqrt(1 - 0.09))
            usage[number] = level * week[day.weekday()] * math.exp(error + growth * (number - HISTORY_DAYS))
        return _Draft(usage, np.zeros(DAYS), sigma)

    def place(self, draft: _Draft, length: int = 1, *, lasting: bool = False) -> int | None:
        """A first day for an event among the assessed ones, apart from other events; None if there is no room."""
        end = DAYS - (LEARNT_WITHIN_DAYS if lasting else length)
        for _ in range(50):
            first = self.rng.randrange(HISTORY_DAYS, end + 1)
            if all(
                first > excused + _APART_DAYS or first + length + _APART_DAYS < begun
                for _, _, begun, _, excused, _ in draft.events
            ):
                return first
        return None

    def spike(self, draft: _Draft, factor: tuple[float, float], length: tuple[int, int] = (1, 3)) -> None:
        """Some days cost a multiple."""
        days = self.rng.randint(*length)
        times = self.rng.uniform(*factor)
        first = self.place(draft, days)
        if first is None:
            return
        usual = draft.usage[first : first + days].copy()
        # A multiple of little is a fixed amount instead, so that each event is worth a message.
        added = np.maximum(usual * (times - 1), LEAST_USD * self.rng.uniform(1, 1.5))
        draft.usage[first : first + days] += added
        draft.events.append(("spike", 1, first, first + days - 1, first + days - 1, times))

    def drop(self, draft: _Draft) -> None:
        """Some days cost a part: something does not run."""
        days = self.rng.randint(2, 5)
        times = self.rng.uniform(0.05, 0.5)
        first = self.place(draft, days)
        if first is None or (draft.usage[first : first + days] * (1 - times)).min() < LEAST_USD:
            return
        draft.usage[first : first + days] *= times
        draft.events.append(("drop", -1, first, first + days - 1, first + days - 1, times))

    def shift(self, draft: _Draft) -> None:
        """The level changes for good."""
        times = self.rng.choice((self.rng.uniform(1.5, 3), self.rng.uniform(0.25, 0.6)))
        first = self.place(draft, 1, lasting=True)
        assert first is not None
        draft.usage[first:] *= times
        kind, sign = ("spike", 1) if times > 1 else ("drop", -1)
        self._lasting(draft, kind, sign, first, times)

    def _lasting(self, draft: _Draft, kind: str, sign: int, first: int, times: float) -> None:
        draft.events.append(
            (kind, sign, first, first + FOUND_WITHIN_DAYS - 1, first + LEARNT_WITHIN_DAYS - 1, times)
        )

    # Classes

    def spikes(self, factor: tuple[float, float], length: tuple[int, int] = (1, 3)) -> _Draft:
        """Ordinary services with one or two spikes."""
        draft = self.plain(150, 3000, (0.01, 0.06))
        for _ in range(self.rng.choice((1, 1, 2))):
            self.spike(draft, factor, length)
        return draft

    def with_spike(self, draft: _Draft, factor: tuple[float, float] = (1.6, 4)) -> _Draft:
        """Half of the services of a class of traps have a real spike too."""
        if self.rng.random() < 0.5:
            self.spike(draft, factor)
        return draft

    def noisy(self) -> _Draft:
        """Cost that is never twice the same; only what is plainly more is an event."""
        return self.with_spike(self.plain(150, 3000, (0.12, 0.25)), (3, 8))

    def dropping(self) -> _Draft:
        """Outages of a few days."""
        draft = self.plain(150, 3000, (0.01, 0.06))
        self.drop(draft)
        return draft

    def drift(self) -> _Draft:
        """Up to one percent a day, up or down: a matter of budgets, not of a day."""
        return self.with_spike(self.plain(150, 3000, (0.01, 0.05), self.rng.uniform(-0.008, 0.01)))

    def shifting(self) -> _Draft:
        """One lasting change of level."""
        draft = self.plain(250, 3000, (0.01, 0.06))
        self.shift(draft)
        return draft

    def weekend_only(self) -> _Draft:
        """Runs at weekends only, or on one weekday only, or on workdays only."""
        draft = self.plain(150, 3000, (0.01, 0.08))
        runs = self.rng.choice(({5, 6}, {self.rng.randrange(7)}, {0, 1, 2, 3, 4}))
        idle = [number for number, day in enumerate(self.dates) if day.weekday() not in runs]
        draft.usage[idle] = 0
        return self.with_spike(draft)

    def bursts(self) -> _Draft:
        """A batch that is started by hand once or twice a week, on any day; a spike is far above a burst."""
        draft = self.plain(60, 400, (0.01, 0.08))
        burst = draft.usage.mean() * self.rng.uniform(1, 5)
        for number in range(DAYS):
            if self.rng.random() < 0.22:
                draft.usage[number] += burst * self.rng.uniform(0.8, 1.2)
        return self.with_spike(draft, (12, 30))

    def month_end(self) -> _Draft:
        """A closing run on the last days of each month."""
        draft = self.plain(100, 1500, (0.01, 0.06))
        width, times = self.rng.randint(1, 3), self.rng.uniform(1.8, 6)
        for number, day in enumerate(self.dates):
            if day.day > calendar.monthrange(day.year, day.month)[1] - width:
                draft.usage[number] *= times
        return self.with_spike(draft)

    def month_start(self) -> _Draft:
        """Usage that is charged once on the first of the month, beside what runs every day."""
        draft = self.plain(100, 1500, (0.01, 0.06))
        fee = draft.usage.mean() * self.rng.uniform(0.5, 5) + LEAST_USD
        for number, day in enumerate(self.dates):
            if day.day == 1:
                draft.usage[number] += fee * self.rng.uniform(0.97, 1.03)
        return self.with_spike(draft)

    def credits(self) -> _Draft:
        """Credits, refunds, tax and support: not usage, on the first of months and at random."""
        draft = self.plain(150, 3000, (0.01, 0.06))
        level = draft.usage.mean()
        for number, day in enumerate(self.dates):
            if day.day == 1:
                draft.other[number] += level * self.rng.uniform(2, 8)
            if self.rng.random() < 0.02:
                draft.other[number] -= level * self.rng.uniform(0.5, 6)
        return self.with_spike(draft)

    def launch(self) -> _Draft:
        """A service that was never there; a third of them are too small to be told."""
        small = self.rng.random() < 0.34
        draft = self.plain(0.05, 3, (0.01, 0.1)) if small else self.plain(90, 3000, (0.01, 0.08))
        first = self.place(draft, 1, lasting=True)
        assert first is not None
        draft.usage[:first] = 0
        if not small and self.rng.random() < 0.5:
            ramp = np.linspace(0.5, 1, 5)
            draft.usage[first : first + 5] *= ramp
        if not small:
            self._lasting(draft, "new_service", 1, first, 1.0)
        return draft

    def shutdown(self) -> _Draft:
        """A service that ends; a third of them cost next to nothing."""
        small = self.rng.random() < 0.34
        draft = self.plain(0.05, 3, (0.01, 0.1)) if small else self.plain(150, 3000, (0.01, 0.08))
        first = self.place(draft, 1, lasting=True)
        assert first is not None
        draft.usage[first:] = 0
        if not small:
            self._lasting(draft, "stopped_service", -1, first, 0.0)
        return draft

    def restated(self) -> _Draft:
        """The bill of a month is reported up to 15% lower or higher until the 5th of the next one."""
        draft = self.plain(150, 3000, (0.01, 0.05))
        by_month: dict[tuple[int, int], float] = {}
        for number, day in enumerate(self.dates):
            factor = by_month.setdefault((day.year, day.month), 1 + self.rng.uniform(-0.15, 0.15))
            after = date(day.year + day.month // 12, day.month % 12 + 1, 5)
            draft.early.append((number, factor, (after - self.first_day).days))
        return self.with_spike(draft)

    def late(self) -> _Draft:
        """One service's cost is in part or not there when its day is assessed, and whole a day later."""
        draft = self.with_spike(self.plain(150, 3000, (0.01, 0.06)))
        eventful = {day for _, _, first, _, last, _ in draft.events for day in range(first, last + 1)}
        for number in range(DAYS):
            if number not in eventful and self.rng.random() < 0.05:
                draft.early.append((number, self.rng.choice((0.0, self.rng.uniform(0.1, 0.7))), number + 1))
        return draft

    def quiet(self) -> _Draft:
        """Nothing happens; a third of them cost the same to the cent every day."""
        if self.rng.random() < 0.34:
            draft = self.plain(5, 3000, (0, 0))
            draft.usage[:] = round(float(draft.usage[0]), 2)
            return draft
        return self.plain(5, 3000, (0.01, 0.06))

    def near_zero(self) -> _Draft:
        """Cents; multiples of cents are nothing, but a few of these services begin to cost real money."""
        draft = self.plain(0.01, 1.5, (0.05, 0.4))
        for _ in range(self.rng.randint(1, 4)):
            day = self.rng.randrange(DAYS)
            draft.usage[day] = min(draft.usage[day] * self.rng.uniform(3, 30), 12.0)
        if self.rng.random() < 0.4:
            self.spike(draft, (60, 400), (1, 4))
        return draft

    def very_large(self) -> _Draft:
        """Tens of thousands of dollars a day."""
        return self.with_spike(self.plain(10_000, 200_000, (0.005, 0.03)), (1.35, 2.5))


CLASSES: dict[str, Callable[[_Drawer], _Draft]] = {
    "spike of a third to a half": lambda drawer: drawer.spikes((1.35, 1.6)),
    "spike of up to thrice": lambda drawer: drawer.spikes((1.6, 3)),
    "spike of up to tenfold": lambda drawer: drawer.spikes((3, 10)),
    "spike of five to nine days": lambda drawer: drawer.spikes((1.5, 4), (5, 9)),
    "noisy": _Drawer.noisy,
    "drop of some days": _Drawer.dropping,
    "drift": _Drawer.drift,
    "level shift": _Drawer.shifting,
    "weekend only": _Drawer.weekend_only,
    "irregular bursts": _Drawer.bursts,
    "month end": _Drawer.month_end,
    "month-start fee": _Drawer.month_start,
    "credits and refunds": _Drawer.credits,
    "launch": _Drawer.launch,
    "shutdown": _Drawer.shutdown,
    "restatement": _Drawer.restated,
    "late data": _Drawer.late,
    "quiet": _Drawer.quiet,
    "near zero": _Drawer.near_zero,
    "very large": _Drawer.very_large,
}


def generate(seed: int, per_class: int) -> Organization:
    """An organisation with `per_class` account-service pairs of each class; the same for the same seed."""
    drawer = _Drawer(seed)
    drafts: list[_Draft] = []
    classes: list[str] = []
    for name, draw in CLASSES.items():
        for _ in range(per_class):
            drafts.append(draw(drawer))
            classes.append(name)
    # Days that Cost Explorer did not answer for in time, for anyone.
    unread = frozenset(number for number in range(DAYS) if drawer.rng.random() < 0.01)
    return Organization(
        seed,
        drawer.first_day,
        tuple(classes),
        np.stack([draft.usage for draft in drafts]),
        np.stack([draft.other for draft in drafts]),
        tuple((series, *early) for series, draft in enumerate(drafts) for early in draft.early),
        unread,
        tuple(Event(series, *event) for series, draft in enumerate(drafts) for event in draft.events),
    )
