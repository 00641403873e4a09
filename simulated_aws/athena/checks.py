"""What Athena refuses and DuckDB would take: types compared without a cast, a key that a map does not have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from sqlglot import exp

from simulated_aws.athena.tables import QueryFailedError

_OPERATORS: Mapping[Any, str] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<=",
    exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/", exp.Mod: "%",
}  # fmt: skip
_CALCULATIONS = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod)
_GROUPS: Mapping[str, set[Any]] = {
    "text": set(exp.DataType.TEXT_TYPES),
    "number": set(exp.DataType.NUMERIC_TYPES),
    "time": set(exp.DataType.TEMPORAL_TYPES),
    "boolean": {exp.DataType.Type.BOOLEAN},
    "map": {exp.DataType.Type.MAP},
}
_DECIMAL = exp.DataType.Type.DECIMAL
_NO_COMMON_TYPE = "must be the same type or coercible to a common type."


def place(node: exp.Expr) -> str:
    """`line L:C` of a part of the query: of its first name or literal, which need not be where Athena sees it."""
    for part in node.walk():
        if "line" in part.meta:
            return f"line {part.meta['line']}:{part.meta['col'] - (part.meta['end'] - part.meta['start'])}"
    return "line 1:1"


def unresolved(text: str) -> QueryFailedError:
    """Athena's failure for a name that sqlglot could not resolve."""
    match = re.search(r"Column '?\"?([^'\"]+)\"?'? could not be resolved(?:.*Line: (\d+), Col: (\d+))?", text)
    if match is None:
        return QueryFailedError(f"SYNTAX_ERROR: line 1:1: {text}")
    column = max(int(match[3] or 1) - len(match[1]) + 1, 1)
    return QueryFailedError(
        f"COLUMN_NOT_FOUND: line {match[2] or 1}:{column}: Column '{match[1]}' cannot be resolved or requester is"
        " not authorized to access requested resources"
    )


def check_types(node: exp.Expr) -> None:
    """Raise QueryFailedError for types that Athena does not convert by itself; the node's types are annotated."""
    if isinstance(node, exp.Binary) and type(node) in _OPERATORS:
        _check_operator(node)
    elif isinstance(node, exp.Between):
        low, high = node.args["low"], node.args["high"]
        if not _alike([node.this, low, high]):
            _mismatch(
                node, f"Cannot check if {_shown(node.this)} is BETWEEN {_shown(low)} and {_shown(high)}"
            )
    elif isinstance(node, exp.In) and not _alike([node.this, *node.expressions]):
        _mismatch(node, f"IN value and list items {_NO_COMMON_TYPE}")
    elif isinstance(node, exp.Coalesce) and not _alike([node.this, *node.expressions]):
        _mismatch(node, f"All COALESCE operands {_NO_COMMON_TYPE}")
    elif isinstance(node, exp.Case):
        default = node.args.get("default")
        results = [branch.args["true"] for branch in node.args["ifs"]]
        if not _alike(results + ([default] if default is not None else [])):
            _mismatch(node, f"All CASE results {_NO_COMMON_TYPE}")
    elif isinstance(node, exp.Sum | exp.Avg) and _group(node.this) in ("text", "boolean", "map"):
        name = type(node).__name__.lower()
        raise QueryFailedError(
            f"FUNCTION_NOT_FOUND: {place(node)}: Unexpected parameters ({_shown(node.this)}) for function {name}."
        )


def _check_operator(node: exp.Binary) -> None:
    left, right = _group(node.left), _group(node.right)
    if left is None or right is None:
        return
    kinds = {each.type.this for each in (node.left, node.right) if each.type is not None}
    if isinstance(node, exp.Div) and _DECIMAL in kinds and kinds <= {_DECIMAL, *exp.DataType.INTEGER_TYPES}:
        # Athena's quotient is a decimal, DuckDB's is not: better none than another one.
        raise QueryFailedError(
            f"NOT_SUPPORTED: {place(node)}: A quotient of decimals is not part of this simulation"
        )
    is_calculation = isinstance(node, _CALCULATIONS)
    if left == right and not (is_calculation and left == "text"):
        return
    if is_calculation and (isinstance(node.left, exp.Interval) or isinstance(node.right, exp.Interval)):
        return
    _mismatch(
        node, f"Cannot apply operator: {_shown(node.left)} {_OPERATORS[type(node)]} {_shown(node.right)}"
    )


def strict_maps(node: exp.Expr) -> exp.Expr:
    """Make `map[key]` fail for a key that is not there, as in Athena, where only `element_at` gives NULL."""
    if isinstance(node, exp.ArraySize) and _group(node.this) == "map":
        return exp.Anonymous(this="cardinality", expressions=[node.this])
    if not isinstance(node, exp.Bracket) or node.args.get("safe") or _group(node.this) != "map":
        return node
    values, key = node.this.sql("duckdb"), node.expressions[0].sql("duckdb")
    return exp.maybe_parse(
        f"CASE WHEN {values} IS NULL THEN NULL WHEN map_contains({values}, {key}) THEN map_extract_value({values},"
        f" {key}) ELSE error('INVALID_FUNCTION_ARGUMENT: Key not present in map: ' || {key}) END",
        dialect="duckdb",
    )


def _group(node: exp.Expr) -> str | None:
    kind = node.type
    return next((name for name, kinds in _GROUPS.items() if kind is not None and kind.this in kinds), None)


def _shown(node: exp.Expr) -> str:
    """The type of an expression as Athena writes it; a literal's has its length."""
    if isinstance(node, exp.Literal) and node.is_string:
        return f"varchar({len(node.name)})"
    kind = node.type.sql("trino").lower() if node.type is not None else "unknown"
    return {"timestamp": "timestamp(3)", "int": "integer"}.get(kind, kind)


def _alike(nodes: Sequence[exp.Expr]) -> bool:
    return len({group for node in nodes if (group := _group(node))}) < 2


def _mismatch(node: exp.Expr, text: str) -> NoReturn:
    raise QueryFailedError(f"TYPE_MISMATCH: {place(node)}: {text}", 1002)
