"""Usage of a range of UTC days by metric, account, region or day, from the ledger."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from exporter.api import Endpoint, Source
from exporter.dated import DATED_FAMILIES, OU_INFO, totals
from exporter.fields import StrictModel
from exporter.usage_ledger import polled_at

_DEFAULT_DAYS = 7
_METRICS = tuple(family.name for family in DATED_FAMILIES if family is not OU_INFO)

Key = Literal["metric", "account", "region", "day"]


class Query(StrictModel):
    """Which days, of what, and by what."""

    start: date | None = Field(default=None, description="First UTC day; 7 days before the last by default.")
    end: date | None = Field(default=None, description="Last UTC day, included; yesterday by default.")
    by: tuple[Key, ...] = Field(
        default=("metric", "account"), description="What the rows are of, the metric always among it."
    )
    metric: str | None = Field(default=None, description="Only this one, e.g. aws_lambda_invocations_daily.")
    account_id: str | None = Field(default=None, description="Only this account.")
    region: str | None = Field(default=None, description="Only this region.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start and self.end and self.start > self.end:
            raise ValueError("start: a day that is not after end")
        if self.metric is not None and self.metric not in _METRICS:
            raise ValueError(f"metric: one of {', '.join(_METRICS)}")
        return self


def answer(source: Source, query: Query) -> dict[str, Any]:
    """Rows with `total` and `days`, the days whose totals are in it; what is unknown is not zero, it is not there.

    A total of stored bytes or objects adds up days: divided by `days` of one account and region it is their mean.
    """
    end = query.end or source.now.date() - timedelta(days=1)
    start = query.start or end - timedelta(days=_DEFAULT_DAYS - 1)
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
        rows.append({**row, "total": total, "days": len(days[values])})
    read_at = polled_at(source.ledger)
    return {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "read_at": read_at.isoformat() if read_at else None,
        "rows": rows,
    }


ENDPOINT = Endpoint("usage", "Usage of a range of days by metric, account, region or day", Query, answer)
