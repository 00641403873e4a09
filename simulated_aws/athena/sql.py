"""SQL as Athena takes it: read and checked in its dialect, then written for DuckDB over the files of the tables."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.errors import OptimizeError, ParseError, TokenError
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.pushdown_predicates import pushdown_predicates
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema

from simulated_aws.athena.checks import check_types, place, strict_maps, unresolved
from simulated_aws.athena.functions import FUNCTIONS, WORDS
from simulated_aws.athena.tables import PATH, MalformedQueryError, QueryFailedError, Table, TableFile, Tables

_UNLOAD = re.compile(
    r"\s*UNLOAD\s*\((.*)\)\s*TO\s*'s3://([^/']+)/([^']*)'\s*(?:WITH\s*\((.*)\))?\s*", re.I | re.S
)
_CATALOG = "awsdatacatalog"
_HIDDEN = {PATH: "hidden_path"}  # a name that sqlglot's schemas take
_Key = tuple[str, str]  # of a table: database and name


@dataclass(frozen=True, slots=True)
class Unload:
    """Where UNLOAD writes Parquet, and how it is compressed."""

    bucket: str
    prefix: str
    compression: str


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement that was accepted; `failure` is known before it is run."""

    query: exp.Query
    unload: Unload | None
    failure: QueryFailedError | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked query in DuckDB's dialect, its columns' names, and the files that it reads, for each reference to a table."""

    sql: str
    names: Sequence[str]
    files: Sequence[TableFile]


def read_statement(text: str) -> Statement:
    """The statement of a text. Raises MalformedQueryError in Athena's words."""
    text = text.strip().removesuffix(";")
    unload = None
    if match := _UNLOAD.fullmatch(text):
        text, unload = match[1], _unload(match)
    try:
        tokens = sqlglot.tokenize(text, read="athena")
        parsed = [each for each in sqlglot.parse(text, read="athena") if each is not None]
    except TokenError as error:
        raise MalformedQueryError(f"line 1:1: {error}") from None
    except ParseError as error:
        where = error.errors[0]
        found = str(where.get("highlight") or "<EOF>")
        column = max(int(where.get("col") or 1) - len(found) + 1, 1)
        raise MalformedQueryError(
            f"line {where.get('line') or 1}:{column}: mismatched input '{found}'. Expecting: <query>"
        ) from None
    if len(parsed) != 1:
        raise MalformedQueryError("Only one sql statement is allowed.")
    (query,) = parsed
    if not isinstance(query, exp.Query):
        raise MalformedQueryError("Queries of this type are not supported")
    _check_dialect(query, tokens)
    return Statement(query, unload, _unknown_function(query, tokens))


def _unload(match: re.Match[str]) -> Unload:
    options = dict(re.findall(r"(\w+)\s*=\s*'([^']*)'", (match[4] or "").lower()))
    form, compression = options.pop("format", ""), options.pop("compression", "gzip")
    if form != "parquet" or options or compression not in ("snappy", "gzip", "zstd"):
        raise MalformedQueryError("Only UNLOAD WITH (format = 'PARQUET', compression = ...) is simulated.")
    return Unload(match[2], match[3], compression)


def _check_dialect(query: exp.Query, tokens: Sequence[Any]) -> None:
    """Refuse forms of other dialects, which sqlglot reads as well."""
    for node in query.find_all(exp.Group, exp.Star, exp.Qualify):
        if isinstance(node, exp.Qualify) or any(
            node.args.get(name) for name in ("all", "except_", "replace")
        ):
            raise MalformedQueryError(f"{place(node)}: mismatched input '{node.sql('duckdb')}'.")
    for token in tokens:
        if token.text == "::":
            raise MalformedQueryError(f"line {token.line}:{max(token.col - 1, 1)}: mismatched input ':'.")


def _unknown_function(query: exp.Query, tokens: Sequence[Any]) -> QueryFailedError | None:
    # Columns of an alias or of WITH are in parentheses, too.
    names = {alias.name.lower() for alias in query.find_all(exp.TableAlias)}
    for token, following in itertools.pairwise(tokens):
        name = token.text.lower()
        if following.text != "(" or not name.isidentifier() or name in names:
            continue
        if name not in FUNCTIONS and name not in WORDS:
            where = f"line {token.line}:{max(token.col - len(name) + 1, 1)}"
            return QueryFailedError(f"FUNCTION_NOT_FOUND: {where}: Function '{name}' not registered")
    return None


