"""One month of an export, summed by Athena and folded into the same files as by the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from exporter.aws.clients import Aws
from exporter.core.moments import Clock
from exporter.core.places import Account
from exporter.exports.athena.books import AthenaBooks
from exporter.exports.athena.queries import AthenaQueries
from exporter.exports.athena.retry_wait import RetryWait
from exporter.exports.athena.source import columns_query, of_files, table_name
from exporter.exports.athena.workgroup import find_workgroup
from exporter.exports.delivery.bucket import StoredObject
from exporter.exports.folding import FoldResult, FoldSettings, MonthFold
from exporter.exports.settings import AthenaSettings
from exporter.ledger.file import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class AthenaEngine:
    """Sums months of one export in a table of Athena over it."""

    queries: AthenaQueries
    settings: AthenaSettings

    def fold(
        self,
        settings: FoldSettings,
        version: str,
        bucket: str,
        files: Sequence[StoredObject],
        work: Path,
        folder: Path,
    ) -> tuple[FoldResult, dict[str, str]]:
        """What `MonthFold.finish` returns of a month's files in `bucket`, written to `folder`, and names by account.

        `version` is that of these files: for the same one, what Athena has answered is not asked again. `work` takes
        answers while they are read. AwsError or FoldError if the month cannot be summed.
        """
        table = table_name(self.settings.database, self.settings.table)
        subject = f"The table {self.settings.database}.{self.settings.table}"
        names = {f"s3://{bucket}/{file.key}": file.key for file in files}
        month = settings.month
        columns = self.queries.columns(month, version, columns_query(table, month))
        with MonthFold(settings) as fold:
            condition = of_files(month, tuple(names))
            first = fold.query(subject, columns, table, condition, names)
            self._take(fold, settings, version, first, work)
            sums, accounts = fold.look(subject)
            self._take(fold, settings, version, sums, work)
            return fold.finish(folder), accounts

    def _take(
        self, fold: MonthFold, settings: FoldSettings, version: str, queries: Mapping[str, str], work: Path
    ) -> None:
        path = work / "answer.parquet"
        for name, query in queries.items():
            with self.queries.unloaded(settings.month, version, name, query) as results:
                for stored in results:
                    self.queries.results.fetch(stored, path)
                    fold.take(path, name)
                    path.unlink()


def open_athena(
    aws: Aws,
    account: Account | None,
    bucket_region: str,
    settings: AthenaSettings,
    ledger: Ledger,
    clock: Clock,
    first_wait: timedelta,
    longest_wait: timedelta,
) -> AthenaEngine:
    """The configured engine, as `account`; AwsError(EXPORT) if its workgroup does not bound what a query costs.

    The waits are those of a query that was charged without a result.
    """
    region = settings.region or bucket_region
    queries = AthenaQueries(
        aws=aws,
        account=account,
        region=region,
        settings=settings,
        workgroup=find_workgroup(aws, account, region, settings),
        books=AthenaBooks(ledger, aws.meter, settings.usd_per_terabyte),
        retry=RetryWait(
            first=first_wait,
            longest=longest_wait,
            clock=clock,
        ),
    )
    return AthenaEngine(queries=queries, settings=settings)
