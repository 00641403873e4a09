"""Charges that recur on calendars, expected on the days to come: the 15th, the first Monday, the last working day.

Of all rules that a month can have, the one that names most of a series' days that stood out is taken first; what it
explains is taken out, and the next one is looked for. A rule is believed if the newest of its days stood out, and the
one before it (of the same size) or the two before it, or three of the last four; and only if all four did, where days
stand out often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from exporter.expectation.arrays import MAD, Flags, Numbers, Values, median, ratio
from exporter.expectation.calendars import REMEMBERED, rules
from exporter.expectation.rhythm import is_due

_AROUND_DAYS = tuple(by for by in range(-7, 8) if by)
_STOOD_OUT_DEVIATIONS = 4.0
_STOOD_OUT_SHARE = 0.15
_AS_LARGE = 3.0  # times its newest size, at most, another day of a rule
_TWO_UNLIKE = 0.35  # of the larger one, at most
_MOST_RULES = 10
_OFTEN = 6  # days a month that stand out: beyond it three of them lie on some rule by chance
_MOST_OFTEN = 12  # beyond it they are how the series is
_NEWEST_DAYS = 14
_FROM_END = 0.25  # worth of days counted from the month's end: its last four are the 28th of most months
_CENT = 0.01
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Recurring:
    """What recurs, series by day: beyond the rhythm on days to come as an amount and as a share, and on known days."""

    amount: Values
    share: Values
    covered: Values


def recurring(plain: Values, days: Sequence[date], shares: Values, ahead: Sequence[date]) -> Recurring:
    """What recurs on the days `ahead`, and what of the days known is explained by it.

    `plain` are series by `days`; `shares` the part that the rhythm has of each of these.
    """
    normal = _normal(plain, days, shares)
    out = plain - normal
    stood = abs(out) > _reach(out, normal)
    found = Recurring(
        np.zeros((len(plain), len(ahead))), np.zeros((len(plain), len(ahead))), np.zeros(plain.shape)
    )
    a_month = stood.sum(axis=1) * 30 / max((days[-1] - days[0]).days, 1)
    rows = np.flatnonzero((stood.sum(axis=1) >= 2) & (a_month <= _MOST_OFTEN))
    if len(rows):
        _Search(out[rows], normal[rows], stood[rows], days, ahead, a_month[rows] > _OFTEN).into(found, rows)
    return found


def _normal(plain: Values, days: Sequence[date], shares: Values) -> Values:
    """What the days around each let expect of it."""
    place = {day: number for number, day in enumerate(days)}
    flat = np.divide(plain, shares, out=np.full_like(plain, np.nan), where=is_due(shares))
    near = []
    for by in _AROUND_DAYS:
        columns = [place.get(day + by * _DAY, -1) for day in days]
        near.append(np.where(np.array(columns)[None, :] >= 0, flat[:, columns], np.nan))
    middle = median(np.stack(near, axis=2))
    return np.asarray(np.where(np.isnan(middle), 0.0, middle) * shares)


def _reach(out: Values, normal: Values) -> Values:
    """How far a day has to be to stand out."""
    noise = MAD * median(abs(ratio(out, normal, _CENT)))
    noise = np.where(np.isnan(noise), 0.0, noise)[:, None]
    return np.maximum(np.maximum(_STOOD_OUT_DEVIATIONS * noise, _STOOD_OUT_SHARE) * abs(normal), _CENT)


class _Search:
    """Finds the rules of some series, one after the other."""

    def __init__(
        self,
        out: Values,
        normal: Values,
        stood: Flags,
        days: Sequence[date],
        ahead: Sequence[date],
        often: Flags,
    ) -> None:
        self._out = out
        self._often = often
        self._level = abs(median(normal[:, -_NEWEST_DAYS:]))
        # Charges of one amount, and days that cost so many times what they otherwise would.
        self._sizes = (out, np.divide(out, normal, out=np.zeros_like(out), where=abs(normal) > _CENT))
        self._left = stood.copy()
        self._rules = rules(days[0], days[-1], ahead[-1])
        place = {day: number for number, day in enumerate(days)}
        self._ahead = {day: number for number, day in enumerate(ahead)}
        past = [[place.get(day, -1) for day in rule.past] for rule in self._rules]
        rows = [row + [-1] * (REMEMBERED - len(row)) for row in past]
        # Of a few days no rule names two.
        self._columns = np.array(rows, dtype=np.int64).reshape(-1, REMEMBERED)
        self._fewest = np.array([rule.fewest for rule in self._rules])
        self._better = np.array([_FROM_END * rule.name.endswith("before the last") for rule in self._rules])

    def into(self, found: Recurring, rows: Numbers) -> None:
        """Add what recurs to the `rows` of `found`."""
        if not self._rules:
            return
        for _ in range(_MOST_RULES):
            hits = [self._hits(sizes) for sizes in self._sizes]
            worth = np.concatenate(
                [self._worth(*each) for each in zip(hits, self._sizes, strict=True)], axis=1
            )
            best = worth.argmax(axis=1)
            mine = np.flatnonzero(worth.max(axis=1) > 0)
            if not len(mine):
                return
            for choice in np.unique(best[mine]).tolist():
                kind, number = divmod(choice, len(self._rules))
                chosen = mine[best[mine] == choice]
                self._take(found, rows, chosen, number, kind, hits[kind][chosen, number])

    def _hits(self, sizes: Values) -> Flags:
        """Series by rule and day, newest first: those that stood out as its newest one did."""
        of_days = sizes[:, self._columns]
        newest = of_days[:, :, :1]
        return np.asarray(
            self._left[:, self._columns]
            & (self._columns >= 0)
            & (of_days * newest > 0)
            & (abs(of_days) <= _AS_LARGE * abs(newest))
            & (abs(newest) <= _AS_LARGE * abs(of_days))
        )

    def _worth(self, hits: Flags, sizes: Values) -> Values:
        """How much each rule explains, -1 where it is not believed; more if its days cost the same."""
        count = hits.sum(axis=2)
        in_a_row = np.logical_and.accumulate(hits, axis=2).sum(axis=2)
        missed = ((self._columns >= 0) & ~hits)[:, :, :2].sum(axis=2)
        of_days = np.where(hits, abs(sizes[:, self._columns]), np.nan)
        with np.errstate(invalid="ignore"):
            highest, lowest = np.fmax.reduce(of_days, axis=2), np.fmin.reduce(of_days, axis=2)
            unlike = np.nan_to_num((highest - lowest) / highest)
        # Two days are a rule only if they cost about the same: any two spikes may be a month apart.
        enough = (in_a_row >= self._fewest) & ((count > 2) | (unlike <= _TWO_UNLIKE))
        believed = hits[:, :, 0] & (enough | (count >= REMEMBERED - 1))
        believed &= ~self._often[:, None] | (count == REMEMBERED)
        return np.where(believed, count - missed - 0.5 * unlike + self._better, -1.0)

    def _take(
        self, found: Recurring, rows: Numbers, chosen: Numbers, number: int, kind: int, hits: Flags
    ) -> None:
        columns = self._columns[number]
        size = median(np.where(hits, self._sizes[kind][chosen][:, columns], np.nan))
        into, other = (found.amount, found.share)[:: 1 - 2 * kind]
        unit = (np.ones(len(chosen)), self._level[chosen])[:: 1 - 2 * kind]
        for day in self._rules[number].coming:
            if day in self._ahead:
                cell = rows[chosen], self._ahead[day]
                # Two rules that name one day are more often one charge than two: the larger one holds.
                larger = abs(size) * unit[0] > np.maximum(
                    abs(into[cell]) * unit[0], abs(other[cell]) * unit[1]
                )
                into[cell], other[cell] = (
                    np.where(larger, size, into[cell]),
                    np.where(larger, 0.0, other[cell]),
                )
        for at, column in enumerate(columns.tolist()):
            explained = chosen[hits[:, at]]
            found.covered[rows[explained], column] += self._out[explained, column]
            self._left[explained, column] = False