def connect(spill: str) -> duckdb.DuckDBPyConnection:
    """A database in memory, in UTC, that loads nothing from the network; what is too large goes to the folder `spill`."""
    connection = duckdb.connect(
        ":memory:", config={"threads": 2, "memory_limit": "1GB", "temp_directory": spill}
    )
    for name in ("autoinstall_known_extensions", "autoload_known_extensions"):
        connection.execute(f"SET {name} = false")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def prepare(
    statement: Statement, database: str, tables: Tables, connection: duckdb.DuckDBPyConnection
) -> Prepared:
    """Check a statement against the tables that it names, and make them views of `connection`.

    Raises QueryFailedError in Athena's words.
    """
    if statement.failure is not None:
        raise statement.failure
    query: exp.Expr = statement.query.copy()
    found = _find_tables(query, database, tables)
    # Hidden columns are there for who names them: a star has none of them.
    paths = [each for each in query.find_all(exp.Column) if each.name == PATH]
    for each in paths:
        each.set("this", exp.to_identifier(_HIDDEN[PATH]))
    hidden = {_HIDDEN[PATH]: "VARCHAR"} if paths else {}
    columns = {key: _columns(table, connection) | hidden for key, table in found.items()}
    schema = MappingSchema(dialect="duckdb")
    for (owner, name), types in columns.items():
        schema.add_table(exp.table_(name, db=owner), types, dialect="duckdb")
    try:
        query = qualify(query, db=database, schema=schema, dialect="athena", expand_alias_refs=False)
    except OptimizeError as error:
        raise unresolved(str(error)) from None
    query = annotate_types(query, schema=schema, dialect="athena")
    for node in query.walk():
        check_types(node)
    files: list[TableFile] = []
    read: dict[_Key, list[TableFile]] = {key: [] for key in found}
    for key, conditions in _conditions(query, found):
        selected = _selected(found[key].files, conditions, connection)
        files += selected
        read[key] += [file for file in selected if file not in read[key]]
    for key, of_table in read.items():
        _make_view(key, columns[key], of_table, connection)
    assert isinstance(query, exp.Query)
    names = _names(statement.query, query)
    return Prepared(query.transform(strict_maps).sql(dialect="duckdb"), names, files)


# Tables, their columns and files


def _find_tables(query: exp.Expr, database: str, tables: Tables) -> dict[_Key, Table]:
    defined = {cte.alias_or_name.lower() for cte in query.find_all(exp.CTE)}
    found: dict[_Key, Table] = {}
    for table in query.find_all(exp.Table):
        if not table.db and table.name.lower() in defined:
            continue
        owner, name, where = (table.db or database).lower(), table.name.lower(), place(table)
        if not owner:
            raise QueryFailedError(
                f"MISSING_SCHEMA_NAME: {where}: Schema must be specified when session schema is not set"
            )
        if table.catalog and table.catalog.lower() != _CATALOG:
            raise QueryFailedError(f"CATALOG_NOT_FOUND: {where}: Catalog '{table.catalog}' does not exist")
        try:
            found[owner, name] = tables(owner, name)
        except KeyError:
            text = f"TABLE_NOT_FOUND: {where}: Table '{_CATALOG}.{owner}.{name}' does not exist"
            raise QueryFailedError(text, 1301) from None
        table.set("catalog", None)
        table.set("db", exp.to_identifier(owner))
        table.set("this", exp.to_identifier(name))
    return found


