"""Samples of what the ledger knows of a target's usage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Literal

from exporter.core.metric import Family, Sample
from exporter.core.places import Target
from exporter.declarations.collector import RestoredSamples
from exporter.ledger.file import Ledger
from exporter.usage import counters as usage_ledger


@dataclass(frozen=True, slots=True)
class Served:
    """How a family is served: the label of its variant, if it has one, and how its levels are combined."""

    family: Family
    variant: str | None = None
    across: Literal["sum", "mean"] = "sum"
    stale_after: timedelta = timedelta(0)


def restored(
    ledger: Ledger,
    states: Sequence[usage_ledger.UsageTarget],
    target: Target,
    served: Mapping[str, Served],
    per_resource: frozenset[str] = frozenset(),
) -> RestoredSamples:
    """The counters and levels of a target, or of several as one; a counter that has never been served before is 0 at first.

    Prometheus counts what a counter rises by, and does not see a rise before the first sample.
    """
    totals: dict[tuple[str, str, str], float] = {}
    levels: dict[tuple[str, str, str], list[float]] = {}
    unborn: list[tuple[usage_ledger.UsageTarget, list[tuple[str, str, str]]]] = []
    for state in states:
        assert state.polled_at is not None
        oldest = {
            name: int((state.polled_at - how.stale_after).timestamp())
            for name, how in served.items()
            if how.family.type == "gauge"
        }
        new = []
        for now in usage_ledger.current(ledger, state, per_resource, oldest):
            how = served.get(now.metric)
            if how is None:
                continue
            key = now.metric, now.resource_id, now.variant
            if how.family.type == "gauge":
                if now.levels:
                    levels.setdefault(key, []).extend(now.levels)
                continue
            totals[key] = totals.get(key, 0.0) + (now.total if now.born else 0.0)
            if not now.born:
                new.append(key)
        if new:
            unborn.append((state, new))
    combined = {
        key: sum(values) / (len(values) if served[key[0]].across == "mean" else 1)
        for key, values in levels.items()
    }
    samples = tuple(_sample(served[key[0]], target, key, value) for key, value in (totals | combined).items())
    read_at = min(state.polled_at for state in states if state.polled_at is not None)
    return RestoredSamples(
        samples=samples, read_at=read_at, seen=partial(_bear, ledger, unborn) if unborn else None
    )


def _sample(how: Served, target: Target, key: tuple[str, str, str], value: float) -> Sample:
    _, resource_id, variant = key
    labels = {
        "account_id": target.account_id,
        "account": target.account,
        "region": target.region,
        "resource_id": resource_id,
    }
    if how.variant is not None:
        labels[how.variant] = variant
    return how.family(value, **labels)


def _bear(
    ledger: Ledger, unborn: Sequence[tuple[usage_ledger.UsageTarget, Sequence[tuple[str, str, str]]]]
) -> None:
    for state, keys in unborn:
        usage_ledger.bear(ledger, state, keys)
