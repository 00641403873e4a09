"""Athena's API: queries with their states, workgroups with their limits, results in pages."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from simulated_aws.athena.running import Job, Outcome, Put
from simulated_aws.athena.tables import MalformedQueryError, Table, Tables
from simulated_aws.input_model import check_input
from simulated_aws.wire import AwsCall, AwsError, Tokens

_ENGINE = {"SelectedEngineVersion": "AUTO", "EffectiveEngineVersion": "Athena engine version 3"}
_REUSE_MINUTES = 60


@dataclass(slots=True)
class WorkGroup:
    """A workgroup. `cutoff` is BytesScannedCutoffPerQuery, None for no limit; `output` is an S3 location.

    With `managed_results` Athena keeps the results itself, and no output location is needed.
    """

    name: str
    cutoff: int | None = None
    output: str = ""
    managed_results: bool = False
    enforced: bool = True
    enabled: bool = True


@dataclass(slots=True)
class _Execution:
    """A query that was started, and how often it was asked for since."""

    id: str
    account_id: str
    region: str
    params: Mapping[str, Any]
    workgroup: str
    output: tuple[str, str] | None
    submitted: datetime
    is_unload: bool
    job: Job | None = None
    outcome: Outcome | None = None
    completed: datetime | None = None
    reused: bool = False
    polls: int = 0

    @property
    def text(self) -> tuple[str, str, str]:
        """What must be equal for a result to be used again."""
        database = self.params.get("QueryExecutionContext", {}).get("Database", "")
        return self.params["QueryString"], database, self.workgroup


@dataclass(slots=True)
class Athena:
    """Answers Athena's calls. Tables, objects and workgroups are what was set last.

    `tables` gives the files of a table. `put` writes an object, and `is_occupied` tells whether a prefix of a bucket has
    some; by default, objects are kept in `objects`. A query is QUEUED for `queued_polls` requests and RUNNING for at least
    `running_polls`. Each file counts as `size_factor` times as large as it is, so that small files reach a limit. Of
    `active_limit` queries that run, one more is refused.
    """

    now: Callable[[], datetime]
    tokens: Tokens
    tables: Tables | None = None
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    put: Put | None = None
    is_occupied: Callable[[str, str], bool] | None = None
    workgroups: dict[str, WorkGroup] = field(default_factory=lambda: {"primary": WorkGroup("primary")})
    queued_polls: int = 1
    running_polls: int = 1
    size_factor: int = 1
    active_limit: int = 20
    _executions: dict[str, _Execution] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, call: AwsCall) -> dict[str, Any]:
        """The response members of one call; AwsError otherwise."""
        operation = _OPERATIONS.get(call.operation)
        if operation is None:
            raise AwsError("UnknownOperationException", f"{call.operation} is not part of this simulation.")
        try:
            check_input("athena", call.operation, call.params)
        except AwsError as error:
            if error.code != "ValidationException":
                raise
            raise _invalid(error.message) from None
        return operation(self, call)

    def close(self) -> None:
        """Stop what still runs."""
        with self._lock:
            jobs = [each.job for each in self._executions.values() if each.job is not None]
        for job in jobs:
            job.interrupt()
            job.ended.wait(5)

    # Queries

    def _start(self, call: AwsCall) -> dict[str, Any]:
        params = call.params
        if params.get("ExecutionParameters") or params.get("EngineConfiguration"):
            raise _invalid("ExecutionParameters and EngineConfiguration are not part of this simulation.")
        workgroup = self._workgroup(params.get("WorkGroup") or "primary")
        if not workgroup.enabled:
            raise _invalid(f"WorkGroup {workgroup.name} is disabled.")
        asked = {name: value for name, value in params.items() if name != "ClientRequestToken"}
        identifier = _id(call.account_id, call.region, params.get("ClientRequestToken") or uuid.uuid4())
        with self._lock:
            known = self._executions.get(identifier)
        if known is not None:
            if known.params != asked:
                raise _invalid("Idempotent parameters do not match")
            return {"QueryExecutionId": identifier}
        execution = self._made(call, identifier, workgroup, asked)
        with self._lock:
            jobs = [each.job for each in self._executions.values() if each.job is not None]
            if sum(not job.ended.is_set() for job in jobs) >= self.active_limit:
                raise AwsError(
                    "TooManyRequestsException",
                    "You have exceeded the limit for the number of queries you can run concurrently.",
                    members={"Reason": "CONCURRENT_QUERY_LIMIT_EXCEEDED"},
                )
            if self._executions.setdefault(identifier, execution) is execution and execution.job:
                execution.job.start()
        return {"QueryExecutionId": identifier}

    def _made(
        self, call: AwsCall, identifier: str, workgroup: WorkGroup, asked: Mapping[str, Any]
    ) -> _Execution:
        """An execution that is to run, or that reuses an earlier result."""
        from simulated_aws.athena.sql import read_statement  # DuckDB and sqlglot, for who uses Athena only

        try:
            statement = read_statement(asked["QueryString"])
        except MalformedQueryError as error:
            raise _invalid(str(error), "MALFORMED_QUERY") from None
        execution = _Execution(
            id=identifier,
            account_id=call.account_id,
            region=call.region,
            params=asked,
            workgroup=workgroup.name,
            output=_output(workgroup, asked),
            submitted=self.now(),
            is_unload=statement.unload is not None,
        )
        if (previous := self._reusable(execution)) is not None:
            execution.outcome, execution.reused = previous.outcome, True
            return execution
        execution.job = Job(
            id=identifier,
            statement=statement,
            database=execution.text[1],
            tables=self.tables or _no_table,
            put=self.put or self._keep,
            is_occupied=self.is_occupied or self._has_objects,
            output=execution.output,
            cutoff=workgroup.cutoff,
            factor=self.size_factor,
            fails=call.query_fails,
        )
        return execution

    def _reusable(self, execution: _Execution) -> _Execution | None:
        """The last result of the same text that is young enough, even if its data has changed since."""
        asked = execution.params.get("ResultReuseConfiguration", {}).get("ResultReuseByAgeConfiguration", {})
        if not asked.get("Enabled") or execution.is_unload:
            return None
        oldest = self.now() - timedelta(minutes=int(asked.get("MaxAgeInMinutes", _REUSE_MINUTES)))
        with self._lock:
            found = [
                each
                for each in self._executions.values()
                if each.text == execution.text
                and (each.account_id, each.region) == (execution.account_id, execution.region)
                and each.outcome is not None
                and each.outcome.state == "SUCCEEDED"
                and not each.reused
                and each.completed is not None
                and each.completed >= oldest
            ]
        return found[-1] if found else None

    def _get(self, call: AwsCall) -> dict[str, Any]:
        execution = self._execution(call)
        state = self._poll(execution, hangs=call.query_hangs)
        outcome = execution.outcome or Outcome(state)
        status: dict[str, Any] = {"State": state, "SubmissionDateTime": execution.submitted.timestamp()}
        if execution.completed is not None:
            status["CompletionDateTime"] = execution.completed.timestamp()
        if outcome.reason:
            status["StateChangeReason"] = outcome.reason
        if state == "FAILED":
            status["AthenaError"] = {
                "ErrorCategory": outcome.category,
                "Retryable": outcome.retryable,
                "ErrorMessage": outcome.reason,
                **({} if outcome.error_type is None else {"ErrorType": outcome.error_type}),
            }
        statistics: dict[str, Any] = {
            "EngineExecutionTimeInMillis": outcome.milliseconds,
            "DataScannedInBytes": 0 if execution.reused else outcome.scanned,
            "TotalExecutionTimeInMillis": outcome.milliseconds,
            "ResultReuseInformation": {"ReusedPreviousResult": execution.reused},
        }
        if outcome.manifest:
            statistics["DataManifestLocation"] = outcome.manifest
        return {
            "QueryExecution": {
                "QueryExecutionId": execution.id,
                "Query": execution.params["QueryString"],
                "StatementType": "DML",
                "SubstatementType": "UNLOAD" if execution.is_unload else "SELECT",
                "QueryExecutionContext": execution.params.get("QueryExecutionContext", {}),
                "Status": status,
                "Statistics": statistics,
                "WorkGroup": execution.workgroup,
                "EngineVersion": _ENGINE,
                **_place_of_results(execution),
            }
        }

    def _poll(self, execution: _Execution, *, hangs: bool) -> str:
        """The state that a request is answered with; final once the query has ended and was asked for often enough."""
        with self._lock:
            if execution.outcome is not None:
                execution.completed = execution.completed or self.now()
                return execution.outcome.state
            if hangs:
                return "RUNNING"
            execution.polls += 1
            if execution.polls <= self.queued_polls:
                return "QUEUED"
            ended = execution.job.outcome if execution.job else None
            if ended is None or execution.polls <= self.queued_polls + self.running_polls:
                return "RUNNING"
            execution.outcome, execution.completed = ended, self.now()
            return ended.state

    def _stop(self, call: AwsCall) -> dict[str, Any]:
        execution = self._execution(call)
        if execution.job is None or execution.completed is not None:
            return {}
        execution.job.interrupt()
        execution.job.ended.wait(30)
        with self._lock:
            if execution.completed is None:
                # What was scanned until then is charged.
                scanned = execution.job.outcome.scanned if execution.job.outcome else 0
                execution.outcome = Outcome("CANCELLED", scanned, "Query cancelled by user")
                execution.completed = self.now()
        return {}

    def _results(self, call: AwsCall) -> dict[str, Any]:
        execution = self._execution(call)
        outcome = execution.outcome
        if execution.completed is None or outcome is None:
            raise _invalid("Query has not yet finished. Current state: RUNNING")
        if outcome.rows is None:
            raise _invalid(f"Query did not finish successfully. Final query state: {outcome.state}")
        header = [] if execution.is_unload else [tuple(column["Name"] for column in outcome.columns)]
        size = int(call.params.get("MaxResults") or 1000)
        try:
            page, more = self.tokens.page(call, [*header, *outcome.rows], size)
        except AwsError as error:
            raise _invalid(error.message) from None
        rows = [{"Data": [{} if cell is None else {"VarCharValue": cell} for cell in row]} for row in page]
        return {
            "UpdateCount": outcome.update_count,
            "ResultSet": {"Rows": rows, "ResultSetMetadata": {"ColumnInfo": list(outcome.columns)}},
            **more,
        }

    def _execution(self, call: AwsCall) -> _Execution:
        with self._lock:
            found = self._executions.get(call.params["QueryExecutionId"])
        if found is None or (found.account_id, found.region) != (call.account_id, call.region):
            raise _invalid(f"QueryExecution {call.params['QueryExecutionId']} was not found")
        return found

    # Workgroups

    def _workgroup(self, name: str) -> WorkGroup:
        if name not in self.workgroups:
            raise _invalid(f"WorkGroup {name} is not found.")
        return self.workgroups[name]

    def _get_workgroup(self, call: AwsCall) -> dict[str, Any]:
        workgroup = self._workgroup(call.params["WorkGroup"])
        configuration: dict[str, Any] = {
            "ResultConfiguration": {"OutputLocation": workgroup.output} if workgroup.output else {},
            "ManagedQueryResultsConfiguration": {"Enabled": workgroup.managed_results},
            "EnforceWorkGroupConfiguration": workgroup.enforced,
            "PublishCloudWatchMetricsEnabled": True,
            "RequesterPaysEnabled": False,
            "EngineVersion": _ENGINE,
        }
        if workgroup.cutoff is not None:
            configuration["BytesScannedCutoffPerQuery"] = workgroup.cutoff
        state = "ENABLED" if workgroup.enabled else "DISABLED"
        return {"WorkGroup": {"Name": workgroup.name, "State": state, "Configuration": configuration}}

    # Objects, where no bucket is simulated

    def _keep(self, bucket: str, key: str, body: bytes) -> None:
        self.objects[bucket, key] = body

    def _has_objects(self, bucket: str, prefix: str) -> bool:
        return any(owner == bucket and key.startswith(prefix) for owner, key in self.objects)


def _place_of_results(execution: _Execution) -> dict[str, Any]:
    if execution.output is None:
        return {"ManagedQueryResultsConfiguration": {"Enabled": True}}
    bucket, prefix = execution.output
    suffix = "" if execution.is_unload else ".csv"
    return {"ResultConfiguration": {"OutputLocation": f"s3://{bucket}/{prefix}{execution.id}{suffix}"}}


def _no_table(database: str, name: str) -> Table:
    raise KeyError(f"{database}.{name}")


def _id(*parts: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(map(str, parts))))


def _invalid(message: str, code: str = "INVALID_INPUT") -> AwsError:
    return AwsError("InvalidRequestException", message, members={"AthenaErrorCode": code})


def _output(workgroup: WorkGroup, params: Mapping[str, Any]) -> tuple[str, str] | None:
    """Bucket and prefix of a query's results; None where Athena manages them itself."""
    own = params.get("ResultConfiguration", {}).get("OutputLocation", "")
    if workgroup.managed_results:
        if own:
            raise _invalid("OutputLocation can not be set with managed query results.")
        return None
    location = workgroup.output if workgroup.enforced and workgroup.output else own or workgroup.output
    if not location:
        raise _invalid(
            "No output location provided. An output location is required either through the Workgroup result"
            " configuration setting or as an API input."
        )
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    if not location.startswith("s3://") or not bucket:
        raise _invalid(f"outputLocation is not a valid S3 path: {location}")
    return bucket, f"{prefix.rstrip('/')}/" if prefix.rstrip("/") else ""


_OPERATIONS: Mapping[str, Callable[[Athena, AwsCall], dict[str, Any]]] = {
    "GetQueryExecution": Athena._get,
    "GetQueryResults": Athena._results,
    "GetWorkGroup": Athena._get_workgroup,
    "StartQueryExecution": Athena._start,
    "StopQueryExecution": Athena._stop,
}
