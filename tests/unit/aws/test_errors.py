"""Every foreign exception has a kind that somebody chose."""

from __future__ import annotations

import inspect
import sqlite3
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import botocore.exceptions as bce
import pytest
import urllib3.exceptions
from botocore import parsers

from exporter.aws.errors import RETRIED, Asked, AwsError, Kind, PlainAnswerError, classify


def botocore_exceptions() -> list[type[Exception]]:
    """Every exception class of botocore and its parsers; warnings are not raised."""
    found = {
        member
        for module in (bce, parsers)
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, Exception)
        and not issubclass(member, Warning)
        and member.__module__.startswith("botocore")
    }
    return sorted(found, key=lambda member: member.__name__)


BY_KIND: dict[Kind, set[str]] = {
    Kind.TIMEOUT: {"ConnectTimeoutError", "ReadTimeoutError"},
    Kind.CONNECTION: {
        "ConnectionClosedError",
        "ConnectionError",
        "EndpointConnectionError",
        "HTTPClientError",
        "ProxyConnectionError",
        "ResponseStreamingError",
        "SSLError",
    },
    Kind.MALFORMED_RESPONSE: {
        "ChecksumError",
        "FlexibleChecksumError",
        "IncompleteReadError",
        "NoInitialResponseError",
        "PaginationError",
        "ResponseParserError",
    },
    Kind.EXPIRED_CREDENTIALS: {
        "LoginRefreshRequired",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    },
    Kind.NO_CREDENTIALS: {
        "ConfigNotFound",
        "ConfigParseError",
        "CredentialRetrievalError",
        "InfiniteLoopConfigError",
        "InvalidConfigError",
        "InvalidIMDSEndpointError",
        "InvalidIMDSEndpointModeError",
        "LoginAuthorizationCodeError",
        "LoginError",
        "LoginInsufficientPermissions",
        "LoginTokenLoadError",
        "MetadataRetrievalError",
        "MissingDependencyException",
        "NoAuthTokenError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "RefreshWithMFAUnsupportedError",
        "SSOError",
        "SSOTokenLoadError",
        "UnknownCredentialError",
        "UnknownTokenProviderError",
    },
}
"""By hand; whatever botocore has besides these refuses a request before it is sent: invalid_request."""

INVALID_REQUEST = {
    "AliasConflictParameterError", "ApiVersionNotFoundError", "AwsChunkedWrapperError",
    "BaseEndpointResolverError", "BotoCoreError", "CapacityNotAvailableError", "ClientError",
    "DataNotFoundError", "EndpointProviderError", "EndpointResolutionError", "EndpointVariantError",
    "EventStreamError",
    "InvalidChecksumConfigError", "InvalidDNSNameError", "InvalidDefaultsMode",
    "InvalidEndpointConfigurationError", "InvalidEndpointDiscoveryConfigurationError",
    "InvalidExpressionError", "InvalidHostLabelError", "InvalidMaxRetryAttemptsError",
    "InvalidProxiesConfigError", "InvalidRegionError", "InvalidRetryConfigurationError",
    "InvalidRetryModeError", "InvalidS3AddressingStyleError",
    "InvalidS3UsEast1RegionalEndpointConfigError", "InvalidSTSRegionalEndpointsConfigError",
    "MD5UnavailableError", "MissingParametersError", "MissingServiceIdError", "NoRegionError",
    "OperationNotPageableError", "ParamValidationError", "RangeError", "ServiceNotInRegionError",
    "StubAssertionError", "StubResponseError", "UnStubbedResponseError", "UndefinedModelAttributeError",
    "UnknownClientMethodError", "UnknownEndpointError", "UnknownEndpointResolutionBuiltInName",
    "UnknownFIPSEndpointError", "UnknownKeyError", "UnknownParameterError", "UnknownRegionError",
    "UnknownServiceError", "UnknownServiceStyle", "UnknownSignatureVersionError", "UnseekableStreamError",
    "UnsupportedOutpostResourceError", "UnsupportedS3AccesspointConfigurationError",
    "UnsupportedS3ArnError", "UnsupportedS3ConfigurationError", "UnsupportedS3ControlArnError",
    "UnsupportedS3ControlConfigurationError", "UnsupportedServiceProtocolsError",
    "UnsupportedSignatureVersionError", "ValidationError", "WaiterConfigError", "WaiterError",
}  # fmt: skip

TABLE = {name: kind for kind, names in BY_KIND.items() for name in names} | dict.fromkeys(
    INVALID_REQUEST, Kind.INVALID_REQUEST
)


def made(cls: type[Exception]) -> Exception:
    """An instance, without knowing what its constructor wants."""
    error = cls.__new__(cls)
    Exception.__init__(error, cls.__name__)
    if isinstance(error, bce.ClientError):
        error.response = {}
    return error


