"""The queries that fold lines into the tables of a month: the same for DuckDB over one file and for Athena over a month.

Columns are grouped by their position: Athena has neither GROUP BY ALL nor aliases there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from exporter.exports.fold_settings import FoldSettings
from exporter.exports.line_columns import LineColumns, identifier, literal
from exporter.exports.line_sql import AMOUNTS, LineSql
from exporter.exports.service_names import split_codes

KEYS = ("product_code", "region", "usage_type", "operation", "line_type", "billing_entity", "resource")
"""Columns of text in the table of lines, beside the account and the configured tag keys and cost categories."""
SERVICE_KEYS = ("product_code", "split_usage_type", "is_tax", "billing_entity")
"""What decides a line's service; the usage type is NULL where the product is the same service for each usage type."""
SPLIT_KEYS = ("cluster", "namespace", "pod", "kind")
SPLIT_AMOUNTS = ("split_cost", "unused_cost", "net_split_cost", "net_unused_cost")
COVERED = ("SavingsPlanCoveredUsage", "DiscountedUsage")
COMMITTED = ("SavingsPlanRecurringFee", "RIFee")
OTHER = "other"
"""The key of all resources that do not keep theirs."""


@dataclass(frozen=True, slots=True)
class MonthQueries:
    """SELECT statements over the lines of `source`, whose columns are those of the tables of the same names."""

    settings: FoldSettings
    source: LineColumns
    sql: LineSql

    def look(self, *, names: bool) -> str:
        """What is there: a row for each line type, currency and product, with the product's name if `names`."""
        sql = self.sql
        cost = f"coalesce({sql.amounts['unblended']}, {sql.amounts['net_unblended']})"
        name = f", max({sql.product_name}) AS product_name" if names else ""
        return (
            f"SELECT {sql.line_type} AS line_type, {sql.currency} AS currency, {sql.product_code} AS product_code,"
            f" count(*) AS lines, count({sql.start}) AS dated, {_sum(cost)} AS cost, min({sql.start}) AS first_start,"
            f" max({sql.start}) AS last_start, max(hour({sql.start})) AS last_hour, min({sql.period_start}) AS first_period,"
            f" max({sql.period_start}) AS last_period, bool_or({sql.split}) AS is_split{name}"
            f" FROM {self.source.relation} GROUP BY 1, 2, 3"
        )

    def lines(self, named: Mapping[str, str]) -> str:
        """Cost and usage by every key; `named` is the SQL of the configured tag keys and cost categories, by column."""
        keys = {
            "day": self._day(),
            "account_id": self.sql.account_id,
            **{name: getattr(self.sql, name) for name in KEYS},
            **named,
        }
        return (
            f"SELECT {columns(keys)}, {self._sums()}, sum({self.sql.usage}) AS usage FROM {self.source.relation}"
            f" WHERE NOT ({self.sql.split}) {_group_by(len(keys))}"
        )

    def hours(self) -> str | None:
        """Cost by hour; None where the month has none that are kept."""
        first, sql = self.settings.hours_from, self.sql
        if first is None or first > self.settings.last_day:
            return None
        keys = {
            "hour": f"date_trunc('hour', {sql.start})",
            "account_id": sql.account_id,
            **service_keys(sql.product_code, sql.usage_type, sql.line_type, sql.billing_entity),
        }
        return (
            f"SELECT {columns(keys)}, {self._sums()} FROM {self.source.relation}"
            f" WHERE NOT ({sql.split}) AND {sql.start} >= TIMESTAMP '{first} 00:00:00' {_group_by(len(keys))}"
        )

    def commitments(self) -> str:
        """What Savings Plans and reservations covered, and what of them was not used."""
        sql = self.sql
        amortized, listed = (
            f"coalesce({sql.amounts['amortized']}, {sql.amounts['net_amortized']})",
            sql.amounts["list_cost"],
        )
        covered, committed = f"{sql.line_type} IN {_list(COVERED)}", f"{sql.line_type} IN {_list(COMMITTED)}"
        keys = {
            "day": self._day(),
            "account_id": sql.account_id,
            "arn": sql.arn,
            "line_type": sql.line_type,
        }
        return (
            f"SELECT {columns(keys)}, {_sum(f'CASE WHEN {covered} THEN {amortized} ELSE 0 END')} AS used,"
            f" {_sum(f'CASE WHEN {committed} THEN {amortized} ELSE 0 END')} AS unused,"
            f" {_sum(f'CASE WHEN {covered} THEN {listed} ELSE 0 END')} AS list_cost,"
            f" max({sql.end_time}) AS end_time FROM {self.source.relation}"
            f" WHERE ({covered} OR {committed}) AND coalesce({sql.arn}, '') <> '' {_group_by(len(keys))}"
        )

    def split(self) -> str | None:
        """What of EC2's cost the pods and tasks on it used; None where the format does not have it."""
        if not self.sql.splits:
            return None
        keys = {
            "day": self._day(),
            "account_id": self.sql.account_id,
            **{name: self.sql.splits[name] for name in SPLIT_KEYS},
        }
        sums = ", ".join(f"{_sum(self.sql.splits[name])} AS {name}" for name in SPLIT_AMOUNTS)
        return f"SELECT {columns(keys)}, {sums} FROM {self.source.relation} WHERE {self.sql.split} {_group_by(len(keys))}"

    def _day(self) -> str:
        """The day of a line; what is charged in this month's bill is cost of this month, whenever its usage began."""
        first, last = self.settings.month, self.settings.last_day
        return f"greatest(least(CAST({self.sql.start} AS DATE), DATE '{last}'), DATE '{first}')"

    def _sums(self) -> str:
        return ", ".join(f"{_sum(self.sql.amounts[name])} AS {name}" for name in AMOUNTS)


