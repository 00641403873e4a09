"""How many series there may be: the section `series` of the configuration."""

from __future__ import annotations

from pydantic import Field

from exporter.core.fields import StrictModel

_STEP = 10  # of the bound, so that one account more does not move it
_LEAST = 30
_FIXED_SHARE = 10  # percent: the account's info, its thresholds, findings and the like


class SeriesSettings(StrictModel):
    """Series that bear an account; what is beyond is summed up as `other`, so that totals stay as they are."""

    per_account: int = Field(
        default=250, ge=50, description="Most series with an account's id, shared by the enabled collectors."
    )
    total: int = Field(
        default=250_000,
        ge=1000,
        description="Most series of all accounts; with many accounts each has fewer.",
    )

    def of_account(self, accounts: int) -> int:
        """Most series of each of so many accounts, but at least a few."""
        share = self.total // max(1, accounts)
        return min(self.per_account, max(_LEAST, share // _STEP * _STEP))

    def share(self, accounts: int, weight: int, weights: int) -> int:
        """A collector's part of an account's series, if it weighs `weight` of `weights`."""
        return self.of_account(accounts) * (100 - _FIXED_SHARE) * weight // (100 * max(1, weights))
