"""Which keys of a dimension the dated history names, by account and month, within the most series; the rest is `other`."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from exporter.cube.dimensions import OTHER, WITHOUT, Kind, parse_dimension

_KEYS = 20
_RESOURCES = 50
_STEPS = (50, 40, 30, 20, 15, 10, 7, 5, 3, 2, 1, 0)
_STAYS_AMONG = 2  # times as many

Of = tuple[str, str]
"""A dimension's name and an account id."""
Named = Mapping[Of, Set[str]]
"""The keys that are named, by dimension and account."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The keys of one account and dimension in one month."""

    largest: tuple[str, ...]
    """The largest first, as many as may ever be chosen."""
    count: int
    """How many there are in all."""
    has_other: bool
    """Whether some were summed as `other` when they were read."""


def most_keys(kind: Kind) -> int:
    """How many keys an account a family names where there is room for all."""
    return _RESOURCES if kind == "resource" else _KEYS


def rank(costs: Iterable[tuple[str, str, str, int]]) -> dict[Of, Ranks]:
    """Dimensions' names, account ids, keys and their cost in a month, by absolute cost.

    Cost that has no key (untagged, without a resource id) has its place before all others.
    """
    found: defaultdict[Of, list[tuple[bool, int, str]]] = defaultdict(list)
    summed: set[Of] = set()
    for name, account_id, value, units in costs:
        if value == OTHER:
            summed.add((name, account_id))
        else:
            found[name, account_id].append((value != WITHOUT, -abs(units), value))
    ranks = {}
    for of in found.keys() | summed:
        keys = sorted(found.get(of, ()))
        most = _STAYS_AMONG * most_keys(parse_dimension(of[0]).kind)
        # The same few words in each month and account.
        ranks[of] = Ranks(tuple(sys.intern(value) for _, _, value in keys[:most]), len(keys), of in summed)
    return ranks


def largest(ranked: Sequence[str], named: Set[str], most: int) -> frozenset[str]:
    """The `most` largest keys; those that are `named` already stay while they are among twice as many."""
    stay = [value for value in ranked[: _STAYS_AMONG * most] if value in named or value == WITHOUT][:most]
    others = [value for value in ranked if value not in stay]
    return frozenset([*stay, *others[: most - len(stay)]])


class SeriesCount:
    """The most series that the families can have over some months, by the number of keys an account that each names."""

    def __init__(self, months: Iterable[tuple[Mapping[Of, Ranks], Named]]) -> None:
        """`months` have the ranks of each, and the keys that stay as long as `largest` keeps them."""
        firsts: defaultdict[Of, dict[str, int]] = defaultdict(dict)
        # The number of named keys from which on an account has no `other`; None: it always has one.
        whole: dict[Of, int | None] = {}
        for ranks, named in months:
            for of, keys in ranks.items():
                best, stay = firsts[of], named.get(of, ())
                for at, value in enumerate(keys.largest):
                    place = at // _STAYS_AMONG if value in stay else at
                    best[value] = min(place, best.get(value, place))
                known = whole.get(of, 0)
                whole[of] = None if keys.has_other or known is None else max(known, keys.count)
        self._named: defaultdict[Kind, Counter[int]] = defaultdict(Counter)
        self._whole: defaultdict[Kind, Counter[int | None]] = defaultdict(Counter)
        for of, best in firsts.items():
            kind = parse_dimension(of[0]).kind
            self._named[kind].update(best.values())
            self._whole[kind][whole[of]] += 1

    def of(self, kind: Kind, keys: int) -> int:
        """The series of a family that names so many keys an account."""
        named = sum(count for place, count in self._named[kind].items() if place < keys)
        others = sum(count for whole, count in self._whole[kind].items() if whole is None or whole > keys)
        return named + others

    def fit(self, most: int) -> dict[Kind, int]:
        """How many keys each family may name for all of them to have at most `most` series.

        The family with the most series gives way first. `other` is never left out, however many accounts there are.
        """
        keys = {kind: most_keys(kind) for kind in self._whole}
        series = {kind: self.of(kind, number) for kind, number in keys.items()}
        while sum(series.values()) > most and any(keys.values()):
            kind = max((kind for kind in keys if keys[kind]), key=lambda kind: (series[kind], kind))
            keys[kind] = max(step for step in _STEPS if step < keys[kind])
            series[kind] = self.of(kind, keys[kind])
        return keys
