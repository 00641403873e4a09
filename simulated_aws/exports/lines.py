"""The lines of a day's charges: which line type each is, and what AWS's formulas need to find its five amounts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from simulated_aws.charges import UNIT, Amounts, CostKey, list_cost
from simulated_aws.cost_dimensions import Allocation
from simulated_aws.cost_dimensions import operation as operation_of_charge
from simulated_aws.cost_split import reported_hours, share, split
from simulated_aws.exports.pods import COSTS, ECS, EKS, Pod, pod_costs
from simulated_aws.exports.products import product_of
from simulated_aws.organization import Organization
from simulated_aws.service_catalog import AWS, COMPUTE, OTHER_EC2, SAVINGS_PLANS, is_of_instances

AMOUNTS = ("unblended", "blended", "amortized", "net_unblended", "net_amortized", "quantity", "list_cost")
"""The columns of amounts of a line, in units of 1e-10."""

Row = tuple[int, ...]
"""The amounts of a charge in the order of AMOUNTS."""

_LINE_TYPES = {
    "Support": "Fee",
    "Enterprise Discount Program Discount": "EdpDiscount",
    "Private Rate Card Discount": "PrivateRateDiscount",
    "Bundled Discount": "BundledDiscount",
    "Solution Provider Program Discount": "SppDiscount",
    "Distributor Discount": "DistributorDiscount",
}
"""Line types whose name in Cost Explorer, RECORD_TYPE, is another; all others are the same in both."""

DISCOUNTS = frozenset({"EdpDiscount", "PrivateRateDiscount"})
"""Line types that only an export with INCLUDE_MANUAL_DISCOUNT_COMPATIBILITY has."""

_COVERED = frozenset({"SavingsPlanCoveredUsage", "SavingsPlanNegation"})
_FEES = frozenset({"SavingsPlanRecurringFee", "SavingsPlanUpfrontFee"})
_DEFAULT_PLAN = "ComputeSP:1yrNoUpfront"


@dataclass(frozen=True, slots=True)
class LineKey:
    """What a line is for. `is_purchase` marks the fee of a commitment, whose cost is amortized elsewhere.

    `is_unused` marks the line that FOCUS has for the unused part of a commitment. The lines of a `pod` share out what
    other lines cost. `allocation` says which of its tags and cost categories it has.
    """

    key: CostKey
    is_purchase: bool = False
    is_unused: bool = False
    pod: Pod | None = None
    allocation: Allocation = Allocation()  # noqa: RUF009 - it is frozen


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines as arrays of equal length: day (days since 1970), hour, key, resource and the columns of AMOUNTS and COSTS.

    `key` is a position in the LineKeys of the month, `resource` one in the shares of the key.
    """

    columns: Mapping[str, npt.NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.columns["key"])


class LineKeys:
    """The distinct keys of a month's lines, each with a number."""

    def __init__(self) -> None:
        self._numbers: dict[LineKey, int] = {}

    def number(self, key: LineKey) -> int:
        """The number of a key; a new one when it is new."""
        return self._numbers.setdefault(key, len(self._numbers))

    def __iter__(self) -> Iterator[LineKey]:
        return iter(self._numbers)


def line_type(key: CostKey) -> str:
    """The line type of a charge."""
    return _LINE_TYPES.get(key.record_type, key.record_type)


def as_cur(charges: Iterable[tuple[CostKey, Amounts]]) -> Iterator[tuple[LineKey, Row]]:
    """The charges as CUR has them; ValueError where its columns and AWS's formulas cannot express one."""
    for key, amounts in charges:
        _check_service(key)
        negated = key.record_type == "SavingsPlanNegation"
        # A negation takes the list cost back: together with the covered usage, the sum is 0.
        listed = amounts[0] if negated else list_cost(key.record_type, amounts)
        yield LineKey(key, is_purchase=_is_purchase(key, amounts)), (*amounts, listed)


def as_focus(charges: Iterable[tuple[CostKey, Amounts]]) -> Iterator[tuple[LineKey, Row]]:
    """The charges as FOCUS has them.

    What a Savings Plan covers is billed with nothing, without a negation, and the fee of a commitment is a purchase
    with no effective cost beside a line of what is unused.
    """
    found: dict[LineKey, Row] = {}
    covered: dict[tuple[object, ...], LineKey] = {}
    negations: list[tuple[LineKey, Row]] = []
    for line, row in as_cur(charges):
        record_type = line.key.record_type
        unblended, blended, amortized, net, net_amortized, quantity, _ = row
        if record_type == "SavingsPlanNegation":
            negations.append((line, (unblended, blended, amortized, net, net_amortized, quantity, 0)))
        elif record_type in ("SavingsPlanRecurringFee", "RIFee"):
            _add(found, LineKey(line.key, is_purchase=True), (unblended, blended, 0, net, 0, quantity, 0))
            _add(found, LineKey(line.key, is_unused=True), (0, 0, amortized, 0, net_amortized, 0, 0))
        else:
            if record_type == "SavingsPlanCoveredUsage":
                covered[_negated(line.key)] = line
            _add(found, line, row)
    for line, row in negations:
        _add(found, covered.get(_negated(line.key), line), row)
    yield from found.items()


