"""Values and types of a result as Athena writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

_NAMES = {
    "BIGINT": "bigint",
    "BLOB": "varbinary",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "DOUBLE": "double",
    "FLOAT": "real",
    "INTEGER": "integer",
    "SMALLINT": "smallint",
    "TINYINT": "tinyint",
    "VARCHAR": "varchar",
}


def column_info(names: Sequence[str], kinds: Sequence[str]) -> list[dict[str, Any]]:
    """The columns of a result: `kinds` are DuckDB's types."""
    return [
        {
            "CatalogName": "hive",
            "SchemaName": "",
            "TableName": "",
            "Name": name,
            "Label": name,
            "Nullable": "UNKNOWN",
            "CaseSensitive": kind == "VARCHAR",
            **_type(kind),
        }
        for name, kind in zip(names, kinds, strict=True)
    ]


def _type(kind: str) -> dict[str, Any]:
    if kind.startswith("DECIMAL("):
        precision, scale = kind[8:-1].split(",")
        return {"Type": "decimal", "Precision": int(precision), "Scale": int(scale)}
    if kind == "HUGEINT":
        return {"Type": "decimal", "Precision": 38, "Scale": 0}
    if kind.startswith("TIMESTAMP"):
        zone = " with time zone" if kind.endswith("ZONE") else ""
        return {"Type": f"timestamp{zone}", "Precision": 3, "Scale": 0}
    if kind.startswith(("MAP", "STRUCT")) or kind.endswith("]"):
        name = "map" if kind.startswith("MAP") else "row" if kind.startswith("STRUCT") else "array"
        return {"Type": name, "Precision": 0, "Scale": 0}
    name = _NAMES.get(kind, "varchar")
    return {"Type": name, "Precision": 2147483647 if name == "varchar" else 17, "Scale": 0}


def text(value: Any) -> str | None:
    """A value as the text of a row; None for NULL."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _double(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        zone = " UTC" if value.tzinfo else ""
        return f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03}{zone}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{text(key)}={_inner(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inner, value)) + "]"
    return str(value)


def _inner(value: Any) -> str:
    return "null" if value is None else str(text(value))


def _double(value: float) -> str:
    """A double as Java writes it: with an exponent below 0.001 and from ten million on."""
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        plain = f"{Decimal(repr(value)):f}"
        return plain if "." in plain else f"{plain}.0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    first, rest = digits[0], "".join(map(str, digits[1:])) or "0"
    return f"{'-' if sign else ''}{first}.{rest}E{exponent + len(digits) - 1}"


def to_csv(names: Sequence[str], rows: Sequence[Sequence[str | None]]) -> bytes:
    """The object of a result: every value in quotes, nothing for NULL."""
    quoted = ('"{}"'.format(name.replace('"', '""')) for name in names)
    lines = [",".join(quoted)]
    for row in rows:
        lines.append(",".join("" if cell is None else '"{}"'.format(cell.replace('"', '""')) for cell in row))
    return ("\n".join(lines) + "\n").encode()
