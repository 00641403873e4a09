"""Which accounts and regions there are: static, from Organizations, or the payer's own account only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from exporter.accounts.placing import ACCOUNT_INFO, OU_INFO
from exporter.accounts.settings import AccountsSettings, StaticAccount
from exporter.accounts.sharding import ShardSettings
from exporter.aws import partitions
from exporter.aws.clients import Aws
from exporter.aws.errors import reading
from exporter.core.metric import Family, Sample
from exporter.core.places import Account, Target

IAM_PAYER = (
    "organizations:ListAccounts",
    "organizations:ListAccountsForParent",
    "organizations:ListOrganizationalUnitsForParent",
    "organizations:ListRoots",
    "organizations:ListTagsForResource",
)
IAM_MEMBER = ("ec2:DescribeRegions",)


@dataclass(frozen=True, slots=True)
class Directory:
    """The accounts of one discovery; replaced whole by the next."""

    payer_id: str
    partition: str
    accounts: Mapping[str, Account]
    """The accounts to collect from, by id."""
    names: Mapping[str, str]
    """Names by id of every account that discovery saw, suspended and excluded ones included."""
    of_all_shards: Mapping[str, Account] | None = None
    """The accounts that all shards together collect from; None: `accounts`."""
    global_region: str = "us-east-1"
    """Where the partition answers for its global services."""

    def payer_target(self, region: str) -> Target:
        """The one target of PAYER collectors."""
        return Target(self.payer_id, self.names.get(self.payer_id, self.payer_id), region, self.partition)

    def target(self, account: Account, region: str | None = None) -> Target:
        """One account in one region; in the region of global services by default."""
        return Target(account.id, account.name, region or self.global_region, self.partition)


def discover(aws: Aws, settings: AccountsSettings, shard: ShardSettings) -> Directory:
    """Ask AWS who we are and, where configured, which accounts there are; AwsError if it cannot say."""
    with reading("an answer about the accounts"):
        return _discover(aws, settings, shard)


def _discover(aws: Aws, settings: AccountsSettings, shard: ShardSettings) -> Directory:
    identity = aws.call(None, "sts", "GetCallerIdentity", aws.region)
    payer_id = str(identity["Account"])
    partition = partitions.of_arn(str(identity["Arn"]))
    region = partitions.global_region(partition, aws.region)

    tags: dict[str, dict[str, str]] = {}
    if settings.discovery == "organizations":
        found = list(_organization(aws, region))
        if any(rule.tags for rules in settings.groups.values() for rule in rules):
            tags = {account.id: _tags(aws, account.id, region) for account in found}
    elif settings.discovery == "static":
        found = []
    else:
        found = [Account(payer_id, payer_id)]
    by_hand = {account.id: account for account in settings.static}
    known = {account.id for account in found}
    found += [Account(entry.id, entry.id) for entry in settings.static if entry.id not in known]

    accounts: dict[str, Account] = {}
    names: dict[str, str] = {}
    for account in found:
        entered = _entered(
            account, tags.get(account.id, {}), by_hand.get(account.id), settings, payer_id, partition
        )
        if entered.name != entered.id:
            names[entered.id] = entered.name
        if entered.state == "ACTIVE" and _selected(entered, settings):
            accounts[entered.id] = entered
    held = {id_: account for id_, account in accounts.items() if shard.holds(id_)}
    return Directory(payer_id, partition, held, names, accounts, region)


def _organization(aws: Aws, region: str) -> Iterator[Account]:
    """Every account of the organization, with its ancestor OUs."""
    ous = dict(_accounts_by_ou(aws, region))
    for page in aws.paginate(None, "organizations", "ListAccounts", region):
        for entry in page["Accounts"]:
            account_id = str(entry["Id"])
            # `Status` is retired in favour of `State`.
            state = str(entry.get("State") or entry.get("Status") or "ACTIVE")
            yield Account(account_id, str(entry.get("Name") or account_id), state, ous.get(account_id, ()))


def _accounts_by_ou(aws: Aws, region: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    parents: list[tuple[str, tuple[str, ...]]] = []
    for page in aws.paginate(None, "organizations", "ListRoots", region):
        parents += [(str(root["Id"]), ()) for root in page["Roots"]]
    while parents:
        parent, path = parents.pop()
        for page in aws.paginate(
            None, "organizations", "ListAccountsForParent", region, {"ParentId": parent}
        ):
            yield from ((str(account["Id"]), path) for account in page["Accounts"])
        for page in aws.paginate(
            None, "organizations", "ListOrganizationalUnitsForParent", region, {"ParentId": parent}
        ):
            for unit in page["OrganizationalUnits"]:
                nearest = f"{path[-1] if path else ''}/{unit['Name']}"
                parents.append((str(unit["Id"]), (*path, nearest)))


def _tags(aws: Aws, account_id: str, region: str) -> dict[str, str]:
    return {
        str(tag["Key"]): str(tag["Value"])
        for page in aws.paginate(
            None, "organizations", "ListTagsForResource", region, {"ResourceId": account_id}
        )
        for tag in page["Tags"]
    }


def _groups(account: Account, tags: Mapping[str, str], settings: AccountsSettings) -> dict[str, str]:
    groups = {}
    for label, rules in settings.groups.items():
        for rule in rules:
            if (
                matches(account, rule.accounts)
                or any(fnmatchcase(ou, pattern) for ou in account.ous or ("/",) for pattern in rule.ous)
                or (rule.tags and all(tags.get(key) == value for key, value in rule.tags.items()))
            ):
                groups[label] = rule.value
                break
    return groups


def _entered(
    account: Account,
    tags: Mapping[str, str],
    entry: StaticAccount | None,
    settings: AccountsSettings,
    payer_id: str,
    partition: str,
) -> Account:
    """The account with what was given by hand, its groups, and the role through which it is entered."""
    if entry is not None:
        account = replace(
            account, name=entry.name or account.name, regions=entry.regions, role_arn=entry.role_arn
        )
    # By the name that everything else shows.
    groups = _groups(account, tags, settings) | (entry.groups if entry is not None else {})
    role_arn = account.role_arn
    if role_arn is None and account.id != payer_id and settings.role_name:
        role_arn = f"arn:{partition}:iam::{account.id}:role/{settings.role_name}"
    external_id = (entry.external_id if entry else None) or settings.external_id
    return replace(account, groups=groups, role_arn=role_arn, external_id=external_id if role_arn else None)


def matches(account: Account, patterns: Iterable[str]) -> bool:
    """Whether any pattern is the account's id or a glob of its name or of one of its OU paths."""
    return any(
        pattern == account.id
        or fnmatchcase(account.name, pattern)
        or any(fnmatchcase(ou, pattern) for ou in account.ous)
        for pattern in patterns
    )


