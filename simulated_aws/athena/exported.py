"""Exports as tables: Athena over the folders of the simulated buckets, with the columns that a Glue table would have."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from simulated_aws.athena.api import Athena
from simulated_aws.athena.tables import Table, TableFile
from simulated_aws.exports.data_exports import DataExports
from simulated_aws.exports.definition import CSV
from simulated_aws.wire import Tokens

_TYPES = {
    "VARCHAR": "string",
    "DOUBLE": "double",
    "TIMESTAMP": "timestamp",
    "MAP(VARCHAR, VARCHAR)": "map<string,string>",
    "MAP(VARCHAR, DOUBLE)": "map<string,double>",
}


def athena_of(exports: DataExports, now: Callable[[], datetime], tokens: Tokens) -> Athena:
    """An Athena that has each export as a table of its name with underscores, in any database.

    It is partitioned by `billing_period`, and reads all data files in the folder, those included that no manifest
    names. Results go to the same buckets; one that does not exist is refused.
    """

    def table(database: str, name: str) -> Table:
        named = {export.name.replace("-", "_").lower(): export for export in exports.all()}
        export = named[name]
        files = [
            TableFile(path, partition, f"s3://{export.bucket}/{key}")
            for key, path, partition in exports.files(export)
        ]
        if export.query:  # which may rename: the table is made of what the files have
            return Table(files)
        # Text has no types: a table over it has strings only.
        is_text = export.format == CSV
        types = {column.name: "string" if is_text else _TYPES[column.type] for column in export.columns()}
        return Table(files, types)

    def put(bucket: str, key: str, body: bytes) -> None:
        if exports.buckets.get(bucket) is None:
            raise KeyError(bucket)
        exports.buckets.put(bucket, key, body)

    def is_occupied(bucket: str, prefix: str) -> bool:
        return exports.buckets.get(bucket) is not None and bool(exports.buckets.list(bucket, prefix))

    return Athena(now, tokens, tables=table, put=put, is_occupied=is_occupied)
