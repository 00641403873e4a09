"""Cost Explorer asked as every collector of cost asks it: as the payer, of the configured billing view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Literal

from exporter.aws.clients import Deadline
from exporter.aws.cost_explorer import DailyCosts, daily_costs
from exporter.core.fields import CollectorSettings
from exporter.core.places import Target
from exporter.cost.settings import CostSettings
from exporter.declarations.context import Context


def ask_costs(
    ctx: Context[CollectorSettings],
    target: Target,
    start: date,
    end: date,
    group_by: Sequence[str | tuple[str, str]],
    *,
    granularity: Literal["DAILY", "MONTHLY"] = "DAILY",
    record_filter: Mapping[str, Any] | None = None,
    budget: str | None = None,
    deadline: Deadline | None,
) -> DailyCosts:
    """Cost over [start, end), see `daily_costs`; every page is a paid request.

    Once `deadline` has passed, no page is asked for any more, and those before it were paid for nothing.
    """
    return daily_costs(
        ctx.aws,
        ctx.accounts.get(target.account_id),
        start,
        end,
        group_by,
        granularity=granularity,
        partition=target.partition,
        record_filter=record_filter,
        billing_view_arn=ctx.sections.of(CostSettings).billing_view_arn,
        budget=budget,
        deadline=deadline,
    )
