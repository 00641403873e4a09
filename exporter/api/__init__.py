"""Answers as JSON for commands, the relay and scripts: every module here declares one `ENDPOINT`.

The running exporter mounts each at /api/v1/<name>; a command that finds no exporter running asks the
same function of the ledger at rest. An answer never calls AWS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from exporter.config import Config
from exporter.declared import declared_in
from exporter.fields import StrictModel
from exporter.ledger import Ledger
from exporter.model import Held, Sample


@dataclass(frozen=True, slots=True)
class Source:
    """What an answer is made of."""

    ledger: Ledger
    config: Config
    now: datetime
    names: Mapping[str, str]
    """Account names by id as configured or discovered; they win over the ledger's."""
    samples: Iterable[Sample] = ()
    """What is served now; nothing where no exporter runs."""
    held: Sequence[Held] = ()
    """The resources of every unit of the inventory; nothing where no exporter runs."""

    def account(self, account_id: str) -> str:
        """The name of an account; its id where unknown."""
        return self.names.get(account_id) or self.ledger.account_names().get(account_id) or account_id


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One question and its answer; `answer` raises ValueError, in words for a person, where it has none."""

    name: str
    help: str
    query: type[StrictModel]
    answer: Callable[[Source, Any], dict[str, Any]]


@cache
def all_endpoints() -> tuple[Endpoint, ...]:
    """Every declared endpoint, by name."""
    return tuple(sorted(declared_in(__name__, "ENDPOINT"), key=lambda endpoint: endpoint.name))
