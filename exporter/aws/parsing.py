"""What comes over the wire, read once and strictly: what is not the protocol's is an error, never an empty answer.

botocore takes a 200 with an HTML page for an empty answer where the protocol is JSON. It also hands each
timestamp to dateutil, which costs more than the rest of a GetMetricData.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import orjson
from botocore.parsers import JSONParser, ResponseParserError, ResponseParserFactory, RestJSONParser
from botocore.utils import parse_timestamp

_ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = re.compile(r"\d{1,11}(\.\d{1,9})?", re.ASCII)
_ROOT = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)[\s/>]")


def read_timestamp(value: Any) -> datetime:
    """The moment that AWS means: epoch seconds or ISO 8601; other forms are left to botocore.

    As `botocore.utils.parse_timestamp`, which it equals as a moment; ValueError for what is none.
    """
    try:
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value, UTC)
        if _ISO_8601.fullmatch(value):
            return datetime.fromisoformat(value).astimezone(UTC)
        if _EPOCH.fullmatch(value):
            return datetime.fromtimestamp(float(value), UTC)
    except (OSError, OverflowError, TypeError, ValueError):
        pass  # botocore has its own ways with what is out of range, and its own errors
    moment: datetime = parse_timestamp(value)
    return moment


class _Read:
    """A body that has been parsed."""

    def __init__(self, value: dict[str, Any]) -> None:
        self.value = value


def _read_object(body: bytes) -> _Read:
    """The JSON object of a body; ResponseParserError if it is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(body)  # e.g. NaN or 2^64, which are not JSON or not for everyone
        except ValueError as error:
            raise ResponseParserError(f"the answer is malformed: {error}") from error
    if not isinstance(value, dict):
        raise ResponseParserError("the answer is malformed: not a JSON object")
    return _Read(value)


class _ReadOnce:
    """Parses the body of a success before botocore's parser asks for it, which then takes it as it is."""

    def _do_parse(self, response: dict[str, Any], shape: Any) -> Any:
        body = response["body"]
        # A payload need not be JSON, and a stream is not read here.
        whole = shape is None or "payload" not in shape.serialization
        if whole and body and isinstance(body, bytes):
            response = {**response, "body": _read_object(body)}
        return super()._do_parse(response, shape)  # type: ignore[misc]

    def _parse_body_as_json(self, body: Any) -> Any:
        return body.value if isinstance(body, _Read) else super()._parse_body_as_json(body)  # type: ignore[misc]


class _StrictJson(_ReadOnce, JSONParser):  # type: ignore[misc] # botocore ships no types
    pass


class _StrictRestJson(_ReadOnce, RestJSONParser):  # type: ignore[misc] # botocore ships no types
    pass


_STRICT = {"json": _StrictJson, "rest-json": _StrictRestJson}


class StrictParsers(ResponseParserFactory):  # type: ignore[misc] # botocore ships no types
    """botocore's parsers with `read_timestamp`; those of JSON refuse what is not a JSON object."""

    def __init__(self) -> None:
        super().__init__()
        self.set_parser_defaults(timestamp_parser=read_timestamp)

    def create_parser(self, protocol_name: str) -> Any:
        """A parser of one of botocore's protocols."""
        strict = _STRICT.get(protocol_name)
        return super().create_parser(protocol_name) if strict is None else strict(**self._defaults)


def refuse_malformed_body(operation_model: Any, response_dict: Mapping[str, Any], **_: Any) -> None:
    """Refuse a 200 that the parser would read as an empty answer; a handler of `before-parse`."""
    if response_dict["status_code"] >= 300 or operation_model.has_streaming_output:
        return
    body = response_dict["body"]
    protocol = operation_model.service_model.resolved_protocol
    if operation_model.output_shape is None:
        return
    if protocol == "json" and not body:
        raise ResponseParserError("the answer is malformed: an empty body")
    if protocol in ("ec2", "query") and (tag := _root(body)) != f"{operation_model.name}Response":
        raise ResponseParserError(f"the answer is malformed: a root element {tag!r}")


def _root(body: bytes) -> str:
    """The name of an XML body's root element; what follows it is for botocore's parser to refuse."""
    if found := _ROOT.match(body):
        return found[1].decode()
    try:
        # The XML comes from the endpoint that botocore itself parses with the same parser.
        tag: str = ElementTree.fromstring(body).tag  # noqa: S314
    except ElementTree.ParseError as error:
        raise ResponseParserError(f"the answer is malformed: {error}") from error
    return tag.rpartition("}")[2]
