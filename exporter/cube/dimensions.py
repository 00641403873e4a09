"""The dimensions of cost beside day, account and service, with their names in AWS and in this project."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from exporter.core.metric import Family

Kind = Literal[
    "region",
    "usage_type",
    "operation",
    "charge_type",
    "billing_entity",
    "resource",
    "tag",
    "cost_category",
    "untagged",
]
OTHER = "other"
"""The sum of the keys that are too small to be kept apart."""
MARKETPLACE = "AWS Marketplace"
"""The billing entity of what others sell: it has no list price of AWS."""
WITHOUT = ""
"""The key of cost that has none: untagged, without a resource id, in no cost category."""

_COST_EXPLORER = {
    "region": "REGION",
    "usage_type": "USAGE_TYPE",
    "operation": "OPERATION",
    "charge_type": "RECORD_TYPE",
    "billing_entity": "BILLING_ENTITY",
}
_NAMED = ("tag", "cost_category")
_ACCOUNT = ("account_id", "account")


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension; a tag key and a cost category are dimensions by their names."""

    kind: Kind
    key: str = ""
    """The tag key or the name of the cost category."""

    @property
    def name(self) -> str:
        """As users write it and files keep it: `region`, `tag:team`."""
        return f"{self.kind}:{self.key}" if self.key else self.kind

    @property
    def cost_explorer(self) -> str | tuple[str, str] | None:
        """How Cost Explorer groups by it; None for resources, which it does not know for more than 14 days."""
        if self.kind in _NAMED:
            return self.kind.upper(), self.key
        return _COST_EXPLORER.get(self.kind)

    def value(self, answered: str) -> str:
        """The key behind what Cost Explorer answers: tags and cost categories come back as `key$value`.

        Both may contain a dollar sign; the key is the one that was asked for.
        """
        if self.kind not in _NAMED:
            return answered
        prefix = f"{self.key}$"
        return answered.removeprefix(prefix) if answered.startswith(prefix) else answered.partition("$")[2]

    def labels(self, value: str) -> dict[str, str]:
        """The labels of a key on a family of this dimension."""
        if self.kind == "tag":
            return {"tag_key": self.key, "tag_value": value}
        if self.kind == "cost_category":
            return {"cost_category": self.key, "cost_category_value": value}
        return {self.kind: value}


def untagged(tag_key: str) -> Dimension:
    """Usage without a tag, at amortized cost: no dimension to ask for, its only key is `WITHOUT`."""
    return Dimension("untagged", tag_key)


def parse_dimension(text: str) -> Dimension:
    """A dimension by its name, `-` and `_` alike; ValueError with the names that there are."""
    kind, colon, key = text.partition(":")
    kind = re.sub("-", "_", kind.strip().lower())
    key = key.strip()
    if kind in _NAMED and colon and key:
        return Dimension(kind, key)  # type: ignore[arg-type]
    if (kind in _COST_EXPLORER or kind == "resource") and not colon:
        return Dimension(kind)  # type: ignore[arg-type]
    names = ", ".join([*_COST_EXPLORER, "resource", "tag:<key>", "cost_category:<name>"])
    raise ValueError(f"found {text!r}, expected one of {names}")


DATED_KINDS: tuple[Kind, ...] = ("region", "usage_type", "charge_type", "tag", "cost_category", "resource")
"""The dimensions that have a dated family."""

_WHAT = {
    "region": "region",
    "usage_type": "usage type",
    "charge_type": "charge type (Usage, Tax, Credit, ...)",
    "tag": "the value of a cost allocation tag, empty where untagged",
    "cost_category": "cost category",
    "resource": "resource, empty for cost without a resource id",
}


def _family(kind: Kind) -> Family:
    return Family(
        f"aws_cost_daily_by_{kind}_usd",
        f"Cost of a complete UTC day by account and {_WHAT[kind]}, written at that day, and again when AWS restates it;"
        f" the largest of each month, the rest is `{OTHER}`.",
        (*_ACCOUNT, *Dimension(kind).labels("")),
    )


DAILY_BY: dict[Kind, Family] = {kind: _family(kind) for kind in DATED_KINDS}
"""The dated families, by dimension."""
