"""Thresholds of the configuration, resolved to one series for each subject that there is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from exporter.accounts.discovery import matches
from exporter.accounts.threshold_settings import OrganizationAndAccounts, Overridden, ThresholdSettings
from exporter.core.fields import DayMonth
from exporter.core.metric import Family, Sample
from exporter.core.places import Account

S = TypeVar("S")
T = TypeVar("T")

_ACCOUNT = ("scope", "subject", "account_id", "account")


@dataclass(frozen=True, slots=True)
class Families:
    """The families of thresholds; each carries the configured group labels of its subject."""

    cost: Family
    unused: Family
    untagged: Family
    jump: Family
    jump_ratio: Family

    @classmethod
    def with_labels(cls, group_labels: Iterable[str]) -> Families:
        """The families for the labels of `accounts.groups`."""
        groups = tuple(sorted(group_labels))
        return cls(
            Family(
                "aws_cost_threshold_usd",
                "Spend threshold from the configuration; labels that a scope does not use are absent.",
                (
                    "scope",
                    "subject",
                    "period",
                    "account_id",
                    "account",
                    "ou",
                    "group",
                    "group_value",
                    "service",
                    *groups,
                ),
            ),
            Family(
                "aws_resources_unused_threshold_usd",
                "List price a month up to which unused resources are accepted, from the configuration.",
                (*_ACCOUNT, *groups),
            ),
            Family(
                "aws_resources_untagged_threshold",
                "Resources that may lack a required tag, from the configuration.",
                (*_ACCOUNT, *groups),
            ),
            Family(
                "aws_resources_jump_threshold",
                "Resources of one type that may be added within a day, from the configuration.",
                (*_ACCOUNT, *groups),
            ),
            Family(
                "aws_resources_jump_threshold_ratio",
                "Times as many resources of one type that there may be after a day, from the configuration.",
                (*_ACCOUNT, *groups),
            ),
        )

    def all(self) -> tuple[Family, ...]:
        return (self.cost, self.unused, self.untagged, self.jump, self.jump_ratio)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The thresholds of what there is, and the keys of patterns that no subject matches."""

    samples: tuple[Sample, ...]
    unmatched: tuple[str, ...]


@dataclass(slots=True)
class _Resolver:
    """Collects samples, and which patterns have matched."""

    families: Families
    accounts: Mapping[str, Account]
    samples: list[Sample] = field(default_factory=list)
    matched: dict[str, bool] = field(default_factory=dict)

    def choose(
        self, key: str, limits: Overridden[T], subjects: Iterable[S], match: Callable[[S, str], bool]
    ) -> Iterator[tuple[S, T]]:
        """Each subject with its override or the default; subjects without a threshold are left out."""
        keys = {pattern: f"{key}.overrides.{pattern}" for pattern in limits.overrides}
        self.matched |= dict.fromkeys(keys.values(), False)
        for subject in subjects:
            hits = [pattern for pattern in keys if match(subject, pattern)]
            # An override that an earlier one hides from every subject still names something.
            self.matched |= {keys[pattern]: True for pattern in hits}
            limit = limits.overrides[hits[0]] if hits else limits.default
            if limit is not None:
                yield subject, limit

    def is_account(self, account_id: str, pattern: str) -> bool:
        return matches(self.accounts[account_id], [pattern])

    def cost(self, scope: str, limit: DayMonth, **labels: str) -> None:
        for period, usd in (("day", limit.day), ("month", limit.month)):
            if usd is not None:
                self.add(self.families.cost, usd, scope=scope, period=period, **labels)

    def add(self, family: Family, value: Decimal | int, **labels: str) -> None:
        """A sample; labels that are not given are absent, and an account's own groups are added."""
        account = self.accounts.get(labels.get("account_id", ""))
        own = {**account.groups, "account_id": account.id, "account": account.name} if account else {}
        known = own | labels
        known["subject"] = _subject(known)
        self.samples.append(family(value, **{name: known.get(name, "") for name in family.labels}))