def _negated(key: CostKey) -> tuple[object, ...]:
    """What a negation has in common with the usage that it negates."""
    return key.account_id, key.service, key.region, key.usage_type, key.tags, key.billing_entity


def _add(found: dict[LineKey, Row], line: LineKey, row: Row) -> None:
    known = found.get(line, (0,) * len(AMOUNTS))
    found[line] = tuple(a + b for a, b in zip(known, row, strict=True))


def _is_purchase(key: CostKey, amounts: Amounts) -> bool:
    """Whether a charge is the fee of a commitment; ValueError where no line has such amounts."""
    unblended, _, amortized, net, net_amortized, _ = amounts
    record_type = key.record_type
    if record_type in ("SavingsPlanCoveredUsage", "DiscountedUsage", "RIFee"):
        return False
    nothing = amortized == 0 and net_amortized == 0
    if record_type in ("SavingsPlanNegation", "SavingsPlanUpfrontFee"):
        fits = nothing
    elif record_type == "SavingsPlanRecurringFee":
        fits = _fee_fits(key, amounts)
    else:
        refund = record_type == "Refund" and key.service == SAVINGS_PLANS
        if (record_type == "Fee" or refund) and nothing:
            return True
        fits = amortized == unblended and net_amortized == net
    if not fits:
        raise ValueError(f"no line of an export has the amounts {amounts} of {key}")
    return False


def _fee_fits(key: CostKey, amounts: Amounts) -> bool:
    unblended, _, unused, net, net_unused, _ = amounts
    if "NoUpfront" not in key.usage_type:
        return (unused == 0) == (net_unused == 0)
    # Without an upfront fee, the unused part has the discount of the fee, and is no more than the fee.
    return 0 <= unused <= unblended and abs(net_unused * unblended - unused * net) <= unblended


def _check_service(key: CostKey) -> None:
    """ValueError where the usage type, the only difference between EC2's two services in an export, is another's."""
    if key.record_type in _FEES or key.service not in (COMPUTE, OTHER_EC2):
        return
    if is_of_instances(key.usage_type) != (key.service == COMPUTE):
        raise ValueError(f"a usage type {key.usage_type!r} of Amazon EC2 is not of {key.service!r}")


def day_lines(
    found: Iterable[tuple[CostKey, Amounts]],
    day: date,
    at: datetime,
    numbers: LineKeys,
    allocation: Allocation,
    *,
    focus: bool = False,
    hourly: bool,
    resources: bool,
) -> Iterator[Lines]:
    """The lines of the charges that a moment has of a day; ValueError where one cannot be expressed."""
    charges = [*(as_focus if focus else as_cur)(found)]
    if not charges:
        return
    keys = [line.key for line, _ in charges]
    rows = [row for _, row in charges]
    lines = [replace(line, allocation=allocation) for line, _ in charges]
    number = np.array([numbers.number(line) for line in lines], dtype=np.int64)
    since = _days_since_1970(day)
    for parts in split(keys, rows, reported_hours(day, at), hourly=hourly, resources=resources):
        columns: dict[str, Any] = {
            "day": np.full(len(parts.charge), since, dtype=np.int64),
            "hour": parts.hour,
            "key": number[parts.charge],
            "resource": parts.resource,
        }
        columns |= {name: np.ascontiguousarray(parts.amounts[:, i]) for i, name in enumerate(AMOUNTS)}
        yield Lines(columns | dict.fromkeys(COSTS, np.zeros(len(parts.charge), dtype=np.int64)))


