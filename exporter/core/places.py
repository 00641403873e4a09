"""Accounts, and what a unit of collection is run against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class Target:
    """What one unit of collection is run against: an account, and a region where the scope is REGION."""

    account_id: str
    account: str
    region: str
    partition: str = "aws"


class Scope(StrEnum):
    """How a collector is fanned out."""

    PAYER = "payer"  # once, with the payer's credentials
    ACCOUNT = "account"  # once per account
    REGION = "region"  # once per account and region


@dataclass(frozen=True, slots=True)
class Account:
    """One account as discovery sees it.

    `ous` holds every ancestor organisational unit as a path, nearest last, e.g. ("/Workloads",
    "/Workloads/Prod"). `role_arn` is None where the ambient credentials are used as they are.
    `regions` is None where the configured ones apply.
    """

    id: str
    name: str
    state: str = "ACTIVE"
    ous: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    role_arn: str | None = None
    external_id: str | None = None
    regions: tuple[str, ...] | None = None

    @property
    def ou(self) -> str:
        """The path of the organisational unit that holds the account; `/` for the root."""
        return self.ous[-1] if self.ous else "/"
