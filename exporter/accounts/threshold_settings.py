"""Settings of the thresholds: what may be spent, wasted, left untagged, or added, before an alert fires."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Generic, TypeVar

from pydantic import Field

from exporter.core.fields import DayMonth, LabelName, StrictModel, Usd

T = TypeVar("T")
Count = Annotated[int, Field(ge=0, strict=True)]


class Overridden(StrictModel, Generic[T]):
    """A default for every subject of a kind, and overrides by pattern; the first match wins, and replaces all of it."""

    default: T | None = Field(default=None, description="For everything without an override.")
    overrides: dict[str, T | None] = Field(
        default_factory=dict, description="By name or glob of names; null: no threshold."
    )


class AccountServiceThresholds(StrictModel):
    """Thresholds of single services within single accounts."""

    default: DayMonth | None = Field(
        default=None, description="For every service of every account without an override."
    )
    overrides: dict[str, dict[str, DayMonth | None]] = Field(
        default_factory=dict,
        description="By account (id, name, OU path or glob), then by service (name or glob); the first match wins.",
    )


class OrganizationAndAccounts(StrictModel, Generic[T]):
    """A threshold for all accounts together, and thresholds for each by itself."""

    organization: T | None = Field(default=None, description="All accounts together.")
    accounts: Overridden[T] = Field(
        default_factory=lambda: Overridden[T](),
        description="Each account by itself; overrides by id, name, OU path or glob.",
    )


class Jump(StrictModel):
    """How many more resources of one type within a day are a jump; both limits must be passed."""

    more_than: Count = Field(default=20, description="Resources more than there were.")
    times: Decimal = Field(
        default=Decimal(2), ge=1, allow_inf_nan=False, description="Times as many as there were."
    )


class ThresholdSettings(StrictModel):
    """Limits above which an alert fires; equal to a limit is within it, and null is no limit."""

    organization: DayMonth = Field(default=DayMonth(), description="The spend of all accounts together.")
    ous: Overridden[DayMonth] = Field(
        default=Overridden[DayMonth](),
        description="Each organisational unit with all below it; overrides by path, e.g. /Workloads/Prod.",
    )
    groups: dict[LabelName, Overridden[DayMonth]] = Field(
        default_factory=dict,
        description="By label of `accounts.groups`: each of its values; overrides by value.",
    )
    accounts: Overridden[DayMonth] = Field(
        default=Overridden[DayMonth](),
        description="Each account by itself; overrides by id, name, OU path or glob.",
    )
    services: Overridden[DayMonth] = Field(
        default=Overridden[DayMonth](),
        description="Each service over all accounts; overrides by the name that Cost Explorer shows.",
    )
    account_services: AccountServiceThresholds = Field(
        default=AccountServiceThresholds(), description="Each service within each account."
    )
    unused: OrganizationAndAccounts[Usd] = Field(
        default=OrganizationAndAccounts[Usd](),
        description="US dollars a month, at list price, for resources that nothing uses.",
    )
    untagged: OrganizationAndAccounts[Count] = Field(
        default=OrganizationAndAccounts[Count](),
        description="Resources that may lack a required tag; 0: none.",
    )
    resource_jump: Overridden[Jump] = Field(
        default=Overridden[Jump](),
        description="More resources of one type within a day; overrides by account id, name, OU path or glob.",
    )
