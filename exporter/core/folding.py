"""Series limits: the smallest are summed up as `other`, so that the total stays true."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from exporter.core.metric import Family, Folded, Sample

OTHER = "other"
_FEW = 3
_SLACK = 0.9
# A name that is served stays until another costs half as much again.
_STAYS = 1.5
_ACCOUNT = ("account_id", "account")

_Key = tuple[Family, tuple[str, ...]]


def fold(samples: Iterable[Sample], labels: tuple[str, ...], limit: int) -> list[Sample | Folded]:
    """At most `limit` samples of each family: the largest, and the others summed up with `labels` as `other`.

    Where even those sums are too many, the smallest of them become one series that is `other` in each label.
    """
    by_family: dict[Family, list[Sample]] = {}
    for sample in samples:
        by_family.setdefault(sample.family, []).append(sample)
    found: list[Sample | Folded] = []
    for family, members in by_family.items():
        if len(members) <= limit:
            found += members
            continue
        # What is called `other` by itself goes to the sum of that name.
        members.sort(key=lambda sample: (OTHER in sample.values, -sample.value, sample.values))
        groups = len(_summed(family, members, labels))
        own = sum(OTHER not in sample.values for sample in members)
        kept = min(max(0, limit - groups), own)
        sums = _summed(family, members[kept:], labels)
        if kept + len(sums) > limit:
            # What is `other` throughout is what they become.
            sums.sort(key=lambda sample: (set(sample.values) == {OTHER}, -sample.value))
            sums = [*sums[: limit - 1], *_summed(family, sums[limit - 1 :], family.labels)]
        found += [*members[:kept], *sums, Folded(len(members) - kept)]
    return found


def _summed(family: Family, samples: Iterable[Sample], labels: tuple[str, ...]) -> list[Sample]:
    sums: dict[tuple[str, ...], Sample] = {}
    for sample in samples:
        values = tuple(
            OTHER if name in labels else value
            for name, value in zip(family.labels, sample.values, strict=True)
        )
        known = sums.get(values)
        sums[values] = replace(sample, values=values, value=sample.value + (known.value if known else 0.0))
    return list(sums.values())


# By account


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFold:
    """How series of one account are folded: whole groups of them, by the value of a label, in steps.

    A group keeps or loses the labels of a step in every family at once, the least important first; the few
    most important ones keep theirs longest. What cannot be summed up is left out instead.
    """

    label: str
    steps: tuple[tuple[str, ...], ...]
    """The labels that are `other` after each step."""

    def fold(
        self,
        samples: Sequence[Sample],
        limit: int,
        importance: Mapping[str, Any],
        before: Mapping[str, int] = {},
    ) -> tuple[list[Sample | Folded], dict[str, int]]:
        """At most `limit` series, or one a family if that is more; and the steps of the groups that are folded.

        `before` are the steps of the last time: a group that has lost its labels gets them back when there
        is room for more than it, so that series do not come and go with each small change.
        """
        if len(samples) <= limit * _SLACK or (len(samples) <= limit and not any(before.values())):
            return list(samples), {}
        folding = _Folding(self, samples, importance)
        tight, loose = folding.steps_for(limit, {}), folding.steps_for(int(limit * _SLACK), {})
        start = {
            group: min(max(before.get(group, 0), step), max(step, loose[group]))
            for group, step in tight.items()
        }
        steps = folding.steps_for(limit, start)
        return folding.folded(steps, limit), {group: step for group, step in steps.items() if step}


class _Folding:
    def __init__(self, how: GroupFold, samples: Sequence[Sample], importance: Mapping[str, Any]) -> None:
        self._how = how
        self._fixed: list[Sample] = []
        self._groups: defaultdict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            if how.label in sample.family.labels:
                self._groups[sample.values[sample.family.labels.index(how.label)]].append(sample)
            else:
                self._fixed.append(sample)
        self._known: dict[tuple[str, int], list[_Key | None]] = {}
        ranked = sorted(self._groups, key=lambda group: (importance[group], group))
        self._rest, self._few = ranked[:-_FEW], ranked[-_FEW:]

    def _keys(self, group: str, step: int) -> list[_Key | None]:
        """What each of a group's samples is a part of after a step; None of those that are left out."""
        keys = self._known.get((group, step))
        if keys is None:
            labels = self._how.steps[step - 1] if step else ()
            keys = self._known[group, step] = [_key_without(each, labels) for each in self._groups[group]]
        return keys

    def steps_for(self, limit: int, start: Mapping[str, int]) -> dict[str, int]:
        """The steps with which there are at most `limit` series, if there are such; none is below `start`."""
        steps = {group: start.get(group, 0) for group in self._groups}
        served: Counter[_Key | None] = Counter()
        for group, step in steps.items():
            served.update(self._keys(group, step))
        for groups in (self._rest, self._few):
            for step in range(1, len(self._how.steps) + 1):
                for group in groups:
                    if len(served) - (None in served) + len(self._fixed) <= limit:
                        return steps
                    if steps[group] < step:
                        for key in self._keys(group, steps[group]):
                            served[key] -= 1
                            if not served[key]:
                                del served[key]
                        served.update(self._keys(group, step))
                        steps[group] = step
        return steps

    def folded(self, steps: Mapping[str, int], limit: int) -> list[Sample | Folded]:
        sums: dict[_Key, float] = {}
        lost = 0
        for group, step in steps.items():
            for sample, key in zip(self._groups[group], self._keys(group, step), strict=True):
                if key is not None:
                    sums[key] = sums.get(key, 0.0) + sample.value
                lost += step > 0
        found = [*self._fixed, *(Sample(*key, value) for key, value in sums.items())]
        if len(found) > limit:
            sums, lost = {}, lost + len(found)
            for sample in found:
                key = _key_without(sample, set(sample.family.labels) - set(_ACCOUNT))
                if key is not None:
                    sums[key] = sums.get(key, 0.0) + sample.value
            found = [Sample(*key, value) for key, value in sums.items()]
        return [*found, Folded(lost)] if lost else [*found]


