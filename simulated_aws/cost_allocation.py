"""Backfills of cost allocation tags, and definitions of cost categories, as Cost Explorer's API lists them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from simulated_aws.cost_dimensions import COST_CATEGORIES, Allocation, Rules
from simulated_aws.input_model import check_input
from simulated_aws.organization import Organization
from simulated_aws.wire import AwsCall, AwsError, Tokens

_TAG = "team"
_STATUSES = ("SUCCEEDED", "PROCESSING", "FAILED")
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Backfill:
    """One request to apply the activated tags to past cost, from `start` on."""

    start: date
    requested_at: datetime
    completed_at: datetime | None
    status: str


@dataclass(frozen=True, slots=True)
class Category:
    """One version of a cost category; `values` are those of the tag `team`, `default` is that of all others.

    It applies to cost from `effective_start` (a month) on, and is processed until `applied_at`.
    """

    arn: str
    name: str
    values: Mapping[str, str]
    effective_start: date
    applied_at: datetime
    default: str = ""

    def rules(self) -> list[dict[str, Any]]:
        """The rules as AWS lists them, one for each value."""
        by_value: dict[str, list[str]] = {}
        for team, value in self.values.items():
            by_value.setdefault(value, []).append(team)
        return [
            {
                "Value": value,
                "Type": "REGULAR",
                "Rule": {"Tags": {"Key": _TAG, "Values": teams, "MatchOptions": ["EQUALS"]}},
            }
            for value, teams in by_value.items()
        ]


@dataclass(slots=True)
class CostAllocation:
    """Answers the three calls, and takes what a user would do in the console."""

    organization: Organization
    now: Callable[[], datetime]
    tokens: Tokens
    backfills: list[Backfill] = field(default_factory=list)
    versions: list[Category] = field(default_factory=list)
    """Every version of every category, oldest first."""
    activations: dict[str, date] = field(default_factory=dict)
    """The first day that has a tag, unless a backfill reaches further back; tags that are not here, all days have."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        created = self.organization.created
        for name, values in COST_CATEGORIES.items():
            seed = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.organization.id}/{name}")
            arn = f"arn:aws:ce::{self.organization.payer.id}:costcategory/{seed}"
            start = date(created.year - 2, created.month, 1)
            self.versions.append(Category(arn, name, dict(values), start, created - timedelta(days=1)))

    # What a user does

    def request_backfill(
        self, start: date, *, status: str = "SUCCEEDED", takes: timedelta = timedelta(0)
    ) -> Backfill:
        """Backfill the activated tags from `start` on, requested now; it ends after `takes`.

        Raises ValueError for a status that AWS does not have, and for a start that is not the first of a month.
        """
        if status not in _STATUSES:
            raise ValueError(f"status must be one of {', '.join(_STATUSES)}")
        if start.day != 1:
            raise ValueError("a backfill starts on the first of a month")
        requested = self.now()
        made = Backfill(start, requested, None if status == "PROCESSING" else requested + takes, status)
        with self._lock:
            self.backfills.append(made)
        return made

    def change_category(
        self,
        name: str,
        values: Mapping[str, str],
        *,
        effective_start: date | None = None,
        takes: timedelta = timedelta(0),
        default: str = "",
    ) -> Category:
        """Define a category, from `effective_start` (the current month, None) on; AWS applies it after `takes`.

        A category that is not there yet is created.
        """
        now = self.now()
        start = effective_start or now.date().replace(day=1)
        if start.day != 1:
            raise ValueError("a cost category starts on the first of a month")
        with self._lock:
            last = next((each for each in reversed(self.versions) if each.name == name), None)
            arn = (
                last.arn if last else f"arn:aws:ce::{self.organization.payer.id}:costcategory/{uuid.uuid4()}"
            )
            made = Category(arn, name, dict(values), start, now + takes, default)
            # A version that starts no later than an older one replaces it.
            kept = [each for each in self.versions if each.name != name or each.effective_start < start]
            self.versions = [*kept, made]
        return made

    def activate_tag(self, key: str, first: date) -> None:
        """Activate a cost allocation tag: the cost of days before `first` has it only after a backfill."""
        with self._lock:
            self.activations[key] = first

    def applied(self, day: date, at: datetime) -> Allocation:
        """Which tags and categories the cost of a day has at a moment."""
        with self._lock:
            reach = min(
                (
                    each.start
                    for each in self.backfills
                    if each.status == "SUCCEEDED"
                    and each.completed_at is not None
                    and each.completed_at <= at
                ),
                default=date.max,
            )
            inactive = frozenset(key for key, first in self.activations.items() if day < min(first, reach))
            rules = {
                each.name: Rules(tuple(each.values.items()), each.default)
                for each in self.versions
                if each.effective_start <= day and each.applied_at <= at
            }
        return Allocation(inactive, tuple(rules.items()))

    def remove_category(self, name: str) -> None:
        """Delete a category with all of its versions."""
        with self._lock:
            self.versions = [each for each in self.versions if each.name != name]

    def category(self, name: str, day: date) -> Category | None:
        """The version of a category that applies to a day's cost."""
        with self._lock:
            found = [each for each in self.versions if each.name == name and each.effective_start <= day]
        return found[-1] if found else None

    # What AWS answers

    def answers(self, call: AwsCall) -> bool:
        """Whether the call is one of these."""
        return call.operation in _OPERATIONS

    def answer(self, call: AwsCall) -> dict[str, Any]:
        """The response members of one call; AwsError otherwise."""
        check_input("ce", call.operation, call.params)
        if call.account_id != self.organization.payer.id:
            raise AwsError(
                "AccessDeniedException", "Linked account doesn't have access to cost allocation tags."
            )
        return _OPERATIONS[call.operation](self, call)

    def _list_backfills(self, call: AwsCall) -> dict[str, Any]:
        now = self.now()
        with self._lock:
            # The newest first.
            found = [_seen(each, now) for each in reversed(self.backfills)]
        page, more = self.tokens.page(call, found, int(call.params.get("MaxResults") or _PAGE))
        return {"BackfillRequests": [_backfill(each, now) for each in page], **more}

    def _list_categories(self, call: AwsCall) -> dict[str, Any]:
        day = _effective(call, self.now()).date()
        with self._lock:
            names = list(dict.fromkeys(each.name for each in self.versions))
        found = [each for name in names if (each := self.category(name, day)) is not None]
        page, more = self.tokens.page(call, found, int(call.params.get("MaxResults") or _PAGE))
        references = [
            {
                **self._members(each),
                "NumberOfRules": len(each.rules()),
                "Values": list(dict.fromkeys(each.values.values())),
            }
            for each in page
        ]
        return {"CostCategoryReferences": references, **more}

    def _describe_category(self, call: AwsCall) -> dict[str, Any]:
        arn, day = call.params["CostCategoryArn"], _effective(call, self.now()).date()
        with self._lock:
            found = [each for each in self.versions if each.arn == arn and each.effective_start <= day]
        if not found:
            raise AwsError("ResourceNotFoundException", f"No Cost Categories found with arn {arn}")
        definition = {"RuleVersion": "CostCategoryExpression.v1", "Rules": found[-1].rules()}
        return {"CostCategory": {**self._members(found[-1]), **definition}}

    def _members(self, each: Category) -> dict[str, Any]:
        status = "APPLIED" if each.applied_at <= self.now() else "PROCESSING"
        members: dict[str, Any] = {
            "CostCategoryArn": each.arn,
            "Name": each.name,
            "EffectiveStart": f"{each.effective_start.isoformat()}T00:00:00Z",
            "ProcessingStatus": [{"Component": "COST_EXPLORER", "Status": status}],
        }
        with self._lock:
            later = [
                other.effective_start
                for other in self.versions
                if other.name == each.name and other.effective_start > each.effective_start
            ]
        if later:
            members["EffectiveEnd"] = f"{min(later).isoformat()}T00:00:00Z"
        return members | ({"DefaultValue": each.default} if each.default else {})


def _seen(each: Backfill, now: datetime) -> Backfill:
    """A backfill as it is at a moment: until it ends, it is processed."""
    if each.completed_at is not None and each.completed_at > now:
        return replace(each, completed_at=None, status="PROCESSING")
    return each


def _backfill(each: Backfill, now: datetime) -> dict[str, Any]:
    members = {
        "BackfillFrom": f"{each.start.isoformat()}T00:00:00Z",
        "RequestedAt": _moment(each.requested_at),
        "BackfillStatus": each.status,
        "LastUpdatedAt": _moment(each.completed_at or now),
    }
    return members | ({"CompletedAt": _moment(each.completed_at)} if each.completed_at else {})


def _effective(call: AwsCall, now: datetime) -> datetime:
    text = call.params.get("EffectiveOn")
    if text is None:
        return now
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        raise AwsError("ValidationException", f"EffectiveOn {text} is not a date.") from None


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_OPERATIONS: Mapping[str, Callable[[CostAllocation, AwsCall], dict[str, Any]]] = {
    "DescribeCostCategoryDefinition": CostAllocation._describe_category,
    "ListCostAllocationTagBackfillHistory": CostAllocation._list_backfills,
    "ListCostCategoryDefinitions": CostAllocation._list_categories,
}
