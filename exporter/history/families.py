"""Every dated family other than cost."""

from __future__ import annotations

from exporter.accounts.placing import OU_INFO
from exporter.anomalies.history import ASSESSED_FAMILIES
from exporter.usage.metrics import USAGE_FAMILIES

DATED_FAMILIES = (*USAGE_FAMILIES, OU_INFO, *ASSESSED_FAMILIES)
"""Every dated family other than cost. The last label of each is the one beside the account."""
