"""Samples of what the ledger knows of a target's usage."""

from __future__ import annotations

from collections.abc import Mapping
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
    state: usage_ledger.UsageTarget,
    target: Target,
    served: Mapping[str, Served],
    per_resource: frozenset[str] = frozenset(),
) -> RestoredSamples:
    """The target's counters and levels; a counter that has never been served before is 0 at first.

    Prometheus counts what a counter rises by, and does not see a rise before the first sample.
    """
    assert state.polled_at is not None
    oldest = {
        name: int((state.polled_at - how.stale_after).timestamp())
        for name, how in served.items()
        if how.family.type == "gauge"
    }
    samples: list[Sample] = []
    unborn: list[tuple[str, str, str]] = []
    for now in usage_ledger.current(ledger, state, per_resource, oldest):
        how = served.get(now.metric)
        if how is None:
            continue
        labels = {
            "account_id": target.account_id,
            "account": target.account,
            "region": target.region,
            "resource_id": now.resource_id,
        }
        if how.variant is not None:
            labels[how.variant] = now.variant
        if how.family.type == "counter":
            samples.append(how.family(now.total if now.born else 0.0, **labels))
            if not now.born:
                unborn.append((now.metric, now.resource_id, now.variant))
        elif now.levels:
            value = sum(now.levels)
            samples.append(how.family(value / len(now.levels) if how.across == "mean" else value, **labels))
    seen = partial(usage_ledger.bear, ledger, state, unborn) if unborn else None
    return RestoredSamples(samples=tuple(samples), read_at=state.polled_at, seen=seen)
