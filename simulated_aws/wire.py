"""AWS calls and errors as they look on the wire: JSON, Query, EC2, REST and CBOR."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from simulated_aws.cbor import decode_cbor, encode_cbor
from simulated_aws.routing import rest_operation
from simulated_aws.service_names import Marks, ServiceNames, model_protocol, service_model

T = TypeVar("T")

_CREDENTIAL = re.compile(r"Credential=([A-Z0-9]+)/(\d{8})/([a-z0-9-]+)/([a-zA-Z0-9._-]+)/aws4_request")


class AwsError(Exception):
    """An error that AWS would answer: its code, message and HTTP status (None: the service's usual one).

    `members` are what the service's model adds to the message of a JSON answer.
    """

    def __init__(
        self,
        code: str,
        message: str,
        status: int | None = None,
        members: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.members = code, message, status, members


@dataclass(slots=True)
class AwsCall:
    """One request as understood: service and operation in botocore's names, parameters where parsed."""

    service: str
    operation: str
    region: str
    access_key: str
    protocol: str
    body: bytes
    path: str
    query: str
    headers: Mapping[str, str]
    params: dict[str, Any] = field(default_factory=dict)
    account_id: str = ""
    query_fails: bool = False
    query_hangs: bool = False


@dataclass(slots=True)
class Response:
    """Status, headers and body, ready for WSGI."""

    status: int
    headers: dict[str, str]
    body: bytes


# What WSGI keeps apart from the other headers; SDKs sign them like any other.
_APART = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Every header as it was sent, by its name in lower case."""
    headers = {
        key[5:].replace("_", "-").lower(): str(value)
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    return headers | {name: str(environ[key]) for key, name in _APART.items() if environ.get(key)}


def read_call(environ: Mapping[str, Any], body: bytes, names: ServiceNames) -> AwsCall:
    """Understand a request by its credential scope, target header, path and form.

    Raises ValueError where the body is not what its headers promise.
    """
    headers = _headers(environ)
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    path, query = str(environ.get("PATH_INFO") or "/"), str(environ.get("QUERY_STRING") or "")
    match = _CREDENTIAL.search(headers.get("authorization", "") or query.replace("%2F", "/"))
    access_key, region, signed = (match[1], match[3], match[4].lower()) if match else ("", "us-east-1", "")
    call = AwsCall("", "", region, access_key, "json", body, path, query, headers)
    smithy = re.fullmatch(r"/service/([^/]+)/operation/([A-Za-z0-9]+)", path)
    target = headers.get("x-amz-target", "")
    is_form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    if smithy:
        call.protocol, call.operation = "smithy-rpc-v2-cbor", smithy[2]
        call.params = decode_cbor(body) if body else {}
        call.service = names.find(signed, Marks(target=smithy[1]))
    elif target:
        prefix, _, call.operation = target.rpartition(".")
        call.service = names.find(signed, Marks(target=prefix))
    elif is_form or "Action=" in query:
        _read_form(call, signed, names)
    else:
        call.service = names.find(signed, Marks())
        call.protocol = model_protocol(call.service)
        call.operation = rest_operation(environ, call.service)
    return call


def _read_form(call: AwsCall, signed: str, names: ServiceNames) -> None:
    form = dict(parse_qsl(call.body.decode("utf-8", "replace") or call.query, keep_blank_values=True))
    call.operation, call.params = form.get("Action", ""), dict(form)
    call.service = names.find(signed, Marks(version=form.get("Version", "")))
    if not signed and call.operation.startswith("AssumeRoleWith"):
        call.service = "sts"
    call.protocol = "ec2" if call.service == "ec2" else "query"


def json_response(call: AwsCall, members: Mapping[str, Any], status: int = 200) -> Response:
    """A modelled answer of a JSON service."""
    version = "1.0" if call.service in ("cloudwatch", "cost-optimization-hub") else "1.1"
    body = json.dumps(members, separators=(",", ":")).encode()
    return Response(status, {"Content-Type": f"application/x-amz-json-{version}", **_request_id()}, body)


def cbor_response(members: Mapping[str, Any], status: int = 200) -> Response:
    """A modelled answer over Smithy RPC v2; times must be aware datetimes."""
    headers = {"Content-Type": "application/cbor", "smithy-protocol": "rpc-v2-cbor", **_request_id()}
    return Response(status, headers, encode_cbor(members))


def xml_response(body: str, status: int = 200) -> Response:
    """An XML answer; `body` is the whole document without its declaration."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'
    return Response(status, {"Content-Type": "text/xml", **_request_id()}, text.encode())


def _request_id() -> dict[str, str]:
    raw = secrets.token_hex(16)
    identifier = f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
    return {"x-amzn-RequestId": identifier}


def error_response(call: AwsCall, error: AwsError) -> Response:
    """The error in the wire form of the call's protocol."""
    code, message = error.code, error.message
    if call.protocol == "ec2":
        body = (
            f"<Response><Errors><Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
            f"</Errors><RequestID>{secrets.token_hex(8)}</RequestID></Response>"
        )
        return xml_response(body, error.status or 400)
    if call.protocol == "query":
        model = service_model(call.service)
        namespace = str(model.metadata.get("xmlNamespace", "")) if model else ""
        fault = "Receiver" if (error.status or 400) >= 500 else "Sender"
        body = (
            f'<ErrorResponse xmlns="{escape(namespace)}"><Error><Type>{fault}</Type>'
            f"<Code>{escape(code)}</Code>"
            f"<Message>{escape(message)}</Message></Error>"
            f"<RequestId>{secrets.token_hex(8)}</RequestId></ErrorResponse>"
        )
        return xml_response(body, error.status or 400)
    if call.protocol == "rest-xml":
        body = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
        if call.service != "s3":
            body = f"<ErrorResponse>{body}<RequestId>{secrets.token_hex(8)}</RequestId></ErrorResponse>"
        return xml_response(body, error.status or 400)
    if call.protocol == "smithy-rpc-v2-cbor":
        response = cbor_response({"__type": code, "message": message}, error.status or 400)
        response.headers |= _query_compatible(call, error)
        return response
    body_members = {"__type": code, "message": message, **error.members}
    response = json_response(call, body_members, error.status or 400)
    response.headers["x-amzn-ErrorType"] = code
    response.headers |= _query_compatible(call, error)
    return response


def _query_compatible(call: AwsCall, error: AwsError) -> dict[str, str]:
    if call.service != "cloudwatch":
        return {}
    fault = "Receiver" if (error.status or 400) >= 500 else "Sender"
    return {"x-amzn-query-error": f"{error.code};{fault}"}


class Tokens:
    """Opaque paging tokens, bound to an operation and its parameters and protected against tampering."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(16)

    def write(self, operation: str, params: Mapping[str, Any], state: Mapping[str, Any]) -> str:
        """A token for `state` that only `operation` with the same `params` can use."""
        body = json.dumps(state, separators=(",", ":")).encode()
        digest = self._sign(operation, params, body)
        return base64.urlsafe_b64encode(digest + self._seal(body)).decode()

    def read(self, token: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """The state, or None when the token was not written for this call.

        Raises ValueError when the token is genuine but belongs to other parameters.
        """
        try:
            raw = base64.urlsafe_b64decode(token.encode())
            body = self._seal(raw[32:])
            state = json.loads(body)
        except ValueError:
            return None
        if not hmac.compare_digest(raw[:16], self._sign(operation, params, body)[:16]):
            genuine = hmac.compare_digest(raw[16:32], self._sign(operation, params, body)[16:])
            if genuine:
                raise ValueError("the token belongs to other parameters")
            return None
        return dict(state)

    def page(
        self, call: AwsCall, found: Sequence[T], size: int, name: str = "NextToken"
    ) -> tuple[Sequence[T], dict[str, str]]:
        """The page of `found` that a call asks for, and the member `name` that continues it, if there is more.

        Raises AwsError when its token was not written for a call with the same parameters.
        """
        asked = {key: value for key, value in call.params.items() if key != name}
        start = 0
        if token := call.params.get(name):
            try:
                state = self.read(str(token), call.operation, asked)
            except ValueError:
                state = None
            if state is None:
                raise AwsError("InvalidNextTokenException", "The pagination token is invalid.")
            start = int(state["start"])
        end = start + size
        more = {name: self.write(call.operation, asked, {"start": end})} if end < len(found) else {}
        return found[start:end], more

    def _seal(self, body: bytes) -> bytes:
        key = hashlib.sha256(self._secret).digest()
        return bytes(b ^ key[i % 32] for i, b in enumerate(body))

    def _sign(self, operation: str, params: Mapping[str, Any], body: bytes) -> bytes:
        asked = json.dumps(params, sort_keys=True, default=str).encode()
        bound = hmac.digest(self._secret, operation.encode() + b"\0" + asked + b"\0" + body, "sha256")[:16]
        own = hmac.digest(self._secret, operation.encode() + b"\0" + body, "sha256")[:16]
        return bound + own