def largest(lines: str, named: Sequence[str], cost: str, most: int) -> str:
    """Rows of `MonthQueries.lines`, with the `most` resources of each account that cost most, and `other`.

    The lines are read once. `cost` is that by which they are ranked, as `rank_cost` has it.
    """
    keys = ["day", "account_id", *(identifier(name) for name in (*KEYS, *named))]
    resource = identifier("resource")
    none = f"coalesce({resource}, '') = ''"
    chosen = [
        f"CASE WHEN {none} OR place <= {most} THEN {resource} ELSE {literal(OTHER)} END AS {key}"
        if key == resource
        else key
        for key in keys
    ]
    sums = ", ".join(f"{_sum(name)} AS {name}" for name in AMOUNTS)
    totals = (
        f"SELECT {', '.join([*keys, *AMOUNTS, 'usage'])}, sum({cost}) OVER (PARTITION BY account_id, {resource}) AS total"
        f" FROM ({lines})"
    )
    places = (
        f"SELECT {', '.join([*keys, *AMOUNTS, 'usage'])}, dense_rank() OVER"
        f" (PARTITION BY account_id, {none} ORDER BY abs(total) DESC, {resource}) AS place FROM ({totals})"
    )
    return f"SELECT {', '.join(chosen)}, {sums}, sum(usage) AS usage FROM ({places}) {_group_by(len(keys))}"


def rank_cost(unavailable: Collection[str]) -> str:
    """The column of the cost that decides which resources keep their id: one that is available."""
    by_preference = ("amortized", "net_amortized", "unblended", "net_unblended")
    return next(name for name in by_preference if name not in unavailable)


def service_keys(product_code: str, usage_type: str, line_type: str, billing_entity: str) -> dict[str, str]:
    """SQL of what decides a line's service, by SERVICE_KEYS, from SQL of what it is made of."""
    codes = ", ".join(map(literal, sorted(split_codes())))
    return {
        "product_code": product_code,
        "split_usage_type": f"CASE WHEN {product_code} IN ({codes}) THEN {usage_type} END",
        "is_tax": f"coalesce({line_type} = 'Tax', FALSE)",
        "billing_entity": billing_entity,
    }


def columns(expressions: Mapping[str, str]) -> str:
    """A list of SQL for SELECT."""
    return ", ".join(f"{expression} AS {identifier(name)}" for name, expression in expressions.items())


def _sum(expression: str) -> str:
    # DuckDB's sum of BIGINT is wider, and no type that a file has.
    return f"CAST(sum({expression}) AS BIGINT)"


def _group_by(count: int) -> str:
    return f"GROUP BY {', '.join(str(place) for place in range(1, count + 1))}"


def _list(names: Sequence[str]) -> str:
    return f"({', '.join(map(literal, names))})"
