"""One series while it is drawn: its cost, its labels, and the tools that classes draw with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bench.anomaly.world import DAYS, HISTORY_DAYS, Flags, Values, World

FOUND_WITHIN_DAYS = 7
"""A lasting change is found if it is reported within so many days."""
LATEST_DAYS = 4
"""A dip may be reported so many days after it."""
LEARNT_WITHIN_DAYS = 14
"""From so many days after a lasting change on, it is no news: an alarm is a false one."""


@dataclass(frozen=True, slots=True)
class Label:
    """Something that a person wants to hear of; days are columns, the last ones included.

    It is found by an alarm of its sign from `first` to `found_by`; alarms of its sign are not false
    until `excused`. `covered` says that a calendar would explain the day, with another amount.
    """

    kind: str
    sign: int
    first: int
    found_by: int
    excused: int
    covered: bool = False


@dataclass(frozen=True, slots=True)
class Neutral:
    """Days on which an alarm of this sign counts neither way."""

    sign: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Early:
    """A day that was reported as `factor` of its final cost until `final_from` is assessed."""

    day: int
    factor: float
    final_from: int


@dataclass(slots=True)
class Draft:
    """Final daily usage and other charges in USD, and what is known of them.

    `sigma` is the log size of ordinary noise: an event goes well beyond it. `peak` is what ordinary
    days may reach, where days differ by more than noise (batches): events go beyond that. `runs` are
    the days on which a calendar adds cost.
    """

    usage: Values
    sigma: float
    other: Values = field(default_factory=lambda: np.zeros(DAYS))
    peak: Values | None = None
    runs: Flags = field(default_factory=lambda: np.zeros(DAYS, dtype=np.bool_))
    labels: list[Label] = field(default_factory=list)
    neutral: list[Neutral] = field(default_factory=list)
    early: list[Early] = field(default_factory=list)

    def lasting(self, kind: str, sign: int, first: int, *, news_days: int = 0) -> None:
        """Label a change that stays; it may take `news_days` until it is whole."""
        by = first + news_days
        self.labels.append(Label(kind, sign, first, by + FOUND_WITHIN_DAYS - 1, by + LEARNT_WITHIN_DAYS - 1))

    def neutral_days(self, sign: int, first: int, last: int) -> None:
        """Make alarms of this sign count neither way on these days, the last one included."""
        self.neutral.append(Neutral(sign, first, last))

    def neutral_day(self, sign: int, day: int) -> None:
        """Make an alarm of this sign count neither way on this day."""
        self.neutral.append(Neutral(sign, day, day))

    def recurrence(self, days: list[int], *, neutral: int = 2) -> None:
        """Mark these days as explained by a calendar; the first occurrences count neither way.

        Consecutive days are one occurrence. `neutral` is two for each calendar that `days` are of.
        """
        begins = [day for day in days if day - 1 not in set(days)]
        until = begins[neutral] if len(begins) > neutral else DAYS
        for day in days:
            if day < until:
                self.neutral_day(1, day)
        self.runs[days] = True


class Draw:
    """Draws one series: random numbers from a seed for it, and the shared world."""

    def __init__(self, rng: np.random.Generator, world: World) -> None:
        self.rng = rng
        self.world = world

    def between(self, low: float, high: float) -> float:
        """Even over the range."""
        return float(self.rng.uniform(low, high))

    def log_between(self, low: float, high: float) -> float:
        """Even over the logarithm of the range."""
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def chance(self, probability: float) -> bool:
        """True as often as said."""
        return bool(self.rng.random() < probability)

    def whole(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def level(self, low: float = 0.1, high: float = 50_000.0, typical: float = 300.0) -> float:
        """USD a day, log-normal within the range."""
        for _ in range(100):
            level = typical * float(np.exp(self.rng.normal(0, 1.5)))
            if low <= level <= high:
                return level
        return self.log_between(low, high)

    def noise(self, sigma: float, *, persistence: float = 0.25, tail: float | None = None) -> Values:
        """Factors around 1; `persistence` from day to day; `tail` are degrees of freedom of a t."""
        steps = self.rng.normal(0, 1, DAYS)
        if tail is not None:
            steps = np.clip(self.rng.standard_t(tail, DAYS), -8, 8)
        steps *= sigma * np.sqrt(1 - persistence**2)
        errors = np.zeros(DAYS)
        error = 0.0
        for number, step in enumerate(steps):
            error = persistence * error + step
            errors[number] = error
        return np.asarray(np.exp(errors))

    def week(self) -> Values:
        """Factors by day of a usual weekday rhythm: none, lower weekends, or any."""
        kind = self.rng.choice(3, p=(0.45, 0.4, 0.15))
        shares = np.ones(7)
        if kind == 1:
            shares[5:] = self.rng.uniform(0.3, 0.95) * self.rng.uniform(0.93, 1.07, 2)
        elif kind == 2:
            shares = np.exp(self.rng.normal(0, 0.15, 7))
        return np.asarray(shares[self.world.weekday])

    def plain(
        self,
        level: float | None = None,
        sigma: float | None = None,
        *,
        growth: float | None = None,
        week: bool = True,
        persistence: float = 0.25,
        tail: float | None = None,
    ) -> Draft:
        """A level with a weekday rhythm, a little growth and noise; what is not given is drawn."""
        level = self.level() if level is None else level
        sigma = self.log_between(0.005, 0.1) if sigma is None else sigma
        growth = float(self.rng.normal(0, 0.0005)) if growth is None else growth
        # Nothing grows a thousandfold in a year: fast growth is young.
        young = -min(HISTORY_DAYS, int(3 / max(abs(growth), 1e-6)))
        usage = level * np.exp(growth * np.maximum(np.arange(DAYS) - HISTORY_DAYS, young))
        if self.chance(0.3):
            usage = usage * self.world.trend ** self.between(0.2, 1.0)
        if week:
            usage = usage * self.week()
        reach = sigma if tail is None else 1.8 * sigma
        return Draft(usage * self.noise(sigma, persistence=persistence, tail=tail), reach)

    def since(self) -> int:
        """The column from which on a habit of the series exists: mostly the whole history."""
        return 0 if self.chance(0.6) else self.whole(0, HISTORY_DAYS - 60)