@pytest.mark.parametrize("cls", botocore_exceptions(), ids=lambda cls: cls.__name__)
def test_every_exception_of_botocore_is_in_the_table(cls: type[Exception]) -> None:
    """A class that a new botocore brings fails here until somebody says what it means."""
    assert classify(made(cls), "request").kind == TABLE[cls.__name__]


def test_the_table_names_nothing_that_botocore_lacks() -> None:
    assert set(TABLE) == {cls.__name__ for cls in botocore_exceptions()}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (urllib3.exceptions.ReadTimeoutError(None, "/", "late"), Kind.TIMEOUT),  # type: ignore[arg-type]
        (urllib3.exceptions.ConnectTimeoutError("late"), Kind.TIMEOUT),
        (urllib3.exceptions.ProtocolError("cut"), Kind.CONNECTION),
        (urllib3.exceptions.IncompleteRead(3, 5), Kind.CONNECTION),
        (urllib3.exceptions.SSLError("no"), Kind.CONNECTION),
        (urllib3.exceptions.DecodeError("not gzip"), Kind.MALFORMED_RESPONSE),
        (urllib3.exceptions.LocationParseError("http://["), Kind.INVALID_REQUEST),
        (TimeoutError("late"), Kind.TIMEOUT),
        (ConnectionResetError(104, "reset"), Kind.CONNECTION),
        (BrokenPipeError(32, "broken"), Kind.CONNECTION),
        (ZeroDivisionError("ours"), Kind.INTERNAL),
        (KeyError("ours"), Kind.INTERNAL),
        (OSError(28, "No space left on device"), Kind.INTERNAL),
        (sqlite3.OperationalError("database or disk is full"), Kind.LEDGER),
        (sqlite3.DatabaseError("database disk image is malformed"), Kind.LEDGER),
        (sqlite3.ProgrammingError("ours"), Kind.INTERNAL),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_is_no_exception_of_botocore_has_a_kind_too(error: Exception, kind: Kind) -> None:
    assert classify(error).kind == kind


def client_error(code: str, status: int = 400) -> bce.ClientError:
    answer: dict[str, Any] = {
        "Error": {"Code": code, "Message": "why"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return bce.ClientError(answer, "Operation")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("AccessDenied", 403, Kind.ACCESS_DENIED),
        ("AccessDeniedException", 400, Kind.ACCESS_DENIED),
        ("UnauthorizedOperation", 403, Kind.ACCESS_DENIED),
        ("ExpiredToken", 403, Kind.EXPIRED_CREDENTIALS),
        ("ExpiredTokenException", 400, Kind.EXPIRED_CREDENTIALS),
        ("RequestExpired", 400, Kind.EXPIRED_CREDENTIALS),
        ("InvalidClientTokenId", 403, Kind.NO_CREDENTIALS),
        ("UnrecognizedClientException", 400, Kind.NO_CREDENTIALS),
        ("SignatureDoesNotMatch", 403, Kind.NO_CREDENTIALS),
        ("Throttling", 400, Kind.THROTTLED),
        ("RequestLimitExceeded", 503, Kind.THROTTLED),
        ("LimitExceededException", 400, Kind.THROTTLED),
        ("TooManyRequestsException", 400, Kind.THROTTLED),
        ("SomethingNew", 429, Kind.THROTTLED),
        ("AuthFailure", 401, Kind.NO_CREDENTIALS),
        ("RegionDisabledException", 403, Kind.REGION_DISABLED),
        ("DataUnavailableException", 400, Kind.DATA_UNAVAILABLE),
        ("InternalError", 500, Kind.SERVER_ERROR),
        ("SomethingNew", 502, Kind.SERVER_ERROR),
        ("ValidationException", 400, Kind.INVALID_REQUEST),
        ("", 400, Kind.INVALID_REQUEST),
    ],
)
def test_error_codes_of_aws(code: str, status: int, kind: Kind) -> None:
    failure = classify(client_error(code, status), "ec2 DescribeInstances for 1 in r")
    assert (failure.kind, failure.code) == (kind, code)
    assert str(failure) == f"ec2 DescribeInstances for 1 in r: {code}: why"


def answered(
    code: str, message: str = "why", status: int = 400, date: datetime | None = None
) -> bce.ClientError:
    headers = {} if date is None else {"date": format_datetime(date, usegmt=True)}
    answer: dict[str, Any] = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return bce.ClientError(answer, "Operation")


_LATE = "Signature expired: 20260317T140000Z is now earlier than 20260317T141500Z (20260317T142000Z - 5 min.)"
_EARLY = "Signature not yet current: 20260317T143000Z is still later than 20260317T142500Z"
_NOW = datetime.now(UTC)


