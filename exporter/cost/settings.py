"""The settings of cost: where it is read, and which cost type the families of cost show."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from exporter.core.amounts import CostSource
from exporter.core.fields import CollectorSettings, Duration
from exporter.declarations.sections import Sections


def cost_is_exported(sections: Sections) -> bool:
    """Whether cost comes from a data export: what would read it from Cost Explorer rests then."""
    return sections.of(CostSettings).source == "data_export"


class CostSettings(CollectorSettings):
    """Cost from Cost Explorer; every request costs $0.01, `plan` shows how many there are."""

    enabled: bool = Field(default=True, description="Whether the collector runs.")
    source: CostSource = Field(
        default="cost_explorer",
        description="Where cost is read: from Cost Explorer, or from the AWS data export of `cost_export`, without a"
        " paid request.",
    )
    history_from_cost_explorer: bool = Field(
        default=False,
        description="With source data_export: read the months before the export's first one from Cost Explorer, once.",
    )
    interval: Duration = Field(
        default=timedelta(hours=6),
        description="Time between two refreshes. AWS updates cost up to three times a day.",
    )
    cost_type: Literal["unblended", "blended", "amortized", "net_unblended", "net_amortized"] = Field(
        default="unblended",
        description="The cost type of the cost families; all five are stored, so switching is free.",
    )
    history_months: int = Field(
        default=13, ge=1, le=13, description="Whole months before the current one to read on the first start."
    )
    refresh: Literal["auto", "scan", "full"] = Field(
        default="auto",
        description="Re-read the whole restatable window (full), or find the days that moved and re-read"
        " those (scan); auto takes what needs fewer pages.",
    )
    compare_months: Duration | None = Field(
        default=timedelta(days=7),
        description="How often whole months are compared by account and service, to find those that AWS has"
        " changed since they were read; null: never.",
    )
    reread_days: Duration | None = Field(
        default=timedelta(days=90),
        description="Within which time each day older than last month is read again, a few days at a time;"
        " null: only where its month moved.",
    )
    billing_view_arn: str | None = Field(
        default=None,
        description="Ask a custom billing view, as a member account that the payer shared it with.",
    )
