"""The API of Data Exports, and the one of the reports before them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from simulated_aws.exports.data_exports import DataExports
from simulated_aws.exports.definition import LEGACY, Export
from simulated_aws.exports.delivery import Execution
from simulated_aws.input_model import check_input
from simulated_aws.wire import AwsCall, AwsError, Tokens


class ExportsApi:
    """Answers `bcm-data-exports` and `cur` for the account that asks; both are in us-east-1 alone."""

    def __init__(self, exports: DataExports, tokens: Tokens) -> None:
        self._exports = exports
        self._tokens = tokens
        self.page_size = 100
        self._operations: dict[tuple[str, str], Callable[[AwsCall], dict[str, Any]]] = {
            ("bcm-data-exports", "ListExports"): self._list_exports,
            ("bcm-data-exports", "GetExport"): self._get_export,
            ("bcm-data-exports", "ListExecutions"): self._list_executions,
            ("bcm-data-exports", "GetExecution"): self._get_execution,
            ("cur", "DescribeReportDefinitions"): self._describe_reports,
        }

    def answer(self, call: AwsCall) -> dict[str, Any]:
        """The response members of one call; AwsError otherwise."""
        check_input(call.service, call.operation, call.params)
        if call.region != "us-east-1":
            raise AwsError("ValidationException", f"{call.service} is not available in {call.region}.")
        operation = self._operations.get((call.service, call.operation))
        if operation is None:
            raise AwsError("UnknownOperationException", f"{call.operation} is not part of this simulation.")
        self._exports.deliver_lazily()
        return operation(call)

    def _list_exports(self, call: AwsCall) -> dict[str, Any]:
        found = [
            {
                "ExportArn": export.arn,
                "ExportName": export.name,
                "ExportStatus": self._status(export),
            }
            for export in self._exports.all()
            if export.account_id == call.account_id and export.table != LEGACY
        ]
        return self._page(call, "Exports", found)

    def _get_export(self, call: AwsCall) -> dict[str, Any]:
        export = self._named(call)
        return {"Export": export.described(), "ExportStatus": self._status(export)}

    def _list_executions(self, call: AwsCall) -> dict[str, Any]:
        export = self._named(call)
        found = [
            {"ExecutionId": execution.id, "ExecutionStatus": _execution_status(execution)}
            for execution in self._exports.executions(export.name)
        ]
        return self._page(call, "Executions", found)

    def _get_execution(self, call: AwsCall) -> dict[str, Any]:
        export = self._named(call)
        for execution in self._exports.executions(export.name):
            if execution.id == call.params["ExecutionId"]:
                return {
                    "ExecutionId": execution.id,
                    "Export": export.described(),
                    "ExecutionStatus": _execution_status(execution),
                }
        raise AwsError("ResourceNotFoundException", "Execution not found.")

    def _describe_reports(self, call: AwsCall) -> dict[str, Any]:
        found = [
            {
                "ReportName": export.name,
                "TimeUnit": "HOURLY" if export.hourly else "DAILY",
                "Format": "textORcsv",
                "Compression": "GZIP",
                "AdditionalSchemaElements": ["RESOURCES"] if export.resources else [],
                "S3Bucket": export.bucket,
                "S3Prefix": export.prefix,
                "S3Region": "us-east-1",
                "AdditionalArtifacts": [],
                "RefreshClosedReports": True,
                "ReportVersioning": "CREATE_NEW_REPORT",
            }
            for export in self._exports.all()
            if export.account_id == call.account_id and export.table == LEGACY
        ]
        return self._page(call, "ReportDefinitions", found)

    def _named(self, call: AwsCall) -> Export:
        for export in self._exports.all():
            if (export.arn, export.account_id) == (call.params["ExportArn"], call.account_id):
                return export
        raise AwsError("ResourceNotFoundException", "Export not found.")

    def _status(self, export: Export) -> dict[str, Any]:
        refreshed = self._exports.refreshed(export.name)
        status: dict[str, Any] = {
            "StatusCode": export.status,
            "CreatedAt": _seconds(export.created),
            "LastUpdatedAt": _seconds(export.created),
        }
        if export.status_reason:
            status["StatusReason"] = export.status_reason
        if refreshed is not None:
            status["LastRefreshedAt"] = _seconds(refreshed)
        return status

    def _page(self, call: AwsCall, member: str, found: list[dict[str, Any]]) -> dict[str, Any]:
        size = min(int(call.params.get("MaxResults") or self.page_size), self.page_size)
        page, more = self._tokens.page(call, found, size)
        return {member: page, **more}


def _execution_status(execution: Execution) -> dict[str, Any]:
    moment = _seconds(execution.at)
    return {
        "StatusCode": "DELIVERY_SUCCESS",
        "CreatedAt": moment,
        "CompletedAt": moment,
        "LastUpdatedAt": moment,
    }


def _seconds(moment: datetime) -> float:
    return moment.timestamp()
