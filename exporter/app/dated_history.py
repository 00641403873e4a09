"""What the dated history holds beside cost, and what brings it up to date: every family of a whole UTC day."""

from __future__ import annotations

from exporter.accounts.placing import OU_INFO
from exporter.anomalies.history import ASSESSED_FAMILIES, AssessedHistory
from exporter.collectors.cost import COLLECTOR as COST
from exporter.config.model import Config
from exporter.core.moments import Clock
from exporter.history.sample_timestamps import COST as DAILY_COST
from exporter.history.sample_timestamps import daily_values
from exporter.ledger.file import Ledger
from exporter.usage.metrics import USAGE_FAMILIES

DATED_FAMILIES = (*USAGE_FAMILIES, OU_INFO, *ASSESSED_FAMILIES)
"""Every dated family other than cost. The last label of each is the one beside the account."""

DAILY_VALUES = daily_values(DATED_FAMILIES)
SOURCES = (DAILY_COST, DAILY_VALUES)
"""What is written at its date, in the order of writing."""


def assessed_history(ledger: Ledger, config: Config, clock: Clock) -> AssessedHistory:
    """The assessment of past days, as configured."""
    return AssessedHistory(
        ledger,
        config.anomalies,
        config.history.window,
        config.settings(COST).history_months,
        clock,
    )
