"""Cost of a range of UTC days by any of the dimensions that are stored."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, field_validator

from exporter.api.refusals import explain, is_read
from exporter.api.source import DayRange, Endpoint, Source
from exporter.collectors.cost import COLLECTOR as COST
from exporter.core.money import to_usd, usd_text
from exporter.cost.refresh_plan import refreshed_at
from exporter.cube import answering
from exporter.cube.question import Answer, Question, parse_filter, parse_key, split_cost_type, split_keys

_DEFAULT_DAYS = 30
_KEYS = (
    "account, service, hour, day, month, region, usage_type, operation, charge_type, billing_entity, resource,"
    " tag:<key> or cost_category:<name>; of split cost cluster, namespace, pod or kind, with account, day and month only"
)


class Query(DayRange):
    """The range of days, the keys to group by, and the filters."""

    start: date | None = Field(default=None, description="First UTC day; 30 days before the last by default.")
    by: tuple[str, ...] = Field(
        default=("account", "service"),
        description=f"What to group by, also several together: {_KEYS}. Commas separate them, too."
        " With a filter of split cost the default is account.",
    )
    where: tuple[str, ...] = Field(
        default=(),
        description="Filters such as region=eu-west-1; any of those of one key has to match. `tag:team=` is untagged.",
    )
    account_id: str | None = Field(default=None, description="Only this account.")
    service: str | None = Field(default=None, description="Only this service, e.g. ec2.")
    cost_type: (
        Literal["unblended", "blended", "amortized", "net_unblended", "net_amortized", "list"] | None
    ) = Field(
        default=None,
        description="Another cost type than the configured one; list is usage at list prices. Split cost is amortized or"
        " net_amortized, by default as the configured one is gross or net.",
    )
    limit: int = Field(
        default=10_000, ge=1, le=100_000, description="Most rows, the most expensive; the rest is counted."
    )

    @field_validator("by")
    @classmethod
    def _parsed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = [parse_key(name) for part in value for name in part.split(",")]
        return tuple(dict.fromkeys(names))

    @field_validator("where")
    @classmethod
    def _are_filters(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            parse_filter(text)
        return value


def answer(source: Source, query: Query) -> dict[str, Any]:
    """Rows with `usd` as text, most expensive first; of split cost also with `unused_usd`, their part of what is idle.

    `missing_days` (by hour, also `missing_hours` of other days) have not been read, and the months of `not_available` have no such cost type or dimension: neither
    is in the sums. `total_usd` is None where no day is, and where nothing has a list price. `rows_left_out` are beyond the
    limit, and in the total. `usd_in_other` is cost of `other` that may match a filter. ValueError for what is not stored,
    with what to switch on.
    """
    days = query.days(source.now, _DEFAULT_DAYS)
    asked = _asked(source, query, days[0], date.fromordinal(days[-1].toordinal() + 1))
    found = answering.answer(source.ledger, asked)
    if found.cannot is not None and not (found.cannot.why == "unread" and is_read(source, asked)):
        raise ValueError(explain(source, asked, found.cannot))
    rows = sorted(_rows(source, asked, found), key=lambda item: (-item[0], str(item[1])))
    read_at = found.read_at or refreshed_at(source.ledger, source.now)
    left_out = [units for units, _ in rows[query.limit :]]
    is_known = bool(found.days) and (bool(rows) or asked.measure != "list_price")
    unused = sum(found.unused.values())
    return {
        "start": days[0].isoformat(),
        "end": days[-1].isoformat(),
        "cost_type": asked.cost_type,
        "by": list(asked.by),
        "read_at": read_at.isoformat() if read_at else None,
        "missing_days": [day.isoformat() for day in found.missing],
        "missing_hours": [f"{hour:%Y-%m-%dT%H:%MZ}" for hour in found.missing_hours],
        "not_available": [
            {"month": f"{gap.month:%Y-%m}", "missing": gap.missing}
            for gap in sorted(found.gaps, key=lambda gap: gap.month)
        ],
        "usd_in_other": _usd(found.in_other) if found.has_other else None,
        "total_usd": _usd(sum(units for units, _ in rows)) if is_known else None,
        "total_unused_usd": _usd(unused) if is_known and asked.measure == "split_cost" else None,
        "rows_left_out": len(left_out),
        "usd_left_out": _usd(sum(left_out)),
        "rows": [row for _, row in rows[: query.limit]],
    }


def _asked(source: Source, query: Query, start: date, end: date) -> Question:
    where = _where(source, query)
    by = query.by
    cost_type: str = source.config.settings(COST).cost_type
    if split_keys((*by, *where)):
        by = by if "by" in query.model_fields_set else ("account",)
        cost_type = split_cost_type(cost_type)
    return Question(start=start, end=end, by=by, where=where, cost_type=query.cost_type or cost_type)


def _where(source: Source, query: Query) -> dict[str, frozenset[str]]:
    """The filters by key; ValueError for an account or service that is not known."""
    found: dict[str, set[str]] = {}
    given = [parse_filter(text) for text in query.where]
    given += [("account", query.account_id)] if query.account_id is not None else []
    given += [("service", query.service)] if query.service is not None else []
    for name, value in given:
        if name == "service":
            value = source.service(value) or value
        elif name == "account" and not source.has_account(value):
            raise ValueError(f"account: found {value!r}, expected the id of an account that is known")
        found.setdefault(name, set()).add(value)
    return {name: frozenset(values) for name, values in found.items()}


def _rows(source: Source, asked: Question, found: Answer) -> Iterable[tuple[int, dict[str, Any]]]:
    for values, units in found.costs.items():
        row: dict[str, Any] = dict(zip(asked.by, values, strict=True))
        if "account" in row:
            row["account_id"] = row.pop("account")
            row["account"] = source.account(row["account_id"])
        row["usd"] = _usd(units)
        if asked.measure == "split_cost":
            row["unused_usd"] = _usd(found.unused[values])
        yield units, row


def _usd(units: int) -> str:
    return usd_text(to_usd(units) if units else Decimal(0))


ENDPOINT = Endpoint(
    name="costs",
    help="Cost of a range of days by account, service, day, region, usage type, tag and the like",
    query=Query,
    answer=answer,
)
