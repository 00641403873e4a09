"""Timestamps are the moments that botocore reads, and what is not the protocol's is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.aws.errors import Kind, PlainAnswerError, classify
from exporter.aws.parsing import StrictParsers, read_timestamp, refuse_malformed_body

pytestmark = pytest.mark.clockless

_OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=_OFFSETS)  # noqa: DTZ001 # bounds have none
_EPOCHS = st.one_of(
    st.integers(0, 7_000_000_000), st.floats(0, 7e9), st.integers(-(10**12), 10**13), st.booleans()
)


@st.composite
def forms(draw: st.DrawFn) -> str:
    """A moment as AWS's protocols write it, and near misses."""
    moment = draw(_MOMENTS)
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return draw(
        st.sampled_from(
            [
                moment.isoformat(),
                moment.isoformat(timespec="seconds"),
                moment.isoformat(timespec="milliseconds"),
                f"{utc.isoformat()}Z",
                f"{utc.isoformat(timespec='milliseconds')}Z",
                f"{utc.isoformat(timespec='microseconds')}123Z",
                utc.isoformat(),
                utc.strftime("%Y%m%dT%H%M%SZ"),
                utc.strftime("%Y-%m-%d"),
                utc.strftime("%Y-%m-%dT%H:%MZ"),
                utc.strftime("%Y-%m-%d %H:%M:%SZ"),
                moment.strftime("%Y-%m-%dT%H:%M:%S%z"),
                format_datetime(moment.astimezone(UTC), usegmt=True),
                format_datetime(moment),
                utc.strftime("%a %b %d %H:%M:%S %Y"),
                str(int(moment.timestamp())),
                f"{moment.timestamp():.3f}",
                repr(moment.timestamp()),
            ]
        )
    )


def moment_of(read: Any, value: Any) -> Any:
    """What a reader says: a moment, a time without a zone, or the kind of error."""
    try:
        found = read(value)
        return found if found.tzinfo is None else found.astimezone(UTC)
    except Exception as error:
        return type(error)


@given(st.one_of(forms(), _EPOCHS, st.text(max_size=30), st.none()))
@example("2026-02-30T00:00:00Z")
@example("2026-03-17T24:00:00Z")
@example("2026-03-17T23:59:60Z")
@example("2026-03-17T14:20:00+99:00")
@example("２０２６-03-17T14:20:00Z")
@example("99999999999.5")
@example(1e300)
@example(float("nan"))
@example(b"2026-03-17T14:20:00Z")
def test_a_timestamp_is_the_moment_that_botocore_reads(value: Any) -> None:
    assert moment_of(read_timestamp, value) == moment_of(parse_timestamp, value)


@given(_MOMENTS)
def test_what_has_an_offset_is_read_as_utc(moment: datetime) -> None:
    read = read_timestamp(moment.isoformat())
    assert (read, read.tzinfo) == (moment, UTC)


def parsed(service: str, operation: str, body: bytes, status: int = 200) -> Any:
    """An answer as the clients parse it."""
    model = botocore.session.Session().get_service_model(service)
    operation_model = model.operation_model(operation)
    response = {"status_code": status, "headers": {}, "body": body, "context": {"operation_name": operation}}
    refuse_malformed_body(operation_model, response)
    return (
        StrictParsers().create_parser(model.resolved_protocol).parse(response, operation_model.output_shape)
    )


JSON = (("organizations", "ListRoots"), ("lambda", "ListFunctions"))
XML = (("sts", "GetCallerIdentity"), ("ec2", "DescribeRegions"))


@pytest.mark.parametrize(("service", "operation"), JSON)
@pytest.mark.parametrize(
    "body",
    [b"<html>Bad gateway</html>", b'{"Roots": [', b'["Roots"]', b'"Roots"', b"{}{}", b"null", b"\xff\xfe"],
)
def test_a_200_that_is_no_json_object_is_refused(service: str, operation: str, body: bytes) -> None:
    with pytest.raises(ResponseParserError):
        parsed(service, operation, body)


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("organizations", "ListRoots"),
        ("lambda", "ListFunctions"),
        ("s3", "ListBuckets"),
        ("cloudfront", "ListDistributions"),
    ],
)
@pytest.mark.fault("{service} that answers 200 with nothing", "malformed_response, not a list without items")
def test_an_empty_200_is_no_empty_list(service: str, operation: str) -> None:
    with pytest.raises(ResponseParserError, match="an empty body"):
        parsed(service, operation, b"")


@pytest.mark.parametrize("operation", ["HeadBucket", "PutObject", "UploadPart"])
def test_an_answer_whose_members_are_headers_has_no_body(operation: str) -> None:
    assert parsed("s3", operation, b"")["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_the_one_structure_of_s3_that_is_text_is_no_malformed_answer() -> None:
    where = (
        b'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">eu-west-1</LocationConstraint>'
    )
    assert parsed("s3", "GetBucketLocation", where)["ResponseMetadata"]["HTTPStatusCode"] == 200
    with pytest.raises(ResponseParserError, match="is no structure"):
        parsed("s3", "ListBuckets", b"<ListAllMyBucketsResult>eu-west-1</ListAllMyBucketsResult>")


def test_moments_and_numbers_of_cbor_are_read() -> None:
    model = botocore.session.Session().get_service_model("cloudwatch").operation_model("GetMetricData")
    parser = StrictParsers().create_parser("smithy-rpc-v2-cbor")

    def parse(moment: bytes) -> Any:
        moments, values = b"jTimestamps\x81" + moment, b"fValues\x82\x01\xf9\x3e\x00"  # 1 and 1.5
        body = b"\xa1qMetricDataResults\x81\xa2" + moments + values
        return parser.parse(
            {"status_code": 200, "headers": {}, "body": body, "context": {}}, model.output_shape
        )

    (result,) = parse(b"\xc1\x1a\x65\x53\xf1\x00")["MetricDataResults"]
    assert result == {"Timestamps": [datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)], "Values": [1, 1.5]}
    with pytest.raises(ResponseParserError, match="is no timestamp"):
        parse(b"\x1a\x65\x53\xf1\x00")  # without the tag of a moment it is a number


