"""What comes over the wire, read once and strictly: what is not the protocol's is an error, never an empty answer.

botocore takes a 200 with an HTML page for an empty answer where the protocol is JSON, hands on values of another
type than the service's description has, and raises what its parsers stumble over. It also hands each
timestamp to dateutil, which costs more than the rest of a GetMetricData.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import orjson
from botocore.parsers import (
    EC2QueryParser,
    JSONParser,
    QueryParser,
    ResponseParserError,
    ResponseParserFactory,
    RestJSONParser,
    RestXMLParser,
    RpcV2CBORParser,
)
from botocore.utils import parse_timestamp

from exporter.aws.errors import PlainAnswerError

_ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = re.compile(r"\d{1,11}(\.\d{1,9})?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d{1,400}\.?\d{0,400}|\.\d{1,400})([eE][+-]?\d{1,4})?", re.ASCII)
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_LARGEST = 2**63
_SHOWN_BYTES = 200
_TEXT_OF_ROOT = frozenset({"GetBucketLocationOutput"})
"""Structures whose one member is the text of the root element: botocore reads it after the parser."""
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
        except (ValueError, RecursionError) as error:
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


class _Guarded:
    """Raises nothing but ResponseParserError, or PlainAnswerError of an error that no service has written."""

    def parse(self, response: dict[str, Any], shape: Any) -> Any:
        status = response["status_code"]
        try:
            parsed = super().parse(response, shape)  # type: ignore[misc]
            if status >= 400 and not self._is_modeled_error_shape(shape):  # type: ignore[attr-defined]
                _require_error(parsed)
        except Exception as error:  # its parsers raise many
            if status >= 400:
                text = bytes(response["body"])[:_SHOWN_BYTES].decode("utf-8", "replace")
                raise PlainAnswerError(status, text) from error
            if isinstance(error, ResponseParserError):
                raise
            raise ResponseParserError(f"the answer is malformed: {type(error).__name__}: {error}") from error
        return parsed


def _require_error(parsed: Any) -> None:
    """Let an error answer have the form of one, with a code: the page of a proxy may be XML too."""
    error = parsed.get("Error")
    if not isinstance(error, dict) or not isinstance(error.get("Code"), str) or not error["Code"]:
        raise ResponseParserError("the error is malformed")


def _refuse(shape: Any, value: Any) -> ResponseParserError:
    text = repr(value)[:_SHOWN_BYTES]
    return ResponseParserError(f"the answer is malformed: {text} is no {shape.type_name} ({shape.name})")


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class _Typed:
    """Values of JSON and CBOR are of the type that the service's description has, and numbers are finite."""

    def _handle_string(self, shape: Any, value: Any) -> str:
        if not isinstance(value, str):
            raise _refuse(shape, value)
        return value

    def _handle_integer(self, shape: Any, value: Any) -> int:
        text = value if isinstance(value, str) and _is_of_the_header(shape) else ""
        if _INTEGER.fullmatch(text) or (isinstance(value, float) and value.is_integer()):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not -_LARGEST <= value < _LARGEST:
            raise _refuse(shape, value)
        return value

    def _handle_double(self, shape: Any, value: Any) -> float:
        if type(value) is float and math.isfinite(value):  # nearly all, of thousands in an answer
            return value
        if not isinstance(value, int) or isinstance(value, bool) or not math.isfinite(float(value)):
            raise _refuse(shape, value)
        return value

    def _handle_boolean(self, shape: Any, value: Any) -> bool:
        if isinstance(value, str) and _is_of_the_header(shape):
            value = _BOOLEANS.get(value.lower())
        if not isinstance(value, bool):
            raise _refuse(shape, value)
        return value

    def _handle_timestamp(self, shape: Any, value: Any) -> datetime:
        if type(value) is float:
            return read_timestamp(value)
        if isinstance(value, bool):
            raise _refuse(shape, value)
        return _aware(super()._handle_timestamp(shape, value))  # type: ignore[misc]

    def _handle_list(self, shape: Any, node: Any) -> Any:
        if not isinstance(node, list) and not _is_of_the_header(shape):
            raise _refuse(shape, node)
        return super()._handle_list(shape, node)  # type: ignore[misc]

    _handle_character = _handle_string
    _handle_long = _handle_integer
    _handle_float = _handle_double


def _is_of_the_header(shape: Any) -> bool:
    return shape.serialization.get("location") in ("header", "statusCode")


