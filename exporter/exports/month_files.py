"""The files of a folded month: names are settled, small resources summed, and Parquet written in one order."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.exports.charge_types import KNOWN_LINE_TYPES, record_type
from exporter.exports.fold_settings import FoldResult
from exporter.exports.line_columns import identifier, literal
from exporter.exports.line_sql import AMOUNTS
from exporter.exports.month_queries import (
    KEYS,
    OTHER,
    SERVICE_KEYS,
    SPLIT_AMOUNTS,
    columns,
    rank_cost,
    service_keys,
)
from exporter.exports.month_tables import MonthTables
from exporter.exports.service_names import TAX, service_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# What Cost Explorer answers where a charge has no such key.
_WITHOUT = {"region": "NoRegion", "usage_type": "NoUsageType", "operation": "NoOperation"}
_COMPRESSION = "FORMAT parquet, COMPRESSION zstd"


def write_month(tables: MonthTables, folder: Path) -> FoldResult:
    """Write what `tables` has to `folder`, on disk when this returns.

    The same lines give the same rows in the same order, however they lie in files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cost_types = tuple(name for name in AMOUNTS if name not in tables.unavailable)
    db = tables.db
    unknown_services = _name_services(db, tables)
    _name_charge_types(db)
    _rank(db, tables)
    queries = {"lines": _lines(tables, cost_types)}
    if tables.hourly and _count(db, "SELECT count(*) FROM hours"):
        queries["hours"] = _hours(cost_types)
    if _count(db, "SELECT count(*) FROM split"):
        queries["split"] = _split(tables)
    if _count(db, "SELECT count(*) FROM commitments") and {"amortized", "net_amortized"}.intersection(
        cost_types
    ):
        queries["commitments"] = _commitments(cost_types)
    rows = 0
    paths: dict[str, Path] = {}
    for name, query in queries.items():
        # Written where the database may write, which is not everywhere.
        inside, paths[name] = tables.folder / f"{name}.parquet", folder / f"{name}.parquet"
        written = _count(db, f"COPY ({query}) TO {literal(str(inside))} ({_COMPRESSION})")
        rows = written if name == "lines" else rows
        shutil.move(inside, paths[name])
        _sync(paths[name])
    _sync(folder)
    return FoldResult(
        rows=rows,
        lines=sum(tables.files.values()),
        files=dict(sorted(tables.files.items())),
        unknown_charge_types={
            name: found for name, found in sorted(tables.line_types.items()) if name not in KNOWN_LINE_TYPES
        },
        unknown_services=unknown_services,
        currencies=tuple(sorted(tables.currencies)),
        cost_types=cost_types,
        tags_seen=tuple(sorted(tables.keys_seen)),
        unknown_dimensions=tuple(
            name for name in (*KEYS[1:], *tables.named) if name not in {*tables.columns_seen, "line_type"}
        ),
        days=tables.days,
        hourly=tables.hourly,
        paths=paths,
    )


def _name_services(db: DuckDBPyConnection, tables: MonthTables) -> dict[str, int]:
    """Fill the table `services`; return the units of those that the shipped map does not have."""
    keys = service_keys("product_code", "usage_type", "line_type", "billing_entity")
    rows = db.execute(
        f"SELECT {columns(keys)}, sum(coalesce(unblended, net_unblended)) FROM lines GROUP BY ALL"
    ).fetchall()
    has_usage_type = "usage_type" in tables.columns_seen
    unknown: dict[str, int] = {}
    services: list[str] = []
    for code, usage_type, is_tax, entity, units in rows:
        product_name = tables.product_names.get(code, "")
        service, is_known = (
            (TAX, True)
            if is_tax
            else service_name(
                code or "", (usage_type or "") if has_usage_type else None, entity or "", product_name
            )
        )
        services.append(service)
        if not is_known:
            unknown[service] = unknown.get(service, 0) + int(units or 0)
    found = {name: [row[place] for row in rows] for place, name in enumerate(SERVICE_KEYS)}
    _fill(db, "services", {**found, "service": services})
    return dict(sorted(unknown.items()))


def _name_charge_types(db: DuckDBPyConnection) -> None:
    """Fill the table `charges`."""
    rows = db.execute("SELECT DISTINCT line_type, product_code FROM lines").fetchall()
    _fill(
        db,
        "charges",
        {
            "line_type": [line_type for line_type, _ in rows],
            "product_code": [code for _, code in rows],
            "charge_type": [record_type(line_type or "", code or "") for line_type, code in rows],
        },
    )


