"""What fills one service of a simulated account: it puts resources there and writes down the truth about them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

import moto.backends

from simulated_aws.in_process import AccountClient
from simulated_aws.organization import Account


@dataclass(frozen=True, slots=True)
class TrueResource:
    """One resource as it was put there.

    `created` is None where AWS does not tell it; `existed_by` is a moment that it tells instead. `monthly_usd` is the list price in us-east-1 (None: it depends
    on use), `unused_usd` what being unused costs where that is something else, `savings` dollars by kind.
    """

    service: str
    type: str
    id: str
    name: str
    state: str
    arn: str
    account_id: str
    region: str
    created: datetime | None
    tags: Mapping[str, str] = field(default_factory=dict)
    monthly_usd: Decimal | None = None
    unused: str | None = None
    unused_usd: Decimal | None = None
    savings: Mapping[str, Decimal] = field(default_factory=dict)
    existed_by: datetime | None = None


def usd(text: str | None) -> Decimal | None:
    """An amount as it was worked out by hand."""
    return None if text is None else Decimal(text)


class Filler:
    """What fills one service of one account in one region."""

    def __init__(
        self, account: Account, region: str, seed: int, now: datetime, instances: Callable[[], list[str]]
    ) -> None:
        self.account = account
        self.region = region
        self.now = now.replace(microsecond=0)
        self.instances = instances
        self.random = random.Random(f"{seed}:{account.id}:{region}:estate")
        self.suffix = hashlib.sha256(f"{account.id}{region}".encode()).hexdigest()[:6]
        self.found: list[TrueResource] = []

    @property
    def prefix(self) -> str:
        """What names begin with."""
        return self.account.name

    @property
    def tags(self) -> dict[str, str]:
        """What a resource bears that is tagged as it should be."""
        return {
            "team": dict(self.account.tags).get("team", "none"),
            "environment": dict(self.account.tags).get("environment", "none"),
        }

    def client(self, service: str, region: str | None = None) -> AccountClient:
        """A client of moto as the account."""
        return AccountClient(self.account.id, service, region or self.region)

    def backend(self, service: str, region: str | None = None) -> Any:
        """moto's own objects, whose dates are changed."""
        return moto.backends.get_backend(service)[self.account.id][region or self.region]  # type: ignore[call-overload]

    def ago(self, days: float) -> datetime:
        """A moment in the past."""
        return self.now - timedelta(days=days)

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource of the account in the region."""
        return f"arn:aws:{service}:{self.region}:{self.account.id}:{resource}"

    def add(self, type: str, id: str, arn: str, created: datetime | None, **more: Any) -> None:
        """Write down what was put there."""
        more.setdefault("name", id)
        more.setdefault("state", "active")
        more["monthly_usd"] = usd(more.pop("price", None))
        more["unused_usd"] = usd(more.pop("unused_price", None))
        more["savings"] = {kind: Decimal(saved) for kind, saved in more.pop("savings", {}).items()}
        self.found.append(
            TrueResource(
                service=type.partition(":")[0],
                type=type,
                id=id,
                arn=arn,
                account_id=self.account.id,
                region=more.pop("region", self.region),
                created=created,
                **more,
            )
        )


class Reach(Enum):
    """Where the resources of a service are listed."""

    REGION = "each region has other resources"
    ACCOUNT = "resources lie in regions, and each lists those of all"
    GLOBAL = "an account has them once; they are filled as of the organisation's first region"


@dataclass(frozen=True, slots=True)
class Fill:
    """What fills one service, and where its resources are listed."""

    fill: Callable[[Filler], None]
    reach: Reach = Reach.REGION


def listed(tags: dict[str, str]) -> list[dict[str, str]]:
    """Tags as most services take them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