def _subject(labels: Mapping[str, str]) -> str:
    """Whom a threshold is for, in words."""
    account = f"{labels.get('account', '')} ({labels.get('account_id', '')})"
    match labels["scope"]:
        case "account":
            return account
        case "account_service":
            return f"{labels['service']} of {account}"
        case "group":
            return f"{labels['group']} {labels['group_value']}"
        case "ou":
            return f"OU {labels['ou']}"
        case "service":
            return labels["service"]
    return "all accounts"


def resolve(
    settings: ThresholdSettings,
    accounts: Mapping[str, Account],
    spending: Collection[tuple[str, str]],
    group_labels: Iterable[str],
) -> Resolved:
    """Every threshold of a subject that exists; `spending` holds each account id and service with cost."""
    to = _Resolver(Families.with_labels(group_labels), accounts)
    _spend(to, settings, spending)
    _resources(to, settings)
    unmatched = tuple(f"thresholds.{key}" for key, matched in to.matched.items() if not matched)
    return Resolved(tuple(to.samples), unmatched)


def _spend(to: _Resolver, settings: ThresholdSettings, spending: Collection[tuple[str, str]]) -> None:
    accounts = to.accounts
    to.cost("organization", settings.organization)
    ous = sorted({ou for account in accounts.values() for ou in account.ous})
    for ou, limit in to.choose("ous", settings.ous, ous, fnmatchcase):
        to.cost("ou", limit, ou=ou)
    for group, limits in settings.groups.items():
        values = sorted({account.groups.get(group, "") for account in accounts.values()} - {""})
        for value, limit in to.choose(f"groups.{group}", limits, values, fnmatchcase):
            to.cost("group", limit, group=group, group_value=value, **{group: value})
    for account_id, limit in to.choose("accounts", settings.accounts, accounts, to.is_account):
        to.cost("account", limit, account_id=account_id)
    services = sorted({service for _, service in spending})
    for service, limit in to.choose("services", settings.services, services, fnmatchcase):
        to.cost("service", limit, service=service)
    _account_services(to, settings, sorted(pair for pair in spending if pair[0] in accounts))


def _resources(to: _Resolver, settings: ThresholdSettings) -> None:
    wastes: tuple[tuple[str, OrganizationAndAccounts[Any], Family], ...] = (
        ("unused", settings.unused, to.families.unused),
        ("untagged", settings.untagged, to.families.untagged),
    )
    for key, waste, family in wastes:
        if waste.organization is not None:
            to.add(family, waste.organization, scope="organization")
        for account_id, most in to.choose(f"{key}.accounts", waste.accounts, to.accounts, to.is_account):
            to.add(family, most, scope="account", account_id=account_id)
    for account_id, jump in to.choose("resource_jump", settings.resource_jump, to.accounts, to.is_account):
        to.add(to.families.jump, jump.more_than, scope="account", account_id=account_id)
        to.add(to.families.jump_ratio, jump.times, scope="account", account_id=account_id)


def _account_services(to: _Resolver, settings: ThresholdSettings, pairs: Iterable[tuple[str, str]]) -> None:
    """The first override that both account and service match, else the default."""
    rules = {
        f"account_services.overrides.{account}.{service}": (account, service, limit)
        for account, services in settings.account_services.overrides.items()
        for service, limit in services.items()
    }
    to.matched |= dict.fromkeys(rules, False)
    for account_id, service in pairs:
        hits = [
            (key, limit)
            for key, (account, name, limit) in rules.items()
            if fnmatchcase(service, name) and to.is_account(account_id, account)
        ]
        to.matched |= {key: True for key, _ in hits}
        chosen = hits[0][1] if hits else settings.account_services.default
        if chosen is not None:
            to.cost("account_service", chosen, account_id=account_id, service=service)
