"""What the dated history holds beside cost, and what brings it up to date: every family of a whole UTC day, and of an hour."""

from __future__ import annotations

from exporter.accounts.placing import ACCOUNT_INFO, OU_INFO
from exporter.anomalies.history import ASSESSED_FAMILIES, AssessedHistory
from exporter.collectors.cost import COLLECTOR as COST
from exporter.config.model import Config
from exporter.core.moments import Clock
from exporter.cost.dated_sums import DATED_SUMS, DatedSums
from exporter.cube.dated import PACKED_KINDS, DatedDimensions
from exporter.cube.dimensions import DAILY_BY
from exporter.cube.hours import HOURLY, HOURLY_COST
from exporter.cube.untagged import UNTAGGED_FAMILIES, DatedUntagged
from exporter.history.sample_timestamps import COST as DAILY_COST
from exporter.history.sample_timestamps import daily_values
from exporter.history.writer import Derive
from exporter.ledger.file import Ledger
from exporter.usage.metrics import USAGE_FAMILIES

_BY = {kind: family for kind, family in DAILY_BY.items() if kind not in PACKED_KINDS}
_FAMILIES = (*DATED_SUMS, *_BY.values(), *UNTAGGED_FAMILIES, *USAGE_FAMILIES, OU_INFO, *ASSESSED_FAMILIES)
_PACKED = (*(DAILY_BY[kind] for kind in PACKED_KINDS), ACCOUNT_INFO)
DATED_FAMILIES = (*_FAMILIES, *_PACKED, HOURLY)
"""Every dated family other than cost."""

DAILY_VALUES = daily_values(_FAMILIES, packed=_PACKED)
SOURCES = (DAILY_COST, DAILY_VALUES, HOURLY_COST)
"""What is written at its date, in the order of writing."""


def derivations(ledger: Ledger, config: Config, clock: Clock) -> tuple[Derive, ...]:
    """What derives dated values from the ledger, as configured: sums first, they are quick and shown first."""
    cost, window = config.settings(COST), config.history.window
    sums = DatedSums(ledger, cost.cost_type, window, cost.history_months, clock)
    dimensions = DatedDimensions(
        ledger, cost.cost_type, config.history.dimension_series, window, cost.history_months, clock
    )
    assessed = AssessedHistory(ledger, config.anomalies, window, cost.history_months, clock)
    untagged = DatedUntagged(ledger, window, cost.history_months, clock)
    return sums.update, dimensions.update, untagged.update, assessed.update
