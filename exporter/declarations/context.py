"""What a collector and a view are given to work with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, TypeVar

from exporter.aws.clients import Aws, Deadline
from exporter.core.fields import CollectorSettings
from exporter.core.moments import Clock
from exporter.core.places import Account, Target
from exporter.declarations.sections import Sections
from exporter.ledger.file import Ledger

S_co = TypeVar("S_co", bound=CollectorSettings, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context(Generic[S_co]):
    """A collector's surroundings during one run."""

    aws: Aws
    ledger: Ledger
    clock: Clock
    accounts: Mapping[str, Account]
    settings: S_co
    deadline: Deadline | None = None
    is_early: bool = False
    """Whether someone has asked for this run, ahead of its schedule."""
    committed: Callable[[], None] = lambda: None
    """To be called after each commit to the ledger, so that the views follow at once."""
    sections: Sections = field(default_factory=Sections)
    """Settings beside the collector's own, e.g. the cost type that holds for every family of cost."""
    regions: Callable[[], Iterable[str]] = tuple
    """Every region that is collected from, in some account."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Account names by id as configured or discovered, also of accounts that are not collected from."""
    needed_usd: Callable[[], Decimal] | None = None
    """Dollars a month that the running collectors need of the ceilings of cost; what may wait is left out."""

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

    def call_payer(
        self, target: Target, service: str, operation: str, region: str, params: Mapping[str, Any]
    ) -> dict[str, Any]:
        """One request as the payer, who need not be among the accounts that are collected from."""
        payer = self.accounts.get(target.account_id)
        return self.aws.call(payer, service, operation, region, params, deadline=self.deadline)

    def paginate_payer(
        self, target: Target, service: str, operation: str, region: str, params: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Every page of a request as the payer."""
        payer = self.accounts.get(target.account_id)
        return self.aws.paginate(payer, service, operation, region, params, deadline=self.deadline)

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
