"""What the simulated organisation is made of, and the clock that it lives by."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class OrganizationSpec:
    """Everything that decides what the simulated organisation answers; equal specs answer equally.

    `accounts` counts the payer. `days` is how far back cost reaches. `groups_per_page` is the page size of
    Cost Explorer. `now` fixes the simulated clock (timezone-aware); None follows the real one.
    `external_id` is what AssumeRole must present (None: nothing is asked). `refresh_minutes` is how often
    Cost Explorer's view of unsettled days moves. `empty_pages` lets Cost Explorer and ListAccounts answer
    an occasional page that is empty and has a token. `duplicate_names` gives two accounts one name.
    `instances` is how many EC2 instances an account has in each region. `partition` is that of identities and roles.
    `varied_charges` adds the charges that have separate line types in an export: a marketplace product, private rate and
    bundled discounts, a flat rate subscription, Savings Plans and reservations paid upfront, a refunded fee; it also
    puts the fees of Savings Plans under the service that Cost Explorer has for them. `inventory_resources` gives the
    cost of resources the ids that the inventory has, which fills the accounts when an export is written.
    Raises ValueError when a number is out of range or `now` is naive.
    """

    seed: int = 1
    accounts: int = 8
    services: int = 12
    regions: tuple[str, ...] = ("us-east-1", "eu-west-1")
    days: int = 430
    groups_per_page: int = 1000
    now: datetime | None = None
    member_role: str = "aws-spend-exporter-member"
    external_id: str | None = None
    refresh_minutes: int = 60
    empty_pages: bool = True
    duplicate_names: bool = False
    instances: int = 6
    currency: str = "USD"
    partition: str = "aws"
    varied_charges: bool = False
    inventory_resources: bool = False

    def __post_init__(self) -> None:
        for name in ("accounts", "services", "groups_per_page", "days", "refresh_minutes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not self.regions:
            raise ValueError("regions must name at least one region")
        if self.now is not None and self.now.tzinfo is None:
            raise ValueError("now must be timezone-aware")


class SimulatedClock:
    """The simulated time: the real one, shifted, or standing still."""

    def __init__(self, now: datetime | None = None) -> None:
        self._lock = threading.Lock()
        self._fixed: datetime | None = None
        self._offset = timedelta(0)
        if now is not None:
            self.set(now)

    def now(self) -> datetime:
        """The simulated time in UTC."""
        with self._lock:
            return self._fixed if self._fixed is not None else datetime.now(UTC) + self._offset

    def set(self, now: datetime, *, running: bool = False) -> None:
        """Stand still at `now`, or run on from it; ValueError when it is naive."""
        if now.tzinfo is None:
            raise ValueError("the simulated time must be timezone-aware")
        with self._lock:
            self._fixed = None if running else now.astimezone(UTC)
            self._offset = now - datetime.now(UTC) if running else timedelta(0)

    def advance(self, by: timedelta | float) -> datetime:
        """Move forward by a timedelta or a number of seconds; returns the new time."""
        step = by if isinstance(by, timedelta) else timedelta(seconds=by)
        with self._lock:
            if self._fixed is not None:
                self._fixed += step
            else:
                self._offset += step
        return self.now()

    def reset(self) -> None:
        """Follow the real time again."""
        with self._lock:
            self._fixed, self._offset = None, timedelta(0)
