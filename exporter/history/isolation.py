"""Finds which samples of a batch an endpoint refuses, with few further requests.

Remote write 2.0 takes the good samples of a request, counts them, and names the series of the others. Remote write
1.0 refuses the whole request for its first bad sample. The samples that are bad are located by halving, one after the
other; each tells by its words which others are bad, too, so that a bad series or a short out-of-order window
costs one search.

A sample is refused because of the receiver's words about a sample. What is refused by other words may be taken
later, and is left over.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import TypeVar

from exporter.history.refusals import Reason, series_named
from exporter.history.request import Point, series_text

_PROBES = 8  # single samples at different places, before a batch of which nothing is taken is given up
_PROBES_IN_DOUBT = 1  # of a batch that is refused by other words, after one of which nothing was taken
_MOST_SEARCHES = 32  # samples that are located one by one: each costs about log2(batch) requests
_GROUPS = 64  # requests for what is undecided after that, of a group of neighbours or one of a series
_GROUPS_OF_NOTHING = 16  # groups of neighbours, where nothing was taken
_MOST_COUNTS = 256  # requests that locate samples by the receiver's counts


class Verdict(Enum):
    """What an answer means for the samples of its request."""

    TAKEN = "taken"
    REFUSED = "refused"  # by words about a sample
    LATER = "later"  # by other words: nothing is known of the samples
    TOO_LARGE = "too large"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer of the endpoint."""

    verdict: Verdict
    text: str = ""
    reason: Reason | None = None
    """Of a refusal, why."""
    written: int | None = None
    """Of a refusal, the number of samples that were taken nevertheless; None if the endpoint does not count."""


Post = Callable[[Sequence[Point]], Answer]


@dataclass(frozen=True, slots=True)
class Written:
    """Which samples of a batch were not taken, by their indices."""

    refused: frozenset[int] = frozenset()
    """Refused by the receiver's words about samples."""
    left: frozenset[int] = frozenset()
    """Neither taken nor refused; the same request may succeed later."""


class NothingTakenError(Exception):
    """The batch is refused, and so is each sample that was tried alone, by words that are not about samples."""


class TooLargeError(Exception):
    """The batch is too large for the endpoint."""


def isolate(points: Sequence[Point], post: Post, in_doubt: bool = False) -> Written:
    """Write a batch, sorted by series and time. NothingTakenError, TooLargeError.

    `in_doubt`: perhaps the endpoint refuses every batch now, and is not to be asked much.
    """
    return _Search(points, post, in_doubt).run()


T = TypeVar("T")


def _rotated(items: list[T]) -> list[T]:
    start = random.randrange(len(items)) if items else 0
    return items[start:] + items[:start]


