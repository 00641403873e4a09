"""Usage of a range of UTC days by metric, account, region or day, from the ledger."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import Any, Literal

from pydantic import Field, field_validator

from exporter.api.source import DayRange, Endpoint, Source
from exporter.ledger.daily_values import totals
from exporter.usage.counters import polled_at
from exporter.usage.metrics import USAGE_FAMILIES, USAGE_METRICS

_DEFAULT_DAYS = 7
_METRICS = tuple(family.name for family in USAGE_FAMILIES)
_STORED = {row.daily_family.name for row in USAGE_METRICS if row.dated and not row.is_counter}

Key = Literal["metric", "account", "region", "day"]


class Query(DayRange):
    """Which days, of what, and by what."""

    start: date | None = Field(default=None, description="First UTC day; 7 days before the last by default.")
    by: tuple[Key, ...] = Field(
        default=("metric", "account"), description="What the rows are of, the metric always among it."
    )
    metric: str | None = Field(default=None, description="Only this one, e.g. aws_lambda_invocations_daily.")
    account_id: str | None = Field(default=None, description="Only this account.")
    region: str | None = Field(default=None, description="Only this region.")

    @field_validator("metric")
    @classmethod
    def _exists(cls, metric: str | None) -> str | None:
        if metric is not None and metric not in _METRICS:
            raise ValueError(f"metric: one of {', '.join(_METRICS)}")
        return metric


def answer(source: Source, query: Query) -> dict[str, Any]:
    """Rows with `total`, `days`, whose totals are in it, and `mean`, that of a day; what is unknown is not there.

    `total` is None of what is stored, bytes or objects, on several days: the same would count on each of them.
    """
    asked = query.days(source.now, _DEFAULT_DAYS)
    start, end = asked[0], asked[-1]
    by: tuple[Key, ...] = query.by if "metric" in query.by else ("metric", *query.by)  # units do not mix
    sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
    days: defaultdict[tuple[str, ...], set[date]] = defaultdict(set)
    metrics = (query.metric,) if query.metric else _METRICS
    for day, metric, account_id, region, value in totals(
        source.ledger, start, end + timedelta(days=1), metrics
    ):
        if query.account_id in (None, account_id) and query.region in (None, region):
            parts = {"metric": metric, "account": account_id, "region": region, "day": day.isoformat()}
            key = tuple(parts[part] for part in by)
            sums[key] += value
            days[key].add(day)
    rows = []
    for values, total in sorted(sums.items()):
        row: dict[str, Any] = dict(zip(by, values, strict=True))
        if "account" in row:
            row["account_id"] = row.pop("account")
            row["account"] = source.account(row["account_id"])
        count = len(days[values])
        once = count == 1 or row["metric"] not in _STORED
        rows.append({**row, "total": total if once else None, "mean": total / count, "days": count})
    read_at = polled_at(source.ledger)
    return {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "read_at": read_at.isoformat() if read_at else None,
        "rows": rows,
    }


ENDPOINT = Endpoint(
    name="usage",
    help="Usage of a range of days by metric, account, region or day",
    query=Query,
    answer=answer,
)
