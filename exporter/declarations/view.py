"""Views: what turns the ledger, or the resources of every unit, into samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from exporter.core.metric import Family, Folded, Sample
from exporter.core.resource import PublishedResources
from exporter.ledger.file import Ledger


@dataclass(frozen=True, slots=True)
class ViewContext:
    """A view's surroundings: the ledger, the time, and the settings of the collector that owns it."""

    ledger: Ledger
    now: datetime
    settings: Any
    names: Mapping[str, str]
    """Account names by id as configured or discovered; they win over the ledger's."""
    cost_settings: Any = None
    """The cost collector's: its cost type holds for every family of cost."""
    anomaly_settings: Any = None
    """What counts as an anomaly."""
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


@dataclass(frozen=True, slots=True)
class View:
    """Turns the ledger, or the resources of every unit, into samples; never calls AWS.

    `read_at` says when AWS was read for them, None if it never was; `valid_until` when they stop
    being true however fresh they are. A view `of_resources` follows each unit that brings some.
    """

    name: str
    families: tuple[Family, ...]
    render: Callable[[ViewContext], Iterable[Sample | Folded]]
    read_at: Callable[[ViewContext], datetime | None]
    valid_until: Callable[[ViewContext], datetime] | None = None
    of_resources: bool = False
