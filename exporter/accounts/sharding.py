"""Several exporters over one organization: each collects a share of the accounts, the first also what is paid."""

from __future__ import annotations

import hashlib
from typing import Self

from pydantic import Field, model_validator

from exporter.core.fields import StrictModel
from exporter.core.places import Scope
from exporter.declarations.collector import AnyCollector


class ShardSettings(StrictModel):
    """Which share of the accounts this exporter collects."""

    index: int = Field(default=0, ge=0, strict=True, description="Number of this exporter, from 0.")
    count: int = Field(default=1, ge=1, le=1000, strict=True, description="How many exporters there are.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.index >= self.count:
            raise ValueError(f"index: less than count, which is {self.count}")
        return self

    def holds(self, account_id: str) -> bool:
        """Whether the account is this exporter's; the same share as Prometheus' `hashmod` of its id."""
        digest = hashlib.md5(account_id.encode(), usedforsecurity=False).digest()
        return int.from_bytes(digest[8:], "big") % self.count == self.index

    def runs(self, collector: AnyCollector) -> bool:
        """Whether the collector runs here: no request is paid twice, so the payer's run on the first alone."""
        return self.index == 0 or collector.scope is not Scope.PAYER
