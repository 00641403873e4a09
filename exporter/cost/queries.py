"""Cost Explorer asked as every collector of cost asks it: as the payer, of the configured billing view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from exporter.aws.clients import Deadline
from exporter.aws.cost_explorer import DailyCosts, Granularity, daily_costs
from exporter.aws.errors import AwsError, Kind
from exporter.core.fields import CollectorSettings
from exporter.core.moments import days_between, month_start
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
    granularity: Granularity = "DAILY",
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


def answered_days(start: date, end: date, estimated: Mapping[date, bool], today: date) -> dict[date, bool]:
    """The days of [start, end), which were asked for by day, with their Estimated flag.

    Cost Explorer answers for every day, with or without cost. Before the organisation's first
    bill it may not: such days of the past months count as empty. Any other gap is an AwsError.
    """
    asked = list(days_between(start, end))
    first = min(estimated, default=end)
    for day in asked:
        if day not in estimated and not day < min(first, month_start(today, 1)):
            raise AwsError(Kind.MALFORMED_RESPONSE, f"Cost Explorer's answer lacks {day}")
    return {day: estimated.get(day, False) for day in asked}
