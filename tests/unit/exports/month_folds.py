"""Folds files of November 2026."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from exporter.exports.fold_process import FoldFailedError, answer
from exporter.exports.folding import FoldResult, FoldSettings, MonthFold
from exporter.exports.month_tables import MonthTables

MONTH = date(2026, 11, 1)


def settings(folder: Path, **changed: Any) -> FoldSettings:
    """Settings for November 2026 in CUR 2.0."""
    return FoldSettings(**{"month": MONTH, "table": "cur2", "spill": folder / "spill", **changed})


def fold_in_process(
    folder: Path, files: Mapping[str, Path], *, into: str = "out", **changed: Any
) -> FoldResult:
    """Fold these files, by their names in the export, into a folder below `folder`, as the product does."""
    with MonthFold(settings(folder, **changed)) as month:
        for name, path in files.items():
            month.add(path, name)
        return month.finish(folder / into)


def fold(folder: Path, files: Mapping[str, Path], *, into: str = "out", **changed: Any) -> FoldResult:
    """The same without a process, which takes a second to start; FoldFailedError instead of FoldError."""
    work = folder / "work"
    work.mkdir(parents=True)
    tables = MonthTables(settings(folder, **changed), work)
    try:
        for name, path in files.items():
            answered(tables, name, {"add": str(path), "name": name})
        return FoldResult.from_json(answered(tables, "The month", {"finish": str(folder / into)})["result"])
    finally:
        tables.db.close()
        shutil.rmtree(work)


def answered(tables: MonthTables, subject: str, request: dict[str, Any]) -> dict[str, Any]:
    """What the process would answer, over JSON as there."""
    try:
        return json.loads(json.dumps(answer(tables, request)))
    except FoldFailedError as failed:
        raise FoldFailedError(f"{subject} {failed}") from failed


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query over a Parquet file, which it calls `lines`."""
    with duckdb.connect() as db:
        return db.read_parquet(str(path)).query("lines", sql).fetchall()
