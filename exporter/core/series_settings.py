"""How many series there may be: the section `series` of the configuration."""

from __future__ import annotations

from pydantic import Field

from exporter.core.fields import StrictModel

_STEP = 10  # of the bound, so that one account more does not move it
_LEAST = 30
_UNBOUNDED = 1_000_000
_FIXED_SHARE = 15  # percent: info, thresholds, findings, breakdowns and the like


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


class SeriesShares(StrictModel):
    """How an account's series are shared by the collectors that are enabled."""

    series: SeriesSettings = SeriesSettings()
    weights: dict[str, int] = Field(default_factory=dict)

    def of(self, collector: str, accounts: int) -> int:
        """A collector's part of the series of each of so many accounts, without a seventh for all the rest.

        What has no weight is not bounded by it.
        """
        weight = self.weights.get(collector)
        if not weight:
            return _UNBOUNDED
        percent = 100 - _FIXED_SHARE
        return self.series.of_account(accounts) * percent * weight // (100 * sum(self.weights.values()))
