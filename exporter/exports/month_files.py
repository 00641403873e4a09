"""The files of a folded month: names are settled, small resources summed, and Parquet written in one order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.exports.charge_types import KNOWN_LINE_TYPES, record_type
from exporter.exports.fold_settings import FoldResult
from exporter.exports.line_file import identifier, literal
from exporter.exports.line_sql import AMOUNTS
from exporter.exports.month_tables import KEYS, NAMED, SPLIT_AMOUNTS, MonthTables
from exporter.exports.service_names import service_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# What Cost Explorer answers where a charge has no such key.
_WITHOUT = {"region": "NoRegion", "usage_type": "NoUsageType", "operation": "NoOperation"}
_OTHER = "other"
_COMPRESSION = "FORMAT parquet, COMPRESSION zstd"


def write_month(tables: MonthTables, folder: Path) -> FoldResult:
    """Write what `tables` has to `folder`, on disk when this returns; the same lines give the same bytes in any order."""
    folder.mkdir(parents=True, exist_ok=True)
    cost_types = tuple(name for name in AMOUNTS if name not in tables.unavailable)
    paths: dict[str, Path] = {}
    with tables.connect(folders=[folder]) as db:
        unknown_services = _name(db, tables)
        _rank(db, tables)
        _write(db, folder, paths, "lines", _lines(tables, cost_types))
        rows = _count(db, f"SELECT count(*) FROM read_parquet({literal(str(paths['lines']))})")  # quoted
        if tables.hourly and _count(db, "SELECT count(*) FROM hours"):
            _write(db, folder, paths, "hours", _hours(tables, cost_types))
        if _count(db, "SELECT count(*) FROM split"):
            _write(db, folder, paths, "split", _split(tables))
        if _count(db, "SELECT count(*) FROM commitments"):
            _write(db, folder, paths, "commitments", _commitments(cost_types))
    _sync(folder)
    return FoldResult(
        rows=rows,
        lines=sum(tables.files.values()),
        files=dict(sorted(tables.files.items())),
        unknown_charge_types={
            name: found for name, found in sorted(tables.line_types.items()) if name not in KNOWN_LINE_TYPES
        },
        unknown_services=unknown_services,
        currencies=("USD",),
        cost_types=cost_types,
        tags_seen=tuple(sorted(tables.keys_seen)),
        unknown_dimensions=tuple(
            name for name in (*KEYS[1:], *tables.named) if name not in {*tables.columns_seen, "line_type"}
        ),
        days=tables.days,
        hourly=tables.hourly,
        paths=paths,
    )


def _name(db: DuckDBPyConnection, tables: MonthTables) -> dict[str, int]:
    """Fill the table `names` with service and charge type; return the units of services that the map does not have."""
    columns = ", ".join(NAMED)
    rows = db.execute(
        f"SELECT {columns}, sum(coalesce(unblended, net_unblended)) FROM lines GROUP BY ALL"  # known columns
    ).fetchall()
    has_usage_type = "usage_type" in tables.columns_seen
    unknown: dict[str, int] = {}
    services: list[str] = []
    charge_types: list[str] = []
    for code, usage_type, line_type, entity, units in rows:
        service, is_known = service_name(
            code or "",
            (usage_type or "") if has_usage_type else None,
            line_type or "",
            entity or "",
            tables.product_names.get(code, ""),
        )
        services.append(service)
        charge_types.append(record_type(line_type or "", code or ""))
        if not is_known:
            unknown[service] = unknown.get(service, 0) + int(units or 0)
    by_column = [list(column) for column in zip(*(row[:-1] for row in rows), strict=True)] or [
        [] for _ in NAMED
    ]
    db.execute(
        f"CREATE TEMP TABLE names ({columns.replace(',', ' VARCHAR,')} VARCHAR, service VARCHAR, charge_type VARCHAR)"
    )
    marks = ", ".join("unnest(CAST(? AS VARCHAR[]))" for _ in (*NAMED, "service", "charge_type"))
    db.execute(f"INSERT INTO names SELECT {marks}", [*by_column, services, charge_types])  # question marks
    return dict(sorted(unknown.items()))


def _rank(db: DuckDBPyConnection, tables: MonthTables) -> None:
    """Fill the table `kept` with the resources that keep their id: those with the largest cost of each account."""
    cost = (
        "coalesce(amortized, net_amortized, unblended)"
        if "amortized" not in tables.unavailable
        else ("coalesce(unblended, net_unblended)")
    )
    db.execute(
        "CREATE TEMP TABLE kept AS SELECT account_id, resource FROM ("
        f"SELECT account_id, resource, row_number() OVER (PARTITION BY account_id ORDER BY abs(sum({cost})) DESC, resource)"  # known columns
        " AS place FROM lines WHERE resource <> '' GROUP BY account_id, resource)"
        f" WHERE place <= {tables.settings.resources}"
    )


def _lines(tables: MonthTables, cost_types: tuple[str, ...]) -> str:
    keys = [
        "day", "coalesce(lines.account_id, '') AS account_id", "service", _key(tables, "region"),
        _key(tables, "usage_type"), _key(tables, "operation"), "charge_type", _key(tables, "billing_entity"),
    ]  # fmt: skip
    resource = (
        f"CASE WHEN coalesce(lines.resource, '') = '' THEN '' ELSE coalesce(kept.resource, '{_OTHER}') END"
        if "resource" in tables.columns_seen
        else "CAST(NULL AS VARCHAR)"
    )
    keys += [f"{resource} AS resource", *(_key(tables, name) for name in tables.named)]
    joined = " AND ".join(f"lines.{name} IS NOT DISTINCT FROM names.{name}" for name in NAMED)
    return (
        f"SELECT {', '.join(keys)}, {_sums(cost_types)}, CAST(sum(lines.usage) AS DOUBLE) AS usage"  # known columns
        f" FROM lines JOIN names ON {joined}"
        " LEFT JOIN kept ON lines.account_id = kept.account_id AND lines.resource = kept.resource"
        f" GROUP BY ALL ORDER BY {', '.join(str(place) for place in range(1, len(keys) + 1))}"
    )


def _key(tables: MonthTables, name: str) -> str:
    """A column of keys: what is empty on a line has no key, what no file has is unknown."""
    column = identifier(name)
    if name not in tables.columns_seen:
        return f"CAST(NULL AS VARCHAR) AS {column}"
    return f"coalesce(nullif(lines.{column}, ''), {literal(_WITHOUT.get(name, ''))}) AS {column}"


def _sums(cost_types: tuple[str, ...]) -> str:
    return ", ".join(
        f"CAST(sum({name}) AS BIGINT) AS {name}" if name in cost_types else f"CAST(NULL AS BIGINT) AS {name}"
        for name in AMOUNTS
    )


def _hours(tables: MonthTables, cost_types: tuple[str, ...]) -> str:
    joined = " AND ".join(f"hours.{name} IS NOT DISTINCT FROM names.{name}" for name in NAMED)
    return (
        f"SELECT hour, coalesce(account_id, '') AS account_id, service, {_sums(cost_types)}"  # known columns
        f" FROM hours JOIN names ON {joined} GROUP BY ALL ORDER BY 1, 2, 3"
    )


def _split(tables: MonthTables) -> str:
    sums = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in SPLIT_AMOUNTS)
    return (
        "WITH largest AS (SELECT account_id, pod FROM (SELECT account_id, pod, row_number() OVER"  # known columns
        " (PARTITION BY account_id ORDER BY abs(sum(split_cost)) DESC, pod) AS place FROM split GROUP BY account_id, pod)"
        f" WHERE place <= {tables.settings.resources})"
        " SELECT day, split.account_id, cluster, namespace,"
        f" CASE WHEN coalesce(split.pod, '') = '' THEN '' ELSE coalesce(largest.pod, '{_OTHER}') END AS pod, kind, {sums}"
        " FROM split LEFT JOIN largest ON split.account_id = largest.account_id AND split.pod = largest.pod"
        " GROUP BY ALL ORDER BY 1, 2, 3, 4, 5, 6"
    )


def _commitments(cost_types: tuple[str, ...]) -> str:
    listed = "CAST(sum(list_cost) AS BIGINT)" if "list_cost" in cost_types else "CAST(NULL AS BIGINT)"
    kind = "CASE WHEN line_type LIKE 'SavingsPlan%' THEN 'savings_plan' ELSE 'reservation' END"
    return (
        f"SELECT day, coalesce(account_id, '') AS account_id, arn, {kind} AS kind, CAST(sum(used) AS BIGINT) AS used,"  # known columns
        f" CAST(sum(unused) AS BIGINT) AS unused, {listed} AS list_cost, coalesce(max(end_time), '') AS end_time"
        " FROM commitments GROUP BY ALL ORDER BY 1, 2, 3, 4"
    )


def _write(db: DuckDBPyConnection, folder: Path, paths: dict[str, Path], name: str, query: str) -> None:
    path = folder / f"{name}.parquet"
    db.execute(f"COPY ({query}) TO {literal(str(path))} ({_COMPRESSION})")
    _sync(path)
    paths[name] = path


def _count(db: DuckDBPyConnection, query: str) -> int:
    row = db.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