def _columns(table: Table, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The columns with DuckDB's types, those of partitions last; names in lower case, as Glue has them."""
    found = {
        name.lower(): exp.DataType.build(kind, dialect="hive").sql("duckdb")
        for name, kind in table.columns.items()
    }
    if not found:
        for file in table.files:
            for name, kind, *_ in connection.execute(f"DESCRIBE {_read(file)}").fetchall():
                # Athena's times have no zone.
                found.setdefault(name.lower(), "TIMESTAMP" if kind.startswith("TIMESTAMP") else kind)
    keys = {name: "VARCHAR" for file in table.files for name, _ in file.values if name != PATH}
    return {name: kind for name, kind in found.items() if name not in keys} | keys


def _read(file: TableFile) -> str:
    path = _literal(str(file.path))
    if file.path.name.endswith((".csv", ".csv.gz")):
        return f"SELECT * FROM read_csv({path}, header = true, all_varchar = true)"  # noqa: S608 # quoted
    return f"SELECT * FROM read_parquet({path}, hive_partitioning = false)"  # noqa: S608 # quoted


def _constants(file: TableFile) -> list[tuple[str, str]]:
    """The columns that have one value in a file."""
    return [(_HIDDEN.get(name, name), value) for name, value in file.values]


def _make_view(
    key: _Key,
    columns: Mapping[str, str],
    files: Sequence[TableFile],
    connection: duckdb.DuckDBPyConnection,
) -> None:
    # A file lacks the columns that came later: they are NULL, as in Athena.
    nothing = ", ".join(f"NULL::{kind} AS {_quoted(name)}" for name, kind in columns.items())
    parts = [f"SELECT {nothing} WHERE false"]
    for file in files:
        values = "".join(f", {_literal(value)} AS {_quoted(name)}" for name, value in _constants(file))
        parts.append(f"SELECT *{values} FROM ({_read(file)})")  # noqa: S608 # quoted
    casts = ", ".join(f"CAST({_quoted(name)} AS {kind}) AS {_quoted(name)}" for name, kind in columns.items())
    union = " UNION ALL BY NAME ".join(parts)
    owner, name = map(_quoted, key)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {owner}")
    connection.execute(f"CREATE VIEW {owner}.{name} AS SELECT {casts} FROM ({union})")  # noqa: S608 # quoted


def _quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql("duckdb")


def _literal(text: str) -> str:
    return exp.Literal.string(text).sql("duckdb")


def _conditions(query: exp.Expr, found: Mapping[_Key, Table]) -> Iterator[tuple[_Key, list[exp.Expr]]]:
    """Each reference to a table, with the conditions that its partitions alone decide."""
    for table in pushdown_predicates(query.copy(), dialect="athena").find_all(exp.Table):
        key = (table.db.lower(), table.name.lower())
        if key not in found:
            continue
        select = table.find_ancestor(exp.Select)
        where = select.args.get("where") if select else None
        keys = {name for file in found[key].files for name, _ in _constants(file)}
        parts = [] if where is None else [where.this]
        if parts and isinstance(parts[0], exp.And):
            parts = list(parts[0].flatten())
        yield key, [part for part in parts if _is_decided(part, table.alias_or_name, keys)]


def _is_decided(part: exp.Expr, table: str, keys: set[str]) -> bool:
    columns = list(part.find_all(exp.Column))
    return bool(columns) and all(column.table == table and column.name.lower() in keys for column in columns)


def _selected(
    files: Sequence[TableFile], conditions: Sequence[exp.Expr], connection: duckdb.DuckDBPyConnection
) -> list[TableFile]:
    """The files of the partitions for which all conditions hold."""
    if not conditions:
        return list(files)
    bare = " AND ".join(f"({each.copy().transform(_without_table).sql('duckdb')})" for each in conditions)
    kept: dict[Any, bool] = {}
    for file in files:
        if file.values not in kept:
            values = ", ".join(f"{_literal(value)} AS {_quoted(name)}" for name, value in _constants(file))
            row = connection.execute(f"SELECT count(*) FROM (SELECT {values}) WHERE {bare}").fetchone()  # noqa: S608
            kept[file.values] = bool(row and row[0])
    return [file for file in files if kept[file.values]]


def _without_table(node: exp.Expr) -> exp.Expr:
    return exp.column(node.name.lower(), quoted=True) if isinstance(node, exp.Column) else node


def _names(asked: exp.Query, qualified: exp.Query) -> list[str]:
    """The names of the columns of a result: what has none is `_col` and its position."""
    shown = {name: hidden for hidden, name in _HIDDEN.items()}
    names = [shown.get(name.lower(), name.lower()) for name in qualified.named_selects]
    first: exp.Expr = asked
    while isinstance(first, exp.SetOperation):
        first = first.left
    given = first.expressions if isinstance(first, exp.Select) else []
    if len(given) != len(names) or any(each.is_star for each in given):
        return names
    return [
        name if isinstance(each, exp.Alias | exp.Column) else f"_col{position}"
        for position, (each, name) in enumerate(zip(given, names, strict=True))
    ]
