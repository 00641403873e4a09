"""Views: what turns the ledger, or the resources of every unit, into samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from exporter.core.fields import CollectorSettings
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
    """The resources of every unit that are known now."""
    failing: Callable[[], Iterable[tuple[str, str]]] = tuple
    """Units that fail now, with the account id."""

    def account(self, account_id: str, ledger_names: Mapping[str, str]) -> str:
        """The name of an account; its id where unknown."""
        return self.names.get(account_id) or ledger_names.get(account_id) or account_id

    def group_values(self, account_id: str) -> dict[str, str]:
        """The account's value of each group label, empty where it has none."""
        own = self.groups.get(account_id, {})
        return {label: own.get(label, "") for label in self.group_labels}


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
    """Render what units have found instead of the ledger, after each of them (inventory)."""
