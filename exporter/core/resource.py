"""Resources of the inventory."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Saving:
    """A cheaper way to have the same resource; `monthly_usd` is None where a price is not known."""

    kind: str
    monthly_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One thing that exists in an account, as its service described it.

    `monthly_usd` is its list price for 730 hours as it stands now: zero where AWS charges nothing for it,
    None where the price is not known or depends on use. `region` is None for that of the target.
    """

    id: str
    type: str
    name: str = ""
    state: str = ""
    created: datetime | None = None
    tags: Mapping[str, str] | None = field(default_factory=dict)
    """None where they could not be read: then nothing is known to be missing."""
    monthly_usd: Decimal | None = None
    unused_reason: str | None = None
    unused_usd: Decimal | None = None
    """Dollars a month that being unused costs, where that is not `monthly_usd`."""
    savings: tuple[Saving, ...] = ()
    region: str | None = None
    existed_by: datetime | None = None
    """A moment at which it existed for certain, where AWS does not tell when it was created."""
    first_seen: bool = False
    """Whether `created` is when we saw it first, because AWS does not tell."""
    subtype: str = ""
    """What the service calls its kind, e.g. an instance or volume type."""
    lifecycle: str = ""

    @property
    def wasted_usd(self) -> Decimal | None:
        """List price a month of what is unused."""
        return self.monthly_usd if self.unused_usd is None else self.unused_usd


class Sharing:
    """Makes equal values of many resources one object: they are kept by the hundred thousand.

    Of a resource's 1.1 KiB its id, its name and its moments remain; prices, states and sets of tags repeat.
    """

    def __init__(self) -> None:
        self._tags: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        self._savings: dict[tuple[Saving, ...], tuple[Saving, ...]] = {(): ()}

    def share(self, resource: Resource) -> Resource:
        """An equal resource of shared parts."""
        tags = resource.tags
        if tags is not None:
            key = tuple(sorted(tags.items()))
            if (known := self._tags.get(key)) is None:
                known = self._tags[key] = {sys.intern(name): sys.intern(value) for name, value in key}
            tags = known
        return replace(
            resource,
            type=_word(resource.type),
            state=_word(resource.state),
            subtype=_word(resource.subtype),
            lifecycle=_word(resource.lifecycle),
            region=None if resource.region is None else _word(resource.region),
            unused_reason=None if resource.unused_reason is None else _word(resource.unused_reason),
            tags=tags,
            monthly_usd=None if resource.monthly_usd is None else _amount(resource.monthly_usd),
            unused_usd=None if resource.unused_usd is None else _amount(resource.unused_usd),
            savings=self._savings.setdefault(resource.savings, resource.savings),
        )


def _word(text: str) -> str:
    # Enums of some services are a subclass of str, which cannot be interned.
    return sys.intern(str(text))


@lru_cache(maxsize=20_000)
def _amount(usd: Decimal) -> Decimal:
    return usd


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedResources:
    """The resources of one unit as last read, and of which account; `error` is why they could not be read again."""

    unit: str
    account_id: str
    account: str
    region: str
    read_at: datetime
    resources: tuple[Resource, ...]
    error: str | None = None
    expires: datetime | None = None
    """When they are no longer served if nothing newer arrives."""
