"""Views: what turns the ledger, or the resources of every unit, into samples."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from exporter.core.fields import CollectorSettings
from exporter.core.folding import FoldMemory, GroupFold
from exporter.core.metric import Family, Folded, Sample
from exporter.core.resource import PublishedResources
from exporter.declarations.sections import Sections
from exporter.ledger.file import Ledger

S_co = TypeVar("S_co", bound=CollectorSettings, covariant=True)
S_contra = TypeVar("S_contra", bound=CollectorSettings, contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewContext(Generic[S_co]):
    """A view's surroundings: the ledger, the time, and the settings of the collector that owns it."""

    ledger: Ledger
    now: datetime
    settings: S_co
    names: Mapping[str, str]
    """Account names by id as configured or discovered; they win over the ledger's."""
    sections: Sections = field(default_factory=Sections)
    """Settings beside the collector's own, e.g. the cost type that holds for every family of cost."""
    group_labels: tuple[str, ...] = ()
    """The labels of `accounts.groups`, in order."""
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The values of these labels by account id."""
    published_resources: Callable[[], Iterable[PublishedResources]] = tuple
    """The resources of the units that are known now; of one account in a view of resources."""
    failing: Callable[[], Iterable[tuple[str, str]]] = tuple
    """Units that fail now, with the account id."""
    refused: Callable[[], frozenset[str]] = frozenset
    """Collectors that fail now in a way that no early attempt changes: over a ceiling, without permission."""
    account_series: int = 10_000
    """How many series of an account the collector has to itself."""
    memory: FoldMemory = field(default_factory=FoldMemory)
    """What was folded the last time."""

    def account(self, account_id: str, ledger_names: Mapping[str, str]) -> str:
        """The name of an account; its id where unknown."""
        return self.names.get(account_id) or ledger_names.get(account_id) or account_id

    def group_values(self, account_id: str) -> dict[str, str]:
        """The account's value of each group label, empty where it has none."""
        own = self.groups.get(account_id, {})
        return {label: own.get(label, "") for label in self.group_labels}

    def folded(
        self,
        subject: str,
        account_id: str,
        how: GroupFold,
        samples: Sequence[Sample],
        limit: int,
        importance: Mapping[str, Any],
    ) -> Generator[Sample | Folded, None, int]:
        """At most `limit` of an account's series, folded as the last time where that is possible; returns how many."""
        before = self.memory.steps.get((subject, account_id), {})
        found, steps = how.fold(samples, limit, importance, before)
        self.memory.steps[subject, account_id] = steps
        yield from found
        return sum(isinstance(each, Sample) for each in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class View(Generic[S_contra]):
    """Turns the ledger, or the resources of every unit, into samples; never calls AWS.

    `read_at` says when AWS was read for them, None if it never was; `valid_until` when they stop
    being true however fresh they are.
    """

    name: str
    families: tuple[Family, ...]
    render: Callable[[ViewContext[S_contra]], Iterable[Sample | Folded]]
    read_at: Callable[[ViewContext[S_contra]], datetime | None]
    valid_until: Callable[[ViewContext[S_contra]], datetime] | None = None
    of_resources: bool = False
    """Render what the units of one account have found instead of the ledger, after each of them (inventory)."""
    of_configuration: bool = False
    """Shows what is configured or shipped: when it is rendered says nothing about when AWS was read."""
