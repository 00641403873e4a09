"""The organisation: accounts, their units and tags, and the Organizations API that describes them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from simulated_aws.spec import OrganizationSpec
from simulated_aws.wire import AwsCall, AwsError, Tokens

# name, unit path, rough dollars a day, environment tag, team tag
_FIRST_ACCOUNTS = (
    ("management", "", 55, "shared", "platform"),
    ("prod", "Workloads/Production", 900, "production", "checkout"),
    ("staging", "Workloads/Development", 210, "staging", "checkout"),
    ("data-platform", "Workloads/Production", 480, "production", "data"),
    ("sandbox", "Sandbox", 35, "sandbox", "research"),
    ("legacy-shop", "Suspended", 60, "production", "checkout"),
    ("dev", "Workloads/Development", 140, "development", "checkout"),
    ("shared-services", "Infrastructure", 120, "shared", "platform"),
    ("security", "Infrastructure/Security", 70, "shared", "security"),
    ("machine-learning", "Workloads/Production", 300, "production", "research"),
)
_TEAMS = ("checkout", "search", "data", "mobile", "payments", "research", "logistics", "insights", "growth")
_STAGES = (("prod", "Production", 5), ("staging", "Development", 2), ("dev", "Development", 1))
ROOT_NAME = "Root"


@dataclass(frozen=True, slots=True)
class Account:
    """One account; `ou` is the path of unit names below the root, empty for an account in the root itself."""

    id: str
    name: str
    ou: str
    state: str
    joined: date
    joined_at: datetime
    email: str
    tags: tuple[tuple[str, str], ...]
    daily_usd: int
    suspended_on: date | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """An organizational unit; `path` holds the names below the root, `parent` an id."""

    id: str
    name: str
    path: str
    parent: str


def _digits(*parts: object, length: int = 12) -> str:
    number = int.from_bytes(hashlib.sha256(":".join(map(str, parts)).encode()).digest()[:16], "big")
    return str(number % 10**length).zfill(length)


def _letters(*parts: object, length: int) -> str:
    return hashlib.sha256(":".join(map(str, parts)).encode()).hexdigest()[:length]


class Organization:
    """The accounts and units of one spec, seen from `created` (the simulated start)."""

    def __init__(self, spec: OrganizationSpec, created: datetime) -> None:
        self.spec = spec
        self.created = created
        self.id = "o-" + _letters(spec.seed, "organization", length=10)
        self.root_id = "r-" + _letters(spec.seed, "root", length=4)
        self.accounts: list[Account] = self._accounts()
        self.payer = self.accounts[0]
        self.by_id = {account.id: account for account in self.accounts}
        self.units: dict[str, Unit] = {}
        for account in self.accounts:
            self._unit(account.ou)

    def find(self, name_or_id: str) -> Account:
        """The account with this id or (first) name; KeyError names what exists."""
        if name_or_id in self.by_id:
            return self.by_id[name_or_id]
        for account in self.accounts:
            if account.name == name_or_id:
                return account
        raise KeyError(
            f"no account {name_or_id!r}; there are {', '.join(a.name for a in self.accounts[:20])}"
        )

    def unit_id(self, path: str) -> str:
        """The id of a unit path; the root's id for the empty path."""
        return self._unit(path).id if path else self.root_id

    def _unit(self, path: str) -> Unit:
        if path not in self.units:
            parent, _, name = path.rpartition("/")
            self.units[path] = Unit(
                id=f"ou-{self.root_id[2:]}-{_letters(self.spec.seed, 'unit', path, length=8)}",
                name=name or ROOT_NAME,
                path=path,
                parent=self.unit_id(parent) if path else "",
            )
        return self.units[path]

    def _accounts(self) -> list[Account]:
        spec, rng = self.spec, random.Random(f"{self.spec.seed}:accounts")
        today = self.created.date()
        month = today.replace(day=1)
        joiner = (month - timedelta(days=1)).replace(day=16)
        found: list[Account] = []
        taken: set[str] = set()
        for index in range(spec.accounts):
            if index < len(_FIRST_ACCOUNTS):
                name, ou, usd, environment, team = _FIRST_ACCOUNTS[index]
            else:
                serial, stage = divmod(index - len(_FIRST_ACCOUNTS), len(_STAGES))
                team = _TEAMS[serial % len(_TEAMS)]
                number = "" if serial < len(_TEAMS) else f"-{serial // len(_TEAMS) + 1}"
                environment, unit, weight = _STAGES[stage]
                name, ou = f"{team}{number}-{environment}", f"Workloads/{unit}"
                usd = int(rng.uniform(6, 30) * weight)
            account_id = _digits(spec.seed, "account", index)
            # Account ids may begin with zero: whoever reads them as numbers is found out.
            account_id = ("0" if index == 2 else str(rng.randint(1, 9))) + account_id[1:]
            while account_id in taken:
                account_id = account_id[:4] + _digits(account_id, length=8)
            taken.add(account_id)
            joined = today - timedelta(days=max(spec.days, 420) + rng.randint(0, 900))
            suspended_on: date | None = None
            if name == "sandbox":
                joined = joiner
            if name == "legacy-shop":
                suspended_on = today - timedelta(days=45)
            if spec.duplicate_names and index == spec.accounts - 1 and index > 1:
                name = found[1].name
            tags = [("environment", environment), ("team", team)]
            if name in ("sandbox", "shared-services"):
                tags = tags[:1]  # not every account is tagged
            found.append(
                Account(
                    id=account_id,
                    name=name,
                    ou=ou,
                    state="SUSPENDED" if suspended_on else "ACTIVE",
                    joined=joined,
                    joined_at=datetime(joined.year, joined.month, joined.day, 9, 30, 12, 345000, tzinfo=UTC),
                    email=f"aws+{name}-{index}@example.com",
                    tags=tuple(tags),
                    daily_usd=usd,
                    suspended_on=suspended_on,
                )
            )
        return found


