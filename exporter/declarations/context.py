"""What a collector and a view are given to work with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from exporter.aws.clients import Aws, Deadline
from exporter.core.fields import CollectorSettings
from exporter.declarations.collector import Account, Clock, Held, Target
from exporter.ledger.file import Ledger

S = TypeVar("S", bound=CollectorSettings)


@dataclass(frozen=True, slots=True)
class Context(Generic[S]):
    """A collector's surroundings during one run."""

    aws: Aws
    ledger: Ledger
    clock: Clock
    accounts: Mapping[str, Account]
    settings: S
    deadline: Deadline | None = None
    committed: Callable[[], None] = lambda: None
    """To be called after each commit to the ledger, so that the views follow at once."""
    cost_settings: Any = None
    """The cost collector's: its cost type and billing view hold for whatever asks Cost Explorer."""
    anomaly_settings: Any = None
    """What counts as an anomaly."""

    regions: Callable[[], Iterable[str]] = tuple
    """Every region that is collected from, in some account."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Account names by id as configured or discovered, also of accounts that are not collected from."""

    def call(
        self, target: Target, service: str, operation: str, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """One request as the target's account in the target's region."""
        return self.aws.call(
            self.accounts[target.account_id],
            service,
            operation,
            target.region,
            params,
            deadline=self.deadline,
        )

    def account(self, account_id: str, ledger_names: Mapping[str, str]) -> str:
        """The name of an account that need not be collected from; its id where unknown."""
        return self.names.get(account_id) or ledger_names.get(account_id) or account_id

    def paginate(
        self, target: Target, service: str, operation: str, params: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Every page of a request as the target's account in the target's region."""
        return self.aws.paginate(
            self.accounts[target.account_id],
            service,
            operation,
            target.region,
            params,
            deadline=self.deadline,
        )


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
    held: Callable[[], Iterable[Held]] = tuple
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
