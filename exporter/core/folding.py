"""Series limits: the smallest are summed up as `other`, so that the total stays true."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from exporter.core.metric import Family, Folded, Sample

OTHER = "other"


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