@pytest.mark.parametrize(
    ("service", "operation"), [*XML, ("s3", "ListBuckets"), ("cloudfront", "ListDistributions")]
)
@pytest.mark.fault(
    "a proxy that answers {service} 403 with a page that is XML too", "malformed_response, with its words"
)
def test_a_page_is_no_error_of_a_service(service: str, operation: str) -> None:
    with pytest.raises(PlainAnswerError, match="Forbidden") as caught:
        parsed(service, operation, b"<html><body>Forbidden</body></html>", status=403)
    assert classify(caught.value).kind is Kind.MALFORMED_RESPONSE


@pytest.mark.parametrize(("service", "operation"), XML)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b'<?xml version="1.0"?><Other/>',
        b"{}",
        b"<DescribeRegionsResponse><a>",
        b"<GetCallerIdentityResponse><a>",
    ],
)
def test_a_200_of_another_root_or_no_xml_is_refused(service: str, operation: str, body: bytes) -> None:
    with pytest.raises(ResponseParserError):
        parsed(service, operation, body)


@pytest.mark.parametrize(
    "start",
    [
        "",
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        "<!-- a comment -->",
        '<?xml version="1.0"?><!-- b -->\n',
    ],
)
def test_xml_is_read_with_anything_before_its_root(start: str) -> None:
    space = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
    item = "<regionInfo><item><regionName>eu-west-1</regionName></item></regionInfo>"
    body = f"{start}<DescribeRegionsResponse {space}>{item}</DescribeRegionsResponse>".encode()
    assert parsed("ec2", "DescribeRegions", body)["Regions"] == [{"RegionName": "eu-west-1"}]


@given(st.dictionaries(st.sampled_from(["NextToken", "Roots", "x"]), st.text(), max_size=3))
def test_json_is_read_as_botocore_reads_it(body: dict[str, str]) -> None:
    body.pop("Roots", None)
    model = botocore.session.Session().get_service_model("organizations")
    shape = model.operation_model("ListRoots").output_shape
    response = {"status_code": 200, "headers": {}, "body": json.dumps(body).encode(), "context": {}}
    plain = botocore.session.Session().get_component("response_parser_factory").create_parser("json")
    assert StrictParsers().create_parser("json").parse(response, shape) == plain.parse(response, shape)


def test_numbers_that_are_not_json_for_everyone_are_read_as_botocore_reads_them() -> None:
    body = b'{"NextToken": "a", "x": NaN, "y": 340282366920938463463374607431768211456}'
    assert parsed("organizations", "ListRoots", body)["NextToken"] == "a"


@pytest.mark.parametrize(("service", "operation"), JSON)
def test_an_error_that_is_no_json_keeps_its_text(service: str, operation: str) -> None:
    found = parsed(service, operation, b"<html>No such page</html>", 404)
    assert (found["Error"]["Code"], found["Error"]["Message"]) == ("404", "<html>No such page</html>")


_PLAIN = (b"Too Many Requests", b"", b"<html><body>", b"[" * 100_000, b"\xff\xfe", b"[1, 2]")


@pytest.mark.fault("an error of AWS in no service's form", "an error of its HTTP status, in every protocol")
@pytest.mark.parametrize(
    ("service", "operation"), [*JSON, *XML, ("s3", "ListBuckets"), ("cloudwatch", "ListMetrics")]
)
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("body", _PLAIN, ids=range(len(_PLAIN)))
def test_an_error_in_no_form_has_the_kind_of_its_status(
    service: str, operation: str, status: int, body: bytes
) -> None:
    try:
        found = parsed(service, operation, body, status)
    except PlainAnswerError as error:
        failure = classify(error)
    else:
        failure = classify(ClientError(found, operation))
    assert failure.kind is {429: Kind.THROTTLED, 503: Kind.SERVER_ERROR}[status]


_HUGE = (
    b"1e400",
    b"9" * 5_000,
    b"-" + b"9" * 30,
    b"NaN",
    b"true",
    b'"12"',
    b"[" * 100_000 + b"]" * 100_000,
    b"{}",
)


@pytest.mark.fault("a number of AWS is {index}: beyond all bounds, or none", "malformed_response")
@pytest.mark.parametrize("index", range(len(_HUGE)))
def test_a_number_that_is_none_is_refused(index: int) -> None:
    body = b'{"Functions": [{"CodeSize": %s}]}' % _HUGE[index]
    with pytest.raises(ResponseParserError):
        parsed("lambda", "ListFunctions", body)


@pytest.mark.parametrize("text", ["1e400", "9" * 5_000, "NaN", "1_000", "\uff15", "", "<x/>", "12.5"])
def test_a_number_of_xml_that_is_none_is_refused(text: str) -> None:
    volume = f"<item><volumeId>vol-1</volumeId><size>{text}</size></item>"
    body = f"<DescribeVolumesResponse><volumeSet>{volume}</volumeSet></DescribeVolumesResponse>".encode()
    with pytest.raises(ResponseParserError):
        parsed("ec2", "DescribeVolumes", body)


def test_streams_are_left_alone() -> None:
    operation = SimpleNamespace(has_streaming_output=True, output_shape=object(), service_model=None)
    refuse_malformed_body(operation, {"status_code": 200, "body": b"anything"})
