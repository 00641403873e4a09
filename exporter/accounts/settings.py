"""Which accounts there are: the settings."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from exporter.core.fields import (
    AccountId,
    ExternalId,
    LabelName,
    Region,
    RoleArn,
    RoleName,
    StrictModel,
)

# Labels of aws_account_info and of the thresholds, which also carry an account's groups.
_TAKEN_LABELS = (
    *("account_id", "account", "state", "ou", "name", "instance", "job"),
    *("scope", "subject", "period", "service", "group", "group_value", "alertname", "severity", "component"),
    *("kind", "direction", "region", "metric", "change"),
)


class StaticAccount(StrictModel):
    """One account given by hand."""

    id: AccountId = Field(description="12 digits, in quotes.")
    name: str | None = Field(default=None, min_length=1, description="Name to show instead of AWS's.")
    role_arn: RoleArn | None = Field(default=None, description="Role to assume, instead of `role_name`.")
    external_id: ExternalId | None = Field(default=None, description="External id of that role.")
    regions: tuple[Region, ...] | None = Field(
        default=None, min_length=1, description="Regions, instead of the common ones."
    )
    groups: dict[LabelName, str] = Field(
        default_factory=dict, description="Group labels, e.g. team: platform."
    )


class GroupRule(StrictModel):
    """Accounts that belong to one value of a group label; any match counts, the first rule wins."""

    value: str = Field(min_length=1, description="Value of the label.")
    accounts: tuple[str, ...] = Field(default=(), description="Ids, names or globs of names.")
    ous: tuple[str, ...] = Field(default=(), description="Paths of organisational units or globs of them.")
    tags: dict[str, str] = Field(default_factory=dict, description="Account tags that must all match.")

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        if not (self.accounts or self.ous or self.tags):
            raise ValueError("at least one of accounts, ous and tags")
        return self


class AccountsSettings(StrictModel):
    """Which accounts there are, and how they are entered."""

    discovery: Literal["payer", "static", "organizations"] = Field(
        default="payer",
        description="payer: only the account of the ambient credentials; static: the accounts listed below;"
        " organizations: every active account of the AWS Organization.",
    )
    role_name: RoleName | None = Field(
        default=None, description="Role to assume in each account other than the payer's."
    )
    external_id: ExternalId | None = Field(default=None, description="External id of those roles.")
    include: tuple[str, ...] = Field(
        default=(), description="Ids, names, or globs of names and OU paths; empty: all."
    )
    exclude: tuple[str, ...] = Field(default=(), description="The same; wins over include.")
    static: tuple[StaticAccount, ...] = Field(
        default=(), description="The accounts (static), or additions and overrides (organizations)."
    )
    groups: dict[LabelName, tuple[GroupRule, ...]] = Field(
        default_factory=dict, description="Labels for teams or environments, by rules."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.discovery == "static" and not self.static:
            raise ValueError("static: at least one account, because discovery is static")
        ids = [account.id for account in self.static]
        if len(set(ids)) != len(ids):
            raise ValueError("static: each account id once")
        if taken := self.group_labels & set(_TAKEN_LABELS):
            raise ValueError(f"groups: label names other than {', '.join(sorted(taken))}")
        return self

    @property
    def group_labels(self) -> frozenset[str]:
        """The labels of every group rule and of the accounts given by hand."""
        return frozenset({*self.groups, *(label for account in self.static for label in account.groups)})
