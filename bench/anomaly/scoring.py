"""What counts, for every method alike.

- An event is found by an alarm of its sign on one of its days; a lasting change within a week.
- Alarms of one series and sign on consecutive days (one silent day between them allowed) are one message.
- A message none of whose days is within an event of its sign is a false alarm; a lasting change is no news
  after two weeks. A message that is on neutral days and in no event counts neither way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.anomaly.draft import LATEST_DAYS
from bench.anomaly.organization import Organization
from bench.anomaly.world import DAYS, HISTORY_DAYS, JUDGED_DAYS, Flags, Numbers

Signs = NDArray[np.int8]

COUNTS = ("events", "found", "false", "covered", "covered_found")
EVENTS, FOUND, FALSE, COVERED, COVERED_FOUND = range(len(COUNTS))


class Alarm(NamedTuple):
    """An alarm of a series about a day (a column); `sent` is False where it is only listed."""

    series: int
    day: int
    sign: int
    sent: bool = True


@dataclass(frozen=True, slots=True)
class Alarms:
    """Series by `DAYS`: the sign of the alarm about each day, or 0, and whether it was sent."""

    signs: Signs
    sent: Flags


def collect(organization: Organization, steps: Iterable[tuple[int, Iterable[Alarm]]]) -> Alarms:
    """Put what was reported when each day was assessed at the days that it is about.

    ValueError for an alarm about a day that lies after the assessed one or more than four days before it.
    """
    signs = np.zeros(organization.usage.shape, dtype=np.int8)
    sent = np.zeros(organization.usage.shape, dtype=np.bool_)
    for assessed, alarms in steps:
        for alarm in alarms:
            if not assessed - LATEST_DAYS <= alarm.day <= assessed or alarm.sign not in (-1, 1):
                raise ValueError(f"an alarm about day {alarm.day} when {assessed} was assessed: {alarm}")
            if alarm.day >= HISTORY_DAYS:
                signs[alarm.series, alarm.day] = alarm.sign
                sent[alarm.series, alarm.day] |= alarm.sent
    return Alarms(signs, sent)


@dataclass(frozen=True, slots=True)
class Truth:
    """The labels of an organization, as arrays that scoring is quick with."""

    series: int
    events: Numbers  # by event: series, sign, first, found_by, covered
    within: Flags  # (down, up) by series by day: in an event
    neutral: Flags  # likewise: counts neither way


def truth(organization: Organization) -> Truth:
    """Of all its series."""
    shape = (2, *organization.usage.shape)
    within, neutral = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    events = []
    for series, labels in enumerate(organization.labels):
        for label in labels:
            events.append((series, label.sign, label.first, min(label.found_by, DAYS - 1), label.covered))
            within[int(label.sign > 0), series, label.first : label.excused + 1] = True
        for each in organization.neutral[series]:
            neutral[int(each.sign > 0), series, each.first : each.last + 1] = True
    return Truth(len(organization.usage), np.array(events, dtype=np.int64).reshape(-1, 5), within, neutral)


class Messages(NamedTuple):
    """The messages of one sign, by message; `false` are those that count against the method."""

    series: Numbers
    first: Numbers
    false: Flags
    sent: Flags


def messages(of: Truth, signs: Signs, sign: int, sent: Flags | None = None) -> Messages:
    """Alarms of this sign, joined; a message is sent if one of its alarms is."""
    series, day = np.nonzero(signs == sign)
    if not len(series):
        none, no = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)
        return Messages(none, none, no, no)
    begins = np.ones(len(series), dtype=np.bool_)
    begins[1:] = (series[1:] != series[:-1]) | (day[1:] - day[:-1] > 2)
    starts = np.flatnonzero(begins)
    side = int(sign > 0)
    good = np.logical_or.reduceat((of.within[side] | of.neutral[side])[series, day], starts)
    out = good if sent is None else np.logical_or.reduceat(sent[series, day], starts)
    return Messages(series[starts], day[starts], ~good, out)


def score(of: Truth, signs: Signs) -> Numbers:
    """Counts by series: `COUNTS`."""
    counts = np.zeros((of.series, len(COUNTS)), dtype=np.int64)
    for sign in (-1, 1):
        found = messages(of, signs, sign)
        np.add.at(counts[:, FALSE], found.series[found.false], 1)
        events = of.events[of.events[:, 1] == sign]
        seen = np.zeros((of.series, DAYS + 1), dtype=np.int64)
        np.cumsum(signs == sign, axis=1, out=seen[:, 1:])
        hit = seen[events[:, 0], events[:, 3] + 1] > seen[events[:, 0], events[:, 2]]
        covered = events[:, 4] > 0
        for column, which in (
            (EVENTS, slice(None)), (FOUND, hit), (COVERED, covered), (COVERED_FOUND, covered & hit),
        ):  # fmt: skip
            np.add.at(counts[:, column], events[which, 0], 1)
    return counts


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over any number of series."""

    events: int = 0
    found: int = 0
    false: int = 0
    covered: int = 0
    covered_found: int = 0
    pairs: int = 0

    @classmethod
    def of(cls, counts: Numbers) -> Score:
        """The sum over series of counts by series."""
        events, found, false, covered, covered_found = counts.sum(axis=0).tolist()
        return cls(events, found, false, covered, covered_found, len(counts))

    @property
    def precision(self) -> float | None:
        """Found events among findings; None if there were no findings."""
        return self.found / (self.found + self.false) if self.found + self.false else None

    @property
    def recall(self) -> float | None:
        """Found events among events; None without events."""
        return self.found / self.events if self.events else None

    @property
    def covered_recall(self) -> float | None:
        """The same of events on days that a calendar explains."""
        return self.covered_found / self.covered if self.covered else None

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 without events."""
        return f1(self.events, self.found, self.false)

    @property
    def rate(self) -> float:
        """False alarms per 100 pairs in a month of 30 days."""
        return 100 * 30 * self.false / (self.pairs * JUDGED_DAYS) if self.pairs else 0.0

    def precision_at(self, events: float) -> float | None:
        """Precision with so many events per 100 pairs a month, from recall and the rate of false alarms."""
        if self.recall is None or not events * self.recall + self.rate:
            return None
        return events * self.recall / (events * self.recall + self.rate)


def f1(events: float, found: float, false: float) -> float:
    """2 x found / (events + findings); 0 if there is nothing of either."""
    whole = events + found + false
    return 2 * found / whole if whole else 0.0
