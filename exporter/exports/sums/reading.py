"""Sums of a month's Parquet files, taken once when the month is committed: neither a view nor a scrape opens them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.aws.cost_explorer import USAGE_RECORD_TYPES
from exporter.core.moments import days_between, month_start
from exporter.cube.dimensions import MARKETPLACE, OTHER, WITHOUT
from exporter.exports.fold_settings import FoldResult
from exporter.exports.sums.tables import (
    WHOLE_MONTH,
    CommitmentDay,
    ListCost,
    MonthSums,
    ResourceCost,
    SplitCost,
    end_of_term,
    forget_before,
    replace_month,
)
from exporter.ledger.file import Ledger

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_KEPT = 5_000
"""Resources, namespaces and commitments that are kept of a day and of a month, those of the largest cost."""
_NEWEST_DAYS = 5  # the newest complete day is one of them: it is booked within 36 hours of its end
_MONTHS = 2  # before the current one: on the 1st, the newest complete month is the one before the last
_MONTHS_OF_COMMITMENTS = 13
_DAY = timedelta(days=1)
_MOMENT = timedelta(microseconds=1)


def commit_sums(
    ledger: Ledger, db: DuckDBPyConnection, month: date, result: FoldResult, last: date, now: datetime
) -> None:
    """Keep what is served of a month whose newest day is `last`; to be called within the transaction of its commit."""
    today = now.date()
    oldest = month_start(today, _MONTHS)
    reader = _Reader(db, month, last, result)
    sums = (
        MonthSums(
            resources=reader.resources(),
            splits=reader.splits(),
            list_costs=reader.list_costs(),
            commitments=reader.commitments(),
        )
        if month >= oldest
        else MonthSums(commitments=reader.commitments())
    )
    replace_month(ledger, month, sums)
    forget_before(ledger, oldest, month_start(today, _MONTHS_OF_COMMITMENTS))


class _Reader:
    """Sums of one month; amortized cost, net of discounts where the export has no other (FOCUS)."""

    def __init__(self, db: DuckDBPyConnection, month: date, last: date, result: FoldResult) -> None:
        self._db = db
        self._last = last
        self._paths: Mapping[str, Path] = result.paths
        self._unknown = frozenset(result.unknown_dimensions)
        self._has_list = "list_cost" in result.cost_types
        self._amount = next(
            (name for name in ("amortized", "net_amortized") if name in result.cost_types), None
        )
        newest = days_between(max(month, last - (_NEWEST_DAYS - 1) * _DAY), last + _DAY)
        self._periods = (
            *((day.toordinal(), day, day) for day in newest),
            (WHOLE_MONTH, month, last),
        )

    def resources(self) -> Iterator[ResourceCost]:
        """The largest of each period; what remains of each account is `other`."""
        if self._amount is None or "resource" in self._unknown:
            return
        region = "''" if "region" in self._unknown else "region"
        named = f"resource NOT IN ('{WITHOUT}', '{OTHER}')"
        query = (
            "WITH parts AS ("  # noqa: S608 # names of columns
            f"SELECT account_id, resource, service, {region} AS region, sum({self._amount}) AS units"
            " FROM read_parquet($path) WHERE day BETWEEN $first AND $last GROUP BY ALL),"
            " sums AS (SELECT account_id, resource, first(service ORDER BY abs(units) DESC, service, region) AS service,"
            " first(region ORDER BY abs(units) DESC, service, region) AS region, sum(units) AS units FROM parts GROUP BY ALL),"
            f" ranked AS (SELECT *, {named} AND row_number() OVER (ORDER BY {named} DESC, abs(units) DESC, account_id, resource)"
            " <= $most AS is_kept FROM sums WHERE units <> 0)"
            f" SELECT account_id, CASE WHEN is_kept OR resource = '{WITHOUT}' THEN resource ELSE '{OTHER}' END AS kept,"
            " CASE WHEN is_kept THEN service ELSE '' END, CASE WHEN is_kept THEN region ELSE '' END, sum(units)"
            " FROM ranked GROUP BY ALL"
        )
        for day, first, last in self._periods:
            given = {"path": str(self._paths["lines"]), "first": first, "last": last, "most": MOST_KEPT}
            for account_id, resource, service, of_region, units in self._db.execute(query, given).fetchall():
                yield ResourceCost(
                    day=day,
                    account_id=account_id,
                    resource=resource,
                    service=service,
                    region=of_region,
                    units=int(units),
                )

    def splits(self) -> Iterator[SplitCost]:
        """The largest namespaces of each period; what remains of each account and kind is `other`."""
        path = self._paths.get("split")
        if path is None:
            return
        query = (
            "WITH sums AS (SELECT account_id, kind, coalesce(cluster, '') AS cluster, coalesce(namespace, '') AS namespace,"  # noqa: S608
            " sum(split_cost) AS units, sum(unused_cost) AS unused FROM read_parquet($path)"
            " WHERE day BETWEEN $first AND $last GROUP BY ALL),"
            " ranked AS (SELECT *, row_number() OVER (ORDER BY abs(units + unused) DESC, account_id, kind, cluster, namespace)"
            " <= $most AS is_kept FROM sums WHERE units <> 0 OR unused <> 0)"
            f" SELECT account_id, kind, CASE WHEN is_kept THEN cluster ELSE '{OTHER}' END AS c,"
            f" CASE WHEN is_kept THEN namespace ELSE '{OTHER}' END AS n, sum(units), sum(unused) FROM ranked GROUP BY ALL"
        )
        for day, first, last in self._periods:
            given = {"path": str(path), "first": first, "last": last, "most": MOST_KEPT}
            for account_id, kind, cluster, namespace, units, unused in self._db.execute(
                query, given
            ).fetchall():
                yield SplitCost(
                    day=day,
                    account_id=account_id or "",
                    kind=kind,
                    cluster=cluster,
                    namespace=namespace,
                    units=int(units),
                    unused=int(unused),
                )

    def list_costs(self) -> Iterator[ListCost]:
        """Usage of AWS's services in the month: software of AWS Marketplace has no list price."""
        if self._amount is None or not self._has_list:
            return
        marketplace = (
            ""
            if "billing_entity" in self._unknown
            else f" AND billing_entity IS DISTINCT FROM '{MARKETPLACE}'"
        )
        _, first, last = self._periods[-1]
        rows = self._db.execute(
            f"SELECT account_id, sum({self._amount}), sum(list_cost) FROM read_parquet($path)"  # noqa: S608 # names of columns
            f" WHERE list_contains($usage, charge_type) AND day BETWEEN $first AND $last{marketplace} GROUP BY ALL",
            {
                "path": str(self._paths["lines"]),
                "first": first,
                "last": last,
                "usage": list(USAGE_RECORD_TYPES),
            },
        ).fetchall()
        for account_id, units, list_units in rows:
            yield ListCost(account_id=account_id, units=int(units), list_units=int(list_units))

    def commitments(self) -> Iterator[CommitmentDay]:
        """Each commitment by day; what reservations leave unused is spread over the days that its fee is of.

        AWS writes one fee of a reservation and month, at the month's first day, and adds to what is unused of it day by day.
        """
        path = self._paths.get("commitments")
        if path is None:
            return
        rows = self._db.execute(
            "WITH largest AS (SELECT arn FROM read_parquet($path) GROUP BY arn"
            " ORDER BY sum(used + unused) DESC, arn LIMIT $most)"
            " SELECT day, arn, max(kind), sum(used), sum(unused), max(end_time) FROM read_parquet($path)"
            " WHERE arn IN (SELECT arn FROM largest) GROUP BY day, arn ORDER BY arn, day",
            {"path": str(path), "most": MOST_KEPT},
        ).fetchall()
        used: dict[tuple[str, date], int] = {}
        unused: dict[tuple[str, date], int] = {}
        told: dict[str, tuple[str, str]] = {}
        for day, arn, kind, of_used, of_unused, end_time in rows:
            told[arn] = kind, max(told.get(arn, ("", ""))[1], end_time or "")
            used[arn, day] = used.get((arn, day), 0) + int(of_used or 0)
            spread = _spread(day, self._last, end_time or "") if kind == "reservation" else [day]
            for position, each in enumerate(spread):
                part = _part(int(of_unused or 0), position, len(spread))
                unused[arn, each] = unused.get((arn, each), 0) + part
        for arn, day in sorted(used.keys() | unused.keys()):
            kind, end_time = told[arn]
            yield CommitmentDay(
                day=day.toordinal(),
                arn=arn,
                kind=kind,
                used=used.get((arn, day), 0),
                unused=unused.get((arn, day), 0),
                end_time=end_time,
            )


def _spread(first: date, last: date, end_time: str) -> list[date]:
    """The days from `first` to `last` on which a reservation was in effect, at least the first."""
    end = end_of_term(end_time)
    if end is not None:
        last = min(last, (end - _MOMENT).date())
    return list(days_between(first, last + _DAY)) or [first]


def _part(units: int, position: int, parts: int) -> int:
    """A part of an amount, so that all of them are exactly the whole."""
    return units * (position + 1) // parts - units * position // parts
