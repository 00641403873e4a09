"""Runs queries in Athena: reserved before, charged after, stopped in time, and picked up again by a process that follows.

A query that was charged without a result waits before it is sent again, longer after each such failure.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from exporter.aws.clients import Aws, Deadline
from exporter.aws.errors import AwsError, Kind, reading
from exporter.core.places import Account
from exporter.exports.athena.books import AthenaBooks, BookedQuery
from exporter.exports.athena.retry_wait import RetryWait
from exporter.exports.athena.workgroup import WorkGroup
from exporter.exports.delivery.bucket import ExportBucket, MissingError, StoredObject
from exporter.exports.settings import AthenaSettings

log = logging.getLogger(__name__)

_SERVICE = "athena"
_LONGEST_QUERY = 262_144  # bytes, as AWS has it
_MOST_BYTES = 4 << 20  # of the list of a result's files
_SECONDS_TO_STOP = 5.0
_PENDING = ("QUEUED", "RUNNING")
_OVER_CUTOFF = "bytes scanned limit"
_NOT_RUN = frozenset({Kind.INVALID_REQUEST, Kind.ACCESS_DENIED, Kind.THROTTLED, Kind.REGION_DENIED})
"""Answers to StartQueryExecution by which nothing was started; after others it may have been."""
_ROWS_A_MONTH = 2  # attempts: one that was picked up and had been stopped, and its own


@dataclass(frozen=True, slots=True)
class _Ended:
    state: str
    reason: str
    scanned: int
    manifest: str
    is_reused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AthenaQueries:
    """Queries of one workgroup, as one account in one region."""

    aws: Aws
    account: Account | None
    region: str
    settings: AthenaSettings
    workgroup: WorkGroup
    books: AthenaBooks
    retry: RetryWait
    results: ExportBucket = field(init=False)

    def __post_init__(self) -> None:
        """Results are read with the role that asks."""
        bucket = ExportBucket(self.aws, self.account, self.workgroup.bucket, self.region, None)
        object.__setattr__(self, "results", bucket)

    def columns(self, month: date, version: str, query: str) -> dict[str, str]:
        """Types of a query's columns by name, in DuckDB's words."""
        with self._ended(month, "columns", version, query, unload=False) as booked:
            answer = self._ask("GetQueryResults", QueryExecutionId=booked.query_id, MaxResults=1)
            with reading("the result of a query in Athena"):
                found = answer["ResultSet"]["ResultSetMetadata"]["ColumnInfo"]
                return {str(each["Name"]).lower(): str(each["Type"]).upper() for each in found}

    @contextmanager
    def unloaded(self, month: date, version: str, name: str, query: str) -> Iterator[Sequence[StoredObject]]:
        """The Parquet files with the rows of a query, in `results`.

        AwsError if Athena does not answer it. A query that was answered is not sent again for the same `version` of the
        month's files, unless its results are gone by now; one that was charged without a result only after a wait.
        """
        with self._ended(month, name, version, query, unload=True) as booked:
            yield [self.results.look(key) for key in self._keys(booked)]

    @contextmanager
    def _ended(
        self, month: date, name: str, version: str, query: str, *, unload: bool
    ) -> Iterator[BookedQuery]:
        booked, is_new = self._run(month, name, version, query, unload=unload)
        try:
            yield booked
        except MissingError as error:
            reason = f"a result of Athena is gone: {error}"
            if is_new:
                raise self._charged_in_vain(booked, None, reason) from error
            self.books.forget(booked)  # what deletes old results has deleted it
            raise AwsError(Kind.EXPORT, f"{reason}; the query is sent again") from error

    def _keys(self, booked: BookedQuery) -> list[str]:
        """A result's files, as the list that Athena writes has them: its folder may hold what a failed attempt left."""
        _, _, place = booked.outcome.removeprefix("s3://").partition("/")
        listed = self.results.look(place)
        if not listed.size:
            return []
        with reading("the list of a result's files"):
            text = self.results.read(listed, _MOST_BYTES).decode()
            paths = [row[0] for row in csv.reader(io.StringIO(text)) if row]
            start = f"s3://{self.workgroup.bucket}/"
            if any(not path.startswith(start) for path in paths):
                raise ValueError(f"expected files in {start}")
            return [path.removeprefix(start) for path in paths]

    # One query

    def _run(
        self, month: date, name: str, version: str, query: str, *, unload: bool
    ) -> tuple[BookedQuery, bool]:
        """The query with its results, and whether they are new.

        Its cost is charged when this returns or raises, unless the exporter stops.
        """
        made_of = (version, self.workgroup.name, str(self.workgroup.cutoff), self.workgroup.location)
        digest, sent_as = _digest(*made_of, query), _digest(*made_of, *self._where())
        for _ in range(_ROWS_A_MONTH):
            booked = self.books.find(month, name)
            if booked is not None and booked.state != "failed" and booked.digest != digest:
                self._abandon(booked)
                booked = None
            if booked is not None and booked.state == "over":
                raise AwsError(
                    Kind.EXPORT, f"{booked.outcome}; it is not sent again until one of them changes"
                )
            if booked is not None and booked.state == "done":
                return booked, False
            is_new = False
            if booked is None or booked.state == "failed":
                failed = self.retry.require(booked, sent_as) if booked is not None else None
                booked = self.books.reserve(month, name, digest, sent_as, self.workgroup.cutoff, failed)
                is_new = True
            booked = self._started(booked, version, query, unload=unload)
            ended = self._wait(booked)
            if ended.state == "SUCCEEDED":
                return self._succeeded(booked, ended), True
            if is_new or ended.state != "CANCELLED" or _OVER_CUTOFF in ended.reason.lower():
                raise self._failed(booked, ended)
            self.books.settle(booked, ended.scanned, None)  # stopped by an exporter before this one
        raise AwsError(Kind.EXPORT, f"{_title(name, month)} was cancelled")

    def _started(self, booked: BookedQuery, version: str, query: str, *, unload: bool) -> BookedQuery:
        if booked.query_id is not None:
            return booked
        comment = f"/* aws-spend-exporter {booked.month:%Y-%m} {booked.name} {_plain(version)} */"
        text = f"{comment} {query}"
        if unload:
            target = f"{self.workgroup.location}aws-spend-exporter/{booked.month:%Y-%m}/{booked.token}/"
            text = f"UNLOAD ({text}) TO '{target}' WITH (format = 'PARQUET', compression = 'SNAPPY')"
        params: dict[str, Any] = {
            "QueryString": text,
            "ClientRequestToken": booked.token,
            "QueryExecutionContext": {"Database": self.settings.database},
            "WorkGroup": self.workgroup.name,
            # What was read before may be of files that are not there any more.
            "ResultReuseConfiguration": {"ResultReuseByAgeConfiguration": {"Enabled": False}},
        }
        if not self.workgroup.has_location:
            params["ResultConfiguration"] = {"OutputLocation": self.workgroup.location}
        if len(text.encode()) > _LONGEST_QUERY:
            self.books.settle(booked, None, None)
            raise AwsError(
                Kind.EXPORT,
                f"{_title(booked.name, booked.month)} has {len(text.encode())} bytes, because the manifest names that many"
                f" files; Athena takes {_LONGEST_QUERY}",
            )
        try:
            answer = self._ask("StartQueryExecution", **params)
        except AwsError as error:
            if error.kind in _NOT_RUN:
                self.books.settle(booked, None, None)
            raise
        with reading("the start of a query in Athena"):
            query_id = str(answer["QueryExecutionId"])
        self.books.started(booked, query_id)
        found = self.books.find(booked.month, booked.name)
        assert found is not None
        return found

    def _wait(self, booked: BookedQuery) -> _Ended:
        deadline = Deadline(self.settings.timeout.total_seconds())
        began = time.monotonic()
        title = _title(booked.name, booked.month)
        attempt = 0
        try:
            while (ended := self._execution(booked)).state in _PENDING:
                if deadline.remaining() <= 0:
                    ended = self._stop(self.aws, booked)
                    if ended.state == "SUCCEEDED":
                        return ended
                    raise self._charged_in_vain(
                        booked,
                        ended,
                        f"{title} was stopped, because it had not ended after {time.monotonic() - began:.0f} seconds"
                        " (collectors.cost_export.athena.timeout)",
                    )
                attempt += 1
                self.aws.pause(attempt, title)
        except AwsError as error:
            if error.kind is Kind.STOPPED:
                # The exporter that follows settles it.
                with suppress(AwsError):
                    self._stop(self.aws.successor(threading.Event()), booked)
            raise
        return ended

    def _stop(self, aws: Aws, booked: BookedQuery) -> _Ended:
        deadline = Deadline(_SECONDS_TO_STOP)
        log.info(
            "a query of Athena is stopped",
            extra={"month": f"{booked.month:%Y-%m}", "query": booked.name, "query_id": booked.query_id},
        )
        self._ask("StopQueryExecution", aws=aws, deadline=deadline, QueryExecutionId=booked.query_id)
        return self._execution(booked, aws=aws, deadline=deadline)

    def _settle_stopped(self, booked: BookedQuery, ended: _Ended) -> None:
        # Until it has ended it may scan more: then what was reserved stays charged.
        if ended.state not in _PENDING:
            self.books.settle(booked, ended.scanned, None)

    def _abandon(self, booked: BookedQuery) -> None:
        """Be done with a query of files that are not there any more."""
        if booked.state != "open":
            self.books.forget(booked)
            return
        if booked.query_id is not None:
            try:
                ended = self._execution(booked)
                if ended.state in _PENDING:
                    ended = self._stop(self.aws, booked)
                self._settle_stopped(booked, ended)
            except AwsError as error:
                if error.kind is not Kind.INVALID_REQUEST:  # AWS does not know it any more
                    raise
        # What cannot be settled stays charged.
        self.books.forget(booked)

    def _succeeded(self, booked: BookedQuery, ended: _Ended) -> BookedQuery:
        if ended.is_reused:
            raise self._charged_in_vain(
                booked, ended, f"{_title(booked.name, booked.month)} was answered by an older result"
            )
        self.books.settle(booked, ended.scanned, "done", ended.manifest)
        log.info(
            "a query of Athena has ended",
            extra={
                "month": f"{booked.month:%Y-%m}",
                "query": booked.name,
                "query_id": booked.query_id,
                "scanned_bytes": ended.scanned,
                "usd": f"{self.books.usd(ended.scanned):f}",
            },
        )
        found = self.books.find(booked.month, booked.name)
        assert found is not None
        return found

    def _failed(self, booked: BookedQuery, ended: _Ended) -> AwsError:
        title = _title(booked.name, booked.month)
        if ended.state == "CANCELLED" and _OVER_CUTOFF in ended.reason.lower():
            reason = (
                f"{title} would scan more than the {self.workgroup.cutoff:,} bytes that the workgroup"
                f" {self.workgroup.name} allows ({ended.reason}): raise the limit, or export fewer lines"
            )
            self.books.settle(booked, ended.scanned, "over", reason)
            return AwsError(Kind.EXPORT, reason)
        return self._charged_in_vain(
            booked, ended, f"{title} {ended.state.lower()}: {ended.reason or 'Athena gives no reason'}"
        )

    def _charged_in_vain(self, booked: BookedQuery, ended: _Ended | None, reason: str) -> AwsError:
        """Why a query has no result: counted, and charged by how it has `ended` unless it is settled already."""
        # Until it has ended it may scan more: then what was reserved stays charged.
        scanned = ended.scanned if ended is not None and ended.state not in _PENDING else None
        return self.retry.reason(self.books.fail(booked, scanned, self.retry.clock(), reason))

    # Requests

    def _where(self) -> tuple[str, ...]:
        """What of the configuration decides how a query ends, beside its workgroup."""
        who = (self.account.role_arn or self.account.id) if self.account is not None else ""
        settings = self.settings
        return self.region, who, settings.database, settings.table, str(settings.timeout)

    def _execution(
        self, booked: BookedQuery, *, aws: Aws | None = None, deadline: Deadline | None = None
    ) -> _Ended:
        answer = self._ask("GetQueryExecution", aws=aws, deadline=deadline, QueryExecutionId=booked.query_id)
        with reading("a query of Athena"):
            execution: Mapping[str, Any] = answer["QueryExecution"]
            status, statistics = execution["Status"], execution.get("Statistics") or {}
            reuse = statistics.get("ResultReuseInformation") or {}
            return _Ended(
                str(status["State"]),
                str(status.get("StateChangeReason") or ""),
                int(statistics.get("DataScannedInBytes") or 0),
                str(statistics.get("DataManifestLocation") or ""),
                bool(reuse.get("ReusedPreviousResult")),
            )

    def _ask(
        self, operation: str, *, aws: Aws | None = None, deadline: Deadline | None = None, **params: Any
    ) -> dict[str, Any]:
        return (aws or self.aws).call(
            self.account, _SERVICE, operation, self.region, params, deadline=deadline
        )


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _title(name: str, month: date) -> str:
    return f"Athena's query for the {name} of {month:%Y-%m}"


def _plain(text: str) -> str:
    """A text that ends no comment."""
    return "".join(character for character in text if character.isalnum() or character in "-_.:/+ ").replace(
        "*/", ""
    )