class _Search:
    """The state of one batch: every sample is undecided until it is taken, refused or left over."""

    def __init__(self, points: Sequence[Point], post: Post, in_doubt: bool) -> None:
        self._points = points
        self._post = post
        self._in_doubt = in_doubt
        self._undecided = set(range(len(points)))
        self._refused: set[int] = set()
        self._left: set[int] = set()
        self._requests = 0
        self._oldest_taken: int | None = None
        self._oldest_taken_of: dict[bytes, int] = {}

    def run(self) -> Written:
        whole = range(len(self._points))
        answer = self._ask(whole)
        if answer.verdict is Verdict.TOO_LARGE:
            raise TooLargeError(answer.text)
        if self._undecided and answer.written is not None:
            self._by_count(answer)
        elif self._undecided:
            self._by_words(answer)
        return Written(frozenset(self._refused), frozenset(self._left))

    # What an answer decides

    def _ask(self, part: Iterable[int]) -> Answer:
        """Send a part, and decide what its answer decides by itself."""
        self._requests += 1
        indices = sorted(part)  # by series and time, as a receiver wants them
        answer = self._post([self._points[index] for index in indices])
        if answer.verdict is Verdict.TAKEN:
            self._take(indices)
        elif answer.verdict is Verdict.REFUSED and len(indices) == 1:
            self._refuse(indices[0], answer.reason)
        return answer

    def _take(self, indices: Iterable[int]) -> None:
        for index in indices:
            self._undecided.discard(index)
            labels, stamp, _ = self._points[index]
            if self._oldest_taken is None or stamp < self._oldest_taken:
                self._oldest_taken = stamp
            if stamp < self._oldest_taken_of.get(labels, stamp + 1):
                self._oldest_taken_of[labels] = stamp

    def _refuse(self, index: int, reason: Reason | None) -> None:
        """Refuse a sample, and those that are bad for the same reason, unless one of them was taken."""
        self._undecided.discard(index)
        self._refused.add(index)
        labels, stamp, _ = self._points[index]
        taken_of_series = self._oldest_taken_of.get(labels)
        others: list[int] = []
        if reason is Reason.SERIES and taken_of_series is None:
            others = [other for other in self._undecided if self._points[other][0] == labels]
        elif reason is Reason.ORDER and (taken_of_series is None or taken_of_series > stamp):
            others = [
                other
                for other in self._undecided
                if self._points[other][0] == labels and self._points[other][1] <= stamp
            ]
        elif reason is Reason.OLD and (self._oldest_taken is None or self._oldest_taken > stamp):
            others = [other for other in self._undecided if self._points[other][1] <= stamp]
        self._undecided.difference_update(others)
        self._refused.update(others)

    def _give_up(self, part: Iterable[int], answer: Answer) -> None:
        """Decide without proof: these stand together with a sample that is refused."""
        rest = self._undecided.intersection(part)
        self._undecided -= rest
        (self._refused if answer.verdict is Verdict.REFUSED else self._left).update(rest)

    # Remote write 1.0: a request is taken or refused whole

    def _by_words(self, answer: Answer) -> None:
        last = self._probe(answer)
        if not self._undecided:
            return
        if last.verdict is not Verdict.TAKEN:
            if last.verdict is not Verdict.REFUSED:
                raise NothingTakenError(last.text)
            self._by_groups(_GROUPS_OF_NOTHING, last)
            return
        if self._refused:
            answer = self._ask(self._undecided)  # perhaps the probes have found all that is bad
        by_series = False
        for _ in range(_MOST_SEARCHES):
            if not self._undecided:
                return
            if not by_series and self._has_few_series(answer.reason):
                by_series = True
                self._ask_each_series()
            else:
                self._locate(answer)
            if self._undecided:
                answer = self._ask(self._undecided)
        self._by_groups(_GROUPS, answer)

    def _probe(self, answer: Answer) -> Answer:
        """Send single samples at different places until one is taken; the last answer.

        The newest comes first where words about samples may say that all older ones are bad.
        """
        if len(self._points) == 1:
            return answer
        # From another place each time: what is asked again some other day is not tried at the same places only.
        start = random.randrange(len(self._points))
        places = [
            (start + probe * len(self._points) // _PROBES) % len(self._points) for probe in range(_PROBES)
        ]
        if answer.verdict is Verdict.REFUSED:
            places.insert(0, max(self._undecided, key=lambda index: (self._points[index][1], index)))
        elif self._in_doubt:
            del places[_PROBES_IN_DOUBT:]
        for index in dict.fromkeys(places):
            if index in self._undecided:
                answer = self._ask([index])
                if answer.verdict is Verdict.TAKEN:
                    break
        return answer

    def _has_few_series(self, reason: Reason | None) -> bool:
        """Whether one request for each series costs no more than what was asked so far, where one is enough."""
        few = min(self._requests, _GROUPS)
        return reason is Reason.SERIES and len(self._by_series()) <= few

    def _locate(self, answer: Answer) -> None:
        """Find one bad sample among the undecided ones, which `answer` has refused."""
        part = self._in_search_order(answer.reason)
        while len(part) > 1:
            half = part[: len(part) // 2]
            of_half = self._ask(half)
            if of_half.verdict is Verdict.TAKEN:
                part = part[len(half) :]
            else:
                part, answer = half, of_half
        (index,) = part
        if index in self._undecided:
            if answer.verdict is Verdict.REFUSED:
                self._refuse(index, answer.reason)
            else:
                self._give_up([index], answer)

    def _in_search_order(self, reason: Reason | None) -> list[int]:
        """The undecided samples so that the first bad one tells most about the others: the newest of its kind."""
        if reason is Reason.OLD:
            return sorted(self._undecided, key=lambda index: -self._points[index][1])
        return [index for series in _rotated(self._by_series()) for index in reversed(series)]

    def _by_series(self) -> list[list[int]]:
        return [
            list(indices)
            for _, indices in groupby(sorted(self._undecided), key=lambda index: self._points[index][0])
        ]

    def _by_groups(self, most: int, answer: Answer) -> None:
        """Save what stands without bad samples, at other places each time, and give the rest up."""
        if answer.reason in (Reason.SERIES, Reason.ORDER):
            self._ask_each_series()
        else:
            rest = _rotated(sorted(self._undecided))
            taken = len(self._points) - len(rest) - len(self._refused) - len(self._left)
            size = -(-len(rest) // most)
            if taken:
                size = min(size, max(1, taken // _MOST_SEARCHES))  # as far apart as the bad ones were
            for start in range(0, min(len(rest), size * most), size):
                self._ask_undecided(rest[start : start + size])
        self._give_up(set(self._undecided), answer)

    def _ask_each_series(self) -> None:
        """The newest sample of each tells whether all are bad, or the older ones are."""
        for series in _rotated(self._by_series())[:_GROUPS]:
            if series[-1] in self._undecided and self._ask(series[-1:]).verdict is Verdict.TAKEN:
                self._ask_undecided(series)

    def _ask_undecided(self, part: Iterable[int]) -> None:
        rest = self._undecided.intersection(part)
        if rest:
            self._ask(rest)

    # Remote write 2.0: good samples are taken and counted

    def _by_count(self, answer: Answer) -> None:
        assert answer.written is not None
        bad = len(self._undecided) - answer.written
        named = self._named(answer)
        if len(named) == bad:
            self._take(self._undecided - named)
            self._undecided -= named
            self._refused |= named
            return
        budget = [_MOST_COUNTS]
        # By time where age is the reason: then those that are bad stand together.
        by_age = answer.reason is Reason.OLD
        self._halve(
            sorted(self._undecided, key=lambda index: (self._points[index][1] if by_age else 0, index)),
            bad,
            budget,
        )
        self._give_up(set(self._undecided), answer)

    def _named(self, answer: Answer) -> set[int]:
        """The samples that an answer names by their series: the oldest ones, but for a reason that spares them."""
        lines: dict[str, list[Reason]] = {}
        for reason, text in series_named(answer.text):
            lines.setdefault(text, []).append(reason)
        found: set[int] = set()
        for series in self._by_series():
            reasons = lines.get(series_text(self._points[series[0]][0]))
            if reasons is None:
                continue
            if Reason.SERIES in reasons:
                found.update(series)
            elif Reason.SAMPLE not in reasons or len(reasons) >= len(series):
                found.update(series[: len(reasons)])
        return found

    def _halve(self, part: list[int], bad: int, budget: list[int]) -> None:
        """Locate so many bad samples among a part that was sent; a sample that was taken is taken again."""
        if bad <= 0:
            self._take(part)
        elif bad >= len(part):
            self._undecided.difference_update(part)
            self._refused.update(part)
        elif budget[0]:
            budget[0] -= 1
            half = part[: len(part) // 2]
            answer = self._ask(half)
            if answer.verdict is Verdict.TAKEN:
                of_half = 0
            elif answer.verdict is Verdict.REFUSED and answer.written is not None:
                of_half = len(half) - answer.written
            else:
                return
            if of_half > bad:
                return  # it refuses now what it took before: nothing can be told apart
            self._halve(half, of_half, budget)
            self._halve(part[len(half) :], bad - of_half, budget)
