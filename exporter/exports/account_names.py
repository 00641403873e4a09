"""The names of accounts, as a file of an export has them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from exporter.cube.no_extensions import NO_EXTENSIONS
from exporter.exports.fold_settings import Table

COLUMNS: dict[Table, tuple[str, str, str]] = {
    "cur2": ("line_item_usage_account_id", "line_item_usage_account_name", "line_item_usage_start_date"),
    "focus_1_0": ("SubAccountId", "SubAccountName", "ChargePeriodStart"),
    "focus_1_2": ("SubAccountId", "SubAccountName", "ChargePeriodStart"),
}
_MEMORY = "128MiB"


def account_names(path: Path, table: Table) -> dict[str, str]:
    """Names by account id of a Parquet file, the newest of each; none of a CSV file or of one without such columns."""
    if not path.name.endswith(".parquet"):
        return {}
    import duckdb

    account, name, start = COLUMNS[table]
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "threads": 1,
        **NO_EXTENSIONS,
    }
    with closing(duckdb.connect(config=config)) as db:
        try:
            db.execute("SET allowed_paths = ?", [[str(path)]])
            db.execute("SET enable_external_access = false")
            rows = db.execute(
                f"SELECT {account}, max_by({name}, {start}) FROM read_parquet(?)"  # noqa: S608 # known columns
                f" WHERE {name} <> '' GROUP BY ALL",
                [str(path)],
            ).fetchall()
        except duckdb.Error:
            return {}  # the fold reports what is wrong with the file
    return {str(account_id): str(found) for account_id, found in rows if account_id}
