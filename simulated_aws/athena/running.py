"""One query while it runs: in a thread, on the files of its tables, and what came of it."""

from __future__ import annotations

import csv
import io
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulated_aws.athena.tables import QueryFailedError, TableFile, Tables
from simulated_aws.athena.values import column_info, text, to_csv

if TYPE_CHECKING:
    import duckdb

    from simulated_aws.athena.sql import Statement, Unload

Put = Callable[[str, str, bytes], None]
"""Writes an object: bucket, key and body. KeyError where there is no such bucket."""

LIMIT_EXCEEDED = "Bytes scanned limit was exceeded"
_ROWS_AN_OBJECT = 50_000  # of UNLOAD: readers must not expect a single object


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a query ended; `scanned` in bytes. `rows` is None where a query has none to fetch."""

    state: str
    scanned: int = 0
    reason: str = ""
    category: int | None = None
    error_type: int | None = None
    retryable: bool = False
    columns: Sequence[dict[str, Any]] = ()
    rows: Sequence[Sequence[str | None]] | None = None
    update_count: int = 0
    manifest: str = ""
    milliseconds: int = 0


@dataclass(slots=True)
class Job:
    """What a query needs to run. `cutoff` in bytes, None for none; `factor` is by how much a file counts as larger."""

    id: str
    statement: Statement
    database: str
    tables: Tables
    put: Put
    is_occupied: Callable[[str, str], bool]
    output: tuple[str, str] | None
    cutoff: int | None
    factor: int
    fails: bool
    outcome: Outcome | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    _connection: duckdb.DuckDBPyConnection | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Run in a thread that ends with the process."""
        threading.Thread(target=self._run, name=f"athena-{self.id[:8]}", daemon=True).start()

    def interrupt(self) -> None:
        """Stop as soon as possible; harmless at the end."""
        with self._lock:
            if self._connection is not None:
                self._connection.interrupt()

    def _run(self) -> None:
        from simulated_aws.athena import sql

        began = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="athena-") as spill, sql.connect(spill) as connection:
                self._connection = connection
                try:
                    self.outcome = self._execute(connection, began)
                finally:
                    with self._lock:  # before it is closed
                        self._connection = None
        except QueryFailedError as failure:
            self.outcome = Outcome("FAILED", 0, str(failure), 2, failure.error_type)
        except Exception as error:  # a thread has no one to raise it to: it is the query that fails
            # DuckDB raises the text of error() with its kind before it.
            reason = str(error).removeprefix("Invalid Input Error: ")
            known = reason.startswith("INVALID_FUNCTION_ARGUMENT")
            reason = reason if known else f"GENERIC_INTERNAL_ERROR: {error}"
            self.outcome = Outcome("FAILED", 0, reason, 2 if known else 1)
        finally:
            self.ended.set()

    def _execute(self, connection: duckdb.DuckDBPyConnection, began: float) -> Outcome:
        from simulated_aws.athena import sql

        prepared = sql.prepare(self.statement, self.database, self.tables, connection)
        scanned, is_over = self._scan(prepared.files)
        if self.fails:
            reason = "GENERIC_INTERNAL_ERROR: Query exhausted resources at this scale factor"
            return Outcome("FAILED", scanned, reason, 1, retryable=True)
        if is_over:
            # Athena stops at the limit, and charges up to there.
            return Outcome("CANCELLED", scanned, LIMIT_EXCEEDED)
        if self.statement.unload is not None:
            return self._write(connection, prepared.sql, self.statement.unload, scanned, began)
        cursor = connection.execute(prepared.sql)
        kinds = [str(column[1]) for column in cursor.description or ()]
        rows = [tuple(map(text, row)) for row in cursor.fetchall()]
        if self.output is not None:
            self._put(*self.output, f"{self.id}.csv", to_csv(prepared.names, rows))
        columns = column_info(prepared.names, kinds)
        return Outcome("SUCCEEDED", scanned, columns=columns, rows=rows, milliseconds=_since(began))

    def _scan(self, files: Sequence[TableFile]) -> tuple[int, bool]:
        """Bytes of the files, and whether they are more than the workgroup allows; then only up to the limit."""
        scanned = sum(file.path.stat().st_size for file in files) * self.factor
        if self.cutoff is not None and scanned > self.cutoff:
            return self.cutoff, True
        return scanned, False

    def _write(
        self, connection: duckdb.DuckDBPyConnection, query: str, unload: Unload, scanned: int, began: float
    ) -> Outcome:
        """Parquet objects without a suffix in their names, and a manifest of them beside the query's results."""
        if self.is_occupied(unload.bucket, unload.prefix):
            raise QueryFailedError(
                "HIVE_PATH_ALREADY_EXISTS: Target directory for table 'unload' already exists:"
                f" s3://{unload.bucket}/{unload.prefix}. You may need to manually clean the data at this location"
                " before retrying. Athena will not delete data in your account."
            )
        connection.execute(f"CREATE TABLE unloaded AS {query}")
        count = connection.table("unloaded").count("*").fetchall()[0][0]
        written = []
        with tempfile.TemporaryDirectory(prefix="athena-") as folder:
            for first in range(0, count, _ROWS_AN_OBJECT):
                part = Path(folder) / "part.parquet"
                connection.execute(
                    f"COPY (SELECT * FROM unloaded LIMIT {_ROWS_AN_OBJECT} OFFSET {first}) TO '{part}'"  # noqa: S608
                    f" (FORMAT parquet, COMPRESSION {unload.compression})"
                )
                key = f"{unload.prefix.rstrip('/')}/{self.id}_{uuid.uuid4()}"
                self._put(unload.bucket, "", key, part.read_bytes())
                written.append(f"s3://{unload.bucket}/{key}")
        manifest = ""
        if self.output is not None:
            listed = io.StringIO()
            csv.writer(listed, lineterminator="\n").writerows([path] for path in written)
            self._put(*self.output, f"{self.id}-manifest.csv", listed.getvalue().encode())
            manifest = "s3://{}/{}{}-manifest.csv".format(*self.output, self.id)
        return Outcome(
            "SUCCEEDED",
            scanned,
            rows=(),
            update_count=count,
            manifest=manifest,
            milliseconds=_since(began),
        )

    def _put(self, bucket: str, prefix: str, name: str, body: bytes) -> None:
        try:
            self.put(bucket, f"{prefix}{name}", body)
        except KeyError:
            raise QueryFailedError(
                "The S3 location provided to save your query results is invalid. Please check your S3 location is"
                " correct and is in the same region and try again."
            ) from None


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