def _key_without(sample: Sample, labels: Collection[str]) -> _Key | None:
    """The series that a sample is part of once some labels are `other`; None if it cannot be summed up."""
    family = sample.family
    own = [name for name in family.labels if name in labels]
    if not own:
        return family, sample.values
    if not family.is_summable:
        return None
    values = (
        OTHER if name in labels else value for name, value in zip(family.labels, sample.values, strict=True)
    )
    return family, tuple(values)


def choose_named(
    costs: Mapping[str, float], most: int, always: Collection[str] = (), before: Collection[str] = ()
) -> frozenset[str]:
    """The names that stay when there is room for `most`, `other` included: `always`, then those that cost most.

    All of them where there is room. One of `before` stays until another costs half as much again.
    """
    if len(costs) <= most:
        return frozenset(costs)

    def rank(name: str) -> tuple[bool, float, str]:
        return name not in always, -abs(costs[name]) * (_STAYS if name in before else 1.0), name

    return frozenset(sorted(costs, key=rank)[: max(0, most - 1)])


def fold_unnamed(
    samples: Iterable[Sample], label: str, named: Mapping[str, Collection[str]]
) -> Iterator[Sample | Folded]:
    """Sum up as `other` what has a name that is not among those of its account, the values of `label`.

    Only families whose labels are the account's and `label`; what cannot be summed up is left out. Samples of
    an account that `named` does not have are left as they are.
    """
    sums: dict[_Key, float] = {}
    lost = 0
    for sample in samples:
        if (
            sample.family.labels != (*_ACCOUNT, label)
            or sample.values[0] not in named
            or (sample.values[2] in named[sample.values[0]] and sample.values[2] != OTHER)
        ):
            yield sample
        else:
            lost += 1
            if (key := _key_without(sample, (label,))) is not None:
                sums[key] = sums.get(key, 0.0) + sample.value
    yield from (Sample(*key, value) for key, value in sums.items())
    if lost:
        yield Folded(lost)


@dataclass(slots=True)
class FoldMemory:
    """What was folded the last time, by subject and account, so that it stays so; not thread-safe."""

    steps: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    named: dict[str, frozenset[str]] = field(default_factory=dict)
    """By account, of those that are folded by name."""
    is_of_the_last_process: bool = False
    """Whether `named` is to be used as it is: at the start, cost is not to wait until it was found again."""
    version: object = None
    """What `named` was chosen from."""
