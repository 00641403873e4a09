"""What an answer of the JSON API is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Generic, TypeVar

from pydantic import Field

from exporter.config.model import Config
from exporter.core.fields import StrictModel
from exporter.core.metric import Sample
from exporter.core.resource import PublishedResources
from exporter.core.service_names import find_service
from exporter.declarations.calls import Scale
from exporter.ledger.file import Ledger

_MOST_DAYS = 3660


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What an answer is made of."""

    ledger: Ledger
    config: Config
    now: datetime
    names: Mapping[str, str]
    """Account names by id as configured or discovered; they win over the ledger's."""
    samples: Iterable[Sample] = ()
    """What is served now of the families that the endpoint declares; nothing where no exporter runs."""
    published_resources: Sequence[PublishedResources] = ()
    """The resources of every unit of the inventory; nothing where no exporter runs."""
    scale: Callable[[], Scale] | None = None
    """The size of the installation, with which `plan` prices what is not switched on; None where it is not known."""

    def account(self, account_id: str) -> str:
        """The name of an account; its id where unknown."""
        return self.names.get(account_id) or self.ledger.accounts.names().get(account_id) or account_id

    def service(self, text: str | None) -> str | None:
        """The service that is meant, as Cost Explorer names it; ValueError where none has cost."""
        if text is None:
            return None
        return find_service(text, {service for _, service in self.ledger.cost.series().values()})

    def has_account(self, account_id: str) -> bool:
        """Whether anything is known of an account."""
        return (
            account_id in self.names
            or account_id in self.ledger.accounts.names()
            or any(account_id == known for known, _ in self.ledger.cost.series().values())
            or any(account_id == held.account_id for held in self.published_resources)
        )


class DayRange(StrictModel):
    """A question about some UTC days."""

    start: date | None = Field(default=None, description="First UTC day.")
    end: date | None = Field(default=None, description="Last UTC day, included; yesterday by default.")

    def days(self, now: datetime, default: int) -> list[date]:
        """Each of them, `default` of them where no start is given; ValueError for a range that is none."""
        end = self.end or now.date() - timedelta(days=1)
        start = self.start or end - timedelta(days=min(default, end.toordinal()) - 1)
        if start > end:
            raise ValueError(f"start: found {start}, expected a day that is not after {end}")
        count = (end - start).days + 1
        if count > _MOST_DAYS or end == date.max:
            raise ValueError(f"start, end: found {start} to {end}, expected at most {_MOST_DAYS} days")
        return [start + timedelta(days=offset) for offset in range(count)]


Q = TypeVar("Q", bound=StrictModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[Q]):
    """One question and its answer; `answer` raises ValueError, in words for a person, where it has none."""

    name: str
    help: str
    query: type[Q]
    answer: Callable[[Source, Q], dict[str, Any]]
    families: tuple[str, ...] = ()
    """Names of the families of which it reads what is served."""
    reads_resources: bool = False
    is_cached: Callable[[Q], bool] = lambda query: True
    """Whether a question has the same answer until what it is made of changes, or the minute ends."""

    def reply(self, source: Source, query: Q) -> dict[str, Any]:
        """The answer; ValueError also where it would say $0 of an unknown account."""
        account_id = getattr(query, "account_id", None)
        if account_id is not None and not source.has_account(account_id):
            raise ValueError(f"account_id: found {account_id!r}, expected the id of an account that is known")
        return self.answer(source, query)


AnyEndpoint = Endpoint[Any]
"""An endpoint among others: what its query is only itself knows."""
