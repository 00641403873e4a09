"""Writes the lines of a month into files, by DuckDB."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simulated_aws.cost_truth import CostTruth, next_month
from simulated_aws.exports.definition import CSV, LEGACY, Export
from simulated_aws.exports.lines import (
    AMOUNTS,
    DISCOUNTS,
    Describer,
    LineKeys,
    Lines,
    day_lines,
    line_type,
    pod_lines,
)
from simulated_aws.exports.pods import COSTS
from simulated_aws.exports.tables import CUR_2
from simulated_aws.organization import Organization

if TYPE_CHECKING:
    import duckdb

_TEXTS = (
    "account_id", "account_name", "record_type", "line_type", "product_code", "service_code", "product_name", "category",
    "region", "usage_type", "operation", "billing_entity", "legal_entity", "description", "bill_type", "plan",
    "plan_end", "payment", "term", "reservation", "reservation_end", "parent",
)  # fmt: skip


class MonthWriter:
    """Writes months of one organisation; a DuckDB connection, to be closed."""

    def __init__(self, organization: Organization, truth: CostTruth) -> None:
        import duckdb

        self._organization = organization
        self._truth = truth
        self._describer = Describer(organization, truth.resource_ids)
        self._connection: duckdb.DuckDBPyConnection = duckdb.connect(":memory:", config={"threads": 2})
        for setting in ("autoinstall_known_extensions", "autoload_known_extensions"):
            self._connection.execute(f"SET {setting} = false")

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def write(self, export: Export, month: date, at: datetime, invoice: str, folder: Path) -> list[Path]:
        """Write the month as it is reported at a moment into files of `folder`, at least one.

        Raise ValueError where a charge cannot be a line of the export.
        """
        numbers = LineKeys()
        files: list[Path] = []
        for chunk in _chunks(self._days(export, month, at, numbers), export.lines_per_file):
            if not chunk and files:
                break
            self._load_keys(export, numbers)
            self._load_lines(export, month, at, invoice, chunk)
            files.append(folder / f"{len(files) + 1:05d}{export.suffix}")
            self._copy(export, month, files[-1])
        return files

    def columns(self, export: Export, month: date) -> list[tuple[str, str]]:
        """The names and types, as DuckDB's, of the columns of the files written last."""
        found = self._connection.execute(f"DESCRIBE {_statement(export, month)}").fetchall()
        return [(name, kind) for name, kind, *_ in found]

    def _days(self, export: Export, month: date, at: datetime, numbers: LineKeys) -> Iterator[Lines]:
        own = None if export.account_id == self._organization.payer.id else export.account_id
        day, end = month, min(next_month(month), at.date() + timedelta(days=1))
        while day < end:
            charges = [
                (key, amounts)
                for key, amounts in self._truth.source.charges(day, at)
                if own in (None, key.account_id)
            ]
            yield from day_lines(
                charges,
                day,
                at,
                numbers,
                self._truth.allocate(day, at),
                focus=export.is_focus,
                hourly=export.is_hourly(month),
                resources=export.resources,
            )
            if export.split_costs:
                yield from pod_lines(charges, day, at, numbers, hourly=export.is_hourly(month))
            day += timedelta(days=1)

    def _load_keys(self, export: Export, numbers: LineKeys) -> None:
        described = []
        for line in numbers:
            kind = line_type(line.key)
            if kind in DISCOUNTS and not export.is_focus and not export.manual_discounts:
                raise ValueError(f"{kind} is a line only with INCLUDE_MANUAL_DISCOUNT_COMPATIBILITY")
            described.append(self._describer.describe(line))
        keys: dict[str, Any] = {name: _column([str(each[name]) for each in described]) for name in _TEXTS}
        for name in ("is_purchase", "is_unused"):
            keys[name] = np.array([each[name] for each in described], dtype=bool)
        maps = {
            "tags": [{tag_column(key): value for key, value in each["tags"].items()} for each in described],
            "plain_tags": [each["tags"] for each in described],
            "categories": [each["categories"] for each in described],
            "product": [
                {"product_name": each["product_name"], "region": each["region"]} for each in described
            ],
        }
        for name, found in maps.items():
            keys[name] = _column([json.dumps(each) for each in found])
        keys["resources"] = _column([json.dumps(each["resources"]) for each in described])
        keys["id"] = np.arange(len(described), dtype=np.int64)
        self._connection.register("given", keys)
        mapped = ", ".join(f"{name}::JSON::MAP(VARCHAR, VARCHAR) AS {name}" for name in maps)
        self._connection.execute(
            f"CREATE OR REPLACE TEMP TABLE keys AS SELECT * REPLACE ({mapped}, "  # noqa: S608 - names of ours
            "resources::JSON::VARCHAR[] AS resources) FROM given"
        )
        self._connection.unregister("given")

    def _load_lines(
        self, export: Export, month: date, at: datetime, invoice: str, chunk: Sequence[Lines]
    ) -> None:
        columns: dict[str, Any] = {
            name: np.concatenate([lines.columns[name] for lines in chunk] or [np.zeros(0, dtype=np.int64)])
            for name in ("day", "hour", "key", "resource", *AMOUNTS, *COSTS)
        }
        payer = self._organization.payer
        self._connection.register("given", columns)
        span = "INTERVAL 1 HOUR" if export.is_hourly(month) else "INTERVAL 1 DAY"
        self._connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE lines AS SELECT *, starts + {span} AS ends FROM (
            SELECT *, DATE '1970-01-01' + day::INTEGER + hour::INTEGER * INTERVAL 1 HOUR AS starts,
            $month::TIMESTAMP AS period_start, $end::TIMESTAMP AS period_end, nullif($invoice, '') AS invoice,
            $payer AS payer, $payer_name AS payer_name, $currency AS currency, $salt AS salt FROM given)""",  # noqa: S608
            {
                "month": month,
                "end": next_month(month),
                "invoice": invoice,
                "payer": payer.id,
                "payer_name": payer.name,
                "currency": export.currency,
                "salt": f"{export.name}:{at.isoformat()}",
            },
        )
        self._connection.unregister("given")

    def _copy(self, export: Export, month: date, path: Path) -> None:
        table = CUR_2 if export.table == LEGACY else export.table
        selected = ", ".join(
            f"({column.expression})::{column.type} AS {column.name}" for column in export.columns(month)
        )
        self._connection.execute(
            f"CREATE OR REPLACE TEMP VIEW {table} AS SELECT {selected} FROM lines l JOIN keys k ON l.key = k.id"  # noqa: S608
        )
        statement, options = _statement(export, month), "FORMAT parquet, COMPRESSION snappy"
        if export.format == CSV:
            statement = self._as_texts(export, month)
            options = "FORMAT csv, COMPRESSION gzip, HEADER true"
        self._connection.execute(f"COPY ({statement}) TO '{path}' ({options})")

    def _as_texts(self, export: Export, month: date) -> str:
        """The statement with maps as JSON and times as AWS writes them into CSV."""
        texts = []
        for name, kind in self.columns(export, month):
            text = f'"{name}"'
            if kind.startswith("MAP"):
                text = f"to_json({text})"
            elif kind == "VARCHAR":
                text = f"nullif({text}, '')"
            elif kind == "TIMESTAMP":
                text = f"strftime({text}, '%Y-%m-%dT%H:%M:%S.000Z')"
            shown = _legacy_name(name) if export.table == LEGACY else name
            texts.append(f'{text} AS "{shown}"')
        return f"SELECT {', '.join(texts)} FROM ({_statement(export, month)})"  # noqa: S608 - a test's own statement


def _statement(export: Export, month: date) -> str:
    return export.statement(month).replace(f"FROM {LEGACY}", f"FROM {CUR_2}")


def tag_column(key: str) -> str:
    """A tag key as `resource_tags` has it: in lower snake case, after `user_` where users have made it."""
    snake = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()).strip("_")
    return snake if key.startswith("aws:") else f"user_{snake}"


def _column(values: Sequence[str]) -> Any:
    return np.array(values, dtype=object)


def _chunks(found: Iterator[Lines], size: int) -> Iterator[list[Lines]]:
    """The lines in lists of about `size` lines; at least one list, which is empty where there is no line."""
    chunk: list[Lines] = []
    count = 0
    for lines in found:
        for start in range(0, len(lines), size):
            part = Lines({name: values[start : start + size] for name, values in lines.columns.items()})
            if chunk and count + len(part) > size:
                yield chunk
                chunk, count = [], 0
            chunk.append(part)
            count += len(part)
    yield chunk


def _legacy_name(name: str) -> str:
    """A column's name in the CSV of a legacy report, e.g. lineItem/UnblendedCost."""
    for prefix, shown in (
        ("bill_", "bill"), ("identity_", "identity"), ("line_item_", "lineItem"), ("pricing_", "pricing"),
        ("product_", "product"), ("reservation_", "reservation"), ("savings_plan_", "savingsPlan"),
    ):  # fmt: skip
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            return f"{shown}/{''.join(part.capitalize() for part in rest.split('_'))}"
    return name