def _selected(account: Account, settings: AccountsSettings) -> bool:
    if settings.include and not matches(account, settings.include):
        return False
    return not matches(account, settings.exclude)


def regions_of(
    aws: Aws, account: Account, configured: Literal["discover"] | tuple[str, ...]
) -> tuple[str, ...]:
    """The regions to collect from in one account; asks EC2 which ones it opted in, if so configured."""
    if account.regions is not None:
        return account.regions
    if configured != "discover":
        return configured
    # Without AllRegions, only regions that the account can use are returned.
    answer = aws.call(account, "ec2", "DescribeRegions", aws.region)
    with reading("an answer about the regions"):
        return tuple(sorted(str(region["RegionName"]) for region in answer["Regions"]))


# What is known without asking AWS again

GROUP_INFO = Family(
    "aws_account_group_info",
    "1 for each group that an account with cost belongs to: the group's label and its value.",
    ("account_id", "account", "group", "group_value"),
)


def info_family(labels: Iterable[str]) -> Family:
    """`aws_account_info` with the configured group labels."""
    return replace(ACCOUNT_INFO, labels=(*ACCOUNT_INFO.labels, *sorted(labels)))


def account_samples(directory: Directory, settings: AccountsSettings) -> Iterator[Sample]:
    """`aws_account_info` and `aws_account_ou_info`."""
    for account in directory.accounts.values():
        for ou in account.ous or ("/",):
            yield OU_INFO(1, account_id=account.id, account=account.name, ou=ou)
    family = info_family(settings.group_labels)
    for account in directory.accounts.values():
        yield family(
            1,
            account_id=account.id,
            account=account.name,
            state=account.state,
            ou=account.ou,
            **{label: account.groups.get(label, "") for label in family.labels[4:]},
        )


def accounts_of(
    directory: Directory, settings: AccountsSettings, with_cost: Mapping[str, str]
) -> dict[str, Account]:
    """The accounts by id that thresholds are for: those collected, and others that the payer pays for.

    `with_cost` holds ids and last known names. Where only the payer is collected from, Cost Explorer
    shows every linked account all the same; elsewhere an account that is not collected was left out.
    """
    known = directory.accounts if directory.of_all_shards is None else directory.of_all_shards
    accounts = dict(known)
    if settings.discovery == "payer":
        by_hand = {entry.id: entry.groups for entry in settings.static}
        for account_id in sorted(set(with_cost) - set(accounts)):
            other = Account(account_id, directory.names.get(account_id) or with_cost[account_id])
            groups = _groups(other, {}, settings) | by_hand.get(account_id, {})
            if _selected(other, settings):
                accounts[account_id] = replace(other, groups=groups)
    return accounts


def group_samples(accounts: Iterable[Account]) -> Iterator[Sample]:
    """`aws_account_group_info`: who belongs to which group."""
    for account in accounts:
        for group, value in account.groups.items():
            if value:
                yield GROUP_INFO(
                    1, account_id=account.id, account=account.name, group=group, group_value=value
                )