class _TypedXml:
    """Text of XML is of the type that the service's description has, and numbers are finite."""

    def _handle_structure(self, shape: Any, node: Any) -> Any:
        if shape.name not in _TEXT_OF_ROOT:
            _require_elements(shape, node)
        return super()._handle_structure(shape, node)  # type: ignore[misc]

    def _handle_list(self, shape: Any, node: Any) -> Any:
        if not shape.serialization.get("flattened"):
            _require_elements(shape, node)
        return super()._handle_list(shape, node)  # type: ignore[misc]

    def _handle_string(self, shape: Any, node: Any) -> str:
        return _text_of(shape, node)

    def _handle_integer(self, shape: Any, node: Any) -> int:
        text = _text_of(shape, node).strip()
        if not _INTEGER.fullmatch(text) or not -_LARGEST <= int(text) < _LARGEST:
            raise _refuse(shape, text)
        return int(text)

    def _handle_float(self, shape: Any, node: Any) -> float:
        text = _text_of(shape, node).strip()
        if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
            raise _refuse(shape, text)
        return float(text)

    def _handle_boolean(self, shape: Any, node: Any) -> bool:
        text = _text_of(shape, node).strip()
        if (value := _BOOLEANS.get(text.lower())) is None:
            raise _refuse(shape, text)
        return value

    def _handle_timestamp(self, shape: Any, node: Any) -> datetime:
        return _aware(read_timestamp(_text_of(shape, node)))

    _handle_character = _handle_string
    _handle_long = _handle_integer
    _handle_double = _handle_float


def _text_of(shape: Any, node: Any) -> str:
    """The text of an element, or of a header; of several elements that of none."""
    if isinstance(node, str):
        return node
    if isinstance(node, list) or len(node):
        raise _refuse(shape, node)
    return str(node.text or "")


def _require_elements(shape: Any, node: Any) -> None:
    """Refuse text where elements belong: botocore would take it for none."""
    if not isinstance(node, list) and not len(node) and (node.text or "").strip():
        raise _refuse(shape, node.text)


class _StrictJson(_Guarded, _Typed, _ReadOnce, JSONParser):  # type: ignore[misc] # botocore ships no types
    pass


class _StrictRestJson(_Guarded, _Typed, _ReadOnce, RestJSONParser):  # type: ignore[misc] # botocore ships no types
    pass


class _StrictCbor(_Guarded, _Typed, RpcV2CBORParser):  # type: ignore[misc] # botocore ships no types
    def _handle_timestamp(self, shape: Any, value: Any) -> datetime:
        if not isinstance(value, datetime):  # the tag of a moment has been read with the body
            raise _refuse(shape, value)
        return _aware(value)


class _StrictQuery(_Guarded, _TypedXml, QueryParser):  # type: ignore[misc] # botocore ships no types
    pass


class _StrictEc2(_Guarded, _TypedXml, EC2QueryParser):  # type: ignore[misc] # botocore ships no types
    pass


class _StrictRestXml(_Guarded, _TypedXml, RestXMLParser):  # type: ignore[misc] # botocore ships no types
    pass


_STRICT = {
    "json": _StrictJson,
    "rest-json": _StrictRestJson,
    "smithy-rpc-v2-cbor": _StrictCbor,
    "query": _StrictQuery,
    "ec2": _StrictEc2,
    "rest-xml": _StrictRestXml,
}


class StrictParsers(ResponseParserFactory):  # type: ignore[misc] # botocore ships no types
    """botocore's parsers with `read_timestamp`; they refuse values of another type than described."""

    def __init__(self) -> None:
        super().__init__()
        self.set_parser_defaults(timestamp_parser=read_timestamp)

    def create_parser(self, protocol_name: str) -> Any:
        """A parser of one of botocore's protocols; KeyError for one that is new to botocore."""
        return _STRICT[protocol_name](**self._defaults)


def refuse_malformed_body(operation_model: Any, response_dict: Mapping[str, Any], **_: Any) -> None:
    """Refuse a 200 that the parser would read as an empty answer; a handler of `before-parse`."""
    if response_dict["status_code"] >= 300 or operation_model.has_streaming_output:
        return
    body = response_dict["body"]
    protocol = operation_model.service_model.resolved_protocol
    if operation_model.output_shape is None:
        return
    if not body and (protocol == "json" or _has_body(operation_model.output_shape)):
        raise ResponseParserError("the answer is malformed: an empty body")
    if protocol in ("ec2", "query") and (tag := _root(body)) != f"{operation_model.name}Response":
        raise ResponseParserError(f"the answer is malformed: a root element {tag!r}")


def _has_body(output_shape: Any) -> bool:
    """Whether a service sends members in the body, beside those of headers."""
    payload = output_shape.serialization.get("payload")
    if payload is not None:
        return bool(output_shape.members[payload].type_name == "structure")
    return any("location" not in member.serialization for member in output_shape.members.values())


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