def _fill(db: DuckDBPyConnection, table: str, filled: dict[str, list[Any]]) -> None:
    kinds = {name: "BOOLEAN" if name == "is_tax" else "VARCHAR" for name in filled}
    values = ", ".join(f"unnest(CAST(? AS {kind}[])) AS {name}" for name, kind in kinds.items())
    db.execute(f"CREATE TEMP TABLE {table} AS SELECT {values}", list(filled.values()))


def _rank(db: DuckDBPyConnection, tables: MonthTables) -> None:
    """Fill the table `kept` with the resources that keep their id: those with the largest cost of each account."""
    cost = rank_cost(tables.unavailable)
    # Where the largest were chosen already, all that have an id keep it.
    most = "" if tables.is_ranked else f" WHERE place <= {tables.settings.resources}"
    db.execute(
        "CREATE TEMP TABLE kept AS SELECT account_id, resource FROM ("
        f"SELECT account_id, resource, row_number() OVER (PARTITION BY account_id ORDER BY abs(sum({cost})) DESC, resource)"
        " AS place FROM lines WHERE resource <> '' GROUP BY account_id, resource)" + most
    )


def _lines(tables: MonthTables, cost_types: tuple[str, ...]) -> str:
    keys = [
        "day", "coalesce(lines.account_id, '') AS account_id", "service", _key(tables, "region"),
        _key(tables, "usage_type"), _key(tables, "operation"), "charge_type", _key(tables, "billing_entity"),
    ]  # fmt: skip
    resource = (
        f"CASE WHEN coalesce(lines.resource, '') = '' THEN '' ELSE coalesce(kept.resource, '{OTHER}') END"
        if "resource" in tables.columns_seen
        else "CAST(NULL AS VARCHAR)"
    )
    keys += [f"{resource} AS resource", *(_key(tables, name) for name in tables.named)]
    made_of = [f"lines.{name}" for name in ("product_code", "usage_type", "line_type", "billing_entity")]
    return (
        f"SELECT {', '.join(keys)}, {_sums(cost_types)}, CAST(sum(lines.usage) AS DOUBLE) AS usage"
        f" FROM lines JOIN services ON {_same('services', service_keys(*made_of))}"
        f" JOIN charges ON {_same('charges', {name: f'lines.{name}' for name in ('line_type', 'product_code')})}"
        " LEFT JOIN kept ON lines.account_id = kept.account_id AND lines.resource = kept.resource"
        f" GROUP BY ALL ORDER BY {', '.join(str(place) for place in range(1, len(keys) + 1))}"
    )


def _same(table: str, expressions: Mapping[str, str]) -> str:
    return " AND ".join(
        f"{expression} IS NOT DISTINCT FROM {table}.{name}" for name, expression in expressions.items()
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


def _hours(cost_types: tuple[str, ...]) -> str:
    return (
        f"SELECT hour, coalesce(account_id, '') AS account_id, service, {_sums(cost_types)}"
        f" FROM hours JOIN services ON {_same('services', {name: f'hours.{name}' for name in SERVICE_KEYS})} GROUP BY ALL ORDER BY 1, 2, 3"
    )


def _split(tables: MonthTables) -> str:
    sums = ", ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in SPLIT_AMOUNTS)
    return (
        "WITH largest AS (SELECT account_id, pod FROM (SELECT account_id, pod, row_number() OVER"
        " (PARTITION BY account_id ORDER BY abs(sum(split_cost)) DESC, pod) AS place FROM split GROUP BY account_id, pod)"
        f" WHERE place <= {tables.settings.resources})"
        " SELECT day, split.account_id, cluster, namespace,"
        f" CASE WHEN coalesce(split.pod, '') = '' THEN '' ELSE coalesce(largest.pod, '{OTHER}') END AS pod, kind, {sums}"
        " FROM split LEFT JOIN largest ON split.account_id = largest.account_id AND split.pod = largest.pod"
        " GROUP BY ALL ORDER BY 1, 2, 3, 4, 5, 6"
    )


def _commitments(cost_types: tuple[str, ...]) -> str:
    listed = "CAST(sum(list_cost) AS BIGINT)" if "list_cost" in cost_types else "CAST(NULL AS BIGINT)"
    kind = "CASE WHEN line_type LIKE 'SavingsPlan%' THEN 'savings_plan' ELSE 'reservation' END"
    return (
        f"SELECT day, coalesce(account_id, '') AS account_id, arn, {kind} AS kind, CAST(sum(used) AS BIGINT) AS used,"
        f" CAST(sum(unused) AS BIGINT) AS unused, {listed} AS list_cost, coalesce(max(end_time), '') AS end_time"
        " FROM commitments GROUP BY ALL ORDER BY 1, 2, 3, 4"
    )


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
