"""CloudWatch's queries over all three of its protocols: JSON, Query and Smithy RPC v2 CBOR."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from simulated_aws.input_model import check_input
from simulated_aws.metric_truth import Dimensions, MetricSeries, MetricTruth, from_epoch
from simulated_aws.organization import Organization
from simulated_aws.query_protocol import parse_form, to_xml
from simulated_aws.service_names import service_model
from simulated_aws.wire import AwsCall, AwsError, Response, Tokens, cbor_response, json_response, xml_response

_STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,10})?|100)")
_QUERIES = 500
_POINTS = 100_800
_LISTED = 500

Point = tuple[int, float]


@dataclass(frozen=True, slots=True)
class _Answered:
    """All points of one query, in the order asked for."""

    id: str
    label: str
    points: list[Point]


def _checked_queries(params: Mapping[str, Any]) -> tuple[Sequence[Mapping[str, Any]], int]:
    """The queries of a GetMetricData and its limit of points; a ValidationError where AWS takes them not."""
    queries = params.get("MetricDataQueries") or []
    if len(queries) > _QUERIES:
        raise AwsError(
            "ValidationError",
            f"The collection MetricDataQueries must not have a size greater than {_QUERIES}.",
        )
    if not queries:
        raise AwsError("ValidationError", "The collection MetricDataQueries must not be empty.")
    ids = [query["Id"] for query in queries]
    if len(set(ids)) != len(ids):
        raise AwsError("ValidationError", "The values for parameter id in MetricDataQueries are not unique.")
    limit = params.get("MaxDatapoints") or _POINTS
    if not 1 <= limit <= _POINTS:
        raise AwsError("ValidationError", f"MaxDatapoints must be from 1 to {_POINTS}.")
    return queries, limit


def _page_of(answered: Sequence[_Answered], skip: int, limit: int) -> list[dict[str, Any]]:
    """The results that lie between `skip` and `limit` points more."""
    results, position = [], 0
    for answer in answered:
        first, position = position, position + len(answer.points)
        here = answer.points[max(skip - first, 0) : max(skip + limit - first, 0)]
        if not here and not (skip <= first < skip + limit or (not answer.points and first <= skip + limit)):
            continue
        results.append(
            {
                "Id": answer.id,
                "Label": answer.label,
                "Timestamps": [from_epoch(moment) for moment, _ in here],
                "Values": [value for _, value in here],
                "StatusCode": "PartialData" if position > skip + limit else "Complete",
            }
        )
    return results


class CloudWatch:
    """Answers GetMetricData, GetMetricStatistics and ListMetrics; the rest is left to moto."""

    def __init__(
        self, organization: Organization, truth: MetricTruth, now: Callable[[], datetime], tokens: Tokens
    ) -> None:
        self._organization = organization
        self._truth = truth
        self._now = now
        self._tokens = tokens
        self._operations: dict[str, Callable[[AwsCall, Mapping[str, Any]], dict[str, Any]]] = {
            "GetMetricData": self._get_metric_data,
            "GetMetricStatistics": self._get_metric_statistics,
            "ListMetrics": self._list_metrics,
        }

    def answer(self, call: AwsCall) -> Response | None:
        """The answer in the protocol of the call, None for operations that are left to moto."""
        operation = self._operations.get(call.operation)
        model = service_model("cloudwatch")
        if operation is None or model is None:
            if call.protocol == "smithy-rpc-v2-cbor":
                raise AwsError(
                    "UnknownOperationException", f"{call.operation} is not part of this simulation."
                )
            return None
        described = model.operation_model(call.operation)
        params: Any = call.params
        if call.protocol == "query":
            params = parse_form(described.input_shape, {k: str(v) for k, v in params.items()})
        try:
            check_input("cloudwatch", call.operation, params)
        except AwsError as error:
            if error.code == "ValidationException":
                raise AwsError("ValidationError", error.message) from error
            raise
        result = operation(call, params)
        if call.protocol == "query":
            name = call.operation
            return xml_response(
                f'<{name}Response xmlns="{model.metadata["xmlNamespace"]}"><{name}Result>'
                f"{to_xml(described.output_shape, result)}</{name}Result>"
                f"<ResponseMetadata><RequestId>{secrets.token_hex(8)}</RequestId></ResponseMetadata></{name}Response>"
            )
        if call.protocol == "smithy-rpc-v2-cbor":
            return cbor_response(result)
        return json_response(call, _with_epochs(result))

    # -- GetMetricData ---------------------------------------------------------------------------------

    def _get_metric_data(self, call: AwsCall, params: Mapping[str, Any]) -> dict[str, Any]:
        start, end = self._interval(params)
        queries, limit = _checked_queries(params)
        asked = {key: _text(value) for key, value in params.items() if key != "NextToken"}
        asked["account"] = call.account_id
        skip, at = 0, self._now()
        if token := params.get("NextToken"):
            state = self._state(token, call.operation, asked)
            # Later pages are as of the first: the newest minutes move.
            skip, at = int(state["skip"]), from_epoch(state["at"])
        answered = [
            self._query(call, query, start, end, at, str(params.get("ScanBy") or "TimestampDescending"))
            for query in queries
            if query.get("ReturnData", True)
        ]
        results = _page_of(answered, skip, limit)
        if call.query_fails and results:
            for member in ("Timestamps", "Values"):
                results[0][member] = results[0][member][::2]
            results[0]["StatusCode"] = "InternalError"
        members: dict[str, Any] = {"MetricDataResults": results, "Messages": []}
        if skip + limit < sum(len(answer.points) for answer in answered):
            state = {"skip": skip + limit, "at": at.timestamp()}
            members["NextToken"] = self._tokens.write(call.operation, asked, state)
        return members

    def _query(
        self, call: AwsCall, query: Mapping[str, Any], start: datetime, end: datetime, at: datetime, scan: str
    ) -> _Answered:
        if not re.fullmatch(r"[a-z][a-zA-Z0-9_]*", query["Id"]):
            raise AwsError("ValidationError", f"The value {query['Id']} for parameter id is not valid.")
        if query.get("Expression") is not None:
            raise AwsError(
                "ValidationError", f"Expressions are not part of this simulation: {query['Expression']}"
            )
        stat = query.get("MetricStat")
        if stat is None:
            raise AwsError(
                "ValidationError", "The parameter MetricDataQueries.member.1.MetricStat is required.\n"
            )
        account_id = query.get("AccountId") or call.account_id
        if account_id != call.account_id and call.account_id != self._organization.payer.id:
            raise AwsError(
                "ValidationError",
                f"The account {call.account_id} is not a monitoring account of {account_id}.",
            )
        metric = stat["Metric"]
        period = _period(stat["Period"])
        statistic = str(stat["Stat"])
        if statistic not in _STATISTICS and not _PERCENTILE.fullmatch(statistic):
            raise AwsError("ValidationError", f"The value {statistic} for parameter Stat is not supported.")
        name = str(metric.get("MetricName", ""))
        series = self._truth.series(account_id, call.region).get(
            (str(metric.get("Namespace", "")), name, _dimensions(metric.get("Dimensions")))
        )
        points: list[Point] = []
        if series is not None and stat.get("Unit") in (None, series.unit):
            points = self._points(series, period, statistic, start, end, at)
        if scan == "TimestampDescending":
            points.reverse()
        return _Answered(query["Id"], str(query.get("Label") or name), points)

    def _points(
        self, series: MetricSeries, period: int, statistic: str, start: datetime, end: datetime, at: datetime
    ) -> list[Point]:
        """One value a period that has data, oldest first; periods count from the start of the interval."""
        first = int(start.timestamp()) // 60 * 60
        last = int(end.timestamp())
        # Points of short periods are kept for 15 days, of five minutes for 63.
        kept = 15 if period < 300 else 63 if period < 3600 else 455
        first += max(0, -(-(int((at - timedelta(days=kept)).timestamp()) - first) // period)) * period
        bins: dict[int, list[float]] = {}
        for moment, value in self._truth.values(series, first, last, at):
            bins.setdefault((moment - first) // period, []).append(value)
        return [(first + index * period, _statistic(statistic, values)) for index, values in bins.items()]

    # -- GetMetricStatistics ---------------------------------------------------------------------------

    def _get_metric_statistics(self, call: AwsCall, params: Mapping[str, Any]) -> dict[str, Any]:
        start, end = self._interval(params)
        period = _period(params["Period"])
        statistics = list(params.get("Statistics") or [])
        extended = list(params.get("ExtendedStatistics") or [])
        if not statistics and not extended:
            raise AwsError(
                "InvalidParameterCombination", "Must specify either Statistics or ExtendedStatistics"
            )
        if (end - start).total_seconds() / period > 1440:
            raise AwsError(
                "InvalidParameterCombination",
                "You have requested more than the limit of 1,440 datapoints. "
                "You may reduce the datapoints requested by increasing Period, or decreasing the time range.",
            )
        key = (params["Namespace"], params["MetricName"], _dimensions(params.get("Dimensions")))
        series = self._truth.series(call.account_id, call.region).get(key)
        points: dict[int, dict[str, Any]] = {}
        if series is not None:
            for statistic in (*statistics, *extended):
                for moment, value in self._points(series, period, statistic, start, end, self._now()):
                    point = points.setdefault(moment, {"Timestamp": from_epoch(moment), "Unit": series.unit})
                    if statistic in statistics:
                        point[statistic] = value
                    else:
                        point.setdefault("ExtendedStatistics", {})[statistic] = value
        return {"Label": params["MetricName"], "Datapoints": list(points.values())}

    # -- ListMetrics -----------------------------------------------------------------------------------

    def _list_metrics(self, call: AwsCall, params: Mapping[str, Any]) -> dict[str, Any]:
        recently = params.get("RecentlyActive")
        if recently not in (None, "PT3H"):
            raise AwsError("ValidationError", "RecentlyActive must be PT3H.")
        asked = {key: value for key, value in params.items() if key != "NextToken"} | {
            "account": call.account_id
        }
        linked = bool(params.get("IncludeLinkedAccounts"))
        accounts = [call.account_id]
        if linked and call.account_id == self._organization.payer.id:
            accounts = [account.id for account in self._organization.accounts]
        if owner := params.get("OwningAccount"):
            accounts = [account for account in accounts if account == owner]
        now = self._now().timestamp()
        # Metrics without data for two weeks are not listed; recently active ones have some within 3 hours.
        horizon = now - (3 * 3600 if recently else 14 * 86_400)
        filters = [(each["Name"], each.get("Value")) for each in params.get("Dimensions") or []]
        found = [
            series
            for account in accounts
            for series in self._truth.series(
                account, call.region, instances=account == call.account_id
            ).values()
            if params.get("Namespace") in (None, series.namespace)
            and params.get("MetricName") in (None, series.name)
            and series.ended > horizon
            and not (recently and series.step > 3600)
            and all(
                any(name == have and value in (None, has) for have, has in series.dimensions)
                for name, value in filters
            )
        ]
        skip = (
            int(self._state(token, call.operation, asked)["skip"])
            if (token := params.get("NextToken"))
            else 0
        )
        page = found[skip : skip + _LISTED]
        answer: dict[str, Any] = {
            "Metrics": [
                {
                    "Namespace": series.namespace,
                    "MetricName": series.name,
                    "Dimensions": [{"Name": name, "Value": value} for name, value in series.dimensions],
                }
                for series in page
            ]
        }
        if linked:
            answer["OwningAccounts"] = [series.account_id for series in page]
        if skip + _LISTED < len(found):
            answer["NextToken"] = self._tokens.write(call.operation, asked, {"skip": skip + _LISTED})
        return answer

    def _state(self, token: str, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        try:
            state = self._tokens.read(str(token), operation, asked)
        except ValueError:
            state = None
        if state is None:
            code = "InvalidNextToken" if operation == "GetMetricData" else "InvalidParameterValue"
            raise AwsError(code, "The NextToken is not valid.")
        return state

    def _interval(self, params: Mapping[str, Any]) -> tuple[datetime, datetime]:
        start, end = _moment(params["StartTime"]), _moment(params["EndTime"])
        if start >= end:
            raise AwsError(
                "ValidationError", "The parameter StartTime must be less than the parameter EndTime."
            )
        return start, end


def _statistic(name: str, values: list[float]) -> float:
    if name == "Sum":
        return sum(values)
    if name == "SampleCount":
        return float(len(values))
    if name == "Minimum":
        return min(values)
    if name == "Maximum":
        return max(values)
    if name == "Average":
        return sum(values) / len(values)
    match = _PERCENTILE.fullmatch(name)
    if match is None:
        raise AwsError("ValidationError", f"The value {name} for parameter Stat is not supported.")
    rank = float(match[1]) / 100 * (len(values) - 1)
    return sorted(values)[round(rank)]


def _period(period: int) -> int:
    if period not in (1, 5, 10, 20, 30) and (period < 60 or period % 60):
        raise AwsError(
            "ValidationError", f"Period must be 1, 5, 10, 20, 30 or a multiple of 60, not {period}."
        )
    if period > 86_400:
        raise AwsError("ValidationError", "Period must not be longer than a day.")
    return period


def _dimensions(dimensions: Any) -> Dimensions:
    return tuple(sorted((str(each["Name"]), str(each["Value"])) for each in dimensions or []))


def _moment(value: Any) -> datetime:
    try:
        if isinstance(value, datetime):
            return value
        if isinstance(value, int | float):
            return from_epoch(value)
        moment = datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        raise AwsError("ValidationError", f"{value} is not a time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _with_epochs(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, dict):
        return {key: _with_epochs(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_epochs(item) for item in value]
    return value
