"""Cost of the month to date by a key of Cost Explorer, where `collectors.cost_breakdowns` reads it."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

from pydantic import Field

from exporter.api.source import Endpoint, Source
from exporter.collectors.cost import COLLECTOR as COST
from exporter.core.fields import StrictModel
from exporter.core.moments import month_start
from exporter.core.money import to_usd, usd_text
from exporter.cube import month_to_date
from exporter.cube.dimensions import parse_dimension


class Query(StrictModel):
    """By what."""

    key: str = Field(description="region, charge_type, usage_type, tag:<key> or cost_category:<name>.")
    by_account: bool = Field(default=False, description="A row an account and value, instead of a value.")
    account_id: str | None = Field(default=None, description="Only this account.")


def answer(source: Source, query: Query) -> dict[str, Any]:
    """Rows with `usd` as text, most expensive first; an empty value is cost without that tag or category."""
    today = source.now.date()
    dimension = parse_dimension(query.key)
    read_at = month_to_date.read_at(source.ledger, dimension, today)
    if read_at is None:
        raise ValueError(
            f"by: {query.key} has not been read this month; enable collectors.cost_breakdowns and list it there"
            " (a month is first read at noon UTC of the 1st)"
        )
    cost_type = source.config.settings(COST).cost_type
    units = month_to_date.costs(source.ledger, dimension, today, cost_type)
    sums: defaultdict[tuple[str, ...], int] = defaultdict(int)
    for (account_id, value), amount in units.items():
        if query.account_id in (None, account_id):
            sums[(account_id, value) if query.by_account else (value,)] += amount
    rows = []
    for names, amount in sorted(sums.items(), key=lambda item: (-item[1], item[0])):
        row: dict[str, Any] = {"value": names[-1], "usd": usd_text(to_usd(amount))}
        if query.by_account:
            row = {"account_id": names[0], "account": source.account(names[0]), **row}
        rows.append(row)
    return {
        "key": query.key,
        "month": month_start(today).isoformat(),
        "cost_type": cost_type,
        "read_at": read_at.isoformat(),
        "total_usd": usd_text(sum((to_usd(amount) for amount in sums.values()), Decimal(0))),
        "rows": rows,
    }


ENDPOINT = Endpoint(
    name="breakdowns",
    help="Cost of the month to date by region, charge type and the like",
    query=Query,
    answer=answer,
)