@pytest.mark.fault("the clock is off: AWS answers {code}", "clock_skew, not a matter of credentials")
@pytest.mark.parametrize(
    ("code", "error", "asked"),
    [
        ("SignatureDoesNotMatch, expired", answered("SignatureDoesNotMatch", _LATE, 403), Asked()),
        ("SignatureDoesNotMatch, not yet current", answered("SignatureDoesNotMatch", _EARLY, 403), Asked()),
        ("InvalidSignatureException, expired", answered("InvalidSignatureException", _LATE), Asked()),
        ("RequestTimeTooSkewed", answered("RequestTimeTooSkewed", status=403), Asked()),
        ("RequestInTheFuture", answered("RequestInTheFuture"), Asked()),
        ("RequestExpired to keys that do not expire", answered("RequestExpired"), Asked(is_session=False)),
        (
            "RequestExpired, with a date of ten minutes ago",
            answered("RequestExpired", date=_NOW - timedelta(minutes=10)),
            Asked(),
        ),
        (
            "AuthFailure, with a date that is in an hour",
            answered("AuthFailure", status=401, date=_NOW + timedelta(hours=1)),
            Asked("ap-east-1"),
        ),
    ],
)
def test_a_clock_that_is_off_is_no_matter_of_credentials(
    code: str, error: bce.ClientError, asked: Asked
) -> None:
    assert classify(error, "request", asked).kind is Kind.CLOCK_SKEW


def test_a_session_that_is_over_while_the_clocks_agree_is_expired() -> None:
    error = answered("RequestExpired", date=datetime.now(UTC))
    assert classify(error, "request", Asked(is_session=True)).kind is Kind.EXPIRED_CREDENTIALS


UNKNOWN_HERE = (
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidToken",
    "OptInRequired",
    "UnrecognizedClientException",
)


@pytest.mark.fault("{code} in a region without opt-in", "region_disabled")
@pytest.mark.parametrize("code", UNKNOWN_HERE)
@pytest.mark.parametrize("region", ["ap-east-1", "eu-south-2", "me-central-1", "af-south-1", "mx-central-1"])
def test_keys_that_a_region_does_not_know_show_that_it_needs_an_opt_in(code: str, region: str) -> None:
    assert classify(answered(code), "request", Asked(region)).kind is Kind.REGION_DISABLED


@pytest.mark.parametrize("code", UNKNOWN_HERE)
@pytest.mark.parametrize(
    "region", ["us-east-1", "eu-west-1", "ap-northeast-3", "cn-north-1", "us-gov-west-1", "us-iso-east-1", ""]
)
def test_keys_that_no_region_knows_are_wrong(code: str, region: str) -> None:
    kind = Kind.NOT_ENROLLED if code == "OptInRequired" else Kind.NO_CREDENTIALS
    assert classify(answered(code), "request", Asked(region)).kind is kind


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("SubscriptionRequiredException", "The AWS Access Key Id needs a subscription for the service"),
        ("AWSOrganizationsNotInUseException", "Your account is not a member of an organization."),
        ("AccessDeniedException", "User not enabled for cost explorer access"),
        ("AccessDeniedException", "AWS account is not enrolled for recommendations."),
        ("NotSignedUp", "Your account is not signed up for the S3 service."),
    ],
)
def test_what_was_never_enabled_is_no_matter_of_permissions(code: str, message: str) -> None:
    assert classify(answered(code, message)).kind is Kind.NOT_ENROLLED


@pytest.mark.fault(
    "a load balancer answers {status} in plain text", "throttled or server_error by its status"
)
@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (429, "Too Many Requests", Kind.THROTTLED),
        (503, "Service Unavailable", Kind.SERVER_ERROR),
        (503, "Slow Down", Kind.THROTTLED),
        (502, "<html>", Kind.SERVER_ERROR),
        (403, "Forbidden by the proxy", Kind.MALFORMED_RESPONSE),
    ],
)
def test_plain_answers_are_read_by_their_status(status: int, text: str, kind: Kind) -> None:
    assert classify(PlainAnswerError(status, text)).kind is kind


def test_what_is_classified_stays_as_it_is() -> None:
    error = AwsError(Kind.CURRENCY, "EUR")
    assert classify(error, "elsewhere") is error


def test_only_what_may_pass_by_itself_is_tried_again() -> None:
    assert (
        {kind for kind in Kind if AwsError(kind, "").retryable}
        == RETRIED
        == {
            Kind.THROTTLED,
            Kind.TIMEOUT,
            Kind.CONNECTION,
            Kind.SERVER_ERROR,
            Kind.MALFORMED_RESPONSE,
        }
    )