class OrganizationsApi:
    """The read side of AWS Organizations, faithful to paging and to who may ask."""

    def __init__(self, organization: Organization, tokens: Tokens) -> None:
        self._organization = organization
        self._tokens = tokens
        self._operations: dict[str, Callable[[AwsCall], dict[str, Any]]] = {
            "DescribeAccount": self._describe_account,
            "DescribeOrganization": self._describe_organization,
            "DescribeOrganizationalUnit": self._describe_unit,
            "ListAccounts": self._list_accounts,
            "ListAccountsForParent": self._list_accounts_for_parent,
            "ListChildren": self._list_children,
            "ListOrganizationalUnitsForParent": self._list_units,
            "ListParents": self._list_parents,
            "ListRoots": self._list_roots,
            "ListTagsForResource": self._list_tags,
        }

    def answer(self, call: AwsCall) -> dict[str, Any]:
        """The response members of one call; AwsError otherwise."""
        operation = self._operations.get(call.operation)
        if operation is None:
            raise AwsError(
                "UnsupportedAPIEndpointException", f"{call.operation} is not part of this simulation."
            )
        if call.account_id != self._organization.payer.id and call.operation != "DescribeOrganization":
            raise AwsError("AccessDeniedException", "You don't have permissions to access this resource.")
        return operation(call)

    def _describe(self, account: Account) -> dict[str, Any]:
        organization = self._organization
        units = [organization.id, organization.root_id]
        path = ""
        for name in filter(None, account.ou.split("/")):
            path = f"{path}/{name}".lstrip("/")
            units.append(organization.unit_id(path))
        return {
            "Id": account.id,
            "Arn": f"arn:aws:organizations::{organization.payer.id}:account/{organization.id}/{account.id}",
            "Email": account.email,
            "Name": account.name,
            "Status": account.state,
            "State": account.state,
            "Paths": ["/".join([*units, account.id]) + "/"],
            "JoinedMethod": "CREATED" if account.id != organization.payer.id else "INVITED",
            "JoinedTimestamp": account.joined_at.timestamp(),
        }

    def _page(self, call: AwsCall, member: str, items: list[Any], *, may_be_empty: bool) -> dict[str, Any]:
        limit = int(call.params.get("MaxResults") or 20)
        if not 1 <= limit <= 20:
            raise AwsError(
                "InvalidInputException", "You provided a value that does not match the required range."
            )
        asked = {key: value for key, value in call.params.items() if key != "NextToken"}
        start, blank = 0, False
        if token := call.params.get("NextToken"):
            state = self._tokens.read(token, call.operation, asked)
            if state is None:
                raise AwsError("InvalidInputException", "You specified an invalid value for nextToken.")
            start, blank = int(state["start"]), bool(state.get("blank"))
        if blank:
            page: list[Any] = []
            end = start
        else:
            page, end = items[start : start + limit], start + limit
        answer: dict[str, Any] = {member: page}
        if end < len(items):
            # The second page is preceded by an empty one that has a token, as AWS reserves the right to send.
            leads_to_blank = may_be_empty and start == 0 and not blank
            answer["NextToken"] = self._tokens.write(
                call.operation, asked, {"start": end, "blank": leads_to_blank}
            )
        return answer

    def _list_accounts(self, call: AwsCall) -> dict[str, Any]:
        items = [self._describe(account) for account in self._organization.accounts]
        return self._page(call, "Accounts", items, may_be_empty=self._organization.spec.empty_pages)

    def _list_accounts_for_parent(self, call: AwsCall) -> dict[str, Any]:
        parent = self._parent(call)
        items = [
            self._describe(account)
            for account in self._organization.accounts
            if self._organization.unit_id(account.ou) == parent
        ]
        return self._page(call, "Accounts", items, may_be_empty=False)

    def _parent(self, call: AwsCall) -> str:
        parent = str(call.params.get("ParentId", ""))
        known = {
            self._organization.root_id,
            *(unit.id for unit in self._organization.units.values() if unit.path),
        }
        if parent not in known:
            raise AwsError("ParentNotFoundException", "You specified parent that doesn't exist.")
        return parent

    def _describe_account(self, call: AwsCall) -> dict[str, Any]:
        account = self._organization.by_id.get(str(call.params.get("AccountId", "")))
        if account is None:
            raise AwsError("AccountNotFoundException", "You specified an account that doesn't exist.")
        return {"Account": self._describe(account)}

    def _describe_organization(self, call: AwsCall) -> dict[str, Any]:
        organization = self._organization
        payer = organization.payer
        arn = f"arn:aws:organizations::{payer.id}"
        return {
            "Organization": {
                "Id": organization.id,
                "Arn": f"{arn}:organization/{organization.id}",
                "FeatureSet": "ALL",
                "MasterAccountArn": f"{arn}:account/{organization.id}/{payer.id}",
                "MasterAccountId": payer.id,
                "MasterAccountEmail": payer.email,
                "AvailablePolicyTypes": [],
            }
        }

    def _describe_unit(self, call: AwsCall) -> dict[str, Any]:
        for unit in self._units():
            if unit.id == call.params.get("OrganizationalUnitId"):
                return {"OrganizationalUnit": self._unit(unit)}
        raise AwsError(
            "OrganizationalUnitNotFoundException", "You specified an organizational unit that doesn't exist."
        )

    def _units(self) -> list[Unit]:
        return [unit for unit in self._organization.units.values() if unit.path]

    def _unit(self, unit: Unit) -> Mapping[str, str]:
        organization = self._organization
        arn = f"arn:aws:organizations::{organization.payer.id}:ou/{organization.id}/{unit.id}"
        return {"Id": unit.id, "Arn": arn, "Name": unit.name}

    def _list_units(self, call: AwsCall) -> dict[str, Any]:
        parent = self._parent(call)
        items = [self._unit(unit) for unit in self._units() if unit.parent == parent]
        return self._page(call, "OrganizationalUnits", items, may_be_empty=False)

    def _list_children(self, call: AwsCall) -> dict[str, Any]:
        parent, kind = self._parent(call), call.params.get("ChildType")
        if kind == "ACCOUNT":
            ids = [
                account.id
                for account in self._organization.accounts
                if self._organization.unit_id(account.ou) == parent
            ]
        else:
            ids = [unit.id for unit in self._units() if unit.parent == parent]
        return self._page(call, "Children", [{"Id": i, "Type": kind} for i in ids], may_be_empty=False)

    def _list_parents(self, call: AwsCall) -> dict[str, Any]:
        child = str(call.params.get("ChildId", ""))
        organization = self._organization
        if child in organization.by_id:
            parent = organization.unit_id(organization.by_id[child].ou)
        else:
            parent = next((unit.parent for unit in self._units() if unit.id == child), "")
        if not parent:
            raise AwsError("ChildNotFoundException", "We can't find a child with the Id that you specified.")
        kind = "ROOT" if parent == organization.root_id else "ORGANIZATIONAL_UNIT"
        return {"Parents": [{"Id": parent, "Type": kind}]}

    def _list_roots(self, call: AwsCall) -> dict[str, Any]:
        organization = self._organization
        arn = f"arn:aws:organizations::{organization.payer.id}:root/{organization.id}/{organization.root_id}"
        root = {"Id": organization.root_id, "Arn": arn, "Name": ROOT_NAME, "PolicyTypes": []}
        return {"Roots": [root]}

    def _list_tags(self, call: AwsCall) -> dict[str, Any]:
        account = self._organization.by_id.get(str(call.params.get("ResourceId", "")))
        tags = account.tags if account else ()
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags]}
