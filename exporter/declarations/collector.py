"""What a collector declares: what is collected, how often, and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from exporter.core.fields import CollectorSettings
from exporter.core.metric import Family, Folded, Sample
from exporter.core.places import Scope, Target
from exporter.core.resource import Resource
from exporter.declarations.calls import CheckCall, FreeCall, PaidCall, Scale
from exporter.declarations.context import Context
from exporter.declarations.sections import Sections
from exporter.declarations.view import View
from exporter.ledger.file import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredSamples:
    """What a collector that keeps its state in the ledger serves of a target, as AWS was read at `read_at`.

    `seen` is to be called once the samples have been scraped twice; what is restored then is published.
    """

    samples: tuple[Sample, ...]
    read_at: datetime
    seen: Callable[[], None] | None = None


S = TypeVar("S", bound=CollectorSettings)
S_contra = TypeVar("S_contra", bound=CollectorSettings, contravariant=True)


def _never(sections: Sections) -> bool:
    return False


def _no_paid_calls(settings: CollectorSettings, scale: Scale) -> Iterable[PaidCall]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part(Generic[S_contra]):
    """A piece of a collector that succeeds or fails by itself; reported as `<collector>_<name>`.

    `offered` says whether there is such a thing in a region at all.
    """

    name: str
    scope: Scope
    collect: Callable[[Context[S_contra], Target], Iterable[Sample | Resource | Folded]]
    offered: Callable[[str], bool] = lambda region: True
    check: CheckCall | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector(Generic[S]):
    """A declaration of what is collected, how often, and what it needs; one file of `collectors/` each.

    `collect` runs straight-line synchronous code for one target, raises on any failure, and
    returns the samples of that target; cost goes to the ledger instead, and `views` render it.
    """

    name: str
    help: str
    scope: Scope
    settings: type[S]
    families: tuple[Family, ...]
    iam_actions: tuple[str, ...]
    collect: Callable[[Context[S], Target], Iterable[Sample | Resource | Folded]] | None = None
    views: tuple[View[S], ...] = ()
    paid_calls: Callable[[S, Scale], Iterable[PaidCall]] = _no_paid_calls
    first_fill_pages: Callable[[S, Scale, Sections, datetime, Ledger | None], int] | None = None
    """Paid requests that the first read of its history takes; with a ledger, what it still lacks of that."""
    due: Callable[[Context[S], Target], datetime] | None = None
    """When to read a target next, for a collector whose state is in the ledger; others are read each interval."""
    restore: Callable[[Context[S], Target], RestoredSamples | None] | None = None
    """What to serve of a target instead of what `collect` returns: counters that outlive the process (usage, ec2_running)."""
    free_calls: Callable[[S, Scale], Iterable[FreeCall]] | None = None
    """Where None, one request of each IAM action a target and run is assumed."""
    parts: Callable[[S], Sequence[Part[S]]] | None = None
    """Units that fail each by itself, instead of `collect` (inventory: one for each file of `resources/`)."""
    series_weight: int = 0
    """Its part of an account's series, among the enabled collectors; 0 where an account has only a few."""
    check: CheckCall | None = None
    """None where it has parts, which have their own, or where all of its requests are paid."""
    replaces: tuple[str, ...] = ()
    """Collectors that rest while this one runs: it serves their families from the same requests (inventory: ec2_instances)."""
    follows: tuple[str, ...] = ()
    """Collectors after each of whose commits this one is due at once (anomaly_causes: cost)."""
    rests: Callable[[Sections], bool] = _never
    """Whether it asks AWS for nothing, because another source writes what its views show."""

    @property
    def is_free(self) -> bool:
        """Whether none of its requests is paid, however often it runs."""
        return self.due is None and self.paid_calls is _no_paid_calls

    def units(self, settings: S) -> tuple[Part[S], ...]:
        """Its parts; itself as the only one where it has none."""
        if self.parts is not None:
            return tuple(replace(part, name=f"{self.name}_{part.name}") for part in self.parts(settings))
        assert self.collect is not None
        return (Part(name=self.name, scope=self.scope, collect=self.collect, check=self.check),)


AnyPart = Part[Any]
AnyCollector = Collector[Any]
"""A collector among others: which settings it has only itself and `Config.settings` know."""

INTERVALS_SERVED = 3
# With an interval of seconds, a run that takes a little longer than usual is no reason to forget the last one.
SERVED_AT_LEAST = timedelta(minutes=1)


def expires_at(succeeded_at: datetime, interval: timedelta) -> datetime:
    """When samples that were read at `succeeded_at` go absent if nothing newer arrives."""
    return succeeded_at + max(INTERVALS_SERVED * interval, SERVED_AT_LEAST)
