"""The accounts that are known, with what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from exporter.api.source import Endpoint, Source
from exporter.collectors.cost import COLLECTOR as COST
from exporter.core.fields import StrictModel
from exporter.core.moments import month_start
from exporter.cost.projection_view import project
from exporter.cost.refresh_plan import refreshed_at

_INFO = "aws_account_info"
_NOT_A_GROUP = ("account_id", "account", "state", "ou")

Money = TypeVar("Money", Decimal, float)


class Query(StrictModel):
    """All of them."""


def answer(source: Source, query: Query) -> dict[str, Any]:
    """A row an account, the most expensive of this month first.

    Dollars as text, None where a day of the period has not been read; `state` and `groups` are known
    while an exporter runs.
    """
    ledger = source.ledger
    today = source.now.date()
    tomorrow, yesterday = today + timedelta(days=1), today - timedelta(days=1)
    cost_type = source.config.settings(COST).cost_type
    periods = {
        "yesterday_usd": (yesterday, today),
        "month_to_date_usd": (month_start(today), tomorrow),
        "last_month_usd": (month_start(today, 1), month_start(today)),
    }
    read = {
        day
        for day, state in ledger.reads.day_states(month_start(today, 1), tomorrow).items()
        if state.read_at is not None
    }
    sums = {name: _by_account(ledger.cost.sums(*days, cost_type)) for name, days in periods.items()}
    # Today may be unread just after midnight; a period of which no day has been read is unknown.
    known = {
        name: bool(read & _days(start, end)) and _days(start, min(end, today)) <= read
        for name, (start, end) in periods.items()
    }
    projected = project(ledger, source.now, cost_type)
    projection = _by_account(projected.month) if projected else None
    ous = ledger.accounts.ous()
    info = {
        sample.values[0]: dict(zip(sample.family.labels, sample.values, strict=True))
        for sample in source.samples
        if sample.family.name == _INFO
    }
    ids = {account_id for by_account in sums.values() for account_id in by_account} | set(info)
    rows = []
    for account_id in ids:
        labels = info.get(account_id, {})
        row: dict[str, Any] = {
            "account_id": account_id,
            "account": source.account(account_id),
            "ou": labels.get("ou") or ous.get(account_id),
            "state": labels.get("state"),
            "groups": {name: value for name, value in labels.items() if name not in _NOT_A_GROUP and value},
        }
        for name, by_account in sums.items():
            row[name] = str(by_account.get(account_id, Decimal(0))) if known[name] else None
        row["projection_usd"] = f"{projection.get(account_id, 0):.2f}" if projection is not None else None
        rows.append(row)
    month = sums["month_to_date_usd"]
    rows.sort(key=lambda row: (-month.get(row["account_id"], Decimal(0)), row["account_id"]))
    read_at = refreshed_at(ledger, source.now)
    return {
        "cost_type": cost_type,
        "read_at": read_at.isoformat() if read_at else None,
        "rows": rows,
    }


def _by_account(costs: Mapping[tuple[str, str], Money]) -> dict[str, Money]:
    sums: dict[str, Money] = {}
    for (account_id, _), usd in costs.items():
        sums[account_id] = sums[account_id] + usd if account_id in sums else usd
    return sums


def _days(start: date, end: date) -> set[date]:
    return {start + timedelta(days=number) for number in range((end - start).days)}


ENDPOINT = Endpoint(
    name="accounts", help="Accounts with what they cost", query=Query, answer=answer, families=(_INFO,)
)
