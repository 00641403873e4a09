"""Clients for the simulated AWS, and loops over its pages that share no code with the exporter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import boto3
import botocore.parsers
import botocore.serialize
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from simulated_aws import SimulatedAws

NOW = datetime(2026, 3, 17, 14, 20, tzinfo=UTC)
ONE_ATTEMPT = Config(retries={"total_max_attempts": 1}, read_timeout=60, connect_timeout=60)
BY_ACCOUNT = {"Type": "DIMENSION", "Key": "LINKED_ACCOUNT"}
BY_SERVICE = {"Type": "DIMENSION", "Key": "SERVICE"}
BY_RECORD_TYPE = {"Type": "DIMENSION", "Key": "RECORD_TYPE"}

Client = Callable[..., Any]

_SESSION = boto3.session.Session()


def client_of(
    aws: SimulatedAws, service: str, credentials: dict[str, Any] | None = None, **kwargs: Any
) -> Any:
    """A boto3 client of one attempt a call; with the payer's keys unless given an answer's Credentials."""
    environment = aws.environment()
    keys = credentials or {
        "AccessKeyId": environment["AWS_ACCESS_KEY_ID"],
        "SecretAccessKey": environment["AWS_SECRET_ACCESS_KEY"],
    }
    return _SESSION.client(
        service,
        endpoint_url=aws.url,
        region_name=kwargs.pop("region_name", "us-east-1"),
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys.get("SessionToken"),
        config=kwargs.pop("config", ONE_ATTEMPT),
    )


def error_code(call: Any, **params: Any) -> str:
    """The code of the error that a call raises."""
    try:
        call(**params)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    raise AssertionError("the call succeeded")


def send(
    aws: SimulatedAws, service: str, headers: dict[str, str], body: bytes, path: str = "/"
) -> urllib3.BaseHTTPResponse:
    """One signed POST of the payer with a body of the caller's own."""
    environment = aws.environment()
    keys = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    request = AWSRequest("POST", aws.url + path, headers=headers, data=body)
    SigV4Auth(keys, _SESSION._session.get_service_model(service).signing_name, "us-east-1").add_auth(request)
    with urllib3.PoolManager() as pool:
        return pool.request("POST", aws.url + path, body=body, headers=dict(request.headers), retries=False)


def call_in_protocol(
    aws: SimulatedAws, service: str, protocol: str, operation: str, params: dict[str, Any]
) -> dict[str, Any]:
    """A call in one of a service's protocols, with botocore's own serializer and parser."""
    model = _SESSION._session.get_service_model(service).operation_model(operation)
    made = botocore.serialize.create_serializer(protocol, False).serialize_to_request(params, model)
    body = made["body"]
    if isinstance(body, dict):
        body = urlencode(body)
    body = body.encode() if isinstance(body, str) else body
    answer = send(aws, service, dict(made["headers"]), body, made["url_path"])
    parser = botocore.parsers.create_parser(protocol)
    shape = model.output_shape
    found = {"status_code": answer.status, "headers": answer.headers, "body": answer.data}
    return dict(parser.parse(found, shape))


def query(start: str, end: str, *group_by: dict[str, str], **more: Any) -> dict[str, Any]:
    """The parameters of a GetCostAndUsage by day over UnblendedCost."""
    members: dict[str, Any] = {
        "TimePeriod": {"Start": start, "End": end},
        "Granularity": "DAILY",
        "Metrics": ["UnblendedCost"],
    }
    if group_by:
        members["GroupBy"] = list(group_by)
    return members | more


def pages(ce: Any, **params: Any) -> Iterator[dict[str, Any]]:
    """Every page of a GetCostAndUsage."""
    token: dict[str, str] = {}
    while True:
        page = ce.get_cost_and_usage(**params, **token)
        yield page
        if not page.get("NextPageToken"):
            return
        token = {"NextPageToken": page["NextPageToken"]}


def summed(ce: Any, metric: str = "UnblendedCost", **params: Any) -> dict[tuple[str, ...], Decimal]:
    """The sum of each group over all periods and pages."""
    sums: dict[tuple[str, ...], Decimal] = {}
    for page in pages(ce, **params):
        for line in page["ResultsByTime"]:
            for group in line["Groups"]:
                keys = tuple(group["Keys"])
                sums[keys] = sums.get(keys, Decimal(0)) + Decimal(group["Metrics"][metric]["Amount"])
    return sums
