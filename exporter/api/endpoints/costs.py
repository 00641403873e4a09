"""Cost of a range of UTC days by account, service or day, from the ledger."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field

from exporter.api.source import DayRange, Endpoint, Source
from exporter.collectors.cost import COLLECTOR as COST
from exporter.core.money import to_usd, usd_text
from exporter.cost.refresh_plan import refreshed_at

_DEFAULT_DAYS = 30

Key = Literal["account", "service", "day"]


class Query(DayRange):
    """Which days, and by what."""

    start: date | None = Field(default=None, description="First UTC day; 30 days before the last by default.")
    by: tuple[Key, ...] = Field(default=("account", "service"), description="What the rows are of.")
    account_id: str | None = Field(default=None, description="Only this account.")
    service: str | None = Field(default=None, description="Only this service, e.g. ec2.")
    cost_type: Literal["unblended", "blended", "amortized", "net_unblended", "net_amortized"] | None = Field(
        default=None, description="Another cost type than the configured one."
    )


def answer(source: Source, query: Query) -> dict[str, Any]:
    """Rows with `usd` as text, most expensive first; `missing_days` have not been read and are not in the sums.

    `total_usd` is None where no day has been read.
    """
    ledger = source.ledger
    cost_type = query.cost_type or source.config.settings(COST).cost_type
    wanted = source.service(query.service)
    days = query.days(source.now, _DEFAULT_DAYS)
    start, end = days[0], days[-1]
    states = ledger.reads.day_states(start, end + timedelta(days=1))
    missing = [day for day in days if day not in states or states[day].read_at is None]
    series = ledger.cost.series()
    sums: defaultdict[tuple[str, ...], int] = defaultdict(int)
    for day in days:
        for number, units in ledger.cost.day_units(day, cost_type):
            account_id, service = series[number]
            if query.account_id in (None, account_id) and wanted in (None, service):
                key = {"account": account_id, "service": service, "day": day.isoformat()}
                sums[tuple(key[part] for part in query.by)] += units
    rows = []
    for values, units in sums.items():
        row: dict[str, Any] = dict(zip(query.by, values, strict=True))
        if "account" in row:
            row["account_id"] = row.pop("account")
            row["account"] = source.account(row["account_id"])
        rows.append((units, {**row, "usd": usd_text(to_usd(units))}))
    rows.sort(key=lambda item: (-item[0], str(item[1])))
    read_at = refreshed_at(ledger, source.now)
    return {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "cost_type": cost_type,
        "read_at": read_at.isoformat() if read_at else None,
        "missing_days": [day.isoformat() for day in missing],
        "total_usd": usd_text(sum((to_usd(units) for units, _ in rows), Decimal(0)))
        if missing != days
        else None,
        "rows": [row for _, row in rows],
    }


ENDPOINT = Endpoint(
    name="costs", help="Cost of a range of days by account, service or day", query=Query, answer=answer
)