def pod_lines(
    charges: Iterable[tuple[CostKey, Amounts]], day: date, at: datetime, numbers: LineKeys, *, hourly: bool
) -> Iterator[Lines]:
    """The lines of a day that share out the cost of instances among pods; none where there are no clusters."""
    found = [*pod_costs(charges)]
    if not found:
        return
    keys = [
        LineKey(_pod_key(pod.account_id, pod.kind, pod.region, pod.usage_type(resource)), pod=pod)
        for pod, resource, _ in found
    ]
    hours = reported_hours(day, at) if hourly else 1
    whole: Any = np.array([costs for _, _, costs in found], dtype=np.int64)
    costs = share(whole, np.ones((1, hours), dtype=np.int64)).reshape(-1, len(COSTS))
    number = np.repeat(np.array([numbers.number(key) for key in keys], dtype=np.int64), hours)
    columns: dict[str, Any] = {
        "day": np.full(len(number), _days_since_1970(day), dtype=np.int64),
        "hour": np.tile(np.arange(hours), len(found)),
        "key": number,
        "resource": np.zeros(len(number), dtype=np.int64),
        **dict.fromkeys(AMOUNTS, np.zeros(len(number), dtype=np.int64)),
        **{name: np.ascontiguousarray(costs[:, i]) for i, name in enumerate(COSTS)},
    }
    # Adding these lines to the others would count their cost and their use twice.
    columns |= dict.fromkeys(("unblended", "blended", "amortized", "list_cost"), costs[:, 0] + costs[:, 1])
    columns |= dict.fromkeys(("net_unblended", "net_amortized"), costs[:, 2] + costs[:, 3])
    columns["quantity"] = np.full(len(number), UNIT // 4, dtype=np.int64)
    yield Lines(columns)


@lru_cache(maxsize=65_536)
def _pod_key(account_id: str, kind: str, region: str, usage_type: str) -> CostKey:
    return CostKey(account_id, EKS if kind == "eks" else ECS, "Usage", region, usage_type)


def _days_since_1970(day: date) -> int:
    return (day - date(1970, 1, 1)).days


class Describer:
    """Writes what the lines of a key have in common, by column."""

    def __init__(
        self, organization: Organization, resource_ids: Callable[[CostKey], tuple[str, ...]]
    ) -> None:
        self._organization = organization
        self._resource_ids = resource_ids
        self._names = {account.id: account.name for account in organization.accounts}

    def describe(self, line: LineKey) -> dict[str, Any]:
        """The texts of one key; its tags and cost categories as dictionaries, its resources in order."""
        key = line.key
        record_type = key.record_type
        service = SAVINGS_PLANS if record_type in _FEES else key.service
        product = product_of(service, key.account_id, key.billing_entity)
        plan = self._plan(line)
        reservation = self._reservation(line)
        region = "" if key.region == "NoRegion" else key.region
        allocation = line.allocation
        categories = {
            name: value for name, _ in allocation.categories if (value := allocation.category(name, key))
        }
        operation = line.pod.operation if line.pod else operation_of_charge(key)
        return {
            "account_id": key.account_id,
            "account_name": self._names.get(key.account_id, ""),
            "record_type": record_type,
            "line_type": line_type(key),
            "product_code": product.code,
            "service_code": product.service_code,
            "product_name": product.name,
            "category": product.category,
            "region": region,
            "usage_type": "" if key.usage_type == "NoUsageType" else key.usage_type,
            "operation": "" if operation == "NoOperation" else operation,
            "billing_entity": key.billing_entity,
            "legal_entity": "Amazon Web Services, Inc." if key.billing_entity == AWS else f"{service} Inc.",
            "description": _description(line, product.name),
            "bill_type": "Refund"
            if record_type == "Refund"
            else ("Purchase" if line.is_purchase else "Anniversary"),
            "is_purchase": line.is_purchase,
            "is_unused": line.is_unused,
            "plan": plan,
            "plan_end": self._end(plan, key.usage_type),
            "payment": _payment(key.usage_type if record_type in _FEES else _DEFAULT_PLAN),
            "term": "3yr" if "3yr" in key.usage_type else "1yr",
            "reservation": reservation,
            "reservation_end": self._end(reservation, key.usage_type),
            "tags": allocation.tags(key),
            "categories": categories,
            "resources": (line.pod.arn,) if line.pod else self._resource_ids(key),
            "parent": f"i-0{_uuid(line.pod.cluster)[:8]}" if line.pod else "",
        }

    def _plan(self, line: LineKey) -> str:
        record_type = line.key.record_type
        is_refund = record_type == "Refund" and line.is_purchase
        if record_type not in _COVERED | _FEES and not is_refund:
            return ""
        name = _DEFAULT_PLAN if record_type in _COVERED else line.key.usage_type
        return f"arn:aws:savingsplans::{self._organization.payer.id}:savingsplan/{_uuid('plan', name)}"

    def _reservation(self, line: LineKey) -> str:
        key = line.key
        is_fee = key.record_type == "Fee" and line.is_purchase
        if key.record_type not in ("DiscountedUsage", "RIFee") and not is_fee:
            return ""
        product = product_of(key.service, key.account_id, key.billing_entity)
        name = product.code.removeprefix("Amazon").lower()
        place = f"{key.region}:{self._organization.payer.id}"
        return f"arn:aws:{name}:{place}:reserved-instances/{_uuid('reservation', key.service, key.region)}"

    def _end(self, arn: str, usage_type: str) -> str:
        if not arn:
            return ""
        years = 3 if "3yr" in usage_type else 1
        left = 20 + int(_uuid(arn)[:4], 16) % (years * 365 - 40)
        return f"{self._organization.created.date() + timedelta(days=left):%Y-%m-%d}T00:00:00.000Z"


def _payment(usage_type: str) -> str:
    for name in ("All", "Partial"):
        if f"{name}Upfront" in usage_type:
            return f"{name} Upfront"
    return "No Upfront"


def _description(line: LineKey, product: str) -> str:
    key = line.key
    if key.record_type == "Refund" and line.is_purchase:
        return f"Refund for one-time fee for Savings Plan ID: {_uuid('plan', key.usage_type)}"
    if key.record_type == "Tax":
        return f"Tax for product code {product}"
    return f"{product}, {key.usage_type}"


def _uuid(*parts: str) -> str:
    text = hashlib.blake2b(":".join(parts).encode(), digest_size=16).hexdigest()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
