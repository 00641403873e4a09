"""Settings of the integration, mounted at `relay.integration` of config.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, Field

from exporter.core.fields import StrictModel, Timeout, Usd
from exporter.relay.channels import all_kinds
from exporter.web.addresses import is_address
from exporter.web.credentials import Demanded

BUDGET = "integration"
"""The budget under which the meter charges what ticks with AWS keys ask of Cost Explorer."""


_HOST = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\.?"
)


@dataclass(frozen=True, slots=True)
class ReturnHost:
    """One entry of the allow-list; with a port it is exact and may be private, without it stands for subdomains too."""

    host: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """`chat.example`, `relay.internal:8080` or `[::1]:8080`; ValueError otherwise."""
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::(\d{1,5}))?", text)
        host = match[1].strip("[]").lower().removesuffix(".") if match else ""
        port = int(match[2]) if match and match[2] else None
        if not host or not (_HOST.fullmatch(host) or is_address(host)) or port == 0 or (port or 0) > 65535:
            raise ValueError("a host such as chat.example, or host:port such as 127.0.0.1:8080")
        if port is None and is_address(host):
            raise ValueError("an address with its port, such as 127.0.0.1:8080")
        return cls(host, port)

    def covers(self, host: str) -> bool:
        """Whether a host without regard to its port is this one or under it."""
        return host == self.host or host.endswith("." + self.host)


def _return_host(value: str) -> str:
    ReturnHost.parse(value)
    return value


class IntegrationCeiling(StrictModel):
    """What ticks with AWS keys may spend on Cost Explorer, $0.01 a request; charged to those keys' account."""

    day: Usd | None = Field(default=Decimal(1), description="US dollars a UTC day; null: unlimited.")
    month: Usd | None = Field(default=Decimal(10), description="US dollars a month; null: unlimited.")

    def limits(self, budget: str) -> Mapping[str, Decimal | None]:
        """Limits by period, as the meter asks for them."""
        return {"day": self.day, "month": self.month} if budget == BUDGET else {}


class IntegrationSettings(StrictModel):
    """What a chat platform can install; off unless enabled."""

    enabled: bool = Field(
        default=False, description="Whether /integration and /tick answer; 404 if they do not."
    )
    base_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s<>?#]+$",
        description="Address at which the platform reaches the relay; unset: as its request named it.",
    )
    auth: Demanded | None = Field(
        default=None, description="What callers of POST /tick must present; unset: nothing."
    )
    organization: bool = Field(
        default=True,
        description="Answer ticks without AWS keys from the organization that this installation monitors.",
    )
    return_hosts: tuple[Annotated[str, AfterValidator(_return_host)], ...] = Field(
        default=tuple(host for kind in all_kinds().values() for host in kind.return_hosts),
        description="Where results may be posted: a host with its subdomains (https, public addresses"
        " only), or host:port exactly (http and private addresses too).",
    )
    max_ticks_per_minute: int = Field(
        default=30, ge=1, le=10_000, description="More are answered 429, whoever sends them."
    )
    max_concurrent_ticks: int = Field(
        default=4, ge=1, le=64, description="Ticks answered at once; as many again wait, more are 503."
    )
    timeout: Timeout = Field(
        default=timedelta(seconds=60), description="Time to find the answer to one tick; then it says so."
    )
    ceiling: IntegrationCeiling = Field(
        default=IntegrationCeiling(), description="Spend limits of ticks with AWS keys."
    )
