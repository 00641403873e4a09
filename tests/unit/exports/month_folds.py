"""Folds files in a process of its own, as the product does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from exporter.exports.folding import FoldResult, FoldSettings, MonthFold

MONTH = date(2026, 11, 1)


def settings(folder: Path, **changed: Any) -> FoldSettings:
    """Settings for November 2026 in CUR 2.0."""
    return FoldSettings(**{"month": MONTH, "table": "cur2", "spill": folder / "spill", **changed})


def fold(folder: Path, files: Mapping[str, Path], *, into: str = "out", **changed: Any) -> FoldResult:
    """Fold these files, by their names in the export, into a folder below `folder`."""
    with MonthFold(settings(folder, **changed)) as month:
        for name, path in files.items():
            month.add(path, name)
        return month.finish(folder / into)


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query over a Parquet file, which it calls `lines`."""
    with duckdb.connect() as db:
        return db.read_parquet(str(path)).query("lines", sql).fetchall()
